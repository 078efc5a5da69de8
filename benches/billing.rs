//! What the bill costs beside ingest: `cargo bench --bench billing [-- MILLIONS]`.
//!
//! The engine runs in this process, without HTTP, while another site takes a batch of a thousand
//! records fifty times a second. First a month of so many million users (10) closes, and is counted
//! again for its statement; then the usage of ten thousand sites is read, one by one and as the
//! pages of a list. Memory is what the process held at most. No figure is a test.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod shared;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use blindtally::engine::{self, Engine, calendar};
use blindtally::keys::{self, KeyRing};
use blindtally::model::batch::{Batch, Claim, Effect, Item, SiteMonth};
use blindtally::model::caller::{Caller, Role, SiteScope, Token};
use blindtally::model::ids::SiteId;
use blindtally::model::site::SiteSettings;
use blindtally::model::time::{Clock, Month, Timestamp};
use blindtally::model::usage::State;
use blindtally::model::vocab::{DrmType, RecordType};
use blindtally::store::shapes::DetailsWriter;
use blindtally::store::{self, Store, details};
use blindtally::usage::{Question, Usage};
use shared::{Result, beside, latencies, quiet, tag};

/// As the server has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Rows of a batch while the month is filled.
const FILL_ROWS: u64 = 10_000;
/// Sites that are listed, rows of a page, and how often one site is read.
const SITES: u64 = 10_000;
const PAGE_ROWS: usize = 1_000;
const READS: u64 = 200_000;
/// 30 November 2026, 23:00, and an hour after the close of that month.
const NOW: Timestamp = Timestamp(1_796_079_600_000);
const CLOSED: Timestamp = Timestamp(1_796_342_400_000 + HOUR);
const HOUR: i64 = 3_600_000;

/// A clock that is set.
struct Set(AtomicI64);

impl Clock for Set {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

fn main() -> Result<()> {
    let asked = std::env::args().skip(1).find_map(|word| word.parse::<u64>().ok());
    let users = asked.unwrap_or(10) * 1_000_000;
    let dir = tempfile::tempdir()?;
    let clock = Arc::new(Set(AtomicI64::new(NOW.0)));
    let engine = open(dir.path(), Arc::clone(&clock))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    runtime.block_on(async {
        close(&engine, &clock, users).await?;
        list(&engine).await
    })?;
    engine.stop();
    Ok(())
}

fn open(dir: &Path, clock: Arc<Set>) -> Result<Engine> {
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(dir.join("keys")))?;
    let data = store::Settings { data: dir.join("data"), block_cache_bytes: 64 << 20 };
    Ok(Engine::open(Store::open(&data)?, ring, engine::Settings::default(), clock)?)
}

