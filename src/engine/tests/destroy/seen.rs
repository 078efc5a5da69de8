//! What knows duplicates of a day goes as a lot once the floor is behind it, cut or not.

use super::checks::{copy, under_way};
use super::*;
use crate::crypto::SealKey;
use crate::engine::destroy::trial;
use crate::engine::runs;

const DAY: i64 = 24 * HOUR;

fn row(event: u16, hours_ago: u16) -> Row {
    Row { site: 0, event, user: 1, device: 1, drm: 0, effect: 0, hours_ago }
}

/// Rows of slots by their day.
fn stored(engine: &Engine) -> BTreeMap<u32, Vec<(Vec<u8>, Vec<u8>)>> {
    let mut rows: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for row in engine.store().scan(Table::Seen, &[], None).unwrap() {
        let (key, value) = row.unwrap();
        let day = u32::from_be_bytes(key[..4].try_into().unwrap());
        rows.entry(day).or_default().push((key.into_vec(), value.into_vec()));
    }
    rows
}

impl World {
    /// So many days with slots, and the clock at the moment when all but the last one are over.
    fn with_slots(days: u16) -> (Self, Vec<Day>) {
        let mut world = Self::new(settings(false));
        let rows = (0..days).map(|at| row(at, 1 + 24 * (days - 1 - at)));
        world.run(Op::Submit(rows.collect()));
        world.fold_now();
        let slots = world.engine().ring().seen_days();
        assert_eq!(slots.len(), usize::from(days));
        let over = slots[slots.len() - 1].start().0 + 35 * DAY + 65 * 60_000;
        world.clock.0.store(over, Ordering::SeqCst);
        world.runtime.block_on(world.engine().expire(Timestamp(over))).unwrap();
        assert_eq!(world.engine().seen_floor(), slots[slots.len() - 1]);
        (world, slots)
    }

    fn is_known(&self, event: u16, day: Day) -> bool {
        let at = day.start().0 + HOUR;
        let batch = self.batch(&[(row(event, 0), at)]);
        let outcome = self.runtime.block_on(self.engine().commit(batch, Vec::new(), None));
        outcome.unwrap().verdicts == [Verdict::Duplicate]
    }
}

#[test]
fn slots_whose_floor_is_raised_are_destroyed_cut_at_every_step() {
    let (mut world, slots) = World::with_slots(u16::try_from(STEPS).unwrap() + 2);
    let (last, over) = slots.split_last().unwrap();
    let kept = stored(world.engine());
    let mut cuts = 0;
    for (step, day) in (0..).zip(over) {
        let lots = [Lot::Seen(*day)];
        let ring = world.engine().ring();
        let key = Arc::clone(&ring.seen(*day).unwrap().seal);
        let rows = &kept[&day.0];
        let opens = |key: &SealKey| {
            rows.iter().any(|(at, value)| runs::row_opens(key, Table::Seen, at, value))
        };
        assert!(opens(&key), "{step}");
        let commitment = ring.commitment(key.id()).unwrap();
        let old = world.dir.path().join("old");
        copy(&world.dir.path().join("keys"), &old);
        let cut = Cut::at(step);
        let ended = world.destroy(&lots, cut.clone());
        let report = match ended {
            Some(report) => Some(report),
            None => {
                assert!(cut.was_reached(), "{step}");
                cuts += 1;
                world.finish(&lots)
            }
        };
        // Cut before its row was written it has not begun.
        let report = report.or_else(|| {
            let begun = !world.engine().ring().seen_days().contains(day);
            (!begun).then(|| world.destroyed(&lots))
        });
        if let Some(report) = &report {
            assert_eq!(report.new_epoch, report.old_epoch + 1, "{step}");
            assert_eq!(report.lots.len(), 1);
            let victim = &report.lots[0].keys[0];
            assert_eq!((victim.key.id, victim.commitment), (key.id(), commitment), "{step}");
            assert_eq!((victim.key.site.clone(), victim.key.epoch), (None, day.0));
        }
        assert!(!world.engine().ring().seen_days().contains(day), "{step}");
        assert!(!stored(world.engine()).contains_key(&day.0), "{step}: no row is left");
        assert!(!world.opens_with_register_of(&old), "{step}");
        assert_eq!(world.engine().unfinished_destruction(), [], "{step}");
    }
    assert!(cuts >= STEPS, "{cuts} steps were cut");
    assert_eq!(world.engine().ring().seen_days(), [*last]);
    assert!(world.is_known(u16::try_from(over.len()).unwrap(), *last), "its slot lives");
}

#[test]
fn a_slot_that_is_needed_is_not_destroyed_and_nothing_begins() {
    let (mut world, slots) = World::with_slots(3);
    let before = stored(world.engine());
    let both = [Lot::Seen(slots[0]), Lot::Seen(slots[2])];
    assert!(world.destroy(&both, Arc::new(())).is_none());
    assert_eq!(world.engine().unfinished_destruction(), []);
    assert_eq!(stored(world.engine()), before);
    assert!(world.is_known(2, slots[2]));
    world.reopen();
    assert_eq!(world.engine().ring().seen_days(), slots);
    // A floor of memory alone is none.
    let report = world.destroyed(&[Lot::Seen(slots[0]), Lot::Seen(slots[1])]);
    assert_eq!(report.keys_tried, 2, "several days are one destruction");
    assert!(world.is_known(2, slots[2]));
}

#[test]
fn a_slot_that_a_fold_ended_keeps_its_key_until_its_destruction() {
    let mut world = World::new(settings(false));
    world.run(Op::Submit(vec![row(0, 1)]));
    world.fold_now();
    let slots = world.engine().ring().seen_days();
    world.run(Op::Advance(24 * 50));
    world.run(Op::Submit(vec![row(1, 1)]));
    world.fold_now();
    let living = |world: &World| world.engine().ring().seen_days();
    for _ in 0..2 {
        assert!(world.engine().seen_floor() > slots[0]);
        assert!(living(&world).contains(&slots[0]), "no key goes without an intent");
        assert!(stored(world.engine()).contains_key(&slots[0].0));
        world.reopen();
    }
    world.destroyed(&[Lot::Seen(slots[0])]);
    assert!(!living(&world).contains(&slots[0]));
    world.check();
}

/// What is stored of a slot, or of a month's sets, and opens is found, whoever has the key: a trial
/// does not just pass.
#[test]
fn a_trial_finds_the_slots_and_sets_that_open() {
    let (world, slots) = World::with_slots(2);
    let (shared, ring) = (&world.engine().shared, world.engine().ring());
    let site = shared.directory.site(&site_id(0)).unwrap().no;
    let at = SiteMonth { site, month: slots[0].month() };
    let seen = ring.seen_existing(slots[0]).unwrap().unwrap();
    let sets = ring.sets_existing(&site_id(0), at.month).unwrap();
    for (lot, id) in [(Lot::Seen(slots[0]), seen.seal.id()), (Lot::Sets(at), sets.id())] {
        let row = under_way(&[lot]);
        let found = |held: &[Arc<SealKey>]| trial::all(shared, ring, &row, held).unwrap();
        let there = found(&[]);
        assert!(there.rows > 0 && there.opens == there.rows, "{lot:?}: {there:?}");
        let key = ring.by_id(id).unwrap();
        ring.retire(&[id]).unwrap();
        assert_eq!(found(&[]), trial::Found { opens: 0, ..there }, "{lot:?}");
        assert_eq!(found(&[key]), there, "{lot:?}");
    }
}
