//! Every change of state: journal, duplicates, tallies, blocks, fold, recovery.
//!
//! [`Engine::commit`] takes a batch without raw ids, seals it, and answers when it is durable and
//! counted. One writer thread judges and commits ([`writer`]); one fold thread turns the journal
//! into blocks ([`fold`]); readers see counters that were published after their sync.

mod access;
pub mod arrivals;
pub mod backfill;
pub mod backup;
pub mod calendar;
mod closing;
mod desk;
pub mod destroy;
pub mod directory;
mod distinct;
pub mod ended;
pub mod erase;
mod error;
pub mod explain;
#[cfg(test)]
pub mod fake;
pub mod fold;
mod forms;
pub mod gone;
pub mod groups;
pub mod hold;
pub mod journal;
pub mod log;
pub mod looking;
pub mod names;
pub mod partition;
pub mod recount;
mod recover;
pub mod restore;
mod runs;
mod shared;
pub mod spill;
mod standing;
mod state;
mod tagset;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::crypto::HmacKey;
use crate::keys::{KeyKind, KeyRing};
use crate::model::batch::{Batch, SiteMonth, Verdict};
use crate::model::caller::Token;
use crate::model::ids::SiteId;
use crate::model::limits;
use crate::model::site::{MonthSpan, Site, SiteChange};
use crate::model::time::{Clock, DAY_MS, Day, Month, Timestamp};
use crate::model::usage::{Evidence, State, Tally};
use crate::store::{Half, Store, Table, Written, keys};

use arrivals::Arrivals;
use closing::Closing;
use directory::Directory;
pub use error::EngineError;
use fold::Folder;
use gone::Gone;
use journal::JournalKey;
pub use log::Log;
use restore::{Parts, Replay, Replayed};
use shared::Shared;
use writer::{FoldOrder, JournalKeys, Message, Writer};

/// How much the engine may hold, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Memory for tallies, bytes; beyond it sets spill to disk.
    pub tally_bytes: usize,
    /// Memory for seen slots, bytes; beyond it slots spill to disk.
    pub seen_bytes: usize,
    /// Memory for the cache of full tags before spilled sets, bytes.
    pub cache_bytes: usize,
    /// Sealed batches that may wait for the writer, bytes; beyond it: busy.
    pub queue_bytes: usize,
    /// Sealed journal bytes after which a fold begins.
    pub segment_bytes: usize,
    /// Sealed journal bytes that may wait for the fold; beyond it: busy.
    pub unfolded_bytes: usize,
    /// Time after which a fold begins, milliseconds.
    pub fold_after_ms: i64,
    /// The accepted age of records, milliseconds.
    pub age_ms: i64,
    /// What explanations of months may take, and whom they suspect.
    pub explain: explain::Settings,
    /// How much a backfill may hold.
    pub backfill: backfill::Settings,
    /// Groups of event partitions that batches are cut by: one for each owner. This process owns
    /// all of them, so more than one is for whoever puts owners elsewhere, and for tests.
    pub partition_groups: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tally_bytes: 4 << 30,
            seen_bytes: 2 << 30,
            cache_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            segment_bytes: 64 << 20,
            unfolded_bytes: 512 << 20,
            fold_after_ms: 60_000,
            age_ms: limits::AGE_MS_MAX,
            explain: explain::Settings::default(),
            backfill: backfill::Settings::default(),
            partition_groups: 1,
        }
    }
}

/// A month of a site, with the site as it was when rows were made for that month.
pub type MonthSeen = (Arc<Site>, Month);

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The number of the receipt.
    pub receipt: String,
    /// When the batch was judged: it arrived in the hour of this.
    pub judged_at: Timestamp,
    /// What became of each row.
    pub verdicts: Vec<Verdict>,
}

/// An answer to be kept for an `Idempotency-Key`, durable with its batch.
pub struct Answer {
    /// A digest of what the key is scoped to: the credential's producer name and sites.
    pub scope: [u8; 32],
    /// A digest of the header's value.
    pub key: [u8; 32],
    /// A digest of the decoded body and of how it was sent.
    pub body_digest: [u8; 32],
    /// Makes the answer of the outcome; `None` when it is not to be kept.
    pub render: Box<dyn FnOnce(&Outcome) -> Option<Vec<u8>> + Send>,
}

