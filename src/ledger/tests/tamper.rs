//! Nobody changes, drops, repeats, reorders or exchanges an entry without being found.

use std::path::PathBuf;

use super::*;
use crate::ledger::VerifierKey;
use crate::ledger::verify::{Against, Finding, Knower, Report, verify};

/// A ledger of a few entries, some of them in one group, with its second copy.
struct Case {
    _dir: tempfile::TempDir,
    settings: Settings,
    copy: PathBuf,
    key: VerifierKey,
    marks: Vec<LedgerMark>,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path());
        let copy = dir.path().join("copy");
        settings.second_copy = Some(copy.clone());
        let (ledger, _) = open(&settings);
        ledger.append(read_of(1)).unwrap();
        ledger.append(intent()).unwrap();
        let group = ledger.append_all(&[read_of(2), read_of(3), read_of(4)]).unwrap();
        let middle = group[0].as_ref().unwrap().mark();
        ledger.append(Entry::result(NOW, Actor::Server, 1, result())).unwrap();
        ledger.append(read_of(5)).unwrap();
        ledger.append(read_of(6)).unwrap();
        let (key, marks) = (ledger.verifier_key().clone(), vec![middle, mark(&ledger)]);
        Self { _dir: dir, settings, copy, key, marks }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.settings.dir.join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// With what the ledger's directory holds only.
    fn verify(&self) -> Report {
        let against = Against { key: &self.key, second_copy: None, marks: &[] };
        verify(&self.settings.dir, &against).unwrap()
    }

    fn verify_all(&self) -> Report {
        let second_copy = Some(self.copy.as_path());
        let against = Against { key: &self.key, second_copy, marks: &self.marks };
        verify(&self.settings.dir, &against).unwrap()
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        let bytes = self.bytes("entries.ndjson");
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }
}

/// Whether some finding names the entry first.
fn names(report: &Report, entry: usize) -> bool {
    report.findings.iter().any(|said| said.to_string().starts_with(&format!("entry {entry}:")))
}

#[test]
fn a_good_ledger_has_no_findings() {
    let case = Case::new();
    let report = case.verify_all();
    assert!(report.is_good(), "{:?}", report.findings);
    // The one over nothing and six appends here; the copy has the newest, and of the others those
    // that it was given in time.
    assert_eq!(report.size, 8);
    assert!((8..=14).contains(&report.checkpoints), "{}", report.checkpoints);
    assert_eq!(report.root, case.marks[1].root);
}

#[test]
fn every_changed_byte_of_the_entries_is_found_and_named() {
    let case = Case::new();
    let good = case.bytes("entries.ndjson");
    let hashes = case.bytes("hashes");
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        case.put("entries.ndjson", &bytes);
        let entry = good[..at].iter().filter(|byte| **byte == b'\n').count();
        let report = case.verify();
        assert!(names(&report, entry), "byte {at} of entry {entry}: {:?}", report.findings);
        // Without the kept hashes too, though then only the group may be known.
        if at % 16 == 0 {
            std::fs::remove_file(case.path("hashes")).unwrap();
            assert!(!case.verify().is_good());
            case.put("hashes", &hashes);
        }
    }
}

