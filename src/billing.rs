//! The desk for statements: what a closed month is billed by, issued once and never changed.
//!
//! A statement is a body and a proof, as certificates are: the ledger, under a checkpoint signed by
//! its key, has an entry with the SHA-256 of the body. So there is one key to publish, no statement
//! that the ledger does not know, and a version that was exchanged shows. What it says is counted
//! twice: by the counters, and from the stored sets.
//!
//! A billing group has statements as a site has ([`subject`]); it is named by its key scope.
//!
//! The first version is issued by itself after the close. A restatement is a new version that names
//! the one before, with a reason; the figures stay, the corrections are added to what is billed.

mod challenge;
mod check;
mod due;
mod export;
#[cfg(test)]
pub mod fake;
mod issue;
mod months;
mod subject;
#[cfg(test)]
mod tests;
mod trust;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use challenge::Challenges;
pub use check::{StatementError, csv, page, page_of, verify};
pub use export::{Names, Wanted};
pub use months::{Change, Months};

use crate::engine::EngineError;
use crate::ledger::{Actor, Credential, Digest, Ledger, LedgerError};
use crate::model::caller::Caller;
use crate::model::ids::SiteId;
use crate::model::reason::Reason;
use crate::model::time::{Clock, Month};
use crate::wire::fault::{Flaw, Pointer};
use crate::wire::retention::{BadForm, TerminateRequest as Reasoned};
use crate::wire::statement::{Statement, versions_to_json};
use turns::Turns;

/// How often closed months without a statement are looked for.
const EVERY: Duration = Duration::from_secs(600);
/// For how many closed months of a site a statement is issued unasked although the ledger knows of
/// one: it may have been lost with its data.
const MONTHS_BACK: usize = 3;

/// Figures by DRM system about fewer users are left out of statements.
const SUBJECTS_LEAST: u64 = 10;

/// The settings of the desk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Figures by DRM system about fewer users are left out of statements; 0 leaves out nothing.
    pub subjects_least: u64,
    /// What a customer may ask.
    pub challenge: Challenges,
    /// What billing systems call things.
    pub names: Names,
}

impl Default for Settings {
    fn default() -> Self {
        let (challenge, names) = Default::default();
        Self { subjects_least: SUBJECTS_LEAST, challenge, names }
    }
}

/// Why there is no statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BillingError {
    /// The request's text is no JSON object.
    #[error("the request cannot be read")]
    Unreadable,
    /// A member of the request is unfit.
    #[error("the request does not fit: {} at {}", .0.reason, .0.pointer)]
    Unfit(Flaw),
    /// No such site, no such version.
    #[error("there is no such statement")]
    NotFound,
    /// The statement was kept as long as it may be, and has ended.
    #[error("the statement is not kept any more")]
    Ended,
    /// The month is not closed.
    #[error("the month is not closed yet")]
    NotClosed,
    /// What would tell who was counted is destroyed.
    #[error("the month's pseudonyms are destroyed")]
    NotAttributable,
    /// As many lists as may be were answered.
    #[error("the budget of the month is spent")]
    BudgetSpent,
    /// A list of too few users.
    #[error("the list has too few users")]
    ListTooSmall,
    /// A list of too many lines.
    #[error("the list has too many lines")]
    TooManyLines,
    /// A line of a list, by its number from 0, is unfit.
    #[error("a line does not fit: {} at {}", .1.reason, .1.pointer)]
    BadLine(u64, Flaw),
    /// A version before is not stored, so that nobody can tell how much more this one is.
    #[error("the version before is not there")]
    DifferenceUnknown,
    /// A billing system that has its own ids of customers, and none was given.
    #[error("no customer was given")]
    CustomerMissing,
    /// The engine's queue is full.
    #[error("the engine is busy")]
    Busy,
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// Ledger or disk refused, or the two counts differ; the log says more.
    #[error("it failed")]
    Failed,
}

impl From<EngineError> for BillingError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy => Self::Busy,
            EngineError::DiskFull => Self::DiskFull,
            EngineError::Stopped => Self::Stopped,
            EngineError::NoSite => Self::NotFound,
            EngineError::Ended => Self::Ended,
            other @ (EngineError::Damaged(_)
            | EngineError::Refused(_)
            | EngineError::Conflict(_)
            | EngineError::InUse) => {
                tracing::error!(error = %other, "statements: the engine refused");
                Self::Failed
            }
        }
    }
}

impl From<LedgerError> for BillingError {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "statements: the ledger refused");
        Self::Failed
    }
}

impl From<BadForm> for BillingError {
    fn from(_: BadForm) -> Self {
        tracing::error!("statements: a row cannot be written or read");
        Self::Failed
    }
}

