//! Backfills against the model, and case by case.

use super::*;
use crate::engine::backfill::{self, Change, Loaded, Loading, mark_of};
use crate::engine::erase::{Order, Waits};
use crate::engine::writer::Message;
use crate::keys::LedgerMark;
use crate::model::backfill::{Job, Outcomes, Stage};
use crate::model::field::Field;
use crate::model::person::Person;
use crate::store::backfill::Staged;

const MARK: LedgerMark = LedgerMark { size: 9, root: [9; 32] };
/// Number of the first backfill; erasures of these tests have larger ones.
const FIRST: u64 = 100;

/// What tells a row's event from others where it is kept.
pub(super) fn push_event(writer: &mut DetailsWriter, row: &Row) {
    writer.push(Field::EventId.code(), Item::Text(event_id(row).as_bytes()));
    writer.push(Field::Producer.code(), Item::Text(b"p"));
}

fn event_id(row: &Row) -> String {
    format!("event {}", row.event)
}

fn row(event: u16, user: u16) -> Row {
    Row { site: 0, event, user, device: 1, drm: 0, effect: 0, hours_ago: 0 }
}

/// Rows of one time.
fn at(time: i64, rows: &[(u16, u16)]) -> Vec<(Row, i64)> {
    rows.iter().map(|(event, user)| (row(*event, *user), time)).collect()
}

fn nobody() -> Waits {
    Arc::new(|_| false)
}

impl World {
    pub(super) fn make(&self, site: u8) -> u64 {
        let number = self.engine().backfills().last().map_or(FIRST, |job| job.number + 1);
        let job = Job {
            number,
            site: self.engine().site(&site_id(site)).unwrap().no,
            producer: None,
            from: Timestamp(0),
            to: Timestamp::END,
            reason: "a test".into(),
            made_by: "tester".into(),
            made_at: Timestamp(self.now()),
            open_until: Timestamp::END,
            stage: Stage::Loading,
            why: None,
            operation: 0,
            told: false,
            attempts: 0,
            exact_from: None,
            ended_at: None,
            key: None,
            mark: Vec::new(),
            loads: 0,
            bytes: 0,
            rejected: 0,
            staged: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        };
        self.runtime.block_on(self.engine().make_backfill(job)).unwrap();
        number
    }

    fn loading(&self, number: u64) -> Option<Loading> {
        self.engine().loading(number).unwrap()
    }

    fn load(&self, number: u64, rows: &[(Row, i64)]) -> Loaded {
        let to = self.loading(number).unwrap();
        let mut batch = self.batch(rows);
        batch.suppressions = self.engine().suppressions();
        let mark = |(row, at): &(Row, i64)| {
            mark_of(&to.mark, b"p", Timestamp(*at).day(), event_id(row).as_bytes())
        };
        let staged = Staged { marks: rows.iter().map(mark).collect(), batch };
        self.runtime.block_on(self.engine().load(&to, &staged, None)).unwrap()
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut Job) + Send + 'static) -> Arc<Job> {
        let change: Change = Box::new(change);
        self.runtime.block_on(self.engine().change_backfill(number, change)).unwrap().unwrap()
    }

    fn begin_close(&self, number: u64) {
        self.change(number, |job| job.stage = Stage::Closing);
    }

    fn try_close(&self, number: u64) -> Result<Arc<Job>, EngineError> {
        self.runtime.block_on(self.engine().close_backfill(number))
    }

    fn clear(&self, number: u64) -> bool {
        self.runtime.block_on(self.engine().clear_backfill(number, MARK)).unwrap()
    }

    /// Loads, closes and clears a backfill as the model says, over a close that fails.
    pub(super) fn backfill(&mut self, crash: Option<bool>, size: u16, rows: &[Row]) {
        let site = rows[0].site;
        let now = self.now();
        let timed = |row: &Row| (*row, now - i64::from(row.hours_ago) * 3 * HOUR);
        let rows = rows.iter().filter(|row| row.site == site).map(timed);
        let rows: Vec<_> = rows.filter(|(row, at)| self.takes(row.site, Timestamp(*at))).collect();
        let number = self.make(site);
        for load in rows.chunks(usize::from(size)) {
            assert!(matches!(self.load(number, load), Loaded::Done(_)));
        }
        self.begin_close(number);
        self.check();
        if let Some(after) = crash.filter(|_| !rows.is_empty()) {
            // Not the journal of a month's close, which is written before.
            self.look().unwrap();
            self.engine().store().fault.store(if after { 2 } else { 1 }, Ordering::SeqCst);
            assert!(self.try_close(number).is_err());
            self.close();
            self.open();
            let stage = self.engine().backfill(number).unwrap().stage;
            assert_eq!(stage == Stage::Closed, after, "{stage:?}");
            if !after {
                self.check();
            }
        }
        self.model.late_rows = true;
        let mut wanted = Outcomes::default();
        for load in rows.chunks(usize::from(size)) {
            let batch = self.batch(load);
            self.apply(load, &batch).into_iter().for_each(|verdict| wanted.judge(verdict));
        }
        self.model.late_rows = false;
        let job = self.try_close(number).unwrap();
        assert_eq!((job.stage, job.total()), (Stage::Closed, wanted));
        assert!(self.clear(number));
        self.check();
    }
}

