//! The desk for backfills: logs of a licence server that was off the line come late and all at
//! once. An operator makes a backfill and says of which site and time; producers load it; then it
//! is closed, which counts all of it at once, or abandoned, which destroys it.
//!
//! Invariants: nothing of a backfill is counted before its close, and a close counts all of it or
//! nothing (the engine's promise); what begins and ends a backfill is in the ledger before it is
//! done (L1); no backfill is open for longer than its time, nor longer than its site's collection;
//! when one has ended, its key is destroyed before its end is called done, and the desk tries again
//! until it is (R1). No answer and no entry holds anything of a person (P1).

mod making;
#[cfg(test)]
mod tests;
mod work;

use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Engine, EngineError};
use crate::ledger::{Actor, Credential, Ledger, LedgerError};
use crate::model::backfill::{Job, Why};
use crate::model::caller::{Caller, Role};
use crate::model::ids::SiteId;
use crate::model::reason::Reason;
use crate::model::site::SiteConflict;
use crate::model::time::{Clock, DAY_MS};
use crate::wire::backfill::{BackfillRequest, backfill_number, list, view};
use crate::wire::fault::Flaw;

/// The pause between two looks at what ends by itself.
const EVERY: Duration = Duration::from_secs(300);

/// How the desk works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a backfill may be open, milliseconds.
    pub open_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { open_ms: 14 * DAY_MS }
    }
}

/// Why a request about a backfill was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackfillError {
    /// The body is no JSON object.
    #[error("the body cannot be read")]
    Unreadable,
    /// A member does not fit.
    #[error("a member does not fit")]
    Unfit(Flaw),
    /// Nothing of that name, or nothing for this caller.
    #[error("there is nothing of that name")]
    NotFound,
    /// There are as many open backfills as there may be.
    #[error("there are too many open backfills")]
    TooMany,
    /// It has ended, or is being counted.
    #[error("the backfill is not open")]
    NotOpen,
    /// Another member of the site's billing group reads user ids differently in a month of it.
    #[error("members of a billing group would read user ids differently")]
    UserIdsDiffer,
    /// The engine is busy.
    #[error("the engine is busy")]
    Busy,
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// Ledger, keys or disk refused; the log says more.
    #[error("it failed")]
    Failed,
}

impl From<EngineError> for BackfillError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy => Self::Busy,
            EngineError::DiskFull => Self::DiskFull,
            EngineError::Stopped => Self::Stopped,
            EngineError::Ended => Self::NotOpen,
            EngineError::NoSite => Self::NotFound,
            EngineError::Conflict(SiteConflict::UserForm) => Self::UserIdsDiffer,
            other @ (EngineError::Damaged(_)
            | EngineError::Refused(_)
            | EngineError::Conflict(SiteConflict::Algorithm)
            | EngineError::InUse) => {
                tracing::error!(error = %other, "backfills: the engine refused");
                Self::Failed
            }
        }
    }
}

impl From<LedgerError> for BackfillError {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "backfills: the ledger refused");
        Self::Failed
    }
}

impl From<Flaw> for BackfillError {
    fn from(flaw: Flaw) -> Self {
        if flaw.reason == Reason::BadJson { Self::Unreadable } else { Self::Unfit(flaw) }
    }
}

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Backfills(Arc<Inner>);

struct Inner {
    engine: Engine,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    /// Held while one is made or ends: one after the other.
    changing: tokio::sync::Mutex<()>,
    /// Hears that one has gone with its key.
    gone: Box<dyn Fn() + Send + Sync>,
}

impl Backfills {
    /// A desk over the engine and the ledger. `gone` is told when the key of one is destroyed.
    pub fn new(
        engine: Engine,
        ledger: Arc<Ledger>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        gone: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let (changing, gone) = (tokio::sync::Mutex::default(), Box::new(gone));
        Self(Arc::new(Inner { engine, ledger, clock, settings, changing, gone }))
    }

    /// Makes a backfill.
    ///
    /// # Errors
    /// [`BackfillError`]; nothing is made then.
    pub async fn create(&self, caller: &Caller, text: &mut [u8]) -> Result<Vec<u8>, BackfillError> {
        let request = BackfillRequest::parse(text)?;
        let caller = Arc::clone(caller);
        self.whole(|inner| async move {
            let _one = inner.changing.lock().await;
            let job = inner.create(&caller, request).await?;
            inner.show(&job)
        })
        .await
    }

    /// The backfills of the caller's sites, the newest first.
    pub fn list(&self, caller: &Caller) -> Vec<u8> {
        let floor = self.0.engine.seen_floor();
        let jobs = self.0.engine.backfills().into_iter().rev();
        let own = jobs.filter_map(|job| Some((self.0.site_for(caller, &job)?, job)));
        list(own.map(|(site, job)| view(&job, &site, floor)).collect())
    }

