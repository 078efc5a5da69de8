//! Hold storage: what is on hold from its due time on, apart from everything else. Two tables of
//! its own hold the rows, and a vault of its own ([`crate::keys::hold`]) the keys.
//!
//! A copy belongs to one hold and one lot. Of a bucket it is the sealed blocks and headers as they
//! were, and each block's key sealed anew under the key of the hold; of the sets of a month their
//! sealed rows and both their keys; of any other lot its key. The rows are there once for a lot,
//! however many holds have a copy; what each of them has for itself is keys.
//!
//! Nobody writes to a copy after it was made: it is evidence. It is found by [`copies`], opened by
//! `read_block`, and ends by the same destruction as a lot, in the vault of the holds.

mod give_up;
mod keep;
mod replay;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::destroy::lots;
use super::directory::Directory;
use super::fold::{self, BlockKey, BlockPlace, FoldError};
use super::{Engine, EngineError, Shared};
use crate::crypto::{Aad, SealKey};
use crate::keys::{HeldKey, KeyKind, KeyRing};
use crate::model::batch::{Bucket, SiteMonth};
use crate::model::ids::{HoldNo, KeyId, SiteId};
use crate::model::retention::Lot;
use crate::model::time::Timestamp;
use crate::store::block::OwnedRow;
use crate::store::codec::Corrupt;
use crate::store::destruction::{DoomedLot, HeldRow, UnderWay};
use crate::store::{Changes, RowRange, Store, Table, keys};

pub use give_up::{clear, give_up};
pub use keep::{Keeping, keep, whole};
pub use replay::replay;

/// The copies in hold storage.
pub type Copies = BTreeMap<(HoldNo, Lot), HeldRow>;

/// Parts of hold storage, by the byte in their row keys.
const BLOCK: u8 = 1;
const HEADER: u8 = 2;
const RUN: u8 = 3;

/// A copy in hold storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldInfo {
    /// The hold that keeps it.
    pub hold: HoldNo,
    /// The lot it is of.
    pub lot: Lot,
    /// Its site.
    pub site: SiteId,
    /// Its living keys, by their numbers in the register of holds.
    pub keys: Vec<KeyId>,
    /// The records in it; 0 for a lot that is a key or a set.
    pub records: u64,
    /// When its month or day ended.
    pub ends_at: Timestamp,
    /// Whether its records are lost, and only its key is there.
    pub lost: bool,
}

fn aad(row: &[u8]) -> Aad {
    Aad::new("meta/1").bytes(row)
}

/// Loads the rows of all copies.
///
/// # Errors
/// When a row cannot be read or opened.
pub fn load(store: &Store, key: &SealKey) -> Result<Copies, EngineError> {
    let mut copies = Copies::new();
    for row in store.scan(Table::Meta, keys::HELD, Some(keys::HELD_END))? {
        let (name, sealed) = row?;
        let copy = keys::held_of(&name).ok_or(Corrupt("copy on hold"))?;
        let plain = key.open(&aad(&name), &sealed).map_err(FoldError::from)?;
        copies.insert(copy, HeldRow::decode(&plain)?);
    }
    Ok(copies)
}

/// Refuses a start where a copy is there and its keys are not, unless it was being destroyed. Opens
/// the vault of the holds, so that what was cut in it is finished.
///
/// # Errors
/// Refused, with a sentence that says what to put back.
pub fn check(shared: &Shared) -> Result<(), EngineError> {
    let ring = shared.ring.hold_existing()?;
    let living = ring.map_or(lots::Living::new(), |ring| living(&shared.directory, &ring));
    let mut going = shared.unfinished.read().unwrap_or_else(PoisonError::into_inner).clone();
    let waiting = shared.waiting.read().unwrap_or_else(PoisonError::into_inner);
    going.extend(waiting.dooms.iter().cloned());
    let copies = shared.held.read().unwrap_or_else(PoisonError::into_inner);
    for (hold, lot) in copies.keys() {
        let copy = (Some(*hold), *lot);
        let is_going = going.iter().any(|doom| (doom.hold, doom.lot) == copy);
        if !living.contains_key(&copy) && !is_going {
            let hold = hold.0;
            return Err(EngineError::Refused(format!(
                "the keys of what hold h{hold} keeps are not in the register of holds; put back \
                 the directory hold of the keys directory and of the VEK home"
            )));
        }
    }
    Ok(())
}

/// The living keys of every copy.
pub fn living(directory: &Directory, ring: &KeyRing) -> lots::Living {
    let mut copies = lots::Living::new();
    for key in ring.list() {
        if let (Some(_), Some(lot)) = (key.hold, lots::held_lot_of(directory, &key)) {
            copies.entry((key.hold, lot)).or_default().push(key);
        }
    }
    copies
}