impl Answer {
    fn name(&self, key: &HmacKey) -> [u8; 16] {
        answer_name(key, &self.scope, &self.key)
    }
}

/// The row of a kept answer: a keyed hash, so that nothing of the header's value is in a row key.
fn answer_name(key: &HmacKey, scope: &[u8; 32], value: &[u8; 32]) -> [u8; 16] {
    let mac = key.mac(&[&b"idempotency/2"[..], scope, value].concat());
    let mut name = [0; 16];
    name.copy_from_slice(&mac[..16]);
    name
}

/// What a PUT of a site did.
#[derive(Clone, Debug)]
pub struct SitePut {
    /// The site as it is now.
    pub site: Arc<Site>,
    /// Whether it is new.
    pub created: bool,
    /// The month from which the frozen settings hold, where they do not hold at once.
    pub effective: Option<Month>,
}

/// A site's month as it stands.
#[derive(Clone, Debug)]
pub struct UsageMonth {
    /// The site.
    pub site: Arc<Site>,
    /// The month's range.
    pub span: MonthSpan,
    /// The zone whose calendar the month follows.
    pub time_zone: String,
    /// How far it is.
    pub state: State,
    /// When it closes, or was due to.
    pub closes_at: Timestamp,
    /// What is counted of it.
    pub tally: Tally,
    /// What the figures rest on.
    pub evidence: Evidence,
    /// When the figures were read.
    pub as_of: Timestamp,
}

/// Figures of the engine itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct EngineFigures {
    /// Groups committed.
    pub groups: u64,
    /// Folds done.
    pub folds: u64,
    /// Rows put into blocks.
    pub folded_rows: u64,
    /// Bytes of blocks, headers and block keys written.
    pub block_bytes: u64,
    /// Sealed bytes that wait for the writer.
    pub queued_bytes: u64,
    /// How large the sets were after the last fold.
    pub sizes: spill::Sizes,
    /// Bytes written to the disk since the start, by cause.
    pub written: Written,
}

/// The engine's door.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    queue: Sender<Message>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    settings: Settings,
}

/// Loads what is stored of destructions, holds, persons and backfills; raises the access log.
fn load_marks(shared: &mut Shared) -> Result<(), EngineError> {
    let (store, ring) = (Arc::clone(&shared.store), Arc::clone(&shared.ring));
    shared.gone = RwLock::new(Gone::load(&store)?);
    shared.ended = RwLock::new(ended::load(&store)?);
    shared.unfinished = RwLock::new(destroy::unfinished(&store, &ring)?);
    shared.waiting = RwLock::new(destroy::Waiting::load(&store, &ring)?);
    shared.held = RwLock::new(hold::load(&store, &ring.state_key())?);
    shared.erasing = RwLock::new(erase::load(&store, &ring.state_key())?);
    let gone = shared.gone.get_mut().unwrap_or_else(PoisonError::into_inner);
    // Rows of what was destroyed of a site outlive it, and name it by its number.
    shared.directory.keep_numbers(gone.last_site());
    let suppressed = erase::Suppressed::load(&store, &ring, &shared.directory, gone)?;
    shared.suppressed = RwLock::new(suppressed);
    shared.backfills = backfill::Backfills::load(&store, &ring)?;
    hold::check(shared)?;
    access::raise(shared)
}

