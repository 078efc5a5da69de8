//! Explanations against the plainest count of the same rows: sets and sums over a list.

mod kept;
mod plain;

use super::*;
use crate::engine::erase::Order;
use crate::engine::explain::{self, Work};
use crate::model::batch::{DeviceTag, Said};
use crate::model::explained::{Cell, Explained, Family, Histogram, Limits, Ranges};
use crate::model::field::{ErrorClass, Field};
use crate::model::person::Person;
use crate::model::retention::Lot;
use crate::model::site::Counting;
use crate::model::vocab::{
    DeviceKind, Environment, LicenseType, Outcome, Quality, RequestType, Scope, UserKind,
};

/// A record as the ingest desk would make it, and as the plain count sees it.
#[derive(Clone, Debug)]
struct Full {
    event: u16,
    user: u16,
    anonymous: bool,
    /// Each with its quality; the first good one is recommended.
    devices: Vec<(u16, Quality)>,
    cell: Cell,
    license: Option<LicenseType>,
    session: u16,
    request_id: u16,
    os: Option<&'static str>,
    hours_ago: u16,
}

const COUNTING: Counting = Counting {
    include_failures: true,
    renewals: false,
    device_as_user: true,
    anonymous_by_device: true,
};

impl Full {
    fn said(&self) -> Said {
        Said {
            kind: RecordType::LicenseIssued,
            outcome: self.cell.outcome,
            environment: self.cell.environment,
            request: Some(self.cell.request),
            license: self.license,
        }
    }

    fn device(&self) -> Option<u16> {
        let good = self.devices.iter().find(|(_, quality)| *quality == Quality::Good);
        good.map(|(device, _)| *device)
    }

    fn details(&self, out: &mut DetailsWriter) {
        if self.user > 0 {
            out.push(details::USER, Item::Tag(Tag(tag("user record", self.user))));
        }
        let mut number = |field: Field, code: u8| {
            out.push(field.code(), Item::Number(i64::from(code)));
        };
        number(Field::Type, RecordType::LicenseIssued.code());
        number(Field::Environment, self.cell.environment.code());
        self.cell.outcome.into_iter().for_each(|it| number(Field::Outcome, it.code()));
        self.cell.error.into_iter().for_each(|it| number(Field::ErrorClass, it.code()));
        number(Field::DrmType, self.cell.drm.code());
        number(Field::RequestType, self.cell.request.code());
        if self.anonymous {
            number(Field::UserIdKind, UserKind::Anonymous.code());
        }
        if let Some(os) = self.os {
            out.push(Field::DeviceOs.code(), Item::Text(os.as_bytes()));
        }
        let mut recommended = self.device();
        for (device, quality) in &self.devices {
            let device = DeviceTag {
                kind: DeviceKind::AndroidId,
                quality: *quality,
                scope: Scope::Device,
                recommended: *quality == Quality::Good && recommended.take().is_some(),
                tag: Tag(tag("device record", *device)),
            };
            out.push(Field::DeviceIds.code(), Item::Device(device));
        }
        for (field, kind, value) in [
            (Field::SessionId, "session record", self.session),
            (Field::LicenseRequestId, "request record", self.request_id),
        ] {
            if value > 0 {
                out.push(field.code(), Item::Tag(Tag(tag(kind, value))));
            }
        }
    }
}

