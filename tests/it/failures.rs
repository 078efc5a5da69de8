//! What cannot work is refused in one plain sentence, and nothing is kept or counted (F1, D1).

use crate::support::{self, Place, run_to_end, start, start_alive};

/// The sentence of a process that refused its start.
#[track_caller]
fn refused(place: &Place, says: &str) {
    let ended = run_to_end(place, &[]);
    assert!(!ended.status.success(), "{ended:?}");
    assert!(ended.output.contains(says), "{}", ended.output);
}

#[test]
fn data_without_its_keys_is_refused() {
    let place = Place::new();
    drop(start(&place, &[]));
    std::fs::remove_dir_all(place.keys()).unwrap();
    refused(&place, "holds no keys");
    assert!(!place.keys().join("register.a").exists(), "no new vault beside old data");
}

#[test]
fn keys_of_other_data_are_refused() {
    let (place, other) = (Place::new(), Place::new());
    drop(start(&place, &[]));
    drop(start(&other, &[]));
    std::fs::remove_dir_all(place.keys()).unwrap();
    std::fs::rename(other.keys(), place.keys()).unwrap();
    refused(&place, "belongs to another data directory");
}

#[test]
fn one_damaged_copy_of_the_register_is_repaired_and_two_are_refused() {
    let place = Place::new();
    drop(start(&place, &[]));
    let damage = |name: &str| {
        let path = place.keys().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4_096..4_160].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
    };
    damage("register.a");
    drop(start(&place, &[]));
    damage("register.a");
    damage("register.b");
    refused(&place, "register");
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let place = Place::new();
    let _running = start(&place, &[]);
    refused(&place, "in use");
}

#[test]
fn a_disk_with_little_room_takes_no_records() {
    let place = Place::new();
    // More than any disk has, within the setting's bounds.
    let server = start_alive(&place, &[("STORAGE__FREE_BYTES", "1099511627776")]);
    server.wait_for("/readyz", 503);
    support::put_site(&server, "A", "{}");
    let token = support::producer_token(&server);
    let now = jiff::Timestamp::now();
    let line = format!(
        r#"{{"event_id":"1","type":"drm.license.issued","site_id":"A","occurred_at":"{now:.0}",
        "outcome":"success","user_id":"u"}}"#
    );
    let answer = support::post_records(&server, &token, &line.replace('\n', ""));
    assert_eq!(answer.status, 507, "{answer:?}");
    assert!(answer.header("retry-after").is_some());
    let month = now.strftime("%Y-%m").to_string();
    let billing = support::billing_token(&server);
    assert_eq!(support::usage(&server, &billing, "A", &month)["mau"], 0);
}
