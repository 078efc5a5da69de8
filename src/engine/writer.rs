//! The writer: one thread that judges every row, commits groups of batches with one sync, and only
//! then publishes the counters and answers.
//!
//! Sets and counters that it works on are its own; nobody else sees them before the sync. So there
//! is nothing to take back when a write fails: the thread ends, every waiter gets an error, and the
//! process recovers from the journal. It never goes on after a failed write, and never syncs twice.

mod answers;
mod backfill;
mod barrier;
mod destruction;
mod expiry;
mod folding;
mod judge;

pub use answers::answer_aad;
pub use backfill::Whole;
pub use barrier::{Barrier, Copied};
pub use destruction::Order;
pub use expiry::{first_slot_at, floor};
pub use folding::{FoldOrder, fold_thread};

use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::Duration;

use tokio::sync::oneshot;

use super::backfill::Order as BackfillOrder;
use super::closing::Closing;
use super::desk::DeskOrder;
use super::fold::{Cut, Delta, Folded};
use super::gone::Takes;
use super::journal::{self, JournalKey, SealedBatch};
use super::state::{SetKeys, State};
use super::{Answer, EngineError, MonthSeen, Outcome, Settings, Shared, SitePut, partition, spill};
use crate::crypto::SealKey;
use crate::model::arrival::{Arrival, Hour};
use crate::model::batch::{Batch, Epoch, SiteMonth};
use crate::model::caller::Token;
use crate::model::ids::{KeyId, SiteId};
use crate::model::site::{Site, SiteChange};
use crate::model::time::{Day, Timestamp};
use crate::model::vocab::Class;
use crate::store::verdict::GroupVerdict;
use crate::store::{Changes, Half, Table, keys};

/// A group takes batches up to this many bytes: a larger write only adds latency.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// How long the writer waits for work before it looks at the clock.
const TICK: Duration = Duration::from_millis(250);

/// The way an answer goes back to who asked.
pub type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// The rows of one group of event partitions.
pub struct Piece {
    /// The rows; their details are only in the sealed form.
    pub batch: Batch,
    /// The same rows, sealed.
    pub sealed: SealedBatch,
}

/// A batch on its way in.
pub struct Submission {
    /// The batch, cut by groups of event partitions.
    pub pieces: Vec<Piece>,
    /// In which piece each row is.
    pub order: partition::Order,
    /// Who sent the rows, in the order of the request.
    pub arrival: Arrival,
    /// What it takes of the queue: the sealed bytes, and those of its senders.
    pub bytes: usize,
    /// The months of the rows as they were when the rows were made.
    pub months: Vec<MonthSeen>,
    /// The answer to keep for an `Idempotency-Key`.
    pub answer: Option<Answer>,
    /// Who waits.
    pub reply: Reply<Outcome>,
}

/// What the writer is asked to do, in this order.
pub enum Message {
    /// Judge and commit a batch.
    Append(Box<Submission>),
    /// Make or change a site.
    PutSite(SiteId, Box<SiteChange>, Reply<SitePut>),
    /// Make the site's months reach an instant.
    Reach(SiteId, Timestamp, SyncSender<Result<Arc<Site>, EngineError>>),
    /// Store a token.
    PutToken(Box<Token>, Reply<()>),
    /// Remove a token.
    DeleteToken(String, Reply<bool>),
    /// What the retention desk asks for.
    Desk(DeskOrder),
    /// What is to be done with backfills.
    Backfill(BackfillOrder),
    /// Fold everything, then answer.
    Fold(Reply<()>),
    /// Copy the data at a barrier.
    Checkpoint(Reply<Copied>),
    /// A part of a destruction.
    Destruction(Box<Order>),
    /// A fold ended.
    Folded(Box<Result<Folded, EngineError>>),
    /// Commit what is queued, then end.
    Stop,
}

/// The journal keys of this process and those left by earlier ones.
pub struct JournalKeys {
    /// Keys of this process that are not current, with the last group that used each.
    pub old: Vec<(Arc<JournalKey>, u64)>,
    /// The last group that used the current key.
    pub current_last: u64,
    /// The key for the next rotation.
    pub next: Option<Arc<JournalKey>>,
    /// Keys of earlier processes; no group after `stale_last` uses them.
    pub stale: Vec<KeyId>,
    /// The last group before this process.
    pub stale_last: u64,
}

