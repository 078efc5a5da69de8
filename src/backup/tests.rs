//! The desk of backups over a source that has no room, and what is checked before anything is put
//! back. The whole way of a backup is tested with the whole server, in `app` and in `tests/it`.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::audit::fake::audit;
use crate::ledger::Recorded;
use crate::model::caller::{Role, SiteScope};
use crate::wire::backup::FileDoc;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_320_960_000)
    }
}

fn operator() -> Caller {
    crate::usage::fake::caller(Role::Operator, SiteScope::All)
}

fn events(desk: &Backups) -> Vec<Event> {
    let lines = desk.0.ledger.read(0, 100).unwrap();
    lines.iter().map(|line| Recorded::decode(line.as_bytes()).unwrap().event).collect()
}

#[tokio::test]
async fn without_a_directory_there_are_no_backups() {
    let (_kept, audit) = audit();
    let desk = fake::desk(None, Arc::clone(audit.ledger()), Arc::new(Still));
    let begun = desk.begin(&operator(), &mut b"{}".to_vec()).await;
    assert_eq!(begun, Err(BackupError::NotConfigured));
    assert_eq!(desk.list().await, Err(BackupError::NotConfigured));
    assert_eq!(desk.tidy().await, Ok(()));
    assert_eq!(events(&desk), [], "nothing was begun");
}

/// A medium that is not mounted is no fault of the server, and its mount point is not written to.
#[tokio::test]
async fn a_directory_that_is_not_there_is_said_and_not_made() {
    let (kept, audit) = audit();
    let root = kept.path().join("backups");
    let desk = fake::desk(Some(&root), Arc::clone(audit.ledger()), Arc::new(Still));
    let begun = desk.begin(&operator(), &mut b"{}".to_vec()).await;
    assert_eq!(begun, Err(BackupError::NotThere));
    assert_eq!(desk.list().await, Err(BackupError::NotThere));
    assert!(events(&desk).is_empty() && !root.exists());
}

