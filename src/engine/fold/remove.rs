//! The rows of destroyed lots go, on the fold's own thread, so that no fold writes beside it.

use std::collections::BTreeSet;

use super::blocks::BlockPlace;
use super::{FoldError, Folder};
use crate::keys::KeyKind;
use crate::model::batch::{Bucket, Epoch, SiteMonth};
use crate::model::ids::SiteNo;
use crate::model::retention::Lot;
use crate::model::time::{Day, Month};
use crate::model::vocab::Class;
use crate::store::rows::{ENDED_MARK, decode_count, encode_count};
use crate::store::{Changes, RowRange, Store, StoreError, Table, keys};

/// Blocks that are removed in one change set.
const BLOCKS_AT_ONCE: usize = 4_096;

/// The tables that hold rows of a lot.
pub fn tables_of(lot: &Lot) -> Vec<Table> {
    match lot {
        Lot::Records(bucket) => block_tables(bucket.class, bucket.epoch.month()),
        Lot::Sets(at) => vec![Table::Tally(at.month)],
        Lot::RecordKey(_) | Lot::WatermarkKey(_) | Lot::BaseKey(_) => Vec::new(),
        Lot::Suppression(_) | Lot::Access(_) => vec![Table::Meta],
        Lot::Seen(_) => vec![Table::Seen],
    }
}

fn block_tables(class: Class, month: Month) -> Vec<Table> {
    vec![Table::Blocks(class, month), Table::Headers(class, month), Table::BlockKeys(class, month)]
}

/// The rows of a site's sets in a month: from the first key up to, and without, the last.
pub fn rows_of_sets(at: SiteMonth) -> RowRange {
    let end = at.site.0.checked_add(1).map_or_else(|| vec![0xff; 18], |no| keys::page(no, 0, 0, 0));
    (Table::Tally(at.month), keys::page(at.site.0, 0, 0, 0), end)
}

/// The rows of a site's suppressed persons: from the first key up to, and without, the last.
pub fn rows_of_suppressed(site: SiteNo) -> RowRange {
    let end = site.0.checked_add(1).map(|no| keys::suppressed(SiteNo(no), 0));
    (Table::Meta, keys::suppressed(site, 0), end.unwrap_or_else(|| keys::SUPPRESSED_END.to_vec()))
}

/// The rows of a day's slot: from the first key up to, and without, the last.
pub fn rows_of_seen(day: Day) -> RowRange {
    let end = keys::page(day.0.saturating_add(1), 0, 0, 0);
    (Table::Seen, keys::page(day.0, 0, 0, 0), end)
}

/// The days of a month in the access log: from the first key up to, and without, the last.
pub fn rows_of_access(month: Month) -> RowRange {
    let (from, to) = keys::access_month(keys::ACCESS, month);
    (Table::Meta, from, to)
}

/// The same in data from before format 7, as a restore may find them.
fn rows_before_of_access(month: Month) -> RowRange {
    let (from, to) = keys::access_month(keys::ACCESS_BEFORE, month);
    (Table::Meta, from, to)
}

/// The kept answers under the key of a day's slot, likewise. They end weeks before it.
pub fn answers_of(day: Day) -> RowRange {
    let end = keys::answer(day.0.saturating_add(1), &[0; 16]);
    (Table::Answers, keys::answer(day.0, &[0; 16]), end)
}

/// The blocks of a bucket that are in its tables.
///
/// # Errors
/// When the disk refuses.
pub fn blocks_of(store: &Store, bucket: Bucket) -> Result<Vec<BlockPlace>, FoldError> {
    let table = Table::BlockKeys(bucket.class, bucket.epoch.month());
    let mut places = Vec::new();
    if !store.has(table) {
        return Ok(places);
    }
    for fragment in [false, true] {
        let key = |number| keys::block(fragment, bucket.site, bucket.epoch.code(), number);
        for row in store.scan(table, &key(0), Some(&key(u64::MAX)))? {
            places.extend(BlockPlace::from_key(bucket.class, &row?.0));
        }
    }
    Ok(places)
}

