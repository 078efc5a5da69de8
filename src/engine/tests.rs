//! The engine against a simple model: random batches, folds, restarts, and writes that fail before
//! or after they reached the disk. After every step the counters must equal the model's.
//!
//! A failure is: a counter that differs, an acknowledged row that is missing, a row that counts
//! twice, a block row that was not sent, an engine that does not open. No failure: a batch whose
//! answer was an error is there or not, as a whole.

mod arrivals;
mod backfill;
mod cases;
mod checks;
mod closing;
mod destroy;
mod explain;
mod folds;
mod frozen;
mod groups;
mod hazards;
mod model;
mod partitions;
mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;

use super::fold::{BlockPlace, read_block, read_header};
use super::*;
use crate::keys;
use crate::model::arrival::{Hour, Received, Sender};
use crate::model::batch::{Bucket, Claim, Effect, Epoch, Item};
use crate::model::ids::Tag;
use crate::model::site::SiteSettings;
use crate::model::vocab::{Class, DrmType, RecordType};
use crate::store::header::Filtered;
use crate::store::shapes::DetailsWriter;
use crate::store::{self, details};
use arrivals::{SENDERS, sender, senders};
use model::Model;

const START: i64 = 1_795_320_960_000;
const HOUR: i64 = 3_600_000;

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Clone, Copy, Debug)]
struct Row {
    site: u8,
    event: u16,
    user: u16,
    device: u16,
    drm: u8,
    effect: u8,
    hours_ago: u16,
}

impl Row {
    /// Whether the device stands for a user.
    fn stands_in(&self) -> bool {
        self.user == 0 && self.device > 0 && self.event.is_multiple_of(3)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Submit(Vec<Row>),
    /// The same rows again.
    Again,
    Advance(u16),
    /// The clock is so many hours ahead while these rows come, and then right again.
    Glitch(u16, Vec<Row>),
    Fold,
    Restart,
    /// The next write fails before (false) or after (true) it is on the disk.
    Crash(bool, Vec<Row>),
    /// The fold's last write fails so.
    CrashFold(bool),
    /// So many hours pass, and the next write, a close if one is due, fails so.
    CrashClose(bool, u16),
    /// Rows of one site and any age come in a backfill, in requests of so many rows. Its close may
    /// fail so.
    Backfill(Option<bool>, u16, Vec<Row>),
}

struct World {
    dir: tempfile::TempDir,
    settings: Settings,
    clock: Arc<TestClock>,
    engine: Option<Engine>,
    model: Model,
    last: Vec<(Row, i64)>,
    /// Copies of the register off the host.
    copies: Vec<std::path::PathBuf>,
    runtime: tokio::runtime::Runtime,
}

fn tag(kind: &str, number: u16) -> [u8; 16] {
    let hash = crate::crypto::digest(format!("{kind} {number}").as_bytes());
    let mut tag = [0; 16];
    tag.copy_from_slice(&hash[..16]);
    tag
}

fn site_id(site: u8) -> SiteId {
    SiteId::parse(format!("S{site}").as_bytes()).unwrap()
}

impl World {
    fn new(settings: Settings) -> Self {
        Self::new_in(tempfile::tempdir().unwrap(), settings)
    }

    fn new_in(dir: tempfile::TempDir, settings: Settings) -> Self {
        let mut world = Self {
            dir,
            settings,
            clock: Arc::new(TestClock(AtomicI64::new(START))),
            engine: None,
            model: Model::default(),
            last: Vec::new(),
            copies: Vec::new(),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
        };
        world.open();
        for site in 0..3 {
            let time_zone = ["UTC", "Asia/Seoul", "America/New_York"][usize::from(site)];
            let settings = SiteSettings {
                time_zone: time_zone.into(),
                records_days: (site == 2).then_some(30),
                closing_hours: [72, 24, 240][usize::from(site)],
                ..SiteSettings::default()
            };
            world.runtime.block_on(world.engine().put_site(site_id(site), settings)).unwrap();
        }
        world
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn open(&mut self) {
        let data = self.dir.path().join("data");
        let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 }).unwrap();
        let keys = keys::Settings::in_dir(self.dir.path().join("keys"));
        let keys = keys::Settings { copies: self.copies.clone(), ..keys };
        let (ring, _) = KeyRing::open(&keys).unwrap();
        let clock: Arc<dyn Clock> = self.clock.clone();
        self.engine = Some(Engine::open(store, ring, self.settings.clone(), clock).unwrap());
    }

    fn close(&mut self) {
        let engine = self.engine.take().unwrap();
        engine.stop();
    }

