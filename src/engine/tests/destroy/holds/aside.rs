//! What is on hold and cannot be copied now, because a copy of the register of holds is out of
//! reach or the disk is full, waits, and nothing else does.

use std::path::PathBuf;

use super::*;
use crate::engine::erase::{Order, Waits};
use crate::keys::{Destruction, KeyInfo, KeyKind, Step};
use crate::model::person::Person;

/// A world whose register has a copy off the host, and where that of the register of holds lies.
fn with_a_copy() -> (World, Shelf) {
    let mut world = World::filled();
    world.fold_now();
    world.close();
    let shelf = world.dir.path().join("shelf");
    std::fs::create_dir(&shelf).unwrap();
    world.copies = vec![shelf.join("register.c")];
    world.open();
    (world, Shelf(shelf.join("register.c.hold")))
}

#[derive(Clone)]
struct Shelf(PathBuf);

impl Shelf {
    fn aside(&self) -> PathBuf {
        self.0.with_extension("aside")
    }

    /// Out of reach: a directory of that name is no file that could be written.
    fn take_away(&self) {
        if self.0.is_file() {
            std::fs::rename(&self.0, self.aside()).unwrap();
        }
        std::fs::create_dir(&self.0).unwrap();
    }

    fn put_back(&self) {
        std::fs::remove_dir(&self.0).unwrap();
        if self.aside().exists() {
            std::fs::rename(self.aside(), &self.0).unwrap();
        }
    }
}

/// Takes the copy away at a step.
struct Lost(Shelf, DestroyStep);

impl DestroySteps for Lost {
    fn begins(&self, step: DestroyStep) {
        if step == self.1 {
            self.0.take_away();
        }
    }
}

/// The same, and the process ends at another step.
struct LostAndCut(Lost, DestroyStep);

impl DestroySteps for LostAndCut {
    fn begins(&self, step: DestroyStep) {
        self.0.begins(step);
        assert!(step != self.1, "cut at {step:?}");
    }
}

/// The process ends at a step.
struct CutAt(DestroyStep);

impl DestroySteps for CutAt {
    fn begins(&self, step: DestroyStep) {
        assert!(step != self.0, "cut at {step:?}");
    }
}

impl World {
    /// The destruction came to nothing, and waits for the copy.
    fn check_aside(&self, report: &DestroyReport, shelf: &Shelf) {
        assert_eq!(report.waiting_for, std::slice::from_ref(&shelf.0));
        assert_eq!(report.verification, Verification::KeyStillOpens);
        assert_eq!(self.engine().unfinished_destruction(), [], "it stands in nobody's way");
    }

    /// Something of another site goes to the end.
    fn destroy_another(&mut self, lots: &[Lot]) {
        let living: Vec<Lot> = self.engine().lots().iter().map(|info| info.lot).collect();
        let is_other = |lot: &&Lot| matches!(lot, Lot::Records(_)) && !lots.contains(lot);
        let other = *living.iter().find(is_other).unwrap();
        self.destroyed(&[other]);
    }

    fn keys_of_holds(&self) -> usize {
        let ring = self.engine().ring().hold_existing().unwrap();
        ring.map_or(0, |ring| ring.list().iter().filter(|key| key.hold.is_some()).count())
    }
}

/// The keys of a lot were in the copies of the register off the host, so those that a hold gets
/// must be there before the lot's go.
#[test]
fn nothing_is_destroyed_before_the_copy_off_the_host_has_the_keys_of_the_hold() {
    let (mut world, shelf) = with_a_copy();
    shelf.take_away();
    let (_, lots) = world.month_lots(0);
    let events = world.events_of(&lots);
    for _ in 0..2 {
        let before = world.engine().ring().vek_epoch().unwrap();
        let report = world.destroy(&kept(&lots, &[ONE]), Arc::new(())).unwrap();
        world.check_aside(&report, &shelf);
        assert_eq!(world.engine().ring().vek_epoch().unwrap(), before);
        assert_eq!(world.engine().held().unwrap(), []);
        assert_eq!((world.hold_rows(), world.keys_of_holds()), (HoldRows::new(), 0));
        world.destroy_another(&lots);
        world.reopen();
    }
    shelf.put_back();
    world.moved(&lots, &[ONE]);
    world.check_held(ONE, &events);
    let hold = world.engine().ring().hold_existing().unwrap().unwrap();
    assert_eq!(hold.copies().unwrap()[0].behind, 0);
}

