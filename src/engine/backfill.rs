//! Backfills: records that come late and all at once, kept aside under a key of their own and
//! counted as a whole or not at all.
//!
//! A request that loads a backfill goes the way of all records up to the batch without raw ids;
//! then, instead of the journal, it goes into a row of its own, sealed under the backfill's key,
//! and nothing is judged. The close ([`close`]) makes ONE group of the journal of all of it, so it
//! is there as a whole or not at all, for a reader as for a crash. When a backfill has ended, its
//! key is destroyed as any other, and its rows go.
//!
//! The writer changes backfills, one row each, so that what it knows of sites, slots and persons
//! does not change meanwhile.

mod close;
mod known;
mod merge;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use super::fold::FoldError;
use super::writer::{Message, Reply};
use super::{Answer, Engine, EngineError, Outcome, Shared};
use crate::crypto::{Aad, HmacKey, SealKey, Secret, seal};
use crate::keys::{Destruction, KeyKind, KeyRing, KeysError, LedgerMark};
use crate::model::backfill::{Job, LOADS_MAX, Stage};
use crate::model::batch::{Batch, Epoch, SiteMonth};
use crate::model::ids::{KeyId, SiteId, SiteNo};
use crate::model::site::SiteConflict;
use crate::model::time::{Day, Month, Timestamp};
use crate::model::vocab::Class;
use crate::store::backfill::{self as rows, MARK_BYTES, Staged};
use crate::store::codec::Corrupt;
use crate::store::{Store, Table, details, keys};

#[cfg(test)]
pub(super) use close::prepare;

pub use crate::engine::writer::Whole;

/// How much a backfill may hold. Its close is one group of the journal, which the writer judges in
/// one go, and which is decoded in memory as a whole when it is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Records.
    pub records_max: u64,
    /// Sealed bytes.
    pub bytes_max: u64,
    /// Requests that load it.
    pub loads_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { records_max: 500_000, bytes_max: 128 << 20, loads_max: LOADS_MAX }
    }
}

/// A backfill that takes records, with what a request needs of it.
pub struct Loading {
    /// The backfill.
    pub job: Arc<Job>,
    /// Its site.
    pub site: SiteId,
    /// Makes the marks of events.
    pub mark: HmacKey,
    key: Arc<SealKey>,
}

/// What became of a request that loads a backfill.
pub enum Loaded {
    /// Its records are durable and wait to be counted.
    Done(Outcome),
    /// The backfill takes no records any more.
    NotOpen,
    /// The backfill would hold more than it may.
    Full,
}

/// A change of a backfill.
pub type Change = Box<dyn FnOnce(&mut Job) + Send>;

/// Records on their way into a backfill.
pub struct Load {
    pub(super) number: u64,
    pub(super) key: Arc<SealKey>,
    /// The encoded records.
    pub(super) plain: Vec<u8>,
    pub(super) months: BTreeMap<Month, u64>,
    pub(super) rejected: u64,
    pub(super) suppressions: u64,
    pub(super) answer: Option<Answer>,
}