    fn now(&self) -> i64 {
        self.clock.0.load(Ordering::SeqCst)
    }

    fn batch(&self, rows: &[(Row, i64)]) -> Batch {
        let mut batch = Batch::default();
        let mut writer = DetailsWriter::with_capacity(rows.len());
        for (row, at) in rows {
            let at = Timestamp(*at);
            let site = self.engine().reach(&site_id(row.site), at).unwrap();
            let span = calendar::stored(&site, at).unwrap();
            self.engine().ring().site_month(&site.id, span.month).unwrap();
            let name = SiteMonth { site: site.no, month: span.month };
            let effect = Effect::from_code(row.effect).unwrap();
            let mut seen = tag("event", row.event);
            seen[0] ^= row.site;
            let short = |kind, number| Some(Tag(tag(kind, number)).short());
            let user = tag("user record", row.user);
            writer.push(details::USER, Item::Tag(Tag(user)));
            writer.push(7, Item::Number(i64::from(row.event)));
            backfill::push_event(&mut writer, row);
            writer.end_row();
            let month = batch.month_index(name).unwrap();
            let group = self.group_tag(&site, span.month, row);
            if let Some((no, _)) = group {
                batch.set_group(month, no);
            }
            let claim = Claim {
                month,
                day: batch.day_index(at.day()).unwrap(),
                kind: RecordType::LicenseIssued,
                drm: DrmType::from_code(row.drm).unwrap(),
                effect,
                occurred_at: at,
                seen: Tag(seen).short(),
                user: (row.user > 0).then(|| short("user", row.user)).flatten(),
                device: (row.device > 0).then(|| short("device", row.device)).flatten(),
                group: group.and_then(|(_, tag)| tag),
                session: (row.device > 0).then(|| short("session", row.device)).flatten(),
                sentinel: row.user == 0 && row.event % 2 == 0,
                by_device: row.stands_in(),
                suppressed: false,
            };
            let sender = row.event % SENDERS;
            batch.arrival.row(sender, batch.claims.len());
            batch.claims.push(claim);
        }
        batch.details = writer.finish();
        batch.arrival.senders = senders(rows);
        batch.arrival.lists_names = true;
        batch
    }

    /// What must have happened, by the plainest means.
    fn apply(&mut self, rows: &[(Row, i64)], batch: &Batch) -> Vec<Verdict> {
        let now = self.now();
        let mut verdicts = Vec::new();
        self.model.refuse(now, rows);
        for ((row, at), claim) in rows.iter().zip(&batch.claims) {
            let name = batch.months[usize::from(claim.month)];
            let event = (row.site, row.event, Timestamp(*at).day().0);
            let known = self.model.seen.contains(&event);
            if self.model.shut.contains(&name) {
                verdicts.push(if known { Verdict::Duplicate } else { Verdict::TooOld });
                continue;
            }
            let is_final = self.is_final(name);
            let group = batch.group_of(usize::from(claim.month));
            let group = group.map(|no| SiteMonth { site: no, ..name });
            let counters = self.model.counters.entry(name).or_default();
            if known {
                counters.duplicates += u64::from(!is_final);
                verdicts.push(Verdict::Duplicate);
                continue;
            }
            if now - at > limits::AGE_MS_MAX && !self.model.late_rows {
                verdicts.push(Verdict::TooOld);
                continue;
            }
            self.model.seen.insert(event);
            // Site 2 keeps its records by days.
            let at = Timestamp(*at).day();
            let epoch = if row.site == 2 { Epoch::Day(at) } else { Epoch::Month(name.month) };
            let bucket = Bucket { class: Class::Records, site: name.site, epoch };
            let is_lost = self.model.lost.contains(&bucket);
            if !is_lost {
                self.model.kept.entry(bucket).or_default().push(row.event);
            }
            verdicts.push(match (is_final, is_lost) {
                (false, false) => Verdict::Accepted,
                (false, true) => Verdict::NotRetained,
                (true, false) => Verdict::Correction,
                (true, true) => Verdict::CorrectionNotRetained,
            });
            if let Some(group) = group.filter(|at| !self.model.shut.contains(at))
                && claim.group.is_some()
            {
                let is_over = self.is_over(group);
                self.model.join(row, group, is_over);
            }
            if is_final {
                self.model.correct(row, name);
            } else {
                self.model.count(row, name);
            }
        }
        self.model.arrive(now, rows, &verdicts);
        verdicts
    }

