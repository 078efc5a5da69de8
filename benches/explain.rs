//! What explaining a month costs: `cargo bench --bench explain [-- MILLIONS]`, of so many million
//! licence records (5), with 20 a user, and a device and a half for each.
//!
//! The engine runs in this process, without HTTP. The month is explained with memory for all of its
//! members, and with memory for a few of them; beside it, batches come in as they do all day. The
//! peak is what the process held at most above what it held before. No figure is a test.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod shared;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use blindtally::engine::{self, Engine, calendar};
use blindtally::keys::{self, KeyRing};
use blindtally::model::batch::{Batch, Claim, DeviceTag, Effect, Item, SiteMonth};
use blindtally::model::field::Field;
use blindtally::model::ids::SiteId;
use blindtally::model::site::SiteSettings;
use blindtally::model::time::{Clock, Timestamp};
use blindtally::model::vocab::{
    DeviceKind, DrmType, Environment, Outcome, Quality, RecordType, RequestType, Scope,
};
use blindtally::store::shapes::DetailsWriter;
use blindtally::store::{self, Store, details};
use shared::{Result, beside, quiet, tag};

/// As the server has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Records of a user.
const EACH: u64 = 20;
/// Rows of a batch while the month is filled.
const FILL_ROWS: u64 = 10_000;
/// Memory of an explanation, bytes: for everything, and for a part.
const MEMORY: [usize; 2] = [8 << 30, 64 << 20];
/// 22 November 2026.
const NOW: Timestamp = Timestamp(1_795_320_960_000);
const HOUR: i64 = 3_600_000;
/// The site that is explained, and the one that goes on.
const SITES: [&str; 2] = ["EXPLAINED", "LIVE"];

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn main() -> Result<()> {
    let asked = std::env::args().skip(1).find_map(|word| word.parse::<u64>().ok());
    let records = asked.unwrap_or(5) * 1_000_000;
    let dir = tempfile::tempdir()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    let engine = open(dir.path(), MEMORY[0])?;
    runtime.block_on(fill(&engine, records))?;
    engine.stop();
    drop(engine);
    for memory in MEMORY {
        let engine = open(dir.path(), memory)?;
        runtime.block_on(measure(&engine, records, memory))?;
        engine.stop();
    }
    Ok(())
}

fn open(dir: &Path, memory_bytes: usize) -> Result<Engine> {
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(dir.join("keys")))?;
    let data = store::Settings { data: dir.join("data"), block_cache_bytes: 64 << 20 };
    let explain = engine::explain::Settings { memory_bytes, ..Default::default() };
    let settings = engine::Settings { explain, ..Default::default() };
    Ok(Engine::open(Store::open(&data)?, ring, settings, Arc::new(Noon))?)
}

async fn measure(engine: &Engine, records: u64, memory: usize) -> Result<()> {
    println!("== {records} records, memory for members {} MiB", memory >> 20);
    let live = move |engine: &Engine, events: Range<u64>| {
        batch(month_of(engine, SITES[1])?, records / EACH, events)
    };
    quiet(engine, live).await?;
    let (before, began) = (resident("VmRSS"), Instant::now());
    // The kernel begins to look for the peak anew.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let (site, month) = (site(SITES[0])?, NOW.day().month());
    let (found, during) = beside(engine, live, engine.explain(site, month)).await?;
    let (found, took) = (found?, began.elapsed());
    let peak = resident("VmHWM").saturating_sub(before) >> 10;
    println!(
        "explained in {took:.1?}, {} passes, {:.2} us a record and pass, peak {peak} MiB",
        found.passes,
        took.as_secs_f64() * 1e6 / records as f64 / f64::from(found.passes),
    );
    println!("{} users, {} devices; ingest meanwhile: {during}", found.users, found.devices);
    let whole = found.is_whole() && found.licenses_issued() == records;
    if whole { Ok(()) } else { Err("something is missing".into()) }
}

/// A line of the process's status, KiB.
fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn site(name: &str) -> Result<SiteId> {
    Ok(SiteId::parse(name.as_bytes()).ok_or("a site id")?)
}

/// The present month of a site, with its keys.
fn month_of(engine: &Engine, name: &str) -> Result<SiteMonth> {
    let of = engine.reach(&site(name)?, NOW)?;
    let month = calendar::stored(&of, NOW).ok_or("a month")?.month;
    engine.ring().site_month(&of.id, month)?;
    Ok(SiteMonth { site: of.no, month })
}

async fn fill(engine: &Engine, records: u64) -> Result<()> {
    for name in SITES {
        engine.put_site(site(name)?, SiteSettings::default()).await?;
    }
    let (at, began) = (month_of(engine, SITES[0])?, Instant::now());
    for from in (0..records).step_by(FILL_ROWS as usize) {
        // The fold may be slower than a batch without any work before it.
        loop {
            match engine
                .commit(batch(at, records / EACH, from..from + FILL_ROWS)?, Vec::new(), None)
                .await
            {
                Ok(_) => break,
                Err(engine::EngineError::Busy) => engine.fold().await?,
                Err(error) => return Err(error.into()),
            }
        }
    }
    engine.fold().await?;
    println!("{records} records committed and folded in {:.1?}", began.elapsed());
    Ok(())
}

/// A batch of a site's licences. A user's records lie all over the month, as they do in life.
fn batch(at: SiteMonth, users: u64, events: Range<u64>) -> Result<Batch> {
    let mut batch = Batch::default();
    let mut out = DetailsWriter::with_capacity(FILL_ROWS as usize);
    let month = batch.month_index(at).ok_or("months")?;
    for event in events {
        let occurred_at = Timestamp(NOW.0 - HOUR * (event % 200) as i64);
        let day = batch.day_index(occurred_at.day()).ok_or("days")?;
        let user = event % users;
        // Every other user changes the device in the last third of the month.
        let device = user * 2 + u64::from(user.is_multiple_of(2) && event / users > EACH * 2 / 3);
        out.push(details::USER, Item::Tag(tag(1, user)));
        out.push(Field::EventId.code(), Item::Uuid(tag(9, event).0));
        for (field, code) in [
            (Field::Type, RecordType::LicenseIssued.code()),
            (Field::Environment, Environment::Production.code()),
            (Field::Outcome, Outcome::Success.code()),
            (Field::DrmType, DrmType::Widevine.code()),
            (Field::RequestType, RequestType::New.code()),
        ] {
            out.push(field.code(), Item::Number(i64::from(code)));
        }
        out.push(Field::Producer.code(), Item::Text(b"license-server"));
        let id = DeviceTag {
            kind: DeviceKind::AndroidId,
            quality: Quality::Good,
            scope: Scope::Device,
            recommended: true,
            tag: tag(2, device),
        };
        out.push(Field::DeviceIds.code(), Item::Device(id));
        out.push(Field::SessionId.code(), Item::Tag(tag(4, event / 2)));
        out.end_row();
        batch.claims.push(Claim {
            month,
            day,
            kind: RecordType::LicenseIssued,
            drm: DrmType::Widevine,
            effect: Effect::Issued,
            occurred_at,
            seen: tag(16 + u64::from(at.site.0), event).short(),
            user: Some(tag(5, user).short()),
            device: Some(tag(6, device).short()),
            session: None,
            group: None,
            sentinel: false,
            by_device: false,
            suppressed: false,
        });
    }
    batch.details = out.finish();
    Ok(batch)
}
