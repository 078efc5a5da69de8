//! The desk of backups: the running data is copied at a barrier, without journal and without any
//! key, into a directory of its own, with a manifest; and a copy is put back ([`restore`]).
//!
//! Order: intent in the ledger, copy at the barrier beside the data, files with digests into
//! `<name>.<vault id>.partial`, the manifest last, everything synced, the name, result in the
//! ledger. Cut anywhere, the next start removes what is left and says in the ledger that it was
//! cut; what has its name and is whole it gives the result that it lacks ([`found`]).
//! A destruction meanwhile calls the copying off, because the copy beside the data keeps the files
//! that are to go.
//!
//! Invariant: a backup and the register never lie in one place by our doing (R1): what is destroyed
//! after it opens with no key of today.

mod copy;
#[cfg(test)]
pub mod fake;
mod found;
pub mod history;
pub mod restore;
pub mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::crypto::sha256;
use crate::engine::EngineError;
use crate::engine::backup::DataCopy;
use crate::ledger::{
    Actor, Credential, Digest, Entry, Event, Ledger, LedgerError, Receipt, Vault, Word,
};
use crate::model::caller::Caller;
use crate::model::reason::Reason;
use crate::model::time::{Clock, Timestamp};
use crate::wire::backup::{BackupRequest, BackupView, FORMAT, Manifest};
use crate::wire::fault::Flaw;
use source::Source;

/// The file that says what a backup is.
pub const MANIFEST: &str = "manifest.json";
/// The directory of its files.
pub const DATA: &str = "data";

/// Where backups go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The directory; without it none is made. It must exist, so that a medium that is not mounted
    /// is noticed.
    pub dir: Option<PathBuf>,
    /// Free space that a backup leaves on its disk, bytes.
    pub free_bytes_min: u64,
}

/// Why a request about backups was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The body is no JSON object.
    #[error("the body cannot be read")]
    Unreadable,
    /// A member does not fit.
    #[error("a member does not fit")]
    Unfit(Flaw),
    /// No directory is configured.
    #[error("no directory for backups is configured")]
    NotConfigured,
    /// The directory is not there, or none: its medium may not be mounted.
    #[error("the directory for backups is not there")]
    NotThere,
    /// There is no such backup.
    #[error("there is no such backup")]
    NotFound,
    /// One is being made.
    #[error("a backup is being made")]
    Running,
    /// The name is taken.
    #[error("there is a backup of that name")]
    Exists,
    /// Ledger, keys or disk refused; the log says more.
    #[error("it failed")]
    Failed,
}

impl From<Flaw> for BackupError {
    fn from(flaw: Flaw) -> Self {
        if flaw.reason == Reason::BadJson { Self::Unreadable } else { Self::Unfit(flaw) }
    }
}

impl From<LedgerError> for BackupError {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "backup: the ledger refused");
        Self::Failed
    }
}

/// Why a backup was not made.
#[derive(Debug, thiserror::Error)]
enum Unmade {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the directory of backups: {0}")]
    Disk(#[from] io::Error),
    #[error("the directory of backups has not enough room")]
    NoRoom,
    #[error(
        "a destruction needed the files to be gone and called the copying off; make the backup \
         again, and where it is called off each time, put the directory of backups on a faster \
         disk: a backup has to end before the next destruction begins"
    )]
    CalledOff,
}

impl Unmade {
    /// For whoever asks later.
    fn word(&self) -> &'static str {
        match self {
            Self::Engine(EngineError::DiskFull) => "data_disk_full",
            Self::Engine(_) => "engine",
            Self::Disk(error) if error.kind() == io::ErrorKind::StorageFull => "disk_full",
            Self::Disk(_) => "disk",
            Self::NoRoom => "disk_full",
            Self::CalledOff => "destruction",
        }
    }
}

/// The free space of a directory's disk, bytes.
pub type FreeBytes = fn(&Path) -> io::Result<u64>;

