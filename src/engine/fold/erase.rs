//! The blocks that hold one person are sealed anew without the person, and every other block of the
//! bucket gets its key wrapped anew, on the fold's own thread, so that no fold writes beside it.
//!
//! Cut at any point it can be repeated: a block is either under the bucket's fresh key, and then
//! no row from before with the person is in it, or it is not done yet. So a fold in between joins
//! no fragment that is under another key. What was counted is written with what was done.

use std::sync::Arc;

use super::blocks::{BlockPlace, seal_block};
use super::read::{BlockKey, header_of, key_of, open_block_key, rows_of, wrapped_key};
use super::{FoldError, Folder, blocks_of};
use crate::crypto::{SealKey, seal};
use crate::engine::erase::{EraseStep, EraseSteps, Waits, row_change};
use crate::engine::writer::Reply;
use crate::keys::{KeyInfo, KeyKind};
use crate::model::batch::Bucket;
use crate::model::batch::Item;
use crate::model::ids::KeyId;
use crate::model::person::Person;
use crate::store::block::{OwnedRow, Row};
use crate::store::codec::Corrupt;
use crate::store::dictionary::Dictionary;
use crate::store::erasure::{Erasure, Part, Sample, Stage};
use crate::store::header::{Filtered, Header};
use crate::store::{Changes, details};

/// Rows are changed in pieces of this size, bytes.
const PIECE_BYTES: usize = if cfg!(test) { 2 << 10 } else { 1 << 20 };
/// So many rows from before are kept to be tried at the end.
const SAMPLES_MAX: usize = 256;

/// What is to be sealed anew.
pub struct Sealing {
    /// The erasure as it stands.
    pub row: Erasure,
    /// The living buckets of the site that may be changed.
    pub buckets: Vec<Bucket>,
    /// Those that are on hold: only looked at.
    pub held: Vec<Bucket>,
    /// Those that have a copy in hold storage.
    pub copies: Vec<Bucket>,
    /// Who says what is on hold by now: a hold may come while the fold thread is at work.
    pub waits: Waits,
    /// Who follows.
    pub steps: Arc<dyn EraseSteps>,
}

impl Folder {
    /// Seals anew, and answers whoever ordered it. A block that does not open ends the erasure, and
    /// nothing else.
    ///
    /// # Errors
    /// When the disk or the register refuses; then the engine must stop and recover.
    pub fn serve(&mut self, order: Sealing, reply: Reply<Erasure>) -> Result<(), FoldError> {
        let answer = match self.erase(order) {
            Err(error @ (FoldError::Corrupt(_) | FoldError::Open(_))) => Err(error.into()),
            sealed => Ok(sealed?),
        };
        // Nobody may be waiting any more; the row says how far it is.
        let _ = reply.send(answer);
        Ok(())
    }

    /// Seals anew what holds the person of an erasure.
    ///
    /// # Errors
    /// When something cannot be read, written or opened.
    pub fn erase(&mut self, order: Sealing) -> Result<Erasure, FoldError> {
        let Sealing { mut row, buckets, mut held, copies, waits, steps } = order;
        for bucket in buckets {
            // Where another erasure has put its own key in the place of this one's, the bucket is
            // begun with again.
            let lives = |part: &Part| self.ring.by_id(part.key).is_some();
            row.parts.retain(|part| part.bucket != bucket || lives(part));
            let known = row.parts.iter().any(|part| part.bucket == bucket);
            if !known && !self.has(bucket, &row.person)? {
                continue;
            }
            let site = self.directory.by_no(bucket.site).ok_or(FoldError::NoSite)?;
            if !known && waits(bucket) {
                held.push(bucket);
                continue;
            }
            if !known {
                steps.begins(EraseStep::Succeed);
                let (class, epoch) = (bucket.class, bucket.epoch.code());
                let key = self.ring.succeed_bucket(&site.id, class, epoch)?.id();
                let is_old = |info: &KeyInfo| {
                    let name = (info.kind, info.class, info.epoch, info.site.as_ref());
                    name == (KeyKind::Bucket, Some(class), epoch, Some(&site.id)) && info.id != key
                };
                let old = self.ring.list().into_iter().filter(is_old).map(|info| info.id);
                row.parts.push(Part { bucket, key, old: old.collect() });
                steps.begins(EraseStep::Part);
                self.store.apply(&row_change(&self.ring, &row))?;
            }
            self.seal_anew(bucket, &mut row, &*steps)?;
        }
        let mut left = copies;
        for bucket in held {
            if self.has(bucket, &row.person)? {
                left.push(bucket);
            }
        }
        left.sort_unstable();
        left.dedup();
        row.left = Some(left);
        row.stage = Stage::Sealed;
        row.vek_epoch = self.ring.vek_epoch()?;
        steps.begins(EraseStep::Sealed);
        self.store.apply(&row_change(&self.ring, &row))?;
        Ok(row)
    }