/// The sealing key of a kind that a copy has.
fn sealing(
    shared: &Shared,
    ring: &KeyRing,
    (hold, lot): (HoldNo, Lot),
    kind: KeyKind,
) -> Result<Option<Arc<SealKey>>, EngineError> {
    let own = ring.list().into_iter().find(|key| {
        let of_copy = (key.hold, key.kind) == (Some(hold), kind);
        of_copy && lots::held_lot_of(&shared.directory, key) == Some(lot)
    });
    let Some(own) = own else { return Ok(None) };
    Ok(match ring.held_key(own.id)? {
        HeldKey::Seal(key) => Some(key),
        HeldKey::Base(_) | HeldKey::Tag(_) | HeldKey::Seen(..) => None,
    })
}

/// Every copy whose keys live.
///
/// # Errors
/// When the vault of the holds cannot be opened.
pub fn copies(shared: &Shared) -> Result<Vec<HeldInfo>, EngineError> {
    let held = shared.held.read().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(ring) = (if held.is_empty() { None } else { shared.ring.hold_existing()? }) else {
        return Ok(Vec::new());
    };
    let mut living = living(&shared.directory, &ring);
    let info = |((hold, lot), row): ((HoldNo, Lot), HeldRow)| {
        let site = shared.directory.by_no(lots::site_of(&lot)?)?;
        let keys = living.remove(&(Some(hold), lot))?.iter().map(|key| key.id).collect();
        let ends_at = lots::ends_at(&shared.directory, &site, lots::epoch_of(&lot));
        let site = site.id.clone();
        let (records, lost) = (row.records, row.is_lost(&lot));
        Some(HeldInfo { hold, lot, site, keys, records, ends_at, lost })
    };
    Ok(held.into_iter().filter_map(info).collect())
}

impl Shared {
    /// The row of a copy, if there is one.
    pub fn held(&self, hold: HoldNo, lot: Lot) -> Option<HeldRow> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).get(&(hold, lot)).copied()
    }

    /// Whether the sets of a month are in hold storage.
    pub fn sets_held(&self, at: SiteMonth) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.keys().any(|(_, lot)| *lot == Lot::Sets(at))
    }
}

impl Engine {
    /// The copies of the register of holds, off the host, that cannot be had now: what is on hold,
    /// and copies of holds that ended, wait for them.
    ///
    /// # Errors
    /// When the vault of the holds cannot be used; stopped.
    pub async fn holds_out_of_reach(&self) -> Result<Vec<PathBuf>, EngineError> {
        self.aside(|engine| {
            let shared = &engine.shared;
            let _one = shared.destroying.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(shared.ring.holds_out_of_reach()?)
        })
        .await
    }

    /// Every copy in hold storage.
    ///
    /// # Errors
    /// When the vault of the holds cannot be opened.
    pub fn held(&self) -> Result<Vec<HeldInfo>, EngineError> {
        copies(&self.shared)
    }

    /// The copy that a hold has of a bucket; `None` where it has none whose key lives.
    ///
    /// # Errors
    /// When the vault of the holds cannot be used; refused where the records are lost, so that an
    /// empty copy is not taken for a whole one.
    pub fn held_bucket(
        &self,
        hold: HoldNo,
        bucket: Bucket,
    ) -> Result<Option<HeldBucket<'_>>, EngineError> {
        let lot = Lot::Records(bucket);
        if self.shared.held(hold, lot).is_some_and(|row| row.is_lost(&lot)) {
            return Err(EngineError::Refused(format!(
                "the records that hold h{} keeps of {} were moved after the backup that was put \
                 back, and are lost",
                hold.0,
                bucket.epoch.month()
            )));
        }
        HeldBucket::open(&self.shared, hold, bucket)
    }
}

/// An open copy of a bucket: what reads its blocks.
pub struct HeldBucket<'s> {
    store: &'s Store,
    hold: HoldNo,
    lot: Lot,
    /// The key of the hold.
    key: Arc<SealKey>,
    /// The bucket key that the blocks name.
    bucket_key: KeyId,
}

impl<'s> HeldBucket<'s> {
    fn open(shared: &'s Shared, hold: HoldNo, bucket: Bucket) -> Result<Option<Self>, EngineError> {
        let lot = Lot::Records(bucket);
        let Some(row) = shared.held(hold, lot) else { return Ok(None) };
        let Some(ring) = shared.ring.hold_existing()? else { return Ok(None) };
        let Some(key) = sealing(shared, &ring, (hold, lot), KeyKind::Hold)? else {
            return Ok(None);
        };
        Ok(Some(Self { store: &shared.store, hold, lot, key, bucket_key: row.bucket_key }))
    }

