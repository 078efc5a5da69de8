//! What cannot work is refused in one plain sentence, and nothing is kept or counted (F1, D1).

mod load;

use blindtally::store;

use crate::support::{self, Place, Server, run_to_end, start, start_alive};

/// The sentence of a process that refused its start.
#[track_caller]
fn refused(place: &Place, says: &str) {
    let ended = run_to_end(place, &[]);
    assert!(!ended.status.success(), "{ended:?}");
    // Beside the log, which is one JSON object a line.
    let plain: Vec<&str> = ended.output.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(plain.len(), 1, "{plain:?}");
    assert!(plain[0].contains(says), "{plain:?}");
    assert!(plain[0].ends_with('.') && !plain[0].ends_with(".."), "{plain:?}");
}

/// A server with one record at site `A`.
fn with_a_record(place: &Place) -> (Server, String) {
    let server = start(place, &[]);
    support::put_site(&server, "A", "{}");
    let answer = support::post_records(&server, &support::producer_token(&server), &line("1"));
    assert_eq!(answer.count("accepted"), 1, "{answer:?}");
    let billing = support::billing_token(&server);
    (server, billing)
}

/// A licence of site `A`, now.
fn line(event: &str) -> String {
    let now = jiff::Timestamp::now();
    format!(
        "{{\"event_id\":\"{event}\",\"type\":\"drm.license.issued\",\"site_id\":\"A\",\
         \"occurred_at\":\"{now:.0}\",\"outcome\":\"success\",\"user_id\":\"u-{event}\"}}\n"
    )
}

/// The users of site `A` over the month that is now and the one that may just have ended.
#[track_caller]
fn users(server: &Server, billing: &str) -> u64 {
    let now = jiff::Timestamp::now();
    let before = now - jiff::SignedDuration::from_hours(1);
    let mut months = vec![now.strftime("%Y-%m").to_string()];
    months.extend(Some(before.strftime("%Y-%m").to_string()).filter(|month| *month != months[0]));
    let mau = |month: &String| support::usage(server, billing, "A", month)["mau"].as_u64();
    months.iter().map(|month| mau(month).expect("a number")).sum()
}

#[test]
fn data_without_its_keys_is_refused() {
    let place = Place::new();
    drop(start(&place, &[]));
    for file in ["vek.home", "register.a", "register.b"] {
        std::fs::remove_file(place.keys().join(file)).unwrap();
    }
    refused(&place, "holds no keys");
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
    refused(&place, "the ledger directory and the signing key that belong together");
    std::fs::remove_dir_all(place.ledger()).unwrap();
    std::fs::rename(other.ledger(), place.ledger()).unwrap();
    refused(&place, "belongs to another data directory");
}

#[test]
fn a_missing_part_of_the_keys_is_refused_and_never_made_anew() {
    for part in ["root.key", "vek.home", "register.a", "register.b"] {
        let place = Place::new();
        drop(start(&place, &[]));
        let path = place.keys().join(part);
        std::fs::remove_file(&path).unwrap();
        refused(&place, part);
        assert!(!path.exists(), "{part}");
    }
}

#[test]
fn one_damaged_copy_of_the_register_is_repaired_and_two_are_refused() {
    let place = Place::new();
    let (server, billing) = with_a_record(&place);
    server.kill();
    let damage = |name: &str, at: usize| {
        let path = place.keys().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&path, bytes).unwrap();
    };
    let copies = || ["register.a", "register.b"].map(|name| std::fs::read(place.keys().join(name)));
    for (name, at) in [("register.a", 32), ("register.a", 4_096), ("register.b", 4_096)] {
        damage(name, at);
        let server = start(&place, &[]);
        assert!(server.logs().contains("repaired"), "{}", server.logs());
        assert_eq!(users(&server, &billing), 1);
        server.kill();
    }
    damage("register.a", 4_096);
    damage("register.b", 4_096);
    let before = copies().map(Result::unwrap);
    refused(&place, "register");
    assert_eq!(copies().map(Result::unwrap), before, "a refusal changes nothing");
}

/// Writes another number into the row that names the data's format.
fn say_format(place: &Place, number: &str) {
    let settings = store::Settings { data: place.data(), block_cache_bytes: 1 << 20 };
    let tables = store::Store::open(&settings).unwrap();
    let mut changes = store::Changes::default();
    let format = format!("blindtally data format {number}");
    changes.put(store::Table::Meta, *b"format", format.into_bytes());
    tables.apply(&changes).unwrap();
}

#[test]
fn a_later_format_is_refused_and_an_earlier_one_goes_on() {
    let place = Place::new();
    let (server, billing) = with_a_record(&place);
    server.kill();
    for earlier in ["1", "2", "3", "4", "5", "6"] {
        say_format(&place, earlier);
        let server = start(&place, &[]);
        assert_eq!(users(&server, &billing), 1);
        server.kill();
    }
    say_format(&place, "8");
    refused(&place, "another format (8) than this program's (7)");
}

#[test]
fn damaged_tables_are_refused() {
    let place = Place::new();
    let (server, _) = with_a_record(&place);
    server.kill();
    // A start writes what the log held into tables.
    assert_eq!(start(&place, &[]).terminate().status.code(), Some(0));
    let mut damaged = 0;
    for entry in std::fs::read_dir(place.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[..32].iter_mut().for_each(|byte| *byte ^= 0x5a);
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0, "there are no tables");
    refused(&place, "data");
}

#[test]
fn a_server_that_says_it_is_ready_drains_when_it_is_told_to_end() {
    let place = Place::new();
    for _ in 0..4 {
        let ended = start(&place, &[]).terminate();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(ended.output.contains("stopped"), "{ended:?}");
    }
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
    let (server, billing) = with_a_record(&place);
    assert_eq!(server.terminate().status.code(), Some(0));
    // More than any disk has, within the setting's bounds.
    let server = start_alive(&place, &[("STORAGE__FREE_BYTES", "1099511627776")]);
    server.wait_for("/readyz", 503);
    let token = support::producer_token(&server);
    let again = line("2");
    let answer = support::post_records(&server, &token, &again);
    assert_eq!(answer.status, 507, "{answer:?}");
    let retry = answer.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
    assert!(retry.is_some_and(|seconds| seconds > 0), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.json()["status"], 507);
    assert_eq!(users(&server, &billing), 1, "reading goes on, and nothing was counted");
    server.kill();
    let server = start(&place, &[]);
    assert_eq!(users(&server, &billing), 1);
    let answer = support::post_records(&server, &token, &again);
    assert_eq!(answer.count("accepted"), 1, "it was not kept before: {answer:?}");
    assert_eq!(users(&server, &billing), 2);
}

#[test]
fn a_command_line_that_cannot_be_read_exits_with_64() {
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_blindtally"));
        command.args(arguments).output().unwrap()
    };
    for arguments in [&["serve", "--nope"][..], &["nope"], &[], &["token", "create"]] {
        let ended = run(arguments);
        assert_eq!(ended.status.code(), Some(64), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{ended:?}");
    }
    for arguments in [&["--help"][..], &["serve", "--help"], &["--version"]] {
        assert_eq!(run(arguments).status.code(), Some(0), "{arguments:?}");
    }
}