    /// Whether a bucket has a record of the person.
    fn has(&self, bucket: Bucket, person: &Person) -> Result<bool, FoldError> {
        for place in blocks_of(&self.store, bucket)? {
            let key = self.block_key(place)?;
            if may_hold(&header_of(&self.store, place, &key)?, person)
                && rows_of(&self.store, place, &key)?.iter().any(|row| is_of(row, person))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn block_key(&self, place: BlockPlace) -> Result<BlockKey, FoldError> {
        let wrapped = wrapped_key(&self.store, place)?;
        open_block_key(place, &*key_of(&self.ring, &wrapped)?, &wrapped)
    }

    /// Brings every block of a bucket under its fresh key, without the person.
    fn seal_anew(
        &mut self,
        bucket: Bucket,
        row: &mut Erasure,
        steps: &dyn EraseSteps,
    ) -> Result<(), FoldError> {
        let fresh = row.parts.iter().find(|part| part.bucket == bucket).map(|part| part.key);
        let fresh = fresh.and_then(|id| self.ring.by_id(id)).ok_or(Corrupt("bucket key"))?;
        let (mut piece, mut empty) = (Changes::default(), Vec::new());
        for place in blocks_of(&self.store, bucket)? {
            let wrapped = wrapped_key(&self.store, place)?;
            if seal::key_id(&wrapped)? == fresh.id() {
                continue;
            }
            let key = open_block_key(place, &*key_of(&self.ring, &wrapped)?, &wrapped)?;
            let header = header_of(&self.store, place, &key)?;
            let mut kept = None;
            if may_hold(&header, &row.person) {
                let rows = rows_of(&self.store, place, &key)?;
                let before = rows.len();
                let others: Vec<OwnedRow> =
                    rows.into_iter().filter(|of| !is_of(of, &row.person)).collect();
                row.records += (before - others.len()) as u64;
                kept = (others.len() < before).then_some(others);
            }
            match kept {
                None => piece.put(place.rows()[2].0, place.key(), wrap_anew(&key, &fresh, place)),
                Some(others) => {
                    row.blocks += 1;
                    if row.samples.len() < SAMPLES_MAX {
                        let BlockPlace { bucket, fragment, number } = place;
                        row.samples.push(Sample { bucket, fragment, number, sealed: wrapped });
                    }
                    replace(&mut piece, place, &fresh, &others)?;
                    empty.extend(others.is_empty().then_some(place));
                }
            }
            if piece.bytes() >= PIECE_BYTES {
                steps.begins(EraseStep::Piece);
                self.write_piece((&mut piece, &mut empty), bucket, row)?;
            }
        }
        steps.begins(EraseStep::Piece);
        self.write_piece((&mut piece, &mut empty), bucket, row)
    }

    /// Fragments that are gone leave the list with the piece that takes them: a later block may end
    /// the erasure, and the folds go on.
    fn write_piece(
        &mut self,
        (piece, empty): (&mut Changes, &mut Vec<BlockPlace>),
        bucket: Bucket,
        row: &Erasure,
    ) -> Result<(), FoldError> {
        let mut changes = std::mem::take(piece);
        changes.append(row_change(&self.ring, row));
        self.store.apply(&changes)?;
        let empty = std::mem::take(empty);
        if let Some(fragments) = self.fragments.0.get_mut(&bucket) {
            let gone = |number: &u64| empty.iter().any(|at| at.fragment && at.number == *number);
            fragments.retain(|number| !gone(number));
        }
        Ok(())
    }
}

/// A block's key under the bucket's fresh key; block and header stay as they are.
fn wrap_anew(key: &BlockKey, fresh: &SealKey, place: BlockPlace) -> Vec<u8> {
    let id: KeyId = fresh.id();
    key.wrap(fresh, &place.aad("block key/1", id), id)
}

/// A block without the person, or none.
fn replace(
    piece: &mut Changes,
    place: BlockPlace,
    fresh: &SealKey,
    others: &[OwnedRow],
) -> Result<(), FoldError> {
    if others.is_empty() {
        place.rows().into_iter().for_each(|(table, key)| piece.delete(table, key));
        return Ok(());
    }
    let rows: Vec<Row<'_>> = others.iter().map(OwnedRow::as_row).collect();
    let sealed = seal_block(place, fresh, (&mut Dictionary::default(), &rows))?;
    for ((table, key), value) in place.rows().into_iter().zip(sealed) {
        piece.put(table, key, value);
    }
    Ok(())
}

/// Whether a block may have a record of the person; `false` is certain.
pub fn may_hold(header: &Header, person: &Person) -> bool {
    person.users.iter().any(|tag| header.may_hold(Filtered::User, tag))
        || person.devices.iter().any(|tag| header.may_hold(Filtered::Device, tag))
}

/// Whether a record is one of the person.
pub fn is_of(row: &OwnedRow, person: &Person) -> bool {
    let is_device = |item: Result<(u8, Item<'_>), Corrupt>| match item {
        Ok((_, Item::Device(device))) => person.devices.contains(&device.tag),
        _ => false,
    };
    row.user.is_some_and(|tag| person.users.contains(&tag))
        || !person.devices.is_empty() && details::items(&row.details).any(is_device)
}
