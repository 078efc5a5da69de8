//! What time alone ends: slots and answers of an idle server, and buckets that were due before
//! their first record came.

use super::*;
use crate::model::retention::Lot;

/// Pages of seen slots, kept answers, and the days that have a key.
fn kept(world: &World) -> (usize, usize, Vec<Day>) {
    let engine = world.engine();
    let rows = |table| engine.store().scan(table, &[], None).unwrap().count();
    (rows(Table::Seen), rows(Table::Answers), engine.ring().seen_days())
}

#[test]
fn an_idle_server_drops_slots_and_answers_when_their_life_is_over() {
    // Nothing is folded because time passes.
    let mut world = World::new(Settings { fold_after_ms: i64::MAX, ..settings(false) });
    let at = |text: &str| Timestamp::parse(text.as_bytes()).unwrap();
    let start = Timestamp(world.now());
    assert_eq!(start, at("2026-11-22T04:16:00Z"));
    let batch = world.batch(&[(row(0, 1, 1), start.0 - HOUR)]);
    world.runtime.block_on(world.engine().commit(batch, Vec::new(), Some(answer()))).unwrap();
    world.fold();
    // A row in the journal outlives the slot that it is in.
    world.raw(&[row(0, 2, 1)]).unwrap();
    let before = kept(&world);
    assert!(before.0 > 0 && before.1 == 1 && before.2 == [start.day()], "{before:?}");
    let expire = |world: &World, clock: Timestamp, believed: Timestamp| {
        world.clock.0.store(clock.0, Ordering::SeqCst);
        world.runtime.block_on(world.engine().expire(believed)).unwrap();
    };
    // Neither the clock alone nor the belief alone drops anything.
    let later = at("2027-06-01T00:00:00Z");
    expire(&world, later, start);
    expire(&world, start, later);
    let late = at("2026-11-30T23:59:59Z");
    expire(&world, late, late);
    assert_eq!(kept(&world), before);
    let late = at("2026-12-01T00:00:00Z");
    expire(&world, late, late);
    let after_answers = (before.0, 0, before.2.clone());
    assert_eq!(kept(&world), after_answers, "answers: 9 days at most");
    // The end of the day, 35 days, 5 minutes and an hour.
    let late = at("2026-12-28T01:04:59.999Z");
    expire(&world, late, late);
    assert_eq!(kept(&world), after_answers);
    let late = at("2026-12-28T01:05:00Z");
    expire(&world, late, late);
    // The floor first; rows and key go as a lot.
    assert_eq!(kept(&world), after_answers);
    for _ in 0..2 {
        assert_eq!(world.engine().seen_floor(), Day(start.day().0 + 1));
        let verdicts = world.raw(&[row(0, 1, 36 * 24)]).unwrap().verdicts;
        assert_eq!(verdicts, [Verdict::TooOld]);
        world.close();
        world.open();
    }
    assert_eq!(world.destroyed(&[Lot::Seen(start.day())]).keys_tried, 1);
    assert_eq!(kept(&world), (0, 0, Vec::new()));
    world.fold();
    assert_eq!(kept(&world).0, 0);
}

/// Buckets of site 2 (days) up to a day, and of no other site, are over.
struct OverUpTo(Day);

impl gone::Dues for OverUpTo {
    fn is_over(&self, site: &Site, bucket: Bucket, ends_at: Timestamp) -> bool {
        assert_eq!(bucket.epoch.month(), Timestamp(ends_at.0 - 1).day().month());
        let Epoch::Day(day) = bucket.epoch else { return false };
        assert_eq!(ends_at, Day(day.0 + 1).start());
        site.id == site_id(2) && day <= self.0
    }

    fn sets_over(&self, _: &Site, _: Month, _: Timestamp) -> bool {
        false
    }
}