fn full() -> impl Strategy<Value = Full> {
    let cell = (0usize..6, 0usize..2, 0usize..4, 0usize..6, 0usize..10).prop_map(
        |(environment, outcome, drm, request, error)| Cell {
            environment: Environment::ALL[environment.saturating_sub(3)],
            outcome: Some(Outcome::ALL[outcome]),
            drm: DrmType::ALL[drm],
            request: RequestType::ALL[if request > 4 { request } else { request % 3 }],
            error: ErrorClass::ALL.get(error).copied().filter(|_| outcome == 1),
        },
    );
    let device = (0u16..40, 0usize..8);
    let devices = proptest::collection::vec(device, 0..4).prop_map(|devices| {
        let quality = |at: usize| Quality::ALL.get(at).copied().unwrap_or(Quality::Good);
        devices.into_iter().map(|(device, at)| (device, quality(at))).collect()
    });
    let os = proptest::sample::select(vec![
        None,
        Some("Android"),
        Some("iOS"),
        Some("Windows 11"),
        Some("Tizen"),
    ]);
    let ids = (0u16..40, 0u16..400, 0u16..30, 0u16..60, 0u16..20);
    (ids, cell, devices, os, 0u8..5).prop_map(
        |((user, event, session, request_id, hours_ago), cell, devices, os, kind)| Full {
            event,
            user,
            anonymous: kind == 0,
            devices,
            cell,
            license: None,
            session,
            request_id,
            os,
            hours_ago: hours_ago * if event % 3 == 0 { 40 } else { 1 },
        },
    )
}

/// A server with two sites, one that keeps records by days, both of the same odd counting.
struct Told {
    world: World,
    /// What was accepted, by site.
    rows: Vec<(u8, Full, i64)>,
}

impl Told {
    fn new(memory_bytes: usize) -> Self {
        let limits = Limits {
            devices_per_user: 3,
            users_per_device: 2,
            license_share_ppm: 50_000,
            share_least: 20,
        };
        let known = explain::Settings::default();
        let explain = explain::Settings { memory_bytes, fresh_ms: 0, subjects: 3, limits, ..known };
        let world = World::new(Settings { explain, ..settings(false) });
        for (site, records_days) in [(0, None), (2, Some(30))] {
            let zone = ["UTC", "", "America/New_York"][usize::from(site)];
            let settings = SiteSettings {
                time_zone: zone.into(),
                records_days,
                counting: COUNTING,
                ..SiteSettings::default()
            };
            world.runtime.block_on(world.engine().put_site(site_id(site), settings)).unwrap();
        }
        Self { world, rows: Vec::new() }
    }

    fn submit(&mut self, site: u8, rows: &[Full]) {
        let mut batch = Batch::default();
        let mut writer = DetailsWriter::with_capacity(rows.len());
        let mut timed = Vec::new();
        for row in rows {
            let at = Timestamp(self.world.now() - i64::from(row.hours_ago) * HOUR);
            let found = self.world.engine().reach(&site_id(site), at).unwrap();
            let span = calendar::stored(&found, at).unwrap();
            self.world.engine().ring().site_month(&found.id, span.month).unwrap();
            row.details(&mut writer);
            writer.end_row();
            let effect = Effect::of(&row.said(), COUNTING);
            let stands =
                effect.is_countable() && row.device().is_some() && (row.anonymous || row.user == 0);
            let mut seen = tag("event", row.event);
            seen[0] ^= site;
            let short = |kind, number| Tag(tag(kind, number)).short();
            let user = (row.user > 0 && !row.anonymous).then(|| short("user", row.user));
            let device = row.device().map(|device| short("device", device));
            let name = SiteMonth { site: found.no, month: span.month };
            let month = batch.month_index(name).unwrap();
            let day = batch.day_index(at.day()).unwrap();
            batch.claims.push(Claim {
                month,
                day,
                kind: RecordType::LicenseIssued,
                drm: row.cell.drm,
                effect,
                occurred_at: at,
                seen: Tag(seen).short(),
                user: user.filter(|_| effect.is_countable()),
                device: device.filter(|_| effect == Effect::Issued || stands),
                group: None,
                session: None,
                sentinel: false,
                by_device: stands,
                suppressed: false,
            });
            timed.push(at.0);
        }
        batch.details = writer.finish();
        let engine = self.world.engine();
        let outcome = self.world.runtime.block_on(engine.commit(batch, Vec::new(), None)).unwrap();
        for ((row, at), verdict) in rows.iter().zip(timed).zip(outcome.verdicts) {
            if verdict.is_taken() {
                self.rows.push((site, row.clone(), at));
            }
        }
    }

    fn explain(&self, site: u8, month: Month) -> Result<Arc<Explained>, EngineError> {
        let engine = self.world.engine();
        self.world.runtime.block_on(engine.explain(site_id(site), month))
    }

