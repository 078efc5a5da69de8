//! The desk for batches of records: from a body to a receipt.
//!
//! decode ([`wire`](crate::wire)) → places and rows without raw ids ([`places`], [`prepare`]) →
//! [`Engine::append`], which answers when the batch is on the disk and counted → receipt.

mod places;
mod prepare;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::crypto;
use crate::engine::{Answer, Engine, EngineError, Outcome};
use crate::model::batch::{Batch, Verdict};
use crate::model::caller::Caller;
use crate::model::limits;
use crate::model::reason::Reason;
use crate::observe::{RecordCounters, RecordOutcome};
use crate::wire::{Attributes, Decoder, Fault, Limits, Media, Receipt, Record, Unfit};
use places::{NoPlace, Places};
use prepare::Rows;

/// The desk's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bounds of a batch.
    pub limits: Limits,
    /// How far ahead `occurred_at` may lie, milliseconds.
    pub future_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { limits: Limits::default(), future_ms: limits::FUTURE_MS_MAX }
    }
}

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    engine: Engine,
    settings: Settings,
    counters: RecordCounters,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Idempotency keys whose first request still runs: producer and key.
    running: Mutex<HashSet<(String, String)>>,
    /// Decoders at rest; each remembers how producers order their members.
    decoders: Mutex<Vec<Decoder>>,
}

/// A batch that was received.
pub struct Post<'a> {
    /// Who sent it.
    pub caller: &'a Caller,
    /// Its format.
    pub media: Media,
    /// The inflated body, which the desk wipes.
    pub body: Vec<u8>,
    /// The key for a safe retry of the whole batch.
    pub idempotency_key: Option<&'a str>,
    /// The `ce-` headers of a CloudEvent in binary mode, names in lower case.
    pub ce_headers: &'a [(String, String)],
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// Every record was judged.
    Receipt {
        /// 200, or 422 when nothing was accepted.
        status: u16,
        /// The answer's JSON.
        body: Vec<u8>,
        /// Whether this is the first answer again.
        replayed: bool,
    },
    /// The body cannot be read as a whole.
    Unreadable,
    /// More records than the limit.
    TooManyRecords,
    /// The queue is full.
    Busy,
    /// The disk is full.
    DiskFull,
    /// The engine has stopped.
    Stopped,
    /// The key was used with another body.
    IdempotencyMismatch,
    /// The first request with this key still runs.
    IdempotencyRunning,
}

impl From<EngineError> for Posted {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy => Self::Busy,
            EngineError::DiskFull => Self::DiskFull,
            _ => Self::Stopped,
        }
    }
}

impl From<Unfit> for Posted {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Unreadable => Self::Unreadable,
            Unfit::TooMany => Self::TooManyRecords,
        }
    }
}

/// A body that was decoded: the rows for the engine, and what was refused on the way.
struct Prepared {
    batch: Batch,
    draft: Draft,
}

/// The receipt of a batch before the engine has judged.
#[derive(Default)]
struct Draft {
    receipt: Receipt,
    /// The position in the body of each row of the batch.
    indexes: Vec<u32>,
    /// Event ids of records over the accepted age, by position: the engine refuses what it has
    /// not seen before.
    old: Vec<(u32, String)>,
}

impl Ingest {
    /// The desk before an engine.
    pub fn new(engine: Engine, settings: Settings, counters: RecordCounters) -> Self {
        Self { engine, settings, counters, shared: Arc::default() }
    }

    /// Takes a batch: answers when everything accepted is durable and counted.
    pub async fn post(&self, post: Post<'_>) -> Posted {
        match post.idempotency_key {
            Some(key) => {
                let name = (post.caller.producer.clone(), key.to_owned());
                let Some(_running) = Running::begin(&self.shared, &name) else {
                    return Posted::IdempotencyRunning;
                };
                self.post_once(post, name).await
            }
            None => self.post_plain(post).await,
        }
    }

    async fn post_plain(&self, post: Post<'_>) -> Posted {
        let Prepared { batch, draft } = match self.prepare(post) {
            Ok(prepared) => prepared,
            Err(posted) => return posted,
        };
        if batch.claims.is_empty() {
            return self.counted(&draft, &nothing());
        }
        match self.engine.append(batch, None).await {
            Ok(outcome) => self.counted(&draft, &outcome),
            Err(error) => error.into(),
        }
    }

    /// The answer, counted.
    fn counted(&self, draft: &Draft, outcome: &Outcome) -> Posted {
        let receipt = draft.judged(outcome);
        self.counters.add(RecordOutcome::Accepted, receipt.accepted);
        self.counters.add(RecordOutcome::Duplicate, receipt.duplicates);
        let late = receipt.rejected - draft.receipt.rejected;
        self.counters.rejected(place_of(Reason::TooOld), late);
        posted(&receipt)
    }

    /// As [`Ingest::post_plain`], but the answer is kept with the batch, and given again to the
    /// same body.
    async fn post_once(&self, post: Post<'_>, (producer, key): (String, String)) -> Posted {
        let body_digest = crypto::digest(&post.body);
        match self.engine.kept_answer(&producer, &key) {
            Ok(None) => {}
            Ok(Some((digest, body))) if crypto::equal(&digest, &body_digest) => {
                return Posted::Receipt { status: 200, body, replayed: true };
            }
            Ok(Some(_)) => return Posted::IdempotencyMismatch,
            Err(error) => return error.into(),
        }
        let Prepared { batch, draft } = match self.prepare(post) {
            Ok(prepared) => prepared,
            Err(posted) => return posted,
        };
        let draft = Arc::new(draft);
        let render = {
            let draft = Arc::clone(&draft);
            move |outcome: &Outcome| match posted(&draft.judged(outcome)) {
                Posted::Receipt { status: 200, body, .. } => Some(body),
                _ => None,
            }
        };
        let answer = Answer { producer, key, body_digest, render: Box::new(render) };
        match self.engine.append(batch, Some(answer)).await {
            Ok(outcome) => self.counted(&draft, &outcome),
            Err(error) => error.into(),
        }
    }

