//! What the bill costs beside ingest: `cargo bench --bench billing [-- MILLIONS LICENSES SITES]`.
//!
//! The engine runs in this process, without HTTP, while another site takes a batch of a thousand
//! records fifty times a second. First a month of so many million users (10, or a part of one),
//! each with so many licences (1), closes with those of many sites (10,000), each of which has a
//! record. Then it is counted again, and its statement is made from end to end: fold, the licences
//! read one by one, the sets counted again, the ledger. Then the closed month of all sites is read,
//! one by one and as the pages of a list. Memory is what the process held at most. No figure is a
//! test.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod shared;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use blindtally::billing::{self, Billing};
use blindtally::engine::{self, Engine, EngineError, calendar};
use blindtally::keys::{self, KeyRing};
use blindtally::ledger::{self, Ledger};
use blindtally::model::batch::{Batch, Claim, DeviceTag, Effect, Item, SiteMonth};
use blindtally::model::caller::{Caller, Role, SiteScope, Token};
use blindtally::model::field::Field;
use blindtally::model::ids::SiteId;
use blindtally::model::site::SiteSettings;
use blindtally::model::time::{Clock, Month, Timestamp};
use blindtally::model::usage::State;
use blindtally::model::vocab::{
    DeviceKind, DrmType, Environment, Outcome, Quality, RecordType, RequestType, Scope,
};
use blindtally::store::shapes::DetailsWriter;
use blindtally::store::{self, Store, details};
use blindtally::usage::{Question, Usage};
use shared::{Result, beside, latencies, quiet, tag};

/// As the server has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Rows of a batch while the month is filled.
const FILL_ROWS: u64 = 10_000;
/// Sites whose records are in one batch while they get theirs.
const FILL_SITES: u64 = 500;
/// Rows of a page, and how often one site is read.
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

/// How much there is.
#[derive(Clone, Copy)]
struct Size {
    users: u64,
    licenses: u64,
    sites: u64,
}

fn main() -> Result<()> {
    let mut asked = std::env::args().skip(1).filter_map(|word| word.parse::<f64>().ok());
    let size = Size {
        users: (asked.next().unwrap_or(10.0) * 1e6) as u64,
        licenses: asked.next().unwrap_or(1.0) as u64,
        sites: asked.next().unwrap_or(10_000.0) as u64,
    };
    let dir = tempfile::tempdir()?;
    let clock = Arc::new(Set(AtomicI64::new(NOW.0)));
    let engine = open(dir.path(), Arc::clone(&clock))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    runtime.block_on(async {
        fill(&engine, size).await?;
        quiet(&engine, live).await?;
        close(&engine, &clock, size).await?;
        state(&engine, dir.path(), clock, size).await?;
        list(&engine, size.sites).await
    })?;
    engine.stop();
    Ok(())
}

fn open(dir: &Path, clock: Arc<Set>) -> Result<Engine> {
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(dir.join("keys")))?;
    let data = store::Settings { data: dir.join("data"), block_cache_bytes: 64 << 20 };
    Ok(Engine::open(Store::open(&data)?, ring, engine::Settings::default(), clock)?)
}

/// Fills a month of a large site and of many small ones.
async fn fill(engine: &Engine, size: Size) -> Result<()> {
    let Size { users, licenses, sites } = size;
    for name in ["LARGE", "LIVE"] {
        engine.put_site(site(name)?, SiteSettings::default()).await?;
    }
    let began = Instant::now();
    for from in (0..users * licenses).step_by(FILL_ROWS as usize) {
        let events = from..(from + FILL_ROWS).min(users * licenses);
        commit(engine, || batch(engine, "LARGE", users, events.clone())).await?;
    }
    engine.fold().await?;
    let took = began.elapsed();
    println!("== {users} users of a month, {licenses} licences each, filled in {took:.1?}");
    let began = Instant::now();
    for from in (0..sites).step_by(FILL_SITES as usize) {
        let mut rows = Rows::new();
        for number in from..(from + FILL_SITES).min(sites) {
            let name = small(number);
            engine.put_site(site(&name)?, SiteSettings::default()).await?;
            rows.add(engine, &name, u64::MAX, number..number + 1)?;
        }
        engine.commit(rows.end(), Vec::new(), None).await?;
    }
    engine.fold().await?;
    println!("== {sites} sites made, with a record each, in {:.1?}; {}", began.elapsed(), memory());
    Ok(())
}

