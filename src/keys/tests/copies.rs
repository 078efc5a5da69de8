//! Copies off the host: they follow, they may be away, a destruction waits for them, none of them
//! is taken for a register, and the register comes back from one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::destroy::{done, filled, live, victims};
use super::disk::Disk;
use super::hsm::OneKey;
use super::{HOME, OFF, disk, open_under, site, slots};
use crate::keys::{
    CopyFault, Destruction, KeyRing, KeysError, LedgerMark, Resumed, Settings, Step, Steps, restore,
};
use crate::model::vocab::Class;

#[test]
fn a_copy_follows_every_write() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    let check = || {
        let (a, off) = (disk.durable(0), disk.durable(OFF));
        assert_eq!((a[10], off[10]), (b'A', b'C'));
        assert!(a[11..4064] == off[11..4064], "all of the header but its letter");
        assert!(slots(&a) == slots(&off));
        let status = ring.copies().unwrap();
        assert_eq!((status[0].behind, status[0].fault), (0, None));
    };
    check();
    filled(&ring);
    check();
    ring.retire(&[ring.journal().unwrap().id()]).unwrap();
    check();
    // In place: what an ordinary write costs at a copy is slots, header, sync.
    let before = disk.operations();
    ring.journal().unwrap();
    assert_eq!(disk.operations() - before, 9);
    done(ring.destroy(&victims_of(&ring), LedgerMark::default(), &()));
    check();
}

/// Cuts the copy off before the register is written.
struct CutsOff(Disk);

impl Steps for CutsOff {
    fn done(&self, step: Step) {
        if step == Step::Rewrapped {
            self.0.away(OFF, true);
        }
    }
}

/// Moved away, put back from an older time, or gone: the file that is open is not the copy any
/// more, whatever is written to it.
#[test]
fn a_copy_whose_name_stands_for_another_file_is_carried_over() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    for replaced in [disk.bytes(OFF), Vec::new()] {
        disk.replace(OFF, replaced.clone());
        ring.journal().unwrap();
        assert!(slots(&disk.durable(0)) == slots(&disk.durable(OFF)), "an ordinary write");
        disk.replace(OFF, replaced);
        done(ring.turn_over(LedgerMark::default(), &()));
        assert!(slots(&disk.durable(0)) == slots(&disk.durable(OFF)), "a turn-over");
    }
    // Another file comes to lie there while the destruction waits for the copy.
    let waiting = ring.turn_over(LedgerMark::default(), &CutsOff(disk.clone())).unwrap();
    assert!(matches!(waiting, Destruction::Waiting(_)));
    disk.away(OFF, false);
    disk.replace(OFF, b"notes".to_vec());
    let waiting = ring.resume(&()).unwrap();
    assert!(matches!(waiting, Some(Destruction::Waiting(_))), "{waiting:?}");
    assert_eq!(ring.copies().unwrap()[0].fault, Some(CopyFault::Foreign));
    assert!(disk.bytes(OFF) == b"notes");
}

/// With files of the system: the shelf is taken away while the copy on it is open.
#[test]
fn a_copy_that_was_moved_away_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let settings = with_copy(dir.path());
    let (ring, _) = KeyRing::open(&settings).unwrap();
    filled(&ring);
    let ids = victims(&ring);
    let (far, away) = (dir.path().join("far"), dir.path().join("away"));
    fs::rename(&far, &away).unwrap();
    ring.journal().unwrap();
    assert!(ring.copies().unwrap()[0].behind > 0);
    let waiting = ring.destroy(&ids, LedgerMark::default(), &()).unwrap();
    assert_eq!(waiting, Destruction::Waiting(settings.copies.clone()));
    fs::rename(&away, &far).unwrap();
    let destroyed = done(ring.destroy(&ids, LedgerMark::default(), &()));
    assert_eq!(destroyed.copies, settings.copies);
}

fn victims_of(ring: &KeyRing) -> Vec<crate::model::ids::KeyId> {
    let bucket = ring.list().into_iter().filter(|info| info.class == Some(Class::Records));
    bucket.filter(|info| info.site == Some(site(0))).map(|info| info.id).collect()
}

