//! What goes wrong around the engine: clocks, disks, panics, settings that change in between.

mod late;

use std::time::Duration;

use super::*;
use crate::model::batch::Epoch;
use crate::model::pseudonym::Algorithm;
use crate::model::site::{MonthSpan, Site};

const DAY: i64 = 24 * HOUR;

fn row(site: u8, event: u16, hours_ago: u16) -> Row {
    Row { site, event, user: 1 + event, device: 1, drm: 0, effect: 0, hours_ago }
}

impl World {
    fn shift(&self, ms: i64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// Submits without asking the model.
    fn raw(&self, rows: &[Row]) -> Result<Outcome, EngineError> {
        let now = self.now();
        let rows: Vec<(Row, i64)> =
            rows.iter().map(|row| (*row, now - i64::from(row.hours_ago) * HOUR)).collect();
        let batch = self.batch(&rows);
        self.runtime.block_on(self.engine().commit(batch, Vec::new(), None))
    }

    pub(super) fn put(&self, site: u8, settings: SiteSettings) -> SitePut {
        self.runtime.block_on(self.engine().put_site(site_id(site), settings)).unwrap()
    }

    fn fold(&self) {
        self.runtime.block_on(self.engine().fold()).unwrap();
    }

    fn epochs(&self, site: u8) -> BTreeSet<Epoch> {
        let no = self.engine().site(&site_id(site)).unwrap().no;
        let mut found = BTreeSet::new();
        for table in self.engine().store().tables() {
            let Table::BlockKeys(class, _) = table else { continue };
            for row in self.engine().store().scan(table, &[], None).unwrap() {
                let place = BlockPlace::from_key(class, &row.unwrap().0).unwrap();
                if place.bucket.site == no {
                    found.insert(place.bucket.epoch);
                }
            }
        }
        found
    }

    /// Whether it ends by itself; a busy machine has a minute for it.
    fn ends(&self) -> bool {
        (0..6_000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            self.engine().ready().is_err()
        })
    }
}

fn answer() -> Answer {
    Answer {
        scope: [1; 32],
        key: [2; 32],
        body_digest: [7; 32],
        render: Box::new(|outcome| Some(outcome.receipt.clone().into_bytes())),
    }
}

#[test]
fn a_shorter_retention_holds_from_its_announced_month_on() {
    let world = World::new(settings(false));
    world.raw(&[row(0, 1, 1)]).unwrap();
    let put = world.put(0, SiteSettings { records_days: Some(30), ..SiteSettings::default() });
    assert_eq!(put.effective, Month::parse(b"2026-12"));
    world.fold();
    world.shift(13 * DAY);
    world.raw(&[row(0, 2, 1)]).unwrap();
    world.fold();
    let december: Vec<Epoch> = world
        .epochs(0)
        .into_iter()
        .filter(|epoch| Some(epoch.month()) == Month::parse(b"2026-12"))
        .collect();
    assert!(matches!(december[..], [Epoch::Day(_)]), "{december:?}");
}

#[test]
fn a_month_keeps_its_retention_when_a_later_one_gets_another() {
    let world = World::new(settings(false));
    // Site 2 keeps records for 30 days; from December on for six months.
    world.raw(&[row(2, 1, 1)]).unwrap();
    let long = || SiteSettings { time_zone: "America/New_York".into(), ..SiteSettings::default() };
    world.put(2, long());
    world.fold();
    world.shift(13 * DAY);
    // Any second change settles the announced one; here the name.
    world.put(2, SiteSettings { name: "x".into(), ..long() });
    // A late record of November.
    world.raw(&[row(2, 2, 13 * 24)]).unwrap();
    world.fold();
    let november: Vec<Epoch> = world
        .epochs(2)
        .into_iter()
        .filter(|epoch| Some(epoch.month()) == Month::parse(b"2026-11"))
        .collect();
    assert!(november.iter().all(|epoch| matches!(epoch, Epoch::Day(_))), "{november:?}");
}