impl Folder {
    /// Removes the rows of lots whose keys are gone, and drops tables that no key opens any more.
    /// Cut short, it can be repeated.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&mut self, lots: &[Lot]) -> Result<(), FoldError> {
        self.drop_dead_tables(lots)?;
        for lot in lots {
            match lot {
                Lot::Records(bucket) => {
                    self.fragments.0.remove(bucket);
                    self.remove_blocks(*bucket)?;
                }
                Lot::Sets(at) => {
                    let (table, from, to) = rows_of_sets(*at);
                    self.runs.retain(|set, _| set.table != table || set.owner != at.site.0);
                    if self.store.has(table) {
                        let mut changes = Changes::default();
                        changes.delete_range(table, from, to);
                        self.store.apply(&changes)?;
                    }
                }
                Lot::Suppression(at) => self.remove_range(rows_of_suppressed(at.site))?,
                Lot::Access(month) => {
                    self.remove_range(rows_of_access(*month))?;
                    self.remove_range(rows_before_of_access(*month))?;
                }
                Lot::Seen(day) => {
                    self.runs.retain(|set, _| set.table != Table::Seen || set.owner != day.0);
                    let mut changes = Changes::default();
                    for (table, from, to) in [rows_of_seen(*day), answers_of(*day)] {
                        if self.store.has(table) {
                            changes.delete_range(table, from, to);
                        }
                    }
                    self.store.apply(&changes)?;
                }
                Lot::RecordKey(_) | Lot::WatermarkKey(_) | Lot::BaseKey(_) => {}
            }
        }
        Ok(())
    }

    fn remove_range(&self, (table, from, to): RowRange) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        changes.delete_range(table, from, to);
        self.store.apply(&changes)
    }

    /// Removes the counters of months, which counted so many records, and notes that they had some;
    /// how many months.
    ///
    /// # Errors
    /// When the disk refuses; then the engine must stop and recover.
    pub fn end_figures(&self, months: &[SiteMonth], counted: u64) -> Result<u64, FoldError> {
        if months.is_empty() {
            return Ok(0);
        }
        let mut changes = Changes::default();
        for at in months {
            changes.delete(Table::Counters, keys::counters(*at));
            changes.put(Table::Meta, keys::ended(*at), ENDED_MARK);
        }
        let before = self.store.get(Table::Meta, keys::ENDED_RECORDS)?;
        let before = before.map(|row| decode_count(&row)).transpose()?.unwrap_or(0);
        let all = encode_count(before.saturating_add(counted));
        changes.put(Table::Meta, keys::ENDED_RECORDS, all);
        self.store.apply(&changes)?;
        Ok(months.len() as u64)
    }

    /// Bodies go with their headers and keys, so that what is left after a cut is still found.
    fn remove_blocks(&self, bucket: Bucket) -> Result<(), FoldError> {
        for some in blocks_of(&self.store, bucket)?.chunks(BLOCKS_AT_ONCE) {
            let mut changes = Changes::default();
            for (table, key) in some.iter().flat_map(|place| place.rows()) {
                changes.delete(table, key);
            }
            self.store.apply(&changes)?;
        }
        Ok(())
    }

    /// Drops the tables of the lots that hold nothing that a living key opens.
    fn drop_dead_tables(&self, lots: &[Lot]) -> Result<(), StoreError> {
        let mut dead: BTreeSet<Table> = lots.iter().flat_map(tables_of).collect();
        // They have everything else in them.
        dead.remove(&Table::Meta);
        dead.remove(&Table::Seen);
        for key in self.ring.list() {
            match (key.kind, key.class) {
                (KeyKind::Bucket, Some(class)) => {
                    let month = Epoch::from_code(key.epoch).month();
                    dead.retain(|table| !block_tables(class, month).contains(table));
                }
                (KeyKind::Sets, _) => dead.retain(|table| *table != Table::Tally(Month(key.epoch))),
                _ => {}
            }
        }
        dead.iter().try_for_each(|table| self.store.drop_table(*table))
    }
}
