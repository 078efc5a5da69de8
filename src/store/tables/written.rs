//! What was written to the disk, by cause: RocksDB's own counts since the start. It shows where
//! write amplification comes from.

use rocksdb::properties::TOTAL_SST_FILES_SIZE;
use rocksdb::statistics::Ticker;

use super::Store;

/// Bytes written since the start, by cause, and syncs of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// To the log, journal groups above all.
    pub log: u64,
    /// From memory to new files: blocks and runs, and journal that was not folded by then.
    pub flush: u64,
    /// From files to files.
    pub compaction: u64,
    /// How often a write waited for the log to be on the disk.
    pub syncs: u64,
}

impl Store {
    /// Bytes written since the start, and syncs.
    pub fn written(&self) -> Written {
        let count = |ticker| self.options.get_ticker_count(ticker);
        Written {
            log: count(Ticker::WalFileBytes),
            flush: count(Ticker::FlushWriteBytes),
            compaction: count(Ticker::CompactWriteBytes),
            syncs: count(Ticker::WalFileSynced),
        }
    }

    /// Bytes of all files of the tables, without the log.
    pub fn file_bytes(&self) -> u64 {
        let files = |table| {
            let handle = self.handle(table).ok()?;
            self.db.property_int_value_cf(&handle, TOTAL_SST_FILES_SIZE).ok()?
        };
        self.tables().into_iter().filter_map(files).sum()
    }
}
