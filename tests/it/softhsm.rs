//! A server whose root is a PKCS#11 token, with SoftHSM behind it: it takes records, is killed, and
//! opens them again; without its token it says in one sentence what to do.

use std::fs;
use std::path::Path;

use crate::support::softhsm::{CONF, LABEL, PIN, SoftHsm};
use crate::support::{self, Place, Server, run_to_end, start};

/// A place for a server and a token for it, with the settings that name it.
fn place() -> (Place, SoftHsm) {
    let mut place = Place::new();
    let dir = place.path().join("token");
    fs::create_dir(&dir).unwrap();
    let token = SoftHsm::make(&dir);
    place.set(CONF, &token.conf().display().to_string());
    place.set("BLINDTALLY__KEYS__ROOT", "pkcs11");
    place.set("BLINDTALLY__KEYS__PKCS11_MODULE", &SoftHsm::module().display().to_string());
    place.set("BLINDTALLY__KEYS__PKCS11_TOKEN", LABEL);
    let pin_file = token.pin_file().display().to_string();
    place.set("BLINDTALLY__KEYS__PKCS11_PIN_FILE", &pin_file);
    (place, token)
}

/// Posts a licence of site `A`; a retry carries the same time.
#[track_caller]
fn post(server: &Server, producer: &str, (event, at): (&str, jiff::Timestamp), outcome: &str) {
    let line = format!(
        "{{\"event_id\":\"{event}\",\"type\":\"drm.license.issued\",\"site_id\":\"A\",\
         \"occurred_at\":\"{at:.0}\",\"outcome\":\"success\",\"user_id\":\"u-{event}\"}}\n"
    );
    let answer = support::post_records(server, producer, &line);
    assert_eq!(answer.count(outcome), 1, "{answer:?}");
}

#[test]
fn a_server_with_its_root_in_a_token_survives_kills() {
    let ((place, token), at) = (place(), jiff::Timestamp::now());
    let server = start(&place, &[]);
    support::put_site(&server, "A", "{}");
    let producer = support::producer_token(&server);
    post(&server, &producer, ("1", at), "accepted");
    server.kill();
    assert!(!place.keys().join("root.key").exists(), "no root key in a file");
    assert_eq!(token.keys(), 1, "one wrapping key for the one epoch");
    for event in ["2", "3"] {
        let server = start(&place, &[]);
        post(&server, &producer, ("1", at), "duplicates");
        post(&server, &producer, (event, at), "accepted");
        server.kill();
    }
    let server = start(&place, &[]);
    post(&server, &producer, ("3", at), "duplicates");
    let ended = server.terminate();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    assert!(!ended.output.contains(PIN));
    assert_eq!(token.keys(), 1);
    for dir in [place.data(), place.keys()] {
        never_in(&dir, PIN.as_bytes());
    }
}

/// Searches every file below a directory.
fn never_in(dir: &Path, needle: &[u8]) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            never_in(&path, needle);
        } else {
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(needle.len()).any(|part| part == needle), "{}", path.display());
        }
    }
}

/// The sentence of a start that is refused.
#[track_caller]
fn refused(place: &Place, settings: &[(&str, &str)], code: i32, says: &str) {
    let ended = run_to_end(place, settings);
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    // Beside the log, which is one JSON object a line.
    let plain: Vec<&str> = ended.output.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(plain.len(), 1, "{plain:?}");
    assert!(plain[0].contains(says) && plain[0].ends_with('.'), "{plain:?}");
    assert!(!ended.output.contains(PIN) && !ended.output.contains("7301"), "{}", ended.output);
}

#[test]
fn a_start_without_its_token_is_refused_in_a_sentence() {
    let (place, token) = place();
    drop(start(&place, &[]));
    for (setting, value, says) in [
        ("KEYS__PKCS11_TOKEN", "another", "no slot holds it"),
        ("KEYS__PKCS11_MODULE", "/none/token.so", "cannot be loaded"),
        ("KEYS__PKCS11_PIN_FILE", "/none/pin", "is missing"),
    ] {
        refused(&place, &[(setting, value)], 1, says);
    }
    token.write_pin("7301-not-it", 0o600);
    refused(&place, &[], 1, "it refuses the PIN");
    token.write_pin(PIN, 0o644);
    refused(&place, &[], 1, "can be read by others (mode 644)");
    token.write_pin(PIN, 0o600);
    let away = token.dir().join("away");
    fs::rename(token.tokens(), &away).unwrap();
    fs::create_dir(token.tokens()).unwrap();
    refused(&place, &[], 1, "no slot holds it");
    // Another token of the same label.
    token.init(LABEL);
    refused(&place, &[], 1, "it holds no key of vault epoch 1");
    assert_eq!(token.keys(), 0, "a refusal makes nothing");
    fs::remove_dir_all(token.tokens()).unwrap();
    fs::rename(&away, token.tokens()).unwrap();
    start(&place, &[]);
}

#[test]
fn roots_that_do_not_go_together_are_refused() {
    let (place, _token) = place();
    refused(&place, &[("KEYS__PKCS11_TOKEN", "")], 64, "needs pkcs11_module");
    refused(&place, &[("KEYS__ROOT", "key-file")], 64, "need [keys] root");
    refused(&place, &[("KEYS__ROOT", "hsm")], 64, "\"split\" or \"pkcs11\"");
    refused(&place, &[("STORAGE__ROOT_KEY", "/root.key")], 64, "leave out one of the two");
    assert!(!place.keys().exists(), "nothing was made");
}