/// A copy of a hold that was released waits likewise.
#[test]
fn what_was_released_waits_for_the_copy_and_nothing_else_does() {
    let (mut world, shelf) = with_a_copy();
    let (at, lots) = world.month_lots(0);
    let events = world.events_of(&lots);
    world.moved(&lots, &[ONE]);
    shelf.take_away();
    for _ in 0..2 {
        let report = world.destroy(&copies(&lots, ONE, &[]), Arc::new(())).unwrap();
        world.check_aside(&report, &shelf);
        world.check_held(ONE, &events);
        world.destroy_another(&lots);
        world.reopen();
    }
    shelf.put_back();
    world.released(&lots, ONE, &[]);
    assert_eq!(world.engine().held().unwrap(), []);
    assert_eq!(world.evidence(at, 0), Evidence::Destroyed);
}

/// Lost after it was asked for, when the hold has its keys already: they are seen to before the
/// lots go without the hold, and before a person in them is erased.
#[test]
fn keys_of_a_copy_that_was_given_up_outlive_nothing() {
    let (mut world, shelf) = with_a_copy();
    let (_, lots) = world.month_lots(0);
    let lost = Arc::new(Lost(shelf.clone(), DestroyStep::Keep));
    let report = world.destroy(&kept(&lots, &[ONE]), lost).unwrap();
    world.check_aside(&report, &shelf);
    assert_eq!(world.engine().held().unwrap(), []);
    assert_eq!(world.hold_rows(), []);
    let left = world.keys_of_holds();
    assert!(left > 0, "the register of holds cannot let go of them now");
    world.destroy_another(&lots);
    world.reopen();
    // The hold was released: neither a lot nor a person goes while these keys are there.
    let before = world.rows();
    for _ in 0..2 {
        let report = world.destroy(&kept(&lots, &[]), Arc::new(())).unwrap();
        world.check_aside(&report, &shelf);
    }
    let user = Person { users: vec![Tag(tag("user record", 3))], devices: Vec::new() };
    let order = Order { person: user, number: 41, ..Order::default() };
    let nobody = || -> Waits { Arc::new(|_| false) };
    world.runtime.block_on(world.engine().hide(&site_id(0), order)).unwrap();
    let erased = world.engine().erase(41, nobody(), MARK, Arc::new(()));
    let erased = world.runtime.block_on(erased).unwrap();
    assert_eq!((erased.done, erased.waiting_for), (false, vec![shelf.0.clone()]));
    world.opens_all_but(&before, &[]);
    shelf.put_back();
    let erased = world.engine().erase(41, nobody(), MARK, Arc::new(()));
    assert!(world.runtime.block_on(erased).unwrap().done);
    assert!(world.keys_of_holds() < left, "those of the buckets are gone");
    let report = world.destroy(&kept(&lots, &[]), Arc::new(())).unwrap();
    assert_eq!((report.verification, report.nothing), (Verification::Passed, false));
    assert_eq!(world.keys_of_holds(), 0);
    for row in &before {
        let (lot, opens) = world.try_row(row);
        assert!(!opens || !lots.contains(&lot), "{lot:?}");
    }
}

/// Cut where the hold has its keys and the destruction has not ended, and started without the copy.
#[test]
fn a_start_without_the_copy_gives_up_what_a_cut_left() {
    let (mut world, shelf) = with_a_copy();
    let (_, lots) = world.month_lots(0);
    let events = world.events_of(&lots);
    // The step after the copies were made, before their rows make them whole.
    let cut = Arc::new(CutAt(DestroyStep::Kept));
    assert!(world.destroy(&kept(&lots, &[ONE]), cut).is_none());
    world.close();
    shelf.take_away();
    world.open();
    assert_eq!(world.engine().unfinished_destruction(), kept(&lots, &[ONE]));
    let report = world.destroy(&kept(&lots, &[ONE]), Arc::new(())).unwrap();
    world.check_aside(&report, &shelf);
    world.destroy_another(&lots);
    shelf.put_back();
    world.moved(&lots, &[ONE]);
    world.check_held(ONE, &events);
}

/// The destruction of a copy that ended, cut before a key of it went, and started without the copy
/// off the host.
#[test]
fn a_copy_that_ended_is_put_aside_as_long_as_its_keys_live() {
    let (mut world, shelf) = with_a_copy();
    let (_, lots) = world.month_lots(0);
    let events = world.events_of(&lots);
    world.moved(&lots, &[ONE]);
    let cut = Arc::new(CutAt(DestroyStep::Keys));
    assert!(world.destroy(&copies(&lots, ONE, &[]), cut).is_none());
    world.close();
    shelf.take_away();
    world.open();
    let report = world.destroy(&copies(&lots, ONE, &[]), Arc::new(())).unwrap();
    world.check_aside(&report, &shelf);
    world.check_held(ONE, &events);
    world.destroy_another(&lots);
    shelf.put_back();
    world.released(&lots, ONE, &[]);
    assert_eq!(world.engine().held().unwrap(), []);
}

