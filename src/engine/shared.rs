//! What the writer, the fold and the readers share.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use tokio::sync::watch;

use super::arrivals::Arrivals;
use super::backfill::Backfills;
use super::backup::Lease;
use super::destroy::Waiting;
use super::directory::Directory;
use super::ended::Ended;
use super::erase::{Erasures, Suppressed};
use super::explain::Kept;
use super::gone::{Dues, Gone};
use super::hold::Copies;
use super::journal::JournalKey;
use super::state::State;
use super::{EngineError, fold, spill};
use crate::keys::KeyRing;
use crate::model::arrival::{Hour, Received, Sender};
use crate::model::batch::SiteMonth;
use crate::model::retention::Doom;
use crate::model::time::{Clock, Timestamp};
use crate::model::usage::Tally;
use crate::store::Store;

/// The shared part.
pub struct Shared {
    pub(super) store: Arc<Store>,
    pub(super) ring: Arc<KeyRing>,
    pub(super) directory: Arc<Directory>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) journal_key: RwLock<Arc<JournalKey>>,
    pub(super) published: RwLock<HashMap<SiteMonth, Tally>>,
    /// What arrived from whom.
    pub(super) arrivals: Arrivals,
    pub(super) gone: RwLock<Gone>,
    /// Who says which buckets are due, once somebody does.
    pub(super) dues: OnceLock<Box<dyn Dues>>,
    /// Months whose figures have ended.
    pub(super) ended: RwLock<Ended>,
    /// Months whose sets are destroyed.
    pub(super) without_sets: RwLock<HashSet<SiteMonth>>,
    /// Locked by who destroys.
    pub(super) destroying: Mutex<()>,
    /// The copy beside the data that a backup is made of.
    pub(super) copying: Mutex<Option<Lease>>,
    /// What of a destruction has not ended.
    pub(super) unfinished: RwLock<Vec<Doom>>,
    /// What of a destruction waits for a copy of the register of holds, in nobody's way.
    pub(super) waiting: RwLock<Waiting>,
    /// The copies in hold storage.
    pub(super) held: RwLock<Copies>,
    /// Erasures that have not ended.
    pub(super) erasing: RwLock<Erasures>,
    /// Persons whose later records are not kept.
    pub(super) suppressed: RwLock<Suppressed>,
    /// Backfills.
    pub(super) backfills: Backfills,
    /// The explanations of months that were made last.
    pub(super) explained: Kept,
    /// The time that the writer believes, milliseconds since 1970.
    pub(super) believed: AtomicI64,
    pub(super) as_of: AtomicU64,
    pub(super) queued_bytes: AtomicUsize,
    pub(super) journal_bytes: AtomicUsize,
    pub(super) floor: AtomicU32,
    pub(super) groups: AtomicU64,
    pub(super) folds: AtomicU64,
    pub(super) folded_rows: AtomicU64,
    pub(super) block_bytes: AtomicU64,
    pub(super) sizes: Mutex<spill::Sizes>,
    pub(super) disk_low: AtomicBool,
    pub(super) stopped: AtomicBool,
    pub(super) failure: watch::Sender<Option<EngineError>>,
}

impl Shared {
    /// Nothing published yet; records before `floor` are too old.
    pub(super) fn new(
        (store, ring, directory): (Arc<Store>, Arc<KeyRing>, Arc<Directory>),
        arrivals: Arrivals,
        clock: Arc<dyn Clock>,
        key: Arc<JournalKey>,
        floor: u32,
    ) -> Self {
        Self {
            store,
            ring,
            directory,
            clock,
            journal_key: RwLock::new(key),
            published: RwLock::new(HashMap::new()),
            arrivals,
            gone: RwLock::default(),
            dues: OnceLock::new(),
            ended: RwLock::default(),
            without_sets: RwLock::default(),
            destroying: Mutex::default(),
            copying: Mutex::default(),
            unfinished: RwLock::default(),
            waiting: RwLock::default(),
            held: RwLock::default(),
            erasing: RwLock::default(),
            suppressed: RwLock::default(),
            backfills: Backfills::default(),
            explained: Kept::default(),
            believed: AtomicI64::new(0),
            as_of: AtomicU64::new(0),
            queued_bytes: AtomicUsize::new(0),
            journal_bytes: AtomicUsize::new(0),
            floor: AtomicU32::new(floor),
            groups: AtomicU64::new(0),
            folds: AtomicU64::new(0),
            folded_rows: AtomicU64::new(0),
            block_bytes: AtomicU64::new(0),
            sizes: Mutex::default(),
            disk_low: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            failure: watch::Sender::new(None),
        }
    }

    /// Shows readers what recovery found, if it agrees with what arrived.
    pub(super) fn begin(&self, state: &State, now: Timestamp) -> Result<(), EngineError> {
        let tallies = state.months_now().iter().map(|month| (month.at, month.tally.clone()));
        self.publish(tallies.collect(), (&[], state.duplicates_apart()), now);
        self.arrivals.check()
    }

    /// Shows readers what is counted of a group that is on the disk, and what arrived with it, both
    /// at once; and how many duplicates since the start no month counts.
    pub(super) fn publish(
        &self,
        tallies: Vec<(SiteMonth, Tally)>,
        (arrivals, apart): (&[(Sender, Received)], u64),
        now: Timestamp,
    ) {
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        for (at, tally) in tallies {
            self.arrivals.note(published.get(&at), &tally);
            published.insert(at, tally);
        }
        self.arrivals.add(Hour::of(now), arrivals);
        self.arrivals.note_apart(apart);
        self.as_of.store(now.0.max(0) as u64, Ordering::Release);
    }

    /// Notes what a fold did.
    pub(super) fn note_fold(&self, stats: fold::Stats, sizes: spill::Sizes) {
        *self.sizes.lock().unwrap_or_else(PoisonError::into_inner) = sizes;
        self.folds.fetch_add(1, Ordering::Relaxed);
        self.folded_rows.fetch_add(stats.rows, Ordering::Relaxed);
        self.block_bytes.fetch_add(stats.bytes, Ordering::Relaxed);
    }

    /// Ends the engine for everybody.
    pub(super) fn fail(&self, error: &EngineError) {
        self.stopped.store(true, Ordering::Release);
        self.failure.send_replace(Some(error.clone()));
    }

    /// The journal key that batches are sealed under now.
    pub fn current_key(&self) -> Arc<JournalKey> {
        Arc::clone(&self.journal_key.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins with the next journal key; answers the one before.
    pub(super) fn rotate_key(&self, next: Arc<JournalKey>) -> Arc<JournalKey> {
        let mut current = self.journal_key.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, next)
    }
}