/// All backfills that are known, and whose close it is.
#[derive(Default)]
pub struct Backfills {
    jobs: RwLock<BTreeMap<u64, Arc<Job>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Backfills {
    /// Loads the rows of backfills. Keys of which no row knows are left from a cut: they never
    /// sealed anything that was acknowledged, or what they sealed is not in this data.
    ///
    /// # Errors
    /// When a row cannot be read or opened, or the register cannot be written.
    pub fn load(store: &Store, ring: &KeyRing) -> Result<Self, EngineError> {
        let mut jobs = BTreeMap::new();
        let mut from = Vec::new();
        // The records behind each row are many, and nothing of them is needed.
        while let Some(row) = store.scan(Table::Backfill, &from, None)?.next() {
            let (name, sealed) = row?;
            let Some(number) = keys::backfill_of(&name) else {
                // Records without a row are of nothing that is known: on to what lies behind them.
                from = name.into_vec();
                from.push(0);
                continue;
            };
            from = keys::backfill(number.saturating_add(1));
            let plain = ring.state_key().open(&aad(&name), &sealed).map_err(FoldError::from)?;
            let job = rows::decode(&plain)?;
            if job.number != number {
                return Err(Corrupt("backfill").into());
            }
            jobs.insert(number, Arc::new(job));
        }
        let known = |id: KeyId| jobs.values().any(|job| job.key == Some(id));
        let keys = ring.list().into_iter().filter(|info| info.kind == KeyKind::Backfill);
        let strays: Vec<KeyId> = keys.map(|info| info.id).filter(|id| !known(*id)).collect();
        if !strays.is_empty() {
            ring.retire(&strays)?;
        }
        Ok(Self { jobs: RwLock::new(jobs), turn: Arc::default() })
    }

    pub(super) fn of(&self, number: u64) -> Option<Arc<Job>> {
        self.jobs.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Job>> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        jobs.values().cloned().collect()
    }

    pub(super) fn show(&self, job: Job) -> Arc<Job> {
        let job = Arc::new(job);
        let mut jobs = self.jobs.write().unwrap_or_else(PoisonError::into_inner);
        jobs.insert(job.number, Arc::clone(&job));
        job
    }

    pub(super) fn forget(&self, number: u64) {
        self.jobs.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Whether a site has a backfill that may still be counted: it counts as having records, so
    /// that its settings change with the next month only.
    pub(super) fn is_open_at(&self, site: SiteNo) -> bool {
        self.all().iter().any(|job| job.site == site && job.is_open())
    }

    /// The backfills of a site that were made before an entry of the ledger, and whose records
    /// something still opens.
    pub(super) fn living_at(&self, site: SiteNo, before: u64) -> Vec<u64> {
        let numbers = self.all().into_iter().filter(|job| job.site == site && job.key.is_some());
        numbers.map(|job| job.number).filter(|number| *number < before).collect()
    }
}

pub(super) fn aad(row: &[u8]) -> Aad {
    Aad::new("backfill/1").bytes(row)
}

fn mark_aad(number: u64) -> Aad {
    Aad::new("backfill mark/1").number(number)
}

/// The mark of an event: equal for the same producer, event id and UTC day of one backfill.
pub fn mark_of(key: &HmacKey, producer: &[u8], day: Day, event_id: &[u8]) -> [u8; MARK_BYTES] {
    match details::uuid(event_id) {
        Some(bytes) => mark(key, producer, day, (b'u', &bytes)),
        None => mark(key, producer, day, (b't', event_id)),
    }
}

/// The same of an event id as a block has it.
fn mark(key: &HmacKey, producer: &[u8], day: Day, (form, id): (u8, &[u8])) -> [u8; MARK_BYTES] {
    let length = (producer.len() as u64).to_be_bytes();
    let mac = key.mac(&[&length[..], producer, &day.0.to_be_bytes(), &[form], id].concat());
    let mut mark = [0; MARK_BYTES];
    mark.copy_from_slice(&mac[..MARK_BYTES]);
    mark
}

impl Engine {
    /// Makes a backfill, with a key of its own; `job` has everything but its keys. Durable when
    /// this returns.
    ///
    /// # Errors
    /// [`SiteConflict::UserForm`] where another member of the site's billing group reads user ids
    /// differently in a month of it; when the register or the disk refuses, or the engine has
    /// stopped.
    pub async fn make_backfill(&self, mut job: Job) -> Result<Arc<Job>, EngineError> {
        self.aside(move |engine| {
            if !engine.reads_alike(&job)? {
                return Err(EngineError::Conflict(SiteConflict::UserForm));
            }
            let key = engine.shared.ring.backfill()?;
            let secret = Secret::random();
            job.mark = key.seal(&mark_aad(job.number), secret.expose());
            job.key = Some(key.id());
            let id = key.id();
            let made =
                engine.wait_for(|reply| Message::Backfill(Order::Make(Box::new(job), reply)));
            if let Err(EngineError::Conflict(_)) = made {
                // It sealed nothing that is kept, and no row knows of it.
                engine.shared.ring.retire(&[id])?;
            }
            made
        })
        .await
    }

    /// A backfill.
    pub fn backfill(&self, number: u64) -> Option<Arc<Job>> {
        self.shared.backfills.of(number)
    }

    /// All backfills that are known, in the order of their numbers.
    pub fn backfills(&self) -> Vec<Arc<Job>> {
        self.shared.backfills.all()
    }

    /// The name of a backfill's site.
    pub fn site_of_backfill(&self, job: &Job) -> Option<SiteId> {
        Some(self.shared.directory.by_no(job.site)?.id.clone())
    }

    /// Whether records of an open backfill became due while it was open.
    pub fn is_overtaken(&self, job: &Job) -> bool {
        job.is_open() && self.shared.is_overtaken(job)
    }

    /// The open backfill that has records of a site's month put aside, if there is one.
    pub fn staged_in(&self, site: &SiteId, month: Month) -> Option<u64> {
        let no = self.site(site)?.no;
        let of = |job: &&Arc<Job>| {
            let some = job.staged.get(&month).is_some_and(|records| *records > 0);
            job.is_open() && job.site == no && some
        };
        self.backfills().iter().find(of).map(|job| job.number)
    }

    /// Whether a backfill's key is gone although it has not ended: its data was put back from a
    /// time before its end.
    pub fn is_lost_backfill(&self, job: &Job) -> bool {
        job.is_open() && job.key.is_some_and(|key| self.shared.ring.by_id(key).is_none())
    }

    /// A backfill that takes records; `None` where there is none of this number that does.
    ///
    /// # Errors
    /// When its row is damaged.
    pub fn loading(&self, number: u64) -> Result<Option<Loading>, EngineError> {
        let job = self.backfill(number).filter(|job| job.stage == Stage::Loading);
        let Some((job, key)) = job.and_then(|job| job.key.map(|key| (job, key))) else {
            return Ok(None);
        };
        let key = self.shared.ring.by_id(key);
        let Some((key, site)) = key.zip(self.site_of_backfill(&job)) else { return Ok(None) };
        let mark = mark_key(&job, &key)?;
        Ok(Some(Loading { job, site, mark, key }))
    }

    /// Puts records aside; they are durable when this answers [`Loaded::Done`], and not counted.
    ///
    /// # Errors
    /// Busy, out of disk, or stopped; then nothing was taken, and the same may be sent again.
    pub async fn load(
        &self,
        to: &Loading,
        staged: &Staged,
        answer: Option<Answer>,
    ) -> Result<Loaded, EngineError> {
        if self.shared.disk_low.load(Ordering::Acquire) {
            return Err(EngineError::DiskFull);
        }
        let batch = &staged.batch;
        let mut months: BTreeMap<Month, u64> = BTreeMap::new();
        for claim in &batch.claims {
            let at = batch.months.get(usize::from(claim.month)).ok_or(EngineError::NoSite)?;
            *months.entry(at.month).or_default() += 1;
        }
        let senders = batch.arrival.senders.iter();
        let refused = senders.map(|(_, received)| received.rejected.iter().sum::<u64>());
        let load = Load {
            number: to.job.number,
            key: Arc::clone(&to.key),
            plain: rows::encode_staged(staged),
            months,
            rejected: refused.sum(),
            suppressions: batch.suppressions,
            answer,
        };
        self.ask(|reply| Message::Backfill(Order::Load(Box::new(load), reply))).await
    }

    /// Marks the rows whose bucket is due by now: they are counted and not kept, so nothing of them
    /// is put aside but what counts.
    pub fn leave_out_due(&self, batch: &mut Batch) {
        let due = |at: &SiteMonth| self.shared.past_due(*at, &batch.days);
        let due: Vec<Vec<(Epoch, Class)>> = batch.months.iter().map(due).collect();
        let Batch { months, claims, .. } = batch;
        for claim in claims {
            let place = usize::from(claim.month);
            let Some((at, due)) = months.get(place).zip(due.get(place)) else { continue };
            let epochs = [Epoch::Month(at.month), Epoch::Day(claim.occurred_at.day())];
            let of = |(epoch, class): &(Epoch, Class)| {
                *class == claim.kind.class() && epochs.contains(epoch)
            };
            claim.suppressed |= due.iter().any(of);
        }
    }

    /// Changes what is written down of a backfill; `None` where there is none.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn change_backfill(
        &self,
        number: u64,
        change: Change,
    ) -> Result<Option<Arc<Job>>, EngineError> {
        self.ask(|reply| Message::Backfill(Order::Change(number, change, reply))).await
    }

    /// Forgets the figures of a backfill that has ended and has no key.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub async fn forget_backfill(&self, number: u64) -> Result<(), EngineError> {
        self.ask(|reply| Message::Backfill(Order::Forget(number, reply))).await
    }

