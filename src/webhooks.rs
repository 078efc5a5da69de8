//! The desk for webhooks: who wants to be told what, what there is to tell, and the telling, in the
//! form of the Standard Webhooks specification.
//!
//! The desk looks at months and certificates again and again (`scan`), gives each event one row of
//! its own (so that it is queued once, whatever happens), and sends from these rows (`deliver`) on
//! the schedule of the specification. An endpoint has a lane of its own, so that a slow one delays
//! no other. `client` and `guard` see to it that nobody has this server ask inside.
//!
//! Invariants: an event is queued for an endpoint at most once, and as soon as its row is written a
//! restart does not lose it; a message has the same id and the same bytes in every attempt; an
//! endpoint is told of its own sites only, and of a billing group where it has every member (T1);
//! making, changing and removing an endpoint is in the ledger before it is done, with the host and
//! never the address (L1); no message holds anything of a person (P1).

mod client;
mod deliver;
#[cfg(test)]
pub mod fake;
mod figures;
mod guard;
mod manage;
mod queue;
mod replay;
mod scan;
mod sign;
pub mod source;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::engine::EngineError;
use crate::model::reason::Reason;
use crate::model::time::{Clock, DAY_MS};
use crate::observe::Registry;
use crate::wire::fault::Flaw;
use crate::wire::retention::BadForm;
use client::{Client, Resolve, Roots, SystemResolver};
use figures::Figures;
pub use manage::DELIVERIES_MAX;
use queue::State;
pub use replay::{Since, replay};
pub use source::{About, Certified, Change, DestroyedNews, GroupNews, MonthNews, Rows, Source};

/// The host of an address that may be asked: `https`, with nothing beside host and port, and no
/// address inside unless that is allowed. What the host's name leads to is looked at later.
pub fn host_of(url: &str, allow_internal: bool) -> Option<String> {
    client::Target::parse(url, allow_internal).map(|target| target.host().to_owned())
}

/// How the desk works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether endpoints may lie inside of our own network, and be asked without TLS.
    pub allow_internal: bool,
    /// The certificates that endpoints are checked by; `None` = those of the system.
    pub roots: Option<PathBuf>,
    /// How long an attempt may take.
    pub deadline: Duration,
    /// The pause between two looks for news.
    pub every: Duration,
    /// How long events and their deliveries are kept at least, milliseconds.
    pub keep_ms: i64,
    /// The share of a month's licences without a user beyond which there is an alarm, percent.
    pub unattributed_percent: u64,
    /// The licences that a month must have before there is an alarm.
    pub unattributed_least: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow_internal: false,
            roots: None,
            deadline: Duration::from_secs(15),
            every: Duration::from_secs(30),
            keep_ms: 30 * DAY_MS,
            unattributed_percent: 5,
            unattributed_least: 1_000,
        }
    }
}

/// Why the desk does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificates of those whom endpoints are checked by.
    #[error("{} holds no certificates to check endpoints by ([webhooks] roots)", .0.display())]
    Roots(PathBuf),
    /// Its rows.
    #[error("what the webhook desk keeps cannot be read: {0}")]
    Rows(#[from] EngineError),
    /// A row of another form.
    #[error("what the webhook desk keeps is damaged; put back the data directory")]
    Damaged(#[from] BadForm),
}

/// Why a request about webhooks was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// The body is no JSON object.
    #[error("the body cannot be read")]
    Unreadable,
    /// A member does not fit.
    #[error("a member does not fit")]
    Unfit(Flaw),
    /// The caller's own sites do not hold what the endpoint would be told of.
    #[error("a credential cannot give sites that it does not have")]
    BeyondCaller,
    /// Nothing of that name, or nothing for this caller.
    #[error("there is nothing of that name")]
    NotFound,
    /// There are as many endpoints as there may be.
    #[error("there are too many webhooks")]
    TooMany,
    /// The endpoint said that it is gone.
    #[error("the webhook is disabled")]
    Disabled,
    /// A queue is full.
    #[error("the queue is full")]
    Busy,
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// The engine or the ledger has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// Keys, ledger or disk refused; the log says more.
    #[error("it failed")]
    Failed,
}

impl From<EngineError> for HookError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy => Self::Busy,
            EngineError::DiskFull => Self::DiskFull,
            EngineError::Stopped => Self::Stopped,
            EngineError::NoSite | EngineError::Ended => Self::NotFound,
            other @ (EngineError::Damaged(_)
            | EngineError::Refused(_)
            | EngineError::Conflict(_)
            | EngineError::InUse) => {
                tracing::error!(error = %other, "webhooks: the engine refused");
                Self::Failed
            }
        }
    }
}

impl From<BadForm> for HookError {
    fn from(_: BadForm) -> Self {
        tracing::error!("webhooks: a row cannot be written or read");
        Self::Failed
    }
}

impl From<Flaw> for HookError {
    fn from(flaw: Flaw) -> Self {
        // A text that is no JSON object has no place to point to.
        if flaw.reason == Reason::BadJson { Self::Unreadable } else { Self::Unfit(flaw) }
    }
}

struct Inner {
    source: Arc<dyn Source>,
    client: Client,
    settings: Settings,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held while rows and what is in memory of them change.
    changing: tokio::sync::Mutex<()>,
    /// Rings when there is something to send.
    bell: Notify,
    figures: Figures,
}

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

impl Webhooks {
    /// Opens the desk: its rows are loaded, and what was waiting waits on.
    ///
    /// # Errors
    /// When the certificates cannot be used or a row is damaged.
    pub fn new(
        source: Arc<dyn Source>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        Self::with_resolver(source, settings, clock, Arc::new(SystemResolver))
    }

    fn with_resolver(
        source: Arc<dyn Source>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, StartError> {
        let roots = Roots::read(settings.roots.as_deref()).map_err(StartError::Roots)?;
        let client = Client::new(resolver, roots, settings.allow_internal, settings.deadline);
        let state = State::load(source.as_ref(), settings.allow_internal)?;
        Ok(Self(Arc::new(Inner {
            source,
            client,
            settings,
            clock,
            state: Mutex::new(state),
            changing: tokio::sync::Mutex::default(),
            bell: Notify::new(),
            figures: Figures::default(),
        })))
    }

    /// Shows the desk's figures in the metrics.
    pub fn register(&self, registry: &Registry) {
        let desk = self.clone();
        let help = "Deliveries that wait to be tried, or tried again.";
        registry.probe("blindtally_webhook_waiting", help, move || desk.0.state().waiting());
        let desk = self.clone();
        let help = "Endpoints that said that they are gone.";
        registry.probe("blindtally_webhook_disabled", help, move || desk.0.state().disabled());
        self.0.figures.register(registry);
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks what lies below, which may wait for the disk.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Source) -> Result<T, EngineError> + Send + 'static,
    ) -> Result<T, HookError> {
        let source = Arc::clone(&self.source);
        let asked = tokio::task::spawn_blocking(move || question(source.as_ref())).await;
        // An error means that it ended with a panic, which has been logged.
        Ok(asked.map_err(|_| HookError::Failed)??)
    }
}