#[derive(Default)]
struct State {
    running: Option<(String, u64)>,
    failed: Option<(String, &'static str)>,
    /// Manifests by the ledger, by the numbers of their intents: what was looked up once.
    known: BTreeMap<u64, Digest>,
}

struct Inner {
    source: Arc<dyn Source>,
    ledger: Arc<Ledger>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    free_bytes: FreeBytes,
    state: Mutex<State>,
}

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Backups(Arc<Inner>);

impl Backups {
    /// A desk over what is copied.
    pub fn new(
        source: Arc<dyn Source>,
        ledger: Arc<Ledger>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        free_bytes: FreeBytes,
    ) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Inner { source, ledger, settings, clock, free_bytes, state }))
    }

    /// Cleans up after backups that were cut, and says so in the ledger.
    ///
    /// # Errors
    /// [`BackupError::Failed`] when the ledger refuses.
    pub async fn tidy(&self) -> Result<(), BackupError> {
        let inner = Arc::clone(&self.0);
        off_reactor(move || inner.tidy()).await
    }

    /// Begins a backup, as an operator asks; it goes on by itself. The body is used up.
    ///
    /// # Errors
    /// [`BackupError`]; nothing was begun then.
    pub async fn begin(&self, caller: &Caller, text: &mut [u8]) -> Result<Vec<u8>, BackupError> {
        let request = BackupRequest::parse(text)?;
        let by = Credential::parse(&caller.key_id).ok_or(BackupError::Failed)?;
        let inner = Arc::clone(&self.0);
        // In a task of its own: what has begun goes on also when the caller hangs up. And nobody
        // waits for the rest: whoever asks again sees what became of it.
        let whole = tokio::spawn(async move {
            let own = Arc::clone(&inner);
            let job = off_reactor(move || own.begin(&by, request)).await?;
            let begun = job.clone();
            tokio::spawn(async move { inner.go_on(job).await });
            Ok::<_, BackupError>(begun)
        });
        let Job { name, operation, .. } = whole.await.map_err(|_| BackupError::Failed)??;
        Ok(BackupView::Running { name, operation }.to_json())
    }

    /// A backup.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn read(&self, name: &str) -> Result<Vec<u8>, BackupError> {
        let (inner, name) = (Arc::clone(&self.0), name.to_owned());
        let items = off_reactor(move || inner.views()).await?;
        let named = |view: &&BackupView| match view {
            BackupView::Running { name: own, .. }
            | BackupView::Failed { name: own, .. }
            | BackupView::Damaged { name: own }
            | BackupView::Made { name: own, .. } => *own == name,
        };
        items.iter().find(named).map(BackupView::to_json).ok_or(BackupError::NotFound)
    }

    /// All backups that are there, and the one that is being made or that failed last.
    ///
    /// # Errors
    /// When no directory is configured, or it cannot be read.
    pub async fn list(&self) -> Result<Vec<u8>, BackupError> {
        let inner = Arc::clone(&self.0);
        Ok(BackupView::list_to_json(&off_reactor(move || inner.views()).await?))
    }
}

async fn off_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    // An error means that it ended with a panic, which has been logged.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(BackupError::Failed))
}

/// A backup under way.
#[derive(Clone)]
struct Job {
    name: String,
    operation: u64,
    by: Credential,
}

/// What was made.
struct Made {
    barrier: Timestamp,
    manifest: [u8; 32],
    files: u64,
    bytes: u64,
}

impl Made {
    fn of(manifest: &Manifest, digest: [u8; 32]) -> Self {
        let (files, bytes) = (manifest.files.len() as u64, manifest.bytes());
        Self { barrier: manifest.barrier, manifest: digest, files, bytes }
    }
}