#[test]
fn every_changed_byte_of_the_checkpoints_is_found() {
    let case = Case::new();
    for (path, against_copy) in [(case.path("checkpoints"), false), (case.copy.clone(), true)] {
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            let report = if against_copy { case.verify_all() } else { case.verify() };
            assert!(!report.is_good(), "byte {at}");
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert!(case.verify_all().is_good());
}

#[test]
fn dropped_repeated_and_swapped_entries_are_found_and_named() {
    let case = Case::new();
    let good = case.lines();
    let put = |lines: &[Vec<u8>]| case.put("entries.ndjson", &lines.concat());
    for entry in 0..good.len() {
        let mut lines = good.clone();
        lines.remove(entry);
        put(&lines);
        assert!(names(&case.verify(), entry), "dropped {entry}");
        for place in entry..=good.len() {
            let mut lines = good.clone();
            lines.insert(place, good[entry].clone());
            put(&lines);
            assert!(names(&case.verify(), entry), "{entry} again at {place}");
        }
        for other in entry + 1..good.len() {
            let mut lines = good.clone();
            lines.swap(entry, other);
            put(&lines);
            let report = case.verify();
            assert!(names(&report, entry), "{entry} and {other}: {:?}", report.findings);
        }
    }
}

#[test]
fn a_cut_tail_is_found_at_every_byte() {
    let case = Case::new();
    let good = case.bytes("entries.ndjson");
    for length in 0..good.len() {
        case.put("entries.ndjson", &good[..length]);
        let entry = good[..length].iter().filter(|byte| **byte == b'\n').count();
        let report = case.verify();
        assert!(names(&report, entry), "{length}: {:?}", report.findings);
    }
    // With the checkpoints cut as well, keys and second copy know.
    let lines = case.lines_of(&good);
    case.put("entries.ndjson", &lines[..6].concat());
    let notes = String::from_utf8(case.bytes("checkpoints")).unwrap();
    let whole: Vec<&str> = notes.split_inclusive('\n').collect();
    case.put("checkpoints", whole[..whole.len() - 10].concat().as_bytes());
    assert!(case.verify().is_good());
    let found = case.verify_all().findings;
    for by in [Knower::SecondCopy, Knower::Keys] {
        assert!(found.contains(&Finding::Short { by, from: 6, size: 8 }), "{found:?}");
    }
}

impl Case {
    fn lines_of(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }
}

#[test]
fn another_history_of_the_same_key_is_found() {
    let case = Case::new();
    for from in 0..8u64 {
        // The operator's own fork: the same key signs other entries from there on.
        let dir = tempfile::tempdir().unwrap();
        let mut fork = settings(dir.path());
        fork.signing_key = case.settings.signing_key.clone();
        let (ledger, _) = open(&fork);
        let lines = case.lines();
        for (no, line) in (0..8).zip(&lines) {
            let entry = super::super::Recorded::decode(line.trim_ascii_end()).unwrap();
            let (time, actor) = (entry.time, entry.actor);
            let entry = match entry.event.phase() {
                _ if no >= from => read_of(100 + no),
                Phase::Result => Entry::result(time, actor, entry.operation, entry.event),
                _ => Entry::new(time, actor, entry.event),
            };
            ledger.append(entry).unwrap();
        }
        drop(ledger);
        let alone = Against { key: &case.key, second_copy: None, marks: &[] };
        assert!(verify(&fork.dir, &alone).unwrap().is_good());
        let copied = Against { second_copy: Some(&case.copy), ..alone };
        let found = verify(&fork.dir, &copied).unwrap().findings;
        let [Finding::Root { by: Knower::SecondCopy, from: first, to }] = found[..] else {
            panic!("{found:?}")
        };
        assert!((first..=to).contains(&from), "{from}: {first} to {to}");
        let marked = Against { marks: &case.marks, ..alone };
        assert!(!verify(&fork.dir, &marked).unwrap().is_good());
    }
}

/// A second copy that is behind proves less, and the report says from where on.
#[test]
fn a_second_copy_that_is_behind_is_told() {
    let case = Case::new();
    assert_eq!(case.verify_all().second, Some(8));
    assert_eq!(case.verify().second, None);
    let own = String::from_utf8(case.bytes("checkpoints")).unwrap();
    let notes: Vec<String> =
        own.split_inclusive('\n').collect::<Vec<_>>().chunks(5).map(<[&str]>::concat).collect();
    // The first four: over 0, 1, 2 and 5 entries.
    std::fs::write(&case.copy, notes[..4].concat()).unwrap();
    let behind = case.verify_all();
    assert!(behind.is_good());
    assert_eq!((behind.second, behind.size), (Some(5), 8));
    std::fs::remove_file(&case.copy).unwrap();
    assert_eq!(case.verify_all().second, None);
}

#[test]
fn wrong_checkpoints_are_found() {
    let case = Case::new();
    let good = String::from_utf8(case.bytes("checkpoints")).unwrap();
    let notes: Vec<String> =
        good.split_inclusive('\n').collect::<Vec<_>>().chunks(5).map(<[&str]>::concat).collect();
    let found = |notes: &[String]| {
        case.put("checkpoints", notes.concat().as_bytes());
        case.verify().findings
    };
    // Of the right form and key, over another tree.
    let key = key_file::load(&case.settings.signing_key).unwrap();
    let mut wrong = notes.clone();
    wrong[3] = key.sign(5, [9; 32]).unwrap().to_string();
    assert_eq!(found(&wrong), [Finding::Root { by: Knower::Checkpoints, from: 2, to: 4 }]);
    // By another key of the same name.
    wrong[3] = signer().sign(5, [9; 32]).unwrap().to_string();
    assert_eq!(found(&wrong), [Finding::Signature(Knower::Checkpoints, 5)]);
    let mut swapped = notes.clone();
    swapped.swap(2, 3);
    assert_eq!(found(&swapped), [Finding::Order(Knower::Checkpoints, 2)]);
    assert_eq!(case.verify().signed(), None, "a kill exchanges nothing");
    assert_eq!(found(&notes[..6]), [Finding::Unsigned(7)]);
    assert_eq!(case.verify().signed(), Some(7));
    // The copy knows more than they sign: somebody set them back.
    assert_eq!(case.verify_all().signed(), None);
    // A torn one at the end is what a kill leaves; one with others behind it is not.
    let torn = &notes[6][..notes[6].len() / 2];
    case.put("checkpoints", [notes[..6].concat(), torn.to_owned()].concat().as_bytes());
    assert_eq!(case.verify().signed(), Some(7));
    let broken = "broken\n".repeat(5);
    found(&[&notes[..1], &[broken][..], &notes[2..], &notes[2..]].concat());
    assert_eq!(case.verify().signed(), None);
    case.put("checkpoints", good.as_bytes());
    // The same of the copy, which the next start mends.
    let copy = std::fs::read(&case.copy).unwrap();
    std::fs::write(&case.copy, &good[..good.len() - 20]).unwrap();
    assert!(!case.verify_all().is_good());
    assert_eq!(case.verify_all().signed(), Some(8));
    std::fs::write(&case.copy, &copy).unwrap();
    assert_eq!(found(&[]), [Finding::NoCheckpoint(Knower::Checkpoints), Finding::Unsigned(0)]);
    let longer = [&notes[..], &[key.sign(9, [9; 32]).unwrap().to_string()]].concat();
    let short = Finding::Short { by: Knower::Checkpoints, from: 8, size: 9 };
    assert_eq!(found(&longer), [short]);
    // A checkpoint that is gone from the middle leaves nothing unproved.
    let fewer = [&notes[..2], &notes[4..]].concat();
    assert_eq!(found(&fewer), []);
    std::fs::remove_file(case.path("checkpoints")).unwrap();
    assert!(matches!(
        case.verify().findings[..],
        [Finding::Unreadable(Knower::Checkpoints, std::io::ErrorKind::NotFound)]
    ));
}

#[test]
fn results_without_an_intent_are_found() {
    let case = Case::new();
    let mut lines = case.lines();
    let text = String::from_utf8(lines[5].clone()).unwrap();
    lines[5] = text.replace("\"operation\":1", "\"operation\":2").into_bytes();
    case.put("entries.ndjson", &lines.concat());
    assert!(case.verify().findings.contains(&Finding::NoIntent(5)));
}
