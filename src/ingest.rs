//! The desk for batches of records: from a body to a receipt.
//!
//! decode ([`wire`](crate::wire)) → places and rows without raw ids ([`places`], [`prepare`]) →
//! [`Engine::commit`], which answers when the batch is on the disk and counted → receipt.

mod aside;
mod late;
mod places;
mod prepare;
mod senders;

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::crypto::{self, WipedVec};
use crate::engine::backfill::Loading;
use crate::engine::{Answer, Engine, EngineError, MonthSeen, Outcome};
use crate::model::batch::{Batch, Verdict};
use crate::model::caller::{Caller, SiteScope};
use crate::model::ids::SiteId;
use crate::model::limits;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::observe::{RecordCounters, RecordOutcome};
use crate::store::backfill::MARK_BYTES;
use crate::wire::{Attributes, Decoder, Fault, Limits, Media, Receipt, Record, Unfit};
use places::{NoPlace, Places};
use prepare::Rows;
use senders::{Credentials, Senders};

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

struct Shared {
    /// Idempotency keys whose first request still runs.
    running: Mutex<HashSet<KeyName>>,
    /// What each credential is known by in the reconciliation.
    credentials: Credentials,
    /// Decoders at rest; each remembers how producers order their members.
    decoders: Mutex<Vec<Decoder>>,
    /// How many large bodies may be decoded at once.
    large: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        // As many as there are processors: more would only keep each other, and everybody else,
        // waiting.
        let at_once = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            running: Mutex::default(),
            credentials: Credentials::default(),
            decoders: Mutex::default(),
            large: Semaphore::new(at_once),
        }
    }
}

/// What an `Idempotency-Key` is known by: digests of its scope (docs/decisions/0011) and of its
/// value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct KeyName {
    scope: [u8; 32],
    key: [u8; 32],
}

impl KeyName {
    fn new(caller: &Caller, key: &str) -> Self {
        // Lengths before the texts, and ids that hold neither a comma nor a star.
        let sites: Vec<&str> = match &caller.sites {
            SiteScope::All => vec!["*"],
            SiteScope::Some(sites) => sites.iter().map(SiteId::as_str).collect(),
        };
        let producer = &caller.producer;
        let scope = format!("{}:{producer}:{}", producer.len(), sites.join(","));
        Self { scope: crypto::digest(scope.as_bytes()), key: crypto::digest(key.as_bytes()) }
    }
}

/// Largest body that is decoded on the reactor, bytes: about a thousand records, half a
/// millisecond. A larger one would hold up its neighbors.
const DECODE_INLINE_BYTES: usize = 512 << 10;

/// A batch that was received.
pub struct Post<'a> {
    /// Who sent it.
    pub caller: &'a Caller,
    /// Its format.
    pub media: Media,
    /// The inflated body.
    pub body: WipedVec,
    /// The key for a safe retry of the whole batch.
    pub idempotency_key: Option<&'a str>,
    /// The `ce-` headers of a CloudEvent in binary mode, names in lower case.
    pub ce_headers: &'a [(String, Zeroizing<String>)],
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
    /// No receipt is kept for the key.
    NoReceipt,
    /// The backfill takes no records any more.
    BackfillNotOpen,
    /// The backfill would hold more than it may.
    BackfillFull,
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
    /// The months of its rows as they were when the rows were made.
    months: Vec<MonthSeen>,
    draft: Draft,
    /// The marks of its events, where it is for a backfill.
    marks: Vec<[u8; MARK_BYTES]>,
}

/// The receipt of a batch before the engine has judged.
#[derive(Default)]
struct Draft {
    receipt: Receipt,
    /// The position in the body of each row of the batch.
    indexes: Vec<u32>,
    /// Records over the accepted age: the engine refuses what it has not seen before.
    old: Vec<Old>,
}

