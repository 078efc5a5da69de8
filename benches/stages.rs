//! What each stage of a record costs: `cargo bench --bench stages [-- RECORDS]`.
//!
//! The engine and the ingest desk run in this process, without HTTP, on the bodies that `blindtally
//! load` writes, a thousand records each. CPU is the scheduler's own count for each thread
//! (`/proc/self/task/*/schedstat`, nanoseconds), so that what else the machine does matters little.
//! The first lines are parts of the stage "request". No figure is a test.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::io;
use std::process::Command;
use std::sync::Arc;

use blindtally::crypto::{BaseKey, Secret, TagKey};
use blindtally::engine::{self, Engine};
use blindtally::identity::{FormRoom, Job, PseudonymQueue, RawId, UserRules};
use blindtally::ingest::{self, Ingest, Post, Posted};
use blindtally::keys::{self, KeyRing};
use blindtally::model::caller::{Caller, Role, SiteScope, Token};
use blindtally::model::ids::SiteId;
use blindtally::model::pseudonym::Algorithm;
use blindtally::model::reason::Reason;
use blindtally::model::site::SiteSettings;
use blindtally::model::time::{SystemClock, Timestamp};
use blindtally::observe::{RecordCounters, Registry};
use blindtally::store::{self, Store};
use blindtally::wire::{Decoder, Limits, Media};

const BLINDTALLY: &str = env!("CARGO_BIN_EXE_blindtally");
const RECORDS: usize = 2_000_000;
const BATCH: usize = 1_000;
/// Requests that wait for the writer at once.
const CONCURRENCY: usize = 8;

/// As the server has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let asked = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let records: usize = asked.unwrap_or(RECORDS);
    let dir = tempfile::tempdir()?;
    let bodies = bodies(&dir.path().join("records.ndjson"), records)?;
    let bytes: usize = bodies.iter().map(Vec::len).sum();
    println!("{records} records of {} bytes, {BATCH} a request", bytes / records);
    decode(&bodies, records)?;
    hash(records)?;
    whole(dir.path(), bodies, records)
}

/// Bodies of the load generator.
fn bodies(file: &std::path::Path, records: usize) -> Result<Vec<Vec<u8>>> {
    let count = records.to_string();
    let status = Command::new(BLINDTALLY)
        .args(["load", "--quiet", "--records", &count, "--write"])
        .arg(file)
        .status()?;
    if !status.success() {
        return Err("the load generator failed".into());
    }
    let all = fs::read(file)?;
    fs::remove_file(file)?;
    let lines: Vec<&[u8]> = all.split_inclusive(|byte| *byte == b'\n').collect();
    Ok(lines.chunks(BATCH).map(<[&[u8]]>::concat).collect())
}

fn decode(bodies: &[Vec<u8>], records: usize) -> Result<()> {
    let mut decoder = Decoder::new(Limits::default());
    let mut read = 0;
    let mut spent = 0;
    for body in bodies {
        // Texts are unescaped in place, so each body is read from a copy.
        let mut copy = body.clone();
        let before = own_ns()?;
        decoder.decode(Media::NdJson, &mut copy, &mut |_, record| {
            read += usize::from(black_box(record).is_ok());
        })?;
        spent += own_ns()? - before;
    }
    if read != records {
        return Err(format!("{read} of {records} records were read").into());
    }
    print("decode", spent, records);
    Ok(())
}

/// Three ids a record, of 18 bytes, each hashed and turned into the tags of two uses.
fn hash(records: usize) -> Result<()> {
    let base = BaseKey::new(&Secret::random());
    let uses = [TagKey::new(&Secret::random()), TagKey::new(&Secret::random())];
    let (rules, mut room) = (UserRules::default(), FormRoom::default());
    let ids: Vec<String> = (0..3 * BATCH).map(|n| format!("viewer-{n:011}")).collect();
    let before = own_ns()?;
    for _ in 0..records / BATCH {
        let mut queue = PseudonymQueue::with_capacity(ids.len());
        let push = |id: &String| {
            let user = rules.read(Some(RawId::new(id.as_bytes())), &mut room).somebody()?;
            Some(queue.push_user(base.under(Algorithm::HmacSha256), &user))
        };
        let slots: Vec<_> = ids.iter().filter_map(push).collect();
        queue.run();
        let jobs = slots.into_iter().flat_map(|slot| [0, 1].map(|key| Job { slot, key }));
        black_box(queue.tags(&jobs.collect::<Vec<_>>(), &[&uses[0], &uses[1]]));
    }
    print("3 ids, 6 tags", own_ns()? - before, records);
    Ok(())
}