fn records(world: &World) -> usize {
    let rows = world.engine().store().scan(Table::Backfill, &[], None).unwrap();
    rows.filter(|row| store::keys::backfill_of(&row.as_ref().unwrap().0).is_none()).count()
}

/// Nothing is counted before the close, and all of it in one group; what comes of it is what would
/// have come of it in time, however it is cut and repeated.
#[test]
fn a_backfill_is_counted_as_a_whole_and_as_if_it_had_come_in_time() {
    let rows: Vec<(u16, u16)> = (0..60).map(|event| (event, event % 17)).collect();
    let day = START - 20 * 24 * HOUR;
    let in_time = World::new(settings(false));
    let batch = in_time.batch(&at(day, &rows));
    in_time.runtime.block_on(in_time.engine().commit(batch, Vec::new(), None)).unwrap();
    let wanted = in_time.engine().usage(&site_id(0), Timestamp(day).day().month());
    let mut wanted = wanted.unwrap().unwrap().tally;
    let mut world = World::new(settings(false));
    let usage = |world: &World| {
        let usage = world.engine().usage(&site_id(0), Timestamp(day).day().month());
        usage.unwrap().unwrap().tally
    };
    let number = world.make(0);
    for size in [7, 13] {
        let mut turned = rows.clone();
        turned.reverse();
        for load in turned.chunks(size) {
            assert!(matches!(world.load(number, &at(day, load)), Loaded::Done(_)));
        }
    }
    world.close();
    world.open();
    assert_eq!(usage(&world), Tally::default());
    assert_eq!(world.engine().backfill(number).unwrap().records(), 120);
    assert!(world.try_close(number).is_err(), "nobody has said that it closes");
    world.begin_close(number);
    let groups = world.engine().figures().groups;
    let job = world.try_close(number).unwrap();
    assert_eq!(world.engine().figures().groups, groups + 1, "one group");
    let outcome = Outcomes { accepted: 60, duplicates: 60, ..Outcomes::default() };
    assert_eq!(job.total(), outcome);
    wanted.counters.duplicates += 60;
    assert_eq!(usage(&world), wanted);
    let key = job.key.unwrap();
    assert!(world.engine().ring().by_id(key).is_some() && records(&world) > 0);
    assert!(world.clear(number) && world.clear(number));
    assert!(world.engine().ring().by_id(key).is_none());
    assert_eq!(records(&world), 0);
    assert_eq!(world.try_close(number).unwrap().total(), outcome, "asked again");
    assert!(world.loading(number).is_none());
    world.close();
    world.open();
    assert_eq!(usage(&world), wanted);
    assert_eq!(world.engine().backfill(number).unwrap().total(), outcome);
    world.close();
    in_time.engine().stop();
}

#[test]
fn a_closed_month_keeps_its_figures_and_gets_corrections() {
    let mut world = World::new(settings(false));
    world.run(Op::Submit(vec![row(1, 1), row(2, 2)]));
    world.pass(284).unwrap();
    let month = Timestamp(START).day().month();
    let usage = |world: &World| world.engine().usage(&site_id(0), month).unwrap().unwrap();
    let before = usage(&world);
    assert_eq!(before.state, State::Closed);
    let number = world.make(0);
    world.load(number, &at(START, &[(1, 1), (10, 1), (11, 7), (12, 7)]));
    world.begin_close(number);
    let outcome = Outcomes { accepted: 3, duplicates: 1, corrected: 3, ..Outcomes::default() };
    assert_eq!(world.try_close(number).unwrap().total(), outcome);
    let after = usage(&world);
    assert_eq!(after.tally.counters, before.tally.counters);
    let corrections = after.tally.corrections;
    assert_eq!((corrections.records, corrections.mau), (3, 1));
    world.close();
}

