//! Settings of rooms that do not own theirs yet; each struct moves into its room with it.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of the engine and its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// The data directory.
    pub data: PathBuf,
    /// Most bytes of sealed batches that wait for the writer.
    pub queue_bytes_max: usize,
    /// Most bytes of tallies in memory.
    pub tally_bytes_max: usize,
    /// Most bytes of seen tags in memory.
    pub seen_bytes_max: usize,
    /// Bytes of RocksDB's block cache.
    pub block_cache_bytes: usize,
    /// Bytes of a journal segment, after which it is folded.
    pub segment_bytes: usize,
    /// The longest wait before a journal segment is folded.
    pub fold_every: Duration,
}

/// Settings of the key register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysSettings {
    /// The keys directory.
    pub directory: PathBuf,
    /// The file that holds the wrapped vault epoch key.
    pub vek_home: PathBuf,
    /// The root key file.
    pub root_key: PathBuf,
    /// Whether keys and data may lie on one device.
    pub allow_same_device: bool,
}

/// What callers may send, beside the sizes of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Most records of a request.
    pub batch_records_max: usize,
    /// How far back `occurred_at` may lie, milliseconds.
    pub age_ms_max: i64,
    /// How far ahead `occurred_at` may lie, milliseconds.
    pub future_ms_max: i64,
}
