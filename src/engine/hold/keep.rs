//! Making copies in hold storage, and opening them: before a lot, or another hold's copy of it, is
//! destroyed. Everything can be repeated; nothing here removes anything.

use super::{BLOCK, HEADER, HeldBucket, RUN, aad, sealing};
use crate::engine::fold::{
    BlockKey, BlockPlace, FoldError, blocks_of, key_of, open_block_key, rows_of_sets, wrapped_key,
};
use crate::engine::runs::{self, Tags};
use crate::engine::{EngineError, Shared};
use crate::keys::{Destruction, KeyKind, KeyRing, LedgerMark};
use crate::model::batch::{Bucket, SiteMonth};
use crate::model::ids::{HoldNo, KeyId};
use crate::model::retention::Lot;
use crate::store::codec::Corrupt;
use crate::store::destruction::{DoomedLot, HeldRow, UnderWay};
use crate::store::{Changes, Table, keys};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows are copied in pieces of this size, bytes.
const PIECE_BYTES: usize = if cfg!(test) { 2 << 10 } else { 1 << 20 };

/// The end of a run's row key, which says the page.
const PAGE_NUMBER_BYTES: usize = 4;

/// Where the block keys of a bucket come from.
enum Source<'s> {
    /// The lot itself, under its bucket key.
    Lot,
    /// The copy of another hold.
    Copy(HeldBucket<'s>),
}

/// What became of the copies that a destruction needs.
pub enum Keeping {
    /// They are there. Their rows make them whole: to be written together with whatever says so.
    Made(Vec<(HoldNo, Lot, HeldRow)>),
    /// These copies of the register of holds, off the host, do not have their keys yet.
    Waiting(Vec<PathBuf>),
}

/// Makes the copies that a destruction needs first, and opens each of them. Where the register of
/// holds has copies off the host, these have the keys, too, before this answers: the keys that are
/// destroyed next were there as well.
///
/// # Errors
/// When there is no room on the disk, something does not open, or a copy does not hold what it
/// should. Then nothing may be destroyed.
pub fn keep(shared: &Shared, row: &UnderWay, mark: LedgerMark) -> Result<Keeping, EngineError> {
    let mut copies = Vec::new();
    let wanted: Vec<(&DoomedLot, Vec<HoldNo>)> = row
        .lots
        .iter()
        .filter(|doomed| !doomed.keys.is_empty())
        .map(|doomed| (doomed, heirs(shared, doomed)))
        .filter(|(_, heirs)| !heirs.is_empty())
        .collect();
    if wanted.is_empty() {
        return Ok(Keeping::Made(copies));
    }
    if shared.disk_low.load(std::sync::atomic::Ordering::Acquire) {
        return Err(EngineError::DiskFull);
    }
    let keeper = Keeper { shared, ring: shared.ring.hold()? };
    for table in [Table::HoldRows, Table::HoldKeys] {
        shared.store.ensure(table)?;
    }
    for (doomed, heirs) in &wanted {
        keeper.copy_rows(doomed)?;
        for heir in heirs {
            copies.push((*heir, doomed.lot, keeper.copy_keys(doomed, *heir)?));
        }
    }
    if !keeper.ring.copies()?.is_empty() {
        // An ordinary write of the register does not wait for them, a turn-over does.
        if let Destruction::Waiting(paths) = keeper.ring.turn_over(mark, &())? {
            return Ok(Keeping::Waiting(paths));
        }
    }
    shared.store.flush_tables(&[Table::HoldRows, Table::HoldKeys].into())?;
    for (doomed, heirs) in &wanted {
        for heir in heirs {
            keeper.verify(doomed, *heir, &copies)?;
        }
    }
    Ok(Keeping::Made(copies))
}

/// The holds that get a copy: those that have none yet, because nobody writes to a copy that is
/// whole.
fn heirs(shared: &Shared, doomed: &DoomedLot) -> Vec<HoldNo> {
    let without = |hold: &&HoldNo| shared.held(**hold, doomed.lot).is_none();
    doomed.heirs.iter().filter(without).copied().collect()
}

/// The changes that make copies whole.
pub fn whole(shared: &Shared, copies: &[(HoldNo, Lot, HeldRow)], changes: &mut Changes) {
    let key = shared.ring.state_key();
    for (hold, lot, row) in copies {
        let name = keys::held(*hold, lot);
        let sealed = key.seal(&aad(&name), &row.encode());
        changes.put(Table::Meta, name, sealed);
    }
}

