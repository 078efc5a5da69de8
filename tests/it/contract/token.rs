//! A server whose root is a PKCS#11 token destroys what is due: the old vault epoch ends in the
//! token, and the certificate says what depends on it.

use std::fs;
use std::process::Command;

use super::clocked::Clocked;
use super::outside::{Process, TOKEN};
use super::*;
use crate::support::softhsm::{LABEL, SoftHsm};
use crate::support::{Place, verify};

/// Runs the program on a certificate; whether it is genuine, and the sentence.
fn certified(place: &Place, text: &str) -> (bool, String) {
    let file = place.path().join("certificate.json");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_blindtally"));
    command.args(["certificate", "verify"]).arg(&file);
    command.arg("--key").arg(place.ledger().join("verifier.key"));
    let done = command.output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_vault_epoch_ends_in_its_token_and_the_certificate_says_so() {
    let server = Clocked::on_place("2026-11-10T12:00:00Z", |place| {
        let dir = place.path().join(TOKEN);
        fs::create_dir(&dir).unwrap();
        SoftHsm::make(&dir);
        Process::start(place.path())
    });
    let (custodian, auditor) = (server.token("custodian", 365), server.token("auditor", 365));
    let days = r#"{"retention":{"records_days":1}}"#;
    assert_eq!(server.operate("PUT", "/v1/sites/A", days).status, 200);
    let record = with(&license("e-1", "u"), "occurred_at", "2026-11-10T12:00:00Z").to_string();
    assert_eq!(server.lines(&record).count("accepted"), 1);
    // The VEK home and the register as somebody copied them before.
    let before = server.keys_now();
    server.until("2026-11-13T12:00:00Z");
    let ran = server.send(&custodian, "POST", "/v1/retention/run", &[JSON], "");
    assert_eq!((ran.status, ran.count("failed")), (200, 0), "{ran:?}");
    let lots = server.send(&auditor, "GET", "/v1/retention?state=certified", &[], "").json();
    let lots = lots["lots"].as_array().unwrap().clone();
    let of_records = lots.iter().find(|lot| lot["class"] == "records").expect("a certified day");
    let id = of_records["certificate"].as_str().unwrap();
    let answer = server.send(&auditor, "GET", &format!("/v1/certificates/{id}"), &[], "");
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let body = &answer.json()["body"];
    assert_eq!(body["vek"]["home_copy_opens"], json!(false), "{body}");
    assert!(body["vek"]["destroyed_epoch"].as_u64() < body["vek"]["new_epoch"].as_u64(), "{body}");
    let copies = body["method"]["copies"].as_str().unwrap();
    assert!(copies.contains("the root provider") && copies.contains("of the provider itself"));
    let place = server.stop();
    let (is_genuine, said) = certified(&place, &text);
    assert!(is_genuine && said.contains("also with a copy of the VEK home"), "{said}");
    let (is_genuine, said) = certified(&place, &text.replacen("false", "true", 1));
    assert!(!is_genuine, "{said}");
    // Counts are not made again without the token, and that is nobody's fault.
    let config = place.path().join("blindtally.toml");
    let pin_file = SoftHsm::at(&place.path().join(TOKEN)).pin_file();
    let names = format!(
        "[keys]\nroot = \"pkcs11\"\npkcs11_module = {:?}\npkcs11_token = {LABEL:?}\n\
         pkcs11_pin_file = {pin_file:?}\n",
        SoftHsm::module()
    );
    fs::write(&config, names).unwrap();
    let verified = verify(&place, &["--recount", "--config", config.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", verified.output);
    assert!(verified.output.contains("the root key is in a token"), "{}", verified.output);
    // The token has the key of the new epoch alone. That a copy of the VEK home opens nothing then,
    // the tests of the keys show; here the ledger refuses it before.
    assert_eq!(SoftHsm::at(&place.path().join(TOKEN)).keys(), 1);
    for (name, bytes) in before {
        fs::write(place.keys().join(name), bytes).unwrap();
    }
    let refused = Process::refused(place.path());
    assert!(refused.contains("Older"), "{refused}");
}
