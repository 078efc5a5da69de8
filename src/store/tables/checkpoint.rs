//! A copy of the tables at one moment, made beside them by hard links, so that it takes no time and
//! no room; and the file that says that a directory is being put back.
//!
//! The copy holds no journal: that table is dropped and made anew in it, with its files, because a
//! file may still hold rows that were removed long ago. It has no log either, and no lines of
//! RocksDB's own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rocksdb::checkpoint::Checkpoint;

use super::{Changes, Half, Settings, Store, StoreError, Table};

/// Where a copy is made: inside of the data directory, so that it is on the same disk.
const STAGING: &str = "checkpoint.tmp";
/// The file of a directory that is being put back; its data is not whole.
pub const RESTORING: &str = "restoring";
/// Memory for blocks read from the copy, bytes: next to nothing is.
const CACHE_BYTES: usize = 1 << 20;

/// Refuses a directory that was not wholly put back.
pub(super) fn refuse_half(path: &Path) -> Result<(), StoreError> {
    if path.join(RESTORING).exists() {
        return Err(StoreError::HalfRestored(path.to_owned()));
    }
    Ok(())
}

/// Refuses a directory that was not wholly put back, and removes a copy that a cut left behind.
pub(super) fn tidy(path: &Path) -> Result<(), StoreError> {
    refuse_half(path)?;
    remove_all(&path.join(STAGING))
}

fn remove_all(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(refused("remove", path, error))
        }
        _ => Ok(()),
    }
}

fn refused(what: &str, path: &Path, error: io::Error) -> StoreError {
    if error.kind() == io::ErrorKind::StorageFull {
        return StoreError::Full;
    }
    StoreError::Rocks(format!("cannot {what} {} ({})", path.display(), error.kind()))
}

impl Store {
    /// Makes a copy of all tables as they are now, and answers where it is. Memory goes to files
    /// first, so it is best flushed before.
    ///
    /// # Errors
    /// When the disk refuses; then there is no copy.
    pub fn checkpoint(&self) -> Result<PathBuf, StoreError> {
        let path = self.path.join(STAGING);
        remove_all(&path)?;
        let made = Checkpoint::new(&self.db).and_then(|copy| copy.create_checkpoint(&path));
        made.map_err(|error| {
            let _ = remove_all(&path);
            StoreError::from(error)
        })?;
        Ok(path)
    }

    /// Makes a copy fit to be kept: no journal, these rows in it, everything in files. Answers the
    /// names of its files, in order.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish_checkpoint(path: &Path, changes: &Changes) -> Result<Vec<String>, StoreError> {
        let settings = Settings { data: path.to_owned(), block_cache_bytes: CACHE_BYTES };
        let copy = Self::open(&settings)?;
        for half in Half::ALL {
            copy.drop_table(Table::Journal(half))?;
            copy.ensure(Table::Journal(half))?;
        }
        copy.apply(changes)?;
        copy.flush()?;
        drop(copy);
        let mut names = Vec::new();
        let entries = fs::read_dir(path).map_err(|error| refused("read", path, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| refused("read", path, error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Everything is in files, so a log holds nothing that they lack.
            if name.starts_with("LOG") || name == "LOCK" || name.ends_with(".log") {
                fs::remove_file(entry.path()).map_err(|error| refused("remove", path, error))?;
            } else {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Removes a copy.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn drop_checkpoint(&self) -> Result<(), StoreError> {
        remove_all(&self.path.join(STAGING))
    }
}