    /// Compares both months of both sites with the plain count; answers the most passes it took.
    fn check(&self) -> u32 {
        let mut passes = 0;
        for site in [0, 2] {
            for month in [november().previous(), november(), november().next()] {
                let found = self.explain(site, month).unwrap();
                let known = self.world.engine().site(&site_id(site)).unwrap();
                let span = calendar::span(&known, month).unwrap();
                let here =
                    |(of, _, at): &&(u8, Full, i64)| *of == site && span.contains(Timestamp(*at));
                let rows: Vec<&Full> = self.rows.iter().filter(here).map(|row| &row.1).collect();
                plain::compare(&found, &rows);
                passes = passes.max(found.passes);
            }
        }
        passes
    }
}

fn november() -> Month {
    Month::parse(b"2026-11").unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Submit(u8, Vec<Full>),
    Fold,
    Restart,
    /// The fold's last write fails before or after it is on the disk.
    CrashFold(bool),
    Advance(u16),
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let submit = (any::<bool>(), proptest::collection::vec(full(), 1..80));
    prop_oneof![
        6 => submit.prop_map(|(days, rows)| Step::Submit(if days { 2 } else { 0 }, rows)),
        2 => Just(Step::Fold),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::CrashFold),
        1 => (1u16..150).prop_map(Step::Advance),
        2 => Just(Step::Look),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16, max_shrink_iters: 200, ..ProptestConfig::default()
    })]

    /// Every figure over random records, duplicates, late ones (corrections among them), folds that
    /// fail, and starts; with room for all members, and with room for hardly any.
    #[test]
    fn explanations_equal_a_plain_count(
        steps in proptest::collection::vec(step(), 1..14), tight in any::<bool>(),
    ) {
        let mut told = Told::new(if tight { 6_000 } else { 1 << 30 });
        let mut passes = 0;
        for step in steps {
            match step {
                Step::Submit(site, rows) => told.submit(site, &rows),
                Step::Fold => told.world.runtime.block_on(told.world.engine().fold()).unwrap(),
                Step::Restart => {
                    told.world.close();
                    told.world.open();
                }
                Step::CrashFold(after) => told.world.crash_fold(after),
                Step::Advance(hours) => told.world.pass(i64::from(hours)).unwrap(),
                Step::Look => passes = passes.max(told.check()),
            }
        }
        passes = passes.max(told.check());
        prop_assert!(tight || passes <= 1);
        told.world.close();
    }
}

/// An issued licence of a user on a device.
fn issue(event: u16, user: u16, device: u16, hours_ago: u16) -> Full {
    Full {
        event,
        user,
        anonymous: false,
        devices: vec![(device, Quality::Good)],
        cell: Cell {
            environment: Environment::Production,
            outcome: Some(Outcome::Success),
            drm: DrmType::Widevine,
            request: RequestType::New,
            error: None,
        },
        license: None,
        session: 0,
        request_id: 0,
        os: None,
        hours_ago,
    }
}

#[test]
fn what_is_destroyed_is_missing_and_said() {
    let mut told = Told::new(1 << 30);
    let rows: Vec<Full> =
        (1..60).map(|event| issue(event, event % 9 + 1, event % 4 + 1, event % 3 * 24)).collect();
    told.submit(2, &rows);
    told.check();
    let now = Timestamp(told.world.now());
    let site = told.world.engine().site(&site_id(2)).unwrap();
    let bucket = Bucket { class: Class::Records, site: site.no, epoch: Epoch::Day(now.day()) };
    let mark = keys::LedgerMark { size: 9, root: [9; 32] };
    let destroyed = told.world.engine().destroy(vec![Lot::Records(bucket)], mark, Arc::new(()));
    assert!(!told.world.runtime.block_on(destroyed).unwrap().nothing);
    // Nothing changed in the figures; what was made before is not given any more all the same.
    assert_eq!(told.world.engine().explained(&site.id, november()), None);
    let found = told.explain(2, november()).unwrap();
    assert!(!found.is_whole());
    told.world.close();
    told.world.open();
    let found = told.explain(2, november()).unwrap();
    let left = told.rows.iter().filter(|(_, _, at)| Timestamp(*at).day() != now.day()).count();
    assert_eq!((found.records_seen, found.records_counted()), (left as u64, 59));
    assert!(left < 59 && !found.is_whole());
    assert_eq!(found.tally.counters.mau, 9, "the bill stays");
    // A record of the destroyed day is counted, and not kept.
    told.submit(2, &[issue(900, 1, 1, 0)]);
    let found = told.explain(2, november()).unwrap();
    assert_eq!((found.records_seen, found.records_counted()), (left as u64, 60));
}