#[test]
fn a_record_whose_bucket_is_due_is_counted_and_never_kept() {
    let mut world = World::new(settings(false));
    let start = Timestamp(world.now()).day();
    world.engine().judge_by(Box::new(OverUpTo(Day(start.0 - 5))));
    // 20 days late, just due, not due yet; and another site, whose buckets are months.
    let rows = [row(2, 1, 20 * 24), row(2, 2, 5 * 24), row(2, 3, 4 * 24), row(0, 4, 20 * 24)];
    let wanted = [Verdict::NotRetained, Verdict::NotRetained, Verdict::Accepted, Verdict::Accepted];
    assert_eq!(world.raw(&rows).unwrap().verdicts, wanted);
    let mau = |world: &World| {
        let months = ["2026-10", "2026-11"].map(|month| Month::parse(month.as_bytes()).unwrap());
        let of =
            |month| world.engine().usage(&site_id(2), month).unwrap().unwrap().tally.counters.mau;
        months.map(of).iter().sum::<u64>()
    };
    for round in 0..3 {
        // A replay has nobody to ask, and comes to what was answered.
        assert_eq!(mau(&world), 3, "{round}");
        let again = world.raw(&rows).unwrap().verdicts;
        assert_eq!(again, [Verdict::Duplicate; 4]);
        if round == 1 {
            world.fold();
        }
        world.close();
        world.open();
    }
    assert_eq!(world.epochs(2), BTreeSet::from([Epoch::Day(Day(start.0 - 4))]));
    let lots = world.engine().lots();
    let buckets = lots.iter().filter(|info| matches!(info.lot, Lot::Records(_)));
    assert_eq!(buckets.filter(|info| info.site == site_id(2)).count(), 1, "no name was given");
}

/// Days before one are over, and each was due two days after it began.
struct Moving(Arc<std::sync::atomic::AtomicU32>);

impl gone::Dues for Moving {
    fn is_over(&self, _: &Site, bucket: Bucket, _: Timestamp) -> bool {
        let over = self.0.load(Ordering::Relaxed);
        matches!(bucket.epoch, Epoch::Day(day) if day.0 < over)
    }

    fn sets_over(&self, _: &Site, _: Month, _: Timestamp) -> bool {
        false
    }

    fn due_at(&self, _: &Site, bucket: Bucket, _: Timestamp) -> Option<Timestamp> {
        let Epoch::Day(day) = bucket.epoch else { return None };
        Some(Day(day.0 + 2).start())
    }
}

/// What was due when it came is not kept anyway; what becomes due while the backfill is open would
/// outlive its bucket.
#[test]
fn a_backfill_is_overtaken_by_what_becomes_due_while_it_is_open() {
    let mut world = World::new(settings(false));
    let today = Timestamp(START).day().0;
    let over = Arc::new(std::sync::atomic::AtomicU32::new(today - 30));
    world.engine().judge_by(Box::new(Moving(Arc::clone(&over))));
    let rows = [(1, 40), (2, 1)].map(|(event, ago)| {
        let row = Row { site: 2, event, user: event, device: 1, drm: 0, effect: 0, hours_ago: 0 };
        (row, START - ago * 24 * HOUR)
    });
    let batch = world.batch(&rows);
    let number = world.make(2);
    let to = world.engine().loading(number).unwrap().unwrap();
    let marks = vec![[1; 16], [2; 16]];
    let staged = store::backfill::Staged { batch, marks };
    world.runtime.block_on(world.engine().load(&to, &staged, None)).unwrap();
    let job = world.engine().backfill(number).unwrap();
    let month = *job.staged.keys().next_back().unwrap();
    assert_eq!(world.engine().staged_in(&site_id(2), month), Some(number));
    assert_eq!(world.engine().staged_in(&site_id(2), month.next()), None);
    assert_eq!(world.engine().staged_in(&site_id(0), month), None);
    let overtaken = |day| {
        over.store(day, Ordering::Relaxed);
        world.engine().is_overtaken(&job)
    };
    assert!(!overtaken(today - 30) && !overtaken(today - 1), "it was due before it came");
    assert!(overtaken(today));
    world.close();
}
