//! What several benchmarks share: ingest that goes on beside what is measured, and its tags.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use blindtally::engine::Engine;
use blindtally::model::batch::Batch;
use blindtally::model::ids::Tag;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The load: batches of a thousand, so many a second.
const LOAD_ROWS: u64 = 1_000;
const LOAD_PAUSE: Duration = Duration::from_millis(20);
/// How long the latency is measured with nothing else going on: several folds long, since these go
/// on beside whatever is measured.
const QUIET: Duration = Duration::from_secs(60);

/// The number of the next record of the load.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Prints the latency of the load with nothing else going on.
pub async fn quiet<N>(engine: &Engine, next: N) -> Result<()>
where
    N: Fn(&Engine, Range<u64>) -> Result<Batch> + Send + 'static,
{
    let ((), quiet) = beside(engine, next, tokio::time::sleep(QUIET)).await?;
    let rate = LOAD_ROWS * 1_000 / LOAD_PAUSE.as_millis() as u64;
    println!("ingest of {rate} records a second, nothing else going on: {quiet}");
    Ok(())
}

/// Works beside the load, whose batches `next` makes of the numbers of their records; what came of
/// it, and the latency of the load's acknowledgements.
pub async fn beside<N, T>(
    engine: &Engine,
    next: N,
    work: impl Future<Output = T>,
) -> Result<(T, String)>
where
    N: Fn(&Engine, Range<u64>) -> Result<Batch> + Send + 'static,
{
    let stop = Arc::new(AtomicBool::new(false));
    let loading = tokio::spawn(load(engine.clone(), next, Arc::clone(&stop)));
    let done = work.await;
    stop.store(true, Ordering::Relaxed);
    Ok((done, latencies(loading.await??)))
}

/// A batch at each tick; how long each acknowledgement took, from the tick on, so that one that is
/// late makes the next one late, too.
async fn load<N>(engine: Engine, next: N, stop: Arc<AtomicBool>) -> Result<Vec<Duration>>
where
    N: Fn(&Engine, Range<u64>) -> Result<Batch> + Send,
{
    let (mut took, began) = (Vec::new(), tokio::time::Instant::now());
    for tick in 0.. {
        let due = began + LOAD_PAUSE * tick;
        let from = NEXT.fetch_add(LOAD_ROWS, Ordering::Relaxed);
        let batch = next(&engine, from..from + LOAD_ROWS)?;
        tokio::time::sleep_until(due).await;
        engine.commit(batch, Vec::new(), None).await?;
        took.push(due.elapsed());
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(took)
}

/// Latencies in words.
pub fn latencies(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |share: f64| took.get((took.len().saturating_sub(1) as f64 * share) as usize);
    let [p50, p99, most] = [at(0.5), at(0.99), at(1.0)].map(|at| at.copied().unwrap_or_default());
    format!("p50 {p50:.1?}, p99 {p99:.1?}, most {most:.1?} of {}", took.len())
}

/// A tag that is as random as a pseudonym.
pub fn tag(kind: u64, number: u64) -> Tag {
    let mix = |seed: u64| {
        let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_be_bytes()
    };
    let (high, low) = (mix(number ^ kind << 56), mix(number.rotate_left(32) ^ kind));
    Tag(std::array::from_fn(|at| if at < 8 { high[at] } else { low[at - 8] }))
}
