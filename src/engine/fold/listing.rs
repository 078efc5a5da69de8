//! The blocks of a site's month, as they are between two folds: a reader that takes longer than a
//! fold reads them afterwards without missing a record or reading one twice.
//!
//! Full blocks stay where they are until they are destroyed. Fragments do not: a later fold takes
//! their rows into another block. So they come with the list, still sealed; they are small and few.

use super::blocks::BlockPlace;
use super::read::{open_block, open_block_key, open_header};
use super::{FoldError, Folder, blocks_of};
use crate::crypto::seal;
use crate::engine::EngineError;
use crate::engine::writer::Reply;
use crate::keys::KeyRing;
use crate::model::batch::{Bucket, SiteMonth};
use crate::model::time::Timestamp;
use crate::model::usage::Tally;
use crate::store::block::OwnedRow;
use crate::store::codec::Corrupt;
use crate::store::header::Header;
use crate::store::verdict::decode_tally;
use crate::store::{Store, Table, keys};

/// A fragment as it is stored.
pub struct Fragment {
    /// Where it was.
    pub place: BlockPlace,
    /// Its own key, sealed under the bucket's.
    wrapped: Vec<u8>,
    /// Its rows, sealed.
    sealed: Vec<u8>,
}

/// What is stored of a site's month as of the last fold.
pub struct Listing {
    /// When all that was counted was in that fold.
    pub as_of: Timestamp,
    /// The figures as of that fold.
    pub tally: Tally,
    /// The full blocks.
    pub blocks: Vec<BlockPlace>,
    /// The fragments.
    pub fragments: Vec<Fragment>,
}

/// Who asks for a list, of what.
pub struct ListOrder {
    /// The site's month.
    pub at: SiteMonth,
    /// Its buckets.
    pub buckets: Vec<Bucket>,
    /// Who waits.
    pub reply: Reply<Listing>,
}

impl ListOrder {
    /// Answers it, with the time that what is folded is of. That a list cannot be read is the
    /// matter of who asked.
    pub fn answer(self, folder: &Folder, as_of: Timestamp) {
        let listed = folder.list(self.at, &self.buckets, as_of);
        let _ = self.reply.send(listed.map_err(EngineError::from));
    }
}

impl Folder {
    /// Lists the blocks of these buckets, with the month's figures as of the same fold.
    ///
    /// # Errors
    /// When the disk refuses, or a row is missing.
    fn list(
        &self,
        at: SiteMonth,
        buckets: &[Bucket],
        as_of: Timestamp,
    ) -> Result<Listing, FoldError> {
        let row = self.store.get(Table::Counters, &keys::counters(at))?;
        let tally = row.as_deref().map(decode_tally).transpose()?.unwrap_or_default();
        let mut listing = Listing { as_of, tally, blocks: Vec::new(), fragments: Vec::new() };
        for bucket in buckets {
            for place in blocks_of(&self.store, *bucket)? {
                if !place.fragment {
                    listing.blocks.push(place);
                    continue;
                }
                let [(blocks, body), _, (block_keys, key)] = place.rows();
                let row = |table, key: &[u8]| {
                    self.store.get(table, key)?.ok_or(FoldError::from(Corrupt("block")))
                };
                let (wrapped, sealed) = (row(block_keys, &key)?, row(blocks, &body)?);
                listing.fragments.push(Fragment { place, wrapped, sealed });
            }
        }
        Ok(listing)
    }
}

/// Reads a block under the key that its own key names; `None` where that is destroyed, or the block
/// is not there any more. No key is made for it.
///
/// # Errors
/// When the disk refuses, or the block does not open or does not follow its format.
pub fn read_living(
    store: &Store,
    ring: &KeyRing,
    place: BlockPlace,
) -> Result<Option<Vec<OwnedRow>>, FoldError> {
    let [(blocks, body), _, (block_keys, key)] = place.rows();
    if !store.has(blocks) || !store.has(block_keys) {
        return Ok(None);
    }
    let (wrapped, sealed) = (store.get(block_keys, &key)?, store.get(blocks, &body)?);
    let Some((wrapped, sealed)) = wrapped.zip(sealed) else { return Ok(None) };
    open_fragment(ring, &Fragment { place, wrapped, sealed })
}

/// The header of a block of a list; `None` where the block or its bucket's key is destroyed.
///
/// # Errors
/// When it does not open or does not follow its format.
pub fn header_living(
    store: &Store,
    ring: &KeyRing,
    place: BlockPlace,
) -> Result<Option<Header>, FoldError> {
    let [_, (headers, at), (block_keys, key)] = place.rows();
    if !store.has(headers) || !store.has(block_keys) {
        return Ok(None);
    }
    let (wrapped, sealed) = (store.get(block_keys, &key)?, store.get(headers, &at)?);
    let Some((wrapped, sealed)) = wrapped.zip(sealed) else { return Ok(None) };
    let Some(bucket_key) = ring.by_id(seal::key_id(&wrapped)?) else { return Ok(None) };
    let key = open_block_key(place, &bucket_key, &wrapped)?;
    open_header(place, &key, &sealed).map(Some)
}

/// Opens a fragment of a list; `None` where its bucket's key is destroyed.
///
/// # Errors
/// When it does not open or does not follow its format.
pub fn open_fragment(
    ring: &KeyRing,
    fragment: &Fragment,
) -> Result<Option<Vec<OwnedRow>>, FoldError> {
    let Fragment { place, wrapped, sealed } = fragment;
    let Some(bucket_key) = ring.by_id(seal::key_id(wrapped)?) else { return Ok(None) };
    let key = open_block_key(*place, &bucket_key, wrapped)?;
    open_block(*place, &key, sealed).map(Some)
}
