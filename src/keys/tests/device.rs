//! Destruction with a root provider that destroys by itself, when it answers.

use std::sync::{Arc, Mutex};

use super::destroy::{done, filled, live, opened_with_the_home_of, victims};
use super::hsm::Hsm;
use super::{CHUNK, HOME, VAULT, disk_under, open_under};
use crate::crypto::{Aad, Secret};
use crate::keys::vek::VekHome;
use crate::keys::{KeysError, LedgerMark, RootError, RootProvider, VekError, VekId};

/// A device that destroys makes even a copy of the VEK home noise.
#[test]
fn with_a_device_a_copy_of_the_home_opens_nothing() {
    let hsm = Hsm::default();
    let disk = disk_under(&hsm, CHUNK);
    let (ring, _) = open_under(&disk, Arc::new(hsm.clone())).unwrap();
    filled(&ring);
    let (home, old) = (disk.bytes(HOME), live(&disk.bytes(0)));
    let destroyed = done(ring.destroy(&victims(&ring), LedgerMark::default(), &()));
    assert!(!destroyed.home_copy_opens);
    assert_eq!(hsm.epochs(VAULT), [2]);
    drop(ring);
    disk.set(HOME, home);
    let home = VekHome::open(disk.file(HOME)).unwrap();
    assert!(home.vek(1, &hsm).is_err());
    assert!(opened_with_the_home_of(&disk, &hsm, &old).is_empty());
}

/// A device that does not answer at one of its four calls.
struct Sulking(Hsm, Mutex<Option<&'static str>>);

impl Sulking {
    fn ask(&self, call: &str) -> Result<(), RootError> {
        let no = *self.1.lock().unwrap() == Some(call);
        let refused = || RootError::Provider { name: "test device".into(), why: "busy".into() };
        if no { Err(refused()) } else { Ok(()) }
    }
}

impl RootProvider for Sulking {
    fn name(&self) -> &'static str {
        "test device"
    }

    fn begin_epoch(&self, vek: VekId) -> Result<(), RootError> {
        self.ask("begin").and_then(|()| self.0.begin_epoch(vek))
    }

    fn end_epoch(&self, vek: VekId) -> Result<(), RootError> {
        self.ask("end").and_then(|()| self.0.end_epoch(vek))
    }

    fn ends_epochs(&self) -> bool {
        self.0.ends_epochs()
    }

    fn wrap(&self, vek: VekId, aad: &Aad, plain: &[u8; 32]) -> Result<Vec<u8>, RootError> {
        self.ask("wrap").and_then(|()| self.0.wrap(vek, aad, plain))
    }

    fn unwrap(&self, vek: VekId, aad: &Aad, wrapped: &[u8]) -> Result<Secret, RootError> {
        self.ask("unwrap").and_then(|()| self.0.unwrap(vek, aad, wrapped))
    }
}

#[test]
fn a_device_that_does_not_answer_is_asked_again() {
    for call in ["begin", "wrap", "end"] {
        let hsm = Hsm::default();
        let disk = disk_under(&hsm, CHUNK);
        let root = Arc::new(Sulking(hsm.clone(), Mutex::new(None)));
        let (ring, _) = open_under(&disk, Arc::clone(&root) as _).unwrap();
        filled(&ring);
        let ids = victims(&ring);
        *root.1.lock().unwrap() = Some(call);
        for _ in 0..2 {
            let refused = ring.destroy(&ids, LedgerMark::default(), &());
            assert!(matches!(refused, Err(KeysError::Vek(_))), "{call}");
            assert!(!ring.is_destroyed(&ids, 1));
        }
        ring.journal().unwrap();
        *root.1.lock().unwrap() = None;
        assert_eq!(done(ring.destroy(&ids, LedgerMark::default(), &())).victims.len(), 4);
        assert_eq!(hsm.epochs(VAULT), [2]);
        assert!(ring.is_destroyed(&ids, 1));
    }
}

/// A key that the device has no more, before it was told to end it, is not a destroyed one; nor is
/// one of which the device does not say whether it has it.
#[test]
fn a_key_that_was_put_aside_is_not_taken_for_destroyed() {
    let hsm = Hsm::default();
    let disk = disk_under(&hsm, CHUNK);
    let root = Arc::new(Sulking(hsm.clone(), Mutex::new(None)));
    let (ring, _) = open_under(&disk, Arc::clone(&root) as _).unwrap();
    filled(&ring);
    let ids = victims(&ring);
    let vek = VekId { vault: VAULT, epoch: 1 };
    let aside = hsm.take(vek);
    for _ in 0..2 {
        let refused = ring.destroy(&ids, LedgerMark::default(), &()).err().unwrap();
        assert!(matches!(refused, KeysError::Vek(VekError::GoneBefore(1))), "{refused}");
        assert!(!ring.is_destroyed(&ids, 1));
        assert!(disk.durable(HOME)[..512] != [0; 512], "what it wrapped stays to be looked at");
    }
    hsm.put(vek, aside);
    *root.1.lock().unwrap() = Some("unwrap");
    let refused = ring.destroy(&ids, LedgerMark::default(), &()).err().unwrap();
    assert!(matches!(refused, KeysError::Vek(VekError::Root(_))), "{refused}");
    assert!(disk.durable(HOME)[..512] != [0; 512]);
    *root.1.lock().unwrap() = None;
    let destroyed = done(ring.destroy(&ids, LedgerMark::default(), &()));
    assert!(!destroyed.home_copy_opens && hsm.epochs(VAULT) == [2]);
}
