//! Wires the rooms, starts them, drains them. The only place that sees everything.

mod first_token;
mod process;
mod rooms;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{Book, Sites, Tokens};
use crate::config::Settings;
use crate::engine::Engine;
use crate::http::{Desks, Intake, Server, StartError};
use crate::ingest::Ingest;
use crate::model::reason::Reason;
use crate::model::time::Clock;
use crate::observe::{RecordCounters, Registry};
use crate::usage::{Counts, Usage};

pub use first_token::TokenFileError;
pub use rooms::OpenError;

/// How often the free space of the data directory is looked at.
const DISK_LOOK: Duration = Duration::from_secs(2);

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
    /// The sockets.
    #[error(transparent)]
    Http(#[from] StartError),
    /// The signals that end the server.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    /// The engine failed while the server ran; the next start recovers.
    #[error("the engine failed, and the next start recovers: {0}")]
    Failed(String),
}

impl AppError {
    /// Whether other settings are the cure.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Http(StartError::PlainHttp(_) | StartError::Tls(_))
                | Self::Open(OpenError::SameDevice)
        )
    }
}

/// A running server with everything below it.
pub struct App {
    server: Server,
    engine: Engine,
    disk: tokio::task::JoinHandle<()>,
}

impl App {
    /// Opens everything from the keys up and begins to serve.
    ///
    /// # Errors
    /// [`AppError`]; nothing is served then.
    pub async fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        process::protect().map_err(AppError::Unprotected)?;
        let keys = settings.keys.dir.clone();
        let (http, place, data) =
            (settings.http.clone(), settings.place, settings.store.data.clone());
        let ingest = settings.ingest;
        let engine = rooms::open(settings, Arc::clone(&clock)).await?;
        let tokens = Tokens::new(Arc::new(engine.clone()), clock);
        let registry = Registry::default();
        rooms::register(&engine, &registry);
        let reasons = Reason::ALL.iter().map(|reason| reason.name());
        let records = RecordCounters::register(&registry, reasons);
        let ingest = Ingest::new(engine.clone(), ingest, records);
        let desks = desks(&engine, ingest, tokens.clone());
        let served = async {
            first_token::ensure(&tokens, &keys).await?;
            Ok::<_, AppError>(Server::start(http, desks, &registry).await?)
        };
        let server = match served.await {
            Ok(server) => server,
            Err(error) => {
                rooms::close(engine).await;
                return Err(error);
            }
        };
        let disk = tokio::spawn(watch_disk(engine.clone(), data, place.free_bytes_min));
        for address in server.addresses() {
            tracing::info!(%address, "ready");
        }
        Ok(Self { server, engine, disk })
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// Serves until SIGTERM or SIGINT, then drains.
    ///
    /// # Errors
    /// [`AppError::Signals`]; [`AppError::Failed`] when the engine failed, after the drain.
    pub async fn run(self) -> Result<(), AppError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
        let failure = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            error = self.engine.failed() => Some(error.to_string()),
        };
        if let Some(error) = &failure {
            // Now, not after the drain: it may be killed before that ends.
            tracing::error!(%error, "the engine failed");
        }
        self.drain().await;
        failure.map_or(Ok(()), |error| Err(AppError::Failed(error)))
    }

    /// Stops accepting, lets running requests finish, closes what stands below.
    pub async fn drain(self) {
        tracing::info!("draining");
        self.disk.abort();
        if !self.server.drain().await {
            tracing::warn!("some requests did not finish before the drain deadline");
        }
        rooms::close(self.engine).await;
        tracing::info!("stopped");
    }
}

fn desks(engine: &Engine, ingest: Ingest, tokens: Tokens) -> Desks {
    let book: Arc<dyn Book> = Arc::new(engine.clone());
    let counts: Arc<dyn Counts> = Arc::new(engine.clone());
    let intake: Arc<dyn Intake> = Arc::new(ingest);
    let ready = engine.clone();
    Desks {
        intake,
        tokens,
        sites: Sites::new(book),
        usage: Usage::new(counts),
        ready: Arc::new(move || ready.ready()),
    }
}

/// Tells the engine when the disk has little room, so that records are refused (507) while there is
/// still enough for the fold and for RocksDB's own work.
async fn watch_disk(engine: Engine, data: std::path::PathBuf, free_bytes_min: u64) {
    let mut was_low = false;
    loop {
        let path = data.clone();
        let looked = tokio::task::spawn_blocking(move || process::free_bytes(&path)).await;
        if let Ok(Ok(free_bytes)) = looked {
            let low = free_bytes < free_bytes_min;
            engine.set_disk_low(low);
            if low != was_low {
                tracing::warn!(low, free_bytes, "the room on the data disk changed");
            }
            was_low = low;
        }
        tokio::time::sleep(DISK_LOOK).await;
    }
}
