//! What a statement says of itself, of its keys, and of the ledger, held against each other and
//! against the lines of the pack. That its bytes are those that the server stated is known by then;
//! this is about whether the server's own words agree.

use std::collections::BTreeMap;

use crate::app::verify::Report;
use crate::crypto::sha256;
use crate::ledger::{Digest, Event, Recorded};
use crate::wire::retention::evidence::{Paper, STATEMENT_FILE, Said, SaidSite};

/// What to do where the server's own words do not agree.
const ASK: &str = "ask whoever runs the server how that came about, and take nothing from this \
                   statement until it is known";

/// Compares the members of a statement. `from` is the number of the first of the entries.
pub(super) fn check(said: &Said, from: u64, entries: &[Recorded], report: &mut Report) {
    keys(said, report);
    reads(said, from, entries, report);
    processors(said.processors.as_ref(), report);
    test_report(said.test_report.as_ref(), report);
    processing(said, report);
    if let Some(build) = said.build_sha256 {
        let sentence = format!("it names a program with SHA-256 {build}");
        report.checked.push(sentence);
    }
}

/// The list of keys has as many of each kind as the counts say.
fn keys(said: &Said, report: &mut Report) {
    // One of some sites lists theirs only.
    let Some(list) = said.key_list.as_ref().filter(|_| said.all_sites) else { return };
    let mut listed: BTreeMap<String, u64> = BTreeMap::new();
    for key in list.iter().filter(|key| key.state != "held") {
        *listed.entry(key.kind.clone()).or_insert(0) += 1;
    }
    if listed == said.keys {
        report.checked.push(format!("it lists {} keys, as many as it counts", list.len()));
    } else {
        report.find(
            format!("{STATEMENT_FILE}: the keys that it lists are not those that it counts"),
            ASK,
        );
    }
}

/// Reads of few are those of the lines.
fn reads(said: &Said, from: u64, entries: &[Recorded], report: &mut Report) {
    let Some(reads) = &said.privileged_reads else { return };
    let size = said.ledger.size;
    let end = entries.last().map_or(from, |last| last.number + 1);
    if from > 0 || end < size {
        report.unchecked.push(format!(
            "how often few read what few may read: the statement counts the entries 0 to {}, and \
             the lines are those from {from} to {}; take a pack of all of them to count again",
            size.saturating_sub(1),
            end.saturating_sub(1)
        ));
        return;
    }
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for entry in entries.iter().take_while(|entry| entry.number < size) {
        if let Event::PrivilegedRead { route, .. } = &entry.event {
            *counted.entry(route.to_string()).or_insert(0) += 1;
        }
    }
    if counted == *reads {
        let all: u64 = counted.values().sum();
        report.checked.push(format!("the {all} reads of few that it counts are in the lines"));
    } else {
        report.find(
            format!("{STATEMENT_FILE}: the reads of few that it counts are not those of the lines"),
            ASK,
        );
    }
}

fn processors(paper: Option<&Paper>, report: &mut Report) {
    let Some(paper) = paper else {
        report.unchecked.push(
            "who processes for whoever runs the server: the statement has no list; ask for one, \
             its place is the setting [evidence] processors"
                .to_owned(),
        );
        return;
    };
    let name = &paper.name;
    match (paper.sha256, &paper.text) {
        (Some(digest), Some(text)) if digest == Digest(sha256(&[text.as_bytes()])) => {
            report.checked.push(format!("its list of processors is {name} with SHA-256 {digest}"));
        }
        (Some(_), _) => report.find(
            format!("{STATEMENT_FILE}: the text of {name} is not the one that its SHA-256 is of"),
            ASK,
        ),
        (None, _) => report.unchecked.push(unread("the list of processors", name)),
    }
}

fn test_report(paper: Option<&Paper>, report: &mut Report) {
    let Some(paper) = paper else {
        report.unchecked.push(
            "which tests the program has passed: the statement names no report; ask for one, its \
             place is the setting [evidence] test_report"
                .to_owned(),
        );
        return;
    };
    let name = &paper.name;
    match paper.sha256 {
        Some(digest) => {
            report.checked.push(format!("its report of the tests is {name} with SHA-256 {digest}"));
        }
        None => report.unchecked.push(unread("the report of the tests", name)),
    }
}

/// The record of processing names the sites of the statement, and says what is missing of it.
fn processing(said: &Said, report: &mut Report) {
    let Some(record) = &said.processing_record else {
        report.unchecked.push(
            "the record of processing: an earlier build made the statement; have the pack exported \
             anew by the server of today"
                .to_owned(),
        );
        return;
    };
    let sorted = |sites: &[SaidSite]| {
        let mut sites = sites.to_vec();
        sites.sort_unstable();
        sites
    };
    if sorted(&record.controllers) != sorted(&said.sites) {
        report.find(
            format!("{STATEMENT_FILE}: its record of processing is not of the sites that it names"),
            ASK,
        );
    }
    let count = record.controllers.len();
    if record.missing.is_empty() {
        report.checked.push(format!("its record of processing names {count} controllers"));
    } else {
        let missing = record.missing.join(", ");
        report.unchecked.push(format!(
            "parts of the record of processing that only whoever runs the server can say: nothing \
             is said in {missing}; ask for it"
        ));
    }
}

