//! Reading blocks: the key of a block, its header, its rows. The key of a block names the bucket
//! key that it is sealed under; of a bucket in which somebody is being erased there may be two.

use std::sync::Arc;

use super::FoldError;
use super::blocks::{BlockPlace, tables};
use crate::crypto::{SealKey, Secret, seal};
use crate::keys::KeyRing;
use crate::model::batch::Bucket;
use crate::model::ids::KeyId;
use crate::store::block::{self, OwnedRow};
use crate::store::codec::Corrupt;
use crate::store::header::Header;
use crate::store::{Store, keys};

/// Bytes of a key, and of the number behind it.
const KEY_BYTES: usize = 32;
const NUMBER_BYTES: usize = 8;

/// The key of a block.
pub struct BlockKey {
    /// The key itself.
    pub secret: Secret,
    /// The bucket key that block and header are bound to: the bucket's when they were sealed, which
    /// an erasure may have replaced since.
    pub bound_to: KeyId,
}

impl BlockKey {
    /// Reads what a block key's row holds once it is opened: the key, and the number of the bucket
    /// key that the block is bound to, where that is not `by`.
    pub fn take(mut plain: Vec<u8>, by: KeyId) -> Option<Self> {
        let mut bound_to = by;
        if plain.len() == KEY_BYTES + NUMBER_BYTES {
            let number = plain.split_off(KEY_BYTES);
            bound_to = KeyId(u64::from_be_bytes(number.try_into().ok()?));
        }
        Some(Self { secret: Secret::take(&mut plain)?, bound_to })
    }

    /// The key sealed under another than the one before: of the bucket, or of a hold.
    pub fn wrap(&self, by: &SealKey, aad: &crate::crypto::Aad, implied: KeyId) -> Vec<u8> {
        if self.bound_to == implied {
            return by.seal(aad, self.secret.expose());
        }
        let mut plain = [0; KEY_BYTES + NUMBER_BYTES];
        plain[..KEY_BYTES].copy_from_slice(self.secret.expose());
        plain[KEY_BYTES..].copy_from_slice(&self.bound_to.0.to_be_bytes());
        let sealed = by.seal(aad, &plain);
        // Taking wipes the source whatever its length.
        drop(Secret::take(&mut plain));
        sealed
    }
}

/// Opens the key of a block as it is sealed under its bucket's key.
///
/// # Errors
/// When it does not open or is no key.
pub fn open_block_key(
    place: BlockPlace,
    bucket_key: &SealKey,
    wrapped: &[u8],
) -> Result<BlockKey, FoldError> {
    let plain = bucket_key.open(&place.aad("block key/1", bucket_key.id()), wrapped)?;
    Ok(BlockKey::take(plain, bucket_key.id()).ok_or(Corrupt("block key"))?)
}

/// Opens a sealed block under its own key, and reads its rows.
///
/// # Errors
/// When it does not open or does not follow its format.
pub fn open_block(
    place: BlockPlace,
    key: &BlockKey,
    sealed: &[u8],
) -> Result<Vec<OwnedRow>, FoldError> {
    let own = SealKey::new(KeyId(place.number), &key.secret);
    Ok(block::decode(&own.open(&place.aad("block/1", key.bound_to), sealed)?)?)
}

/// Opens the sealed header of a block under the block's own key.
///
/// # Errors
/// When it does not open or does not follow its format.
pub fn open_header(place: BlockPlace, key: &BlockKey, sealed: &[u8]) -> Result<Header, FoldError> {
    let own = SealKey::new(KeyId(place.number), &key.secret);
    Ok(Header::decode(&own.open(&place.aad("header/1", key.bound_to), sealed)?)?)
}

/// The row of a block's key, sealed as it is.
///
/// # Errors
/// When it is missing.
pub fn wrapped_key(store: &Store, place: BlockPlace) -> Result<Vec<u8>, FoldError> {
    let [_, _, (block_keys, at)] = place.rows();
    Ok(store.get(block_keys, &at)?.ok_or(Corrupt("block key"))?)
}

