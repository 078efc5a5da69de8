//! What the ledger answers.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use super::*;
use crate::ledger::{KeyFileError, Recorded, Witness, tree, verify_proof};

#[test]
fn entries_come_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (ledger, opened) = open(&settings);
    assert_eq!((opened.size, opened.cut_bytes, opened.rebuilt), (0, 0, false));
    assert_eq!(mark(&ledger), LedgerMark::default());
    let begun = ledger.append(intent()).unwrap();
    assert_eq!((begun.index, begun.operation, begun.size), (0, 0, 1));
    assert_eq!(ledger.append(read_of(4)).unwrap().operation, 1);
    assert!(matches!(Ledger::open(&settings, NOW), Err(LedgerError::Locked(_))));
    let before = (ledger.head().unwrap(), ledger.read(0, 10).unwrap());
    drop(ledger);

    let (ledger, opened) = open(&settings);
    assert_eq!((opened.size, opened.cut_bytes, opened.rebuilt), (2, 0, false));
    assert_eq!((ledger.head().unwrap(), ledger.read(0, 10).unwrap()), before);
    let unfinished = ledger.unfinished().unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!((unfinished[0].operation, &unfinished[0].event), (0, &intent().event));
    let ended = ledger.append(Entry::result(NOW, Actor::Server, 0, result())).unwrap();
    assert_eq!((ended.index, ended.operation), (2, 0));
    assert!(ledger.unfinished().unwrap().is_empty());
    drop(ledger);
    assert!(open(&settings).0.unfinished().unwrap().is_empty());
    for private in [settings.dir.join("entries.ndjson"), settings.signing_key] {
        assert_eq!(std::fs::metadata(private).unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_line_is_what_an_auditor_expects() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&settings(dir.path()));
    ledger.append(read_of(0)).unwrap();
    ledger.append(intent()).unwrap();
    let lines = ledger.read(0, 2).unwrap();
    assert_eq!(
        lines[0],
        [
            r#"{"number":0,"time":"2026-11-22T04:16:00Z","operation":0,"phase":"done","kind":"p"#,
            r#"rivileged_read","actor":"abcdefgh01234567","fields":{"route":"subjects/access",""#,
            r#"site":"SITE-0"}}"#,
        ]
        .concat()
    );
    assert_eq!(
        lines[1],
        [
            r#"{"number":1,"time":"2026-11-22T04:16:00Z","operation":1,"phase":"intent","kind":"#,
            r#""destruction","actor":"server","fields":{"profile":"kr-pipa","buckets":[{"class""#,
            r#":"records","epoch":"2026-05","rule":"kr-pipa/c2","due":"2026-11-22T04:16:00Z","s"#,
            r#"ites":["SITE-1","SITE-2"]}],"keys":{"count":4,"ranges":[[7,9],[12,12]]},"com"#,
            r#"mitments":"c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5c5"}}"#,
        ]
        .concat()
    );
}

#[test]
fn results_belong_to_an_open_intent_of_their_kind() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&settings(dir.path()));
    let end = |operation| ledger.append(Entry::result(NOW, Actor::Server, operation, result()));
    assert!(matches!(end(0), Err(LedgerError::NoOperation(0))));
    let erasure = one_of_each().swap_remove(14);
    assert_eq!((erasure.kind(), erasure.phase()), ("erasure", Phase::Intent));
    ledger.append(Entry::new(NOW, somebody(), erasure)).unwrap();
    assert!(matches!(end(0), Err(LedgerError::NoOperation(0))));
    ledger.append(intent()).unwrap();
    assert!(end(1).is_ok());
    assert!(matches!(end(1), Err(LedgerError::NoOperation(1))));
    let astray = [
        Entry::new(NOW, Actor::Server, result()),
        Entry::result(NOW, Actor::Server, 0, intent().event),
        Entry::new(Timestamp(-1), Actor::Server, read_of(0).event),
        Entry::new(NOW, Actor::Server, Event::ServerStarted { version: Word::of("a b") }),
        Entry::new(NOW, Actor::Server, Event::ServerStarted { version: Word::of("") }),
    ];
    for entry in &astray {
        assert!(matches!(ledger.append(entry.clone()), Err(LedgerError::Unfit)));
    }
    // One that has no place does not keep others out.
    let answers = ledger.append_all(&[astray[0].clone(), read_of(1), astray[4].clone()]).unwrap();
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(ledger.head().unwrap().size, 4);
}

