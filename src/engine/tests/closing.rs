//! The close of a month, case by case: with and without records, traffic, and luck.

use super::looking::Looking;
use super::*;
use crate::model::retention::Lot;
use crate::model::usage::{Counters, Extent};

/// From the start, 22 November, to after the close of November at site 0 on 4 December.
const TO_CLOSE: i64 = 284;

fn row(event: u16, user: u16, hours_ago: u16) -> Row {
    Row { site: 0, event, user, device: 1, drm: 0, effect: 0, hours_ago }
}

fn november() -> Month {
    Month::parse(b"2026-11").unwrap()
}

impl World {
    /// The writer looks at the clock before it serves anything.
    pub(super) fn look(&self) -> Result<(), EngineError> {
        self.runtime.block_on(self.engine().delete_token("nobody")).map(drop)
    }

    /// Hours pass, and the writer believes it.
    pub(super) fn pass(&mut self, hours: i64) -> Result<(), EngineError> {
        self.look()?;
        self.clock.0.fetch_add((hours - 1) * HOUR, Ordering::SeqCst);
        self.look()?;
        self.clock.0.fetch_add(HOUR, Ordering::SeqCst);
        self.look()?;
        self.model.believed = self.now();
        Ok(())
    }

    pub(super) fn advance(&mut self, hours: u16) {
        self.pass(i64::from(hours)).unwrap();
    }

    pub(super) fn site_of(&self, name: SiteMonth) -> Arc<Site> {
        self.engine().sites().into_iter().find(|site| site.no == name.site).unwrap()
    }

    /// Whether the model has the month closed: its end in its zone, and the site's hours later.
    pub(super) fn is_final(&self, name: SiteMonth) -> bool {
        let site = self.site_of(name);
        let end = calendar::span(&site, name.month).unwrap().to;
        let hours = i64::from(site.settings.closing_hours);
        (end.0 + hours * HOUR).max(site.created_at.0 + 72 * HOUR) <= self.model.believed
    }

    /// A close that cannot be written, or of which nobody hears.
    pub(super) fn crash_close(&mut self, after: bool, hours: u16) {
        self.engine().store().fault.store(if after { 2 } else { 1 }, Ordering::SeqCst);
        if self.pass(i64::from(hours)).is_ok() {
            self.engine().store().fault.store(0, Ordering::SeqCst);
            return;
        }
        self.close();
        self.open();
        self.advance(1);
    }

    fn usage(&self, site: u8, month: Month) -> UsageMonth {
        self.engine().usage(&site_id(site), month).unwrap().unwrap()
    }

    fn commit(&self, batch: Batch) -> Vec<Verdict> {
        self.runtime.block_on(self.engine().commit(batch, Vec::new(), None)).unwrap().verdicts
    }

    fn late(&self, events: &[(u16, u16)]) -> Batch {
        let rows: Vec<(Row, i64)> =
            events.iter().map(|(event, user)| (row(*event, *user, 0), START)).collect();
        self.batch(&rows)
    }
}

#[test]
fn a_closed_month_stays_and_what_comes_later_stands_beside_it() {
    let mut world = World::new(settings(false));
    world.run(Op::Submit(vec![row(1, 1, 1), row(2, 2, 1)]));
    world.pass(TO_CLOSE).unwrap();
    let before = world.usage(0, november());
    assert_eq!(before.state, State::Closed);
    assert_eq!(before.closes_at, Timestamp::parse(b"2026-12-04T00:00:00Z").unwrap());
    assert_eq!(before.tally.closed_at, Some(Timestamp(world.now())));
    // A known user, a new one twice, nobody, a device twice that stands for a user, and a duplicate
    // from before the close.
    let batch = world.late(&[(10, 1), (11, 7), (12, 7), (13, 0), (15, 0), (18, 0), (10, 1)]);
    let mut wanted = vec![Verdict::Correction; 6];
    wanted.push(Verdict::Duplicate);
    assert_eq!(world.commit(batch), wanted);
    let mut corrections = Counters {
        records: 6,
        mau: 1,
        licenses_issued: 6,
        unattributed_licenses: 3,
        sentinel_licenses: 1,
        licenses_by_device: 2,
        sentinel_by_device: 1,
        device_users: 1,
        ..Counters::default()
    };
    corrections.licenses_by_drm[0] = 6;
    for _ in 0..2 {
        let after = world.usage(0, november());
        assert_eq!(after.tally.counters, before.tally.counters, "closed is closed");
        assert_eq!((&after.tally.corrections, after.state), (&corrections, State::Closed));
        world.close();
        world.open();
        world.runtime.block_on(world.engine().fold()).unwrap();
    }
    // After a fold and a restart the users are still known.
    let batch = world.late(&[(20, 7), (21, 2), (22, 8)]);
    assert_eq!(world.commit(batch), [Verdict::Correction; 3]);
    assert_eq!(world.usage(0, november()).tally.corrections.mau, 2);
    world.close();
}

