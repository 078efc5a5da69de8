//! The tables (column families), one change set, scans, and the check of the format's version.

mod checkpoint;
mod format;
mod looking;
mod manifest;
mod options;
mod reclaim;
mod written;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rocksdb::statistics::StatsLevel;
use rocksdb::{
    BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBWithThreadMode, Direction, InfoLogger,
    IteratorMode, LogLevel, MultiThreaded, Options, ReadOptions, WriteBatch, WriteOptions,
};

pub use checkpoint::RESTORING;
use options::{database_options, table_options};
pub use reclaim::{Files, Reclaimed, RowRange};
pub use written::Written;

#[cfg(test)]
use super::keys;
use crate::model::time::Month;
use crate::model::vocab::Class;

type Db = DBWithThreadMode<MultiThreaded>;
type Handle<'a> = Arc<BoundColumnFamily<'a>>;

/// Where and how the tables are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data directory.
    pub data: PathBuf,
    /// Memory for blocks read from files, bytes.
    pub block_cache_bytes: usize,
}

/// The journal has two tables, written to in turn, so that the one that a fold has taken in can be
/// cleared while the other one is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Half {
    /// The first.
    A,
    /// The second.
    B,
}

impl Half {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// A table; its name on disk is [`Table::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Format, position, sites, tokens.
    Meta,
    /// Groups of sealed batches with their verdicts, until folded.
    Journal(Half),
    /// The counters of each site and month.
    Counters,
    /// Sealed figures of what arrived, by hour.
    Arrivals,
    /// Sealed answers to `Idempotency-Key`s.
    Answers,
    /// Backfills, and their sealed records until they end.
    Backfill,
    /// Sorted sealed runs of seen tags, by day.
    Seen,
    /// Sorted sealed runs of a month's tally tags.
    Tally(Month),
    /// Sealed blocks.
    Blocks(Class, Month),
    /// Sealed headers of the blocks.
    Headers(Class, Month),
    /// Block keys, each sealed under its bucket's key.
    BlockKeys(Class, Month),
    /// Hold storage: sealed rows of lots on hold, as they were.
    HoldRows,
    /// Hold storage: block keys of lots on hold, each sealed under the key of its hold.
    HoldKeys,
    /// Nothing: it is there while a new list of files is begun.
    Roll,
}

impl Table {
    /// The name of the column family.
    pub fn name(self) -> String {
        match self {
            Self::Meta => "default".to_owned(),
            Self::Journal(half) => format!("journal.{}", half.name()),
            Self::Counters => "counters".to_owned(),
            Self::Arrivals => "arrivals".to_owned(),
            Self::Answers => "answers".to_owned(),
            Self::Backfill => "backfill".to_owned(),
            Self::Seen => "seen".to_owned(),
            Self::Tally(month) => format!("tally.{month}"),
            Self::Blocks(class, month) => format!("blocks.{class}.{month}"),
            Self::Headers(class, month) => format!("headers.{class}.{month}"),
            Self::BlockKeys(class, month) => format!("blockkeys.{class}.{month}"),
            Self::HoldRows => "hold.rows".to_owned(),
            Self::HoldKeys => "hold.keys".to_owned(),
            Self::Roll => "roll".to_owned(),
        }
    }

