//! What a destruction does, without cuts: survivors stay, victims go, older copies are noise, who
//! holds a key holds an empty shell, and what it costs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::disk::Disk;
use super::hsm::OneKey;
use super::{HOME, OFF, VAULT, disk, disk_under, holds, month, open_under, parts, site, slots};
use crate::crypto::{Aad, HmacKey, KeyDestroyed, OpenError, SealKey, Secret};
use crate::keys::opening::Parts;
use crate::keys::ring::KeyRing;
use crate::keys::slot::{SLOT_BYTES, Slot, SlotRead};
use crate::keys::tree::{Node, VEK, open_slot};
use crate::keys::vek::VekHome;
use crate::keys::{
    Destroyed, Destruction, KeyInfo, KeyKind, KeysError, Known, LedgerMark, RegisterWrite,
    RootProvider, Step, Steps, Unwitnessed, VaultId, Witness,
};
use crate::model::ids::{KeyId, SiteId};
use crate::model::time::Day;
use crate::model::vocab::Class;

/// A ring with keys of every kind: three sites in the same nodes.
pub(super) fn filled(ring: &KeyRing) {
    for s in 0..3 {
        ring.site_month(&site(s), month(1)).unwrap();
        ring.bucket(&site(s), Class::Records, 5).unwrap();
    }
    ring.bucket(&site(0), Class::Detections, 5).unwrap();
    ring.seen(Day(20_000)).unwrap();
    ring.access(month(1)).unwrap();
    ring.journal().unwrap();
}

/// One bucket of three in a node, the only one in a node, a journal key, and a site's tally key.
pub(super) fn victims(ring: &KeyRing) -> Vec<KeyId> {
    let infos = ring.list();
    let of_site = infos.iter().filter(|info| info.site == Some(site(0)));
    let due = of_site.filter(|info| matches!(info.kind, KeyKind::Bucket | KeyKind::Tally));
    let mut ids: Vec<KeyId> = due.map(|info| info.id).collect();
    ids.extend(infos.iter().filter(|info| info.kind == KeyKind::Journal).map(|info| info.id));
    assert_eq!(ids.len(), 4);
    ids
}

pub(super) fn done(result: Result<Destruction, KeysError>) -> Destroyed {
    match result.unwrap() {
        Destruction::Done(destroyed) => destroyed,
        other => panic!("{other:?}"),
    }
}

/// Every live slot in the bytes of a copy.
pub(super) fn live(bytes: &[u8]) -> Vec<(u32, Slot)> {
    let chunks = slots(bytes).as_chunks::<SLOT_BYTES>().0;
    let read = (0..).zip(chunks).filter_map(|(no, bytes)| match Slot::parse(VAULT, no, bytes) {
        SlotRead::Live(slot) => Some((no, *slot)),
        SlotRead::Free | SlotRead::Bad => None,
    });
    read.collect()
}

/// The wrapped bytes of each live key, from the files of a vault.
pub(super) fn live_of(register: &[u8], home: &[u8]) -> Vec<(KeyId, Vec<u8>)> {
    let vault = VaultId(home[10..26].try_into().unwrap());
    let chunks = slots(register).as_chunks::<SLOT_BYTES>().0;
    let read = (0..).zip(chunks).filter_map(|(no, bytes)| match Slot::parse(vault, no, bytes) {
        SlotRead::Live(slot) => Some((slot.id, slot.wrapped.to_vec())),
        SlotRead::Free | SlotRead::Bad => None,
    });
    read.collect()
}

