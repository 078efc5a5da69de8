//! Giving the bytes of destroyed rows back: whole tables are dropped, ranges of rows are compacted
//! away, and the files that held them must be gone. The keys carry the promise; this is for the
//! disk, and so that nothing is left which a later weakness of a cipher would open.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::sync::PoisonError;

use rocksdb::{BottommostLevelCompaction, CompactOptions, LiveFile};

use super::manifest::is_manifest;
use super::{Changes, Store, StoreError, Table};
use crate::store::keys;

/// How often, and how long apart (milliseconds), files that should be gone are looked for:
/// RocksDB removes them a moment after they are obsolete.
const LOOKS: u32 = 200;
const LOOK_MS: u64 = 10;

/// How much of a table that is dropped is removed at once, bytes, and the pause behind it,
/// milliseconds: a gigabyte takes a quarter of a second.
const SLICE_BYTES: usize = 256 << 20;
const SLICE_PAUSE_MS: u64 = 60;

/// A range of rows: table, first key, key behind the last.
pub type RowRange = (Table, Vec<u8>, Vec<u8>);

/// The files at one moment.
pub struct Files {
    /// Living table files.
    living: HashMap<String, LiveFile>,
    /// Names of table files, logs and lists of files in the directory.
    there: BTreeSet<String>,
}

impl Files {
    /// Bytes of the tables of these names.
    fn bytes_of(&self, tables: &BTreeSet<String>) -> u64 {
        let of = self.living.values().filter(|file| tables.contains(&file.column_family_name));
        of.map(|file| file.size as u64).sum()
    }

    /// Living files that hold rows of the ranges, or may.
    fn in_ranges<'a>(&'a self, ranges: &'a [RowRange]) -> impl Iterator<Item = &'a str> + 'a {
        let within = move |file: &LiveFile| ranges.iter().any(|range| may_hold(file, range));
        self.living.iter().filter(move |(_, file)| within(file)).map(|(name, _)| name.as_str())
    }

    /// The range from the beginning of the first file on that may hold rows of it.
    fn widened(&self, range: &RowRange) -> RowRange {
        let (table, from, to) = range;
        let holding = self.living.values().filter(|file| may_hold(file, range));
        let firsts = holding.map(|file| file.start_key.clone().unwrap_or_default());
        (*table, firsts.chain([from.clone()]).min().unwrap_or_default(), to.clone())
    }
}

/// Whether a file may hold rows of a range. Its last key may be the end of a removal, which is no
/// row; nobody can see which.
fn may_hold(file: &LiveFile, (table, from, to): &RowRange) -> bool {
    let begins = file.start_key.as_ref().is_none_or(|first| first < to);
    let ends = file.end_key.as_ref().is_none_or(|last| last >= from);
    table.name() == file.column_family_name && begins && ends
}

/// What was given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Files that are gone.
    pub files: u64,
    /// By how much the tables in question became smaller, bytes.
    pub bytes: u64,
    /// Files that should be gone and are not.
    pub left: u64,
    /// Table files, logs and lists of files that were there at the end, and were compared with
    /// those from before.
    pub looked_at: u64,
}