    /// The table of a column family's name.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut parts = name.split('.');
        let kind = parts.next()?;
        let mut class = || Class::from_name(parts.next()?.as_bytes());
        let table = match kind {
            "default" => Self::Meta,
            "journal" => {
                let half = parts.next()?;
                Self::Journal(Half::ALL.into_iter().find(|known| known.name() == half)?)
            }
            "counters" => Self::Counters,
            "arrivals" => Self::Arrivals,
            "answers" => Self::Answers,
            "backfill" => Self::Backfill,
            "seen" => Self::Seen,
            "tally" => Self::Tally(Month::parse(parts.next()?.as_bytes())?),
            "blocks" => Self::Blocks(class()?, Month::parse(parts.next()?.as_bytes())?),
            "headers" => Self::Headers(class()?, Month::parse(parts.next()?.as_bytes())?),
            "blockkeys" => Self::BlockKeys(class()?, Month::parse(parts.next()?.as_bytes())?),
            "hold" if name == "hold.rows" => Self::HoldRows,
            "hold" => Self::HoldKeys,
            "roll" => Self::Roll,
            _ => return None,
        };
        (table.name() == name).then_some(table)
    }

    /// What every table is one of: its name without class and month.
    pub const KINDS: [&'static str; 14] = [
        "default",
        "journal",
        "counters",
        "arrivals",
        "answers",
        "backfill",
        "seen",
        "tally",
        "blocks",
        "headers",
        "blockkeys",
        "hold.rows",
        "hold.keys",
        "roll",
    ];

    /// Its name without class and month; one of [`Table::KINDS`].
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Meta => "default",
            Self::Journal(_) => "journal",
            Self::Counters => "counters",
            Self::Arrivals => "arrivals",
            Self::Answers => "answers",
            Self::Backfill => "backfill",
            Self::Seen => "seen",
            Self::Tally(_) => "tally",
            Self::Blocks(..) => "blocks",
            Self::Headers(..) => "headers",
            Self::BlockKeys(..) => "blockkeys",
            Self::HoldRows => "hold.rows",
            Self::HoldKeys => "hold.keys",
            Self::Roll => "roll",
        }
    }

    /// The tables that exist from the start.
    const FIXED: [Self; 8] = [
        Self::Meta,
        Self::Journal(Half::A),
        Self::Journal(Half::B),
        Self::Counters,
        Self::Arrivals,
        Self::Answers,
        Self::Backfill,
        Self::Seen,
    ];
}

/// The store cannot be opened, or an operation failed. The text names files and settings, never
/// anything from a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another version's format.
    #[error(
        "the data directory has another format ({found}) than this program's (7); \
         run the program that wrote it, or start on another directory"
    )]
    Format {
        /// The version found.
        found: String,
    },
    /// A backup was being put back, and was not to the end.
    #[error(
        "{} was not wholly put back from a backup; run the same `blindtally restore data` again",
        .0.display()
    )]
    HalfRestored(PathBuf),
    /// A table that this version does not know.
    #[error("the data directory has a table that this program does not know ({0})")]
    UnknownTable(String),
    /// RocksDB's own error; its text holds file names and codes.
    #[error("the data directory cannot be used: {0}")]
    Rocks(String),
    /// The disk is full.
    #[error("the disk of the data directory is full")]
    Full,
    /// Stored bytes do not follow their format.
    #[error(transparent)]
    Corrupt(#[from] super::codec::Corrupt),
}

impl From<rocksdb::Error> for StoreError {
    fn from(error: rocksdb::Error) -> Self {
        let text = error.into_string();
        let plain = text.trim_end_matches('.');
        if text.contains("No space left") { Self::Full } else { Self::Rocks(plain.to_owned()) }
    }
}

/// A key and its value.
type Pair = (Box<[u8]>, Box<[u8]>);

/// The open tables.
pub struct Store {
    db: Db,
    /// The settings it was opened with; they hold the counts of what was written.
    options: Options,
    cache: Cache,
    path: PathBuf,
    names: Mutex<BTreeSet<Table>>,
    /// Tests break a write; see `breaks`.
    #[cfg(test)]
    pub(crate) fault: std::sync::atomic::AtomicU8,
    /// The largest synced change set, bytes.
    #[cfg(test)]
    pub(crate) largest_sync: std::sync::atomic::AtomicUsize,
}

/// Writes that apply as a whole.
#[must_use]
#[derive(Default)]
pub struct Changes {
    list: Vec<(Table, Change)>,
    bytes: usize,
}

enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