/// Opens old slots with the VEKs that today's home holds, and then with the nodes that opened: what
/// somebody can do who has an old copy of the register, today's root key and today's VEK home.
pub(super) fn opened_with_the_home_of(
    disk: &Disk,
    root: &dyn RootProvider,
    old: &[(u32, Slot)],
) -> BTreeSet<KeyId> {
    let home = VekHome::open(disk.file(HOME)).unwrap();
    let epochs = home.epoch().saturating_sub(1)..=home.epoch();
    let veks = epochs.filter_map(|epoch| home.vek(epoch, root).ok());
    let mut keys: Vec<SealKey> = veks.map(|vek| SealKey::new(VEK, &vek)).collect();
    let mut opened = BTreeSet::new();
    for _ in 0..2 {
        for (no, slot) in old {
            for at in 0..keys.len() {
                if let Ok(secret) = open_slot(VAULT, *no, slot, &keys[at]) {
                    opened.insert(slot.id);
                    keys.push(SealKey::new(slot.id, &secret));
                    break;
                }
            }
        }
    }
    opened
}

/// Old slots that open under any key that lives today, whatever its number.
pub(super) fn opened_with_all_of(ring: &KeyRing, old: &[(u32, Slot)]) -> BTreeSet<KeyId> {
    let secrets = ring.secrets();
    let opens = |no: u32, slot: &Slot| {
        secrets.values().any(|secret| {
            let secret = Secret::take(&mut secret.clone()).unwrap();
            open_slot(VAULT, no, slot, &SealKey::new(slot.parent, &secret)).is_ok()
        })
    };
    old.iter().filter(|(no, slot)| opens(*no, slot)).map(|(_, slot)| slot.id).collect()
}

#[test]
fn survivors_stay_and_victims_go() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    let (before, infos, old) = (ring.secrets(), ring.list(), live(&disk.bytes(0)));
    assert_eq!(opened_with_the_home_of(&disk, &OneKey, &old).len(), old.len());
    let ids = victims(&ring);
    let commitments: Vec<_> = ids.iter().map(|id| ring.commitment(*id).unwrap()).collect();
    let mark = LedgerMark { size: 7, root: [7; 32] };
    let asked: Vec<KeyId> = ids.iter().copied().chain([KeyId(9_999)]).collect();
    let destroyed = done(ring.destroy(&asked, mark, &()));

    assert_eq!(destroyed.victims.len(), 4);
    assert_eq!(destroyed.missing, [KeyId(9_999)]);
    for victim in &destroyed.victims {
        let at = ids.iter().position(|id| *id == victim.key.id).unwrap();
        assert_eq!(victim.commitment, commitments[at]);
        let secret = Secret::take(&mut before[&victim.key.id].clone()).unwrap();
        assert_eq!(victim.commitment, HmacKey::new(&secret).mac(b"blindtally/commit/1"));
        assert!(infos.contains(&victim.key));
        assert_eq!(ring.commitment(victim.key.id), None);
    }
    assert_eq!((destroyed.old_epoch, destroyed.new_epoch), (1, 2));
    assert_eq!((destroyed.mark, ring.mark().unwrap()), (mark, mark));
    assert_eq!(destroyed.copies, [std::path::PathBuf::from("off")]);
    assert!(destroyed.home_copy_opens, "one root key for all epochs");

    let check = |ring: &KeyRing| {
        let now = ring.secrets();
        let node = |id: &KeyId| infos.iter().any(|i| i.id == *id && i.kind == KeyKind::Node);
        for (id, secret) in &before {
            let lost = ids.contains(id);
            match now.get(id) {
                Some(kept) => assert!(!lost && kept == secret),
                // Fresh ones took the place of nodes that were hit.
                None => assert!(lost || node(id)),
            }
        }
        // Records, tally lost one key of three; the node of detections its only one.
        let nodes =
            |list: &[KeyInfo]| list.iter().filter(|info| info.kind == KeyKind::Node).count();
        assert_eq!(nodes(&ring.list()), nodes(&infos) - 1);
    };
    check(&ring);
    // Three copies, each with every key that lives.
    assert_eq!(destroyed.read_back, 3 * ring.list().len() as u64);
    assert!(opened_with_the_home_of(&disk, &OneKey, &old).is_empty(), "not even survivors");
    let open = opened_with_all_of(&ring, &old);
    assert!(ids.iter().all(|id| !open.contains(id)));
    drop(ring);
    let (ring, opened) = open_under(&disk, Arc::new(OneKey)).unwrap();
    assert_eq!(opened.repaired, 0);
    check(&ring);
    assert_eq!(ring.mark().unwrap(), mark);
    // Names stay given: the keys that stay are the same, by name.
    assert!(ring.bucket(&site(1), Class::Records, 5).is_ok());
    for at in [0, 1, OFF] {
        for (_, slot) in old.iter().filter(|(_, slot)| ids.contains(&slot.id)) {
            assert!(!holds(&disk.durable(at), &slot.wrapped));
        }
    }
}

