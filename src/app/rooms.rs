//! Opens and closes what stands below the desks: ledger, keys, tables, engine, in this order.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ledger::{self, RegisterWitness};
use super::restore::{self, Restored};
use crate::audit::{Audit, AuditError};
use crate::config::Settings;
use crate::crypto::seal;
use crate::engine::restore::{Replay, Replayed};
use crate::engine::{Engine, EngineError, EngineFigures};
use crate::keys::{self, KeyRing, KeysError};
use crate::ledger::{Actor, Event, LedgerError, Word};
use crate::model::time::Clock;
use crate::observe::Registry;
use crate::store::{Store, StoreError};

/// Why a room below the desks did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A directory cannot be made or looked at.
    #[error("{} cannot be used: {}", .0.display(), .1)]
    Directory(PathBuf, std::io::Error),
    /// Keys and data on one device, against the setting.
    #[error(
        "the data and the keys directory, the VEK home or the root key lie on one device; move \
         one of them, or set [storage] allow_same_device"
    )]
    SameDevice,
    /// Shares that no two people would have, when they are made, against the setting.
    #[error(
        "the two shares of the root key would lie on one device, or on that of the keys directory \
         or the data; mount the medium of each person at its place and start again, or set \
         [storage] allow_same_device"
    )]
    SharesTogether,
    /// Data without its keys.
    #[error(
        "{} holds data, but {} holds no keys; put the keys back, new ones would open nothing",
        .0.display(),
        .1.display()
    )]
    KeysGone(PathBuf, PathBuf),
    /// A ledger without the keys that it speaks of, and without data.
    #[error(
        "the ledger in {} tells of keys, but {} holds none, and there is no data: put back the \
         register, the VEK home and the root key, then a backup of the data; to begin anew, give \
         the new server a ledger directory of its own and keep this one",
        .0.display(),
        .1.display()
    )]
    VaultGone(PathBuf, PathBuf),
    /// Keys without their ledger.
    #[error(
        "{} holds no ledger, but the keys know of one of {} entries; put it back, a new one would \
         hide what happened",
        .0.display(),
        .1
    )]
    LedgerGone(PathBuf, u64),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An entry of the ledger.
    #[error(transparent)]
    Unwritten(#[from] AuditError),
    /// The keys.
    #[error("the keys cannot be opened: {0}")]
    Keys(#[from] KeysError),
    /// The tables.
    #[error("the data cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// The engine.
    #[error("the engine cannot start: {0}")]
    Engine(#[from] EngineError),
    /// The thread that opens them ended early.
    #[error("opening was interrupted")]
    Interrupted,
}

/// What is open.
pub struct Rooms {
    /// The engine with everything below it.
    pub engine: Engine,
    /// The ledger, as the desks use it.
    pub audit: Audit,
    /// Data that was put back from a backup, and what was done to it.
    pub restored: Option<(Restored, Replayed)>,
}

/// Opens everything; it reads files and recovers the journal, so it runs off the reactor.
///
/// # Errors
/// [`OpenError`]; what was opened is closed again.
pub async fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<Rooms, OpenError> {
    let opening = tokio::task::spawn_blocking(move || open_now(settings, clock));
    opening.await.unwrap_or(Err(OpenError::Interrupted))
}

/// Lets the engine end: its queue is committed and its threads are joined.
pub async fn close(engine: Engine) {
    // An error means that the closing itself ended with a panic, which has been logged.
    let _ = tokio::task::spawn_blocking(move || engine.stop()).await;
}

fn open_now(settings: Settings, clock: Arc<dyn Clock>) -> Result<Rooms, OpenError> {
    let (dir, data) = (settings.keys.dir.clone(), settings.store.data.clone());
    // Looked at before anything is made: a new vault beside old data would hide the loss.
    if has_entries(&data)? && !keys::exists(&settings.keys)? {
        return Err(OpenError::KeysGone(data, dir));
    }
    make_directory(&dir)?;
    make_directory(&data)?;
    let vault_is_there = keys::exists(&settings.keys)?;
    shares_apart(&settings, [device(&dir)?, device(&data)?], vault_is_there)?;
    let homes = settings.keys.root_files();
    let homes = homes.into_iter().chain([&settings.keys.vek_home]);
    let apart = homes.map(|file| device_of_file(file)).chain([device(&dir)]);
    let apart = apart.collect::<Result<Vec<u64>, _>>()?;
    if apart.contains(&device(&data)?) {
        if !settings.place.allow_same_device {
            return Err(OpenError::SameDevice);
        }
        tracing::info!("keys and data lie on one device; in production keep them apart");
    }
    let had_data = has_entries(&data)?;
    let audit = ledger::open(&settings, Arc::clone(&clock))?;
    // A new vault under an old ledger would hide that everything is lost, or was removed.
    if audit.ledger().noted_at_start().knows_keys() && !keys::exists(&settings.keys)? {
        return Err(OpenError::VaultGone(settings.ledger.dir, dir));
    }
    let witness = Arc::new(RegisterWitness(audit.clone()));
    let (ring, opened) = KeyRing::open_witnessed(&settings.keys, None, witness)?;
    // Once more, now that nobody else can write to the keys.
    audit.ledger().covers(ring.mark()?)?;
    if opened.first_start && had_data {
        return Err(OpenError::KeysGone(data, dir));
    }
    if opened.repaired > 0 {
        tracing::warn!(slots = opened.repaired, "the key register was repaired from its copy");
    }
    let alive_until = restore::last_entry(&audit)?;
    let version = Word::of(env!("CARGO_PKG_VERSION"));
    audit.note_now(Actor::Server, Event::ServerStarted { version })?;
    let store = Store::open(&settings.store)?;
    let restored = restore::look(&store, &audit, alive_until)?;
    let nothing = Replay::default();
    let replay = restored.as_ref().map_or(&nothing, Restored::replay);
    let (engine, replayed) = Engine::open_restored(store, ring, settings.engine, clock, replay)?;
    Ok(Rooms { engine, audit, restored: restored.map(|restored| (restored, replayed)) })
}

/// Makes a directory for nobody else's eyes; one that exists keeps its mode.
fn make_directory(path: &Path) -> Result<(), OpenError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| OpenError::Directory(path.to_owned(), error))
}

