//! The second copy of the checkpoints.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::disk::{Disk, disk, files};
use super::*;
use crate::keys::medium::FileId;
use crate::keys::tests::disk::DiskFile;
use crate::ledger::medium::Log;
use crate::ledger::second::{LATE_MILLIS, Place, Second};
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

/// Waits until the thread has nothing to do.
fn settled(ledger: &Ledger) -> &Ledger {
    ledger.second.as_ref().unwrap().settle(Duration::from_secs(60));
    ledger
}

/// An append that is in the copy when this returns.
fn append(ledger: &Ledger, no: u64) {
    ledger.append(read_of(no)).unwrap();
    settled(ledger);
}

#[test]
fn it_follows_every_append() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    let copy = dir.path().join("copy");
    settings.second_copy = Some(copy.clone());
    let (ledger, opened) = open(&settings);
    assert_eq!(opened.second_copy, SecondCopy::InStep);
    settled(&ledger);
    (0..3).for_each(|no| append(&ledger, no));
    let own = std::fs::read(settings.dir.join("checkpoints")).unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), own);
    drop(ledger);
    let (ledger, _) = open(&settings);
    append(&ledger, 4);
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
    append(&ledger, 1);
    assert!(matches!(ledger.second_copy(), SecondCopy::Unreachable(_)));
    std::fs::create_dir(&mount).unwrap();
    append(&ledger, 2);
    assert_eq!(ledger.second_copy(), SecondCopy::InStep);
    assert_eq!(alarms(&ledger).len(), 1);
    let noted = std::fs::read_to_string(mount.join("copy")).unwrap();
    assert_eq!(noted, ledger.head().unwrap().to_string());
    // What was there before is not known, so it is said, by the next entry at the latest.
    let mut told = vec![Alarm::SecondCopyUnreachable, Alarm::SecondCopyNew];
    ledger.watch_second_copy(NOW).unwrap();
    ledger.watch_second_copy(NOW).unwrap();
    assert_eq!(alarms(settled(&ledger)), told);
    // Replaced while the ledger is open, by nothing or by what it was before.
    let before = std::fs::read(mount.join("copy")).unwrap();
    std::fs::remove_file(mount.join("copy")).unwrap();
    append(&ledger, 3);
    append(&ledger, 4);
    told.push(Alarm::SecondCopyNew);
    assert_eq!(alarms(settled(&ledger)), told);
    std::fs::rename(mount.join("copy"), mount.join("moved")).unwrap();
    std::fs::write(mount.join("copy"), &before).unwrap();
    append(&ledger, 5);
    let noted = std::fs::read_to_string(mount.join("copy")).unwrap();
    assert!(noted.ends_with(&ledger.head().unwrap().to_string()), "{noted}");
    drop(ledger);
    std::fs::remove_file(mount.join("copy")).unwrap();
    let (ledger, _) = open(&settings);
    told.push(Alarm::SecondCopyNew);
    assert_eq!(alarms(&ledger), told);
    assert_eq!(ledger.second_copy(), SecondCopy::InStep);
}

#[test]
fn it_finds_an_older_and_a_forked_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path());
    settings.second_copy = Some(dir.path().join("copy"));
    let (ledger, _) = open(&settings);
    (0..3).for_each(|no| append(&ledger, no));
    let files = ["entries.ndjson", "checkpoints", "hashes", "ends"];
    let old = files.map(|name| std::fs::read(settings.dir.join(name)).unwrap());
    (3..6).for_each(|no| append(&ledger, no));
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
        append(&ledger, 1);
        assert_eq!(alarms(&ledger).last(), Some(&Alarm::SecondCopyDisagrees));
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), text);
    }
    // A torn end is cut, and the next checkpoint follows what is whole.
    std::fs::remove_file(&copy).unwrap();
    drop(open(&settings));
    let whole = std::fs::read_to_string(&copy).unwrap();
    std::fs::write(&copy, format!("{whole}{}", &foreign[..40])).unwrap();
    let (ledger, _) = open(&settings);
    append(&ledger, 2);
    let head = ledger.head().unwrap().to_string();
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), format!("{whole}{head}"));
}

