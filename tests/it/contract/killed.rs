//! The whole server is killed (SIGKILL) while it destroys, a write of the ledger later each time:
//! ledger, keys, data and certificates agree about what came of it.

use std::collections::BTreeMap;

use super::clocked::Clocked;
use super::*;
use crate::support::verify;

const DAY: i64 = 86_400;
const BEGIN: &str = "2026-11-10T12:00:00Z";
/// Kills, each a write later than the one before. An entry takes two or three writes.
const ROUNDS: u32 = 12;
/// Writes before the first kill: there the lots are still due.
const BEFORE: u32 = 5;

fn text(second: i64) -> String {
    jiff::Timestamp::from_second(second).unwrap().to_string()
}

/// Posts 50 records of each site.
fn post(server: &Clocked, round: u32, at: &str) {
    for site in ["A", "B"] {
        let line = |event: u32| {
            let record = license(&format!("{site}-{round}-{event}"), "u");
            format!("{}\n", with(&with(&record, "site_id", site), "occurred_at", at))
        };
        let lines: String = (0..50).map(line).collect();
        assert_eq!(server.lines(&lines).count("accepted"), 50);
    }
}

fn items(server: &Clocked, auditor: &str, path: &str, name: &str) -> Vec<Value> {
    let answer = server.send(auditor, "GET", path, &[], "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()[name].as_array().unwrap().clone()
}

/// The entries of the ledger, all of them.
fn entries(server: &Clocked, auditor: &str) -> Vec<Value> {
    let mut entries: Vec<Value> = Vec::new();
    loop {
        let path = format!("/v1/ledger?from={}&limit=1000", entries.len());
        let page = items(server, auditor, &path, "items");
        let done = page.len() < 1_000;
        let entry = |line: &Value| serde_json::from_str::<Value>(line.as_str().unwrap()).unwrap();
        entries.extend(page.iter().map(entry));
        if done {
            return entries;
        }
    }
}

/// Days of records by their state, each with its certificate.
fn days(server: &Clocked, auditor: &str) -> Vec<(String, Value)> {
    let lots = items(server, auditor, "/v1/retention?limit=10000", "lots");
    let of = |lot: &Value| (lot["state"].as_str().unwrap().to_owned(), lot["certificate"].clone());
    let is_day = |lot: &&Value| lot["epoch"].as_str().unwrap().len() == 10;
    lots.iter().filter(is_day).filter(|lot| lot["class"] == "records").map(of).collect()
}

/// Each lot of records has one intent that was carried out, with one result and one certificate,
/// and each result was verified.
fn agrees(server: &Clocked, auditor: &str) -> u64 {
    let (mut intents, mut results, mut certificates) =
        (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for entry in entries(server, auditor) {
        let fields = &entry["fields"];
        match (entry["kind"].as_str().unwrap(), entry["phase"].as_str().unwrap()) {
            ("destruction", "intent") => {
                assert!(intents.insert(entry["operation"].as_u64(), fields.clone()).is_none());
            }
            ("destruction", "result") => {
                assert_eq!(fields["verification"]["passed"], json!(true), "{entry}");
                assert!(results.insert(entry["operation"].as_u64(), fields.clone()).is_none());
            }
            ("certificate_issued", _) => {
                assert!(certificates.insert(fields["destruction"].as_u64(), ()).is_none());
            }
            _ => {}
        }
    }
    assert!(intents.keys().eq(results.keys()), "{intents:?} {results:?}");
    assert!(intents.keys().eq(certificates.keys()));
    let mut lots = BTreeMap::<String, u32>::new();
    for bucket in intents.values().flat_map(|of| of["buckets"].as_array().unwrap()) {
        for site in bucket["sites"].as_array().unwrap() {
            let lot = format!("{} {} {site}", bucket["class"], bucket["epoch"]);
            *lots.entry(lot).or_default() += 1;
        }
    }
    assert!(lots.values().all(|times| *times == 1), "{lots:?}");
    results.values().map(|of| of["records"].as_u64().unwrap()).sum()
}

#[test]
fn check_36_a_server_that_is_killed_finishes_its_run() {
    let mut server = Clocked::outside(BEGIN);
    let (custodian, auditor) = (server.token("custodian", 365), server.token("auditor", 365));
    for site in ["A", "B"] {
        let put = server.operate(
            "PUT",
            &format!("/v1/sites/{site}"),
            r#"{"retention":{"records_days":1}}"#,
        );
        assert!(put.status < 300, "{put:?}");
    }
    let mut now = BEGIN.parse::<jiff::Timestamp>().unwrap().as_second();
    for round in 0..ROUNDS {
        post(&server, round, &text(now));
        for _ in 0..3 {
            now += DAY;
            server.until(&text(now));
        }
        server = server.killed_running(&custodian, BEFORE + round);
        // What the start did not finish the next run does; nobody is told of it before.
        for (state, certificate) in days(&server, &auditor) {
            assert_eq!(state == "certified", !certificate.is_null(), "{state} {certificate}");
        }
        let ran = server.send(&custodian, "POST", "/v1/retention/run", &[JSON], "");
        assert_eq!((ran.status, ran.count("failed")), (200, 0), "{ran:?}");
        let days = days(&server, &auditor);
        assert!(days.iter().all(|(state, _)| state == "certified"), "{days:?}");
        assert_eq!(agrees(&server, &auditor), u64::from(round + 1) * 100);
    }
    let place = server.stop();
    let verified = verify(&place, &[]);
    assert!(verified.status.success(), "{}", verified.output);
}