impl Engine {
    /// Opens the engine: recovers what is stored and starts its threads.
    ///
    /// # Errors
    /// When anything stored is missing, damaged, or needs a key that the register does not hold.
    pub fn open(
        store: Store,
        ring: KeyRing,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EngineError> {
        restore::refuse_unfit(&store)?;
        Ok(Self::open_restored(store, ring, settings, clock, &Replay::default())?.0)
    }

    /// As [`Engine::open`], on data that may have been put back from a backup: it is made fit to
    /// what the ledger tells before anything is opened ([`restore`]).
    ///
    /// # Errors
    /// As [`Engine::open`], and when the register is older than the data.
    pub fn open_restored(
        store: Store,
        ring: KeyRing,
        settings: Settings,
        clock: Arc<dyn Clock>,
        replay: &Replay,
    ) -> Result<(Self, Replayed), EngineError> {
        let (store, ring) = (Arc::new(store), Arc::new(ring));
        check_vault(&store, &ring)?;
        names::raise(&store, &ring.state_key())?;
        let directory = Arc::new(Directory::load(&store, ring.state_key())?);
        let (now, age_ms, generation) = (clock.now(), settings.age_ms, ring.generation()?);
        let (tables, keys, sites) = (&store, &ring, &directory);
        let parts = Parts { store: tables, ring: keys, directory: sites, generation, now, age_ms };
        let replayed = restore::replay(&parts, replay)?;
        let journal = ring.list().into_iter().filter(|info| info.kind == KeyKind::Journal);
        let mut stale: Vec<_> = journal.map(|info| info.id).collect();
        let key = Arc::new(JournalKey { key: ring.journal()? });
        let oldest = now.0.saturating_sub(age_ms + DAY_MS).div_euclid(DAY_MS);
        let position = recover::position(&store, Day(u32::try_from(oldest).unwrap_or(0)), now)?;
        let parts = (Arc::clone(&store), Arc::clone(&ring), Arc::clone(&directory));
        let arrivals = Arrivals::load(&store, ring.state_key())?;
        let mut shared = Shared::new(parts, arrivals, clock, key, position.seen_floor);
        load_marks(&mut shared)?;
        let shared = Arc::new(shared);
        shared.note_destroyed_sets();
        let found = recover::recover(&shared, &settings, &position)?;
        if found.last_group == position.folded_through {
            ring.retire(&std::mem::take(&mut stale))?;
        }
        shared.journal_bytes.store(found.pending_bytes, Ordering::Release);
        let now = shared.clock.now();
        shared.begin(&found.state, now)?;
        shared.believed.store(found.believed.0, Ordering::Release);
        let mut closing = Closing::new(found.believed);
        directory.sites().iter().try_for_each(|site| closing.watch(site))?;
        let folder = Folder::new(store, ring, directory, position, found.runs)?;
        let (queue, messages) = mpsc::channel();
        let (orders, fold_orders) = mpsc::channel::<FoldOrder>();
        let writer = Writer {
            shared: Arc::clone(&shared),
            state: found.state,
            settings: settings.clone(),
            folder: orders,
            next_group: found.last_group + 1,
            half: Half::A,
            pending_bytes: found.pending_bytes,
            pending_since: (found.pending_bytes > 0).then_some(now),
            keys: JournalKeys {
                old: Vec::new(),
                current_last: found.last_group,
                next: None,
                stale,
                stale_last: found.last_group,
            },
            folding: false,
            folding_bytes: 0,
            fold_waiters: Vec::new(),
            folded_through: position.folded_through,
            last_cut: (position.folded_through, position.believed),
            barrier: writer::Barrier::default(),
            closing,
        };
        let back = queue.clone();
        let threads = vec![
            spawn("writer", &shared, move || writer.run(&messages))?,
            spawn("fold", &shared, move || writer::fold_thread(folder, &fold_orders, &back))?,
        ];
        Ok((Self { shared, queue, threads: Arc::new(Mutex::new(threads)), settings }, replayed))
    }

    /// Takes a batch and waits for its outcome ([`Log`]).
    ///
    /// # Errors
    /// Busy, out of disk, or stopped; then nothing was acknowledged and the same batch may be sent
    /// again.
    pub async fn commit(
        &self,
        batch: Batch,
        months: Vec<MonthSeen>,
        answer: Option<Answer>,
    ) -> Result<Outcome, EngineError> {
        self.outcome(self.append(batch, months, answer)?).await
    }

    /// Queues a message; what comes back is the way of its answer.
    fn tell<T>(
        &self,
        message: impl FnOnce(writer::Reply<T>) -> Message,
    ) -> Result<oneshot::Receiver<Result<T, EngineError>>, EngineError> {
        if self.shared.stopped.load(Ordering::Acquire) {
            return Err(EngineError::Stopped);
        }
        let (reply, answer) = oneshot::channel();
        self.queue.send(message(reply)).map_err(|_| EngineError::Stopped)?;
        Ok(answer)
    }

    /// The same for a thread that may wait.
    fn wait_for<T>(
        &self,
        message: impl FnOnce(writer::Reply<T>) -> Message,
    ) -> Result<T, EngineError> {
        self.tell(message)?.blocking_recv().map_err(|_| EngineError::Stopped)?
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(writer::Reply<T>) -> Message,
    ) -> Result<T, EngineError> {
        self.tell(message)?.await.map_err(|_| EngineError::Stopped)?
    }

    /// The answer kept for an `Idempotency-Key`: the digest of its body, and the answer.
    ///
    /// # Errors
    /// When the disk or the register refuses.
    pub fn kept_answer(
        &self,
        scope: &[u8; 32],
        key: &[u8; 32],
    ) -> Result<Option<([u8; 32], Vec<u8>)>, EngineError> {
        let today = self.shared.clock.now().day().0;
        // Tomorrow as well: the clock may have been set back over midnight.
        for day in (today.saturating_sub(limits::IDEMPOTENCY_DAYS)..=today + 1).rev() {
            // A day without a key has no answers, and a question must not make one.
            let Some(seen) = self.shared.ring.seen_existing(Day(day))? else { continue };
            let row = keys::answer(day, &answer_name(&seen.mac, scope, key));
            if let Some(sealed) = self.shared.store.get(Table::Answers, &row)? {
                let opened = seen.seal.open(&writer::answer_aad(&row), &sealed);
                let plain = opened.map_err(|error| EngineError::Damaged(error.to_string()))?;
                let (digest, body) = plain
                    .split_first_chunk::<32>()
                    .ok_or(EngineError::Damaged("a kept answer".into()))?;
                return Ok(Some((*digest, body.to_vec())));
            }
        }
        Ok(None)
    }

    /// A site by its id.
    pub fn site(&self, id: &SiteId) -> Option<Arc<Site>> {
        self.shared.directory.site(id)
    }

    /// All sites in the order of their ids.
    pub fn sites(&self) -> Vec<Arc<Site>> {
        self.shared.directory.sites()
    }

    /// Makes a site, or changes its settings.
    ///
    /// # Errors
    /// [`EngineError::Conflict`]; when the engine has stopped.
    pub async fn put_site(
        &self,
        id: SiteId,
        change: impl Into<SiteChange>,
    ) -> Result<SitePut, EngineError> {
        self.ask(|reply| Message::PutSite(id, Box::new(change.into()), reply)).await
    }

    /// The site with a stored month that holds the instant; the month's row is written first where
    /// it is missing. This waits for the writer without yielding: once for each site and month.
    ///
    /// # Errors
    /// When there is no such site or the engine has stopped.
    pub fn reach(&self, id: &SiteId, at: Timestamp) -> Result<Arc<Site>, EngineError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let message = Message::Reach(id.clone(), at, reply);
        self.queue.send(message).map_err(|_| EngineError::Stopped)?;
        answer.recv().map_err(|_| EngineError::Stopped)?
    }

