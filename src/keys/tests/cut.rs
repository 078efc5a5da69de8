//! A destruction that is cut at each write and sync of register A, register B, VEK home and the
//! copy off the host, with every way for the disk to forget, and cut again while it is resumed: it
//! is rolled back or finished, never half, and never said to be done while a key opens.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::destroy::{done, filled, live, opened_with_all_of, opened_with_the_home_of, victims};
use super::disk::{Cut, Disk};
use super::hsm::{Hsm, OneKey};
use super::softhsm::{apart, root_of};
use super::{CHUNK, HOME, OFF, Secrets, VAULT, disk_under, open_under};
use crate::keys::medium::Medium;
use crate::keys::ring::KeyRing;
use crate::keys::slot::Slot;
use crate::keys::vek::VekHome;
use crate::keys::{Destruction, KeysError, LedgerMark, Resumed, RootProvider, VekId};
use crate::model::ids::KeyId;

/// Before the destruction.
struct World {
    disk: Disk,
    root: Arc<dyn RootProvider>,
    before: Secrets,
    nodes: BTreeSet<KeyId>,
    victims: Vec<KeyId>,
    old: Vec<(u32, Slot)>,
    /// Register A and B as they were.
    copies: [Vec<u8>; 2],
}

impl World {
    fn new(root: Arc<dyn RootProvider>) -> (Self, KeyRing) {
        let disk = disk_under(root.as_ref(), CHUNK);
        let (ring, _) = open_under(&disk, Arc::clone(&root)).unwrap();
        filled(&ring);
        let (before, victims) = (ring.secrets(), victims(&ring));
        let nodes = ring.list().into_iter().filter(|i| i.kind.name() == "node").map(|i| i.id);
        let nodes = nodes.collect();
        let copies = [disk.bytes(0), disk.bytes(1)];
        let old = live(&copies[0]);
        (Self { disk, root, before, nodes, victims, old, copies }, ring)
    }

    fn open(&self) -> Result<(KeyRing, Resumed), KeysError> {
        let (ring, opened) = open_under(&self.disk, Arc::clone(&self.root))?;
        Ok((ring, opened.resumed))
    }

    /// Whether the victims are gone: all of them or none; survivors have the secrets they had.
    fn gone(&self, ring: &KeyRing) -> bool {
        let now = ring.secrets();
        let living = self.victims.iter().filter(|id| now.contains_key(id)).count();
        assert!(living == 0 || living == self.victims.len(), "half a destruction");
        for (id, secret) in &self.before {
            match now.get(id) {
                Some(kept) => assert_eq!(kept, secret),
                None => assert!(living == 0, "{id} is gone without a destruction"),
            }
            let may_go = self.victims.contains(id) || self.nodes.contains(id);
            assert!(may_go || now.contains_key(id), "survivor {id} is gone");
        }
        living == 0
    }

    /// After it was said to be done.
    fn check_destroyed(&self, ring: &KeyRing) {
        assert!(self.gone(ring));
        assert!(ring.is_destroyed(&self.victims, 1));
        let home = VekHome::open(self.disk.file(HOME)).unwrap();
        assert!(home.is_alone().unwrap());
        let noise = opened_with_the_home_of(&self.disk, self.root.as_ref(), &self.old);
        assert!(noise.is_empty(), "an old copy opens {noise:?}");
        let open = opened_with_all_of(ring, &self.old);
        assert!(self.victims.iter().all(|id| !open.contains(id)), "{open:?}");
    }

    /// The same on the disk itself, whatever the page cache says; and the register copied before,
    /// beside today's home, is refused.
    fn check_disk(&self) {
        self.disk.power(Cut::Lost);
        let (ring, resumed) = self.open().unwrap();
        assert_eq!(resumed, Resumed::Nothing);
        self.check_destroyed(&ring);
        drop(ring);
        let rest = [OFF, HOME].map(|at| self.disk.bytes(at));
        for (at, bytes) in self.copies.iter().enumerate() {
            self.disk.set(at, bytes.clone());
        }
        self.disk.set(OFF, Vec::new());
        let refused = self.open().err().unwrap();
        assert!(matches!(refused, KeysError::VekEpoch { .. }), "{refused}");
        for (at, bytes) in [OFF, HOME].into_iter().zip(rest) {
            self.disk.set(at, bytes);
        }
    }

