//! A data directory that is only looked at, with the server stopped: nothing in it is changed, not
//! even by a log of RocksDB's own.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use rocksdb::{Cache, ColumnFamilyDescriptor, InfoLogger, LogLevel};

use super::options::{database_options, table_options};
use super::{Db, Store, StoreError, Table, checkpoint, format};

/// Memory for blocks that are read, bytes: each is read once.
const CACHE_BYTES: usize = 8 << 20;

impl Store {
    /// Opens the tables for reading only.
    ///
    /// # Errors
    /// When they cannot be read, are of another format, or were not wholly put back.
    pub fn open_to_look(path: &Path) -> Result<Self, StoreError> {
        checkpoint::refuse_half(path)?;
        let mut options = database_options();
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| {}));
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let (mut families, mut tables) = (Vec::new(), BTreeSet::new());
        for name in Db::list_cf(&options, path)? {
            let table = Table::from_name(&name).ok_or(StoreError::UnknownTable(name.clone()))?;
            tables.insert(table);
            families.push(ColumnFamilyDescriptor::new(name, table_options(table, &cache)));
        }
        let db = Db::open_cf_descriptors_read_only(&options, path, families, false)?;
        let store = Self {
            db,
            options,
            cache,
            path: path.to_owned(),
            names: Mutex::new(tables),
            #[cfg(test)]
            fault: Default::default(),
            #[cfg(test)]
            largest_sync: Default::default(),
        };
        format::known(store.get(Table::Meta, format::key())?.as_deref())?;
        Ok(store)
    }
}