/// The register as it was, put back whole beside today's home: refused.
#[test]
fn an_old_register_beside_todays_home_is_refused() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    let old = [disk.bytes(0), disk.bytes(1), disk.bytes(OFF)];
    done(ring.destroy(&victims(&ring), LedgerMark::default(), &()));
    drop(ring);
    for (at, bytes) in [0, 1, OFF].into_iter().zip(old) {
        disk.set(at, bytes);
    }
    let refused = open_under(&disk, Arc::new(OneKey)).err().unwrap();
    assert!(matches!(refused, KeysError::VekEpoch { register: 1, home: 2 }), "{refused}");
}

#[test]
fn a_month_of_the_access_log_has_one_key_and_gets_no_other() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    assert!(ring.access_existing(month(1)).unwrap().is_none(), "a question makes none");
    let (key, next) = (ring.access(month(1)).unwrap(), ring.access(month(2)).unwrap());
    drop(ring);
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    let again = ring.access_existing(month(1)).unwrap().unwrap();
    assert_eq!((again.id(), ring.access(month(1)).unwrap().id()), (key.id(), key.id()));
    let aad = Aad::new("test/1");
    let sealed = key.seal(&aad, b"day");
    assert_eq!(again.open(&aad, &sealed).unwrap(), b"day");
    assert!(ring.access(month(2)).unwrap().open(&aad, &sealed).is_err());
    done(ring.destroy(&[key.id()], LedgerMark::default(), &()));
    assert_eq!(again.open(&aad, &sealed), Err(OpenError::Destroyed(key.id())));
    assert!(ring.access_existing(month(1)).unwrap().is_none());
    assert!(matches!(ring.access(month(1)), Err(KeysError::Retired { kind: KeyKind::Access })));
    assert_eq!(ring.access(month(2)).unwrap().id(), next.id());
}

#[test]
fn who_holds_a_destroyed_key_holds_nothing() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    let (aad, day) = (Aad::new("test/1"), Day(20_000));
    let bucket = ring.bucket(&site(0), Class::Records, 5).unwrap();
    let other = ring.bucket(&site(1), Class::Records, 5).unwrap();
    let seen_by_id = ring.list().into_iter().find(|info| info.kind == KeyKind::Seen).unwrap().id;
    let (seen_by_id, seen) = (ring.by_id(seen_by_id).unwrap(), ring.seen(day).unwrap());
    let journal = ring.journal().unwrap();
    let keys = ring.site_month(&site(0), month(1)).unwrap();
    let sealed = [&bucket, &other, &seen_by_id, &journal].map(|key| key.seal(&aad, b"value"));
    ring.retire(&[journal.id()]).unwrap();
    assert_eq!(journal.open(&aad, &sealed[3]).unwrap(), b"value", "retired is not destroyed");
    let victims = [bucket.id(), seen.seal.id(), keys.ids.record];
    let destroyed = done(ring.destroy(&victims, LedgerMark::default(), &()));
    let gone = |key: &SealKey| Err(OpenError::Destroyed(key.id()));
    assert_eq!(bucket.open(&aad, &sealed[0]), gone(&bucket));
    assert_eq!(bucket.try_seal(&aad, b"x"), Err(KeyDestroyed(bucket.id())));
    assert_eq!(seen_by_id.open(&aad, &sealed[2]), gone(&seen_by_id), "one object a key");
    assert_eq!(journal.open(&aad, &sealed[3]), gone(&journal), "what was retired goes along");
    assert_eq!(other.open(&aad, &sealed[1]).unwrap(), b"value");
    assert!(victims.iter().all(|id| ring.by_id(*id).is_none()));
    let again = ring.bucket(&site(0), Class::Records, 5);
    assert!(matches!(again, Err(KeysError::Retired { kind: KeyKind::Bucket })));
    assert!(ring.site_month_existing(&site(0), month(1)).is_none());
    // Tag keys cannot be wiped under a request's hands; how many there are is known.
    assert_eq!((destroyed.held, ring.held()), (2, 2));
    drop((keys, seen));
    assert_eq!(ring.held(), 0);
}