/// A group that was judged before late devices were counted is replayed as it was judged; what
/// comes after it counts them.
#[test]
fn a_journal_from_before_late_devices_were_counted_is_replayed() {
    let mut world = World::new(settings(false));
    world.run(Op::Submit(vec![row(1, 1, 1), row(3, 0, 1)]));
    world.pass(TO_CLOSE).unwrap();
    world.runtime.block_on(world.engine().fold()).unwrap();
    let late = |world: &World| world.usage(0, november()).tally.corrections.device_users;
    let device = |world: &World, event, device| {
        let batch = world.batch(&[(Row { device, ..row(event, 0, 0) }, START)]);
        assert_eq!(world.commit(batch), [Verdict::Correction]);
    };
    device(&world, 6, 1);
    assert_eq!(late(&world), 0, "it was counted before the close");
    device(&world, 9, 7);
    assert_eq!(late(&world), 1);
    for of in journal::stored(world.engine().store(), 0, u64::MAX).unwrap().collect::<Vec<_>>() {
        let journal::StoredGroup { number, half, row } = of.unwrap();
        let key_of = |id| world.engine().ring().by_id(id);
        let old = journal::changed(number, &row, &key_of, |verdict| {
            verdict.extent = Extent::LateUsers;
            for (_, tally) in &mut verdict.tallies {
                let Counters { records, mau, licenses_issued, .. } = tally.corrections;
                tally.corrections =
                    Counters { records, mau, licenses_issued, ..Counters::default() };
            }
        });
        let mut changes = store::Changes::default();
        changes.put(Table::Journal(half), store::keys::group(number), old);
        world.engine().store().apply(&changes).unwrap();
    }
    world.close();
    world.open();
    assert_eq!(late(&world), 0);
    device(&world, 12, 7);
    device(&world, 15, 8);
    for _ in 0..2 {
        assert_eq!(late(&world), 2);
        world.runtime.block_on(world.engine().fold()).unwrap();
        world.close();
        world.open();
    }
    assert_eq!(late(&world), 2);
    world.close();
}

/// Late rows are counted by kind as those in time are, each distinct thing once and beside the
/// close.
#[test]
fn late_rows_are_counted_by_kind() {
    let mut world = World::new(settings(false));
    let kind = |event, user, device, effect| Row { device, effect, ..row(event, user, 0) };
    // Issued, session, and all others by their codes.
    let session = Effect::Session.code();
    world.run(Op::Submit(vec![kind(1, 1, 1, 0), kind(2, 1, 1, session)]));
    world.pass(TO_CLOSE).unwrap();
    let before = world.usage(0, november());
    let mut rows = vec![
        kind(10, 1, 1, 0),
        kind(11, 1, 2, 0),
        kind(12, 2, 2, 0),
        kind(13, 1, 1, session),
        kind(14, 1, 2, session),
        kind(16, 3, 2, session),
        kind(17, 3, 0, session),
    ];
    let others = (0..14).map(|code| Effect::from_code(code).unwrap());
    let others = others.filter(|of| ![0, session].contains(&of.code()));
    rows.extend((20..).zip(others).map(|(event, effect)| kind(event * 3 + 1, 4, 3, effect.code())));
    let rows: Vec<(Row, i64)> = rows.into_iter().map(|row| (row, START)).collect();
    let verdicts = world.commit(world.batch(&rows));
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Correction), "{verdicts:?}");
    for turn in 0..3 {
        let after = world.usage(0, november());
        assert_eq!(after.tally.counters, before.tally.counters, "closed is closed");
        let late = after.tally.corrections;
        // User 2 is new, and 4 by a counted failure and an anonymous licence that has a user here;
        // devices 2 and 3; a session of device 2 and one without an id, whose user is new.
        assert_eq!((late.mau, late.devices, late.licenses_issued), (2, 2, 5), "{turn}");
        let sessions = (late.watermark_sessions, late.watermark_users, late.session_records);
        assert_eq!(sessions, (2, 1, 4), "{turn}");
        assert_eq!((late.licenses_failed, late.failures_counted, late.other_records), (2, 1, 1));
        let reasons: Vec<u64> = late.exclusions().map(|(_, records)| records).collect();
        assert_eq!(reasons, [1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], "{turn}");
        assert_eq!((late.records, late.explained_records()), (19, 19), "{turn}");
        world.runtime.block_on(world.engine().fold()).unwrap();
        world.close();
        world.open();
    }
    // The stored sets of it are counted again.
    let found = world.runtime.block_on(world.engine().recount(site_id(0), november()));
    assert_eq!(found.unwrap().unwrap().late_users, 2);
    world.close();
}