/// Everything but HTTP: by thread.
fn whole(dir: &std::path::Path, bodies: Vec<Vec<u8>>, records: usize) -> Result<()> {
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(make(dir.join("keys"))?))?;
    let store =
        Store::open(&store::Settings { data: dir.join("data"), block_cache_bytes: 64 << 20 })?;
    let engine = Engine::open(store, ring, engine::Settings::default(), Arc::new(SystemClock))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for number in 0..20 {
        let id = SiteId::parse(format!("load-{number:04}").as_bytes()).ok_or("a site id")?;
        runtime.block_on(engine.put_site(id, SiteSettings::default()))?;
    }
    let registry = Registry::default();
    let reasons = Reason::ALL.iter().map(|reason| reason.name());
    let counters = RecordCounters::register(&registry, reasons);
    let desk = Ingest::new(engine.clone(), ingest::Settings::default(), counters);
    let before = threads()?;
    let took = runtime.block_on(async {
        let began = std::time::Instant::now();
        let mut bodies = bodies.into_iter();
        let mut running = tokio::task::JoinSet::new();
        loop {
            while running.len() < CONCURRENCY {
                let Some(body) = bodies.next() else { break };
                running.spawn(post(desk.clone(), body));
            }
            match running.join_next().await {
                Some(done) => done.map_err(|error| error.to_string())??,
                None => break,
            }
        }
        let took = began.elapsed();
        engine.fold().await.map_err(|error| error.to_string())?;
        Ok::<_, String>(took)
    })?;
    let mut all = 0;
    for (name, after) in threads()? {
        let spent = after - before.get(&name).copied().unwrap_or(0);
        all += spent;
        if spent as f64 / records as f64 > 4.0 {
            let stage = if name.starts_with("stages") { "request" } else { &name };
            print(stage, spent, records);
        }
    }
    print("all of it", all, records);
    println!(
        "{:.0} records a second, one thread for requests",
        records as f64 / took.as_secs_f64()
    );
    runtime.block_on(async { engine.stop() });
    Ok(())
}

async fn post(desk: Ingest, body: Vec<u8>) -> std::result::Result<(), String> {
    let caller: Caller = Arc::new(Token {
        key_id: "bench".into(),
        secret_hash: [0; 32],
        role: Role::Producer,
        sites: SiteScope::All,
        name: "bench".into(),
        producer: "bench".into(),
        producers: None,
        created_at: Timestamp(0),
        expires_at: Timestamp(i64::MAX),
        issuer: None,
    });
    let post = Post {
        caller: &caller,
        media: Media::NdJson,
        body: body.into(),
        idempotency_key: None,
        ce_headers: &[],
    };
    match desk.post(post).await {
        Posted::Receipt { status: 200, .. } => Ok(()),
        other => Err(format!("a batch was not taken: {other:?}")),
    }
}

fn make(dir: std::path::PathBuf) -> io::Result<std::path::PathBuf> {
    fs::create_dir_all(&dir).map(|()| dir)
}

/// CPU of this thread, nanoseconds.
fn own_ns() -> Result<u64> {
    schedstat("/proc/thread-self/schedstat".as_ref())
}

fn schedstat(path: &std::path::Path) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    Ok(text.split_ascii_whitespace().next().ok_or("no figure")?.parse()?)
}

/// CPU of each thread by name, nanoseconds.
fn threads() -> Result<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        let name = fs::read_to_string(path.join("comm"))?.trim().to_owned();
        *all.entry(name).or_default() += schedstat(&path.join("schedstat"))?;
    }
    Ok(all)
}

fn print(stage: &str, ns: u64, records: usize) {
    println!("{stage:<16} {:>7.0} ns a record", ns as f64 / records as f64);
}
