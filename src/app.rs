//! Wires the rooms, starts them, drains them. The only place that sees everything.

mod first_token;
mod hooks;
mod ledger;
pub mod pack;
mod people;
mod process;
mod recount;
mod restore;
mod rooms;
mod signals;
#[cfg(test)]
mod tests;
pub mod verify;
mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::admin::{Book, Scribe, Sites, Tokens};
use crate::audit::Audit;
use crate::backfill::Backfills;
use crate::backup::{BackupError, Backups};
use crate::billing::Billing;
use crate::config::Settings;
use crate::engine::Engine;
use crate::http::{Desks, Intake, Server, StartError};
use crate::ingest::Ingest;
use crate::model::reason::Reason;
use crate::model::time::Clock;
use crate::observe::{Gauge, RecordCounters, Registry};
use crate::reconciliation::Reconciliation;
use crate::retention::{self, Desk, StartError as RetentionError};
use crate::subjects::{SubjectError, Subjects};
use crate::usage::{Counts, Usage};
use crate::webhooks::{StartError as WebhookError, Webhooks};

pub use first_token::TokenFileError;
pub use rooms::OpenError;
use rooms::Rooms;
use signals::Signals;

/// Why the server did not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The process cannot be protected.
    #[error("the process cannot be protected against core dumps: {0}")]
    Unprotected(std::io::Error),
    /// Keys, tables or engine.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The operator token of the first start.
    #[error(transparent)]
    FirstToken(#[from] TokenFileError),
    /// The retention desk.
    #[error(transparent)]
    Retention(#[from] RetentionError),
    /// The desk of backups.
    #[error("what a cut left of a backup cannot be put right: {0}")]
    Backups(BackupError),
    /// The webhook desk.
    #[error(transparent)]
    Webhooks(#[from] WebhookError),
    /// The desk for people.
    #[error("erasures that were cut short cannot be closed: {0}")]
    People(#[from] SubjectError),
    /// The sockets.
    #[error(transparent)]
    Http(#[from] StartError),
    /// The signals that end the server.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    /// The engine failed while the server ran; the next start recovers.
    #[error("the engine failed, and the next start recovers: {0}")]
    Failed(String),
    /// The ledger failed while the server ran; the next start recovers.
    #[error("{0}")]
    LedgerFailed(String),
}

impl AppError {
    /// Whether other settings are the cure.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Http(StartError::PlainHttp(_) | StartError::Tls(_))
                | Self::Open(OpenError::SameDevice | OpenError::SharesTogether)
                | Self::Retention(RetentionError::Policy(_))
                | Self::Webhooks(WebhookError::Roots(_))
        )
    }
}

/// A running server with everything below it.
pub struct App {
    server: Server,
    signals: Signals,
    engine: Engine,
    audit: Audit,
    retention: Desk,
    billing: Billing,
    people: (Subjects, Backfills),
    watches: Vec<JoinHandle<()>>,
}

impl App {
    /// Opens everything from the keys up and begins to serve.
    ///
    /// # Errors
    /// [`AppError`]; nothing is served then.
    pub async fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        process::protect().map_err(AppError::Unprotected)?;
        let (keys, data) = (settings.keys.dir.clone(), settings.store.data.clone());
        let (http, place) = (settings.http.clone(), settings.place);
        let (ingest, kept, late) = (settings.ingest, settings.retention.clone(), settings.backfill);
        let kept = retention::Settings { configuration: settings.digest, ..kept };
        let (hooked, billed, backups) =
            (settings.webhooks.clone(), settings.billing.clone(), settings.backup.clone());
        let Rooms { engine, audit, restored } = rooms::open(settings, Arc::clone(&clock)).await?;
        if let Some((restored, replayed)) = restored
            && let Err(error) = restored.take_over(&engine, &audit, replayed).await
        {
            rooms::close(engine).await;
            return Err(error);
        }
        let scribe: Arc<dyn Scribe> = Arc::new(audit.clone());
        let tokens = Tokens::new(Arc::new(engine.clone()), scribe, Arc::clone(&clock));
        let (registry, records, behind) = figures(&engine, &audit);
        let ingest = Ingest::new(engine.clone(), ingest, records);
        let vault = Arc::new(engine.clone());
        let ledger = Arc::clone(audit.ledger());
        let (source, log) = (Arc::new(engine.clone()), Arc::clone(&ledger));
        let backups = Backups::new(source, log, backups, Arc::clone(&clock), process::free_bytes);
        let (months, log) = (Arc::new(engine.clone()), Arc::clone(&ledger));
        let billing = Billing::new(months, log, billed, Arc::clone(&clock));
        let retention = Desk::new(vault, ledger, kept, Arc::clone(&clock));
        let hooks = hooks::Hooks { engine: engine.clone(), audit: audit.clone() };
        let webhooks = Webhooks::new(Arc::new(hooks), hooked, Arc::clone(&clock));
        let served = async {
            let retention = retention?;
            retention.register(&registry);
            backups.tidy().await.map_err(AppError::Backups)?;
            let webhooks = webhooks?;
            webhooks.register(&registry);
            let told = audit.clone();
            retention.on_ledger_failure(move |sentence| told.fail(sentence));
            let people = people::open(&engine, &audit, &retention, (clock, late)).await?;
            let others = (backups, webhooks.clone(), billing.clone(), people.clone());
            let known = (tokens.clone(), audit.clone(), retention.clone(), others);
            let desks = desks(&engine, ingest, known);
            first_token::ensure(&tokens, &keys).await?;
            // Before anybody is told that it is ready: from then on, a signal drains.
            let signals = Signals::listen().map_err(AppError::Signals)?;
            let server = Server::start(http, desks, &registry).await?;
            Ok::<_, AppError>(((server, signals), retention, webhooks, people))
        };
        let ((server, signals), retention, webhooks, people) = match served.await {
            Ok(served) => served,
            Err(error) => {
                rooms::close(engine).await;
                return Err(error);
            }
        };
        let mut watches = watch::rooms(&engine, &audit, behind, (data, place.free_bytes_min));
        watches.extend([
            tokio::spawn(retention.clone().watch()),
            tokio::spawn(retention.clone().keep_access()),
            tokio::spawn(webhooks.watch()),
            tokio::spawn(billing.clone().watch()),
            tokio::spawn(people.0.clone().watch()),
            tokio::spawn(people.1.clone().watch()),
        ]);
        server.addresses().iter().for_each(|address| tracing::info!(%address, "ready"));
        Ok(Self { server, signals, engine, audit, retention, billing, people, watches })
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// Serves until SIGTERM or SIGINT, then drains.
    ///
    /// # Errors
    /// [`AppError::Failed`] or [`AppError::LedgerFailed`] when the engine or the ledger failed,
    /// after the drain.
    pub async fn run(mut self) -> Result<(), AppError> {
        let failure = tokio::select! {
            () = self.signals.end() => None,
            error = self.engine.failed() => Some(AppError::Failed(error.to_string())),
            error = self.audit.failed() => Some(AppError::LedgerFailed(error)),
        };
        if let Some(error) = &failure {
            // Now, not after the drain: it may be killed before that ends.
            tracing::error!(%error, "the server cannot go on");
        }
        self.drain().await;
        failure.map_or(Ok(()), Err)
    }

    /// Stops accepting, lets running requests finish, closes what stands below.
    pub async fn drain(self) {
        tracing::info!("draining");
        for watch in self.watches {
            watch.abort();
            // What it holds is let go of when it has ended; that it was ended is no news.
            let _ = watch.await;
        }
        if !self.server.drain().await {
            tracing::warn!("some requests did not finish before the drain deadline");
        }
        if let Err(error) = self.retention.write_access().await {
            tracing::error!(%error, "the last lines of the access log are lost");
        }
        rooms::close(self.engine).await;
        self.retention.rest().await;
        let (subjects, backfills) = self.people;
        subjects.rest().await;
        backfills.rest().await;
        let ledger = Arc::clone(self.audit.ledger());
        let _ = tokio::task::spawn_blocking(move || ledger.finish_second_copy()).await;
        self.billing.rest().await;
        tracing::info!("stopped");
    }
}

/// What is shown of the rooms and of the records that come.
fn figures(engine: &Engine, audit: &Audit) -> (Registry, RecordCounters, Gauge) {
    let registry = Registry::default();
    rooms::register(engine, &registry);
    ledger::register(audit, &registry);
    let records = RecordCounters::register(&registry, Reason::ALL.iter().map(|it| it.name()));
    let behind = watch::behind(&registry);
    (registry, records, behind)
}

/// The desks that are there before the others.
type Known = (Tokens, Audit, Desk, (Backups, Webhooks, Billing, (Subjects, Backfills)));

fn desks(
    engine: &Engine,
    ingest: Ingest,
    (tokens, audit, retention, (backups, webhooks, billing, (subjects, backfills))): Known,
) -> Desks {
    let book: Arc<dyn Book> = Arc::new(engine.clone());
    let counts: Arc<dyn Counts> = Arc::new(engine.clone());
    let intake: Arc<dyn Intake> = Arc::new(ingest);
    let ready = engine.clone();
    Desks {
        intake,
        tokens,
        sites: Sites::new(book, Arc::new(audit.clone())),
        usage: Usage::new(counts),
        reconciliation: Reconciliation::new(Arc::new(engine.clone())),
        billing,
        audit,
        retention,
        backfills,
        backups,
        webhooks,
        subjects,
        ready: Arc::new(move || ready.ready()),
    }
}
