//! Sends bodies over many connections, on schedule, and keeps the score.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use hyper::{Method, StatusCode};
use indicatif::ProgressBar;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Error;
use super::client::{Answer, Bearer, Call, Client, Endpoint, Retries};
use super::feed::{Body, Encoding, Feed};
use super::schedule::Schedule;

/// How long the server may be away or busy in the middle of a run; a restart fits in.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// How late a timer may fire without that counting as latency; tokio's ticks are a millisecond.
const TIMER_SLACK: Duration = Duration::from_millis(3);

/// What a run does and with whom.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// The server.
    pub(super) endpoint: Endpoint,
    /// The producer token.
    pub(super) bearer: Bearer,
    /// The coding of the bodies.
    pub(super) encoding: Encoding,
    /// When each batch is due.
    pub(super) schedule: Schedule,
    /// How many connections send.
    pub(super) connections: usize,
}

/// The score of a run.
#[derive(Debug)]
pub(super) struct Score {
    /// Requests that were answered.
    pub(super) requests: u64,
    /// Records in them.
    pub(super) records: u64,
    /// Bytes of the bodies as sent.
    pub(super) wire_bytes: u64,
    /// Bytes of the bodies before the coding.
    pub(super) plain_bytes: u64,
    /// Records that the server took.
    pub(super) accepted: u64,
    /// Records that the server had.
    pub(super) duplicates: u64,
    /// Records that the server refused.
    pub(super) rejected: u64,
    /// Records that came too late for their month or their retention.
    pub(super) corrected: u64,
    /// Reason codes of refused records, as far as answers list them.
    pub(super) codes: BTreeMap<String, u64>,
    /// What was sent again.
    pub(super) retries: Retries,
    /// Records in batches that were sent again after a broken connection; they may have been taken
    /// twice, the second time as duplicates.
    pub(super) doubtful: u64,
    /// From the due time (at full speed: from the sending) to the answer, in microseconds.
    pub(super) latency_us: Histogram<u64>,
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
}

impl Score {
    fn new() -> Result<Self, Error> {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
        Ok(Self {
            requests: 0,
            records: 0,
            wire_bytes: 0,
            plain_bytes: 0,
            accepted: 0,
            duplicates: 0,
            rejected: 0,
            corrected: 0,
            codes: BTreeMap::new(),
            retries: Retries::default(),
            doubtful: 0,
            latency_us: latency_us.map_err(|_| Error::Options("no histogram".to_owned()))?,
            elapsed: Duration::ZERO,
        })
    }

    fn note(&mut self, body: &Body, receipt: Receipt, retries: Retries, latency: Duration) {
        self.requests += 1;
        self.records += u64::from(body.records);
        self.wire_bytes += body.bytes.len() as u64;
        self.plain_bytes += body.plain_bytes;
        self.accepted += receipt.accepted;
        self.duplicates += receipt.duplicates;
        self.rejected += receipt.rejected;
        self.corrected += receipt.corrected + receipt.not_retained;
        for error in receipt.errors {
            *self.codes.entry(error.code).or_default() += 1;
        }
        self.retries.throttled += retries.throttled;
        self.retries.broken += retries.broken;
        if retries.broken > 0 {
            self.doubtful += u64::from(body.records);
        }
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX);
        self.latency_us.saturating_record(latency_us.max(1));
    }

    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.records += other.records;
        self.wire_bytes += other.wire_bytes;
        self.plain_bytes += other.plain_bytes;
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.corrected += other.corrected;
        for (code, count) in other.codes {
            *self.codes.entry(code).or_default() += count;
        }
        self.retries.throttled += other.retries.throttled;
        self.retries.broken += other.retries.broken;
        self.doubtful += other.doubtful;
        // Cannot fail: all histograms have the same bounds.
        self.latency_us.add(other.latency_us).ok();
    }
}

/// The answer to a batch, or the problem that lists the same members.
#[derive(Debug, Default, Deserialize)]
struct Receipt {
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    #[serde(default)]
    corrected: u64,
    #[serde(default)]
    not_retained: u64,
    #[serde(default)]
    errors: Vec<Rejection>,
}

#[derive(Debug, Deserialize)]
struct Rejection {
    code: String,
}

/// Sends all bodies of the feed. Returns the score, also when the run was cut short, and the error
/// that cut it.
pub(super) async fn send(
    route: Route,
    feed: Arc<Feed>,
    bar: &ProgressBar,
) -> Result<(Score, Option<Error>), Error> {
    let start = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..route.connections.max(1) {
        let (route, feed, bar) = (route.clone(), Arc::clone(&feed), bar.clone());
        let mut score = Score::new()?;
        connections.spawn(async move {
            let cut = drain(&route, &feed, &bar, start, &mut score).await.err();
            if cut.is_some() {
                feed.stop();
            }
            (score, cut)
        });
    }
    let interrupt = Arc::clone(&feed);
    let watch = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupt.stop();
        }
    });
    let mut total = Score::new()?;
    let mut error = None;
    while let Some(finished) = connections.join_next().await {
        let (score, cut) = finished.map_err(|_| Error::Options("a task panicked".to_owned()))?;
        total.merge(score);
        error = error.or(cut);
    }
    watch.abort();
    total.elapsed = start.elapsed();
    Ok((total, error))
}

async fn drain(
    route: &Route,
    feed: &Feed,
    bar: &ProgressBar,
    start: Instant,
    score: &mut Score,
) -> Result<(), Error> {
    let mut client = Client::new(route.endpoint.clone(), PATIENCE);
    while let Some((number, body)) = feed.next().await {
        let since = match route.schedule.due(number) {
            Some(due) => wait(start + due).await,
            None => Instant::now(),
        };
        let call = Call {
            method: Method::POST,
            path: "/v1/records",
            bearer: &route.bearer,
            media_type: "application/x-ndjson",
            coding: route.encoding.header(),
            body: body.bytes.clone(),
        };
        let (answer, retries) = client.call(&call).await?;
        let latency = since.elapsed();
        score.note(&body, receipt(&answer)?, retries, latency);
        bar.inc(u64::from(body.records));
    }
    Ok(())
}

/// Waits for the due time. Returns when the latency begins: at the due time if it had passed, else
/// at the wake-up, because the timer's granularity is no fault of the server.
async fn wait(due: Instant) -> Instant {
    let early = Instant::now() < due;
    sleep_until(due).await;
    let woken = Instant::now();
    match early && woken < due + TIMER_SLACK {
        true => woken,
        false => due,
    }
}

fn receipt(answer: &Answer) -> Result<Receipt, Error> {
    let doing = "a batch was refused";
    match answer.status {
        StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY => {
            serde_json::from_slice(&answer.body).map_err(|_| Error::refused(doing, answer))
        }
        _ => Err(Error::refused(doing, answer)),
    }
}
