//! The MANIFEST: RocksDB's list of files, with the first and the last row key of each, those of
//! files that are gone included, until it begins a new list of what there is. It does so when the
//! list has grown past a bound, and nothing else makes it. So the list is made to grow: by a table
//! that exists for as long as this takes, and whose one row has a long key of zeros.

use std::fs;
use std::path::Path;

use super::{Store, StoreError, Table};

/// The bound from which on a new list is begun, bytes, or six times what the last new list had.
pub(super) const MANIFEST_BYTES: usize = 256 << 10;
/// Least length of the long key, bytes. It comes into the list four times: as the first and the
/// last key of a file with the row, and of one that removes it.
const FILL_BYTES_MIN: usize = 16 << 10;
/// The part of the list that a long key may be: a new list has it in it, if it is begun between.
const FILL_PART: usize = 32;
/// Most rows: each adds an eighth of the list as it was, and it becomes six times as long.
const ROUNDS_MAX: usize = 256;

/// How a file with a list of files is called, before its number.
const NAME: &str = "MANIFEST-";

/// Whether a file is a list of files.
pub(super) fn is_manifest(name: &str) -> bool {
    name.starts_with(NAME)
}

/// The list that is in force.
fn current(path: &Path) -> Result<String, StoreError> {
    let named = fs::read_to_string(path.join("CURRENT"));
    let named = named.map_err(|error| StoreError::Rocks(error.kind().to_string()))?;
    Ok(named.trim_end().to_owned())
}

impl Store {
    /// Has RocksDB begin a new list of files, so that no key of a row that is gone is in it. The
    /// old list is removed a moment later.
    ///
    /// # Errors
    /// When the disk refuses, or no new list was begun.
    pub(super) fn roll_manifest(&self) -> Result<(), StoreError> {
        let before = current(&self.path)?;
        let rolled = self.fill_manifest(&before);
        // Also when it failed: a table of no use to anybody.
        self.drop_table(Table::Roll)?;
        rolled?;
        if current(&self.path)? == before {
            return Err(StoreError::Rocks("the MANIFEST is not replaced".to_owned()));
        }
        Ok(())
    }

    fn fill_manifest(&self, before: &str) -> Result<(), StoreError> {
        self.ensure(Table::Roll)?;
        for _ in 0..ROUNDS_MAX {
            if current(&self.path)? != before {
                return Ok(());
            }
            let size = fs::metadata(self.path.join(before)).map_or(0, |of| of.len());
            let part = usize::try_from(size).unwrap_or(0) / FILL_PART;
            let key = vec![0; part.max(FILL_BYTES_MIN)];
            let table = self.handle(Table::Roll)?;
            self.db.put_cf(&table, &key, [])?;
            self.db.flush_cf(&table)?;
            self.db.delete_cf(&table, &key)?;
            self.db.flush_cf(&table)?;
            drop(table);
            self.compact(&[(Table::Roll, Vec::new(), Vec::new())], true)?;
        }
        Ok(())
    }
}