#[test]
fn nothing_to_destroy_is_no_success() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    let before = disk.operations();
    for ids in [vec![], vec![KeyId(5_000)]] {
        let result = ring.destroy(&ids, LedgerMark::default(), &()).unwrap();
        assert_eq!(result, Destruction::NothingToDestroy);
    }
    let node = ring.list().into_iter().find(|info| info.kind == KeyKind::Node).unwrap().id;
    for id in [node, ring.state_key().id()] {
        let refused = ring.destroy(&[id], LedgerMark::default(), &());
        assert!(matches!(refused, Err(KeysError::InUse(_))));
    }
    assert_eq!(disk.operations(), before, "and nothing was written");
    let ids = victims(&ring);
    assert!(!ring.is_destroyed(&ids, 1));
    done(ring.destroy(&ids, LedgerMark::default(), &()));
    assert!(ring.is_destroyed(&ids, 1) && !ring.is_destroyed(&ids, 2));
    let again = ring.destroy(&ids, LedgerMark::default(), &()).unwrap();
    assert_eq!(again, Destruction::NothingToDestroy);
}

/// What was retired opens from an old copy until the VEK is turned over, and not after.
#[test]
fn a_turn_over_makes_noise_of_what_was_retired() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    let journal = ring.journal().unwrap().id();
    let old = live(&disk.bytes(0));
    ring.retire(&[journal]).unwrap();
    let now = ring.secrets();
    assert!(opened_with_the_home_of(&disk, &OneKey, &old).contains(&journal));
    let turned = done(ring.turn_over(LedgerMark::default(), &()));
    assert!(turned.victims.is_empty() && turned.missing.is_empty());
    assert_eq!(ring.secrets(), now, "nothing else changed, not even the nodes");
    assert!(opened_with_the_home_of(&disk, &OneKey, &old).is_empty());
    assert!(!opened_with_all_of(&ring, &old).contains(&journal));
    assert_eq!(done(ring.turn_over(LedgerMark::default(), &())).new_epoch, 3);
}

struct List(Mutex<Vec<Step>>);

impl Steps for List {
    fn done(&self, step: Step) {
        self.0.lock().unwrap().push(step);
    }
}

/// The order is the promise: each step, and what home and register hold when it is done.
#[test]
fn the_steps_come_in_order() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    let list = List(Mutex::new(Vec::new()));
    done(ring.destroy(&victims(&ring), LedgerMark::default(), &list));
    assert_eq!(*list.0.lock().unwrap(), Step::ALL);
}

struct Watch(Disk);

impl Steps for Watch {
    fn done(&self, step: Step) {
        let epoch = |at: usize| {
            let bytes = self.0.durable(at);
            u64::from_be_bytes(bytes[56..64].try_into().unwrap())
        };
        let both = [0, 1, OFF].map(|at| epoch(at) == 2);
        let home = self.0.durable(HOME);
        let old_vek = home[..512] != [0; 512];
        let expected = match step {
            Step::VekWritten | Step::Rewrapped => ([false, false, false], true),
            Step::CopyA => ([true, false, false], true),
            Step::CopyB => ([true, true, false], true),
            Step::Copies => ([true, true, true], true),
            Step::VekDestroyed | Step::CachesDropped | Step::Verified => ([true; 3], false),
        };
        assert_eq!((both, old_vek), expected, "{step:?}");
    }
}