#[tokio::test]
async fn a_failure_is_seen_and_is_in_the_ledger() {
    let (kept, audit) = audit();
    let root = kept.path().join("backups");
    std::fs::create_dir(&root).unwrap();
    let desk = fake::desk(Some(&root), Arc::clone(audit.ledger()), Arc::new(Still));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let begun = desk.begin(&operator(), &mut br#"{"name":"b1"}"#.to_vec()).await.unwrap();
    assert_eq!(text(begun), r#"{"name":"b1","operation":0,"state":"running"}"#);
    let failed = loop {
        let read = text(desk.read("b1").await.unwrap());
        if !read.contains("running") {
            break read;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(failed, r#"{"name":"b1","state":"failed","why":"data_disk_full"}"#);
    let events = events(&desk);
    assert_eq!(events[0], Event::BackupIntent { register_generation: 1 });
    let Event::BackupResult { outcome, manifest, .. } = &events[1] else { panic!("{events:?}") };
    assert_eq!((outcome.as_str(), *manifest), ("failed", None));
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "nothing is left of it");
    assert_eq!(desk.read("b2").await, Err(BackupError::NotFound));
    std::fs::create_dir(root.join("b2")).unwrap();
    let again = desk.begin(&operator(), &mut br#"{"name":"b2"}"#.to_vec()).await;
    assert_eq!(again, Err(BackupError::Exists));
}

#[tokio::test]
async fn what_a_cut_left_is_removed_and_said() {
    let (kept, audit) = audit();
    let root = kept.path().join("backups");
    let (own, other) = (Vault([1; 16]), Vault([2; 16]));
    let [own, other] = [own, other].map(|vault| root.join(found::partial("b1", vault)));
    std::fs::create_dir_all(own.join("data")).unwrap();
    // Of a server that keeps its backups in the same directory, and perhaps makes one now.
    std::fs::create_dir_all(other.join("data")).unwrap();
    // Of an earlier program, which did not say in the name whose it is: its manifest may.
    std::fs::create_dir_all(root.join("b1.partial")).unwrap();
    for (name, vault) in [("old.partial", Vault([1; 16])), ("older.partial", Vault([2; 16]))] {
        let backup = root.join(name);
        std::fs::rename(made(&root), &backup).unwrap();
        let file = backup.join(MANIFEST);
        let manifest = Manifest::parse(&std::fs::read(&file).unwrap()).unwrap();
        std::fs::write(&file, Manifest { vault, ..manifest }.to_bytes()).unwrap();
    }
    std::fs::create_dir_all(root.join("of others")).unwrap();
    let intent = Event::BackupIntent { register_generation: 1 };
    audit.note_now(Actor::Server, intent.clone()).unwrap();
    let desk = fake::desk(Some(&root), Arc::clone(audit.ledger()), Arc::new(Still));
    for _ in 0..2 {
        desk.tidy().await.unwrap();
        let events = events(&desk);
        assert_eq!(events.len(), 2);
        let Event::BackupResult { outcome, .. } = &events[1] else { panic!("{events:?}") };
        assert_eq!(outcome.as_str(), "cut");
    }
    assert!(!own.exists() && other.exists());
    assert!(root.join("b1.partial").exists() && root.join("of others").exists());
    assert!(!root.join("old.partial").exists() && root.join("older.partial").exists());
}

/// A cut between the name of a backup and its result: nothing that the ledger does not know is
/// said to be made.
#[tokio::test]
async fn a_backup_that_lacks_its_result_gets_it_or_goes() {
    for whole in [true, false] {
        let (kept, audit) = audit();
        let root = kept.path().join("backups");
        std::fs::create_dir(&root).unwrap();
        let backup = root.join("b1");
        std::fs::rename(made(&root), &backup).unwrap();
        if !whole {
            std::fs::write(backup.join(DATA).join("CURRENT"), "on").unwrap();
        }
        let intent = Event::BackupIntent { register_generation: 1 };
        audit.note_now(Actor::Server, intent.clone()).unwrap();
        let desk = fake::desk(Some(&root), Arc::clone(audit.ledger()), Arc::new(Still));
        let listed = || async { String::from_utf8(desk.list().await.unwrap()).unwrap() };
        let damaged = r#"{"items":[{"name":"b1","state":"damaged"}]}"#;
        assert_eq!(listed().await, damaged, "a restore would refuse it");
        for _ in 0..2 {
            desk.tidy().await.unwrap();
            let events = events(&desk);
            assert_eq!(events.len(), 2);
            let Event::BackupResult { outcome, manifest, files, bytes, barrier } = &events[1]
            else {
                panic!("{events:?}")
            };
            if whole {
                let text = std::fs::read(backup.join(MANIFEST)).unwrap();
                assert_eq!(outcome.as_str(), "made");
                assert_eq!(*manifest, Some(Digest(sha256(&[&text]))));
                assert_eq!((*files, *bytes, *barrier), (2, 10, Some(Still.now())));
                assert!(listed().await.contains(r#""state":"made""#));
            } else {
                assert_eq!((outcome.as_str(), *manifest), ("cut", None));
                assert!(!backup.exists());
                assert_eq!(listed().await, r#"{"items":[]}"#);
            }
        }
    }
}

#[tokio::test]
async fn backups_of_another_server_are_neither_listed_nor_removed() {
    let (kept, audit) = audit();
    let root = kept.path().join("backups");
    std::fs::create_dir(&root).unwrap();
    let backup = root.join("b1");
    std::fs::rename(made(&root), &backup).unwrap();
    let file = backup.join(MANIFEST);
    let mut manifest = Manifest::parse(&std::fs::read(&file).unwrap()).unwrap();
    manifest.vault = Vault([2; 16]);
    std::fs::write(&file, manifest.to_bytes()).unwrap();
    let intent = Event::BackupIntent { register_generation: 1 };
    audit.note_now(Actor::Server, intent.clone()).unwrap();
    let desk = fake::desk(Some(&root), Arc::clone(audit.ledger()), Arc::new(Still));
    desk.tidy().await.unwrap();
    assert_eq!(desk.list().await.unwrap(), br#"{"items":[]}"#);
    assert!(backup.exists(), "the numbers of two ledgers say nothing of each other");
}

/// A destruction does not wait for the end of a copy, and no file of it stays open.
#[test]
fn copying_stops_when_it_is_called_off() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("a"), vec![7; 10]).unwrap();
    let to = place.path().join("to");
    std::fs::create_dir(&to).unwrap();
    let lease = crate::engine::backup::Lease::default();
    copy::copy_leased(&lease, place.path(), &to, "a").unwrap();
    let reading = lease.read().unwrap();
    let (off, waits) = (
        lease.clone(),
        std::thread::spawn({
            let lease = lease.clone();
            move || lease.call_off()
        }),
    );
    while !off.is_called_off() {
        std::thread::yield_now();
    }
    assert!(reading.goes_on().is_err() && !waits.is_finished(), "it waits for the open file");
    drop(reading);
    assert!(waits.join().unwrap());
    assert!(copy::copy_leased(&lease, place.path(), &to, "a").is_err());
}

/// A backup of two files.
fn made(place: &Path) -> PathBuf {
    let backup = place.join("backup");
    copy::make_dir(&backup.join(DATA)).unwrap();
    let mut files = Vec::new();
    for (name, text) in [("CURRENT", "one"), ("000001.sst", "another")] {
        std::fs::write(backup.join(DATA).join(name), text).unwrap();
        let bytes = text.len() as u64;
        let sha256 = Digest(sha256(&[text.as_bytes()]));
        files.push(FileDoc { name: name.to_owned(), bytes, sha256 });
    }
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        operation: 0,
        barrier: Timestamp(1_795_320_960_000),
        folded_through: 1,
        vault: Vault([1; 16]),
        register_generation: 1,
        ledger_size: 1,
        ledger_root: Digest([1; 32]),
        files,
    };
    std::fs::write(backup.join(MANIFEST), manifest.to_bytes()).unwrap();
    backup
}

#[test]
fn every_change_of_a_backup_is_found_and_named() {
    let place = tempfile::tempdir().unwrap();
    let backup = made(place.path());
    restore::check(&backup).unwrap();
    let says = |what: &str, name: &str| {
        let refused = restore::check(&backup).unwrap_err().to_string();
        assert!(refused.contains(what) && refused.contains(name), "{refused}");
        assert!(refused.contains("use another backup"), "{refused}");
    };
    let file = backup.join(DATA).join("000001.sst");
    for at in 0..7 {
        let mut bytes = b"another".to_vec();
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        says("was changed", "000001.sst");
    }
    std::fs::write(&file, "another and more").unwrap();
    says("was changed", "000001.sst");
    std::fs::remove_file(&file).unwrap();
    says("is missing", "000001.sst");
    std::fs::write(&file, "another").unwrap();
    let stranger = backup.join(DATA).join("000002.sst");
    std::fs::write(&stranger, "").unwrap();
    says("does not belong", "000002.sst");
    std::fs::remove_file(&stranger).unwrap();
    let manifest = backup.join(MANIFEST);
    let text = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, &text[..text.len() - 2]).unwrap();
    says("damaged", "manifest.json");
    let other = String::from_utf8(text.clone()).unwrap().replace("backup 1", "backup 9");
    std::fs::write(&manifest, other).unwrap();
    let refused = restore::check(&backup).unwrap_err().to_string();
    assert!(refused.contains("another format"), "{refused}");
    std::fs::write(&manifest, text).unwrap();
    restore::check(&backup).unwrap();
}