/// Fills a month, lets it close, and counts it again.
async fn close(engine: &Engine, clock: &Set, users: u64) -> Result<()> {
    for name in ["LARGE", "LIVE"] {
        engine.put_site(site(name)?, SiteSettings::default()).await?;
    }
    let began = Instant::now();
    for from in (0..users).step_by(FILL_ROWS as usize) {
        let batch = batch(engine, "LARGE", from..(from + FILL_ROWS).min(users))?;
        engine.commit(batch, Vec::new(), None).await?;
    }
    engine.fold().await?;
    let month = NOW.day().month();
    println!("== {users} users of a month, filled in {:.1?}; {}", began.elapsed(), memory()?);
    quiet(engine, live).await?;

    clock.0.store(CLOSED.0, Ordering::SeqCst);
    let closing = async {
        let began = Instant::now();
        engine.believe(CLOSED).await?;
        while state(engine, month)? != State::Closed {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(began.elapsed())
    };
    let (took, during) = beside(engine, live, closing).await?;
    println!("closed after {:.1?}; ingest meanwhile: {during}", took?);

    let counting = async {
        let began = Instant::now();
        let found = engine.recount(site("LARGE")?, month).await?.ok_or("a set")?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((found.users, began.elapsed()))
    };
    let (counted, during) = beside(engine, live, counting).await?;
    let (found, took) = counted?;
    println!(
        "{found} users counted again in {took:.1?}; {}; ingest meanwhile: {during}",
        memory()?
    );
    if found == users { Ok(()) } else { Err("the second count differs".into()) }
}

fn state(engine: &Engine, month: Month) -> Result<State> {
    Ok(engine.usage(&site("LARGE")?, month)?.ok_or("a month")?.state)
}

/// Reads what ten thousand sites have, while one of them takes records.
async fn list(engine: &Engine) -> Result<()> {
    let began = Instant::now();
    for number in 0..SITES {
        engine.put_site(site(&format!("SITE-{number}"))?, SiteSettings::default()).await?;
    }
    println!("== {SITES} sites made in {:.1?}", began.elapsed());
    let token = Token {
        key_id: "0000000000000000".to_owned(),
        name: "bench".to_owned(),
        role: Role::Billing,
        sites: SiteScope::All,
        producer: "bench".to_owned(),
        producers: None,
        created_at: NOW,
        expires_at: Timestamp(i64::MAX),
        secret_hash: [0; 32],
    };
    let caller: Caller = Arc::new(token);
    let month = CLOSED.day().month();
    let desk = Usage::new(Arc::new(engine.clone()));
    let read = desk.clone();
    let reading = tokio::task::spawn_blocking({
        let caller = Arc::clone(&caller);
        move || {
            let mut took = Vec::with_capacity(READS as usize);
            for read_no in 0..READS {
                let id = site(&format!("SITE-{}", read_no * 7_919 % SITES))?;
                let began = Instant::now();
                read.month(&caller, &id, month)?.to_json_single();
                took.push(began.elapsed());
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(took)
        }
    });
    let (read, during) = beside(engine, live, reading).await?;
    println!("a month of a site read: {}; ingest meanwhile: {during}", latencies(read??));
    let listing = tokio::task::spawn_blocking(move || {
        let (mut took, mut rows, mut cursor) = (Vec::new(), 0, None::<String>);
        let began = Instant::now();
        loop {
            let before = Instant::now();
            let question =
                Question { from: month, to: month, limit: PAGE_ROWS, cursor: cursor.as_deref() };
            let page = desk.list(&caller, &question)?;
            rows += page.to_csv().iter().filter(|byte| **byte == b'\n').count() - 1;
            took.push(before.elapsed());
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((took, rows, began.elapsed()))
    });
    let (listed, during) = beside(engine, live, listing).await?;
    let (took, rows, whole) = listed??;
    println!(
        "{rows} sites listed in {whole:.1?}, a page of {PAGE_ROWS}: {}; ingest meanwhile: {during}",
        latencies(took)
    );
    Ok(())
}

fn site(name: &str) -> Result<SiteId> {
    Ok(SiteId::parse(name.as_bytes()).ok_or("a site id")?)
}

/// A batch of the site that takes records meanwhile.
fn live(engine: &Engine, events: Range<u64>) -> Result<Batch> {
    batch(engine, "LIVE", events)
}

/// A batch of a site's records, each of another user with a device.
fn batch(engine: &Engine, name: &str, events: Range<u64>) -> Result<Batch> {
    let now = engine.clock().now();
    let of = engine.reach(&site(name)?, now)?;
    let month = calendar::stored(&of, now).ok_or("a month")?.month;
    engine.ring().site_month(&of.id, month)?;
    let mut batch = Batch::default();
    let mut writer = DetailsWriter::with_capacity(FILL_ROWS as usize);
    let place = batch.month_index(SiteMonth { site: of.no, month }).ok_or("months")?;
    let day = batch.day_index(now.day()).ok_or("days")?;
    for event in events {
        let (user, device) = (tag(1, event), tag(2, event));
        writer.push(details::USER, Item::Tag(user));
        writer.push(7, Item::Number(event as i64));
        writer.end_row();
        batch.claims.push(Claim {
            month: place,
            day,
            kind: RecordType::LicenseIssued,
            drm: DrmType::Widevine,
            effect: Effect::Issued,
            occurred_at: now,
            seen: tag(3 + u64::from(of.no.0), event).short(),
            user: Some(user.short()),
            device: Some(device.short()),
            session: None,
            group: None,
            sentinel: false,
            by_device: false,
            suppressed: false,
        });
    }
    batch.details = writer.finish();
    Ok(batch)
}

/// The most memory that the process held so far.
fn memory() -> Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 =
        peak.and_then(|kib| kib.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    Ok(format!("{} MiB at most", kib >> 10))
}