impl From<Flaw> for BillingError {
    fn from(flaw: Flaw) -> Self {
        if flaw.reason == Reason::BadJson { Self::Unreadable } else { Self::Unfit(flaw) }
    }
}

/// What became of a restatement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restated {
    /// The last version now.
    pub statement: Statement,
    /// Whether it was issued by this call; else it was there, and says what this one would say.
    pub is_new: bool,
}

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Billing(Arc<Inner>);

struct Inner {
    months: Arc<dyn Months>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    /// Held while a list is answered.
    challenging: tokio::sync::Mutex<()>,
    /// Held while a refusal of one is written down.
    refusing: tokio::sync::Mutex<()>,
    /// Who issues a month's statement: of two askers at once, both get the same one. What is stored
    /// is read without a turn.
    turns: Turns,
    /// Held, by any number at once, while a statement is written.
    writing: tokio::sync::RwLock<()>,
    /// What the ledger says, as far as it was read.
    known: tokio::sync::Mutex<Known>,
}

/// Version and digest of the last statement of a month of a site, or of a group's key scope;
/// nothing where it was removed.
type Statements = BTreeMap<(SiteId, Month), Option<(u32, Digest)>>;

/// What the ledger knows of the months of sites.
#[derive(Default)]
struct Known {
    /// The statements that were issued.
    issued: Statements,
    /// How many lists were answered.
    challenged: BTreeMap<(SiteId, Month), u64>,
    /// Entries that were read.
    read: u64,
}

impl Billing {
    /// A desk over months, a ledger and a clock.
    pub fn new(
        months: Arc<dyn Months>,
        ledger: Arc<Ledger>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner {
            months,
            ledger,
            clock,
            settings,
            challenging: Default::default(),
            refusing: Default::default(),
            turns: Default::default(),
            writing: Default::default(),
            known: Default::default(),
        }))
    }

    /// The last version of the statement of a closed month, of a site or of a group's key scope,
    /// byte for byte as it was issued; the first one is issued now where nobody asked before.
    ///
    /// # Errors
    /// [`BillingError`].
    pub async fn statement(&self, site: SiteId, month: Month) -> Result<Statement, BillingError> {
        if let Some(last) = self.0.stored(&site, month)?.pop() {
            return Ok(last);
        }
        self.0.closed(&site, month)?;
        // Who gives up while waiting leaves nothing behind; who has the turn goes the whole way.
        let turn = self.0.turns.of(&site, month).await;
        self.whole(|inner| async move {
            let _turn = turn;
            inner.last(&site, month, false).await
        })
        .await
    }

    /// All versions, the earliest first.
    ///
    /// # Errors
    /// [`BillingError`].
    pub async fn versions(&self, site: SiteId, month: Month) -> Result<Vec<u8>, BillingError> {
        self.statement(site.clone(), month).await?;
        Ok(versions_to_json(&self.0.stored(&site, month)?)?)
    }

    /// Issues a new version, which names the last one and the reason in the request's text; or
    /// answers the last one again where the same caller has it for the same reason and nothing came
    /// since. So who got no answer may ask again.
    ///
    /// # Errors
    /// [`BillingError`].
    pub async fn restate(
        &self,
        caller: &Caller,
        site: SiteId,
        month: Month,
        text: &mut [u8],
    ) -> Result<Restated, BillingError> {
        let missing = Flaw { reason: Reason::MissingField, pointer: Pointer::of("reason") };
        let reason = Reasoned::parse(text)?.reason.ok_or(missing)?;
        let by = Credential::parse(&caller.key_id).ok_or(BillingError::Failed)?;
        let by = Actor::Credential(by);
        self.0.closed(&site, month)?;
        let turn = self.0.turns.of(&site, month).await;
        self.whole(|inner| async move {
            let _turn = turn;
            inner.restate(&site, month, by, reason).await
        })
        .await
    }

    /// Issues what nobody has asked for yet, now and then, as long as it is polled.
    pub async fn watch(self) {
        loop {
            let issued = self.whole(|inner| async move { inner.issue_due().await });
            match issued.await {
                Ok(()) | Err(BillingError::Stopped) => {}
                Err(error) => tracing::error!(%error, "not all statements could be issued"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Waits for what is being written of statements, or a list that is being answered.
    pub async fn rest(&self) {
        drop(self.0.challenging.lock().await);
        drop(self.0.writing.write().await);
    }

    /// Goes the whole way even when nobody waits for it any more.
    async fn whole<T, W>(&self, work: impl FnOnce(Arc<Inner>) -> W) -> Result<T, BillingError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, BillingError>> + Send + 'static,
    {
        // An error means that it ended with a panic, which has been logged.
        tokio::spawn(work(Arc::clone(&self.0))).await.unwrap_or(Err(BillingError::Failed))
    }
}