#[test]
fn an_ordinary_write_does_not_wait_and_a_destruction_does() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    let (ids, old) = (victims(&ring), live(&disk.bytes(0)));
    disk.away(OFF, true);
    ring.bucket(&site(1), Class::Detections, 5).unwrap();
    let status = &ring.copies().unwrap()[0];
    let fault = CopyFault::Unreachable(std::io::ErrorKind::HostUnreachable);
    assert_eq!(status.fault, Some(fault));
    assert!(status.behind > 0);
    for _ in 0..2 {
        let waiting = ring.destroy(&ids, LedgerMark::default(), &()).unwrap();
        assert_eq!(waiting, Destruction::Waiting(vec![PathBuf::from("off")]));
        assert!(!ring.is_destroyed(&ids, 1));
        // Nobody gets a victim any more, and other keys are made.
        assert!(matches!(ring.bucket(&site(0), Class::Records, 5), Err(KeysError::Retired { .. })));
        ring.journal().unwrap();
    }
    let other = ring.bucket(&site(1), Class::Records, 5).unwrap().id();
    let refused = ring.destroy(&[other], LedgerMark::default(), &());
    assert!(matches!(refused, Err(KeysError::Unfinished)));
    let waiting = ring.turn_over(LedgerMark::default(), &()).unwrap();
    assert!(matches!(waiting, Destruction::Waiting(_)));
    // A start finds the same.
    drop(ring);
    let (ring, opened) = open_under(&disk, Arc::new(OneKey)).unwrap();
    assert_eq!(opened.resumed, Resumed::Waiting);
    assert!(!ring.is_destroyed(&ids, 1));
    assert!(disk.durable(HOME)[..512] != [0; 512], "the old VEK lives");
    disk.away(OFF, false);
    // It is not known whose turn-over it is: a key that never lived is said to be missing.
    let never = crate::model::ids::KeyId(9_999);
    let asked: Vec<_> = ids.iter().copied().chain([never]).collect();
    let done = done(ring.destroy(&asked, LedgerMark::default(), &()));
    assert_eq!((done.old_epoch, done.new_epoch, done.copies.len()), (1, 2, 1));
    assert!(done.victims.is_empty() && done.missing == asked, "{done:?}");
    assert!(!ring.is_destroyed(&asked, 1));
    assert!(ring.is_destroyed(&ids, 1));
    assert!(slots(&disk.durable(0)) == slots(&disk.durable(OFF)));
    assert!(super::destroy::opened_with_the_home_of(&disk, &OneKey, &old).is_empty());
    assert_eq!(ring.resume(&()).unwrap(), None);
}

#[test]
fn a_destruction_that_waited_knows_its_victims() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    let ids = victims(&ring);
    disk.away(OFF, true);
    drop(ring.destroy(&ids, LedgerMark::default(), &()).unwrap());
    disk.away(OFF, false);
    match ring.resume(&()).unwrap() {
        Some(Destruction::Done(done)) => assert_eq!(done.victims.len(), ids.len()),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        ring.destroy(&ids, LedgerMark::default(), &()).unwrap(),
        Destruction::NothingToDestroy
    );
}

#[test]
fn a_torn_copy_is_written_anew_and_a_foreign_one_never() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    drop(ring);
    let good = disk.bytes(OFF);
    for damage in 0..3 {
        let mut bytes = good.clone();
        match damage {
            0 => bytes[4096 + 300] ^= 1,
            1 => bytes[40] ^= 1,
            _ => bytes.truncate(4096 + 256),
        }
        disk.set(OFF, bytes);
        open_under(&disk, Arc::new(OneKey)).unwrap();
        assert!(disk.durable(OFF) == good, "{damage}");
    }
    for foreign in [disk.bytes(0), disk.bytes(HOME), b"notes".to_vec()] {
        disk.set(OFF, foreign.clone());
        let refused = open_under(&disk, Arc::new(OneKey)).err().unwrap();
        let fault = CopyFault::Foreign;
        assert!(matches!(refused, KeysError::Copy { fault: f, .. } if f == fault), "{refused}");
        assert!(disk.bytes(OFF) == foreign);
    }
    // A copy is no register either.
    disk.set(OFF, good.clone());
    let a = disk.bytes(0);
    disk.set(0, good);
    assert!(matches!(open_under(&disk, Arc::new(OneKey)), Err(KeysError::Register(_))));
    disk.set(0, a);
    open_under(&disk, Arc::new(OneKey)).unwrap();
}