#[test]
fn a_clock_that_was_ahead_for_a_moment_costs_no_records() {
    let world = World::new(settings(false));
    world.raw(&[row(0, 1, 1)]).unwrap();
    world.fold();
    world.shift(40 * DAY);
    // Producers go on with the right time.
    world.raw(&[row(0, 2, 40 * 24)]).unwrap();
    world.fold();
    world.shift(-40 * DAY);
    let outcome = world.raw(&[row(0, 3, 1)]).unwrap();
    assert_eq!(outcome.verdicts, [Verdict::Accepted]);
}

#[test]
fn kept_answers_can_be_asked_for_after_the_clock_was_ahead() {
    let world = World::new(settings(false));
    world.raw(&[row(0, 1, 1)]).unwrap();
    assert_eq!(world.engine().kept_answer(&[1; 32], &[2; 32]), Ok(None));
    world.fold();
    world.shift(40 * DAY);
    world.raw(&[row(0, 2, 40 * 24)]).unwrap();
    world.fold();
    world.shift(-40 * DAY);
    assert_eq!(world.engine().kept_answer(&[1; 32], &[2; 32]), Ok(None));
}

#[test]
fn a_kept_answer_is_found_after_the_clock_went_back_over_midnight() {
    let world = World::new(settings(false));
    world.shift(DAY);
    let batch = world.batch(&[(row(0, 1, 1), START)]);
    world.runtime.block_on(world.engine().commit(batch, Vec::new(), Some(answer()))).unwrap();
    world.shift(-DAY);
    assert!(world.engine().kept_answer(&[1; 32], &[2; 32]).unwrap().is_some());
}

#[test]
fn looking_for_a_kept_answer_makes_no_keys() {
    let world = World::new(settings(false));
    assert_eq!(world.engine().kept_answer(&[1; 32], &[2; 32]), Ok(None));
    assert_eq!(world.engine().ring().seen_days(), []);
}

#[test]
fn a_writer_that_panics_stops_the_engine() {
    let world = World::new(settings(false));
    let batch = world.batch(&[(row(0, 1, 1), START)]);
    let answer = Answer { render: Box::new(|_| panic!("in the writer")), ..answer() };
    let failed = world.runtime.block_on(world.engine().commit(batch, Vec::new(), Some(answer)));
    assert!(failed.is_err());
    assert!(world.ends());
}

#[test]
fn a_fold_that_panics_stops_the_engine() {
    let world = World::new(settings(false));
    world.raw(&[row(0, 1, 1)]).unwrap();
    world.engine().store().fault.store(98, Ordering::SeqCst);
    let engine = world.engine().clone();
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(engine.fold())
    });
    let ended = world.ends();
    world.engine().store().fault.store(0, Ordering::SeqCst);
    assert!(ended, "the asker still waits: {}", !asked.is_finished());
}

#[test]
fn a_failed_write_of_the_register_stops_the_engine() {
    let world = World::new(settings(false));
    world.raw(&[row(0, 1, 1)]).unwrap();
    world.fold();
    world.engine().ring().break_writes();
    let month = Month::parse(b"2026-11").unwrap();
    assert!(world.engine().ring().site_month(&site_id(0), month).is_err(), "no request gets by");
    assert!(world.ends());
}

#[test]
fn what_waits_for_a_slow_fold_is_bounded() {
    let world = World::new(settings(false));
    world.engine().store().fault.store(99, Ordering::SeqCst);
    let mut busy = false;
    for event in 0..1_000u16 {
        let rows: Vec<Row> = (0..60).map(|at| row(0, event * 60 + at, 1)).collect();
        busy |= world.raw(&rows) == Err(EngineError::Busy);
        if busy {
            break;
        }
    }
    let bytes: usize = journal::stored(world.engine().store(), 0, u64::MAX)
        .unwrap()
        .map(|group| group.unwrap().row.len())
        .sum();
    world.engine().store().fault.store(0, Ordering::SeqCst);
    world.engine().stop();
    assert!(busy, "{bytes} bytes of journal at a segment of 40,000");
}

