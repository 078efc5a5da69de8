//! Wires the rooms, starts them, drains them. The only place that sees everything.

mod first_token;
mod process;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{Book, Sites, Tokens};
use crate::config::Settings;
use crate::engine::Engine;
use crate::http::{Desks, Intake, Server, StartError};
use crate::ingest::Ingest;
use crate::model::time::Clock;
use crate::observe::Registry;
use crate::usage::{Counts, Usage};

pub use first_token::TokenFileError;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The process cannot be protected.
    #[error("the process cannot be protected against core dumps: {0}")]
    Unprotected(std::io::Error),
    /// A directory cannot be made.
    #[error("{0} cannot be made: {1}")]
    Directory(std::path::PathBuf, std::io::Error),
    /// The operator token of the first start.
    #[error(transparent)]
    FirstToken(#[from] TokenFileError),
    /// The sockets.
    #[error(transparent)]
    Http(#[from] StartError),
    /// The signals that end the server.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    /// Keys, store or engine; the text says which.
    #[error("{0}")]
    Engine(String),
}

impl AppError {
    /// Whether other settings are the cure.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Http(StartError::PlainHttp(_) | StartError::Tls(_)))
    }
}

/// A running server with everything below it.
pub struct App {
    server: Server,
    opened: Opened,
}

/// What stands below the desks, opened and recovered.
struct Opened {
    engine: Engine,
    ingest: Ingest,
}

impl App {
    /// Opens everything from the keys up and begins to serve.
    ///
    /// # Errors
    /// [`AppError`]; nothing is served then.
    pub async fn start(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        process::protect().map_err(AppError::Unprotected)?;
        let registry = Registry::default();
        make_directory(&settings.keys.directory)?;
        make_directory(&settings.engine.data)?;
        let opened = open(&settings, &clock, &registry).await?;
        let book: Arc<dyn Book> = Arc::new(opened.engine.clone());
        let counts: Arc<dyn Counts> = Arc::new(opened.engine.clone());
        let intake: Arc<dyn Intake> = Arc::new(opened.ingest.clone());
        let tokens = Tokens::new(Arc::clone(&book), Arc::clone(&clock));
        first_token::ensure(&tokens, &settings.keys.directory).await?;
        let engine = opened.engine.clone();
        let desks = Desks {
            intake,
            tokens,
            sites: Sites::new(book),
            usage: Usage::new(counts, clock),
            ready: Arc::new(move || engine.ready()),
        };
        let server = Server::start(settings.http, desks, &registry).await?;
        for address in server.addresses() {
            tracing::info!(%address, "ready");
        }
        Ok(Self { server, opened })
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.server.addresses()
    }

    /// Serves until SIGTERM or SIGINT, then drains.
    ///
    /// # Errors
    /// [`AppError::Signals`].
    pub async fn run(self) -> Result<(), AppError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        self.drain().await;
        Ok(())
    }

    /// Stops accepting, lets running requests finish, closes what stands below.
    pub async fn drain(self) {
        tracing::info!("draining");
        if !self.server.drain().await {
            tracing::warn!("some requests did not finish before the drain deadline");
        }
        close(self.opened).await;
        tracing::info!("stopped");
    }
}

/// Makes a directory for nobody else's eyes; one that exists keeps its mode.
fn make_directory(path: &std::path::Path) -> Result<(), AppError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| AppError::Directory(path.to_owned(), error))
}

// ---- TO FILL IN: the rooms below the desks -------------------------------------------------------

/// Opens keys, store and engine in this order, and recovers. `RecordCounters::register` and
/// `EngineCounters::register` of `observe` give the counters of both.
async fn open(
    _settings: &Settings,
    _clock: &Arc<dyn Clock>,
    _registry: &Registry,
) -> Result<Opened, AppError> {
    Ok(Opened { engine: Engine, ingest: Ingest })
}

/// Closes the engine after the last request: empties its queue, syncs, joins its threads.
async fn close(opened: Opened) {
    drop(opened);
}
