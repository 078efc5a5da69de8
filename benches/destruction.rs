//! What a destruction costs: `cargo bench --bench destruction [-- MILLIONS]`, of a bucket with so
//! many million records (100) beside real ones of a hundredth and a tenth of that.
//!
//! The engine runs in this process, without HTTP. Those of 1 and 10 million are real: committed,
//! judged, folded, side by side in the tables of one month. That of 100 million is real in all that
//! a destruction touches (its key, and for each 4,096 records a block key, a header with filters
//! and a body of the usual size); its bodies are random bytes, since no destruction opens one, and
//! it has a month of its own. A third real one of a million is on hold, and then released. No
//! figure is a test. It needs 70 bytes of disk a record for a moment.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod shared;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use blindtally::crypto::{SealKey, Secret};
use blindtally::engine::destroy::{DestroyReport, DestroyStep, DestroySteps, Verification};
use blindtally::engine::fold::BlockPlace;
use blindtally::engine::{self, Engine, calendar};
use blindtally::keys::{self, KeyRing, LedgerMark, Step};
use blindtally::model::batch::{Batch, Bucket, Claim, Effect, Epoch, Item, SiteMonth};
use blindtally::model::ids::{HoldNo, KeyId, SiteId};
use blindtally::model::retention::{Doom, Lot};
use blindtally::model::site::SiteSettings;
use blindtally::model::time::{Clock, Timestamp};
use blindtally::model::vocab::{Class, DrmType, RecordType};
use blindtally::store::header::Header;
use blindtally::store::shapes::DetailsWriter;
use blindtally::store::{self, Changes, Store, details};
use shared::{Result, beside, quiet, tag};

/// As the server has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Records of the real buckets for each hundred of the synthetic one; the third is on hold.
const REAL: [u64; 3] = [1, 10, 1];
const HELD: u8 = 2;
const HOLD: HoldNo = HoldNo(1);
/// Records of a block, and bytes of its body: 62 a record at rest, header and key included.
const BLOCK_ROWS: usize = 4_096;
const BODY_BYTES: usize = 235_000;
/// Rows of a batch while the buckets are filled, and records of the smallest for each million.
const FILL_ROWS: u64 = 10_000;
/// 22 November 2026, and the month that the synthetic bucket has for itself.
const NOW: Timestamp = Timestamp(1_795_320_960_000);
const HOUR: i64 = 3_600_000;
const LIVE: u8 = 9;
const SYNTHETIC: u8 = 8;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn main() -> Result<()> {
    let asked = std::env::args().skip(1).find_map(|word| word.parse::<u64>().ok());
    let millions = asked.unwrap_or(100);
    let dir = tempfile::tempdir()?;
    let engine = open(dir.path())?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    runtime.block_on(run(&engine, millions))?;
    engine.stop();
    Ok(())
}

async fn run(engine: &Engine, millions: u64) -> Result<()> {
    for number in [0, 1, HELD, SYNTHETIC, LIVE] {
        engine.put_site(site(number)?, SiteSettings::default()).await?;
    }
    let (records, real) = (millions * 1_000_000, REAL.map(|share| share * millions * FILL_ROWS));
    fill(engine, millions).await?;
    synthesize(engine, records)?;
    quiet(engine, live).await?;
    for (number, count) in [(0, real[0]), (1, real[1]), (SYNTHETIC, records), (HELD, real[2])] {
        let heirs = if number == HELD { vec![HOLD] } else { Vec::new() };
        let doom = Doom { heirs, ..Doom::from(lot(engine, number)?) };
        println!("== {count} records, {}", kind(number));
        measure(engine, doom).await?;
    }
    let copy = engine.held()?.into_iter().next().ok_or("no copy")?;
    println!("== {} records, the copy of a released hold", copy.records);
    measure(engine, Doom { hold: Some(HOLD), ..Doom::from(copy.lot) }).await
}

