//! The second copy of the checkpoints.

use super::*;
use crate::ledger::{Recorded, SecondCopy, Witness};

fn alarms(ledger: &Ledger) -> Vec<Alarm> {
    let lines = ledger.read(0, 1_000).unwrap();
    let events = lines.iter().map(|line| Recorded::decode(line.as_bytes()).unwrap().event);
    let alarms = events.filter_map(|event| match event {
        Event::Alarm { reason } => Some(reason),
        _ => None,
    });
    alarms.collect()
}

#[test]
fn it_follows_every_append() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    let copy = dir.path().join("copy");
    settings.second_copy = Some(copy.clone());
    let (ledger, opened) = open(&settings);
    assert_eq!(opened.second_copy, SecondCopy::InStep);
    (0..3).for_each(|no| assert!(ledger.append(read_of(no)).is_ok()));
    let own = std::fs::read(settings.dir.join("checkpoints")).unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), own);
    drop(ledger);
    let (ledger, _) = open(&settings);
    ledger.append(read_of(4)).unwrap();
    assert_eq!(
        std::fs::read(&copy).unwrap(),
        std::fs::read(settings.dir.join("checkpoints")).unwrap()
    );
    assert_eq!(alarms(&ledger), []);
}

#[test]
fn out_of_reach_it_alarms_once_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    let mount = dir.path().join("mount");
    settings.second_copy = Some(mount.join("copy"));
    let (ledger, opened) = open(&settings);
    assert!(matches!(opened.second_copy, SecondCopy::Unreachable(_)));
    assert_eq!((opened.size, alarms(&ledger)), (1, vec![Alarm::SecondCopyUnreachable]));
    ledger.append(read_of(1)).unwrap();
    assert!(matches!(ledger.second_copy(), SecondCopy::Unreachable(_)));
    std::fs::create_dir(&mount).unwrap();
    ledger.append(read_of(2)).unwrap();
    assert_eq!(ledger.second_copy(), SecondCopy::InStep);
    assert_eq!(alarms(&ledger).len(), 1);
    let noted = std::fs::read_to_string(mount.join("copy")).unwrap();
    assert_eq!(noted, ledger.head().unwrap().to_string());
    drop(ledger);
    std::fs::remove_file(mount.join("copy")).unwrap();
    let (ledger, _) = open(&settings);
    assert_eq!(alarms(&ledger), [Alarm::SecondCopyUnreachable, Alarm::SecondCopyNew]);
    assert_eq!(ledger.second_copy(), SecondCopy::InStep);
}

#[test]
fn it_finds_an_older_and_a_forked_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.second_copy = Some(dir.path().join("copy"));
    let (ledger, _) = open(&settings);
    (0..3).for_each(|no| assert!(ledger.append(read_of(no)).is_ok()));
    let files = ["entries.ndjson", "checkpoints", "hashes", "ends"];
    let old = files.map(|name| std::fs::read(settings.dir.join(name)).unwrap());
    (3..6).for_each(|no| assert!(ledger.append(read_of(no)).is_ok()));
    drop(ledger);
    let back = || {
        for (name, bytes) in files.iter().zip(&old) {
            std::fs::write(settings.dir.join(name), bytes).unwrap();
        }
    };
    back();
    let refusal = refused(&settings);
    let witness = Witness::SecondCopy;
    assert!(
        matches!(refusal, LedgerError::Behind { witness: w, theirs: 6, ours: 3 } if w == witness),
        "{refusal}"
    );
    // Another history of the same key, as long as the one that was copied.
    let alone = Settings { second_copy: None, ..settings.clone() };
    let (ledger, _) = open(&alone);
    (13..17).for_each(|no| assert!(ledger.append(read_of(no)).is_ok()));
    drop(ledger);
    let refusal = refused(&settings);
    assert!(matches!(refusal, LedgerError::Forked { size: 6, .. }), "{refusal}");
}

#[test]
fn a_copy_of_something_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    let copy = dir.path().join("copy");
    settings.second_copy = Some(copy.clone());
    let foreign = signer().sign(3, [1; 32]).unwrap().to_string();
    for text in
        [foreign.clone(), foreign.replace('3', "4"), "not a note\n".repeat(9), "mine\n".into()]
    {
        std::fs::write(&copy, &text).unwrap();
        let (ledger, opened) = open(&settings);
        assert_eq!(opened.second_copy, SecondCopy::Disagrees);
        ledger.append(read_of(1)).unwrap();
        assert_eq!(alarms(&ledger).last(), Some(&Alarm::SecondCopyDisagrees));
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), text);
    }
    // A torn end is cut, and the next checkpoint follows what is whole.
    std::fs::remove_file(&copy).unwrap();
    drop(open(&settings));
    let whole = std::fs::read_to_string(&copy).unwrap();
    std::fs::write(&copy, format!("{whole}{}", &foreign[..40])).unwrap();
    let (ledger, _) = open(&settings);
    ledger.append(read_of(2)).unwrap();
    let head = ledger.head().unwrap().to_string();
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), format!("{whole}{head}"));
}