/// Also of days whose slots are gone, as long as the record is kept.
#[test]
fn an_event_that_was_counted_is_known_however_long_ago() {
    let mut world = World::new(settings(false));
    world.run(Op::Submit(vec![row(1, 1), row(2, 2)]));
    world.advance(50 * 24);
    world.run(Op::Submit(vec![row(3, 3)]));
    world.runtime.block_on(world.engine().fold()).unwrap();
    assert!(world.engine().seen_floor() > Timestamp(START).day());
    for outcome in [
        Outcomes { accepted: 1, duplicates: 2, corrected: 1, ..Outcomes::default() },
        Outcomes { duplicates: 3, ..Outcomes::default() },
    ] {
        let number = world.make(0);
        world.load(number, &at(START, &[(1, 1), (2, 2), (4, 4)]));
        world.begin_close(number);
        assert_eq!(world.try_close(number).unwrap().total(), outcome);
        assert!(world.clear(number));
    }
    world.close();
}

/// The writer does a part of its work for each batch.
#[test]
fn small_requests_are_judged_together() {
    let mut world = World::new(settings(false));
    let number = world.make(0);
    for event in 0..40 {
        let late = START - i64::from(event % 7) * 24 * HOUR;
        world.load(number, &at(late, &[(event, event % 5), (event / 2, 3)]));
    }
    world.begin_close(number);
    let whole = backfill::prepare(world.engine(), number).unwrap().unwrap();
    assert_eq!(whole.group.len(), 1);
    assert_eq!((whole.group[0].pieces[0].batch.claims.len(), whole.repeats[0].len()), (80, 80));
    let total = world.try_close(number).unwrap().total();
    assert_eq!(total.accepted + total.duplicates, 80);
    world.close();
}

/// Somebody of another site who is suppressed meanwhile does not send the close back, and who ended
/// counts nothing.
#[test]
fn a_close_looks_at_its_own_site() {
    let mut world = World::new(settings(false));
    let [other, ended] = [0, 1].map(|site| {
        let number = world.make(site);
        let rows = at(START, &[(1, 1)]).into_iter();
        world.load(number, &rows.map(|(row, at)| (Row { site, ..row }, at)).collect::<Vec<_>>());
        world.begin_close(number);
        number
    });
    let whole = |engine: &Engine, number| backfill::prepare(engine, number).unwrap().unwrap();
    let close = |world: &World, whole| {
        let order = |reply| Message::Backfill(backfill::Order::Close(Box::new(whole), reply));
        world.engine().wait_for(order).unwrap()
    };
    let prepared = whole(world.engine(), other);
    let person = Person { users: vec![Tag(tag("user record", 9))], devices: Vec::new() };
    let suppress = vec![Tag(tag("suppressed", 9))];
    let order = Order { number: 900, person, suppress, ..Order::default() };
    world.runtime.block_on(world.engine().hide(&site_id(1), order)).unwrap();
    assert_eq!(close(&world, prepared).unwrap().total().accepted, 1);
    let prepared = whole(world.engine(), ended);
    let terminated = world.engine().terminate_site(site_id(1), Timestamp(START));
    world.runtime.block_on(terminated).unwrap();
    assert!(close(&world, prepared).is_none());
    assert_eq!(world.try_close(ended).err(), Some(EngineError::Ended));
    world.close();
}

/// Somebody who is hidden after the close was prepared sends it back; made again it keeps nothing
/// of them.
#[test]
fn an_erasure_behind_the_preparation_sends_the_close_back() {
    let mut world = World::new(settings(false));
    let number = world.make(0);
    world.load(number, &at(START, &[(1, 1), (2, 2)]));
    world.begin_close(number);
    let prepared = backfill::prepare(world.engine(), number).unwrap().unwrap();
    let person = Person { users: vec![Tag(tag("user record", 1))], devices: Vec::new() };
    let order = Order { number: 900, person, ..Order::default() };
    world.runtime.block_on(world.engine().hide(&site_id(0), order)).unwrap();
    let order = |reply| Message::Backfill(backfill::Order::Close(Box::new(prepared), reply));
    assert!(world.engine().wait_for(order).unwrap().is_none());
    assert_eq!(world.try_close(number).unwrap().total().not_retained, 1);
    world.close();
}