/// Commits a batch, and again where the fold is slower than that.
async fn commit(engine: &Engine, batch: impl Fn() -> Result<Batch>) -> Result<()> {
    loop {
        match engine.commit(batch()?, Vec::new(), None).await {
            Ok(_) => return Ok(()),
            Err(EngineError::Busy) => engine.fold().await?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Lets the month close everywhere, and counts the large one again.
async fn close(engine: &Engine, clock: &Set, size: Size) -> Result<()> {
    let month = NOW.day().month();
    clock.0.store(CLOSED.0, Ordering::SeqCst);
    let closing = async {
        let began = Instant::now();
        engine.believe(CLOSED).await?;
        let last = small(size.sites.saturating_sub(1));
        while !is_closed(engine, "LARGE", month)? || !is_closed(engine, &last, month)? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(began.elapsed())
    };
    let (took, during) = beside(engine, live, closing).await?;
    println!("all closed after {:.1?}; ingest meanwhile: {during}", took?);
    let counting = async {
        let began = Instant::now();
        let found = engine.recount(site("LARGE")?, month).await?.ok_or("a set")?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((found.users, began.elapsed()))
    };
    let (counted, during) = beside(engine, live, counting).await?;
    let (found, took) = counted?;
    println!("{found} users counted again in {took:.1?}; ingest meanwhile: {during}");
    if found == size.users { Ok(()) } else { Err("the second count differs".into()) }
}

fn is_closed(engine: &Engine, name: &str, month: Month) -> Result<bool> {
    let usage = engine.usage(&site(name)?, month)?;
    // Without small sites there is none of the last name.
    Ok(usage.is_none_or(|usage| usage.state == State::Closed))
}

/// Makes the statement of the large month, from end to end.
async fn state(engine: &Engine, dir: &Path, clock: Arc<Set>, size: Size) -> Result<()> {
    let settings = ledger::Settings {
        dir: dir.join("ledger"),
        signing_key: dir.join("ledger.key"),
        name: "blindtally/bench".to_owned(),
        second_copy: None,
        marks: Vec::new(),
    };
    let (ledger, _) = Ledger::open(&settings, clock.now())?;
    let months = Arc::new(engine.clone());
    let desk = Billing::new(months, Arc::new(ledger), billing::Settings::default(), clock);
    // The kernel begins to look for the peak anew.
    let before = resident("VmRSS");
    std::fs::write("/proc/self/clear_refs", "5")?;
    let stating = async {
        let began = Instant::now();
        let stated = desk.statement(site("LARGE")?, NOW.day().month()).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((stated.body, began.elapsed()))
    };
    let (stated, during) = beside(engine, live, stating).await?;
    let (body, took) = stated?;
    let peak = resident("VmHWM").saturating_sub(before) >> 10;
    println!(
        "a statement of {} users and {} licences made in {took:.1?}, {peak} MiB more at most; \
         ingest meanwhile: {during}",
        body.figures.mau, body.figures.licenses_issued,
    );
    let recounted = body.recount.is_some_and(|of| of.mau == size.users);
    let read = body.quality.flatten().is_some_and(|of| of.records_seen == of.records_counted);
    let figures = (body.figures.mau, body.figures.licenses_issued);
    let whole = figures == (size.users, size.users * size.licenses);
    if recounted && read && whole { Ok(()) } else { Err("the statement is not whole".into()) }
}

/// Reads what all sites have of the closed month, while one of them takes records.
async fn list(engine: &Engine, sites: u64) -> Result<()> {
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
        issuer: None,
    };
    let caller: Caller = Arc::new(token);
    let month = NOW.day().month();
    let desk = Usage::new(Arc::new(engine.clone()));
    let read = desk.clone();
    let reading = tokio::task::spawn_blocking({
        let caller = Arc::clone(&caller);
        move || {
            let mut took = Vec::with_capacity(READS as usize);
            for read_no in 0..READS {
                let id = site(&small(read_no * 7_919 % sites.max(1)))?;
                let began = Instant::now();
                let found = read.month(&caller, &id, month)?.to_json_single();
                took.push(began.elapsed());
                let found = String::from_utf8(found)?;
                if !found.contains("\"mau\":1,") || !found.contains("\"state\":\"closed\"") {
                    return Err("a site without its month".into());
                }
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
    if rows as u64 != sites + 2 {
        return Err("not all sites are listed".into());
    }
    println!(
        "{rows} sites listed in {whole:.1?}, a page of {PAGE_ROWS}: {}; ingest meanwhile: {during}",
        latencies(took)
    );
    Ok(())
}

fn site(name: &str) -> Result<SiteId> {
    Ok(SiteId::parse(name.as_bytes()).ok_or("a site id")?)
}

fn small(number: u64) -> String {
    format!("SITE-{number}")
}

/// A batch of a site that takes records meanwhile.
fn live(engine: &Engine, events: Range<u64>) -> Result<Batch> {
    batch(engine, "LIVE", u64::MAX, events)
}

/// A batch of a site's licences, for so many users in turn.
fn batch(engine: &Engine, name: &str, users: u64, events: Range<u64>) -> Result<Batch> {
    let mut rows = Rows::new();
    rows.add(engine, name, users, events)?;
    Ok(rows.end())
}

/// Licences on their way to a batch.
struct Rows {
    batch: Batch,
    details: DetailsWriter,
}

impl Rows {
    fn new() -> Self {
        let details = DetailsWriter::with_capacity(FILL_ROWS as usize);
        Self { batch: Batch::default(), details }
    }

    /// Adds a site's licences of now, each of the next user with a device.
    fn add(&mut self, engine: &Engine, name: &str, users: u64, events: Range<u64>) -> Result<()> {
        let now = engine.clock().now();
        let of = engine.reach(&site(name)?, now)?;
        let month = calendar::stored(&of, now).ok_or("a month")?.month;
        engine.ring().site_month(&of.id, month)?;
        let at = SiteMonth { site: of.no, month };
        let place = self.batch.month_index(at).ok_or("months")?;
        let day = self.batch.day_index(now.day()).ok_or("days")?;
        for event in events {
            let user = event % users;
            self.write(event, user);
            self.batch.claims.push(Claim {
                month: place,
                day,
                kind: RecordType::LicenseIssued,
                drm: DrmType::Widevine,
                effect: Effect::Issued,
                occurred_at: now,
                seen: tag(16 + u64::from(of.no.0), event).short(),
                user: Some(tag(5, user).short()),
                device: Some(tag(6, user).short()),
                session: None,
                group: None,
                sentinel: false,
                by_device: false,
                suppressed: false,
            });
        }
        Ok(())
    }

    /// Writes what is kept of a licence.
    fn write(&mut self, event: u64, user: u64) {
        let out = &mut self.details;
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
            tag: tag(2, user),
        };
        out.push(Field::DeviceIds.code(), Item::Device(id));
        out.end_row();
    }

    fn end(self) -> Batch {
        Batch { details: self.details.finish(), ..self.batch }
    }
}

/// The most memory that the process held so far.
fn memory() -> String {
    format!("{} MiB at most", resident("VmHWM") >> 10)
}

/// A line of the process's status, KiB.
fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_ascii_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}