#[test]
fn a_fold_syncs_no_more_than_a_piece_at_a_time() {
    let world =
        World::new(Settings { segment_bytes: 1 << 30, unfolded_bytes: 1 << 30, ..settings(false) });
    for part in 0..8u16 {
        let rows: Vec<Row> = (0..8_000).map(|at| row(0, part * 8_000 + at, 1)).collect();
        world.raw(&rows).unwrap();
        world.engine().store().largest_sync.store(0, Ordering::SeqCst);
        world.fold();
        println!("{part}: {}", world.engine().store().largest_sync.load(Ordering::SeqCst));
    }
    let largest = world.engine().store().largest_sync.load(Ordering::SeqCst);
    assert!(largest <= 1 << 20, "{largest} bytes in one synced write");
}

#[test]
fn restarts_without_records_leave_no_journal_keys() {
    let mut world = World::new(settings(false));
    for _ in 0..20 {
        world.close();
        world.open();
    }
    let ring = world.engine().ring();
    let count = ring.list().into_iter().filter(|key| key.kind == KeyKind::Journal).count();
    assert!(count <= 3, "{count}");
}

#[test]
fn a_seen_key_outlives_a_start_with_a_wrong_clock() {
    let mut world = World::new(settings(false));
    world.raw(&[row(0, 1, 1)]).unwrap();
    let day = Timestamp(START - HOUR).day();
    let before = world.engine().ring().seen(day).unwrap().seal.id();
    world.close();
    world.shift(40 * DAY);
    world.open();
    world.close();
    world.shift(-40 * DAY);
    world.open();
    assert!(world.engine().seen_floor() <= day, "the day still takes records");
    assert_eq!(world.engine().ring().seen(day).unwrap().seal.id(), before);
}

#[test]
#[should_panic(expected = "a time zone that this build does not know")]
fn a_zone_that_is_unknown_is_not_taken_for_utc() {
    let mut world = World::new(settings(false));
    // As a zone of a later release.
    world.put(1, SiteSettings { time_zone: "Gone/Nowhere".into(), ..SiteSettings::default() });
    world.close();
    world.open();
}

#[test]
fn a_failed_write_of_a_fold_is_not_called_damage() {
    let world = World::new(settings(false));
    world.raw(&[row(0, 1, 1)]).unwrap();
    world.engine().store().fault.store(3, Ordering::SeqCst);
    let _ = world.runtime.block_on(world.engine().fold());
    let error = world.runtime.block_on(world.engine().failed());
    assert!(!matches!(error, EngineError::Damaged(_)), "{error}");
}

#[test]
fn a_clock_that_was_ahead_does_not_put_the_fold_off() {
    let world = World::new(settings(false));
    world.shift(10 * DAY);
    world.raw(&[row(0, 1, 1)]).unwrap();
    world.shift(-10 * DAY);
    world.raw(&[row(0, 2, 1)]).unwrap();
    // Answered after the look at the clock that follows a commit.
    world.put(1, SiteSettings::default());
    world.shift(DAY);
    world.raw(&[row(0, 3, 1)]).unwrap();
    let folded = (0..150).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        world.engine().figures().folds > 0
    });
    assert!(folded);
}

#[test]
fn the_last_month_that_can_be_asked_for_is_answered() {
    let world = World::new(settings(false));
    assert!(
        world.engine().usage(&site_id(0), Month::parse(b"9999-12").unwrap()).unwrap().is_some()
    );
}

fn bare(zone: &str) -> Site {
    Site {
        id: site_id(9),
        no: crate::model::ids::SiteNo(9),
        algorithm: Algorithm::default(),
        created_at: Timestamp(0),
        terminated_at: None,
        settings: SiteSettings { time_zone: zone.into(), ..SiteSettings::default() },
        pending: Vec::new(),
        past: Vec::new(),
        months: Vec::new(),
        closed_through: None,
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text.as_bytes()).unwrap()
}

