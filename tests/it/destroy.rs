//! A destruction in a process of its own that is killed (SIGKILL) as each of its steps begins: the
//! next start goes on, survivors are readable and counted, victims never open, what is on hold is
//! whole in hold storage, and nothing was reported destroyed before its end.
//!
//! The process is this test binary once more, with the same test and the number of the step.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use blindtally::crypto::{digest, seal};
use blindtally::engine::destroy::{DestroyReport, DestroyStep, DestroySteps, Verification};
use blindtally::engine::fold::{BlockPlace, block_key_opens, read_block};
use blindtally::engine::{Engine, Settings, calendar};
use blindtally::keys::{self, KeyRing, LedgerMark};
use blindtally::model::batch::{Batch, Claim, Effect, Epoch, Item, SiteMonth};
use blindtally::model::ids::{HoldNo, SiteId, Tag};
use blindtally::model::retention::{Doom, Lot};
use blindtally::model::site::SiteSettings;
use blindtally::model::time::{Clock, Timestamp};
use blindtally::model::usage::{Counters, Evidence};
use blindtally::model::vocab::{DrmType, RecordType};
use blindtally::store::shapes::DetailsWriter;
use blindtally::store::{self, Store, Table, details};

use crate::support::{Place, kill_self};

const STEP: &str = "BLINDTALLY_TEST_STEP";
const PLACE: &str = "BLINDTALLY_TEST_PLACE";
/// Steps of a destruction.
const STEPS: u32 = 20;
/// Written by the process that was told of the end.
const REPORTED: &str = "reported";
/// 22 November 2026.
const NOW: i64 = 1_795_320_960_000;
const HOUR: i64 = 3_600_000;
const MARK: LedgerMark = LedgerMark { size: 3, root: [3; 32] };

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp(NOW)
    }
}

fn site(number: u8) -> SiteId {
    SiteId::parse(format!("SITE-{number}").as_bytes()).unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn open(place: &Path) -> Engine {
    let data = store::Settings { data: place.join("data"), block_cache_bytes: 1 << 20 };
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(place.join("data-keys"))).unwrap();
    let store = Store::open(&data).unwrap();
    Engine::open(store, ring, Settings::default(), Arc::new(Noon)).unwrap()
}

fn tag(kind: &str, number: u32) -> Tag {
    let hash = digest(format!("{kind} {number}").as_bytes());
    Tag(std::array::from_fn(|at| hash[at]))
}

/// Days of the access log: one of a month that is destroyed, one of a month that stays.
const DAYS: [&str; 2] = ["access/2024-11-03", "access/2026-11-22"];

/// Records of three sites in two months; site 2 keeps its records by days. And two days of the
/// access log.
fn fill(place: &Path) {
    let engine = open(place);
    for number in 0..3 {
        let records_days = (number == 2).then_some(20);
        let settings = SiteSettings { records_days, ..SiteSettings::default() };
        run(engine.put_site(site(number), settings)).unwrap();
    }
    for day in DAYS {
        run(engine.put_desk_row(day, day.as_bytes())).unwrap();
    }
    for part in 0..4 {
        let mut batch = Batch::default();
        let mut writer = DetailsWriter::with_capacity(100);
        for event in part * 100..(part + 1) * 100 {
            let days = if part < 2 { 0 } else { 24 };
            let at = Timestamp(NOW - HOUR * i64::from(days * 24 + event % 60));
            let of = engine.reach(&site((event % 3) as u8), at).unwrap();
            let month = calendar::stored(&of, at).unwrap().month;
            engine.ring().site_month(&of.id, month).unwrap();
            let user = tag("user", event % 40);
            writer.push(details::USER, Item::Tag(user));
            writer.push(7, Item::Number(i64::from(event)));
            writer.end_row();
            let claim = Claim {
                month: batch.month_index(SiteMonth { site: of.no, month }).unwrap(),
                day: batch.day_index(at.day()).unwrap(),
                kind: RecordType::LicenseIssued,
                drm: DrmType::Widevine,
                effect: Effect::Issued,
                occurred_at: at,
                seen: tag("event", event).short(),
                user: Some(user.short()),
                device: Some(tag("device", event % 50).short()),
                group: None,
                session: None,
                sentinel: false,
                by_device: false,
                suppressed: false,
            };
            batch.claims.push(claim);
        }
        batch.details = writer.finish();
        run(engine.commit(batch, Vec::new(), None)).unwrap();
        if part == 1 {
            run(engine.fold()).unwrap();
        }
    }
    engine.stop();
}

