//! `POST /v1/records`: body to the ingest desk, verdicts to the client.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use zeroize::Zeroizing;

use super::answer::{Answer, JSON, answer, set};
use super::body::{BodyError, Budget, Buffer, Share};
use super::inflate::Coding;
use super::key;
use super::problem::{Kind, PROBLEM_JSON, Refusal};
use super::query::Query;
use super::service::{Incoming, Service, one};
use crate::crypto::WipedVec;
use crate::ingest::{Ingest, Post, Posted};
use crate::model::caller::Caller;
use crate::model::limits;
use crate::wire::Media;

/// Largest body that is inflated on the reactor, bytes; a larger one would hold up its neighbors.
const INFLATE_INLINE_BYTES: usize = 16 << 10;
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A batch on its way to the desk; it owns everything, since its task outlives the connection.
pub struct Delivery {
    /// Who sent it.
    pub caller: Caller,
    /// The backfill that it is for.
    pub backfill: Option<u64>,
    /// The format of the body.
    pub media: Media,
    /// The inflated body.
    pub body: WipedVec,
    /// The key for a safe retry of the whole batch; wiped, since a producer may have put an id in.
    pub idempotency_key: Option<Zeroizing<String>>,
    /// The `ce-` headers of a CloudEvent in binary mode, names in lower case; wiped as well.
    pub ce_headers: Vec<CeHeader>,
}

/// A header of a CloudEvent in binary mode: its name in lower case, and its value.
pub type CeHeader = (String, Zeroizing<String>);

/// The desk's answer to come.
pub type Answering = Pin<Box<dyn Future<Output = Posted> + Send>>;

/// The count of an unreadable request to come; else what to answer.
pub type Counting = Pin<Box<dyn Future<Output = Result<(), Posted>> + Send>>;

/// The ingest desk as the server sees it.
pub trait Intake: Send + Sync + 'static {
    /// Takes a batch; the future is run to its end even when the client is gone.
    fn post(&self, delivery: Delivery) -> Answering;

    /// Counts a request whose body never became a batch (400, 413, 415), for the reconciliation.
    fn unreadable(&self, caller: &Caller) -> Counting;

    /// The receipt that is kept for an `Idempotency-Key` of the caller.
    fn receipt(&self, caller: &Caller, key: &str) -> Posted;
}

impl Intake for Ingest {
    fn post(&self, mut delivery: Delivery) -> Answering {
        let desk = self.clone();
        Box::pin(async move {
            let post = Post {
                caller: &delivery.caller,
                media: delivery.media,
                body: std::mem::take(&mut delivery.body),
                idempotency_key: delivery.idempotency_key.as_ref().map(|key| key.as_str()),
                ce_headers: &delivery.ce_headers,
            };
            match delivery.backfill {
                Some(number) => desk.load(post, number).await,
                None => desk.post(post).await,
            }
        })
    }

    fn unreadable(&self, caller: &Caller) -> Counting {
        let (desk, caller) = (self.clone(), Arc::clone(caller));
        Box::pin(async move { desk.unreadable(&caller).await })
    }

    fn receipt(&self, caller: &Caller, key: &str) -> Posted {
        Self::receipt(self, caller, key)
    }
}

impl Service {
    /// Answers a post of records, into a backfill where one is named.
    pub(super) async fn post_records(
        self: &Arc<Self>,
        caller: &Caller,
        backfill: Option<u64>,
        (parts, body): (&Parts, &mut Incoming),
    ) -> Result<Answer, Refusal> {
        let taken = async {
            let (delivery, share) = self.read_delivery(caller, parts, body).await?;
            self.hand_over(Delivery { backfill, ..delivery }, share).await
        };
        let refusal = match taken.await {
            Ok(answer) => return Ok(answer),
            Err(refusal) => refusal,
        };
        if matches!(refusal.status().as_u16(), 400 | 413 | 415) {
            self.counters().unreadable();
            self.count_unreadable(caller).await?;
        }
        Err(refusal)
    }