/// A record over the accepted age.
struct Old {
    index: u32,
    event_id: String,
    /// Where its time stands.
    pointer: String,
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
                let name = KeyName::new(post.caller, key);
                let Some(_running) = Running::begin(&self.shared, name) else {
                    return Posted::IdempotencyRunning;
                };
                self.post_once(post, name).await
            }
            None => self.post_plain(post).await,
        }
    }

    async fn post_plain(&self, post: Post<'_>) -> Posted {
        let bytes = post.body.len();
        let Prepared { batch, months, draft, .. } =
            match off_reactor(&self.shared.large, bytes, || self.prepare(post, None)).await {
                Ok(prepared) => prepared,
                Err(posted) => return posted,
            };
        if batch.claims.is_empty() && batch.arrival.senders.is_empty() {
            return self.counted(&draft, &nothing(self.engine.clock().now()));
        }
        match self.engine.commit(batch, months, None).await {
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
    async fn post_once(&self, post: Post<'_>, name: KeyName) -> Posted {
        let bytes = post.body.len();
        let body_digest = off_reactor(&self.shared.large, bytes, || digest_of(&post)).await;
        match self.engine.kept_answer(&name.scope, &name.key) {
            Ok(None) => {}
            Ok(Some((digest, body))) if crypto::equal(&digest, &body_digest) => {
                return Posted::Receipt { status: 200, body, replayed: true };
            }
            Ok(Some(_)) => return Posted::IdempotencyMismatch,
            Err(error) => return error.into(),
        }
        let Prepared { batch, months, draft, .. } =
            match off_reactor(&self.shared.large, bytes, || self.prepare(post, None)).await {
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
        let KeyName { scope, key } = name;
        let answer = Answer { scope, key, body_digest, render: Box::new(render) };
        match self.engine.commit(batch, months, Some(answer)).await {
            Ok(outcome) => self.counted(&draft, &outcome),
            Err(error) => error.into(),
        }
    }

    /// Decodes a body and replaces every id. The body is wiped when this returns.
    fn prepare(&self, mut post: Post<'_>, target: Option<&Loading>) -> Result<Prepared, Posted> {
        let body = &mut post.body;
        // About 400 bytes a record is usual; a wrong guess costs an allocation.
        let rows = Rows::with_capacity(body.len() / 350 + 1);
        let places = Places::new(&self.engine, post.caller, self.settings.future_ms, target);
        let mut desk = Desk {
            engine: &self.engine,
            counters: &self.counters,
            places,
            rows,
            senders: Senders::new(
                self.shared.credentials.of(post.caller),
                post.caller.producers.is_some(),
            ),
            draft: Draft::default(),
            marks: Vec::new(),
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
            Some(attributes) => decoder.decode_binary(attributes, body, &mut each),
            None => decoder.decode(post.media, body, &mut each),
        };
        self.shared.decoders.lock().unwrap_or_else(PoisonError::into_inner).push(decoder);
        desk.draft.receipt.received = received? as u64;
        if let Some(posted) = desk.failed {
            return Err(posted);
        }
        let (mut batch, indexes) = desk.rows.finish();
        batch.arrival = desk.senders.finish();
        batch.suppressions = desk.places.suppressions();
        desk.draft.indexes = indexes;
        let (months, marks) = (desk.places.months_seen(), desk.marks);
        Ok(Prepared { batch, months, draft: desk.draft, marks })
    }

    fn decoder(&self) -> Decoder {
        let known = self.shared.decoders.lock().unwrap_or_else(PoisonError::into_inner).pop();
        known.unwrap_or_else(|| Decoder::new(self.settings.limits))
    }
}

/// Does what takes a large body long without holding up other connections.
async fn off_reactor<T>(large: &Semaphore, bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes <= DECODE_INLINE_BYTES {
        return work();
    }
    // Closed never; and without a permit the work is still right.
    let _permit = large.acquire().await;
    match Handle::current().runtime_flavor() {
        // Another thread takes over this one's other tasks.
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// One body on its way through.
struct Desk<'e> {
    engine: &'e Engine,
    counters: &'e RecordCounters,
    places: Places<'e>,
    rows: Rows,
    senders: Senders,
    draft: Draft,
    marks: Vec<[u8; MARK_BYTES]>,
    failed: Option<Posted>,
}

impl Desk<'_> {
    fn take(&mut self, index: usize, record: Result<&Record<'_>, Fault<'_>>) {
        let record = match record {
            Ok(record) => record,
            // How far it could be read hangs on the order of its members.
            Err(fault) => return self.reject(index, None, &fault),
        };
        let producer = match self.places.producer_of(record) {
            Ok(producer) => producer,
            // A name that the credential may not use is not written down.
            Err(reason) => return self.reject(index, None, &record.fault(reason)),
        };
        match self.places.of(record, producer) {
            Ok((month, day)) => {
                let place = (self.places.month(month), self.places.day(day));
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                if self.places.is_old(record) {
                    let event_id = String::from_utf8_lossy(record.event_id).into_owned();
                    let pointer = record.fault(Reason::TooOld).pointer.to_string();
                    self.draft.old.push(Old { index, event_id, pointer });
                }
                self.marks.extend(self.places.mark_of(record, producer));
                self.senders.row(producer);
                let added = self.rows.add(index, record, producer, place, self.engine.ring());
                if added.is_none() {
                    self.failed = Some(Posted::TooManyRecords);
                }
            }
            Err(NoPlace::Refused(reason)) => {
                self.reject(index, Some(producer), &record.fault(reason));
            }
            Err(NoPlace::Failed(error)) => self.failed = Some(error.into()),
        }
    }

    fn reject(&mut self, index: usize, producer: Option<&[u8]>, fault: &Fault<'_>) {
        self.senders.reject(producer, fault.reason);
        self.counters.rejected(place_of(fault.reason), 1);
        self.draft.receipt.reject(index, fault);
    }
}

/// The outcome of a batch without rows. Its receipt is a random one, since nothing was written that
/// could be numbered; a caller may still file it under its own.
fn nothing(now: Timestamp) -> Outcome {
    let number = crypto::random_bytes::<8>();
    let digits: String = number.iter().map(|byte| format!("{byte:02x}")).collect();
    Outcome { receipt: format!("n-{digits}"), judged_at: now, verdicts: Vec::new() }
}

impl Draft {
    /// The receipt, once the engine has judged.
    fn judged(&self, outcome: &Outcome) -> Receipt {
        let count = |wanted| outcome.verdicts.iter().filter(|v| **v == wanted).count() as u64;
        let mut receipt = self.receipt.clone();
        receipt.receipt.clone_from(&outcome.receipt);
        receipt.received_at = outcome.judged_at.to_string();
        let both = count(Verdict::CorrectionNotRetained);
        receipt.corrected = count(Verdict::Correction) + both;
        receipt.not_retained = count(Verdict::NotRetained) + both;
        receipt.accepted =
            count(Verdict::Accepted) + receipt.corrected + count(Verdict::NotRetained);
        receipt.duplicates = count(Verdict::Duplicate);
        if count(Verdict::TooOld) > 0 {
            let late = outcome.verdicts.iter().zip(&self.indexes);
            for (_, index) in late.filter(|(verdict, _)| **verdict == Verdict::TooOld) {
                let known = self.old.iter().find(|old| old.index == *index);
                let event_id = known.map_or("", |old| &old.event_id);
                let pointer = known.map_or("/occurred_at", |old| &old.pointer);
                receipt.reject_late(*index as usize, Reason::TooOld, pointer, event_id);
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

/// A digest of everything that makes two requests the same: the format, the attributes of a
/// CloudEvent in binary mode, and the body.
fn digest_of(post: &Post<'_>) -> [u8; 32] {
    let mut parts = Zeroizing::new(Vec::with_capacity(
        64 + post
            .ce_headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 16)
            .sum::<usize>(),
    ));
    let mut part = |bytes: &[u8]| {
        parts.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        parts.extend_from_slice(bytes);
    };
    part(post.media.name().as_bytes());
    // Headers of different names may come in any order.
    let mut headers: Vec<_> = post.ce_headers.iter().collect();
    headers.sort_by(|(left, _), (right, _)| left.cmp(right));
    for (name, value) in headers {
        part(name.as_bytes());
        part(value.as_bytes());
    }
    part(&crypto::digest(&post.body));
    crypto::digest(&parts)
}

/// Marks an idempotency key as running until it is dropped.
struct Running<'a> {
    shared: &'a Shared,
    name: KeyName,
}

impl<'a> Running<'a> {
    fn begin(shared: &'a Shared, name: KeyName) -> Option<Self> {
        let mut running = shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Not made where it is not there: its drop takes the lock.
        running.insert(name).then(|| Self { shared, name })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::erase::Order;
    use crate::engine::fake;
    use crate::identity::{Job, PseudonymQueue, RawId, UserRules};
    use crate::model::caller::{Role, Token};
    use crate::model::pseudonym::{Algorithm, UserForm};
    use crate::model::rules::RuleSet;
    use crate::model::site::SiteSettings;
    use crate::model::time::Timestamp;
    use std::sync::mpsc;
    use std::time::Duration;

    struct Fixed;

    impl crate::model::time::Clock for Fixed {
        /// 2026-11-22T04:16:00Z.
        fn now(&self) -> Timestamp {
            Timestamp(1_795_320_960_000)
        }
    }

    /// A desk over an engine of its own with the site `A`.
    async fn desk(dir: &std::path::Path) -> Ingest {
        let data = crate::store::Settings { data: dir.join("data"), block_cache_bytes: 1 << 20 };
        let store = crate::store::Store::open(&data).unwrap();
        let keys = crate::keys::Settings::in_dir(dir.join("keys"));
        let (ring, _) = crate::keys::KeyRing::open(&keys).unwrap();
        let engine = Engine::open(store, ring, Default::default(), Arc::new(Fixed)).unwrap();
        engine.put_site(SiteId::parse(b"A").unwrap(), SiteSettings::default()).await.unwrap();
        let reasons = Reason::ALL.iter().map(|reason| reason.name());
        let counters = RecordCounters::register(&crate::observe::Registry::default(), reasons);
        Ingest::new(engine, Settings::default(), counters)
    }

    /// While the first request of a key waits in the middle of its work, everybody else with that
    /// key is told so, with the same body or another; then it is answered, and answered again.
    #[tokio::test]
    async fn a_key_whose_first_request_runs_is_refused_and_then_replayed() {
        let dir = tempfile::tempdir().unwrap();
        let desk = desk(dir.path()).await;
        let caller = crate::admin::fake::caller(Role::Producer, SiteScope::All);
        let body = |event: &str| {
            let mut body = format!(
                r#"{{"event_id":"{event}","type":"drm.license.issued","site_id":"A",
                "occurred_at":"2026-11-22T04:16:00Z","outcome":"success","user_id":"u"}}"#
            )
            .replace('\n', "");
            // So large that it needs a permit.
            body.push_str(&"\n".repeat(DECODE_INLINE_BYTES));
            WipedVec::from(body.into_bytes())
        };
        let post = |event: &str, key| {
            let (media, caller, body) = (Media::NdJson, &caller, body(event));
            desk.post(Post { caller, media, body, idempotency_key: key, ce_headers: &[] })
        };
        let permits = u32::try_from(desk.shared.large.available_permits()).unwrap();
        let gate = desk.shared.large.acquire_many(permits).await.unwrap();
        let mut first = std::pin::pin!(post("1", Some("k")));
        tokio::select! {
            biased;
            early = &mut first => panic!("the gate is open: {early:?}"),
            () = std::future::ready(()) => {}
        }
        for event in ["1", "2"] {
            assert_eq!(post(event, Some("k")).await, Posted::IdempotencyRunning);
        }
        assert_eq!(desk.receipt(&caller, "k"), Posted::IdempotencyRunning);
        drop(gate);
        let Posted::Receipt { status: 200, body, replayed: false } = first.await else {
            panic!("no receipt");
        };
        let again = Posted::Receipt { status: 200, body, replayed: true };
        assert_eq!(post("1", Some("k")).await, again);
        assert_eq!(post("2", Some("k")).await, Posted::IdempotencyMismatch);
        desk.engine.stop();
    }

    /// A month that closed under rules which this program does not have is counted by no others.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_month_of_rules_that_are_not_known_takes_nothing_late() {
        let dir = tempfile::tempdir().unwrap();
        let desk = desk(dir.path()).await;
        let site = SiteId::parse(b"A").unwrap();
        let caller = crate::admin::fake::caller(Role::Producer, SiteScope::All);
        let post = |event: &str| {
            let body = format!(
                "{{\"event_id\":\"{event}\",\"type\":\"drm.license.issued\",\"site_id\":\"A\",\
                 \"occurred_at\":\"2026-11-22T04:16:00Z\",\"outcome\":\"success\",\
                 \"user_id\":\"u\"}}"
            );
            let (media, body) = (Media::NdJson, WipedVec::from(body.into_bytes()));
            desk.post(Post { caller: &caller, media, body, idempotency_key: None, ce_headers: &[] })
        };
        let answer = |posted: Posted| match posted {
            Posted::Receipt { status, body, .. } => {
                (status, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
            }
            other => panic!("no receipt: {other:?}"),
        };
        assert_eq!(answer(post("1").await).0, 200);
        for (rules, status) in [(RuleSet::CURRENT, 200), (RuleSet::of(2), 422)] {
            fake::closed_under(&desk.engine, &site, rules);
            let (found, said) = answer(post(&format!("late {rules}").replace(' ', "-")).await);
            assert_eq!(found, status, "{rules}: {said}");
            if status == 422 {
                assert_eq!(said["errors"][0]["code"], "too_old");
            }
        }
        desk.engine.stop();
    }

    /// A person whose row is from before there were forms of user ids: the id itself is found under
    /// any form, what only folds to it is not.
    #[tokio::test(flavor = "multi_thread")]
    async fn whom_only_the_exact_form_is_known_of_is_found_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let desk = desk(dir.path()).await;
        let site = SiteId::parse(b"A").unwrap();
        let user_form = UserForm { lower: true, ..UserForm::default() };
        let settings = SiteSettings { user_form, ..SiteSettings::default() };
        desk.engine.put_site(site.clone(), settings).await.unwrap();
        let keys = desk.engine.ring().suppression(&site).unwrap();
        let mut queue = PseudonymQueue::default();
        let user = UserRules::exact(RawId::new(b"Viewer"));
        let slot = queue.push_user(keys.base.under(Algorithm::HmacSha256), &user);
        queue.run();
        let suppress = queue.tags(&[Job { slot, key: 0 }], &[&keys.tag]);
        desk.engine.hide(&site, Order { number: 1, suppress, ..Order::default() }).await.unwrap();
        assert!(desk.engine.suppressed(desk.engine.site(&site).unwrap().no).unwrap().only_exact);
        let caller = crate::admin::fake::caller(Role::Producer, SiteScope::All);
        for (user, lost) in [("Viewer", true), ("viewer", false), ("VIEWER", false)] {
            let body = format!(
                "{{\"event_id\":\"{user}\",\"type\":\"drm.license.issued\",\"site_id\":\"A\",\
                 \"occurred_at\":\"2026-11-22T04:16:00Z\",\"outcome\":\"success\",\
                 \"user_id\":\"{user}\"}}"
            );
            let body = WipedVec::from(body.into_bytes());
            let (media, caller) = (Media::NdJson, &caller);
            let post = Post { caller, media, body, idempotency_key: None, ce_headers: &[] };
            let Posted::Receipt { status: 200, body, .. } = desk.post(post).await else {
                panic!("no receipt of {user}");
            };
            let said = String::from_utf8(body).unwrap();
            assert_eq!(said.contains("\"not_retained\":1"), lost, "{said}");
        }
        let month = crate::model::time::Month::parse(b"2026-11").unwrap();
        let counted = desk.engine.usage(&site, month).unwrap().unwrap().tally.counters.mau;
        assert_eq!(counted, 1, "whoever is not kept is counted");
        desk.engine.stop();
    }

    /// Check 27: ids of 1 to 63 bytes take the same room, since none is stored.
    #[tokio::test]
    async fn check_27_the_length_of_an_id_does_not_show() {
        let dir = tempfile::tempdir().unwrap();
        let desk = desk(dir.path()).await;
        let caller = crate::admin::fake::caller(Role::Producer, SiteScope::All);
        for length in 1..64 {
            let body = format!(
                r#"{{"event_id":"{length:02}","type":"drm.license.issued","site_id":"A",
                "occurred_at":"2026-11-22T04:16:00Z","outcome":"success","user_id":"{}"}}"#,
                "u".repeat(length)
            )
            .replace('\n', "");
            let body = WipedVec::from(body.into_bytes());
            let (media, caller) = (Media::NdJson, &caller);
            let post = Post { caller, media, body, idempotency_key: None, ce_headers: &[] };
            let Posted::Receipt { status: 200, .. } = desk.post(post).await else {
                panic!("not taken: {length}");
            };
        }
        let table = crate::store::Table::Journal(crate::store::Half::A);
        let rows = desk.engine.store().scan(table, &[], None).unwrap();
        let sizes: Vec<usize> = rows.map(|row| row.unwrap().1.len()).collect();
        assert_eq!(sizes.len(), 63);
        assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
        desk.engine.stop();
    }

    /// Check 27 in the journal until the fold, and in blocks of one record after it: its texts have
    /// 1 to 61 bytes, and what is optional is there or not; all rows of a table are as long as each
    /// other.
    #[tokio::test]
    async fn check_27_neither_journal_nor_block_of_one_record_shows_what_is_in_it() {
        use crate::store::Table;
        let dir = tempfile::tempdir().unwrap();
        let desk = desk(dir.path()).await;
        let days = SiteSettings { records_days: Some(30), ..SiteSettings::default() };
        desk.engine.put_site(SiteId::parse(b"A").unwrap(), days).await.unwrap();
        let caller = crate::admin::fake::caller(Role::Producer, SiteScope::All);
        // A day has a bucket of its own, and so a block.
        for day in 2..=22 {
            let text = "t".repeat(3 * day - 5);
            let user = if day % 2 == 0 { format!(r#","user_id":"{text}""#) } else { String::new() };
            let rest = match day % 3 {
                0 => format!(
                    r#","drm":{{"cdm_version":"{text}"}},
                    "device":{{"make":"{text}","os_version":"{text}",
                    "ids":[{{"kind":"android_id","value":"a1b2c3d4e5f6{day:04}"}}]}}"#
                ),
                _ => String::new(),
            };
            let body = format!(
                r#"{{"event_id":"{text}{day:02}","type":"drm.license.issued","site_id":"A",
                "occurred_at":"2026-11-{day:02}T01:16:00Z","outcome":"success"{user}{rest}}}"#
            )
            .replace('\n', "");
            let body = WipedVec::from(body.into_bytes());
            let (media, caller) = (Media::NdJson, &caller);
            let post = Post { caller, media, body, idempotency_key: None, ce_headers: &[] };
            let Posted::Receipt { status: 200, body, .. } = desk.post(post).await else {
                panic!("not taken: {day}");
            };
            let said = String::from_utf8(body).unwrap();
            assert!(said.contains("\"accepted\":1"), "{day}: {said}");
        }
        let sizes = |table| -> Vec<usize> {
            let rows = desk.engine.store().scan(table, &[], None).unwrap();
            rows.map(|row| row.unwrap().1.len()).collect()
        };
        let journal = sizes(Table::Journal(crate::store::Half::A));
        assert_eq!(journal.len(), 21);
        assert!(journal.iter().all(|size| *size == journal[0]), "journal {journal:?}");
        desk.engine.fold().await.unwrap();
        let mut tables = 0;
        for table in desk.engine.store().tables() {
            let of_blocks =
                matches!(table, Table::Blocks(..) | Table::Headers(..) | Table::BlockKeys(..));
            if of_blocks {
                tables += 1;
                let sizes = sizes(table);
                assert_eq!(sizes.len(), 21, "{table:?}");
                assert!(sizes.iter().all(|size| *size == sizes[0]), "{table:?} {sizes:?}");
            }
        }
        assert_eq!(tables, 3);
        desk.engine.stop();
    }

    /// With one thread only, the second task can run only where the first one gives way.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_large_body_holds_nobody_up() {
        let (say, hear) = mpsc::channel();
        let large = Arc::new(Semaphore::new(1));
        let long = tokio::spawn(async move {
            let work = move || hear.recv_timeout(Duration::from_secs(60)).is_ok();
            off_reactor(&large, DECODE_INLINE_BYTES + 1, work).await
        });
        let other = tokio::spawn(async move { say.send(()) });
        assert!(long.await.unwrap(), "the other task did not run");
        other.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_the_work_too() {
        let large = Semaphore::new(1);
        assert_eq!(off_reactor(&large, DECODE_INLINE_BYTES + 1, || 7).await, 7);
        assert_eq!(off_reactor(&large, 0, || 8).await, 8);
    }

    #[test]
    fn an_idempotency_key_belongs_to_a_producer_and_its_sites() {
        let site = |id: &str| SiteId::parse(id.as_bytes()).unwrap();
        let some = |ids: &[&str]| SiteScope::Some(ids.iter().map(|id| site(id)).collect());
        let name = |producer: &str, sites: SiteScope| {
            let caller = Arc::new(Token {
                key_id: "k".into(),
                secret_hash: [0; 32],
                role: Role::Producer,
                sites,
                name: String::new(),
                producer: producer.into(),
                producers: None,
                created_at: Timestamp(0),
                expires_at: Timestamp(0),
                issuer: None,
            });
            KeyName::new(&caller, "key")
        };
        let names = [
            name("p", some(&["A"])),
            name("p", some(&["B"])),
            name("p", some(&["A", "B"])),
            name("p", SiteScope::All),
            name("p:A", some(&["A"])),
            name("q", some(&["A"])),
        ];
        assert_eq!(HashSet::from(names).len(), names.len());
        assert_eq!(name("p", some(&["B", "A"])), names[2], "the order of sites is nothing");
    }

    #[test]
    fn a_digest_covers_how_a_body_was_sent() {
        let caller: Caller = Arc::new(Token {
            key_id: "k".into(),
            secret_hash: [0; 32],
            role: Role::Producer,
            sites: SiteScope::All,
            name: String::new(),
            producer: String::new(),
            producers: None,
            created_at: Timestamp(0),
            expires_at: Timestamp(0),
            issuer: None,
        });
        let digest = |media: Media, headers: &[(&str, &str)]| {
            let value = |text: &str| Zeroizing::new(text.to_owned());
            let headers: Vec<_> =
                headers.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect();
            let body = WipedVec::from(b"{}".to_vec());
            let post =
                Post { caller: &caller, media, body, idempotency_key: None, ce_headers: &headers };
            digest_of(&post)
        };
        let digests = [
            digest(Media::NdJson, &[]),
            digest(Media::Json, &[]),
            digest(Media::Json, &[("ce-id", "a")]),
            digest(Media::Json, &[("ce-id", "b")]),
            digest(Media::Json, &[("ce-id", "a"), ("ce-type", "b")]),
        ];
        assert_eq!(HashSet::from(digests).len(), digests.len());
        let turned = digest(Media::Json, &[("ce-type", "b"), ("ce-id", "a")]);
        assert_eq!(turned, digests[4]);
    }
}
