//! The ledger of the real server: what it holds, who may read it, what `blindtally verify` says of
//! it, and what a start refuses (L1).

use std::path::{Path, PathBuf};

use blindtally::engine::{self, Engine};
use blindtally::keys::{self, KeyRing, Said};
use blindtally::ledger::{
    Actor, Alarm, Credential, Entry, Event, Ledger, Recorded, Settings, VerifierKey,
};
use blindtally::model::time::{SystemClock, Timestamp};
use blindtally::store;

use super::check;
use crate::support::{
    Place, Server, ask, get, make_token, post_records, producer_token, put_site, run_to_end, start,
    verify,
};

/// Every entry of the server's ledger; the last is this very reading.
#[track_caller]
fn entries(server: &Server, auditor: &str) -> Vec<Recorded> {
    let answer = get(server, auditor, "/v1/ledger?limit=1000");
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.json();
    let items = page["items"].as_array().unwrap();
    assert_eq!(page["size"].as_u64(), Some(items.len() as u64));
    let decode = |item: &serde_json::Value| {
        Recorded::decode(item.as_str().unwrap().as_bytes()).expect("an entry")
    };
    items.iter().map(decode).collect()
}

fn credential(token: &str) -> Credential {
    Credential::parse(token.split('_').nth(1).unwrap()).unwrap()
}

/// A licence of site `A`, now.
fn line(event: &str) -> String {
    let now = jiff::Timestamp::now();
    format!(
        "{{\"event_id\":\"{event}\",\"type\":\"drm.license.issued\",\"site_id\":\"A\",\
         \"occurred_at\":\"{now:.0}\",\"outcome\":\"success\",\"user_id\":\"u-{event}\"}}\n"
    )
}

/// A server that has made keys for a record, and has ended.
fn used(place: &Place) {
    let server = start(place, &[]);
    put_site(&server, "A", "{}");
    let answer = post_records(&server, &producer_token(&server), &line("1"));
    assert_eq!(answer.count("accepted"), 1, "{answer:?}");
    server.kill();
}

/// Every file of a directory.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|at| at.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

fn put_back(files: &[(PathBuf, Vec<u8>)]) {
    for (path, bytes) in files {
        std::fs::write(path, bytes).unwrap();
    }
}

/// The sentence of a process that refused its start.
#[track_caller]
fn refused(place: &Place, says: &str) {
    let ended = run_to_end(place, &[]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let plain: Vec<&str> = ended.output.lines().filter(|line| !line.starts_with('{')).collect();
    assert!(plain.len() == 1 && plain[0].contains(says), "{says}: {plain:?}");
}

/// What `verify` found, and that it found it.
#[track_caller]
fn found(place: &Place, arguments: &[&str], says: &str) {
    let ended = verify(place, arguments);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    let mut findings = ended.output.lines().filter(|line| line.starts_with("Finding: "));
    let found = findings.find(|finding| finding.contains(says));
    let found = found.unwrap_or_else(|| panic!("{says}: {}", ended.output));
    let acts = ["put back", "put the file back", "check again", "tell your auditor", "--"];
    assert!(acts.iter().any(|act| found.contains(act)), "it does not say what to do: {found}");
}

/// The entry of a token with this role, for all sites or for one.
fn issued(token: &str, role: &str, all: bool) -> impl Fn(&Event) -> bool {
    let (token, role) = (credential(token), role.to_owned());
    move |event| match event {
        Event::TokenIssued { token: of, role: is, all_sites, sites, .. } => {
            let scope = *all_sites == all && sites.len() == usize::from(!all);
            *of == token && is.as_str() == role && scope
        }
        _ => false,
    }
}

#[test]
fn it_holds_what_was_done() {
    let place = Place::new();
    let server = start(&place, &[]);
    put_site(&server, "A", "{}");
    let operator = server.operator_token();
    let producer = producer_token(&server);
    let auditor = make_token(&server, "auditor", &["*"]);
    let answer = post_records(&server, &producer, &(line("1") + &line("2")));
    assert_eq!(answer.count("accepted"), 2, "{answer:?}");
    let path = format!("/v1/tokens/{}", credential(&producer));
    assert_eq!(ask(&server, &operator, "DELETE", &path, &[], b"").status, 204);
    assert_eq!(get(&server, &operator, "/v1/tokens").status, 200);
    assert_eq!(get(&server, &auditor, "/v1/tokens").status, 403);

    let all = entries(&server, &auditor);
    let mut rest = Vec::new();
    let mut generation = None;
    for (at, entry) in all.iter().enumerate() {
        assert_eq!((entry.number, entry.operation), (at as u64, at as u64));
        match &entry.event {
            // One for each write: no generation is missing.
            Event::RegisterWritten { generation: now, vek_epoch: 1, .. } => {
                let before = generation.replace(*now);
                assert!(before.is_none_or(|before| before + 1 == *now), "{entry:?}");
                assert_eq!(entry.actor, Actor::Server);
            }
            _ => rest.push((entry.actor.clone(), entry.event.clone())),
        }
    }
    let made: u64 = all
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::RegisterWritten { made, .. } => Some(made.count()),
            _ => None,
        })
        .sum();
    assert!(made >= 8, "keys of a month, a day, a journal and the state: {made}");
    let by = |token: &str| Actor::Credential(credential(token));
    let revoked = Event::TokenRevoked { token: credential(&producer) };
    let wanted: [(Actor, &dyn Fn(&Event) -> bool); 7] = [
        (Actor::Server, &|event| matches!(event, Event::ServerStarted { .. })),
        (Actor::Server, &issued(&operator, "operator", true)),
        (Actor::Server, &|event| matches!(event, Event::PolicyAdopted { .. })),
        (by(&operator), &issued(&producer, "producer", true)),
        (by(&operator), &issued(&auditor, "auditor", true)),
        (by(&operator), &|event| *event == revoked),
        (by(&auditor), &|event| matches!(event, Event::PrivilegedRead { site: None, .. })),
    ];
    assert_eq!(rest.len(), wanted.len(), "{rest:#?}");
    for ((actor, event), (who, is)) in rest.iter().zip(wanted) {
        assert!(*actor == who && is(event), "{actor} {event:?}");
    }

    let metrics = get(&server, &operator, "/metrics").text();
    assert!(metrics.contains(&format!("blindtally_ledger_entries_total {}\n", all.len())));
    assert!(metrics.contains("blindtally_ledger_second_copy_behind 0\n"), "{metrics}");
    outsiders_agree(&place, &server, &auditor);
}