#[test]
fn each_step_is_durable_before_the_next() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    done(ring.destroy(&victims(&ring), LedgerMark::default(), &Watch(disk.clone())));
}

/// A ledger in memory that can refuse.
#[derive(Default)]
struct Book {
    writes: Mutex<Vec<RegisterWrite>>,
    refuses: Mutex<bool>,
    known: Known,
}

impl Witness for Book {
    fn known(&self, _: VaultId) -> Known {
        self.known
    }

    fn note(&self, write: &RegisterWrite) -> Result<LedgerMark, Unwitnessed> {
        if *self.refuses.lock().unwrap() {
            return Err(Unwitnessed);
        }
        let mut writes = self.writes.lock().unwrap();
        writes.push(write.clone());
        Ok(LedgerMark { size: writes.len() as u64, root: [writes.len() as u8; 32] })
    }
}

#[test]
fn every_write_is_witnessed_before_it_happens() {
    let disk = disk();
    let book = Arc::new(Book::default());
    let witness = Arc::clone(&book) as Arc<dyn Witness>;
    let (ring, _) =
        KeyRing::from_parts(Parts { witness, ..parts(&disk, Arc::new(OneKey)) }).unwrap();
    let generation = || u64::from_be_bytes(disk.durable(0)[32..40].try_into().unwrap());
    let size = || u64::from_be_bytes(disk.durable(0)[72..80].try_into().unwrap());
    let check = |made: usize, gone: usize| {
        let writes = book.writes.lock().unwrap();
        let last = writes.last().unwrap();
        assert_eq!((last.generation, last.vault), (generation(), VAULT));
        assert_eq!(size(), writes.len() as u64);
        assert_eq!((last.made.len(), last.gone.len()), (made, gone));
        assert_eq!(last.mark.size + 1, size());
    };
    // State key and node; then five keys and five nodes.
    check(2, 0);
    ring.site_month(&site(1), month(1)).unwrap();
    check(10, 0);
    let keys = ring.site_month(&site(2), month(1)).unwrap();
    check(5, 0);
    let journal = ring.journal().unwrap().id();
    ring.retire(&[journal]).unwrap();
    check(0, 1);
    // A fresh node for the old one, beside the victim.
    done(ring.destroy(&[keys.ids.tally], LedgerMark::default(), &()));
    check(1, 2);
    assert_eq!(book.writes.lock().unwrap().last().unwrap().vek_epoch, 2);
    *book.refuses.lock().unwrap() = true;
    let before = disk.operations();
    assert!(matches!(ring.journal(), Err(KeysError::Witness(_))));
    let refused = ring.destroy(&[keys.ids.record], LedgerMark::default(), &());
    assert!(matches!(refused, Err(KeysError::Witness(_))));
    assert_eq!(disk.operations(), before, "no entry, no write");
    *book.refuses.lock().unwrap() = false;
    ring.journal().unwrap();
    done(ring.destroy(&[keys.ids.record], LedgerMark { size: 99, root: [9; 32] }, &()));
    assert_eq!(ring.mark().unwrap().size, 99);
    drop(ring);
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    assert_eq!(ring.mark().unwrap(), LedgerMark { size: 99, root: [9; 32] });
}

