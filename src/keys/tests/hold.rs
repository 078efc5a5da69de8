//! Keys on hold: a vault of their own that the end of the main keys does not touch, and its own
//! end.

use std::fs;
use std::path::Path;

use super::destroy::{done, filled, victims};
use super::{holds, month, site};
use crate::crypto::{Aad, OpenError};
use crate::keys::{
    Destruction, HeldKey, HoldNo, KeyKind, KeyRing, KeysError, LedgerMark, Settings,
};
use crate::model::ids::KeyId;
use crate::model::vocab::Class;

fn seal_of(key: HeldKey) -> std::sync::Arc<crate::crypto::SealKey> {
    match key {
        HeldKey::Seal(key) => key,
        HeldKey::Base(_) | HeldKey::Tag(_) | HeldKey::Seen(..) => panic!("another key"),
    }
}

#[test]
fn held_keys_outlive_the_main_ones_and_end_on_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::in_dir(dir.path().join("keys"));
    let (ring, _) = KeyRing::open(&settings).unwrap();
    filled(&ring);
    assert!(ring.hold_existing().unwrap().is_none());
    assert!(!settings.dir.join("hold").exists());
    let hold = ring.hold().unwrap();
    let (one, two, aad) = (HoldNo(1), HoldNo(2), Aad::new("test/1"));
    let keys = ring.site_month(&site(0), month(1)).unwrap();
    let bucket = ring.bucket(&site(0), Class::Records, 5).unwrap();
    let sealed = bucket.seal(&aad, b"row");
    let tag = keys.tally.tag([3; 16]);

    let moved = ring.move_to_hold(&hold, bucket.id(), one).unwrap();
    assert_eq!(ring.move_to_hold(&hold, bucket.id(), one).unwrap(), moved, "again is the same");
    let twice = ring.move_to_hold(&hold, bucket.id(), two).unwrap();
    assert_ne!(twice, moved);
    let tally = ring.move_to_hold(&hold, keys.ids.tally, one).unwrap();
    let fresh = hold.hold_key(one, &site(0), Class::Records, 5).unwrap();
    let same = hold.hold_key(one, &site(0), Class::Records, 5).unwrap();
    assert_eq!(fresh.id(), same.id());
    assert_ne!(hold.hold_key(two, &site(0), Class::Records, 5).unwrap().id(), fresh.id());
    assert_eq!(hold.commitment(moved), ring.commitment(bucket.id()));
    assert!(matches!(ring.move_to_hold(&ring, bucket.id(), one), Err(KeysError::NoKey(_))));
    let info = hold.list().into_iter().find(|info| info.id == moved).unwrap();
    assert_eq!((info.hold, info.origin), (Some(one), Some(bucket.id())));
    assert_eq!((info.kind, info.site), (KeyKind::Bucket, Some(site(0))));
    for id in [ring.state_key().id(), ring.list()[0].parent, KeyId(7_777)] {
        assert!(ring.move_to_hold(&hold, id, one).is_err());
    }

    let due = victims(&ring);
    assert!(due.contains(&bucket.id()) && due.contains(&keys.ids.tally));
    done(ring.destroy(&due, LedgerMark::default(), &()));
    assert!(matches!(bucket.open(&aad, &sealed), Err(OpenError::Destroyed(_))));
    assert_eq!(ring.move_to_hold(&hold, bucket.id(), one).unwrap(), moved, "it is there already");
    assert_eq!(hold.vek_epoch().unwrap(), 1, "a vault of its own");
    drop((hold, ring));

    let (ring, _) = KeyRing::open(&settings).unwrap();
    let hold = ring.hold_existing().unwrap().unwrap();
    let held = seal_of(hold.held_key(moved).unwrap());
    assert_eq!(held.open(&aad, &sealed).unwrap(), b"row");
    match hold.held_key(tally).unwrap() {
        HeldKey::Tag(key) => assert_eq!(key.tag([3; 16]), tag),
        _ => panic!("another key"),
    }
    assert_eq!(hold.moved(two, bucket.id()).unwrap(), Some(twice));
    assert!(matches!(hold.held_key(hold.state_key().id()), Err(KeysError::NoKey(_))));

    // The release of hold one: all of its keys, nodes included; hold two keeps its own.
    let ended = hold.list().into_iter().filter(|info| info.hold == Some(one));
    let ended: Vec<KeyId> = ended.filter(|i| i.kind != KeyKind::Node).map(|i| i.id).collect();
    assert_eq!(ended.len(), 3);
    let destroyed = done(hold.destroy(&ended, LedgerMark::default(), &()));
    assert_eq!((destroyed.old_epoch, destroyed.new_epoch), (1, 2));
    assert!(matches!(held.open(&aad, &sealed), Err(OpenError::Destroyed(_))));
    assert!(hold.list().iter().all(|info| info.hold != Some(one)));
    assert_eq!(seal_of(hold.held_key(twice).unwrap()).open(&aad, &sealed).unwrap(), b"row");
    let nothing = hold.destroy(&ended, LedgerMark::default(), &()).unwrap();
    assert_eq!(nothing, Destruction::NothingToDestroy);
}