    /// Decodes a body and replaces every id. The body is wiped when this returns.
    fn prepare(&self, post: Post<'_>) -> Result<Prepared, Posted> {
        let mut body = Zeroizing::new(post.body);
        // About 400 bytes a record is usual; a wrong guess costs an allocation.
        let rows = Rows::with_capacity(body.len() / 350 + 1);
        let places = Places::new(&self.engine, post.caller, self.settings.future_ms);
        let mut desk = Desk {
            engine: &self.engine,
            counters: &self.counters,
            places,
            rows,
            draft: Draft::default(),
            failed: None,
        };
        let mut decoder = self.decoder();
        let mut each =
            |index: usize, record: Result<&Record<'_>, Fault<'_>>| desk.take(index, record);
        let headers = post.ce_headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let attributes = match post.media {
            Media::Json => Attributes::from_headers(headers),
            _ => None,
        };
        let received = match &attributes {
            Some(attributes) => decoder.decode_binary(attributes, &mut body, &mut each),
            None => decoder.decode(post.media, &mut body, &mut each),
        };
        self.shared.decoders.lock().unwrap_or_else(PoisonError::into_inner).push(decoder);
        desk.draft.receipt.received = received? as u64;
        if let Some(error) = desk.failed {
            return Err(error.into());
        }
        let (batch, indexes) = desk.rows.finish();
        desk.draft.indexes = indexes;
        Ok(Prepared { batch, draft: desk.draft })
    }

    fn decoder(&self) -> Decoder {
        let known = self.shared.decoders.lock().unwrap_or_else(PoisonError::into_inner).pop();
        known.unwrap_or_else(|| Decoder::new(self.settings.limits))
    }
}

/// One body on its way through.
struct Desk<'e> {
    engine: &'e Engine,
    counters: &'e RecordCounters,
    places: Places<'e>,
    rows: Rows,
    draft: Draft,
    failed: Option<EngineError>,
}

impl Desk<'_> {
    fn take(&mut self, index: usize, record: Result<&Record<'_>, Fault<'_>>) {
        let record = match record {
            Ok(record) => record,
            Err(fault) => return self.reject(index, &fault),
        };
        let place =
            self.places.producer_of(record).map_err(NoPlace::from).and_then(|producer| {
                self.places.of(record, producer).map(|place| (producer, place))
            });
        match place {
            Ok((producer, (month, day))) => {
                let place = (self.places.month(month), self.places.day(day));
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                if self.places.is_old(record) {
                    let event_id = String::from_utf8_lossy(record.event_id).into_owned();
                    self.draft.old.push((index, event_id));
                }
                self.rows.add(index, record, producer, place, self.engine.ring());
            }
            Err(NoPlace::Refused(reason)) => {
                self.reject(index, &record.fault(reason));
            }
            Err(NoPlace::Failed(error)) => self.failed = Some(error),
        }
    }

    fn reject(&mut self, index: usize, fault: &Fault<'_>) {
        self.counters.rejected(place_of(fault.reason), 1);
        self.draft.receipt.reject(index, fault);
    }
}

/// The outcome of a batch without rows.
fn nothing() -> Outcome {
    Outcome { receipt: "r-0-0".to_owned(), verdicts: Vec::new() }
}

impl Draft {
    /// The receipt, once the engine has judged.
    fn judged(&self, outcome: &Outcome) -> Receipt {
        let count = |wanted| outcome.verdicts.iter().filter(|v| **v == wanted).count() as u64;
        let mut receipt = self.receipt.clone();
        receipt.receipt.clone_from(&outcome.receipt);
        receipt.corrected = count(Verdict::Correction);
        receipt.not_retained = count(Verdict::NotRetained);
        receipt.accepted = count(Verdict::Accepted) + receipt.corrected + receipt.not_retained;
        receipt.duplicates = count(Verdict::Duplicate);
        if count(Verdict::TooOld) > 0 {
            let late = outcome.verdicts.iter().zip(&self.indexes);
            for (_, index) in late.filter(|(verdict, _)| **verdict == Verdict::TooOld) {
                let known = self.old.iter().find(|(old, _)| old == index);
                let event_id = known.map_or("", |(_, event_id)| event_id);
                receipt.reject_late(*index as usize, Reason::TooOld, "/occurred_at", event_id);
            }
            receipt.sort();
        }
        receipt
    }
}

fn posted(receipt: &Receipt) -> Posted {
    let (status, body) = if receipt.is_success() {
        (200, receipt.to_json().into_bytes())
    } else {
        (422, receipt.to_problem().to_json())
    };
    Posted::Receipt { status, body, replayed: false }
}

/// The place of a reason in the closed list; codes begin at one.
fn place_of(reason: Reason) -> usize {
    usize::from(reason.code()) - 1
}

/// Marks an idempotency key as running until it is dropped.
struct Running<'a> {
    shared: &'a Shared,
    name: (String, String),
}

impl<'a> Running<'a> {
    fn begin(shared: &'a Shared, name: &(String, String)) -> Option<Self> {
        let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(name.clone()).then(|| Self { shared, name: name.clone() })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.name);
    }
}