/// Everything of site 0 in November, one day of site 2, the records of site 1 in October, and the
/// access log of two years ago.
fn victims(engine: &Engine) -> Vec<Lot> {
    let no = |number| engine.site(&site(number)).unwrap().no;
    let november = Timestamp(NOW).day().month();
    let lots = engine.lots().into_iter().map(|info| info.lot);
    lots.filter(|lot| match lot {
        Lot::Records(bucket) if bucket.site == no(1) => bucket.epoch.month() != november,
        Lot::Records(bucket) if bucket.site == no(2) => {
            bucket.epoch == Epoch::Day(Timestamp(NOW).day())
        }
        Lot::Records(bucket) => bucket.epoch.month() == november,
        Lot::Sets(at) | Lot::RecordKey(at) | Lot::WatermarkKey(at) | Lot::BaseKey(at) => {
            (at.site, at.month) == (no(0), november)
        }
        Lot::Access(month) => *month < november,
        Lot::Suppression(_) | Lot::Seen(_) => false,
    })
    .collect()
}

/// The hold that keeps the records of site 1.
const HOLD: HoldNo = HoldNo(1);

/// What the destruction is asked for: the records of site 1 are on hold.
fn dooms(engine: &Engine, lots: &[Lot]) -> Vec<Doom> {
    let held = engine.site(&site(1)).unwrap().no;
    let doom = |lot: &Lot| match lot {
        Lot::Records(bucket) if bucket.site == held => {
            Doom { heirs: vec![HOLD], ..Doom::from(*lot) }
        }
        _ => Doom::from(*lot),
    };
    lots.iter().map(doom).collect()
}

/// How many records the hold has, read one by one; `None` before its copy is whole.
fn records_held(engine: &Engine) -> Option<u64> {
    let held = engine.held().unwrap();
    let [info] = &held[..] else { return None };
    let Lot::Records(bucket) = info.lot else { panic!("{info:?}") };
    let copy = engine.held_bucket(HOLD, bucket).unwrap().unwrap();
    let places = copy.blocks().unwrap();
    let read: u64 = places.iter().map(|place| copy.read(*place).unwrap().len() as u64).sum();
    assert_eq!(read, info.records);
    Some(read)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Kills this process as a step begins.
struct Kill(AtomicU32);

impl DestroySteps for Kill {
    fn begins(&self, _: DestroyStep) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 0 {
            kill_self();
        }
    }
}

/// What the killed process does.
fn destroy_and_die(place: &Path, step: u32) {
    let engine = open(place);
    // Folded first, so that every process has the same lots.
    run(engine.fold()).unwrap();
    let lots = dooms(&engine, &victims(&engine));
    let report = run(engine.destroy(lots, MARK, Arc::new(Kill(AtomicU32::new(step))))).unwrap();
    assert_eq!(report.verification, Verification::Passed);
    std::fs::write(place.join(REPORTED), "").unwrap();
    engine.stop();
}

/// The wrapped block keys as they are stored, and how many rows each block has.
fn blocks(engine: &Engine) -> BTreeMap<BlockPlace, (Vec<u8>, usize)> {
    let mut all = BTreeMap::new();
    for table in engine.store().tables() {
        let Table::BlockKeys(class, _) = table else { continue };
        for row in engine.store().scan(table, &[], None).unwrap() {
            let (key, wrapped) = row.unwrap();
            let place = BlockPlace::from_key(class, &key).unwrap();
            let by = engine.ring().by_id(seal::key_id(&wrapped).unwrap());
            // Of a destruction that was cut rows may be left that no key opens.
            let rows = by.map_or(0, |by| read_block(engine.store(), &by, place).unwrap().len());
            all.insert(place, (wrapped.into_vec(), rows));
        }
    }
    all
}

fn figures(engine: &Engine) -> Vec<(Counters, Evidence)> {
    let november = Timestamp(NOW).day().month();
    let months = [november.previous(), november];
    let all = (0..3).flat_map(|number| months.map(|month| (site(number), month)));
    let usage = all.map(|(site, month)| engine.usage(&site, month).unwrap().unwrap());
    usage.map(|usage| (usage.tally.counters, usage.evidence)).collect()
}

/// The days of the access log that can be read.
fn days(engine: &Engine) -> Vec<String> {
    let rows = engine.desk_rows("access/").unwrap();
    assert!(rows.iter().all(|(name, bytes)| name.as_bytes() == bytes));
    rows.into_iter().map(|(name, _)| name).collect()
}