/// The instant itself belongs to the close; the one before does not.
#[test]
fn a_month_closes_at_its_instant() {
    let world = World::new(settings(false));
    let due = Timestamp::parse(b"2026-12-04T00:00:00Z").unwrap().0;
    let commit_at = |event, now: i64| {
        let batch = world.late(&[(event, event)]);
        world.clock.0.store(now - HOUR, Ordering::SeqCst);
        world.look().unwrap();
        world.clock.0.store(now, Ordering::SeqCst);
        let verdicts = world.commit(batch);
        (verdicts[0], world.usage(0, november()).state)
    };
    assert_eq!(commit_at(1, due - HOUR), (Verdict::Accepted, State::Closing));
    assert_eq!(commit_at(2, due - 1), (Verdict::Accepted, State::Closing));
    // A batch that was made before the close and comes after it is a correction.
    assert_eq!(commit_at(3, due), (Verdict::Correction, State::Closed));
}

#[test]
fn a_month_without_a_record_closes_too_and_stays_closed() {
    let mut world = World::new(settings(false));
    world.run(Op::Submit(vec![Row { site: 1, ..row(1, 1, 1) }]));
    let october = november().previous();
    let states = |world: &World| [october, november()].map(|month| world.usage(0, month).state);
    assert_eq!(states(&world), [State::Closing, State::Open]);
    world.pass(72).unwrap();
    assert_eq!(states(&world), [State::Closed, State::Open], "the site is three days old");
    world.pass(TO_CLOSE - 72).unwrap();
    assert_eq!(states(&world), [State::Closed; 2]);
    // Nothing of it is in the journal, and a start with a clock that is behind reopens nothing.
    world.close();
    world.clock.0.store(START, Ordering::SeqCst);
    world.open();
    assert_eq!(states(&world), [State::Closed; 2]);
    let batch = world.late(&[(1, 1)]);
    assert_eq!(world.commit(batch), [Verdict::Correction]);
    let usage = world.usage(0, november());
    assert_eq!((usage.tally.counters.records, usage.tally.corrections.mau), (0, 1));
    world.close();
    world.open();
    assert_eq!(world.usage(0, november()).tally, usage.tally);
    world.close();
}

#[test]
fn a_clock_that_is_ahead_for_a_moment_closes_nothing() {
    let mut world = World::new(settings(false));
    world.run(Op::Submit(vec![row(1, 1, 1)]));
    world.clock.0.fetch_add(400 * HOUR, Ordering::SeqCst);
    for _ in 0..3 {
        world.look().unwrap();
        world.clock.0.fetch_add(HOUR / 4, Ordering::SeqCst);
    }
    world.run(Op::Submit(vec![row(2, 2, 0)]));
    world.close();
    world.open();
    world.look().unwrap();
    world.clock.0.store(START + HOUR, Ordering::SeqCst);
    world.look().unwrap();
    assert_eq!(world.usage(0, november()).state, State::Open);
    let batch = world.late(&[(3, 3)]);
    assert_eq!(world.commit(batch), [Verdict::Accepted]);
    world.close();
}