    /// A backfill.
    ///
    /// # Errors
    /// [`BackfillError::NotFound`], also for one that is not the caller's.
    pub fn read(&self, caller: &Caller, id: &str) -> Result<Vec<u8>, BackfillError> {
        let job = self.0.find(caller, id)?;
        self.0.show(&job)
    }

    /// The number of a backfill that the caller may load; whether it is open is told when it is.
    ///
    /// # Errors
    /// As [`Backfills::read`].
    pub fn loadable(&self, caller: &Caller, id: &str) -> Result<u64, BackfillError> {
        self.0.find(caller, id).map(|job| job.number)
    }

    /// Counts everything of a backfill, all of it or nothing. Asked again it goes on, or answers
    /// how it was counted.
    ///
    /// # Errors
    /// [`BackfillError`]. Where it was busy the close goes on by itself.
    pub async fn close(&self, caller: &Caller, id: &str) -> Result<Vec<u8>, BackfillError> {
        let number = self.0.find(caller, id)?.number;
        let by = actor(caller)?;
        self.whole(|inner| async move {
            let _one = inner.changing.lock().await;
            let job = inner.close(by, number).await?;
            inner.show(&job)
        })
        .await
    }

    /// Abandons a backfill: its records are not counted, and their key is destroyed. The answer
    /// says whether it is by now.
    ///
    /// # Errors
    /// [`BackfillError`]. Once the ledger knows it goes on by itself.
    pub async fn abandon(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<(bool, Vec<u8>), BackfillError> {
        let number = self.0.find(caller, id)?.number;
        let by = actor(caller)?;
        self.whole(|inner| async move {
            let _one = inner.changing.lock().await;
            let job = inner.abandon(by, number, Why::Operator).await?;
            Ok((job.key.is_none(), inner.show(&job)?))
        })
        .await
    }

    /// Ends what is over: closes that were begun, backfills that were open for too long or whose
    /// site's collection has ended, keys that wait, figures that are old. Once.
    ///
    /// # Errors
    /// Of the last one that could not be ended.
    pub async fn pass(&self) -> Result<(), BackfillError> {
        self.look(true).await
    }

    async fn look(&self, resume: bool) -> Result<(), BackfillError> {
        self.whole(move |inner| async move {
            let _one = inner.changing.lock().await;
            inner.tidy().await?;
            inner.pass(resume).await
        })
        .await
    }

    /// Ends what is over, now and then, as long as it is polled. Closes that were begun have to
    /// wait for the second look: one that ended the server does not end it at its start.
    pub async fn watch(self) {
        let mut resume = false;
        loop {
            match self.look(resume).await {
                Ok(()) | Err(BackfillError::Stopped) => {}
                Err(error) => {
                    tracing::error!(%error, "not all backfills could be brought to an end");
                }
            }
            tokio::time::sleep(EVERY).await;
            resume = true;
        }
    }

    /// Waits for what is under way.
    pub async fn rest(&self) {
        drop(self.0.changing.lock().await);
    }

    /// Goes the whole way even when nobody waits for it any more.
    async fn whole<T, W>(&self, work: impl FnOnce(Arc<Inner>) -> W) -> Result<T, BackfillError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, BackfillError>> + Send + 'static,
    {
        // An error means that it ended with a panic, which has been logged.
        tokio::spawn(work(Arc::clone(&self.0))).await.unwrap_or(Err(BackfillError::Failed))
    }
}

impl Inner {
    /// The site of a backfill, where the caller may know of it: the site is theirs, and a producer
    /// is one that may load it.
    fn site_for(&self, caller: &Caller, job: &Job) -> Option<SiteId> {
        let site = self.engine.site_of_backfill(job).filter(|site| caller.sites.holds(site))?;
        let own = job.producer.as_deref().is_none_or(|name| *caller.producer == *name);
        (caller.role != Role::Producer || own).then_some(site)
    }

    fn find(&self, caller: &Caller, id: &str) -> Result<Arc<Job>, BackfillError> {
        let job = backfill_number(id).and_then(|number| self.engine.backfill(number));
        let own = job.filter(|job| self.site_for(caller, job).is_some());
        own.ok_or(BackfillError::NotFound)
    }

    fn show(&self, job: &Job) -> Result<Vec<u8>, BackfillError> {
        let site = self.engine.site_of_backfill(job).ok_or(BackfillError::NotFound)?;
        Ok(view(job, &site, self.engine.seen_floor()).to_string().into_bytes())
    }
}

/// Who asked, as the ledger writes it.
fn actor(caller: &Caller) -> Result<Actor, BackfillError> {
    Credential::parse(&caller.key_id).map(Actor::Credential).ok_or(BackfillError::Failed)
}
