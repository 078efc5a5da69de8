//! Damaged bytes and files of others: repaired from the other copy or refused, never a wrong key.

use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::{CHUNK, VAULT, disk, month, open, register_error, site, slots, vek};
use crate::crypto::{SealKey, Secret};
use crate::keys::register::{FileRegister, OpenRegister};
use crate::keys::ring::KeyRing;
use crate::keys::tree::{Core, VEK};
use crate::keys::{KeysError, NoWitness, RegisterError, VaultId};
use crate::model::vocab::Class;

/// A register with live and zeroed slots.
fn filled() -> (Disk, KeyRing) {
    let disk = disk();
    let (ring, _) = open(&disk).unwrap();
    let keys = ring.site_month(&site(1), month(1)).unwrap();
    let bucket = ring.bucket(&site(1), Class::Records, 3).unwrap();
    let journal = ring.journal().unwrap();
    ring.retire(&[journal.id(), keys.ids.tally]).unwrap();
    assert!(ring.by_id(bucket.id()).is_some());
    (disk, ring)
}

fn tree(open: OpenRegister<DiskFile>, vek: &Secret) -> Result<Core, KeysError> {
    let vek = SealKey::new(VEK, vek);
    Core::open(Box::new(open.register), open.live, vek, Arc::new(NoWitness))
}

fn both(disk: &Disk) -> [Vec<u8>; 2] {
    [disk.bytes(0), disk.bytes(1)]
}

#[test]
fn a_damaged_byte_in_one_copy_is_repaired_or_refused() {
    let (disk, ring) = filled();
    let (secrets, good) = (ring.secrets(), both(&disk));
    let mut repaired = 0;
    for copy in 0..2 {
        for at in 0..good[copy].len() {
            // Most of the header page is unused; a few bytes of it stand for the rest.
            if (200..4000).contains(&at) && at % 97 != 0 {
                continue;
            }
            let mut bytes = good[copy].clone();
            bytes[at] ^= 1 << (at % 8);
            disk.set(copy, bytes);
            match open(&disk) {
                Ok((ring, count)) => {
                    assert_eq!((ring.secrets(), count), (secrets.clone(), 1));
                    assert_eq!(both(&disk), good);
                    repaired += 1;
                }
                // A version byte: better refused than overwritten.
                Err(error) => {
                    let version =
                        matches!(error, KeysError::Register(RegisterError::Version { .. }));
                    assert!(version && matches!(at, 8 | 9), "{at}: {error}");
                    disk.set(copy, good[copy].clone());
                }
            }
        }
    }
    assert!(repaired > 2_000, "{repaired}");
}

#[test]
fn lost_sectors_and_lost_ends_are_repaired() {
    let (disk, ring) = filled();
    let (secrets, good) = (ring.secrets(), both(&disk));
    for copy in 0..2 {
        for sector in 0..good[copy].len() / 512 {
            let mut bytes = good[copy].clone();
            // Zeros are a valid free slot by themselves; the header's sum knows better.
            bytes[sector * 512..][..512].fill(0);
            let same = bytes == good[copy];
            disk.set(copy, bytes);
            if sector == 0 {
                let error = register_error(open(&disk));
                assert!(matches!(error, RegisterError::Foreign { .. }), "{error}");
                disk.set(copy, good[copy].clone());
                continue;
            }
            let (ring, count) = open(&disk).unwrap();
            assert_eq!(ring.secrets(), secrets);
            assert_eq!(count == 0, same);
            assert_eq!(both(&disk), good);
        }
        for length in [4096, 4500, good[copy].len() - 1] {
            disk.set(copy, good[copy][..length].to_vec());
            assert_eq!(open(&disk).unwrap().0.secrets(), secrets);
            assert_eq!(both(&disk), good);
        }
    }
}

/// The same end lost in both: nothing has it any more, and nothing is written over what is left.
#[test]
fn an_end_that_both_copies_lost_is_refused() {
    let (disk, _ring) = filled();
    let good = both(&disk);
    for length in [0, 100, 4095, 4096, 4500, good[0].len() - 1] {
        for (copy, whole) in good.iter().enumerate() {
            disk.set(copy, whole[..length].to_vec());
        }
        let cut = both(&disk);
        let said = register_error(open(&disk)).to_string();
        assert!(said.contains("put back") || said.contains("file back"), "{length}: {said}");
        assert_eq!(both(&disk), cut, "{length}");
    }
}

#[test]
fn damage_in_different_slots_of_both_copies_is_repaired() {
    let (disk, ring) = filled();
    let (secrets, good) = (ring.secrets(), both(&disk));
    for copy in 0..2 {
        let mut bytes = good[copy].clone();
        bytes[4096 + copy * 512 + 100] ^= 1;
        bytes[4096 + 1024 + copy * 512] = 0;
        disk.set(copy, bytes);
    }
    assert_eq!(open(&disk).unwrap().0.secrets(), secrets);
    assert_eq!(both(&disk), good);
}