/// The writer's own things.
pub struct Writer {
    /// What is shared with the readers.
    pub shared: Arc<Shared>,
    /// Sets and counters.
    pub state: State,
    /// Settings.
    pub settings: Settings,
    /// Orders to the fold thread.
    pub folder: Sender<FoldOrder>,
    /// The number of the next group.
    pub next_group: u64,
    /// The half of the journal that takes the groups of now.
    pub half: Half,
    /// Sealed bytes that are not folded.
    pub pending_bytes: usize,
    /// When the earliest group that is not folded was written.
    pub pending_since: Option<Timestamp>,
    /// Journal keys.
    pub keys: JournalKeys,
    /// Whether a fold is under way.
    pub folding: bool,
    /// Sealed bytes of the groups that are being folded.
    pub folding_bytes: usize,
    /// Who waits for a fold of everything up to a group.
    pub fold_waiters: Vec<(u64, Reply<()>)>,
    /// The last group that is folded.
    pub folded_through: u64,
    /// The last group of the last fold that was begun, and when that was.
    pub last_cut: (u64, Timestamp),
    /// A backup that waits for everything to be folded.
    pub barrier: Barrier,
    /// The time that is believed, and which months close next.
    pub closing: Closing,
}

impl Writer {
    /// Works until it is told to stop, or a write fails.
    pub fn run(mut self, queue: &Receiver<Message>) {
        let result = self.work(queue);
        if let Err(error) = result {
            self.shared.fail(&error);
        }
        // Whoever still waits in the queue gets an error when it is dropped.
        self.shared.stopped.store(true, Ordering::Release);
    }