/// Whoever is erased between load and close is counted, and no record of them is kept; the erasure
/// is not done before the key of what was put aside is destroyed.
#[test]
fn who_is_erased_meanwhile_is_counted_and_not_kept() {
    let mut world = World::new(settings(false));
    let number = world.make(0);
    world.load(number, &at(START, &[(1, 1), (2, 2), (3, 1)]));
    let person = Person { users: vec![Tag(tag("user record", 1))], devices: Vec::new() };
    let order = Order { number: 900, person, ..Order::default() };
    world.runtime.block_on(world.engine().hide(&site_id(0), order)).unwrap();
    let erase = |world: &World| {
        let erased = world.engine().erase(900, nobody(), MARK, Arc::new(()));
        world.runtime.block_on(erased).unwrap()
    };
    for _ in 0..2 {
        let report = erase(&world);
        assert_eq!((report.done, report.held.len(), report.backfills), (false, 0, vec![number]));
        world.close();
        world.open();
    }
    // One that was made later is not waited for.
    let later = world.engine().backfills().last().unwrap().number + 900;
    world.begin_close(number);
    let job = world.try_close(number).unwrap();
    let outcome = Outcomes { accepted: 3, not_retained: 2, ..Outcomes::default() };
    assert_eq!(job.total(), outcome);
    let usage = world.engine().usage(&site_id(0), Timestamp(START).day().month());
    assert_eq!(usage.unwrap().unwrap().tally.counters.mau, 2, "who was counted is counted");
    assert!(!erase(&world).done, "an older copy of the register would open what was put aside");
    assert!(world.clear(number));
    assert!(later > 900 && erase(&world).done);
    world.runtime.block_on(world.engine().end_erasure(900)).unwrap();
    // What is kept is the other one's.
    let bucket_rows = |world: &World| {
        world.runtime.block_on(world.engine().fold()).unwrap();
        let mut users = Vec::new();
        for table in world.engine().store().tables() {
            let Table::BlockKeys(class, _) = table else { continue };
            for found in world.engine().store().scan(table, &[], None).unwrap() {
                let place = BlockPlace::from_key(class, &found.unwrap().0).unwrap();
                let code = place.bucket.epoch.code();
                let key = world.engine().ring().bucket(&site_id(0), class, code).unwrap();
                let rows = read_block(world.engine().store(), &key, place).unwrap();
                users.extend(rows.iter().filter_map(|row| row.user));
            }
        }
        users
    };
    assert_eq!(bucket_rows(&world), [Tag(tag("user record", 2))]);
    world.close();
}

#[test]
fn a_backfill_has_bounds_and_an_end() {
    let bounds = backfill::Settings { records_max: 5, bytes_max: 1 << 20, loads_max: 2 };
    let mut world = World::new(Settings { backfill: bounds, ..settings(false) });
    let number = world.make(0);
    assert!(matches!(world.load(number, &at(START, &[(1, 1), (2, 2), (3, 3)])), Loaded::Done(_)));
    assert!(matches!(world.load(number, &at(START, &[(4, 1), (5, 2), (6, 3)])), Loaded::Full));
    assert!(matches!(world.load(number, &at(START, &[(4, 1), (5, 2)])), Loaded::Done(_)));
    let to = world.loading(number).unwrap();
    let batch = world.batch(&at(START, &[(9, 9)]));
    let staged = Staged { marks: vec![[0; 16]], batch };
    // Prepared before a list of persons changed.
    let mut stale = staged.clone();
    stale.batch.suppressions = 7;
    let busy = world.runtime.block_on(world.engine().load(&to, &stale, None));
    assert_eq!(busy.err(), Some(EngineError::Busy));
    world.change(number, |job| job.stage = Stage::Abandoned);
    let ended = world.runtime.block_on(world.engine().load(&to, &staged, None)).unwrap();
    assert!(matches!(ended, Loaded::NotOpen));
    assert!(world.try_close(number).is_err(), "abandoned is abandoned");
    let key = world.engine().backfill(number).unwrap().key.unwrap();
    assert!(world.clear(number) && world.engine().ring().by_id(key).is_none());
    assert_eq!(records(&world), 0);
    world.runtime.block_on(world.engine().forget_backfill(number)).unwrap();
    world.close();
    world.open();
    assert_eq!(world.engine().backfills(), []);
    world.close();
}

