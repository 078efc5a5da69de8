//! No id of a person leaves the request path (P1, P2; checks 1 to 4 and 7): marked
//! ids go everywhere where a caller could put one, and then every file, log, metric and answer is
//! searched for every spelling of every one of them.

mod bodies;
pub mod ids;
mod opened;
mod plant;
mod requests;
pub mod search;

use crate::support::{self, PATIENCE, Place, Server};
use requests::Sender;
use search::{Finder, Hit};
use std::time::Instant;

/// Answers that show a site's own sentinels to its operator.
const SITE_ANSWERS: [&str; 2] = ["PUT /v1/sites/CANARY-SITE", "GET /v1/sites"];

/// Sends everything, as good and as bad, in every format.
fn send_everything(server: &Server) -> Sender {
    let mut sender = Sender::new(server);
    sender.make_site();
    sender.good_records();
    sender.bad_records();
    sender.open_backfill();
    sender.broken_bodies();
    sender.headers_and_urls();
    sender.operator_bodies();
    sender.other_bodies(server);
    sender.no_http();
    sender
}

/// Searches what lies on the disk and what was said.
fn search(sender: &Sender, place: &Place, said: &[(String, Vec<u8>)]) {
    let canaries = sender.canaries();
    let finder = Finder::new(&canaries);
    assert!(canaries.len() > 3_000 && finder.len() > 200_000, "{} canaries", canaries.len());
    let mut hits = Vec::new();
    for directory in [place.data(), place.keys(), place.ledger()] {
        let (files, bytes, found) = finder.search_files(&directory);
        assert!(files >= 5 && bytes > 1_000, "{files} files, {bytes} bytes in {directory:?}");
        hits.extend(found);
    }
    for (name, bytes) in sender.answers().iter().chain(said) {
        hits.extend(finder.search(name, bytes));
    }
    hits.retain(|hit| !is_own_sentinel(hit));
    let count = hits.len();
    hits.truncate(40);
    assert!(hits.is_empty(), "{count} spellings leaked: {hits:#?}");
}

/// An operator may read the sentinels that an operator wrote.
fn is_own_sentinel(hit: &Hit) -> bool {
    hit.name == "sentinel" && SITE_ANSWERS.iter().any(|answer| hit.place.starts_with(answer))
}

/// Searches what lies sealed: so many rows of blocks and batches of the journal at least.
fn search_opened(sender: &Sender, place: &Place, (blocks, batches): (usize, usize)) {
    let mut canaries = sender.canaries();
    canaries.retain(opened::identifies);
    assert!(canaries.len() > 1_000, "{} canaries", canaries.len());
    let finder = Finder::new(&canaries);
    let (rows, groups) = opened::plain(place);
    assert!(rows.len() >= blocks && groups.len() >= batches, "{} {}", rows.len(), groups.len());
    let all = rows.iter().chain(&groups);
    let hits: Vec<Hit> = all.flat_map(|(name, bytes)| finder.search(name, bytes)).collect();
    assert!(hits.is_empty(), "{} spellings are sealed: {:#?}", hits.len(), hits.first());
    // The search bites: what describes is there as it came.
    let kept = |(_, bytes): &(String, Vec<u8>)| memchr::memmem::find(bytes, b"movie-1").is_some();
    assert!(rows.iter().chain(&groups).any(kept), "no row was opened");
}

/// Check 58, over every spelling of every canary.
fn check_58_nothing_leaks_into_evidence(sender: &Sender, pack: &std::path::Path) {
    let finder = Finder::new(&sender.canaries());
    let (files, bytes, hits) = finder.search_files(pack);
    assert!(files >= 6 && bytes > 10_000, "{files} files, {bytes} bytes");
    assert!(hits.is_empty(), "{hits:#?}");
}

/// What the process has said, and that none of its tasks panicked.
fn logs(text: &str) -> (String, Vec<u8>) {
    assert!(text.contains("ready"), "{text}");
    assert!(!text.contains("panic"), "{text}");
    ("log".to_owned(), text.as_bytes().to_vec())
}

/// The bytes of the files in the data directory whose names end so.
fn bytes_of(place: &Place, end: &str) -> u64 {
    let entries = std::fs::read_dir(place.data()).unwrap().map(Result::unwrap);
    let wanted = entries.filter(|entry| entry.path().to_str().unwrap().ends_with(end));
    wanted.map(|entry| entry.metadata().unwrap().len()).sum()
}

/// An evidence pack of what was sent, for the search.
fn evidence(server: &Server, place: &Place) -> std::path::PathBuf {
    let auditor = support::make_token(server, "auditor", &["*"]);
    let pack = place.path().join("pack");
    let exported = support::evidence(server, &auditor, &pack);
    assert!(exported.status.success(), "{exported:?}");
    pack
}

#[test]
fn nothing_leaks_into_the_log_of_the_store() {
    let place = Place::new();
    let settings = [("LOG__LEVEL", "debug"), ("FOLD__SECONDS", "86400")];
    let server = support::start(&place, &settings);
    let sender = send_everything(&server);
    let metrics = sender.metrics();
    assert_eq!(requests::metric(&metrics, "blindtally_folds_total"), 0);
    let said = [logs(&server.logs()), ("/metrics".to_owned(), metrics.into_bytes())];
    server.kill();
    assert!(bytes_of(&place, ".log") > 100_000, "the records are not in the store's log");
    assert_eq!(bytes_of(&place, ".sst"), 0);
    search(&sender, &place, &said);
    search_opened(&sender, &place, (0, 100));
}

#[test]
fn nothing_leaks_into_tables() {
    let place = Place::new();
    let settings =
        [("LOG__LEVEL", "debug"), ("FOLD__SECONDS", "1"), ("FOLD__SEGMENT_BYTES", "65536")];
    let server = support::start(&place, &settings);
    let mut sender = send_everything(&server);
    let folds = |sender: &Sender| requests::metric(&sender.metrics(), "blindtally_folds_total");
    let before = folds(&sender);
    sender.good_records();
    // An erasure would wait for it.
    sender.close_backfill();
    sender.people(&support::make_token(&server, "privacy", &["*"]));
    sender.open_backfill();
    let deadline = Instant::now() + PATIENCE;
    while folds(&sender) <= before {
        assert!(Instant::now() < deadline, "no fold after {before}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let metrics = sender.metrics();
    assert!(requests::metric(&metrics, "blindtally_folded_rows_total") > 100);
    let mut said = vec![("/metrics".to_owned(), metrics.into_bytes())];
    let pack = evidence(&server, &place);
    let ended = server.terminate();
    assert!(ended.status.success(), "{ended:?}");
    said.push(logs(&ended.output));
    // A second start writes what the log of the store still holds into tables.
    let again = support::start(&place, &settings).terminate();
    assert!(again.status.success(), "{again:?}");
    said.push(logs(&again.output));
    assert!(bytes_of(&place, ".sst") > 100_000, "the records are not in tables");
    search(&sender, &place, &said);
    check_58_nothing_leaks_into_evidence(&sender, &pack);
    search_opened(&sender, &place, (100, 0));
}
