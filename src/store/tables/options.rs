//! How RocksDB is set, as a whole and for each table, and why.

use rocksdb::{BlockBasedOptions, Cache, DBRecoveryMode, Options};

use super::Table;
use super::manifest::MANIFEST_BYTES;

/// Settings of the whole database, and why:
/// two cores; a WAL that no idle table can pin; a MANIFEST that rolls early, because it copies row
/// keys; no reuse of old WAL files, so that an audit by name stays simple; a torn last record after
/// kill -9 is no error, a hole before it is.
pub(super) fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_max_total_wal_size(1 << 30);
    options.set_max_manifest_file_size(MANIFEST_BYTES);
    options.set_keep_log_file_num(4);
    options.set_recycle_log_file_num(0);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_use_direct_io_for_flush_and_compaction(true);
    options.set_bytes_per_sync(1 << 20);
    options.set_max_open_files(512);
    options.set_max_file_opening_threads(OPENING_THREADS);
    options
}

/// Threads that open the files of a table when the store is opened. RocksDB starts so many for each
/// table, however few its files are; its own figure is 16, some two hundred for all tables.
const OPENING_THREADS: i32 = 2;

/// Files of a small table that wait, unsorted among each other, before they are merged downwards.
const FILES_UNMERGED: i32 = 16;

/// Memory of a half of the journal, bytes. The fold clears it long before; only a fold that is far
/// behind has journal written to files. Not more, because RocksDB reserves as much of the disk for
/// each log.
const JOURNAL_MEMORY_BYTES: usize = 256 << 20;

/// Settings of a table: everything is sealed, so nothing compresses. Blocks are written in the
/// order of their keys, so that files move down without being rewritten; the journal's memory is
/// large enough that its groups are folded and deleted before it would be written to files. Each
/// fold adds a file to the small tables, over all sites and days: a merge rewrites all of them, so
/// it waits for many, and a filter spares a look into each.
pub(super) fn table_options(table: Table, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_compression_type(rocksdb::DBCompressionType::None);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    match table {
        Table::Journal(_) => {
            options.set_write_buffer_size(JOURNAL_MEMORY_BYTES);
            options.set_max_write_buffer_number(2);
        }
        Table::Blocks(..) => {
            options.set_write_buffer_size(64 << 20);
            options.set_max_write_buffer_number(3);
        }
        Table::Answers => {
            options.set_write_buffer_size(16 << 20);
            blocks.set_bloom_filter(10.0, false);
        }
        Table::Seen | Table::Tally(_) | Table::Headers(..) | Table::BlockKeys(..) => {
            options.set_write_buffer_size(16 << 20);
            blocks.set_bloom_filter(10.0, false);
            options.set_level_zero_file_num_compaction_trigger(FILES_UNMERGED);
            options.set_level_zero_slowdown_writes_trigger(3 * FILES_UNMERGED);
            options.set_level_zero_stop_writes_trigger(4 * FILES_UNMERGED);
        }
        Table::Meta | Table::Counters | Table::Arrivals | Table::HoldRows | Table::HoldKeys => {
            options.set_write_buffer_size(16 << 20);
        }
        Table::Roll => options.set_disable_auto_compactions(true),
        Table::Backfill => options.set_write_buffer_size(64 << 20),
    }
    options.set_block_based_table_factory(&blocks);
    options
}