    /// Destroys the key of a backfill that has ended, and removes its rows; false while a copy of
    /// the register off the host, or another destruction, is waited for. `mark` is the ledger's
    /// after the entry that says so.
    ///
    /// # Errors
    /// When the keys or the disk refuse, or the engine has stopped.
    pub async fn clear_backfill(&self, number: u64, mark: LedgerMark) -> Result<bool, EngineError> {
        self.aside(move |engine| {
            let shared = &engine.shared;
            let _one = shared.destroying.lock().unwrap_or_else(PoisonError::into_inner);
            let job = shared.backfills.of(number).filter(|job| !job.is_open());
            let Some(key) = job.and_then(|job| job.key) else { return Ok(true) };
            match shared.ring.destroy(&[key], mark, &()) {
                Ok(Destruction::Done(_) | Destruction::NothingToDestroy) => {}
                Ok(Destruction::Waiting(_)) | Err(KeysError::Unfinished) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            if shared.ring.by_id(key).is_some() {
                return Err(EngineError::Refused("the key of a backfill still opens".into()));
            }
            let change: Change = Box::new(|job| job.key = None);
            engine.wait_for(|reply| Message::Backfill(Order::Change(number, change, reply)))?;
            Ok(true)
        })
        .await
    }

    /// Whether a month of a site takes records of a backfill: its keys live, and its sets are not
    /// due by now.
    pub fn takes_backfill(&self, site: &SiteId, month: Month, ends_at: Timestamp) -> bool {
        let Some(site) = self.site(site) else { return false };
        let dues = self.shared.dues.get();
        !dues.is_some_and(|dues| dues.sets_over(&site, month, ends_at))
    }
}

/// The key that tells the records of a backfill apart.
fn mark_key(job: &Job, key: &SealKey) -> Result<HmacKey, EngineError> {
    let mut plain = key.open(&mark_aad(job.number), &job.mark).map_err(FoldError::from)?;
    let secret = Secret::take(&mut plain).ok_or(Corrupt("backfill"))?;
    Ok(HmacKey::new(&secret))
}

/// Seals the records of a request in their place; `None` where the key is destroyed.
pub(super) fn seal_load(key: &SealKey, row: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    key.try_seal(&aad(row), plain).ok()
}

/// How much longer a row is once it is sealed, bytes.
pub(super) const SEALED_BYTES: usize = seal::OVERHEAD_BYTES;

impl Shared {
    /// A backfill's row.
    pub(super) fn backfill_row(&self, job: &Job) -> (Vec<u8>, Vec<u8>) {
        let name = keys::backfill(job.number);
        let sealed = self.ring.state_key().seal(&aad(&name), &rows::encode(job));
        (name, sealed)
    }
}

/// What the writer is asked to do with backfills.
pub enum Order {
    /// Make one.
    Make(Box<Job>, Reply<Arc<Job>>),
    /// Put records aside.
    Load(Box<Load>, Reply<Loaded>),
    /// Change what is written down of one. Where it has no key any more, its records go.
    Change(u64, Change, Reply<Option<Arc<Job>>>),
    /// Count all of it; `None` where something it was prepared for has changed.
    Close(Box<Whole>, Reply<Option<Arc<Job>>>),
    /// Forget one.
    Forget(u64, Reply<()>),
}