#[test]
fn many_threads_append_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let ledger = Arc::new(open(&settings).0);
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let ledger = Arc::clone(&ledger);
            std::thread::spawn(move || {
                let append = |no| (no, ledger.append(read_of(no)).unwrap());
                (thread * 25..thread * 25 + 25).map(append).collect::<Vec<_>>()
            })
        })
        .collect();
    let receipts: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let lines = ledger.read(0, 1_000).unwrap();
    assert_eq!(lines.len(), 200);
    for (no, receipt) in receipts {
        let entry = Recorded::decode(lines[receipt.index as usize].as_bytes()).unwrap();
        assert_eq!(entry.event, read_of(no).event);
        assert_eq!(ledger.root(receipt.size).unwrap(), receipt.root);
        assert!(receipt.size > receipt.index);
        ledger.covers(receipt.mark()).unwrap();
    }
    drop(ledger);
    assert_eq!(open(&settings).1.size, 200);
}

#[test]
fn proofs_stand_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&settings(dir.path()));
    let key = ledger.verifier_key().clone();
    (0..13).for_each(|no| assert!(ledger.append(read_of(no)).is_ok()));
    for index in 0..13 {
        let proof = ledger.proof(index).unwrap();
        let text = proof.to_json().unwrap();
        let proof = crate::ledger::Proof::parse(text.as_bytes()).unwrap();
        assert_eq!(verify_proof(&proof, &key).unwrap().event, read_of(index).event);
        // No byte of it can be changed.
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1 << (at % 7);
            let read = crate::ledger::Proof::parse(&changed);
            assert!(read.and_then(|proof| verify_proof(&proof, &key)).is_err(), "{index} {at}");
        }
    }
    let other = crate::ledger::VerifierKey::parse(
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    );
    let refused = verify_proof(&ledger.proof(3).unwrap(), &other.unwrap());
    assert_eq!(refused, Err(crate::ledger::ProofError::Signature));
    for from in 0..=13 {
        let (old, new) = (ledger.root(from).unwrap(), ledger.root(13).unwrap());
        let proof = ledger.consistency(from, 13).unwrap();
        assert!(tree::verify_consistency((from, old), (13, new), &proof));
    }
    for asked in [ledger.inclusion(13, 13), ledger.inclusion(0, 14), ledger.consistency(3, 2)] {
        assert!(matches!(asked, Err(LedgerError::Beyond { .. })));
    }
    assert!(matches!(ledger.proof(13), Err(LedgerError::Beyond { asked: 13, size: 13 })));
    assert!(ledger.read(13, 5).unwrap().is_empty() && ledger.read(99, 5).unwrap().is_empty());
    assert_eq!(ledger.read(11, u64::MAX).unwrap().len(), 2);
}

#[test]
fn a_ledger_that_does_not_cover_the_keys_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    let (ledger, _) = open(&settings);
    let marks: Vec<_> = (0..5).map(|no| ledger.append(read_of(no)).unwrap().mark()).collect();
    let (size, root) = (marks[2].size, marks[3].root);
    let forked = LedgerMark { size, root };
    let ahead = LedgerMark { size: 6, root };
    marks.iter().for_each(|mark| ledger.covers(*mark).unwrap());
    ledger.covers(LedgerMark::default()).unwrap();
    let refusal = ledger.covers(forked).unwrap_err();
    assert!(matches!(refusal, LedgerError::Forked { witness: Witness::Keys, size: 3 }));
    let refusal = ledger.covers(ahead).unwrap_err();
    assert!(matches!(refusal, LedgerError::Behind { theirs: 6, ours: 5, .. }));
    assert!(refusal.to_string().contains("older than that; put back"), "{refusal}");
    drop(ledger);
    settings.marks = marks;
    drop(open(&settings));
    settings.marks.push(forked);
    assert!(matches!(refused(&settings), LedgerError::Forked { size: 3, .. }));
    settings.marks[5] = ahead;
    assert!(matches!(refused(&settings), LedgerError::Behind { .. }));
}

#[test]
fn the_key_belongs_to_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    open(&settings).0.append(read_of(1)).unwrap();
    let key = std::fs::read(&settings.signing_key).unwrap();
    std::fs::remove_file(&settings.signing_key).unwrap();
    let refusal = refused(&settings);
    assert!(matches!(refusal, LedgerError::Key(KeyFileError::Missing(_))), "{refusal}");
    key_file::create(&settings.signing_key, NAME).unwrap();
    assert!(matches!(refused(&settings), LedgerError::OtherKey));
    std::fs::remove_file(settings.dir.join("verifier.key")).unwrap();
    assert!(matches!(refused(&settings), LedgerError::Signature));
    std::fs::remove_file(settings.dir.join("verifier.key")).unwrap();
    std::fs::write(&settings.signing_key, key).unwrap();
    assert_eq!(open(&settings).1.size, 1);
}

#[test]
fn a_line_that_was_changed_under_a_running_ledger_is_not_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path());
    let (ledger, _) = open(&settings);
    (0..3).for_each(|no| assert!(ledger.append(read_of(no)).is_ok()));
    for name in ["entries.ndjson", "ends"] {
        let path = settings.dir.join(name);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            assert!(ledger.read(0, 3).is_err(), "byte {at} of {name}");
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert_eq!(ledger.read(0, 3).unwrap().len(), 3);
}
