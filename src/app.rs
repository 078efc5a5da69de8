//! Wires the rooms, starts them, drains them. The only place that sees everything.

mod first_token;
mod process;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{Book, Sites, Tokens};
use crate::config::Settings;
use crate::engine::{self, Engine};
use crate::http::{Desks, Intake, Server, StartError};
use crate::ingest::{self, Ingest};
use crate::keys::{self, KeyRing};
use crate::model::reason::Reason;
use crate::model::time::Clock;
use crate::observe::{EngineCounters, RecordCounters, Registry};
use crate::store::{self, Store};
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
    /// Data without its keys.
    #[error("{0} holds no key register, but the data directory holds data: put the keys back")]
    KeysMissing(std::path::PathBuf),
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
        let data = settings.engine.data.clone();
        watch_disk(opened.engine.clone(), data, settings.engine.free_bytes_min);
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
            // After a failed write nothing may go on: the process ends, and the next start recovers.
            error = self.opened.engine.failed() => return Err(AppError::Engine(error.to_string())),
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

/// Opens keys, store and engine in this order, and recovers.
async fn open(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    registry: &Registry,
) -> Result<Opened, AppError> {
    let text = |error: &dyn std::fmt::Display| AppError::Engine(error.to_string());
    let (data, keys) = (&settings.engine.data, &settings.keys);
    if data.join("CURRENT").exists() && !keys.directory.join("register.a").exists() {
        return Err(AppError::KeysMissing(keys.directory.clone()));
    }
    let (ring, opened) = KeyRing::open(&keys::Settings {
        dir: keys.directory.clone(),
        vek_home: keys.vek_home.clone(),
        root_key: keys.root_key.clone(),
    })
    .map_err(|error| text(&error))?;
    if opened.repaired > 0 {
        tracing::warn!(slots = opened.repaired, "the key register was repaired from its other copy");
    }
    let store = Store::open(&store::Settings {
        data: data.clone(),
        block_cache_bytes: settings.engine.block_cache_bytes,
    })
    .map_err(|error| text(&error))?;
    let counters = EngineCounters::register(registry);
    let engine_settings = engine_settings(settings);
    let clock = Arc::clone(clock);
    // Recovery reads the disk for as long as it takes; the reactor has nothing else to do yet.
    let engine = Engine::open(store, ring, engine_settings, clock, counters);
    let engine = engine.map_err(|error| text(&error))?;
    let records = RecordCounters::register(registry, Reason::ALL.iter().map(|r| r.name()));
    let ingest = ingest::Settings {
        limits: crate::wire::Limits {
            records: settings.limits.batch_records_max,
            ..crate::wire::Limits::default()
        },
        future_ms: settings.limits.future_ms_max,
    };
    let ingest = Ingest::new(engine.clone(), ingest, records);
    Ok(Opened { engine, ingest })
}

fn engine_settings(settings: &Settings) -> engine::Settings {
    engine::Settings {
        tally_bytes: settings.engine.tally_bytes_max,
        seen_bytes: settings.engine.seen_bytes_max,
        queue_bytes: settings.engine.queue_bytes_max,
        segment_bytes: settings.engine.segment_bytes,
        fold_after_ms: i64::try_from(settings.engine.fold_every.as_millis()).unwrap_or(i64::MAX),
        age_ms: settings.limits.age_ms_max,
        ..engine::Settings::default()
    }
}

/// Tells the engine, every second, whether the disk has room: a full disk is answered before it is
/// met in the middle of a write, which would end the process.
fn watch_disk(engine: Engine, path: std::path::PathBuf, least: u64) {
    tokio::spawn(async move {
        let mut every = tokio::time::interval(std::time::Duration::from_secs(1));
        while engine.is_running() {
            every.tick().await;
            let low = process::free_bytes(&path).is_ok_and(|free| free < least);
            engine.set_disk_low(low);
        }
    });
}

/// Closes the engine after the last request: empties its queue, syncs, joins its threads.
async fn close(opened: Opened) {
    let Opened { engine, ingest } = opened;
    drop(ingest);
    let _ = tokio::task::spawn_blocking(move || engine.stop()).await;
}