#[test]
fn damage_in_one_slot_of_both_copies_is_named() {
    let (disk, _ring) = filled();
    for copy in 0..2 {
        let mut bytes = disk.bytes(copy);
        bytes[4096 + 2 * 256 + 100] ^= 1;
        disk.set(copy, bytes);
    }
    assert!(matches!(register_error(open(&disk)), RegisterError::Slot { slot: 2 }));
    for copy in 0..2 {
        let mut bytes = disk.bytes(copy);
        bytes[40] ^= 1;
        disk.set(copy, bytes);
    }
    assert!(matches!(register_error(open(&disk)), RegisterError::Headers));
}

#[test]
fn copies_of_different_times_are_refused() {
    let (disk, ring) = filled();
    let old = both(&disk);
    ring.journal().unwrap();
    ring.journal().unwrap();
    let new = both(&disk);
    for [a, b] in [[&old[0], &new[1]], [&new[0], &old[1]]] {
        disk.set(0, a.clone());
        disk.set(1, b.clone());
        assert!(matches!(register_error(open(&disk)), RegisterError::Apart { .. }));
    }
    disk.set(0, new[1].clone());
    disk.set(1, new[1].clone());
    assert!(matches!(register_error(open(&disk)), RegisterError::Duplicate { file: "register.a" }));
}

#[test]
fn files_of_others_are_refused() {
    let (disk, _ring) = filled();
    let good = both(&disk);
    let other = Disk::new(2);
    let vault = VaultId([8; 16]);
    FileRegister::create_sized([other.file(0), other.file(1)], vault, CHUNK).unwrap();
    disk.set(1, other.bytes(1));
    let error = register_error(open(&disk));
    assert!(matches!(error, RegisterError::OtherVault { file: "register.b" }), "{error}");
    for foreign in [Vec::new(), b"#!/bin/sh\n".repeat(1000)] {
        disk.set(1, foreign);
        assert!(matches!(register_error(open(&disk)), RegisterError::Foreign { .. }));
    }
    for (copy, mut bytes) in good.into_iter().enumerate() {
        bytes[9] = 3;
        disk.set(copy, bytes);
    }
    assert!(matches!(register_error(open(&disk)), RegisterError::Version { version: 3, .. }));
}

#[test]
fn another_vek_opens_nothing() {
    let (disk, _ring) = filled();
    let open = FileRegister::open_chunked([disk.file(0), disk.file(1)], VAULT, CHUNK).unwrap();
    let tree = tree(open, &Secret::take(&mut [0x3d; 32]).unwrap());
    assert!(matches!(tree, Err(KeysError::Unopened { .. })));
}

/// Checksums keep damage out, the binding keeps forgers out: a slot that was moved or renamed, with
/// every checksum made right, does not open.
#[test]
fn a_forged_slot_does_not_open() {
    for forge in 0..3 {
        let (disk, _ring) = filled();
        let files = [disk.file(0), disk.file(1)];
        let mut open = FileRegister::open_chunked(files, VAULT, CHUNK).unwrap();
        let place = open.live.iter().position(|(_, slot)| slot.name.owner.is_some()).unwrap();
        match forge {
            0 => open.live[place].0 = 99,
            1 => open.live[place].1.name.owner = Some(site(2)),
            _ => open.live[place].1.id.0 = 1_000_000,
        }
        let refused = matches!(
            tree(open, &vek()),
            Err(KeysError::Unopened { .. } | KeysError::Misfit { .. })
        );
        assert!(refused, "{forge}");
    }
}

#[test]
fn a_retired_slot_is_zeros_in_both_copies() {
    let disk = disk();
    let (ring, _) = open(&disk).unwrap();
    let before = disk.bytes(0);
    let key = ring.journal().unwrap();
    let written = disk.bytes(0);
    let at =
        (0..before.len() / 256).rfind(|at| before[at * 256..][..256] != written[at * 256..][..256]);
    let at = at.unwrap() * 256;
    assert!(at >= 4096);
    ring.retire(&[key.id()]).unwrap();
    for copy in 0..2 {
        assert_eq!(disk.durable(copy)[at..at + 256], [0; 256]);
        assert_ne!(disk.durable(copy)[at..at + 256], written[at..at + 256]);
    }
    assert!(ring.by_id(key.id()).is_none());
    ring.retire(&[key.id()]).unwrap();
    assert!(slots(&disk.bytes(0)) == slots(&disk.bytes(1)));
}