impl World {
    /// The end of copies has begun, cannot be taken back, and stands in nobody's way.
    fn check_waits_alone(&self, report: &DestroyReport, ended: &[Doom], shelf: &Shelf) {
        assert_eq!(report.waiting_for, std::slice::from_ref(&shelf.0));
        assert_eq!(report.verification, Verification::KeyStillOpens);
        assert_eq!(self.engine().unfinished_destruction(), [], "it stands in nobody's way");
        let mut ended = ended.to_vec();
        ended.sort_unstable();
        assert_eq!(self.engine().waiting_destruction(), ended);
        let going = self.engine().unfinished_keys().unwrap();
        assert!(going.len() >= ended.len(), "nobody says that they are gone: {going:?}");
        assert_ne!(self.hold_rows(), []);
    }
}

/// The copy of the register is lost after it was asked for, and when the keys of a copy that ended
/// have left the register: that cannot be taken back. It waits, whatever is cut and however often
/// the process starts, and nothing else does.
#[test]
fn what_was_released_waits_alone_when_its_keys_went_before_the_copy_was_lost() {
    for cut in [None, Some(Step::VekWritten), Some(Step::CopyA), Some(Step::CopyB)] {
        let (mut world, shelf) = with_a_copy();
        let (at, lots) = world.month_lots(0);
        let (_, others) = world.month_lots(1);
        let events = world.events_of(&lots);
        world.moved(&lots, &[ONE]);
        world.check_held(ONE, &events);
        let ended = copies(&lots, ONE, &[]);
        let lost = Lost(shelf.clone(), DestroyStep::Keys);
        let report = match cut {
            None => world.destroy(&ended, Arc::new(lost)).unwrap(),
            Some(step) => {
                let steps = Arc::new(LostAndCut(lost, DestroyStep::After(step)));
                assert!(world.destroy(&ended, steps).is_none());
                world.reopen();
                world.destroy(&ended, Arc::new(())).unwrap()
            }
        };
        if cut == Some(Step::VekWritten) {
            // No key went, so it is put aside as a whole.
            world.check_aside(&report, &shelf);
            world.check_held(ONE, &events);
            continue;
        }
        for turn in 0..3 {
            world.check_waits_alone(&report, &ended, &shelf);
            assert_ne!(world.evidence(at, 0), Evidence::Destroyed, "{turn}");
            // What needs the vault of the holds waits as well, and all else goes.
            let again = world.destroy(&kept(&others, &[TWO]), Arc::new(())).unwrap();
            world.check_aside(&again, &shelf);
            world.destroy_another(&[lots.clone(), others.clone()].concat());
            world.check_waits_alone(&report, &ended, &shelf);
            world.reopen();
            let report = world.destroy(&ended, Arc::new(())).unwrap();
            world.check_waits_alone(&report, &ended, &shelf);
        }
        shelf.put_back();
        let report = world.released(&lots, ONE, &[]);
        assert_eq!(report.new_epoch, report.old_epoch + 1);
        assert!(report.lots.iter().all(|lot| !lot.keys.is_empty()));
        assert_eq!(world.engine().waiting_destruction(), []);
        assert_eq!(world.engine().unfinished_keys().unwrap(), []);
        assert_eq!((world.engine().held().unwrap(), world.hold_rows()), (vec![], vec![]));
        assert_eq!(world.evidence(at, 0), Evidence::Destroyed);
        world.reopen();
        assert_eq!(world.engine().waiting_destruction(), []);
        world.moved(&others, &[TWO]);
        let last = world.engine().last_destruction().unwrap().unwrap();
        assert_eq!(last.lots.len(), others.len());
    }
}

/// Cut behind the end of its keys, when the copy is back: it goes on from there.
#[test]
fn a_start_goes_on_with_what_waited() {
    for step in [DestroyStep::After(Step::VekDestroyed), DestroyStep::Rows, DestroyStep::End] {
        let (mut world, shelf) = with_a_copy();
        let (at, lots) = world.month_lots(0);
        world.moved(&lots, &[ONE]);
        let ended = copies(&lots, ONE, &[]);
        let lost = Arc::new(Lost(shelf.clone(), DestroyStep::Keys));
        let report = world.destroy(&ended, lost).unwrap();
        world.check_waits_alone(&report, &ended, &shelf);
        shelf.put_back();
        assert!(world.destroy(&ended, Arc::new(CutAt(step))).is_none());
        world.reopen();
        let waiting = world.engine().waiting_destruction();
        assert_eq!(waiting.len(), ended.len(), "{step:?}");
        world.destroy_another(&lots);
        world.released(&lots, ONE, &[]);
        assert_eq!(world.engine().waiting_destruction(), []);
        assert_eq!((world.hold_rows(), world.evidence(at, 0)), (vec![], Evidence::Destroyed));
    }
}