/// While a site has no record its settings hold at once, but not in a month that is closed.
#[test]
fn a_change_at_once_does_not_move_a_closed_month() {
    let mut world = World::new(settings(false));
    world.pass(TO_CLOSE).unwrap();
    let before = world.usage(0, november());
    assert_eq!(before.state, State::Closed);
    let seoul = |hours| SiteSettings {
        time_zone: "Asia/Seoul".into(),
        closing_hours: hours,
        ..SiteSettings::default()
    };
    for hours in [240, 100] {
        let put = world.put(0, seoul(hours));
        assert_eq!(put.effective, None);
        let after = world.usage(0, november());
        assert_eq!((after.span, after.state), (before.span, State::Closed));
        assert_eq!((&after.time_zone[..], after.closes_at), ("UTC", before.closes_at));
        let december = world.usage(0, november().next());
        assert_eq!(december.time_zone, "Asia/Seoul");
        assert_eq!(december.span.from, before.span.to, "no gap and no overlap");
        let to = Timestamp::parse(b"2026-12-31T15:00:00Z").unwrap();
        assert_eq!(december.span.to, to);
        assert_eq!(december.closes_at.0, to.0 + i64::from(hours) * HOUR);
        assert_eq!(put.site.past.len(), 1);
    }
    // A record freezes; a correction is one.
    let batch = world.late(&[(1, 1)]);
    assert_eq!(world.commit(batch), [Verdict::Correction]);
    assert!(world.put(0, SiteSettings::default()).effective.is_some());
    world.close();
}

/// Closing hours are frozen like the zone.
#[test]
fn closing_hours_hold_from_the_next_month_on() {
    let mut world = World::new(settings(false));
    world.run(Op::Submit(vec![row(1, 1, 1)]));
    let before = world.usage(0, november()).closes_at;
    let put = world.put(0, SiteSettings { closing_hours: 24, ..SiteSettings::default() });
    assert_eq!(put.effective, Some(november().next()));
    assert_eq!(world.usage(0, november()).closes_at, before);
    let december = world.usage(0, november().next());
    assert_eq!(december.closes_at, Timestamp::parse(b"2027-01-02T00:00:00Z").unwrap());
    world.close();
}

/// All sites of a zone close at once, and each in its own zone.
#[test]
fn sites_close_by_their_own_zones_and_hours() {
    let mut world = World::new(settings(false));
    let closes = [(0, "2026-12-04T00:00:00Z"), (1, "2026-12-01T15:00:00Z")];
    let closes = closes.into_iter().chain([(2, "2026-12-11T05:00:00Z")]);
    for (site, at) in closes {
        let at = Timestamp::parse(at.as_bytes()).unwrap();
        assert_eq!(world.usage(site, november()).closes_at, at, "{site}");
        world.run(Op::Submit(vec![Row { site, ..row(u16::from(site), 1, 1) }]));
    }
    for _ in 0..500 {
        world.pass(1).unwrap();
        for site in 0..3 {
            let usage = world.usage(site, november());
            let is_due = usage.closes_at.0 <= world.now();
            assert_eq!(usage.state == State::Closed, is_due, "{site} at {}", usage.as_of);
        }
    }
    world.close();
}

/// Every file below a directory with its bytes.
fn bytes_of(folder: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(bytes_of(&entry.path()));
        } else {
            let bytes = std::fs::read(entry.path()).unwrap();
            found.insert(entry.path().display().to_string(), bytes);
        }
    }
    found
}