struct Keeper<'s> {
    shared: &'s Shared,
    /// The vault of the holds.
    ring: Arc<KeyRing>,
}

impl Keeper<'_> {
    /// Copies the sealed rows of a lot as they are. Those of a copy are there already.
    fn copy_rows(&self, doomed: &DoomedLot) -> Result<(), EngineError> {
        if doomed.hold.is_some() {
            return Ok(());
        }
        let store = &self.shared.store;
        let mut piece = Changes::default();
        let mut put = |part, key: &[u8], value: Vec<u8>| {
            piece.put(Table::HoldRows, keys::hold_row(&doomed.lot, part, key), value);
            if piece.bytes() < PIECE_BYTES {
                return Ok(());
            }
            store.apply_ahead(&std::mem::take(&mut piece))
        };
        match doomed.lot {
            Lot::Records(bucket) => {
                for place in blocks_of(store, bucket)? {
                    let [(blocks, body), (headers, header), _] = place.rows();
                    let row = |table, key: &[u8]| {
                        store.get(table, key)?.ok_or(FoldError::from(Corrupt("block")))
                    };
                    put(BLOCK, &place.key(), row(blocks, &body)?)?;
                    put(HEADER, &place.key(), row(headers, &header)?)?;
                }
            }
            Lot::Sets(at) => {
                let (table, from, to) = rows_of_sets(at);
                if store.has(table) {
                    for row in store.scan(table, &from, Some(&to))? {
                        let (key, sealed) = row?;
                        put(RUN, &key, sealed.into_vec())?;
                    }
                }
            }
            // No hold covers the last three.
            Lot::RecordKey(_)
            | Lot::WatermarkKey(_)
            | Lot::BaseKey(_)
            | Lot::Suppression(_)
            | Lot::Seen(_)
            | Lot::Access(_) => {}
        }
        Ok(store.apply_ahead(&piece)?)
    }

    /// Gives a hold its keys of a lot.
    fn copy_keys(&self, doomed: &DoomedLot, heir: HoldNo) -> Result<HeldRow, EngineError> {
        if let Lot::Records(bucket) = doomed.lot {
            let bucket_key = self.wrap_anew(doomed, bucket, heir)?;
            let lacks = || EngineError::Damaged("a block of what is on hold cannot be read".into());
            let records = doomed.records.ok_or_else(lacks)?;
            return Ok(HeldRow { records, bucket_key });
        }
        for key in &doomed.keys {
            let held = match doomed.hold {
                None => self.shared.ring.move_to_hold(&self.ring, key.id, heir)?,
                Some(_) => self.ring.share_held(key.id, heir)?,
            };
            if self.ring.commitment(held) != Some(key.commitment) {
                return Err(EngineError::Damaged("a key on hold is another one".into()));
            }
        }
        Ok(HeldRow { records: 0, bucket_key: KeyId(0) })
    }

    /// Seals the key of each block under that of the hold; answers the bucket key that they name.
    fn wrap_anew(
        &self,
        doomed: &DoomedLot,
        bucket: Bucket,
        heir: HoldNo,
    ) -> Result<KeyId, EngineError> {
        let store = &self.shared.store;
        let site = self.shared.directory.by_no(bucket.site).ok_or(FoldError::NoSite)?;
        let key = self.ring.hold_key(heir, &site.id, bucket.class, bucket.epoch.code())?;
        let (source, bucket_key, places) = self.source(doomed, bucket)?;
        let (lot, mut piece) = (doomed.lot, Changes::default());
        for place in places {
            let own = self.block_key(&source, place)?;
            let aad = place.aad("held key/1", key.id()).number(heir.0);
            let row = keys::hold_key(heir, &lot, &place.key());
            piece.put(Table::HoldKeys, row, own.wrap(&key, &aad, bucket_key));
            if piece.bytes() >= PIECE_BYTES {
                store.apply_ahead(&std::mem::take(&mut piece))?;
            }
        }
        store.apply_ahead(&piece)?;
        Ok(bucket_key)
    }

    fn source(
        &self,
        doomed: &DoomedLot,
        bucket: Bucket,
    ) -> Result<(Source<'_>, KeyId, Vec<BlockPlace>), EngineError> {
        let gone = || EngineError::Damaged("the key of what is on hold is not there".into());
        match doomed.hold {
            None => {
                let id = doomed.keys.first().ok_or_else(gone)?.id;
                Ok((Source::Lot, id, blocks_of(&self.shared.store, bucket)?))
            }
            Some(hold) => {
                let copy = HeldBucket::open(self.shared, hold, bucket)?.ok_or_else(gone)?;
                let (bucket_key, places) = (copy.bucket_key, copy.blocks()?);
                Ok((Source::Copy(copy), bucket_key, places))
            }
        }
    }

    fn block_key(&self, source: &Source<'_>, place: BlockPlace) -> Result<BlockKey, FoldError> {
        match source {
            Source::Lot => {
                let wrapped = wrapped_key(&self.shared.store, place)?;
                open_block_key(place, &*key_of(&self.shared.ring, &wrapped)?, &wrapped)
            }
            Source::Copy(copy) => copy.block_key(place),
        }
    }

    /// Opens a copy and counts what is in it.
    fn verify(
        &self,
        doomed: &DoomedLot,
        heir: HoldNo,
        copies: &[(HoldNo, Lot, HeldRow)],
    ) -> Result<(), EngineError> {
        let short = || EngineError::Damaged("a copy in hold storage lacks something".into());
        let row = copies.iter().find(|(hold, lot, _)| (*hold, *lot) == (heir, doomed.lot));
        let (_, _, row) = row.ok_or_else(short)?;
        match doomed.lot {
            Lot::Records(bucket) => {
                let copy = self.opened(heir, bucket, row)?;
                let (_, _, places) = self.source(doomed, bucket)?;
                let mut records = 0;
                for place in &places {
                    records += copy.read(*place)?.len() as u64;
                }
                let all = Some(records) == doomed.records && copy.blocks()? == places;
                if all { Ok(()) } else { Err(short()) }
            }
            Lot::Sets(at) => self.verify_sets(doomed, heir, at),
            // Their commitments were compared.
            Lot::RecordKey(_)
            | Lot::WatermarkKey(_)
            | Lot::BaseKey(_)
            | Lot::Suppression(_)
            | Lot::Seen(_)
            | Lot::Access(_) => Ok(()),
        }
    }

    fn opened(
        &self,
        hold: HoldNo,
        bucket: Bucket,
        row: &HeldRow,
    ) -> Result<HeldBucket<'_>, EngineError> {
        let site = self.shared.directory.by_no(bucket.site).ok_or(FoldError::NoSite)?;
        // It was made before, so this reads it.
        let key = self.ring.hold_key(hold, &site.id, bucket.class, bucket.epoch.code())?;
        let (store, lot) = (&*self.shared.store, Lot::Records(bucket));
        Ok(HeldBucket { store, hold, lot, key, bucket_key: row.bucket_key })
    }

    /// Opens every row of the sets under the key that the hold has; each run must have as many
    /// tags as its head says.
    fn verify_sets(
        &self,
        doomed: &DoomedLot,
        heir: HoldNo,
        at: SiteMonth,
    ) -> Result<(), EngineError> {
        let short = || EngineError::Damaged("a copy in hold storage lacks something".into());
        let copy = (heir, doomed.lot);
        let key = sealing(self.shared, &self.ring, copy, KeyKind::Sets)?.ok_or_else(short)?;
        let (from, to) = keys::hold_rows(&doomed.lot);
        let mut runs: BTreeMap<Vec<u8>, (Option<u64>, u64)> = BTreeMap::new();
        for row in self.shared.store.scan(Table::HoldRows, &from, Some(&to))? {
            let (name, sealed) = row?;
            let (_, row) = keys::hold_row_of(&name).ok_or_else(short)?;
            let run =
                row.get(..row.len().saturating_sub(PAGE_NUMBER_BYTES)).unwrap_or_default().to_vec();
            let (said, here) = runs.entry(run).or_default();
            match runs::open_row(&key, Table::Tally(at.month), row, &sealed)? {
                Tags::Said(tags) => *said = Some(tags),
                Tags::Here(tags) => *here += tags,
                Tags::Filter => {}
            }
        }
        let whole = runs.values().all(|(said, here)| *said == Some(*here));
        let table = Table::Tally(at.month);
        let mut missing = false;
        if doomed.hold.is_none() && self.shared.store.has(table) {
            let all = runs::list(&self.shared.store, table)?;
            for (set, run) in all.into_iter().filter(|(set, _)| set.owner == at.site.0) {
                let page = keys::page(set.owner, set.kind, run, 0);
                missing |= !runs.contains_key(&page[..page.len() - PAGE_NUMBER_BYTES]);
            }
        }
        if whole && !missing { Ok(()) } else { Err(short()) }
    }
}