fn result_of(outcome: &'static str, made: Option<&Made>) -> Event {
    Event::BackupResult {
        outcome: Word::of(outcome),
        barrier: made.map(|made| made.barrier),
        manifest: made.map(|made| Digest(made.manifest)),
        files: made.map_or(0, |made| made.files),
        bytes: made.map_or(0, |made| made.bytes),
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn root(&self) -> Result<&Path, BackupError> {
        let root = self.settings.dir.as_deref().ok_or(BackupError::NotConfigured)?;
        if root.is_dir() { Ok(root) } else { Err(BackupError::NotThere) }
    }

    fn vault(&self) -> Result<Vault, EngineError> {
        Ok(Vault(self.source.vault()?.0))
    }

    fn append(&self, entry: Entry) -> Result<Receipt, BackupError> {
        Ok(self.ledger.append(entry)?)
    }

    fn begin(&self, by: &Credential, request: BackupRequest) -> Result<Job, BackupError> {
        let root = self.root()?;
        let now = self.clock.now();
        let name = request.name.unwrap_or_else(|| now.to_string().replace(':', "-"));
        let mut state = self.state();
        if state.running.is_some() {
            return Err(BackupError::Running);
        }
        if root.join(&name).exists() {
            return Err(BackupError::Exists);
        }
        let generation = self.source.generation().map_err(|_| BackupError::Failed)?;
        let event = Event::BackupIntent { register_generation: generation };
        let receipt = self.append(Entry::new(now, Actor::Credential(by.clone()), event))?;
        state.running = Some((name.clone(), receipt.operation));
        state.failed = None;
        Ok(Job { name, operation: receipt.operation, by: by.clone() })
    }

    async fn go_on(self: Arc<Self>, job: Job) {
        let made = self.make(&job).await;
        let (outcome, made) = match made {
            Ok(made) => ("made", Some(made)),
            Err(error) => {
                tracing::error!(%error, "a backup was not made");
                let mut state = self.state();
                state.failed = Some((job.name.clone(), error.word()));
                ("failed", None)
            }
        };
        let event = result_of(outcome, made.as_ref());
        let actor = Actor::Credential(job.by);
        let entry = Entry::result(self.clock.now(), actor, job.operation, event);
        let inner = Arc::clone(&self);
        let noted = off_reactor(move || inner.append(entry)).await;
        if noted.is_ok() {
            tracing::info!(name = %job.name, outcome, "a backup has ended");
        }
        self.state().running = None;
    }

    async fn make(self: &Arc<Self>, job: &Job) -> Result<Made, Unmade> {
        let failed = |_| Unmade::Engine(EngineError::Stopped);
        let known = self.ledger.mark().map_err(failed)?;
        let copy = self.source.copy_data(job.operation, known).await?;
        let (inner, name, operation) = (Arc::clone(self), job.name.clone(), job.operation);
        let put = tokio::task::spawn_blocking(move || inner.put(&name, operation, &copy)).await;
        let put = put.unwrap_or(Err(Unmade::Engine(EngineError::Stopped)));
        // Whatever became of it: the copy beside the data keeps files that should go some day.
        if let Err(error) = self.source.drop_copy().await {
            tracing::warn!(%error, "a copy beside the data stays until the next start");
        }
        put
    }

    /// Puts the copy where backups are.
    fn put(&self, name: &str, operation: u64, copied: &DataCopy) -> Result<Made, Unmade> {
        let root = self.settings.dir.as_deref().ok_or(Unmade::NoRoom)?;
        let partial = root.join(found::partial(name, self.vault()?));
        let put = self.put_into(&partial, operation, copied).and_then(|made| {
            std::fs::rename(&partial, root.join(name))?;
            copy::sync_dir(root)?;
            Ok(made)
        });
        if put.is_err() {
            let _ = std::fs::remove_dir_all(&partial);
        }
        put
    }

    fn put_into(&self, partial: &Path, operation: u64, copied: &DataCopy) -> Result<Made, Unmade> {
        let root = partial.parent().unwrap_or(partial);
        let mut wanted = self.settings.free_bytes_min;
        for name in &copied.files {
            wanted = wanted.saturating_add(std::fs::metadata(copied.path.join(name))?.len());
        }
        if (self.free_bytes)(root)? < wanted {
            return Err(Unmade::NoRoom);
        }
        let data = partial.join(DATA);
        std::fs::create_dir(partial)?;
        copy::make_dir(&data)?;
        let mut files = Vec::new();
        for name in &copied.files {
            let file = copy::copy_leased(&copied.lease, &copied.path, &data, name);
            let called_off = |error| match copied.lease.is_called_off() {
                true => Unmade::CalledOff,
                false => Unmade::Disk(error),
            };
            files.push(file.map_err(called_off)?);
        }
        copy::sync_dir(&data)?;
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            operation,
            barrier: copied.barrier,
            folded_through: copied.folded_through,
            vault: self.vault()?,
            register_generation: copied.mark.generation,
            ledger_size: copied.mark.ledger_size,
            ledger_root: Digest(copied.mark.ledger_root),
            files,
        };
        let text = manifest.to_bytes();
        copy::write(&partial.join(MANIFEST), &text)?;
        copy::sync_dir(partial)?;
        Ok(Made::of(&manifest, sha256(&[&text])))
    }
}
