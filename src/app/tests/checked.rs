//! The offline check of a server's files: each finding says what is wrong and what to do.

use super::*;
use crate::app::verify::{Report, Request, run};

/// Each finding with an act in it.
fn act_on(report: &Report) -> Vec<&str> {
    let told = |finding: &String| {
        let (_, advice) = finding.split_once("; ").unwrap_or_default();
        let acts = ["put back", "put the file back", "--", "check again", "tell your auditor"];
        acts.iter().any(|act| advice.contains(act))
    };
    assert!(report.findings.iter().all(told), "{:#?}", report.findings);
    report.findings.iter().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_finding_of_the_offline_check_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    start(place).await.drain().await;
    let check = |request: &Request| run(&settings(place), request);
    let plain = Request { keys_named: true, ..Request::default() };
    assert_eq!(act_on(&check(&plain)), [""; 0]);
    let says = |report: &Report, what: &str| {
        let found = act_on(report);
        assert!(found.iter().any(|finding| finding.contains(what)), "{what}: {found:?}");
    };
    // Keys that are gone, and keys that say nothing.
    for entry in std::fs::read_dir(place.join("data-keys")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !["vek.home", "register.a", "register.b"].contains(&name.as_str()) {
            continue;
        }
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, vec![7; good.len()]).unwrap();
        says(&check(&plain), &name);
        std::fs::remove_file(&path).unwrap();
        says(&check(&plain), "is missing");
        std::fs::write(&path, good).unwrap();
    }
    // A key file that is none, and one of another ledger.
    let file = place.join("other.key");
    std::fs::write(&file, "nonsense").unwrap();
    let named = Request { key: Some(file.clone()), ..plain.clone() };
    says(&check(&named), "holds no public key of a ledger");
    let other = tempfile::tempdir().unwrap();
    start(other.path()).await.drain().await;
    std::fs::copy(other.path().join("data-ledger/verifier.key"), &file).unwrap();
    let report = check(&named);
    says(&report, "is not the public key in");
    says(&report, "is not signed by the ledger's key");
    // A second copy that is not there.
    let second = Request { second: Some(place.join("nowhere")), ..plain.clone() };
    says(&check(&second), "the second copy of the checkpoints: cannot be read");
    // Places where nothing is.
    let mut elsewhere = settings(place);
    elsewhere.store.data = place.join("nowhere");
    says(&run(&elsewhere, &plain), "nowhere");
    let mut elsewhere = settings(place);
    elsewhere.ledger.dir = place.join("nowhere");
    let own = Request { key: Some(place.join("data-ledger/verifier.key")), ..plain.clone() };
    says(&run(&elsewhere, &own), "cannot be read");
    // Lines that are gone, changed, and more than are signed.
    let path = place.join("data-ledger/entries.ndjson");
    let good = std::fs::read(&path).unwrap();
    let cut = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    std::fs::write(&path, &good[..cut]).unwrap();
    says(&check(&plain), "missing, with all that follow");
    std::fs::write(&path, &good[cut..]).unwrap();
    says(&check(&plain), "entry 0: missing");
    let mut changed = good.clone();
    changed[cut / 2] ^= 1;
    std::fs::write(&path, changed).unwrap();
    says(&check(&plain), "entry 0:");
    std::fs::write(&path, [&good[..], &good[..cut]].concat()).unwrap();
    says(&check(&plain), "comes again");
    std::fs::write(&path, &good).unwrap();
    assert_eq!(act_on(&check(&plain)), [""; 0]);
}