    fn submit(&mut self, rows: Vec<(Row, i64)>) {
        let batch = self.batch(&rows);
        let wanted = self.apply(&rows, &batch);
        let outcome = self.runtime.block_on(self.engine().commit(batch, Vec::new(), None)).unwrap();
        assert_eq!(outcome.verdicts, wanted);
        self.last = rows;
    }

    /// The write of this batch fails; then the process "dies" and the client sends it again.
    fn crash(&mut self, after: bool, rows: Vec<(Row, i64)>) {
        let batch = self.batch(&rows);
        self.engine().store().fault.store(if after { 2 } else { 1 }, Ordering::SeqCst);
        let failed = self.runtime.block_on(self.engine().commit(batch.clone(), Vec::new(), None));
        assert!(failed.is_err());
        assert!(self.engine().ready().is_err(), "after a failed write nothing goes on");
        self.close();
        self.open();
        if after {
            self.apply(&rows, &batch);
        }
        self.check();
        self.submit(rows);
    }

    fn crash_fold(&mut self, after: bool) {
        self.engine().store().fault.store(if after { 4 } else { 3 }, Ordering::SeqCst);
        let _ = self.runtime.block_on(self.engine().fold());
        self.engine().store().fault.store(0, Ordering::SeqCst);
        self.close();
        self.open();
    }

    fn check(&self) {
        for (name, wanted) in &self.model.counters {
            let site = self.site_of(*name);
            let usage = self.engine().usage(&site.id, name.month).unwrap().unwrap();
            assert_eq!(usage.tally.counters, *wanted, "{name:?}");
            let corrections = self.model.corrections.get(name).cloned().unwrap_or_default();
            assert_eq!(usage.tally.corrections, corrections, "{name:?}");
            for figures in [wanted, &corrections] {
                assert_eq!(
                    figures.explained_records(),
                    figures.records,
                    "every record has a reason"
                );
            }
            let end = calendar::span(&site, name.month).unwrap().to.0;
            let state = match self.is_final(*name) {
                true => State::Closed,
                false if end <= self.now() => State::Closing,
                false => State::Open,
            };
            assert_eq!(usage.state, state, "{name:?}");
            let without = self.model.without_sets.contains(name);
            assert_eq!(usage.evidence == Evidence::Destroyed, without, "{name:?}");
        }
        self.check_groups();
        assert_eq!(self.arrivals(), self.model.arrivals);
        assert_eq!(self.engine().arrivals_difference(), 0);
    }

    /// Folds, and reads every block back.
    fn check_blocks(&self) {
        let engine = self.engine();
        self.runtime.block_on(engine.fold()).unwrap();
        let mut found: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
        for table in engine.store().tables() {
            let Table::BlockKeys(class, _) = table else { continue };
            for row in engine.store().scan(table, &[], None).unwrap() {
                let place = BlockPlace::from_key(class, &row.unwrap().0).unwrap();
                let site = engine.sites().into_iter().find(|s| s.no == place.bucket.site).unwrap();
                let code = place.bucket.epoch.code();
                let key = engine.ring().bucket(&site.id, class, code).unwrap();
                let rows = read_block(engine.store(), &key, place).unwrap();
                let header = read_header(engine.store(), &key, place).unwrap();
                assert_eq!(header.rows, rows.len());
                for row in rows {
                    assert!(header.may_hold(Filtered::User, &row.user.unwrap()));
                    let event = details::items(&row.details).next().unwrap().unwrap();
                    let (7, Item::Number(event)) = event else { panic!("{event:?}") };
                    found.entry(place.bucket.site.0).or_default().push(event as u16);
                }
            }
        }
        let mut wanted: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
        for (bucket, events) in &self.model.kept {
            wanted.entry(bucket.site.0).or_default().extend(events);
        }
        found.values_mut().chain(wanted.values_mut()).for_each(|list| list.sort_unstable());
        assert_eq!(found, wanted);
    }

    /// Whether the desk would let a record of this time in.
    fn takes(&self, site: u8, at: Timestamp) -> bool {
        // Data that was put back may have to learn of a month whose keys are gone.
        let site = self.engine().reach(&site_id(site), at).unwrap();
        let month = calendar::stored(&site, at).map(|span| span.month);
        let named = |month| SiteMonth { site: site.no, month };
        month.is_none_or(|month| self.engine().takes_records(named(month)))
    }