    /// A token by its key id.
    pub fn token(&self, key_id: &str) -> Option<Arc<Token>> {
        self.shared.directory.token(key_id)
    }

    /// All tokens in the order of their key ids.
    pub fn tokens(&self) -> Vec<Arc<Token>> {
        self.shared.directory.tokens()
    }

    /// Stores a token.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn put_token(&self, token: Token) -> Result<(), EngineError> {
        self.ask(|reply| Message::PutToken(Box::new(token), reply)).await
    }

    /// Removes a token; false when there was none.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn delete_token(&self, key_id: &str) -> Result<bool, EngineError> {
        self.ask(|reply| Message::DeleteToken(key_id.to_owned(), reply)).await
    }

    /// The figures of a site's month; `None` when there is no such site. One look-up, and it holds
    /// everything that was answered before the call.
    ///
    /// # Errors
    /// [`EngineError::Ended`]; when the site's time zone is unknown.
    pub fn usage(&self, site: &SiteId, month: Month) -> Result<Option<UsageMonth>, EngineError> {
        let Some(site) = self.site(site) else { return Ok(None) };
        let at = SiteMonth { site: site.no, month };
        let published = self.shared.published.read().unwrap_or_else(PoisonError::into_inner);
        let tally = published.get(&at).cloned().unwrap_or_default();
        drop(published);
        self.usage_of(site, month, tally).map(Some)
    }

    /// A site's month with figures that were read after the site.
    fn usage_of(
        &self,
        site: Arc<Site>,
        month: Month,
        tally: Tally,
    ) -> Result<UsageMonth, EngineError> {
        let span = calendar::span(&site, month)?;
        let at = SiteMonth { site: site.no, month };
        // After the figures were read: they are noted as ended before they go.
        if self.shared.has_ended(at) {
            return Err(EngineError::Ended);
        }
        let evidence = self.evidence(at);
        let time_zone = site.settings_in(month).time_zone.clone();
        let as_of = self.shared.clock.now();
        // The site was read before the figures: where it says closed, they do not change any more.
        let state = match site.is_closed(month) || tally.closed_at.is_some() {
            true => State::Closed,
            false if span.to <= as_of => State::Closing,
            false => State::Open,
        };
        let closes_at = calendar::closes_at(&site, month)?;
        Ok(UsageMonth { site, span, time_zone, state, closes_at, tally, evidence, as_of })
    }

    /// What the figures of a month rest on.
    fn evidence(&self, at: SiteMonth) -> Evidence {
        let without = self.shared.without_sets.read().unwrap_or_else(PoisonError::into_inner);
        match without.contains(&at) {
            false => Evidence::Live,
            true if self.shared.sets_held(at) => Evidence::Held,
            true => Evidence::Destroyed,
        }
    }

    /// Records of a day before this one are too old, whatever the clock says.
    pub fn seen_floor(&self) -> Day {
        Day(self.shared.floor.load(Ordering::Acquire))
    }

    /// The keys that ingest pseudonymizes with.
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.shared.ring
    }

    /// The clock that the engine judges by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// The tables, for tests and the offline check.
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Figures of the engine itself.
    pub fn figures(&self) -> EngineFigures {
        let shared = &self.shared;
        EngineFigures {
            groups: shared.groups.load(Ordering::Relaxed),
            folds: shared.folds.load(Ordering::Relaxed),
            folded_rows: shared.folded_rows.load(Ordering::Relaxed),
            block_bytes: shared.block_bytes.load(Ordering::Relaxed),
            sizes: *shared.sizes.lock().unwrap_or_else(PoisonError::into_inner),
            queued_bytes: shared.queued_bytes.load(Ordering::Relaxed) as u64,
            written: shared.store.written(),
        }
    }

    /// Whether records can be taken.
    ///
    /// # Errors
    /// Why not, in a few words.
    pub fn ready(&self) -> Result<(), &'static str> {
        if self.shared.stopped.load(Ordering::Acquire) {
            return Err("the engine has stopped");
        }
        if self.shared.disk_low.load(Ordering::Acquire) {
            return Err("the disk is nearly full");
        }
        Ok(())
    }

    /// Whether the engine has not stopped.
    pub fn is_running(&self) -> bool {
        !self.shared.stopped.load(Ordering::Acquire)
    }

    /// Tells the engine whether the disk has room (the app watches it).
    pub fn set_disk_low(&self, low: bool) {
        self.shared.disk_low.store(low, Ordering::Release);
    }

    /// Waits until the engine fails; the process must then end and recover.
    pub async fn failed(&self) -> EngineError {
        let mut failure = self.shared.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or(EngineError::Stopped),
            Err(_) => EngineError::Stopped,
        }
    }

    /// Folds everything that was committed before the call.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn fold(&self) -> Result<(), EngineError> {
        self.ask(Message::Fold).await
    }

    /// Commits what is queued, then ends both threads. Nothing is folded: the journal holds it.
    pub fn stop(&self) {
        let _ = self.queue.send(Message::Stop);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// The keys must be those that the data was written with: a value sealed under the state key when
/// the data directory was made has to open.
fn check_vault(store: &Store, ring: &KeyRing) -> Result<(), EngineError> {
    let (key, aad) = (ring.state_key(), crate::crypto::Aad::new("vault/1"));
    match store.get(Table::Meta, keys::VAULT)? {
        Some(sealed) if key.open(&aad, &sealed).is_ok() => Ok(()),
        Some(_) => Err(EngineError::Refused(
            "the keys directory belongs to another data directory; put the right one back".into(),
        )),
        None => {
            let mut changes = crate::store::Changes::default();
            changes.put(Table::Meta, keys::VAULT, key.seal(&aad, b"blindtally"));
            Ok(store.apply(&changes)?)
        }
    }
}

/// Tells the engine of a thread that ends with a panic: nothing works without either of them.
struct Alarm(Arc<Shared>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&EngineError::Refused("a thread of the engine ended early".into()));
        }
    }
}

fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, EngineError> {
    let alarm = Alarm(Arc::clone(shared));
    let watched = move || {
        let _alarm = alarm;
        work();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(watched).map_err(|error| {
        EngineError::Refused(format!("a thread cannot be started ({})", error.kind()))
    })
}