/// An erasure at another site goes on beside it, and one at this site waits with it.
#[test]
fn an_erasure_waits_with_the_copies_of_its_own_site_only() {
    let (mut world, shelf) = with_a_copy();
    let (_, lots) = world.month_lots(0);
    world.moved(&lots, &[ONE]);
    let ended = copies(&lots, ONE, &[]);
    let lost = Arc::new(Lost(shelf.clone(), DestroyStep::Keys));
    world.destroy(&ended, lost).unwrap();
    let nobody = || -> Waits { Arc::new(|_| false) };
    let erase = |site: u8, number: u64| {
        let user = Person { users: vec![Tag(tag("user record", 3))], devices: Vec::new() };
        let order = Order { person: user, number, ..Order::default() };
        world.runtime.block_on(world.engine().hide(&site_id(site), order)).unwrap();
        let erased = world.engine().erase(number, nobody(), MARK, Arc::new(()));
        world.runtime.block_on(erased).unwrap()
    };
    assert_eq!(erase(1, 41).waiting_for, [] as [PathBuf; 0]);
    assert_eq!(erase(0, 42).waiting_for, std::slice::from_ref(&shelf.0));
}

/// Keys that a hold got for a copy that was given up, cut in the middle of their end: the register
/// has them no more, but their vault epoch and an older copy of the register would open them.
#[test]
fn an_end_of_such_keys_that_was_cut_is_waited_for() {
    let (mut world, shelf) = with_a_copy();
    let (_, lots) = world.month_lots(0);
    let lost = Arc::new(Lost(shelf.clone(), DestroyStep::Keep));
    let report = world.destroy(&kept(&lots, &[ONE]), lost).unwrap();
    world.check_aside(&report, &shelf);
    shelf.put_back();
    world.reopen();
    let hold = world.engine().ring().hold_existing().unwrap().unwrap();
    let is_of_hold = |key: &&KeyInfo| key.hold.is_some() && key.kind != KeyKind::Node;
    let ids: Vec<KeyId> = hold.list().iter().filter(is_of_hold).map(|key| key.id).collect();
    // The copy goes away behind the last question, so the register is written and it is not.
    shelf.take_away();
    let ended = hold.destroy(&ids, MARK, &()).unwrap();
    assert!(matches!(ended, Destruction::Waiting(_)), "{ended:?}");
    drop(hold);
    world.reopen();
    assert_eq!(world.keys_of_holds(), 0, "nothing shows them");
    let before = world.rows();
    let report = world.destroy(&kept(&lots, &[]), Arc::new(())).unwrap();
    world.check_aside(&report, &shelf);
    world.opens_all_but(&before, &[]);
    shelf.put_back();
    let report = world.destroy(&kept(&lots, &[]), Arc::new(())).unwrap();
    assert_eq!((report.verification, report.nothing), (Verification::Passed, false));
    let hold = world.engine().ring().hold_existing().unwrap().unwrap();
    assert!(!hold.epoch_standing().unwrap().waiting);
}

#[test]
fn a_disk_with_little_room_copies_nothing() {
    let mut world = World::filled();
    world.fold_now();
    let (_, lots) = world.month_lots(0);
    world.engine().set_disk_low(true);
    let doomed = world.engine().destroy(kept(&lots, &[ONE]), MARK, Arc::new(()));
    assert_eq!(world.runtime.block_on(doomed).err(), Some(EngineError::DiskFull));
    assert_eq!(world.engine().held().unwrap(), []);
    assert_eq!(world.engine().unfinished_destruction(), []);
    // What is not on hold makes room.
    let other: Vec<Lot> = world.engine().lots().iter().map(|info| info.lot).collect();
    let other = *other.iter().find(|lot| !lots.contains(lot)).unwrap();
    let report = world.destroy(&[Doom::from(other)], Arc::new(())).unwrap();
    assert_eq!((report.verification, report.nothing), (Verification::Passed, false));
    world.lose(&[other]);
    world.engine().set_disk_low(false);
    world.moved(&lots, &[ONE]);
}