    /// What follows a cut: a start finds out, and if nothing has happened the call is repeated.
    fn recover(&self, finished_before: bool) {
        let (ring, resumed) = self.open().unwrap();
        match resumed {
            Resumed::Nothing | Resumed::RolledBack if !self.gone(&ring) => {
                assert!(!finished_before, "destroyed, and back");
                assert!(!ring.is_destroyed(&self.victims, 1));
                let home = VekHome::open(self.disk.file(HOME)).unwrap();
                assert!(home.is_alone().unwrap() && home.epoch() == 1);
                let again = done(ring.destroy(&self.victims, LedgerMark::default(), &()));
                assert_eq!(again.victims.len(), self.victims.len());
            }
            Resumed::Nothing | Resumed::Finished => assert!(self.gone(&ring)),
            Resumed::RolledBack | Resumed::Waiting => panic!("{resumed:?}"),
        }
        self.check_destroyed(&ring);
        let again = ring.destroy(&self.victims, LedgerMark::default(), &()).unwrap();
        assert_eq!(again, Destruction::NothingToDestroy);
        drop(ring);
        self.check_disk();
    }
}

fn roots() -> [fn() -> Arc<dyn RootProvider>; 2] {
    [|| Arc::new(OneKey), || Arc::new(Hsm::default())]
}

fn cuts(seeds: u64) -> impl Iterator<Item = Cut> {
    [Cut::Lost, Cut::Kept, Cut::Killed].into_iter().chain((0..seeds).map(Cut::Seeded))
}

/// Writes and syncs of a whole destruction.
fn length() -> u32 {
    let (world, ring) = World::new(Arc::new(OneKey));
    let start = world.disk.operations();
    done(ring.destroy(&world.victims, LedgerMark::default(), &()));
    world.disk.operations() - start
}

#[test]
fn a_destruction_cut_anywhere_is_resumed() {
    let steps = length();
    assert!(steps > 15, "{steps}");
    for root in roots() {
        for (fuse, cut) in (0..steps).flat_map(|fuse| cuts(12).map(move |cut| (fuse, cut))) {
            let (world, ring) = World::new(root());
            world.disk.burn_after(fuse);
            let result = ring.destroy(&world.victims, LedgerMark::default(), &());
            // The copy off the host is the one whose failure is waited for and not fatal.
            let waits = matches!(&result, Ok(Destruction::Waiting(_)));
            assert!(waits || matches!(result, Err(KeysError::Failed(_))), "{fuse}: {result:?}");
            // Which is what ends the engine, and with it the process.
            assert_eq!(ring.usable().is_err(), !waits);
            assert!(!ring.is_destroyed(&world.victims, 1));
            drop(ring);
            world.disk.power(cut);
            world.recover(false);
        }
    }
}

/// The same with a real token, which keeps what it did whatever the disk forgets.
#[test]
fn a_destruction_with_a_real_token_cut_anywhere_is_resumed() {
    const TEST: &str = "keys::tests::cut::a_destruction_with_a_real_token_cut_anywhere_is_resumed";
    apart(TEST, |token| {
        for (fuse, cut) in (0..length()).flat_map(|fuse| cuts(1).map(move |cut| (fuse, cut))) {
            let (world, ring) = World::new(Arc::new(root_of(token)));
            world.disk.burn_after(fuse);
            drop(ring.destroy(&world.victims, LedgerMark::default(), &()));
            assert!(!ring.is_destroyed(&world.victims, 1));
            drop(ring);
            world.disk.power(cut);
            world.recover(false);
            assert_eq!(token.keys(), 1, "{fuse} {cut:?}");
            world.root.end_epoch(VekId { vault: VAULT, epoch: 2 }).unwrap();
        }
    });
}

#[test]
fn a_resumption_cut_anywhere_is_resumed() {
    let steps = length();
    for (fuse, again) in (0..steps).step_by(2).flat_map(|fuse| (0..16).map(move |a| (fuse, a))) {
        let root: Arc<dyn RootProvider> = Arc::new(Hsm::default());
        let (world, ring) = World::new(root);
        world.disk.burn_after(fuse);
        assert!(!matches!(
            ring.destroy(&world.victims, LedgerMark::default(), &()),
            Ok(Destruction::Done(_))
        ));
        drop(ring);
        world.disk.power(Cut::Seeded(u64::from(fuse)));
        world.disk.burn_after(again);
        drop(world.open());
        world.disk.power(Cut::Seeded(u64::from(again) + 77));
        world.recover(false);
    }
}

/// Nothing that was said to be destroyed comes back, whatever happens next.
#[test]
fn a_cut_after_the_end_changes_nothing() {
    for root in roots() {
        for cut in cuts(8) {
            let (world, ring) = World::new(root());
            done(ring.destroy(&world.victims, LedgerMark::default(), &()));
            world.check_destroyed(&ring);
            world.disk.burn_after(1);
            drop(ring.journal());
            drop(ring);
            world.disk.power(cut);
            world.recover(true);
        }
    }
}