/// What is listed stays readable through later folds, and a destruction in between is noticed.
#[test]
fn what_changes_while_it_is_read_is_noticed() {
    let mut told = Told::new(1 << 30);
    let rows = |first: u16| (first..first + 80).map(|event| issue(event, event, 1, 0)).collect();
    let rows: Vec<Vec<Full>> = (0..30).map(|part| rows(1 + part * 80)).collect();
    let fold = |told: &Told| told.world.runtime.block_on(told.world.engine().fold()).unwrap();
    told.submit(0, &rows[0]);
    fold(&told);
    let engine = told.world.engine().clone();
    let site = engine.site(&site_id(0)).unwrap();
    let work = Work::new(&engine, &site, november()).unwrap();
    let listing = work.list().unwrap();
    assert_eq!((listing.blocks.len(), listing.fragments.len()), (0, 1));
    // All that was counted is folded, now and a moment later; then it is what was until the fold.
    let folded_at = told.world.now();
    assert_eq!(listing.as_of, Timestamp(folded_at));
    told.world.clock.0.fetch_add(1_000, Ordering::SeqCst);
    assert_eq!(work.list().unwrap().as_of, Timestamp(folded_at + 1_000));
    // The fragment is taken into other blocks, and read all the same; what is new is not.
    for rows in &rows[1..] {
        told.submit(0, rows);
        let now = work.list().unwrap();
        let (as_of, before) = (now.as_of, Timestamp(folded_at));
        assert!(as_of == before || now.tally.counters.records > 80, "{as_of}");
        fold(&told);
    }
    let now = work.list().unwrap();
    assert!(!now.blocks.is_empty());
    for (listing, records) in [(&listing, 80), (&now, 2_400)] {
        let found = work.read(listing).unwrap().unwrap();
        assert_eq!((found.records_seen, found.records_counted()), (records, records));
    }
    let bucket = Bucket { class: Class::Records, site: site.no, epoch: Epoch::Month(november()) };
    let mark = keys::LedgerMark { size: 9, root: [9; 32] };
    let destroyed = engine.destroy(vec![Lot::Records(bucket)], mark, Arc::new(()));
    told.world.runtime.block_on(destroyed).unwrap();
    for listing in [listing, now] {
        assert_eq!(work.read(&listing), Ok(None));
    }
    assert_eq!(work.read(&work.list().unwrap()).unwrap().unwrap().records_seen, 0);
}

/// From the moment on that a person is hidden, whatever of the erasure is done by then.
#[test]
fn who_is_being_erased_is_not_explained() {
    let mut told = Told::new(1 << 30);
    let rows: Vec<Full> =
        (1..60).map(|event| issue(event, event % 9 + 1, event % 4 + 1, 0)).collect();
    told.submit(0, &rows);
    told.check();
    let theirs = rows.iter().filter(|row| row.user == 3).count() as u64;
    let engine = told.world.engine().clone();
    let site = engine.site(&site_id(0)).unwrap();
    let work = Work::new(&engine, &site, november()).unwrap();
    let listing = work.list().unwrap();
    let person = Person { users: vec![Tag(tag("user record", 3))], devices: Vec::new() };
    let order = Order { number: 1, person, ..Order::default() };
    let run = &told.world.runtime;
    run.block_on(engine.hide(&site.id, order)).unwrap();
    assert_eq!(work.read(&listing), Ok(None), "it began before the person was hidden");
    let without = |when: &str| {
        let found = told.explain(0, november()).unwrap();
        let seen = (found.records_seen, found.records_counted(), found.users);
        assert_eq!(seen, (59 - theirs, 59, 8), "{when}");
        assert_eq!(found.tally.counters.mau, 9, "the bill stays");
    };
    without("hidden");
    let mark = keys::LedgerMark { size: 9, root: [9; 32] };
    let erased = engine.erase(1, Arc::new(|_| false), mark, Arc::new(()));
    assert!(run.block_on(erased).unwrap().done);
    without("erased");
    run.block_on(engine.end_erasure(1)).unwrap();
    without("forgotten");
}