impl Store {
    /// Whether a table exists.
    pub fn has(&self, table: Table) -> bool {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).contains(&table)
    }

    /// Drops a table with all its rows. Nobody may be reading it. Of a large one the files go
    /// before, some at a time: a file system that frees gigabytes at once makes every sync wait.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn drop_table(&self, table: Table) -> Result<(), StoreError> {
        if self.has(table) {
            self.thin_out(table, SLICE_BYTES)?;
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.remove(&table) {
            self.db.drop_cf(&table.name())?;
        }
        Ok(())
    }

    /// Removes files of a table until what is left is no more than a slice, or in files that lie
    /// across others. It takes rows with it, so it is for a table that is to be dropped.
    fn thin_out(&self, table: Table, slice_bytes: usize) -> Result<(), StoreError> {
        let name = table.name();
        let mut files = self.db.live_files()?;
        files.retain(|file| file.column_family_name == name);
        if files.iter().map(|file| file.size).sum::<usize>() <= slice_bytes {
            return Ok(());
        }
        files.sort_unstable_by(|one, other| one.start_key.cmp(&other.start_key));
        let handle = self.handle(table)?;
        let (mut from, mut bytes) = (Vec::new(), 0);
        for LiveFile { size, end_key, .. } in files {
            bytes += size;
            let Some(end) = end_key.filter(|_| bytes >= slice_bytes) else { continue };
            self.db.delete_file_in_range_cf(&handle, &from, &end)?;
            (from, bytes) = (end, 0);
            std::thread::sleep(std::time::Duration::from_millis(SLICE_PAUSE_MS));
        }
        Ok(())
    }

    /// The files as they are, once what memory holds of these tables is in files.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn files(&self, tables: &BTreeSet<Table>) -> Result<Files, StoreError> {
        for table in tables.iter().filter(|table| self.has(**table)) {
            self.db.flush_cf(&self.handle(*table)?)?;
        }
        let named = |file: LiveFile| (file.name.trim_start_matches('/').to_owned(), file);
        let living = self.db.live_files()?.into_iter().map(named).collect();
        Ok(Files { living, there: self.there()? })
    }

    fn there(&self) -> Result<BTreeSet<String>, StoreError> {
        let entries = std::fs::read_dir(&self.path);
        let entries = entries.map_err(|error| StoreError::Rocks(error.kind().to_string()))?;
        let mut names = BTreeSet::new();
        for entry in entries {
            let entry = entry.map_err(|error| StoreError::Rocks(error.kind().to_string()))?;
            let name = entry.file_name();
            let kind = std::path::Path::new(&name).extension().and_then(OsStr::to_str);
            let Some(name) = name.to_str() else { continue };
            if matches!(kind, Some("sst" | "log")) || is_manifest(name) {
                names.insert(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Rewrites these ranges without what was removed from them, and brings all that memory holds
    /// to files, so that every log from before is obsolete. Then a new list of files is begun, as
    /// the one from before has keys of rows. And it is looked what is left of the files from
    /// before: no log, no list, and no table file that is not in use.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn reclaim(
        &self,
        before: &Files,
        tables: &BTreeSet<Table>,
        ranges: &[RowRange],
    ) -> Result<Reclaimed, StoreError> {
        // A log that was not written to since the start is not replaced by a flush.
        let mut changes = Changes::default();
        changes.delete(Table::Meta, keys::RECLAIM);
        self.apply(&changes)?;
        self.flush()?;
        self.compact(ranges, false)?;
        let mut left = 0;
        if self.whole(before, ranges)? > 0 {
            // RocksDB leaves files alone whose keys lie on both sides of a range and not in it, as
            // after a call that was cut short, and those that end before it with a removal. From
            // where they begin, and without an end, it rewrites them all the same.
            let wide: Vec<RowRange> = ranges.iter().map(|range| before.widened(range)).collect();
            self.compact(&wide, true)?;
            left = self.whole(before, ranges)?;
        }
        self.roll_manifest()?;
        for look in 1..=LOOKS {
            let orphans = self.orphans(before)?;
            if orphans == 0 {
                break;
            }
            if look == LOOKS {
                left += orphans;
            }
            std::thread::sleep(std::time::Duration::from_millis(LOOK_MS));
        }
        let there = self.there()?;
        let names: BTreeSet<String> = tables.iter().map(|table| table.name()).collect();
        let now = self.files(&BTreeSet::new())?;
        let bytes = before.bytes_of(&names).saturating_sub(now.bytes_of(&names));
        let files = before.there.difference(&there).count() as u64;
        Ok(Reclaimed { files, bytes, left, looked_at: there.len() as u64 })
    }

    pub(super) fn compact(&self, ranges: &[RowRange], endless: bool) -> Result<(), StoreError> {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        options.set_exclusive_manual_compaction(false);
        for (table, from, to) in ranges.iter().filter(|(table, ..)| self.has(*table)) {
            let (from, to) = (Some(from.as_slice()), (!endless).then_some(to.as_slice()));
            // It says nothing of its success; the files do.
            self.db.compact_range_cf_opt(&self.handle(*table)?, from, to, &options);
        }
        Ok(())
    }

    /// Files from before that may hold rows of the ranges, and are still in use.
    fn whole(&self, before: &Files, ranges: &[RowRange]) -> Result<u64, StoreError> {
        let now = self.files(&BTreeSet::new())?;
        let whole = before.in_ranges(ranges).filter(|name| now.living.contains_key(*name));
        Ok(whole.count() as u64)
    }

    /// Files from before that nobody uses, and that are still there.
    fn orphans(&self, before: &Files) -> Result<u64, StoreError> {
        let now = self.files(&BTreeSet::new())?;
        let old = before.there.intersection(&now.there);
        Ok(old.filter(|name| !now.living.contains_key(*name)).count() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Month;
    use crate::model::vocab::Class;
    use crate::store::tables::Settings;

    /// Files of a table that is to be dropped go slice by slice; those of others stay.
    #[test]
    fn a_table_is_thinned_out_before_it_is_dropped() {
        let place = tempfile::tempdir().unwrap();
        let settings = Settings { data: place.path().to_owned(), block_cache_bytes: 1 << 20 };
        let store = Store::open(&settings).unwrap();
        let tables = [24_316, 24_317].map(|month| Table::Blocks(Class::Records, Month(month)));
        for table in tables {
            store.ensure(table).unwrap();
            for number in 0..8_u64 {
                let mut changes = Changes::default();
                changes.put(table, keys::block_body(number), vec![7; 4_096]);
                store.apply(&changes).unwrap();
                let all = (table, Vec::new(), vec![u8::MAX; 8]);
                store.files(&[table].into()).unwrap();
                // Down from the first level, where files may lie across each other.
                if number == 3 || number == 7 {
                    store.compact(&[all], false).unwrap();
                }
            }
        }
        let rows = |table| store.scan(table, &[], None).unwrap().count();
        store.thin_out(tables[0], usize::MAX).unwrap();
        assert_eq!(rows(tables[0]), 8, "a small one is left to the drop");
        store.thin_out(tables[0], 1).unwrap();
        assert_eq!(tables.map(rows), [0, 8]);
        store.drop_table(tables[0]).unwrap();
        assert!(!store.has(tables[0]) && store.has(tables[1]));
        drop(store);
        let store = Store::open(&settings).unwrap();
        assert_eq!(store.scan(tables[1], &[], None).unwrap().count(), 8);
    }

    /// What removes a range of rows ends where the next one begins, and says so in the file that it
    /// is in: RocksDB takes that end for no row, and leaves the file alone.
    #[test]
    fn a_removal_that_ends_where_a_range_begins_goes_with_it() {
        let place = tempfile::tempdir().unwrap();
        let settings = Settings { data: place.path().to_owned(), block_cache_bytes: 1 << 20 };
        let store = Store::open(&settings).unwrap();
        let tables = BTreeSet::from([Table::Seen]);
        store.ensure(Table::Seen).unwrap();
        let key = |day: u32| keys::page(day, 0, 0, 0);
        let mut changes = Changes::default();
        changes.put(Table::Seen, key(9), vec![1]);
        changes.delete_range(Table::Seen, key(0), key(5));
        store.apply(&changes).unwrap();
        let before = store.files(&tables).unwrap();
        let range = |from, to| (Table::Seen, key(from), key(to));
        assert_eq!(before.in_ranges(&[range(5, 6)]).count(), 1);
        let reclaimed = store.reclaim(&before, &tables, &[range(5, 6)]).unwrap();
        assert_eq!(reclaimed.left, 0, "{reclaimed:?}");
        assert_eq!(store.scan(Table::Seen, &[], None).unwrap().count(), 1);
        let mut changes = Changes::default();
        changes.delete_range(Table::Seen, key(0), key(6));
        store.apply(&changes).unwrap();
        let before = store.files(&tables).unwrap();
        let reclaimed = store.reclaim(&before, &tables, &[range(6, 7)]).unwrap();
        assert_eq!(reclaimed.left, 0, "{reclaimed:?}");
    }
}