/// Copies of register and VEK home from before do not open it with today's VEK home either: its key
/// goes as every other does.
#[test]
fn nothing_of_its_key_is_left() {
    let mut world = World::new(settings(false));
    let number = world.make(0);
    world.load(number, &at(START, &[(1, 1)]));
    let key = world.engine().backfill(number).unwrap().key.unwrap();
    let secret = world.engine().ring().secrets()[&key];
    let epoch = world.engine().ring().vek_epoch().unwrap();
    world.change(number, |job| job.stage = Stage::Abandoned);
    assert!(world.clear(number));
    assert_eq!(world.engine().ring().vek_epoch().unwrap(), epoch + 1);
    assert!(world.engine().ring().is_destroyed(&[key], epoch));
    assert!(!world.engine().ring().secrets().values().any(|other| *other == secret));
    world.close();
}

/// Settings that hold at once would make other rows of what was put aside.
#[test]
fn an_open_backfill_freezes_the_settings_of_its_months() {
    let world = World::new(settings(false));
    let number = world.make(1);
    let zone = |zone: &str| SiteSettings { time_zone: zone.into(), ..SiteSettings::default() };
    assert!(world.put(1, zone("Europe/Berlin")).effective.is_some());
    world.change(number, |job| job.stage = Stage::Abandoned);
    assert!(world.put(1, zone("Europe/Paris")).effective.is_none());
    world.engine().stop();
}

/// Data of before its end with the keys of after.
#[test]
fn a_backfill_whose_key_is_gone_is_known_as_lost() {
    let mut world = World::new(settings(false));
    let number = world.make(0);
    world.load(number, &at(START, &[(1, 1)]));
    let lost = |world: &World| {
        let job = world.engine().backfill(number).unwrap();
        world.engine().is_lost_backfill(&job)
    };
    assert!(!lost(&world));
    let key = world.engine().backfill(number).unwrap().key.unwrap();
    world.engine().ring().retire(&[key]).unwrap();
    // And a key that no backfill knows.
    let stray = world.engine().ring().backfill().unwrap().id();
    world.close();
    world.open();
    assert!(lost(&world) && world.loading(number).is_none());
    assert!(world.engine().ring().by_id(stray).is_none());
    world.close();
}

/// Everything before a day is due.
struct Before(Day);

impl gone::Dues for Before {
    fn is_over(&self, _: &Site, bucket: Bucket, _: Timestamp) -> bool {
        matches!(bucket.epoch, Epoch::Day(day) if day < self.0)
    }

    fn sets_over(&self, _: &Site, _: Month, _: Timestamp) -> bool {
        false
    }
}

/// What is due when it comes is not even put aside.
#[test]
fn what_is_due_already_is_left_out_and_counted() {
    let mut world = World::new(settings(false));
    let today = Timestamp(START).day();
    world.engine().judge_by(Box::new(Before(Day(today.0 - 30))));
    let day = 24 * HOUR;
    let rows = [(1, 40), (2, 31), (3, 30), (4, 1)]
        .map(|(event, ago)| (Row { site: 2, ..row(event, event) }, START - ago * day));
    let mut batch = world.batch(&rows);
    world.engine().leave_out_due(&mut batch);
    let left_out: Vec<bool> = batch.claims.iter().map(|claim| claim.suppressed).collect();
    assert_eq!(left_out, [true, true, false, false]);
    batch.strip(|claim| claim.suppressed);
    let number = world.make(2);
    let to = world.loading(number).unwrap();
    let staged = Staged { batch, marks: (0..4).map(|mark| [mark; 16]).collect() };
    let loaded = world.runtime.block_on(world.engine().load(&to, &staged, None)).unwrap();
    assert!(matches!(loaded, Loaded::Done(_)));
    world.close();
    world.open();
    // Nobody says any more that it is due, and it stays left out.
    world.begin_close(number);
    let outcome = Outcomes { accepted: 4, not_retained: 2, ..Outcomes::default() };
    assert_eq!(world.try_close(number).unwrap().total(), outcome);
    world.close();
}