/// Nobody asks between the moment at which a person is hidden and the end of the erasure, and no
/// figure changes.
#[test]
fn a_report_from_before_an_erasure_is_not_given_after_it() {
    let mut told = Told::new(1 << 30);
    let rows: Vec<Full> =
        (1..60).map(|event| issue(event, event % 9 + 1, event % 4 + 1, 0)).collect();
    told.submit(0, &rows);
    assert_eq!(told.explain(0, november()).unwrap().users, 9);
    let engine = told.world.engine().clone();
    let id = site_id(0);
    let person = Person { users: vec![Tag(tag("user record", 3))], devices: Vec::new() };
    let run = &told.world.runtime;
    run.block_on(engine.hide(&id, Order { number: 1, person, ..Order::default() })).unwrap();
    assert_eq!(engine.explained(&id, november()), None, "the usage has none of it");
    let mark = keys::LedgerMark { size: 9, root: [9; 32] };
    let erased = engine.erase(1, Arc::new(|_| false), mark, Arc::new(()));
    assert!(run.block_on(erased).unwrap().done);
    run.block_on(engine.end_erasure(1)).unwrap();
    let found = told.explain(0, november()).unwrap();
    let theirs = rows.iter().filter(|row| row.user == 3).count() as u64;
    assert_eq!((found.users, found.records_seen), (8, 59 - theirs));
}

#[test]
fn many_sessions_and_devices_of_one_person_are_about_one() {
    let mut told = Told::new(1 << 30);
    let of = |event: u16, user: u16| Full {
        session: event,
        os: Some("Android"),
        ..issue(event, user, event, 0)
    };
    let flags = |told: &Told| {
        let found = told.explain(0, november()).unwrap();
        let hidden = &found.hidden;
        let range = |which: Ranges| hidden.ranges[which as usize][1];
        let good = Quality::ALL.iter().position(|of| *of == Quality::Good).unwrap();
        [
            range(Ranges::LicensesPerSession),
            range(Ranges::UsersPerDevice),
            hidden.families[Family::Android as usize],
            hidden.device_ids[good],
        ]
    };
    told.submit(0, &(1..=12).map(|event| of(event, 1)).collect::<Vec<_>>());
    assert_eq!(flags(&told), [true; 4]);
    told.submit(0, &(20..40).map(|event| of(event, event)).collect::<Vec<_>>());
    assert_eq!(flags(&told), [false; 4]);
}

#[test]
fn records_that_differ_from_the_counters_are_an_error() {
    let mut told = Told::new(1 << 30);
    told.submit(0, &(1..40).map(|event| issue(event, event % 9, 1, 0)).collect::<Vec<_>>());
    told.check();
    let engine = told.world.engine();
    let at = SiteMonth { site: engine.site(&site_id(0)).unwrap().no, month: november() };
    let row = store::keys::counters(at);
    let good = engine.store().get(Table::Counters, &row).unwrap().unwrap();
    let figures = |change: &dyn Fn(&mut Tally)| {
        let mut tally = store::verdict::decode_tally(&good).unwrap();
        change(&mut tally);
        let mut changes = store::Changes::default();
        changes.put(Table::Counters, row.clone(), store::verdict::encode_tally(&tally));
        engine.store().apply(&changes).unwrap();
    };
    let changes: [&dyn Fn(&mut Tally); 6] = [
        &|tally| tally.counters.licenses_failed += 1,
        &|tally| tally.counters.licenses_by_drm[0] -= 1,
        &|tally| tally.counters.mau += 1,
        &|tally| tally.counters.devices -= 1,
        &|tally| tally.counters.unattributed_licenses += 1,
        &|tally| tally.counters.records -= 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        figures(change);
        // Otherwise the last explanation would do.
        engine.shared.explained.forget();
        let found = told.explain(0, november());
        assert!(matches!(found, Err(EngineError::Damaged(_))), "change {number}");
    }
    figures(&|_| {});
    told.check();
}

