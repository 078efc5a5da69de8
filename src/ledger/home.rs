//! The files of a ledger by their names: the lock, the key, and making what is not there yet.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::book::Files;
use super::error::io_error;
use super::key_file::{self, KeyFileError};
use super::medium::{DiskLog, Log};
use super::note::Signer;
use super::second::Place;
use super::{CHECKPOINTS, ENDS, ENTRIES, HASHES, LOCK, LedgerError, Settings, VERIFIER_KEY};
use crate::keys::medium::FileId;

/// Everything that a start needs, open.
pub(super) struct Home {
    pub(super) files: Files,
    pub(super) signer: Signer,
    pub(super) second: Option<Place>,
    pub(super) lock: Lock,
}

/// Opens all files, and makes those that are not there.
pub(super) fn open(settings: &Settings) -> Result<Home, LedgerError> {
    let dir = &settings.dir;
    if !dir.is_dir() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        let made = made.and_then(|()| key_file::sync_parent(dir));
        made.map_err(io_error("make", "the directory"))?;
    }
    let lock = lock(dir)?;
    let signer = signer(settings)?;
    publish_key(dir, &signer)?;
    let open = |name: &'static str| log(&dir.join(name)).map_err(io_error("open", name));
    let files = Files {
        entries: open(ENTRIES)?,
        checkpoints: open(CHECKPOINTS)?,
        hashes: open(HASHES)?,
        ends: open(ENDS)?,
    };
    key_file::sync_parent(&dir.join(LOCK)).map_err(io_error("sync", "the directory"))?;
    let second = settings.second_copy.clone().map(|path| {
        let name = path.clone();
        let open = move || {
            let log = log(&path)?;
            key_file::sync_parent(&path)?;
            Ok(log)
        };
        Place { open: Box::new(open), look: Box::new(move || FileId::named(&name)) }
    });
    Ok(Home { files, signer, second, lock })
}

/// The lock of a ledger's directory, for as long as this lives.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would not do: a process that another thread is just starting has the file
        // as well, until it runs its own program.
        let _ = self.0.unlock();
    }
}

fn lock(dir: &Path) -> Result<Lock, LedgerError> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(dir.join(LOCK)).map_err(io_error("open", LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(io_error("lock", LOCK)(source)),
    }
}

/// A file that is made if it is not there.
fn log(path: &Path) -> io::Result<Box<dyn Log>> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
    Ok(Box::new(DiskLog(options.open(path)?)))
}

/// The signing key; a new one only where nothing was ever signed.
fn signer(settings: &Settings) -> Result<Signer, LedgerError> {
    let key = &settings.signing_key;
    if key.try_exists().map_err(io_error("look for", "the signing key"))? {
        return Ok(key_file::load(key)?);
    }
    for name in [CHECKPOINTS, ENTRIES, VERIFIER_KEY] {
        match std::fs::metadata(settings.dir.join(name)) {
            Ok(meta) if meta.len() > 0 => return Err(KeyFileError::Missing(key.clone()).into()),
            _ => {}
        }
    }
    if let Some(parent) = key.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(io_error("make", "the directory of the signing key"))?;
    }
    Ok(key_file::create(key, &settings.name)?)
}

/// Puts the public key beside the ledger, or checks the one that is there.
fn publish_key(dir: &Path, signer: &Signer) -> Result<(), LedgerError> {
    let path = dir.join(VERIFIER_KEY);
    let line = format!("{}\n", signer.public());
    match std::fs::read_to_string(&path) {
        Ok(there) if there == line => Ok(()),
        Ok(_) => Err(LedgerError::OtherKey),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let written = key_file::write_new(&path, line.as_bytes(), 0o644);
            written.map_err(io_error("write", VERIFIER_KEY))
        }
        Err(error) => Err(io_error("read", VERIFIER_KEY)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_let_go_of_is_free_whoever_has_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        // As a process has it that is being started.
        let inherited = first.0.try_clone().unwrap();
        assert!(matches!(lock(dir.path()), Err(LedgerError::Locked(_))));
        drop(first);
        assert!(lock(dir.path()).is_ok());
        drop(inherited);
    }
}