/// The hold vault's files lie where they should, and follow to their copies.
/// The engine asks the main ring only.
#[test]
fn what_fails_in_one_ring_is_known_in_both() {
    let dir = tempfile::tempdir().unwrap();
    let (ring, _) = KeyRing::open(&Settings::in_dir(dir.path().join("keys"))).unwrap();
    let hold = ring.hold().unwrap();
    hold.break_writes();
    assert!(ring.usable().is_err() && matches!(ring.journal(), Err(KeysError::Failed(_))));
}

#[test]
fn a_change_that_was_left_half_done_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (ring, _) = KeyRing::open(&Settings::in_dir(dir.path().join("keys"))).unwrap();
    let panicked = std::thread::scope(|scope| {
        let holds = || {
            let _core = ring.core().unwrap();
            panic!("on purpose");
        };
        scope.spawn(holds).join()
    });
    assert!(panicked.is_err());
    assert!(matches!(ring.journal(), Err(KeysError::Failed(_))));
    assert!(ring.usable().is_err(), "the engine would go on");
}

#[test]
fn the_hold_vault_has_files_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::in_dir(dir.path().join("keys"));
    for place in ["safe", "far"] {
        fs::create_dir_all(dir.path().join(place)).unwrap();
    }
    settings.vek_home = dir.path().join("safe/vek.home");
    settings.copies = vec![dir.path().join("far/register")];
    let (ring, _) = KeyRing::open(&settings).unwrap();
    filled(&ring);
    let hold = ring.hold().unwrap();
    let key = hold.hold_key(HoldNo(4), &site(1), Class::Records, 5).unwrap();
    assert!(ring.by_id(key.id()).is_none_or(|other| !std::sync::Arc::ptr_eq(&other, &key)));
    for file in
        ["keys/hold/register.a", "keys/hold/register.b", "safe/hold/vek.home", "far/register.hold"]
    {
        assert!(dir.path().join(file).exists(), "{file}");
    }
    assert_eq!(hold.copies().unwrap()[0].behind, 0);
    // A register of one vault is no register of the other.
    drop((hold, ring));
    for file in ["register.a", "register.b"] {
        fs::copy(settings.dir.join(file), settings.dir.join("hold").join(file)).unwrap();
    }
    let (ring, _) = KeyRing::open(&settings).unwrap();
    assert!(matches!(ring.hold(), Err(KeysError::Register(_))));
}

fn every_file(dir: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            every_file(&path, found);
        } else {
            found.push(fs::read(path).unwrap());
        }
    }
}

/// Key bytes, and the wrapped bytes of what was destroyed, are searched for in every file.
#[test]
fn nothing_of_a_destroyed_key_is_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::in_dir(dir.path().join("keys"));
    settings.copies = vec![dir.path().join("register.copy")];
    let (ring, _) = KeyRing::open(&settings).unwrap();
    filled(&ring);
    let hold = ring.hold().unwrap();
    hold.hold_key(HoldNo(1), &site(1), Class::Records, 5).unwrap();
    let old = super::destroy::live_of(
        &fs::read(settings.dir.join("register.a")).unwrap(),
        &fs::read(&settings.vek_home).unwrap(),
    );
    let old_vek = fs::read(&settings.vek_home).unwrap()[76..149].to_vec();
    let mut secrets = ring.secrets_for_scan();
    secrets.extend(hold.secrets_for_scan());
    let due = victims(&ring);
    let gone = ring.secrets();
    done(ring.destroy(&due, LedgerMark::default(), &()));
    let held: Vec<KeyId> =
        hold.list().iter().filter(|i| i.kind == KeyKind::Hold).map(|i| i.id).collect();
    done(hold.destroy(&held, LedgerMark::default(), &()));
    secrets.extend(ring.secrets_for_scan());
    let mut files = Vec::new();
    every_file(dir.path(), &mut files);
    assert!(files.len() > 8);
    let mut wrapped = 0;
    for bytes in &files {
        for secret in &secrets {
            assert!(!holds(bytes, secret));
            assert!(!holds(bytes, data_encoding::HEXLOWER.encode(secret).as_bytes()));
        }
        assert!(!holds(bytes, &old_vek));
        for (id, wrap) in old.iter().filter(|(id, _)| due.contains(id)) {
            assert!(gone.contains_key(id));
            assert!(!holds(bytes, wrap), "{id} is still there, wrapped");
            wrapped += 1;
        }
    }
    assert_eq!(wrapped, 4 * files.len());
}