fn has_entries(path: &Path) -> Result<bool, OpenError> {
    match std::fs::read_dir(path) {
        // The root of an ext file system has one entry that is nobody's.
        Ok(mut entries) => {
            Ok(entries.any(|entry| !entry.is_ok_and(|entry| entry.file_name() == "lost+found")))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(OpenError::Directory(path.to_owned(), error)),
    }
}

fn device(path: &Path) -> Result<u64, OpenError> {
    let looked = std::fs::metadata(path);
    Ok(looked.map_err(|error| OpenError::Directory(path.to_owned(), error))?.dev())
}

/// Two shares of the root key on media of their own. Where one of them is not mounted when they are
/// made, it would be written beside the data, and nobody would take it away.
fn shares_apart(settings: &Settings, others: [u64; 2], made: bool) -> Result<(), OpenError> {
    let Some([one, two]) = &settings.keys.shares else { return Ok(()) };
    if are_apart([device_of_file(one)?, device_of_file(two)?], others) {
        return Ok(());
    }
    if !made && !settings.place.allow_same_device {
        return Err(OpenError::SharesTogether);
    }
    tracing::warn!(
        "the two shares of the root key lie on one device, or on that of the keys or the data: \
         whoever has it has both halves, or one without its person"
    );
    Ok(())
}

/// Whether each share is on a device of its own.
fn are_apart([one, two]: [u64; 2], others: [u64; 2]) -> bool {
    one != two && !others.contains(&one) && !others.contains(&two)
}

/// The device of a file; where there is none yet, that of the directory it will lie in.
fn device_of_file(path: &Path) -> Result<u64, OpenError> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.dev()),
        Err(_) => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            device(parent.unwrap_or(Path::new(".")))
        }
    }
}

/// Shows the engine's figures in the metrics.
pub fn register(engine: &Engine, registry: &Registry) {
    let total = |name, help, read: fn(EngineFigures) -> u64| {
        let engine = engine.clone();
        registry.total(name, help, move || read(engine.figures()));
    };
    total("blindtally_group_commits", "Group commits (one sync each).", |f| f.groups);
    total("blindtally_folds", "Folds that ended well.", |f| f.folds);
    total("blindtally_folded_rows", "Rows that folds wrote into blocks.", |f| f.folded_rows);
    total("blindtally_block_bytes", "Bytes of blocks written.", |f| f.block_bytes);
    let help = "Bytes written to the log of the tables.";
    total("blindtally_log_bytes", help, |f| f.written.log);
    let help = "Bytes written from memory to files of the tables.";
    total("blindtally_flush_bytes", help, |f| f.written.flush);
    let help = "Bytes written from files to files of the tables.";
    total("blindtally_compaction_bytes", help, |f| f.written.compaction);
    let gauge = |name, help, read: fn(EngineFigures) -> u64| {
        let engine = engine.clone();
        let read = move || i64::try_from(read(engine.figures())).unwrap_or(i64::MAX);
        registry.probe(name, help, read);
    };
    let help = "Memory of the sets of users, devices and sessions, bytes, as of the last fold.";
    gauge("blindtally_tally_bytes", help, |f| f.sizes.tally_bytes as u64);
    let help = "Members of those sets, also of sets on disk.";
    gauge("blindtally_tally_members", help, |f| f.sizes.tally_members);
    let help = "Memory of the slots that know duplicates, bytes, as of the last fold.";
    gauge("blindtally_seen_bytes", help, |f| f.sizes.seen_bytes as u64);
    let help = "Subkeys that were made to seal with; each may seal one value.";
    registry.total("blindtally_seal_subkeys", help, || seal::budget_used().0);
    let help = "Values that were sealed; never more than subkeys.";
    registry.total("blindtally_seal_values", help, || seal::budget_used().1);
    let files = engine.clone();
    registry.probe("blindtally_file_bytes", "Bytes of all files of the tables.", move || {
        i64::try_from(files.store().file_bytes()).unwrap_or(i64::MAX)
    });
    let queued = engine.clone();
    let help = "Sealed bytes that wait for the writer.";
    registry.probe("blindtally_queue_bytes", help, move || {
        i64::try_from(queued.figures().queued_bytes).unwrap_or(i64::MAX)
    });
    let arrived = engine.clone();
    let help = "Records that figures and arrivals disagree by; anything but 0 is a fault.";
    registry.probe("blindtally_reconciliation_difference", help, move || {
        i64::try_from(arrived.arrivals_difference()).unwrap_or(i64::MAX)
    });
    let ready = engine.clone();
    let help = "Whether records can be taken (1) or not (0).";
    registry.probe("blindtally_ready", help, move || i64::from(ready.ready().is_ok()));
}