/// What is expected of every round.
struct Before {
    victims: Vec<Lot>,
    blocks: BTreeMap<BlockPlace, (Vec<u8>, usize)>,
    figures: Vec<(Counters, Evidence)>,
    records: u64,
    held: u64,
}

impl Before {
    fn check(&self, engine: &Engine, report: Option<&DestroyReport>) {
        let is_victim = |place: &BlockPlace| self.victims.contains(&Lot::Records(place.bucket));
        let now = blocks(engine);
        for (place, (wrapped, rows)) in &self.blocks {
            let by = engine.ring().by_id(seal::key_id(wrapped).unwrap());
            let opens = by.is_some_and(|by| block_key_opens(&by, *place, wrapped));
            assert_eq!(opens, !is_victim(place), "{place:?}");
            let kept = now.get(place).map(|(_, rows)| *rows);
            assert_eq!(kept, (!is_victim(place)).then_some(*rows), "{place:?}");
        }
        let counted = |figures: &[(Counters, Evidence)]| -> Vec<Counters> {
            figures.iter().map(|(counters, _)| counters.clone()).collect()
        };
        let figures = figures(engine);
        assert_eq!(counted(&figures), counted(&self.figures));
        let destroyed = figures.iter().filter(|(_, evidence)| *evidence == Evidence::Destroyed);
        assert_eq!(destroyed.count(), 1, "the sets of one month");
        assert!(engine.lots().iter().all(|info| !self.victims.contains(&info.lot)));
        assert_eq!(days(engine), DAYS[1..]);
        assert_eq!(records_held(engine), Some(self.held), "what is on hold is there, whole");
        if let Some(report) = report {
            let records: u64 = report.lots.iter().filter_map(|lot| lot.records).sum();
            assert_eq!((report.verification, records), (Verification::Passed, self.records));
        }
    }
}

fn prepare(place: &Path) -> Before {
    fill(place);
    let engine = open(place);
    run(engine.fold()).unwrap();
    let (victims, blocks, figures) = (victims(&engine), blocks(&engine), figures(&engine));
    let of = blocks.iter().filter(|(place, _)| victims.contains(&Lot::Records(place.bucket)));
    let records = of.clone().map(|(_, (_, rows))| *rows as u64).sum();
    let no = engine.site(&site(1)).unwrap().no;
    let held = of.filter(|(place, _)| place.bucket.site == no).map(|(_, (_, rows))| *rows as u64);
    let held = held.sum();
    engine.stop();
    assert_eq!(victims.len(), 8, "{victims:?}");
    assert!(records > 0 && figures.iter().all(|(_, evidence)| *evidence == Evidence::Live));
    assert!(held > 0 && held < records);
    Before { victims, blocks, figures, records, held }
}

/// Check 36 of the privacy study, with a real process and a real kill.
#[test]
fn check_36_a_killed_destruction_is_finished_by_the_next_start() {
    if let (Ok(step), Ok(place)) = (std::env::var(STEP), std::env::var(PLACE)) {
        return destroy_and_die(Path::new(&place), step.parse().unwrap());
    }
    let first = Place::new();
    let before = prepare(first.path());
    for step in 0..=STEPS {
        let place = Place::new();
        copy(first.path(), place.path());
        let mut child = Command::new(std::env::current_exe().unwrap());
        let name = "destroy::check_36_a_killed_destruction_is_finished_by_the_next_start";
        child.args(["--exact", name, "--nocapture"]);
        let child = child.env(STEP, step.to_string()).env(PLACE, place.path()).output().unwrap();
        let killed = child.status.code().is_none();
        assert_eq!(killed, step < STEPS, "{step}: {child:?}");
        assert_eq!(place.path().join(REPORTED).exists(), !killed, "{step}");
        let engine = open(place.path());
        let mut unfinished = engine.unfinished_destruction();
        if step == 0 {
            assert_eq!(unfinished, [], "nothing had begun");
            assert_eq!(figures(&engine), before.figures);
            assert_eq!(records_held(&engine), None);
            assert_eq!(days(&engine), DAYS);
            unfinished = dooms(&engine, &before.victims);
        }
        assert_eq!(unfinished.is_empty(), !killed, "{step}");
        let report = killed.then(|| run(engine.destroy(unfinished, MARK, Arc::new(()))).unwrap());
        before.check(&engine, report.as_ref());
        assert_eq!(engine.unfinished_destruction(), []);
        engine.stop();
        drop(engine);
        let engine = open(place.path());
        before.check(&engine, None);
        engine.stop();
    }
}