/// A disk that says yes and keeps other bytes: caught by reading back, before the old VEK goes.
#[test]
fn a_write_that_was_not_kept_stops_the_destruction() {
    for copy in 0..2 {
        let (world, ring) = World::new(Arc::new(OneKey));
        world.disk.forget_writes_of(copy);
        let refused = ring.destroy(&world.victims, LedgerMark::default(), &());
        assert!(matches!(refused, Err(KeysError::Register(_))), "{refused:?}");
        assert!(ring.usable().is_err());
        assert!(matches!(ring.journal(), Err(KeysError::Failed(_))));
        let home = VekHome::open(world.disk.file(HOME)).unwrap();
        assert!(home.vek(1, world.root.as_ref()).is_ok(), "the old VEK lives");
        drop(ring);
        world.disk.power(Cut::Kept);
        world.recover(false);
    }
}

#[derive(Clone, Debug)]
struct Round {
    fuse: u32,
    cut: Cut,
    /// Cut again in the start after it.
    start: Option<(u32, Cut)>,
    destroys: bool,
    away: bool,
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        1 => Just(Cut::Lost),
        1 => Just(Cut::Kept),
        2 => Just(Cut::Killed),
        6 => any::<u64>().prop_map(Cut::Seeded),
    ]
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let start = prop::option::of((0u32..24, cut()));
    let round = (0u32..40, cut(), start, any::<bool>(), prop::bool::weighted(0.2));
    let round = round.prop_map(|(fuse, cut, start, destroys, away)| Round {
        fuse,
        cut,
        start,
        destroys,
        away,
    });
    prop::collection::vec(round, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Destructions and turn-overs one after the other, cut wherever, the copy off the host away or
    /// not: the keys that should live do, with the same secrets, and no other.
    #[test]
    fn many_destructions_with_many_cuts(rounds in rounds()) {
        let root: Arc<dyn RootProvider> = Arc::new(Hsm::default());
        let disk = disk_under(root.as_ref(), CHUNK);
        let (ring, _) = open_under(&disk, Arc::clone(&root)).unwrap();
        filled(&ring);
        let leaves = |ring: &KeyRing| {
            let infos = ring.list().into_iter().filter(|i| i.kind.name() != "node");
            infos.map(|i| i.id).collect::<BTreeSet<_>>()
        };
        let mut secrets = ring.secrets();
        let mut living = leaves(&ring);
        let state = ring.state_key().id();
        drop(ring);
        for round in rounds {
            let (ring, _) = open_under(&disk, Arc::clone(&root)).unwrap();
            let old = live(&disk.bytes(0));
            let due = living.iter().copied().filter(|id| *id != state);
            let ids: BTreeSet<KeyId> = due.take(2).collect();
            disk.away(OFF, round.away);
            disk.burn_after(round.fuse);
            let asked: Vec<KeyId> = ids.iter().copied().collect();
            let result = if round.destroys {
                ring.destroy(&asked, LedgerMark::default(), &())
            } else {
                ring.turn_over(LedgerMark::default(), &())
            };
            let was_done = matches!(result, Ok(Destruction::Done(_)));
            drop(ring);
            disk.away(OFF, false);
            disk.power(round.cut);
            if let Some((fuse, cut)) = round.start {
                disk.burn_after(fuse);
                drop(open_under(&disk, Arc::clone(&root)));
                disk.power(cut);
            }
            let (ring, opened) = open_under(&disk, Arc::clone(&root)).unwrap();
            prop_assert!(opened.resumed != Resumed::Waiting);
            let now = leaves(&ring);
            let lost: BTreeSet<KeyId> = living.difference(&now).copied().collect();
            prop_assert!(lost.is_empty() || (round.destroys && lost == ids));
            prop_assert!(!(was_done && round.destroys) || lost == ids);
            let opened = ring.secrets();
            for id in &now {
                prop_assert_eq!(opened.get(id), secrets.get(id));
            }
            if was_done || !lost.is_empty() {
                prop_assert!(opened_with_the_home_of(&disk, root.as_ref(), &old).is_empty());
                let open = opened_with_all_of(&ring, &old);
                prop_assert!(lost.iter().all(|id| !open.contains(id)));
            }
            secrets = opened;
            living = now;
            let home = VekHome::open(disk.file(HOME)).unwrap();
            prop_assert!(home.is_alone().unwrap());
            drop(ring);
        }
        let file = disk.file(0);
        prop_assert!(file.size().unwrap() > 0);
        prop_assert_eq!(VekHome::open(disk.file(HOME)).unwrap().vault(), VAULT);
    }
}