/// A file whose writes wait until they are let through.
struct Slow(DiskFile, Arc<Gate>);

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let open = self.open.lock().unwrap();
        drop(self.changed.wait_while(open, |open| !*open).unwrap());
    }
}

impl Log for Slow {
    fn size(&self) -> io::Result<u64> {
        Log::size(&self.0)
    }

    fn identity(&self) -> io::Result<FileId> {
        Log::identity(&self.0)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read(at, into)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.1.pass();
        self.0.write(at, bytes)
    }

    fn cut(&self, to: u64) -> io::Result<()> {
        self.0.shorten(to)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A copy on a disk of its own, behind a gate for opening and one for writing.
fn behind(disk: &Disk, [opening, writing]: [&Arc<Gate>; 2]) -> Place {
    let (opened, looked) = (disk.clone(), disk.clone());
    let (opening, writing) = (Arc::clone(opening), Arc::clone(writing));
    let open = move || {
        opening.pass();
        Ok(Box::new(Slow(opened.file(0), Arc::clone(&writing))) as Box<dyn Log>)
    };
    Place { open: Box::new(open), look: Box::new(move || looked.identity(0)) }
}

/// A mount that hangs holds up nobody, and is said after a while.
#[test]
fn a_copy_that_hangs_holds_up_nobody() {
    let (own, other) = (disk(), Disk::new(1));
    let gates = [Arc::new(Gate::default()), Arc::new(Gate::default())];
    gates[0].set(true);
    let place = behind(&other, gates.each_ref());
    let (ledger, opened) = Ledger::start(files(&own), signer(), Some(place), &[], NOW).unwrap();
    assert_eq!(opened.second_copy, SecondCopy::InStep);
    (1..4).for_each(|no| assert!(ledger.append(read_of(no)).is_ok()));
    let at = |millis: i64| Timestamp(NOW.0 + millis);
    ledger.watch_second_copy(at(LATE_MILLIS)).unwrap();
    assert_eq!((ledger.second_copy(), alarms(&ledger)), (SecondCopy::InStep, vec![]));
    for _ in 0..2 {
        ledger.watch_second_copy(at(LATE_MILLIS + 1)).unwrap();
        let late = SecondCopy::Unreachable(io::ErrorKind::TimedOut);
        assert_eq!(ledger.second_copy(), late);
        assert_eq!(alarms(&ledger), [Alarm::SecondCopyUnreachable], "once");
    }
    assert_eq!(other.bytes(0), b"");
    gates[1].set(true);
    settled(&ledger);
    assert_eq!(ledger.second_copy(), SecondCopy::InStep);
    let noted = String::from_utf8(other.bytes(0)).unwrap();
    assert!(noted.ends_with(&ledger.head().unwrap().to_string()), "{noted}");
    assert!(noted.lines().count() <= 15, "the newest only, not all that came meanwhile: {noted}");
    // Nothing is late any more.
    ledger.watch_second_copy(at(10 * LATE_MILLIS)).unwrap();
    assert_eq!((ledger.second_copy(), alarms(&ledger).len()), (SecondCopy::InStep, 1));
}

/// A start does not wait for ever; what it could not compare is compared later.
#[test]
fn a_copy_that_comes_late_is_compared_all_the_same() {
    let (own, other) = (disk(), Disk::new(1));
    other.set(0, signer().sign(3, [1; 32]).unwrap().to_string().into_bytes());
    let gates = [Arc::new(Gate::default()), Arc::new(Gate::default())];
    gates[1].set(true);
    let place = behind(&other, gates.each_ref());
    let key = signer().public().clone();
    let (second, found) =
        Second::begin(place, (key, Arc::new(files(&own))), Duration::ZERO).unwrap();
    let late = SecondCopy::Unreachable(io::ErrorKind::TimedOut);
    assert_eq!((found, second.standing()), (None, late));
    gates[0].set(true);
    second.offer(&signer().sign(5, [2; 32]).unwrap(), NOW);
    second.settle(Duration::from_secs(60));
    assert_eq!(second.standing(), SecondCopy::Disagrees);
    assert_eq!(second.take_alarm(), Some(Alarm::SecondCopyDisagrees));
}