/// Head and proofs as an outsider checks them, and the files with the second implementation.
fn outsiders_agree(place: &Place, server: &Server, auditor: &str) {
    let head = get(server, auditor, "/v1/ledger/head").json();
    let key = head["verifier_key"].as_str().unwrap();
    let note = ask(server, auditor, "GET", "/v1/ledger/head", &[("accept", "text/plain")], b"");
    assert_eq!(note.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(Some(note.text().as_str()), head["checkpoint"].as_str());
    let file = place.path().join("proof.json");
    for index in [0, 3] {
        let proof = get(server, auditor, &format!("/v1/ledger/{index}/proof"));
        std::fs::write(&file, &proof.body).unwrap();
        let (good, said) = check(key, &[Path::new("--proof"), &file]);
        assert!(good, "{said}");
    }
    let size = head["size"].as_u64().unwrap() + 2;
    let written = std::fs::read_to_string(place.ledger().join("verifier.key")).unwrap();
    assert_eq!(written.trim(), key);
    let mut arguments = vec![place.ledger().display().to_string()];
    for file in keys::marks(&keys::Settings::in_dir(place.keys())).unwrap() {
        let Said::Mark(mark) = file.said else { panic!("{file:?}") };
        // The VEK home is written by a turn-over only.
        assert_eq!(mark.size == 0, file.path.ends_with("vek.home"), "{file:?}");
        if mark.size > 0 {
            let root: String = mark.root.iter().map(|byte| format!("{byte:02x}")).collect();
            arguments.extend(["--mark".to_owned(), format!("{}:{root}", mark.size)]);
        }
    }
    let (good, said) = check(key, &arguments);
    assert!(good && said.contains(&format!("{size} entries")), "{said}");
}

#[test]
fn no_secret_is_in_its_files() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let server = start(&place, &[]);
    let tokens = [server.operator_token(), producer_token(&server)];
    server.kill();
    let signing = place.keys().join("ledger-signing.key");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.ledger()), mode(&signing)), (0o700, 0o600));
    let private = std::fs::read_to_string(&signing).unwrap();
    // Base64 may have a plus sign, too.
    let seed = private.trim().splitn(5, '+').nth(4).unwrap().to_owned();
    assert!(seed.len() > 40, "a whole key");
    for (path, bytes) in files(&place.ledger()) {
        let text = String::from_utf8_lossy(&bytes);
        for token in &tokens {
            let secret = token.splitn(3, '_').nth(2).unwrap();
            assert!(!text.contains(secret), "{path:?}");
        }
        assert!(!text.contains(&seed), "{path:?}");
    }
    let entries = std::fs::read_to_string(place.ledger().join("entries.ndjson")).unwrap();
    assert!(tokens.iter().all(|token| entries.contains(&credential(token).to_string())));
}