fn month(text: &str) -> Month {
    Month::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_month_that_was_opened_ahead_keeps_its_settings() {
    let mut site = bare("UTC");
    site.months = calendar::reaching(&site, at("2026-11-22T00:00:00Z")).unwrap();
    let more = SiteSettings { sentinel_user_ids: vec!["nobody".into()], ..site.settings.clone() };
    let (mut site, effective) =
        directory::changed(&site, more.clone(), at("2026-11-23T00:00:00Z")).unwrap();
    assert_eq!(effective, Some(month("2026-12")));
    // A record two minutes ahead opens December, and is counted without the sentinel.
    site.months = calendar::reaching(&site, at("2026-12-01T00:00:30Z")).unwrap();
    assert_eq!(site.settings_in(month("2026-12")), &more);
    // The name changes before midnight, and the plan.
    let named = SiteSettings { name: "x".into(), plan_mau: Some(7), ..more.clone() };
    let (site, _) = directory::changed(&site, named, at("2026-11-30T23:59:00Z")).unwrap();
    let december = site.settings_in(month("2026-12"));
    assert_eq!(december.sentinel_user_ids, more.sentinel_user_ids, "announced, and begun with it");
    assert_eq!((december.plan_mau, site.settings.plan_mau), (Some(7), Some(7)), "at once");
}

/// Shorter holds from the next month on; longer, or without days of its own, from the first month
/// that begins thirty days later. What was collected before keeps the period it came under.
#[test]
fn a_longer_period_has_its_notice() {
    let with = |days, site: &Site| SiteSettings { records_days: days, ..site.settings.clone() };
    let mut site = bare("UTC");
    site.settings.records_days = Some(7);
    site.months = calendar::reaching(&site, at("2026-11-22T00:00:00Z")).unwrap();
    let from = |site: &Site, days, now| {
        let (changed, from) = directory::changed(site, with(days, site), at(now)).unwrap();
        assert_eq!(changed.settings_in(month("2026-11")).records_days, Some(7));
        (changed, from.map(|from| from.to_string()).unwrap())
    };
    assert_eq!(from(&site, Some(5), "2026-11-30T00:00:00Z").1, "2026-12");
    for longer in [Some(8), None] {
        assert_eq!(from(&site, longer, "2026-11-01T00:00:00Z").1, "2026-12");
        assert_eq!(from(&site, longer, "2026-11-01T00:00:01Z").1, "2027-01");
        let (changed, named) = from(&site, longer, "2026-11-30T00:00:00Z");
        assert_eq!(named, "2027-01");
        assert_eq!(changed.settings_in(month("2026-12")).records_days, Some(7));
        assert_eq!(changed.settings_in(month("2027-01")).records_days, longer);
        // Another change beside it does not begin the notice anew, a longer period does.
        let zone = SiteSettings { closing_hours: 24, ..with(longer, &changed) };
        let (_, kept) = directory::changed(&changed, zone, at("2026-12-20T00:00:00Z")).unwrap();
        assert_eq!(kept, Some(month("2027-01")));
        let more = with(longer.map(|days| days + 1), &changed);
        let (_, anew) = directory::changed(&changed, more, at("2026-12-20T00:00:00Z")).unwrap();
        assert_eq!(anew, Some(month(if longer.is_some() { "2027-02" } else { "2027-01" })));
    }
}

#[test]
fn an_idle_month_ends_by_its_own_zone() {
    let mut site = bare("Asia/Seoul");
    site.months = calendar::reaching(&site, at("2026-10-10T00:00:00Z")).unwrap();
    // No record of November yet.
    let settings = SiteSettings { time_zone: "America/New_York".into(), ..Default::default() };
    let (mut site, effective) =
        directory::changed(&site, settings, at("2026-11-10T00:00:00Z")).unwrap();
    assert_eq!(effective, Some(month("2026-12")));
    site.months = calendar::reaching(&site, at("2026-11-20T00:00:00Z")).unwrap();
    let november: MonthSpan = calendar::named(&site, month("2026-11")).unwrap();
    assert_eq!(november.to, at("2026-11-30T15:00:00Z"), "the end of November in Seoul");
}

/// Answers to an `Idempotency-Key` are durable with their batch, and gone when the batch failed.
#[test]
fn kept_answers_live_and_die_with_their_batch() {
    let mut world = World::new(settings(false));
    let answer = || Answer {
        scope: [1; 32],
        key: [2; 32],
        body_digest: [7; 32],
        render: Box::new(|outcome| Some(outcome.receipt.clone().into_bytes())),
    };
    let row = Row { site: 0, event: 1, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    let rows = [(row, START)];
    let batch = world.batch(&rows);
    world.engine().store().fault.store(1, Ordering::SeqCst);
    let failed =
        world.runtime.block_on(world.engine().commit(batch.clone(), Vec::new(), Some(answer())));
    assert!(failed.is_err());
    world.close();
    world.open();
    assert_eq!(world.engine().kept_answer(&[1; 32], &[2; 32]), Ok(None));
    let outcome =
        world.runtime.block_on(world.engine().commit(batch, Vec::new(), Some(answer()))).unwrap();
    world.close();
    world.open();
    let kept = world.engine().kept_answer(&[1; 32], &[2; 32]).unwrap().unwrap();
    assert_eq!(kept, ([7; 32], outcome.receipt.into_bytes()));
    assert_eq!(world.engine().kept_answer(&[3; 32], &[2; 32]), Ok(None));
}

#[derive(Clone, Debug)]
enum Step {
    /// The ends of folds wait from here on.
    Hold,
    /// They go on; with 3 or 4 the one that waits fails before or after its write.
    Release(u8),
    Rows(Vec<Row>),
    Again,
    Advance(u16),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Hold),
        3 => prop_oneof![Just(0u8), Just(3u8), Just(4u8)].prop_map(Step::Release),
        12 => rows().prop_map(Step::Rows),
        2 => Just(Step::Again),
        1 => (1u16..200).prop_map(Step::Advance),
        1 => Just(Step::Restart),
    ]
}