    /// Waits until an unreadable request is counted for good: a figure that a crash takes back
    /// would not be what the producer was told.
    async fn count_unreadable(&self, caller: &Caller) -> Result<(), Refusal> {
        let counting = self.desks().intake.unreadable(caller);
        match tokio::time::timeout(self.settings().deadlines.answer, counting).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(posted)) => receipt(posted).map(|_| ()),
            Err(_) => Err(Kind::SlowAnswer.into()),
        }
    }

    /// Answers a question for a receipt.
    pub(super) async fn kept_receipt(
        self: &Arc<Self>,
        caller: &Caller,
        parts: &Parts,
    ) -> Result<Answer, Refusal> {
        Query::parse(parts.uri.query(), &[]).ok_or(Kind::BadQuery)?;
        let key = idempotency_key(&parts.headers)?.ok_or(Kind::BadIdempotencyKey)?;
        let (desk, caller) = (Arc::clone(&self.desks().intake), Arc::clone(caller));
        let asked = tokio::task::spawn_blocking(move || desk.receipt(&caller, &key)).await;
        receipt(asked.map_err(|_| Kind::Internal)?)
    }

    async fn read_delivery(
        self: &Arc<Self>,
        caller: &Caller,
        parts: &Parts,
        body: &mut Incoming,
    ) -> Result<(Delivery, Share), Refusal> {
        let headers = &parts.headers;
        let media = media(headers)?;
        let coding = Coding::from_headers(headers).ok_or(Kind::UnsupportedCoding)?;
        let idempotency_key = idempotency_key(headers)?;
        let ce_headers = ce_headers(headers)?;
        let caps = (self.settings().encoded_body_bytes_max, self.settings().body_bytes_max);
        let plain = self.inflated(body, coding, caps, self.budget()).await?;
        // The body may have come a minute after its head: what was proven then may have ended.
        self.desks().tokens.still_valid(caller)?;
        let (body, share) = plain.into_parts();
        let caller = Arc::clone(caller);
        let backfill = None;
        Ok((Delivery { caller, backfill, media, body, idempotency_key, ce_headers }, share))
    }

    /// Reads a body under its two caps, as sent and inflated, and a budget for both.
    pub(super) async fn inflated(
        &self,
        body: &mut Incoming,
        coding: Coding,
        (coded_max, plain_max): (usize, usize),
        budget: &Budget,
    ) -> Result<Buffer, Refusal> {
        let coded = self.collect(body, coded_max, budget).await?;
        match coding {
            Coding::Identity if coded.as_slice().len() <= plain_max => Ok(coded),
            Coding::Identity => Err(BodyError::TooLarge.into()),
            Coding::Gzip | Coding::Zstd => {
                let plain = Buffer::new(plain_max, budget.share());
                if coded.as_slice().len() <= INFLATE_INLINE_BYTES {
                    return Ok(coding.inflate(coded.as_slice(), plain)?);
                }
                let inflating = move || coding.inflate(coded.as_slice(), plain);
                let inflated = tokio::task::spawn_blocking(inflating).await;
                Ok(inflated.map_err(|_| Kind::Internal)??)
            }
        }
    }

    /// Gives the batch to the desk in a task of its own. From here on the client may hang up: the
    /// batch still goes its whole way, and a retry of it meets its duplicates.
    async fn hand_over(
        self: &Arc<Self>,
        delivery: Delivery,
        share: Share,
    ) -> Result<Answer, Refusal> {
        let desk = Arc::clone(&self.desks().intake);
        // The server does not end before its last batch is answered for (or the drain deadline).
        let holds_server = self.hold();
        let answering = tokio::spawn(async move {
            let posted = desk.post(delivery).await;
            drop((share, holds_server));
            posted
        });
        let deadline = self.settings().deadlines.answer;
        match tokio::time::timeout(deadline, answering).await {
            Ok(Ok(posted)) => receipt(posted),
            Ok(Err(_)) => Err(Kind::Internal.into()),
            Err(_) => Err(Kind::SlowAnswer.into()),
        }
    }
}

fn receipt(posted: Posted) -> Result<Answer, Refusal> {
    let (status, body, replayed) = match posted {
        Posted::Receipt { status, body, replayed } => (status, body, replayed),
        Posted::Unreadable => return Err(Kind::Unreadable.into()),
        Posted::TooManyRecords => return Err(Kind::TooManyRecords.into()),
        Posted::Busy => return Err(Kind::Busy.into()),
        Posted::DiskFull => return Err(Kind::DiskFull.into()),
        Posted::Stopped => return Err(Kind::Stopped.into()),
        Posted::IdempotencyMismatch => return Err(Kind::IdempotencyMismatch.into()),
        Posted::IdempotencyRunning => return Err(Kind::IdempotencyRunning.into()),
        Posted::NoReceipt => return Err(Kind::NotFound.into()),
        Posted::BackfillNotOpen => return Err(Kind::BackfillNotOpen.into()),
        Posted::BackfillFull => return Err(Kind::BackfillFull.into()),
    };
    let mut receipt = match status {
        200 => answer(StatusCode::OK, JSON, body),
        _ => answer(StatusCode::UNPROCESSABLE_ENTITY, PROBLEM_JSON, body),
    };
    if replayed {
        set(&mut receipt, IDEMPOTENT_REPLAYED, "true");
    }
    Ok(receipt)
}

/// The format of the body. A CloudEvent in binary mode, known by its `ce-id`, has data of any JSON
/// type, and data without a type is JSON (CloudEvents HTTP binding §3.1).
pub(super) fn media(headers: &HeaderMap) -> Result<Media, Refusal> {
    let content_type = one(headers, &CONTENT_TYPE).map_err(|_| Kind::UnsupportedMedia)?;
    let content_type = content_type.unwrap_or_default();
    let found = Media::parse(content_type).or_else(|| {
        let essence = content_type.split(|byte| *byte == b';').next()?.trim_ascii();
        let lower = essence.to_ascii_lowercase();
        let json = lower.is_empty() || lower == b"text/json" || lower.ends_with(b"+json");
        (json && headers.contains_key("ce-id")).then_some(Media::Json)
    });
    found.ok_or_else(|| Kind::UnsupportedMedia.into())
}

/// Reads `Idempotency-Key`.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<Zeroizing<String>>, Refusal> {
    key::read(headers, limits::IDEMPOTENCY_KEY_BYTES_MAX)
        .map_err(|_| Kind::BadIdempotencyKey.into())
}

/// The `ce-` headers, for CloudEvents in binary mode.
fn ce_headers(headers: &HeaderMap) -> Result<Vec<CeHeader>, Refusal> {
    let mut found = Vec::new();
    for (name, value) in headers {
        if name.as_str().starts_with("ce-") {
            let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Kind::Unreadable)?;
            found.push((name.as_str().to_owned(), Zeroizing::new(text.to_owned())));
        }
    }
    Ok(found)
}