#[test]
fn verify_says_what_it_checked_and_finds_what_was_changed() {
    let place = Place::new();
    used(&place);
    let key = place.path().join("auditor.key");
    std::fs::copy(place.ledger().join("verifier.key"), &key).unwrap();
    let data_before = files(&place.data());
    let good = verify(&place, &["--key", key.to_str().unwrap()]);
    assert_eq!(good.status.code(), Some(0), "{}", good.output);
    for says in [
        "Checked: the ledger in ",
        "register.a knows of ",
        "Checked: the data directory ",
        "Not checked: whether ledger and keys were set back together",
        "Not checked: what is sealed",
        "Everything that was checked agrees.",
    ] {
        assert!(good.output.contains(says), "{says}: {}", good.output);
    }
    assert!(!good.output.contains("is the right key"), "{}", good.output);
    assert_eq!(files(&place.data()), data_before, "verify changed the data directory");
    assert!(verify(&place, &[]).output.contains("Not checked: whether "), "the key lies beside it");

    let ledger = files(&place.ledger());
    let path = place.ledger().join("entries.ndjson");
    let text = std::fs::read(&path).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut flipped = text.clone();
    let at = lines[0].len() + lines[1].len() + 60;
    flipped[at] ^= 1;
    std::fs::write(&path, flipped).unwrap();
    found(&place, &[], "entry 2:");
    refused(&place, "entry 2 in entries.ndjson was changed");
    let mut dropped = lines.clone();
    dropped.remove(3);
    std::fs::write(&path, dropped.concat()).unwrap();
    found(&place, &[], "entry 3: missing");
    refused(&place, "entry 3 in entries.ndjson was changed");
    put_back(&ledger);

    // Another key, other keys, other data.
    let other = Place::new();
    used(&other);
    let other_key = other.ledger().join("verifier.key");
    found(&place, &["--key", other_key.to_str().unwrap()], "not signed by the ledger's key");
    found(&place, &["--key", other_key.to_str().unwrap()], "is not the public key in");
    let other_keys = other.keys();
    found(&place, &["--keys", other_keys.to_str().unwrap()], "the key register or the VEK home");
    found(&place, &["--keys", "/nowhere"], "is missing");
    std::fs::remove_file(place.data().join("CURRENT")).unwrap();
    found(&place, &[], "data");
}

#[test]
fn an_older_a_forked_and_a_lost_ledger_are_refused() {
    let place = Place::new();
    used(&place);
    let older = files(&place.ledger());
    let old_size = std::fs::read_to_string(place.ledger().join("entries.ndjson")).unwrap();
    let old_size = old_size.lines().count();
    used_again(&place);
    let newest = files(&place.ledger());

    put_back(&older);
    refused(&place, &format!("the ledger has {old_size} entries but the key register"));
    assert_eq!(files(&place.ledger()), older, "a refusal changes nothing");
    found(&place, &[], &format!("entry {old_size}: missing, with all that follow"));

    // The same key signs another history that is long enough.
    let settings = Settings {
        dir: place.ledger(),
        signing_key: place.keys().join("ledger-signing.key"),
        name: String::new(),
        second_copy: None,
        marks: Vec::new(),
    };
    let (forked, _) = Ledger::open(&settings, Timestamp(0)).unwrap();
    let event = Event::Alarm { reason: Alarm::ClockBack };
    let entry = Entry::new(Timestamp(1_795_320_960_000), Actor::Server, event);
    let alarms = vec![entry; 100];
    assert!(forked.append_all(&alarms).unwrap().iter().all(Result::is_ok));
    drop(forked);
    refused(&place, "are not those that the key register or the VEK home knows");
    found(&place, &[], "changed or exchanged");

    std::fs::remove_dir_all(place.ledger()).unwrap();
    refused(&place, "holds no ledger, but the keys know of one");
    assert!(!place.ledger().exists(), "no new ledger beside keys that know of one");
    found(&place, &[], "holds no public key of a ledger");

    std::fs::create_dir(place.ledger()).unwrap();
    put_back(&newest);
    drop(start(&place, &[]));
    assert_eq!(verify(&place, &[]).status.code(), Some(0));
    std::fs::remove_file(place.keys().join("ledger-signing.key")).unwrap();
    refused(&place, "signing key");
}