    /// The blocks of the copy.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn blocks(&self) -> Result<Vec<BlockPlace>, FoldError> {
        let Lot::Records(bucket) = self.lot else { return Ok(Vec::new()) };
        let (from, to) = keys::hold_keys(self.hold, &self.lot);
        let mut places = Vec::new();
        if !self.store.has(Table::HoldKeys) {
            return Ok(places);
        }
        for row in self.store.scan(Table::HoldKeys, &from, Some(&to))? {
            let (name, _) = row?;
            let key = keys::hold_key_of(&name).ok_or(Corrupt("held block key"))?;
            let place = BlockPlace::from_key(bucket.class, key);
            places.push(place.ok_or(Corrupt("held block key"))?);
        }
        Ok(places)
    }

    /// Opens a block of the copy and reads its rows; its header must open too and agree.
    ///
    /// # Errors
    /// When it is missing, does not open, or does not follow its format.
    pub fn read(&self, place: BlockPlace) -> Result<Vec<OwnedRow>, FoldError> {
        let key = self.block_key(place)?;
        let row = |part| {
            let row = keys::hold_row(&self.lot, part, &place.key());
            let sealed = self.store.get(Table::HoldRows, &row)?;
            sealed.ok_or(FoldError::from(Corrupt("held block")))
        };
        let rows = fold::open_block(place, &key, &row(BLOCK)?)?;
        let header = fold::open_header(place, &key, &row(HEADER)?)?;
        if header.rows == rows.len() { Ok(rows) } else { Err(Corrupt("held block").into()) }
    }

    /// The key of a block.
    fn block_key(&self, place: BlockPlace) -> Result<BlockKey, FoldError> {
        let row = keys::hold_key(self.hold, &self.lot, &place.key());
        let wrapped = self.store.get(Table::HoldKeys, &row)?.ok_or(Corrupt("held block key"))?;
        let plain = self.key.open(&self.aad(place), &wrapped)?;
        Ok(BlockKey::take(plain, self.bucket_key).ok_or(Corrupt("held block key"))?)
    }

    fn aad(&self, place: BlockPlace) -> Aad {
        place.aad("held key/1", self.key.id()).number(self.hold.0)
    }
}

/// Whether a block key in hold storage opens under the key of a hold.
pub fn block_key_opens(key: &SealKey, hold: HoldNo, place: BlockPlace, wrapped: &[u8]) -> bool {
    key.open(&place.aad("held key/1", key.id()).number(hold.0), wrapped).is_ok()
}

/// The rows in hold storage that go with a copy: its block keys, and those of the lot if no copy
/// needs them that stays.
pub fn ranges_of(shared: &Shared, row: &UnderWay, doomed: &DoomedLot) -> Vec<RowRange> {
    let (Some(hold), lot) = (doomed.hold, doomed.lot) else { return Vec::new() };
    let (from, to) = keys::hold_keys(hold, &lot);
    let mut ranges = vec![(Table::HoldKeys, from, to)];
    if !is_kept(shared, row, lot) {
        let (from, to) = keys::hold_rows(&lot);
        ranges.push((Table::HoldRows, from, to));
    }
    ranges
}

/// Whether a copy of a lot stays after a destruction.
pub fn is_kept(shared: &Shared, row: &UnderWay, lot: Lot) -> bool {
    let goes = |hold: &HoldNo| {
        row.lots.iter().any(|doomed| (doomed.hold, doomed.lot) == (Some(*hold), lot))
    };
    let held = shared.held.read().unwrap_or_else(PoisonError::into_inner);
    held.keys().any(|(hold, of)| *of == lot && !goes(hold))
}

/// Removes the rows of copies whose keys are gone, and drops the tables with the last copy. Cut
/// short, it can be repeated.
///
/// # Errors
/// When the disk refuses.
pub fn remove(shared: &Shared, row: &UnderWay) -> Result<(), EngineError> {
    let store = &shared.store;
    let mut changes = Changes::default();
    for doomed in &row.lots {
        let ranges = ranges_of(shared, row, doomed).into_iter();
        for (table, from, to) in ranges.filter(|(table, ..)| store.has(*table)) {
            changes.delete_range(table, from, to);
        }
        changes.delete(Table::Meta, keys::held(doomed.hold.unwrap_or(HoldNo(0)), &doomed.lot));
    }
    store.apply(&changes)?;
    let mut held = shared.held.write().unwrap_or_else(PoisonError::into_inner);
    for doomed in &row.lots {
        held.remove(&(doomed.hold.unwrap_or(HoldNo(0)), doomed.lot));
    }
    if held.is_empty() {
        store.drop_table(Table::HoldKeys)?;
        store.drop_table(Table::HoldRows)?;
    }
    Ok(())
}