/// Over many runs, merged ones among them, and a start: the second count is that of the counters,
/// and its digest that of the sorted tags.
#[test]
fn a_month_is_counted_again_from_what_is_stored() {
    let mut world = World::new(settings(true));
    let mut users = BTreeSet::new();
    for turn in 0..12u16 {
        let rows = (0..300).map(|at| {
            let number = turn * 211 + at;
            let user = number % 900 + 1;
            users.insert(user);
            Row {
                drm: (number % 5) as u8,
                device: number % 70,
                ..row(4_000 + turn * 300 + at, user, 1)
            }
        });
        world.run(Op::Submit(rows.collect()));
        world.run(Op::Fold);
    }
    world.run(Op::Restart);
    world.run(Op::Submit(vec![row(1, 0, 1), row(2, 5_000, 1)]));
    users.insert(5_000);
    world.run(Op::Fold);
    let found = world.runtime.block_on(world.engine().recount(site_id(0), november()));
    let found = found.unwrap().unwrap();
    let counters = world.usage(0, november()).tally.counters;
    assert_eq!((found.users, found.users_by_drm), (counters.mau, counters.mau_by_drm));
    assert_eq!((found.devices, found.users), (counters.devices, users.len() as u64));
    let tags: BTreeSet<[u8; 12]> =
        users.iter().map(|user| Tag(tag("user", *user)).short().0).collect();
    let sorted: Vec<u8> = tags.into_iter().flatten().collect();
    assert_eq!(found.digest, crate::crypto::sha256(&[&sorted]));
    // The same set beside lists: some of it, strangers before, between and behind, and nothing.
    for listed in [(0..700).collect::<Vec<u16>>(), (600..9_000).collect(), Vec::new()] {
        let short = |user: &u16| Tag(tag("user", *user)).short();
        let list = crate::identity::Listed::of(listed.iter().map(short).collect());
        let asked = world.engine().compare(site_id(0), november(), list);
        let compared = world.runtime.block_on(asked).unwrap().unwrap();
        let known = listed.iter().filter(|user| users.contains(user)).count() as u64;
        assert_eq!((compared.members, compared.listed), (counters.mau, known));
    }
    let list = crate::identity::Listed::of(Vec::new());
    let none = world.engine().compare(site_id(0), november().next(), list);
    assert_eq!(world.runtime.block_on(none), Ok(None));
    // With the engine stopped, read, sorted and counted by another way; and nothing is written.
    world.close();
    let before = bytes_of(world.dir.path());
    let keys = keys::Settings::in_dir(world.dir.path().join("keys"));
    let ring = KeyRing::look(&keys).unwrap();
    assert!(matches!(KeyRing::look(&keys), Err(keys::KeysError::Locked(_))));
    let looking = Looking::open(&world.dir.path().join("data"), ring).unwrap();
    assert_eq!(looking.recount(&site_id(0), november()), Ok(Some(found)));
    // Sets that never were hold nobody; those that were destroyed are not said to.
    let empty = looking.recount(&site_id(0), november().next()).unwrap().unwrap();
    assert_eq!((empty.users, empty.devices, empty.late_users), (0, 0, 0));
    assert_eq!(empty.digest, crate::crypto::sha256(&[]));
    drop(looking);
    assert_eq!(bytes_of(world.dir.path()), before);
    world.open();
    let none = world.runtime.block_on(world.engine().recount(site_id(0), november().next()));
    assert_eq!(none, Ok(None));
    let site = world.engine().site(&site_id(0)).unwrap().no;
    world.destroyed(&[Lot::Sets(SiteMonth { site, month: november() })]);
    world.close();
    let looking = Looking::open(&world.dir.path().join("data"), KeyRing::look(&keys).unwrap());
    assert_eq!(looking.unwrap().recount(&site_id(0), november()), Ok(None));
}

/// What there is to tell of: open months, and closed ones by when they closed.
#[test]
fn a_month_is_news_by_its_close_and_not_by_its_end() {
    let mut world = World::new(settings(false));
    world.run(Op::Submit(vec![row(1, 1, 1), row(2, 1, 640)]));
    let months = |world: &World, after: i64| -> Vec<String> {
        let found = world.engine().unsettled(Timestamp(after));
        found.into_iter().map(|(site, month)| format!("{} {month}", site.id)).collect()
    };
    assert_eq!(months(&world, i64::MAX), ["S0 2026-10", "S0 2026-11"]);
    world.advance(1_000);
    let closed_at = |month: Month| {
        let found = world.engine().usage(&site_id(0), month).unwrap().unwrap();
        found.tally.closed_at.unwrap().0
    };
    assert_eq!(closed_at(november()), world.now(), "long after its end");
    assert_eq!(months(&world, closed_at(november()) - 1), ["S0 2026-10", "S0 2026-11"]);
    assert_eq!(months(&world, closed_at(november())), Vec::<String>::new());
    world.close();
}