impl World {
    fn step(&mut self, step: Step) {
        let fault = |world: &Self, fault| {
            world.engine().store().fault.store(fault, Ordering::SeqCst);
        };
        match step {
            Step::Hold => fault(self, 99),
            Step::Release(0) => fault(self, 0),
            Step::Release(how) => {
                fault(self, how);
                // There may be no fold under way; one is asked for then.
                let _ = self.runtime.block_on(self.engine().fold());
                fault(self, 0);
                self.close();
                self.open();
            }
            Step::Rows(rows) => self.run(Op::Submit(rows)),
            Step::Again => self.run(Op::Again),
            Step::Advance(hours) => self.run(Op::Advance(hours)),
            Step::Restart => {
                fault(self, 0);
                self.run(Op::Restart);
            }
        }
        self.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100, max_shrink_iters: 100, ..ProptestConfig::default()
    })]

    /// Rows that come while a fold is under way, with sets on disk, and folds that then fail.
    #[test]
    fn folds_in_flight(steps in proptest::collection::vec(step(), 1..40), tight in any::<bool>()) {
        in_flight(steps, tight);
    }
}

fn in_flight(steps: impl IntoIterator<Item = Step>, tight: bool) {
    let mut world = World::new(Settings {
        segment_bytes: 2_000_000,
        unfolded_bytes: 16_000_000,
        fold_after_ms: 0,
        ..settings(tight)
    });
    for step in steps {
        world.step(step);
    }
    world.step(Step::Release(0));
    world.check_blocks();
    world.run(Op::Restart);
    world.check_blocks();
    world.close();
}

#[test]
fn what_failed_once_is_tried_as_it_was() {
    for case in cases::of("tests/hazards.txt") {
        let step = |word: &cases::Word| match (word.name.as_str(), &word.parts[..]) {
            ("Hold", []) => Step::Hold,
            ("Release", [how]) => Step::Release(how.is()),
            ("Rows", [rows]) => Step::Rows(rows.rows()),
            ("Again", []) => Step::Again,
            ("Advance", [hours]) => Step::Advance(hours.is()),
            ("Restart", []) => Step::Restart,
            _ => panic!("{word:?}"),
        };
        in_flight(case.steps.iter().map(step), case.tight);
    }
}