    fn work(&mut self, queue: &Receiver<Message>) -> Result<(), EngineError> {
        let mut left_over = None;
        loop {
            let message = match left_over.take().or_else(|| self.next_held()) {
                Some(message) => message,
                None => match queue.recv_timeout(TICK) {
                    Ok(message) => message,
                    Err(RecvTimeoutError::Timeout) => {
                        self.tick()?;
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                },
            };
            match message {
                Message::Append(batch) if self.barrier.waiter.is_some() => {
                    self.barrier.held.push_back(batch);
                }
                Message::Append(first) => {
                    let (group, rest) = gather(first, queue);
                    left_over = rest;
                    self.commit(group)?;
                    self.tick()?;
                }
                Message::Stop => return Ok(()),
                other => self.serve(other)?,
            }
        }
    }

    fn serve(&mut self, message: Message) -> Result<(), EngineError> {
        self.close_due(self.shared.clock.now())?;
        match message {
            Message::PutSite(id, change, reply) => {
                let put = self.put_site(id, *change)?;
                let _ = reply.send(put.map_err(EngineError::Conflict));
            }
            Message::Reach(id, at, reply) => {
                let reached = self.reach(&id, at)?;
                let _ = reply.send(reached.ok_or(EngineError::NoSite));
            }
            Message::PutToken(token, reply) => {
                self.shared.directory.put_token(&self.shared.store, *token)?;
                let _ = reply.send(Ok(()));
            }
            Message::DeleteToken(key_id, reply) => {
                let was = self.shared.directory.delete_token(&self.shared.store, &key_id)?;
                let _ = reply.send(Ok(was));
            }
            Message::Desk(order) => self.desk(order)?,
            Message::Backfill(order) => {
                self.backfill(order)?;
                // A close may bring more than what is folded at once.
                self.tick()?;
            }
            Message::Fold(reply) => {
                if self.folded_through + 1 >= self.next_group {
                    self.retire_keys()?;
                    let _ = reply.send(Ok(()));
                } else {
                    self.fold_waiters.push((self.next_group - 1, reply));
                    self.cut()?;
                }
            }
            Message::Destruction(order) => self.destruction(*order)?,
            Message::Checkpoint(reply) => {
                self.barrier.waiter = Some(reply);
                self.try_barrier()?;
            }
            Message::Folded(folded) => {
                self.folded((*folded)?)?;
                self.try_barrier()?;
            }
            Message::Append(_) | Message::Stop => {}
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), EngineError> {
        // After a failed write of the register no request gets by, and none would end the process.
        self.shared.ring.usable()?;
        let now = self.shared.clock.now();
        self.close_due(now)?;
        // The clock may have been set back.
        self.pending_since = self.pending_since.map(|since| since.min(now));
        let waited = self.pending_since.map_or(0, |since| now.0.saturating_sub(since.0));
        if self.pending_bytes >= self.settings.segment_bytes
            || waited >= self.settings.fold_after_ms
        {
            self.cut()?;
        }
        Ok(())
    }

    /// Judges a group, writes it with one sync, publishes, answers.
    fn commit(&mut self, group: Vec<Submission>) -> Result<(), EngineError> {
        let mut group = self.turn_away(group);
        if group.is_empty() {
            return Ok(());
        }
        let now = self.shared.clock.now();
        self.close_due(now)?;
        self.close_late_of(&group)?;
        let verdict = self.judge(&mut group, None, now)?;
        self.shared.arrivals.hold(Hour::of(now))?;
        self.write(Changes::default(), group, verdict, now)
    }

    /// Writes the next group of the journal with these changes, which come before it.
    pub(super) fn write(
        &mut self,
        mut changes: Changes,
        group: Vec<Submission>,
        mut verdict: GroupVerdict,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let number = self.next_group;
        let current = self.shared.current_key();
        let mut batches = Vec::with_capacity(group.len());
        let mut waiters = Vec::with_capacity(group.len());
        let queued: usize = group.iter().map(|submission| submission.bytes).sum();
        for submission in group {
            let pieces = submission.pieces.len();
            batches.extend(submission.pieces.into_iter().map(|piece| piece.sealed));
            waiters.push((submission.reply, submission.answer, (pieces, submission.order)));
        }
        let row = journal::encode_group(number, &batches, &verdict, &current.key);
        let row_bytes = row.len();
        changes.put(Table::Journal(self.half), keys::group(number), row);
        let mut rows = take(&mut verdict.batches).into_iter();
        let mut outcomes = Vec::with_capacity(waiters.len());
        for (index, (_, answer, (pieces, order))) in waiters.iter_mut().enumerate() {
            let verdicts = order.join(rows.by_ref().take(*pieces).collect());
            let receipt = format!("r-{number:x}-{index:x}");
            let outcome = Outcome { receipt, judged_at: now, verdicts };
            if let Some(answer) = answer.take() {
                self.keep_answer(&mut changes, answer, &outcome, now)?;
            }
            outcomes.push(outcome);
        }
        let written = self.shared.store.apply(&changes).map_err(EngineError::from);
        // Before the waiters hear of it: whoever asks again must not find the engine ready.
        written.inspect_err(|error| self.shared.fail(error))?;
        self.next_group += 1;
        self.pending_bytes += row_bytes;
        self.shared.journal_bytes.fetch_add(row_bytes, Ordering::AcqRel);
        self.pending_since.get_or_insert(now);
        self.note_keys(number, &batches, &current);
        let arrived = (&verdict.arrivals[..], self.state.duplicates_apart());
        self.shared.publish(verdict.tallies, arrived, now);
        self.shared.queued_bytes.fetch_sub(queued, Ordering::AcqRel);
        self.shared.groups.fetch_add(1, Ordering::Relaxed);
        for ((reply, ..), outcome) in waiters.into_iter().zip(outcomes) {
            // Nobody may be waiting any more; the batch is committed all the same.
            let _ = reply.send(Ok(outcome));
        }
        Ok(())
    }

    fn note_keys(&mut self, number: u64, batches: &[SealedBatch], current: &Arc<JournalKey>) {
        self.keys.current_last = number;
        for batch in batches.iter().filter(|batch| !Arc::ptr_eq(&batch.key, current)) {
            let old = self.keys.old.iter_mut().find(|(key, _)| Arc::ptr_eq(key, &batch.key));
            if let Some((_, last)) = old {
                *last = number;
            }
        }
    }

    /// Hands everything since the last cut to the fold thread, and begins a new journal key.
    fn cut(&mut self) -> Result<(), EngineError> {
        if self.folding || self.folded_through + 1 >= self.next_group {
            return Ok(());
        }
        let (floor, answers_before) = self.first_kept();
        self.state.raise_floor(floor);
        self.shared.floor.store(self.state.floor().0, Ordering::Release);
        let mut tallies: Vec<(SiteMonth, _)> = Vec::new();
        let mut deltas = Vec::new();
        for month in self.state.months() {
            if !take(&mut month.changed) {
                continue;
            }
            tallies.push((month.at, month.tally.clone()));
            for set in month.sets.iter_mut().filter(|set| !set.is_clean()) {
                let (id, key) = (set.id(), Arc::clone(set.key()));
                deltas.push(Delta { set: id, key, entries: set.cut() });
            }
        }
        for slot in self.state.seen().values_mut().filter(|slot| !slot.is_clean()) {
            let (id, key) = (slot.id(), Arc::clone(slot.key()));
            deltas.push(Delta { set: id, key, entries: slot.cut() });
        }
        let through = self.next_group - 1;
        let floor = self.state.floor();
        let believed = self.closing.believed();
        self.last_cut = (through, self.shared.clock.now());
        let half = self.half;
        self.half = half.other();
        let arrivals = self.shared.arrivals.cut();
        let cut = Cut { through, half, deltas, tallies, floor, believed, answers_before, arrivals };
        self.folder.send(FoldOrder::Fold(Box::new(cut))).map_err(|_| EngineError::Stopped)?;
        self.folding = true;
        self.folding_bytes = take(&mut self.pending_bytes);
        self.pending_since = None;
        if let Some(next) = self.keys.next.take() {
            let old = self.shared.rotate_key(next);
            self.keys.old.push((old, self.keys.current_last));
        }
        Ok(())
    }

    fn folded(&mut self, folded: Folded) -> Result<(), EngineError> {
        self.folding = false;
        let folded_bytes = take(&mut self.folding_bytes);
        self.shared.journal_bytes.fetch_sub(folded_bytes, Ordering::AcqRel);
        self.folded_through = folded.through;
        self.shared.arrivals.folded();
        self.keys.next = Some(folded.next_key);
        let mut runs: std::collections::HashMap<_, _> = folded.runs.into_iter().collect();
        for month in self.state.months() {
            for set in &mut month.sets {
                if let Some(list) = runs.remove(&set.id()) {
                    set.folded(list);
                }
            }
        }
        for slot in self.state.seen().values_mut() {
            if let Some(list) = runs.remove(&slot.id()) {
                slot.folded(list);
            }
        }
        // Only now: a probe of a set on disk reads the runs that the writer knows of.
        if !folded.merged.is_empty() {
            let order = FoldOrder::Forget(folded.merged);
            self.folder.send(order).map_err(|_| EngineError::Stopped)?;
        }
        let sizes = spill::within_bounds(&mut self.state, &self.settings);
        self.shared.note_fold(folded.stats, sizes);
        self.retire_keys()?;
        let (ready, waiting) = take(&mut self.fold_waiters)
            .into_iter()
            .partition::<Vec<_>, _>(|(group, _)| *group <= folded.through);
        self.fold_waiters = waiting;
        for (_, reply) in ready {
            let _ = reply.send(Ok(()));
        }
        if self.fold_waiters.is_empty() { self.tick() } else { self.cut() }
    }

    /// A key goes when all groups that used it are folded and no batch on its way holds it.
    fn retire_keys(&mut self) -> Result<(), EngineError> {
        let through = self.folded_through;
        let mut ids = Vec::new();
        self.keys.old.retain(|(key, last)| {
            let done = *last <= through && Arc::strong_count(key) == 1;
            if done {
                ids.push(key.key.id());
            }
            !done
        });
        if self.keys.stale_last <= through {
            ids.append(&mut self.keys.stale);
        }
        if ids.is_empty() {
            return Ok(());
        }
        self.folder.send(FoldOrder::Retire(ids)).map_err(|_| EngineError::Stopped)
    }
}

/// Takes what else is waiting, up to a group's size; a message of another kind ends the group.
fn gather(first: Box<Submission>, queue: &Receiver<Message>) -> (Vec<Submission>, Option<Message>) {
    let mut bytes = first.bytes;
    let mut group = vec![*first];
    while bytes < GROUP_BYTES_MAX {
        match queue.try_recv() {
            Ok(Message::Append(next)) => {
                bytes += next.bytes;
                group.push(*next);
            }
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}

/// The keys of sets, from the register.
pub struct RingKeys<'a>(pub &'a Shared);

impl SetKeys for RingKeys<'_> {
    fn takes(&self, at: SiteMonth, group: u64) -> Takes {
        let site = self.0.directory.by_no(at.site);
        self.0.gone(|gone| gone.takes(at, group, site.as_deref()))
    }

    fn past_due(&self, at: SiteMonth, days: &[Day]) -> Vec<(Epoch, Class)> {
        self.0.past_due(at, days)
    }

    fn month(&self, at: SiteMonth) -> Option<Arc<SealKey>> {
        let (site, ring) = (self.0.directory.by_no(at.site)?, &self.0.ring);
        if site.id.is_group() {
            return Some(Arc::clone(&ring.group_month(&site.id, at.month).ok()?.sets));
        }
        Some(Arc::clone(&ring.site_month(&site.id, at.month).ok()?.sets))
    }

    fn day(&self, day: Day) -> Option<Arc<SealKey>> {
        Some(Arc::clone(&self.0.ring.seen(day).ok()?.seal))
    }
}