/// Destroys a lot beside the load, and prints how long what took.
async fn measure(engine: &Engine, doom: Doom) -> Result<()> {
    let began = Instant::now();
    let told = Arc::new(Told::default());
    let steps = Arc::clone(&told) as Arc<dyn DestroySteps>;
    let work = engine.destroy(vec![doom], LedgerMark::default(), steps);
    let (report, during) = beside(engine, live, work).await?;
    let report = report?;
    told.print(began, &report);
    println!("ingest meanwhile: {during}");
    let passed = report.verification == Verification::Passed;
    if passed { Ok(()) } else { Err(format!("it did not end: {report:?}").into()) }
}

fn kind(number: u8) -> &'static str {
    match number {
        SYNTHETIC => "synthetic, alone in the tables of its month: they are dropped",
        HELD => "real, on hold: copied to hold storage first",
        _ => "real, among others of its month: files are rewritten",
    }
}

fn open(dir: &Path) -> Result<Engine> {
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(dir.join("keys")))?;
    let data = store::Settings { data: dir.join("data"), block_cache_bytes: 64 << 20 };
    Ok(Engine::open(Store::open(&data)?, ring, engine::Settings::default(), Arc::new(Noon))?)
}

fn site(number: u8) -> Result<SiteId> {
    Ok(SiteId::parse(format!("SITE-{number}").as_bytes()).ok_or("a site id")?)
}

/// A batch of the site that takes records meanwhile.
fn live(engine: &Engine, events: Range<u64>) -> Result<Batch> {
    batch(month_of(engine, LIVE)?, events)
}

/// A batch of a site's records: a user has ten, and a device each.
fn batch(at: SiteMonth, events: Range<u64>) -> Result<Batch> {
    let mut batch = Batch::default();
    let mut writer = DetailsWriter::with_capacity(1_000);
    let month = batch.month_index(at).ok_or("months")?;
    for event in events {
        let occurred_at = Timestamp(NOW.0 - HOUR * (event % 200) as i64);
        let day = batch.day_index(occurred_at.day()).ok_or("days")?;
        let (user, device) = (tag(1, event / 10), tag(2, event / 10));
        writer.push(details::USER, Item::Tag(user));
        writer.push(7, Item::Number(event as i64));
        writer.push(130, Item::Tag(device));
        writer.end_row();
        batch.claims.push(Claim {
            month,
            day,
            kind: RecordType::LicenseIssued,
            drm: DrmType::Widevine,
            effect: Effect::Issued,
            occurred_at,
            seen: tag(3 + u64::from(at.site.0), event).short(),
            user: Some(user.short()),
            device: Some(device.short()),
            group: None,
            session: None,
            sentinel: false,
            by_device: false,
            suppressed: false,
        });
    }
    batch.details = writer.finish();
    Ok(batch)
}

/// The present month of a site, with its keys.
fn month_of(engine: &Engine, number: u8) -> Result<SiteMonth> {
    let of = engine.reach(&site(number)?, NOW)?;
    let month = calendar::stored(&of, NOW).ok_or("a month")?.month;
    engine.ring().site_month(&of.id, month)?;
    Ok(SiteMonth { site: of.no, month })
}

/// The real buckets, in turns, so that their blocks lie among each other.
async fn fill(engine: &Engine, turns: u64) -> Result<()> {
    let began = Instant::now();
    for turn in 0..turns {
        for (number, share) in (0u8..).zip(REAL) {
            let at = month_of(engine, number)?;
            for part in turn * share..(turn + 1) * share {
                let events = part * FILL_ROWS..(part + 1) * FILL_ROWS;
                engine.commit(batch(at, events)?, Vec::new(), None).await?;
            }
        }
    }
    engine.fold().await?;
    let records = REAL.iter().sum::<u64>() * turns * FILL_ROWS;
    println!("{records} real records committed and folded in {:.1?}", began.elapsed());
    Ok(())
}

/// The month before, in which only the synthetic bucket has rows.
fn synthetic_bucket(engine: &Engine) -> Result<Bucket> {
    let site = engine.site(&site(SYNTHETIC)?).ok_or("a site")?.no;
    let epoch = Epoch::Month(NOW.day().month().previous());
    Ok(Bucket { class: Class::Records, site, epoch })
}