#[test]
fn one_id_that_stands_for_many_takes_no_memory_for_them() {
    let mut told = Told::new(100_000);
    for some in 0..16 {
        let first = some * 200;
        let own = |event: u16| issue(first + event, 7, first + event, 0);
        let shared = |event: u16| issue(10_000 + first + event, 100 + first + event, 9, 0);
        told.submit(0, &(1..=200).map(own).collect::<Vec<_>>());
        told.submit(0, &(1..=200).map(shared).collect::<Vec<_>>());
        told.world.runtime.block_on(told.world.engine().fold()).unwrap();
    }
    let passes = told.check();
    assert!((2..200).contains(&passes), "{passes} passes");
    let found = told.explain(0, november()).unwrap();
    assert_eq!(found.devices_per_user.0[Histogram::RANGES - 1], 1);
    assert_eq!(found.users_per_device.0[Histogram::RANGES - 1], 1);
}

#[test]
fn what_did_not_change_or_is_fresh_is_given_again() {
    let mut told = Told::new(1 << 30);
    told.submit(0, &[issue(1, 1, 1, 0)]);
    let first = told.explain(0, november()).unwrap();
    told.world.clock.0.fetch_add(HOUR, Ordering::SeqCst);
    assert!(Arc::ptr_eq(&first, &told.explain(0, november()).unwrap()), "nothing changed");
    told.submit(0, &[issue(2, 2, 1, 0)]);
    let second = told.explain(0, november()).unwrap();
    assert_eq!((first.users, second.users), (1, 2), "no age is fresh here");
    told.world.close();
    told.world.settings.explain.fresh_ms = HOUR;
    told.world.open();
    let third = told.explain(0, november()).unwrap();
    told.submit(0, &[issue(3, 3, 1, 0)]);
    assert!(Arc::ptr_eq(&third, &told.explain(0, november()).unwrap()), "it is fresh");
    // A statement says what is stated; who asks for an explanation sees none of it before its time.
    let engine = told.world.engine().clone();
    let run = &told.world.runtime;
    run.block_on(engine.fold()).unwrap();
    let stated = run.block_on(engine.explain_folded(site_id(0), november())).unwrap();
    assert_eq!((stated.users, third.users), (3, 2));
    assert!(Arc::ptr_eq(&third, &told.explain(0, november()).unwrap()), "it is fresh still");
    told.world.clock.0.fetch_add(HOUR, Ordering::SeqCst);
    assert_eq!(told.explain(0, november()).unwrap().users, 3);
    assert!(told.world.engine().explained(&site_id(1), november()).is_none());
    let nobody = SiteId::parse(b"NOBODY").unwrap();
    let asked = told.world.runtime.block_on(told.world.engine().explain(nobody, november()));
    assert_eq!(asked, Err(EngineError::NoSite));
}

/// A report is bound to no asker: what was begun for one that gave up is there for the next.
#[test]
fn what_nobody_waits_for_any_more_is_explained_all_the_same() {
    let mut told = Told::new(1 << 30);
    told.submit(0, &[issue(1, 1, 1, 0), issue(2, 2, 2, 540)]);
    let engine = told.world.engine().clone();
    told.world.runtime.block_on(async {
        engine.fold().await.unwrap();
        let mut asked = Box::pin(engine.explain_folded(site_id(0), november()));
        let mut waits = |cx: &mut std::task::Context<'_>| asked.as_mut().poll(cx).is_pending();
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(waits(cx))).await);
        drop(asked);
        // One at a time: when another month has had its turn, this one's is over.
        engine.explain_folded(site_id(0), november().previous()).await.unwrap();
        assert_eq!(engine.explained(&site_id(0), november()).unwrap().users, 1);
    });
}