impl Changes {
    /// Writes a row.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.list.push((table, Change::Put(key, value)));
    }

    /// Removes a row.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.list.push((table, Change::Delete(key.into())));
    }

    /// Removes the rows from one key up to, and without, another.
    pub fn delete_range(&mut self, table: Table, from: Vec<u8>, to: Vec<u8>) {
        self.list.push((table, Change::DeleteRange(from, to)));
    }

    /// Adds all changes of another set after these.
    pub fn append(&mut self, mut other: Self) {
        self.bytes += other.bytes;
        self.list.append(&mut other.list);
    }

    /// How much is to be written, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The tables that are written to.
    pub fn tables(&self) -> impl Iterator<Item = Table> + '_ {
        self.list.iter().map(|(table, _)| *table)
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Store {
    /// Opens the data directory, making it where it is missing.
    ///
    /// # Errors
    /// When it is in use, damaged, or of another format.
    pub fn open(settings: &Settings) -> Result<Self, StoreError> {
        let path = settings.data.clone();
        std::fs::create_dir_all(&path).map_err(|error| {
            StoreError::Rocks(format!("{} cannot be made ({})", path.display(), error.kind()))
        })?;
        checkpoint::tidy(&path)?;
        let cache = Cache::new_lru_cache(settings.block_cache_bytes);
        let mut names = if path.join("CURRENT").exists() {
            Db::list_cf(&database_options(), &path)?
        } else {
            Vec::new()
        };
        for fixed in Table::FIXED {
            if !names.contains(&fixed.name()) {
                names.push(fixed.name());
            }
        }
        let mut families = Vec::new();
        let mut tables = BTreeSet::new();
        for name in names {
            let table = Table::from_name(&name).ok_or(StoreError::UnknownTable(name.clone()))?;
            tables.insert(table);
            families.push(ColumnFamilyDescriptor::new(name, table_options(table, &cache)));
        }
        let mut options = database_options();
        options.enable_statistics();
        options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        let db = Db::open_cf_descriptors(&options, &path, families)?;
        let store = Self {
            db,
            options,
            cache,
            path,
            names: Mutex::new(tables),
            #[cfg(test)]
            fault: Default::default(),
            #[cfg(test)]
            largest_sync: Default::default(),
        };
        format::claim(&store)?;
        // A cut while the list of files was replaced leaves it behind.
        store.drop_table(Table::Roll)?;
        Ok(store)
    }

    /// Looks at a data directory without changing anything in it, not even by a log of its own;
    /// how many tables it has.
    ///
    /// # Errors
    /// When it cannot be read, or is of another format.
    pub fn look(path: &Path) -> Result<usize, StoreError> {
        let mut options = Options::default();
        options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| {}));
        let names = Db::list_cf(&options, path)?;
        if let Some(name) = names.iter().find(|name| Table::from_name(name).is_none()) {
            return Err(StoreError::UnknownTable(name.clone()));
        }
        let db = Db::open_cf_for_read_only(&options, path, &names, false)?;
        format::known(db.get(format::key())?.as_deref())?;
        Ok(names.len())
    }

    /// Where the tables are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a table where it is missing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn ensure(&self, table: Table) -> Result<(), StoreError> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.insert(table) {
            self.db.create_cf(table.name(), &table_options(table, &self.cache))?;
        }
        Ok(())
    }

    /// Every table that exists.
    pub fn tables(&self) -> Vec<Table> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn handle(&self, table: Table) -> Result<Handle<'_>, StoreError> {
        let name = table.name();
        self.db.cf_handle(&name).ok_or(StoreError::UnknownTable(name))
    }

    /// Applies the changes as a whole; they are on the disk when this returns.
    ///
    /// # Errors
    /// When the disk refuses. Nothing may be written after that; the process stops and recovers.
    pub fn apply(&self, changes: &Changes) -> Result<(), StoreError> {
        self.write(changes)
    }

    /// Applies changes past the log: a crash loses them, unless [`Store::flush_tables`] of their
    /// tables came first. For what nothing names yet, or nothing needs any more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn apply_ahead(&self, changes: &Changes) -> Result<(), StoreError> {
        let mut options = WriteOptions::new();
        options.disable_wal(true);
        Ok(self.db.write_opt(self.batch(changes)?, &options)?)
    }

    fn batch(&self, changes: &Changes) -> Result<WriteBatch, StoreError> {
        // Twelve bytes of head, and for each change its kind, table number and two lengths.
        let capacity = 12 + changes.bytes + changes.list.len() * 16;
        let mut batch = WriteBatch::with_capacity_bytes(capacity);
        let mut last: Option<(Table, Handle<'_>)> = None;
        for (table, change) in &changes.list {
            let handle = match &last {
                Some((known, handle)) if known == table => handle.clone(),
                _ => self.handle(*table)?,
            };
            match change {
                Change::Put(key, value) => batch.put_cf(&handle, key, value),
                Change::Delete(key) => batch.delete_cf(&handle, key),
                Change::DeleteRange(from, to) => batch.delete_range_cf(&handle, from, to),
            }
            last = Some((*table, handle));
        }
        Ok(batch)
    }

    fn write(&self, changes: &Changes) -> Result<(), StoreError> {
        let batch = self.batch(changes)?;
        let mut options = WriteOptions::new();
        options.set_sync(true);
        #[cfg(test)]
        {
            use std::sync::atomic::Ordering::SeqCst;
            self.largest_sync.fetch_max(changes.bytes, SeqCst);
            let ends_fold = changes.list.iter().any(|(table, change)| match change {
                Change::Put(key, _) => *table == Table::Meta && key == keys::POSITION,
                _ => false,
            });
            // 99: the end of a fold waits; 98: it panics.
            while ends_fold && self.fault.load(SeqCst) == 99 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            assert!(!(ends_fold && self.fault.load(SeqCst) == 98), "a fold panics");
        }
        #[cfg(test)]
        if let Some(after) = self.breaks(changes) {
            if after {
                self.db.write_opt(batch, &options)?;
            }
            return Err(StoreError::Rocks("broken by a test".into()));
        }
        Ok(self.db.write_opt(batch, &options)?)
    }

    /// Whether a test breaks this write: a journal entry (faults 1 and 2) or the end of a fold (3
    /// and 4), before it is on the disk (odd) or after (even).
    #[cfg(test)]
    fn breaks(&self, changes: &Changes) -> Option<bool> {
        use std::sync::atomic::Ordering::SeqCst;
        let fault = self.fault.load(SeqCst);
        if fault > 4 {
            return None;
        }
        let of_fold = fault > 2;
        let meant = changes.list.iter().any(|(table, change)| match change {
            Change::Put(key, _) if of_fold => *table == Table::Meta && key == keys::POSITION,
            Change::Put(..) => matches!(table, Table::Journal(_)),
            _ => false,
        });
        (fault > 0 && meant).then(|| {
            self.fault.store(0, SeqCst);
            fault.is_multiple_of(2)
        })
    }

    /// Reads a row.
    ///
    /// # Errors
    /// When the disk refuses or a file is corrupt.
    pub fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.get_cf(&self.handle(table)?, key)?)
    }

    /// Reads the rows from a key on, in their order, up to and without another key.
    ///
    /// # Errors
    /// When the disk refuses or a file is corrupt.
    pub fn scan<'s>(
        &'s self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<Pair, StoreError>> + use<'s>, StoreError> {
        let mut options = ReadOptions::default();
        if let Some(to) = to {
            options.set_iterate_upper_bound(to.to_vec());
        }
        let mode = IteratorMode::From(from, Direction::Forward);
        let rows = self.db.iterator_cf_opt(&self.handle(table)?, options, mode);
        Ok(rows.map(|row| row.map_err(StoreError::from)))
    }

    /// Writes every table's memory to files (tests, shutdown).
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&self) -> Result<(), StoreError> {
        self.flush_tables(&self.tables().into_iter().collect())
    }

    /// Writes the memory of tables to files, and syncs those.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush_tables(&self, tables: &BTreeSet<Table>) -> Result<(), StoreError> {
        for table in tables {
            self.db.flush_cf(&self.handle(*table)?)?;
        }
        Ok(())
    }

    /// Waits until no flush and no compaction runs (tests, benches).
    ///
    /// # Errors
    /// When one of them fails.
    pub fn settle(&self) -> Result<(), StoreError> {
        Ok(self.db.wait_for_compact(&rocksdb::WaitForCompactOptions::default())?)
    }
}