fn unread(what: &str, name: &str) -> String {
    format!(
        "{what}: the server could not read {name} when it made the statement; have the file put \
         back in its place, and the pack exported anew"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Actor, Word};
    use crate::model::time::Timestamp;
    use crate::wire::retention::evidence::{SaidKey, SaidLedger, SaidProcessing};

    fn sites(ids: &[&str]) -> Vec<SaidSite> {
        ids.iter().map(|id| SaidSite { site_id: (*id).to_owned() }).collect()
    }

    fn said() -> Said {
        let key = |kind: &str, state: &str| SaidKey { kind: kind.into(), state: state.into() };
        let paper = |name: &str, text: Option<&str>| Paper {
            name: name.into(),
            sha256: Some(Digest(sha256(&[text.unwrap_or("other").as_bytes()]))),
            text: text.map(str::to_owned),
        };
        Said {
            all_sites: true,
            ledger: SaidLedger { name: "example.com/ledger".into(), size: 2 },
            build_sha256: Some(Digest([7; 32])),
            keys: [("bucket".to_owned(), 2), ("journal".to_owned(), 1)].into(),
            key_list: Some(vec![
                key("bucket", "living"),
                key("journal", "living"),
                key("bucket", "destroying"),
                key("bucket", "held"),
            ]),
            processors: Some(paper("processors.txt", Some("Hosting Ltd\n"))),
            test_report: Some(paper("report.xml", None)),
            privileged_reads: Some([("ledger".to_owned(), 1)].into()),
            sites: sites(&["A", "B"]),
            processing_record: Some(SaidProcessing {
                controllers: sites(&["B", "A"]),
                missing: Vec::new(),
            }),
        }
    }

    fn entries() -> Vec<Recorded> {
        let read = |number| Recorded {
            number,
            time: Timestamp(0),
            operation: number,
            actor: Actor::Server,
            event: Event::PrivilegedRead { route: Word::of("ledger"), site: None },
        };
        let started = Event::ServerStarted { version: Word::of("1") };
        vec![Recorded { event: started, ..read(0) }, read(1), read(2)]
    }

    fn report(said: &Said, from: u64, entries: &[Recorded]) -> Report {
        let mut report = Report::default();
        check(said, from, entries, &mut report);
        report
    }

    #[test]
    fn a_statement_that_agrees_has_no_findings() {
        let report = report(&said(), 0, &entries());
        assert_eq!((report.findings, report.unchecked), (Vec::new(), Vec::new()));
        assert_eq!(report.checked.len(), 6, "{:?}", report.checked);
    }

    #[test]
    fn what_does_not_agree_is_a_finding_that_says_what_to_do() {
        let good = said();
        let other = |change: &dyn Fn(&mut Said)| {
            let mut said = good.clone();
            change(&mut said);
            report(&said, 0, &entries())
        };
        for (report, what) in [
            (other(&|said| *said.keys.get_mut("bucket").unwrap() = 3), "the keys that it lists"),
            (
                other(&|said| *said.keys.entry("seen".into()).or_insert(0) += 1),
                "the keys that it lists",
            ),
            (other(&|said| said.privileged_reads = Some([].into())), "the reads of few"),
            (
                other(&|said| said.processors.as_mut().unwrap().text = Some("Nobody".into())),
                "the text of processors.txt",
            ),
            (other(&|said| said.processors.as_mut().unwrap().text = None), "the text of"),
            (other(&|said| drop(said.sites.pop())), "its record of processing"),
            (
                other(&|said| {
                    said.processing_record.as_mut().unwrap().controllers = sites(&["A", "C"]);
                }),
                "its record of processing",
            ),
        ] {
            let [finding] = &report.findings[..] else { panic!("{report:?}") };
            assert!(finding.contains(what) && finding.ends_with(ASK), "{finding}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let good = said();
        let from_one = report(&good, 1, &entries()[1..]);
        assert!(from_one.unchecked[0].contains("those from 1 to 2"), "{from_one:?}");
        let short = report(&good, 0, &entries()[..1]);
        assert!(short.unchecked[0].contains("those from 0 to 0"), "{short:?}");
        let unread = |paper: &mut Option<Paper>| {
            let name = paper.as_ref().unwrap().name.clone();
            *paper = Some(Paper { name, sha256: None, text: None });
        };
        let mut without = good.clone();
        unread(&mut without.processors);
        unread(&mut without.test_report);
        let said = report(&without, 0, &entries()).unchecked;
        assert!(
            said.len() == 2 && said.iter().all(|one| one.contains("could not read")),
            "{said:?}"
        );
        let mut part = good.clone();
        part.processing_record.as_mut().unwrap().missing = vec!["[evidence] transfers".into()];
        let said = report(&part, 0, &entries()).unchecked;
        assert!(said.len() == 1 && said[0].contains("[evidence] transfers; ask"), "{said:?}");
        let old = Said { processing_record: None, ..good.clone() };
        let said = report(&old, 0, &entries()).unchecked;
        assert!(said.len() == 1 && said[0].contains("exported anew"), "{said:?}");
        let none = Said { processors: None, test_report: None, ..good };
        let said = report(&none, 0, &entries()).unchecked;
        assert!(said.len() == 2 && said.iter().all(|one| one.contains("[evidence]")), "{said:?}");
    }
}