/// The bucket key that a sealed block key names.
///
/// # Errors
/// When it does not live.
pub fn key_of(ring: &KeyRing, wrapped: &[u8]) -> Result<Arc<SealKey>, FoldError> {
    Ok(ring.by_id(seal::key_id(wrapped)?).ok_or(Corrupt("block key"))?)
}

/// Whether a stored block key opens under a bucket's key.
pub fn block_key_opens(bucket_key: &SealKey, place: BlockPlace, wrapped: &[u8]) -> bool {
    bucket_key.open(&place.aad("block key/1", bucket_key.id()), wrapped).is_ok()
}

/// Opens a block under a bucket key and reads its rows.
///
/// # Errors
/// When it is missing, does not open, or does not follow its format.
pub fn read_block(
    store: &Store,
    bucket_key: &SealKey,
    place: BlockPlace,
) -> Result<Vec<OwnedRow>, FoldError> {
    let key = open_block_key(place, bucket_key, &wrapped_key(store, place)?)?;
    rows_of(store, place, &key)
}

/// The rows of a block whose key is open.
///
/// # Errors
/// When it is missing, does not open, or does not follow its format.
pub fn rows_of(
    store: &Store,
    place: BlockPlace,
    key: &BlockKey,
) -> Result<Vec<OwnedRow>, FoldError> {
    let [(blocks, at), ..] = place.rows();
    open_block(place, key, &store.get(blocks, &at)?.ok_or(Corrupt("block"))?)
}

/// Opens the header of a block under a bucket key.
///
/// # Errors
/// When it is missing, does not open, or does not follow its format.
pub fn read_header(
    store: &Store,
    bucket_key: &SealKey,
    place: BlockPlace,
) -> Result<Header, FoldError> {
    let key = open_block_key(place, bucket_key, &wrapped_key(store, place)?)?;
    header_of(store, place, &key)
}

/// The header of a block whose key is open.
///
/// # Errors
/// When it is missing, does not open, or does not follow its format.
pub fn header_of(store: &Store, place: BlockPlace, key: &BlockKey) -> Result<Header, FoldError> {
    let [_, (headers, at), _] = place.rows();
    open_header(place, key, &store.get(headers, &at)?.ok_or(Corrupt("block header"))?)
}

/// The records of a bucket by the headers of its blocks, and the numbers of its blocks: the first,
/// and the one behind the last, equal for none. One pass over each table, because a bucket may have
/// many blocks and whoever asks waits for it. No number of records where a header cannot be read.
///
/// # Errors
/// When the disk refuses, or a row key does not follow its format.
pub fn count_records(
    store: &Store,
    ring: &KeyRing,
    bucket: Bucket,
) -> Result<(Option<u64>, (u64, u64)), FoldError> {
    let [_, headers, block_keys] = tables(bucket);
    let (mut records, mut first, mut end) = (Some(0u64), u64::MAX, 0);
    if !store.has(block_keys) {
        return Ok((records, (0, 0)));
    }
    for fragment in [false, true] {
        let key = |number| keys::block(fragment, bucket.site, bucket.epoch.code(), number);
        let (from, to) = (key(0), key(u64::MAX));
        let mut sealed = store.scan(headers, &from, Some(&to))?;
        for row in store.scan(block_keys, &from, Some(&to))? {
            let (name, wrapped) = row?;
            let place = BlockPlace::from_key(bucket.class, &name).ok_or(Corrupt("block key"))?;
            let header = sealed.next().and_then(Result::ok).filter(|(of, _)| *of == name);
            let rows = header.and_then(|(_, header)| {
                let own = open_block_key(place, &*key_of(ring, &wrapped).ok()?, &wrapped).ok()?;
                Some(open_header(place, &own, &header).ok()?.rows as u64)
            });
            if rows.is_none() {
                tracing::error!("a block that is destroyed cannot be counted");
            }
            records = records.zip(rows).map(|(sum, rows)| sum + rows);
            (first, end) = (first.min(place.number), end.max(place.number.saturating_add(1)));
        }
    }
    Ok((records, if first < end { (first, end) } else { (0, 0) }))
}