/// A register that was put back from an older time shows at the copy.
#[test]
fn a_copy_that_is_ahead_refuses_the_start() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    let old = [disk.bytes(0), disk.bytes(1)];
    ring.journal().unwrap();
    drop(ring);
    for (at, bytes) in old.into_iter().enumerate() {
        disk.set(at, bytes);
    }
    let refused = open_under(&disk, Arc::new(OneKey)).err().unwrap();
    assert!(matches!(refused, KeysError::Copy { fault: CopyFault::Ahead(_), .. }), "{refused}");
}

fn with_copy(dir: &Path) -> Settings {
    let mut settings = Settings::in_dir(dir.join("keys"));
    fs::create_dir_all(dir.join("far")).unwrap();
    settings.copies = vec![dir.join("far/register")];
    settings
}

fn lose(settings: &Settings) {
    for file in ["register.a", "register.b"] {
        fs::remove_file(settings.dir.join(file)).unwrap();
    }
}

#[test]
fn the_register_comes_back_from_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let settings = with_copy(dir.path());
    let copy = settings.copies[0].clone();
    let (ring, _) = KeyRing::open(&settings).unwrap();
    filled(&ring);
    let secrets = ring.secrets();
    assert!(matches!(restore(&settings, &copy), Err(KeysError::Locked(_))));
    drop(ring);
    assert!(matches!(restore(&settings, &copy), Err(KeysError::Exists(_))));
    lose(&settings);
    assert!(matches!(KeyRing::open(&settings), Err(KeysError::Missing(_))));
    // Cut between the two renames, and before the first.
    let restored = restore(&settings, &copy).unwrap();
    assert_eq!(restored.vek_epoch, 1);
    let b = settings.dir.join("register.b");
    fs::rename(&b, settings.dir.join("register.b.restore")).unwrap();
    assert!(matches!(KeyRing::open(&settings), Err(KeysError::Missing(_))));
    assert_eq!(restore(&settings, &copy).unwrap(), restored);
    lose(&settings);
    fs::write(settings.dir.join("register.a.restore"), b"half").unwrap();
    assert!(matches!(KeyRing::open(&settings), Err(KeysError::Missing(_))));
    restore(&settings, &copy).unwrap();
    let (ring, opened) = KeyRing::open(&settings).unwrap();
    assert_eq!((ring.secrets(), opened.repaired, opened.first_start), (secrets, 0, false));
}

#[test]
fn a_copy_from_before_a_destruction_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let settings = with_copy(dir.path());
    let copy = settings.copies[0].clone();
    let (ring, _) = KeyRing::open(&settings).unwrap();
    filled(&ring);
    let old = dir.path().join("old");
    fs::copy(&copy, &old).unwrap();
    done(ring.destroy(&victims(&ring), LedgerMark::default(), &()));
    drop(ring);
    lose(&settings);
    let refused = restore(&settings, &old);
    assert!(matches!(refused, Err(KeysError::VekEpoch { register: 1, home: 2 })), "{refused:?}");
    for (at, fault) in [(4096 + 300, CopyFault::NotKept), (33, CopyFault::Foreign)] {
        let mut bytes = fs::read(&copy).unwrap();
        bytes[at] ^= 1;
        let torn = dir.path().join("torn");
        fs::write(&torn, bytes).unwrap();
        let refused = restore(&settings, &torn);
        assert!(matches!(&refused, Err(KeysError::Copy { fault: f, .. }) if *f == fault));
    }
    restore(&settings, &copy).unwrap();
    let (ring, _) = KeyRing::open(&settings).unwrap();
    assert_eq!(ring.vek_epoch().unwrap(), 2);
}
