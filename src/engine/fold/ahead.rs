//! What a large fold writes before its end: blocks and runs, a megabyte at a time, past the log of
//! RocksDB, so that no group commit waits behind a large write and the bytes reach the disk once.
//!
//! Nothing names them until the last change set of the fold is on the disk. An intent, which is
//! synced before the first of them, says what a fold that was cut off has left; recovery removes
//! it. A small fold writes nothing ahead: all of it goes with the last change set.

use std::collections::BTreeSet;

use super::FoldError;
use super::blocks::ranges;
use crate::engine::runs::SetId;
use crate::model::batch::{Bucket, Epoch};
use crate::model::ids::SiteNo;
use crate::model::time::Month;
use crate::model::vocab::Class;
use crate::store::codec::{Corrupt, Put, Reader};
use crate::store::{Changes, Store, Table, keys};

/// Writes ahead go in pieces of this size, bytes; a fold below it writes none. Small in unit tests,
/// whose folds are small.
const PIECE_BYTES: usize = if cfg!(test) { 2 << 10 } else { 1 << 20 };

/// What a fold is about to write, so that its traces can be found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// The number of its first block.
    pub first_block: u64,
    /// The buckets that get blocks.
    pub buckets: Vec<Bucket>,
    /// The number of its first run.
    pub first_run: u64,
    /// The sets that get runs.
    pub sets: Vec<SetId>,
}

/// The writes of one fold before its last change set.
pub struct Ahead<'s> {
    store: &'s Store,
    intent: Intent,
    changes: Changes,
    /// Tables that were written to past the log.
    tables: BTreeSet<Table>,
}

impl<'s> Ahead<'s> {
    /// Nothing written yet.
    pub fn new(store: &'s Store, intent: Intent) -> Self {
        Self { store, intent, changes: Changes::default(), tables: BTreeSet::new() }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) -> Result<(), FoldError> {
        self.changes.put(table, key, value);
        if self.changes.bytes() >= PIECE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), FoldError> {
        if self.tables.is_empty() {
            let mut first = Changes::default();
            first.put(Table::Meta, keys::INTENT, self.intent.encode());
            self.store.apply(&first)?;
        }
        let changes = std::mem::take(&mut self.changes);
        self.tables.extend(changes.tables());
        Ok(self.store.apply_ahead(&changes)?)
    }

    /// Adds what is left to the last change set of a small fold; brings everything to the disk in a
    /// large one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(mut self, last: &mut Changes) -> Result<(), FoldError> {
        if self.tables.is_empty() {
            last.append(self.changes);
            return Ok(());
        }
        self.write()?;
        self.store.flush_tables(&self.tables)?;
        last.delete(Table::Meta, keys::INTENT);
        Ok(())
    }
}

impl Intent {
    /// `first block ‖ n × bucket ‖ first run ‖ n × set`.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.varint(self.first_block);
        out.varint(self.buckets.len() as u64);
        for bucket in &self.buckets {
            out.push(bucket.class.code());
            out.varint(u64::from(bucket.site.0));
            out.varint(u64::from(bucket.epoch.code()));
        }
        out.varint(self.first_run);
        out.varint(self.sets.len() as u64);
        for set in &self.sets {
            // Month 0 is long past, so it stands for the seen slots.
            let month = if let Table::Tally(month) = set.table { month.0 } else { 0 };
            out.varint(u64::from(month));
            out.varint(u64::from(set.owner));
            out.push(set.kind);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new("fold intent", bytes);
        let mut intent = Self { first_block: reader.varint()?, ..Self::default() };
        for _ in 0..reader.count_of(3)? {
            let class = Class::from_code(reader.byte()?).ok_or(reader.corrupt())?;
            let site = SiteNo(reader.number32()?);
            let epoch = Epoch::from_code(reader.number32()?);
            intent.buckets.push(Bucket { class, site, epoch });
        }
        intent.first_run = reader.varint()?;
        for _ in 0..reader.count_of(3)? {
            let table = match reader.number32()? {
                0 => Table::Seen,
                month => Table::Tally(Month(month)),
            };
            let (owner, kind) = (reader.number32()?, reader.byte()?);
            intent.sets.push(SetId { table, owner, kind });
        }
        reader.end()?;
        Ok(intent)
    }
}

/// Removes what a fold that was cut off has left; answers whether there was one.
///
/// # Errors
/// When the disk refuses or the intent does not follow its format.
pub fn discard_unfinished(store: &Store) -> Result<bool, FoldError> {
    let Some(row) = store.get(Table::Meta, keys::INTENT)? else { return Ok(false) };
    let intent = Intent::decode(&row)?;
    let mut changes = Changes::default();
    for bucket in &intent.buckets {
        for (table, from, to) in ranges(*bucket, intent.first_block, u64::MAX) {
            store.ensure(table)?;
            changes.delete_range(table, from, to);
        }
    }
    for set in &intent.sets {
        store.ensure(set.table)?;
        let page = |run| keys::page(set.owner, set.kind, run, 0);
        changes.delete_range(set.table, page(intent.first_run), page(u64::MAX));
    }
    changes.delete(Table::Meta, keys::INTENT);
    store.apply(&changes)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn intents_round_trip(
            first_block in any::<u64>(), first_run in any::<u64>(),
            buckets in proptest::collection::vec((any::<u32>(), any::<u32>()), 0..9),
            sets in proptest::collection::vec((1u32.., any::<u32>(), any::<u8>()), 0..9),
        ) {
            let bucket = |(site, epoch): (u32, u32)| Bucket {
                class: Class::Records, site: SiteNo(site), epoch: Epoch::from_code(epoch),
            };
            let set = |(month, owner, kind): (u32, u32, u8)| SetId {
                table: if month % 2 == 0 { Table::Seen } else { Table::Tally(Month(month)) },
                owner, kind,
            };
            let intent = Intent {
                first_block,
                buckets: buckets.into_iter().map(bucket).collect(),
                first_run,
                sets: sets.into_iter().map(set).collect(),
            };
            let bytes = intent.encode();
            prop_assert_eq!(Intent::decode(&bytes), Ok(intent));
            prop_assert!(Intent::decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