/// Keys that the ledger knows to be older open nothing, and nothing is touched.
#[test]
fn keys_older_than_the_ledger_are_refused() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    let highest = ring.list().last().unwrap().id.0;
    let (generation, vek_epoch) = (ring.generation().unwrap(), 1);
    drop(ring);
    let open = |generation, vek_epoch, next_key| {
        let known = Known { generation, vek_epoch, next_key };
        let witness = Arc::new(Book { known, ..Book::default() });
        KeyRing::from_parts(Parts { witness, ..parts(&disk, Arc::new(OneKey)) })
    };
    for (noted, epoch) in [(generation + 1, vek_epoch), (generation, vek_epoch + 1)] {
        let home = disk.bytes(HOME);
        let refused = open(noted, epoch, 0).err().unwrap();
        assert!(matches!(refused, KeysError::Older { .. }), "{refused}");
        assert_eq!(disk.bytes(HOME), home);
    }
    // Numbers that the ledger has seen are given to no other key; the header follows with a write.
    let (ring, _) = open(generation, vek_epoch, highest + 100).unwrap();
    assert_eq!(ring.generation().unwrap(), generation);
    assert_eq!(ring.journal().unwrap().id(), KeyId(highest + 100));
    drop(ring);
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    assert_eq!(ring.journal().unwrap().id(), KeyId(highest + 101));
}

/// A node's key that should be gone and is not: what was wrapped by it still opens, so nothing is
/// said to be destroyed until it does not.
#[test]
fn what_still_opens_is_not_destroyed() {
    let disk = disk();
    let (ring, _) = open_under(&disk, Arc::new(OneKey)).unwrap();
    filled(&ring);
    let ids = victims(&ring);
    let bucket = ring.bucket(&site(0), Class::Records, 5).unwrap().id();
    let infos = ring.list();
    let node = infos.iter().find(|info| info.id == bucket).unwrap().parent;
    let below: Vec<KeyId> = infos.iter().filter(|i| i.parent == node).map(|i| i.id).collect();
    let key = SealKey::new(node, &ring.core().unwrap().secret(node).unwrap());
    disk.away(OFF, true);
    let waiting = ring.destroy(&ids, LedgerMark::default(), &()).unwrap();
    assert!(matches!(waiting, Destruction::Waiting(_)));
    ring.core().unwrap().nodes.insert(node, Node { key, children: 0 });
    disk.away(OFF, false);
    for _ in 0..2 {
        match ring.destroy(&ids, LedgerMark::default(), &()) {
            Err(KeysError::StillOpens(id)) => assert!(below.contains(&id), "{id}"),
            other => panic!("{other:?}"),
        }
        assert!(!ring.is_destroyed(&ids, 1));
    }
    ring.core().unwrap().nodes.remove(&node);
    assert_eq!(done(ring.destroy(&ids, LedgerMark::default(), &())).victims.len(), ids.len());
    assert!(ring.is_destroyed(&ids, 1));
}

/// Ten thousand sites in one node: the writes do not grow with them.
#[test]
fn ten_thousand_sites_in_one_node_are_few_writes() {
    let disk = disk_under(&OneKey, 1024);
    let (ring, _) = KeyRing::from_parts(parts(&disk, Arc::new(OneKey))).unwrap();
    let of = |s: u32| SiteId::parse(format!("site-{s}").as_bytes()).unwrap();
    for s in 0..10_000 {
        ring.bucket(&of(s), Class::Records, 1).unwrap();
    }
    let victim = ring.bucket(&of(5_000), Class::Records, 1).unwrap().id();
    let before = disk.operations();
    let started = std::time::Instant::now();
    let destroyed = done(ring.destroy(&[victim], LedgerMark::default(), &()));
    let (took, writes) = (started.elapsed(), disk.operations() - before);
    // All leaves but the victim, the fresh node, the node of the state key.
    assert_eq!(destroyed.rewrapped, 10_001);
    // Home: VEK and zeros, each with a sync. Each copy: one run of slots, the node of the state key
    // that lies apart from it, a header, a sync.
    assert!(writes <= 12, "{writes} writes, {took:?}");
    // Measured: 0.14 s on two cores. A hundred times that is another algorithm.
    assert!(took.as_secs() < 10, "{took:?}");
}