/// Another life of the server, with keys of its own.
fn used_again(place: &Place) {
    let server = start(place, &[]);
    put_site(&server, "B", "{}");
    assert_eq!(server.terminate().status.code(), Some(0));
}

#[test]
fn a_second_copy_finds_what_was_set_back_together() {
    let place = Place::new();
    let copy = place.path().join("copy");
    let settings = [("LEDGER__SECOND_COPY", copy.to_str().unwrap())];
    assert_eq!(start(&place, &settings).terminate().status.code(), Some(0));
    let older = [files(&place.ledger()), files(&place.keys())].concat();
    // The copy is written by the way, so that a kill may come before; the end of a drain does not.
    assert_eq!(start(&place, &settings).terminate().status.code(), Some(0));
    let second = ["--second", copy.to_str().unwrap()];
    let good = verify(&place, &second);
    assert_eq!(good.status.code(), Some(0), "{}", good.output);
    assert!(!good.output.contains("set back together"), "{}", good.output);
    put_back(&older);
    assert_eq!(verify(&place, &[]).status.code(), Some(0), "nothing else can tell");
    found(&place, &second, "the second copy of the checkpoints knows of");
    let ended = run_to_end(&place, &settings);
    assert!(ended.output.contains("the second copy of the checkpoints knows of"), "{ended:?}");
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn copies_out_of_reach_leave_alarms() {
    let place = Place::new();
    let gone = place.path().join("gone");
    let settings = [
        ("LEDGER__SECOND_COPY", gone.join("checkpoints")),
        ("KEYS__COPIES", gone.join("register")),
    ];
    let settings = settings.each_ref().map(|(name, path)| (*name, path.to_str().unwrap()));
    let server = start(&place, &settings);
    let auditor = make_token(&server, "auditor", &["*"]);
    let wanted = [Alarm::SecondCopyUnreachable, Alarm::RegisterCopyUnreachable];
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    loop {
        let alarms: Vec<Alarm> = entries(&server, &auditor)
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::Alarm { reason } => Some(*reason),
                _ => None,
            })
            .collect();
        if wanted.iter().all(|wanted| alarms.contains(wanted)) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{alarms:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let metrics = get(&server, &server.operator_token(), "/metrics").text();
    assert!(metrics.contains("blindtally_ledger_second_copy_behind 1\n"), "{metrics}");
    assert!(metrics.contains("blindtally_register_copies_behind 1\n"), "{metrics}");
}

/// An installation of the version before the ledger: its keys know of none.
#[test]
fn data_from_before_the_ledger_is_taken_over() {
    let place = Place::new();
    std::fs::create_dir(place.data()).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(place.keys())).unwrap();
    let settings = store::Settings { data: place.data(), block_cache_bytes: 1 << 20 };
    let store = store::Store::open(&settings).unwrap();
    let clock = std::sync::Arc::new(SystemClock);
    let engine = Engine::open(store, ring, engine::Settings::default(), clock).unwrap();
    engine.stop();
    drop(engine);
    assert!(!place.ledger().exists());
    let before = verify(&place, &["--keys", place.keys().to_str().unwrap()]);
    assert!(before.output.contains("knows of no ledger yet"), "{}", before.output);
    // A kill may leave an entry that is not signed yet.
    assert_eq!(start(&place, &[]).terminate().status.code(), Some(0));
    let after = verify(&place, &[]);
    assert_eq!(after.status.code(), Some(0), "{}", after.output);
    let key = std::fs::read_to_string(place.ledger().join("verifier.key")).unwrap();
    let name = VerifierKey::parse(&key).unwrap().name().to_owned();
    assert!(name.starts_with("blindtally/") && name.len() == "blindtally/".len() + 16, "{name}");
}

#[test]
fn a_ledger_without_room_refuses_the_start() {
    let place = Place::new();
    drop(start(&place, &[]));
    // The keys are new, the ledger reads as empty, and its disk is full.
    for dir in [place.data(), place.keys(), place.ledger()] {
        std::fs::remove_dir_all(dir).unwrap();
    }
    std::fs::create_dir(place.ledger()).unwrap();
    std::os::unix::fs::symlink("/dev/full", place.ledger().join("entries.ndjson")).unwrap();
    refused(&place, "the ledger");
    let marks = keys::marks(&keys::Settings::in_dir(place.keys())).unwrap();
    let unmarked = |said: &Said| matches!(said, Said::Mark(mark) if mark.size == 0);
    assert!(marks.iter().all(|file| unmarked(&file.said)), "written without an entry: {marks:?}");
}