/// Block keys, headers and bodies of a bucket of so many records.
fn synthesize(engine: &Engine, records: u64) -> Result<()> {
    let began = Instant::now();
    let bucket = synthetic_bucket(engine)?;
    let key = engine.ring().bucket(&site(SYNTHETIC)?, bucket.class, bucket.epoch.code())?;
    let mut body = vec![0u8; BODY_BYTES];
    for (at, chunk) in body.chunks_mut(16).enumerate() {
        chunk.copy_from_slice(&tag(7, at as u64).0[..chunk.len()]);
    }
    let mut tables = BTreeSet::new();
    let mut changes = Changes::default();
    // Far behind the numbers of real blocks.
    for number in (1 << 40)..(1 << 40) + records / BLOCK_ROWS as u64 {
        let place = BlockPlace { bucket, fragment: false, number };
        let mut users: Vec<u64> = (0..400).map(|n| number << 12 | n).collect();
        let mut devices = users.clone();
        let header = Header::new(BLOCK_ROWS, (NOW, NOW), [&mut users, &mut devices, &mut vec![]]);
        let secret = Secret::random();
        let own = SealKey::new(KeyId(number), &secret);
        let header = own.seal(&place.aad("header/1", key.id()), &header.encode());
        let wrapped = key.seal(&place.aad("block key/1", key.id()), secret.expose());
        body[..8].copy_from_slice(&number.to_be_bytes());
        for ((table, row), value) in place.rows().into_iter().zip([body.clone(), header, wrapped]) {
            if tables.insert(table) {
                engine.store().ensure(table)?;
            }
            changes.put(table, row, value);
        }
        if changes.bytes() > 8 << 20 {
            engine.store().apply_ahead(&std::mem::take(&mut changes))?;
        }
    }
    engine.store().apply_ahead(&changes)?;
    engine.store().flush_tables(&tables)?;
    println!("{records} synthetic records written in {:.1?}", began.elapsed());
    Ok(())
}

/// The bucket of a site.
fn lot(engine: &Engine, number: u8) -> Result<Lot> {
    let no = engine.site(&site(number)?).ok_or("a site")?.no;
    let own = |lot: &Lot| matches!(lot, Lot::Records(bucket) if bucket.site == no);
    let lot = engine.lots().into_iter().map(|info| info.lot).find(own);
    Ok(lot.ok_or("a site without a bucket")?)
}

/// When each step began.
#[derive(Default)]
struct Told(Mutex<Vec<(DestroyStep, Instant)>>);

impl DestroySteps for Told {
    fn begins(&self, step: DestroyStep) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.push((step, Instant::now()));
    }
}

impl Told {
    fn at(&self, wanted: DestroyStep) -> Option<Instant> {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().find(|(step, _)| *step == wanted).map(|(_, at)| *at)
    }

    fn print(&self, began: Instant, report: &DestroyReport) {
        let since = |from: Option<Instant>, to: DestroyStep| {
            let took = self.at(to).zip(from).map(|(to, from)| to.duration_since(from));
            took.map_or("none".to_owned(), |took| format!("{took:.2?}"))
        };
        let unreadable = DestroyStep::After(Step::VekDestroyed);
        println!("due to unreadable    {}", since(Some(began), unreadable));
        println!("  shut and folded    {}", since(Some(began), DestroyStep::Note));
        println!("  records counted    {}", since(self.at(DestroyStep::Note), DestroyStep::Keep));
        println!("  copied for a hold  {}", since(self.at(DestroyStep::Keep), DestroyStep::Keys));
        println!("  keys destroyed     {}", since(self.at(DestroyStep::Keys), unreadable));
        let tried = self.at(DestroyStep::Trial);
        println!("tried that it is     {}", since(tried, DestroyStep::Rows));
        println!("disk reclaimed after {}", since(self.at(unreadable), DestroyStep::Verify));
        println!("all of it            {}", since(Some(began), DestroyStep::End));
        let (bytes, files) = (report.bytes_reclaimed >> 20, report.files_removed);
        println!("  {bytes} MiB, {files} files, {:?}", report.verification);
    }
}