    fn run(&mut self, op: Op) {
        let now = self.now();
        // What falls out of the seen slots is refused at the door, before the engine.
        let floor = Timestamp(now - limits::AGE_MS_MAX - limits::FUTURE_MS_MAX - HOUR).day();
        let open = |(row, at): &(Row, i64)| self.takes(row.site, Timestamp(*at));
        let living = |row: &(Row, i64)| Timestamp(row.1).day() >= floor && open(row);
        let timed = |rows: Vec<Row>| -> Vec<(Row, i64)> {
            let rows = rows.into_iter().map(|row| (row, now - i64::from(row.hours_ago) * HOUR));
            rows.filter(living).collect()
        };
        match op {
            Op::Submit(rows) => {
                let rows = timed(rows);
                self.submit(rows);
            }
            Op::Again => {
                let rows = self.last.iter().copied().filter(living).collect();
                self.submit(rows);
            }
            Op::Advance(hours) => self.advance(hours),
            Op::Glitch(hours, rows) => {
                let rows = timed(rows);
                self.clock.0.fetch_add(i64::from(hours) * HOUR, Ordering::SeqCst);
                let floor = self.now() - limits::AGE_MS_MAX - limits::FUTURE_MS_MAX - HOUR;
                let floor = Timestamp(floor).day();
                let living = |row: &(Row, i64)| Timestamp(row.1).day() >= floor;
                self.submit(rows.into_iter().filter(living).collect());
                self.clock.0.fetch_add(-i64::from(hours) * HOUR, Ordering::SeqCst);
            }
            Op::Fold => self.runtime.block_on(self.engine().fold()).unwrap(),
            Op::Restart => {
                self.close();
                self.open();
            }
            Op::Crash(after, rows) => {
                let rows = timed(rows);
                self.crash(after, rows);
            }
            Op::CrashFold(after) => self.crash_fold(after),
            Op::CrashClose(after, hours) => self.crash_close(after, hours),
            Op::Backfill(crash, size, rows) => self.backfill(crash, size, &rows),
        }
        self.check();
    }
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (0u8..3, 0u16..400, 0u16..60, 0u16..30, 0u8..8, 0u8..14, 0u16..860).prop_map(
        |(site, event, user, device, drm, effect, hours_ago)| {
            let user = if event % 7 == 0 { 0 } else { user };
            // Most rows are issued licences of the last two days.
            let effect = if event % 3 == 0 { effect } else { 0 };
            let hours_ago = if event % 5 == 0 { hours_ago } else { hours_ago % 48 };
            Row { site, event, user, device, drm, effect, hours_ago }
        },
    );
    proptest::collection::vec(row, 1..60)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => rows().prop_map(Op::Submit),
        2 => Just(Op::Again),
        3 => (1u16..200).prop_map(Op::Advance),
        1 => (2u16..400, rows()).prop_map(|(hours, rows)| Op::Glitch(hours, rows)),
        1 => (any::<bool>(), 1u16..300).prop_map(|(after, hours)| Op::CrashClose(after, hours)),
        2 => (proptest::option::of(any::<bool>()), 1u16..20, rows())
            .prop_map(|(crash, size, rows)| Op::Backfill(crash, size, rows)),
        3 => Just(Op::Fold),
        1 => Just(Op::Restart),
        2 => (any::<bool>(), rows()).prop_map(|(after, rows)| Op::Crash(after, rows)),
        1 => any::<bool>().prop_map(Op::CrashFold),
    ]
}

fn settings(tight: bool) -> Settings {
    Settings {
        tally_bytes: if tight { 600 } else { 1 << 30 },
        seen_bytes: if tight { 600 } else { 1 << 30 },
        cache_bytes: 4_096,
        segment_bytes: 40_000,
        unfolded_bytes: 320_000,
        partition_groups: if tight { 5 } else { 1 },
        ..Settings::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40, max_shrink_iters: 200, ..ProptestConfig::default()
    })]

    /// C1, C2, D1, F1: counts equal the model's through folds, spills, restarts and failed writes.
    #[test]
    fn engine_equals_model(ops in proptest::collection::vec(op(), 1..25), tight in any::<bool>()) {
        equals_model(ops, tight);
    }
}

fn equals_model(ops: impl IntoIterator<Item = Op>, tight: bool) {
    let mut world = World::new(settings(tight));
    for op in ops {
        world.run(op);
    }
    world.check_blocks();
    world.run(Op::Restart);
    world.check_blocks();
    world.close();
}

/// The checker bites: a model that misses one row is told from the engine.
#[test]
#[should_panic(expected = "left")]
fn a_wrong_model_is_noticed() {
    let mut world = World::new(settings(false));
    let row = Row { site: 0, event: 1, user: 1, device: 1, drm: 0, effect: 0, hours_ago: 1 };
    world.run(Op::Submit(vec![row]));
    for counters in world.model.counters.values_mut() {
        counters.mau += 1;
    }
    world.check();
}
