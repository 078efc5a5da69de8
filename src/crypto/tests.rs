//! The published vectors of Wycheproof (C2SP, Apache-2.0) for what is used here, valid ones and
//! those that must be refused: check 26 of the privacy study.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::hmac::{HmacKey, HmacQueue};
use super::{Secret, VerifyingKey};

/// The cases of a file: its first line says how many.
fn cases<T: DeserializeOwned>(text: &str) -> Vec<T> {
    #[derive(Deserialize)]
    struct Head {
        cases: usize,
    }
    let (head, lines) = text.split_once('\n').unwrap();
    let head: Head = serde_json::from_str(head).unwrap();
    let cases: Vec<T> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(cases.len(), head.cases);
    cases
}

fn unhex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[test]
fn check_26_wycheproof_aes_256_gcm() {
    #[derive(Deserialize)]
    struct Case {
        id: u32,
        key: String,
        iv: String,
        aad: String,
        msg: String,
        ct: String,
        tag: String,
        valid: bool,
    }
    let all: Vec<Case> = cases(include_str!("../../tests/vectors/wycheproof_aes_256_gcm.ndjson"));
    let mut refused = 0;
    for case in all {
        let cipher = || LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &unhex(&case.key)).unwrap());
        let nonce = || Nonce::try_assume_unique_for_key(&unhex(&case.iv)).unwrap();
        let aad = || Aad::from(unhex(&case.aad));
        let mut sealed = [unhex(&case.ct), unhex(&case.tag)].concat();
        let opened = cipher().open_in_place(nonce(), aad(), &mut sealed);
        assert_eq!(opened.is_ok(), case.valid, "case {}", case.id);
        if !case.valid {
            refused += 1;
            continue;
        }
        assert_eq!(opened.unwrap(), unhex(&case.msg), "case {}", case.id);
        let mut bytes = unhex(&case.msg);
        let tag = cipher().seal_in_place_separate_tag(nonce(), aad(), &mut bytes).unwrap();
        let wanted = (unhex(&case.ct), unhex(&case.tag));
        assert_eq!((bytes, tag.as_ref().to_vec()), wanted, "case {}", case.id);
    }
    assert!(refused > 20, "{refused}");
}

/// One message at a time, and all of them side by side as ids are hashed.
#[test]
fn check_26_wycheproof_hmac_sha256() {
    #[derive(Deserialize)]
    struct Case {
        id: u32,
        key: String,
        msg: String,
        tag: String,
        valid: bool,
    }
    let all: Vec<Case> = cases(include_str!("../../tests/vectors/wycheproof_hmac_sha256.ndjson"));
    let mut queue = HmacQueue::with_capacity(all.len());
    let mut wanted: Vec<[u8; 16]> = Vec::new();
    for case in &all {
        let mut secret: [u8; 32] = unhex(&case.key).try_into().unwrap();
        let key = HmacKey::new(&Secret::take(&mut secret).unwrap());
        let (message, tag) = (unhex(&case.msg), unhex(&case.tag));
        let mac = key.mac(&message);
        assert_eq!(mac.starts_with(&tag), case.valid, "case {}", case.id);
        queue.push(&key, &[&message]);
        wanted.push(mac[..16].try_into().unwrap());
    }
    assert_eq!(queue.run(), wanted);
    assert!(all.iter().filter(|case| !case.valid).count() > 50);
}

#[test]
fn check_26_wycheproof_ed25519() {
    #[derive(Deserialize)]
    struct Case {
        id: u32,
        key: String,
        msg: String,
        sig: String,
        valid: bool,
    }
    let all: Vec<Case> = cases(include_str!("../../tests/vectors/wycheproof_ed25519.ndjson"));
    for case in &all {
        let key = VerifyingKey(unhex(&case.key).try_into().unwrap());
        let verifies = key.verifies(&unhex(&case.msg), &unhex(&case.sig));
        assert_eq!(verifies, case.valid, "case {}", case.id);
    }
    assert!(all.iter().filter(|case| !case.valid).count() > 50);
}
