//! The journal's entries: one row a group, holding the sealed batches of the group and the sealed
//! verdict on them. The truth until folded.
//!
//! `version ‖ number of batches ‖ (serial ‖ length ‖ sealed batch)… ‖ sealed verdict`. A batch is
//! sealed before its group is known, so its place is a serial of its process; the verdict is sealed
//! with the group's number and the serials, which ties the two together.
//!
//! Both are padded before they are sealed, since the row of one request with one record would show
//! how long its texts are until the fold. Rows of version 1 were not; they are read as they are.

use std::sync::Arc;

use crate::crypto::{Aad, OpenError, SealKey, seal};
use crate::model::batch::Batch;
use crate::model::ids::KeyId;
use crate::store::batch as batch_format;
use crate::store::codec::{Corrupt, Put, Reader};
use crate::store::padding::Steps;
use crate::store::verdict::GroupVerdict;
use crate::store::{Half, Store, StoreError, Table, keys};

const VERSION: u8 = 2;
/// Of rows whose parts are not padded.
const VERSION_BEFORE_PADDING: u8 = 1;

/// A journal key in use; how many batches still hold it tells when it can be retired.
pub struct JournalKey {
    /// The key.
    pub key: Arc<SealKey>,
}

/// A batch on its way to the journal.
pub struct SealedBatch {
    /// Its number within the process.
    pub serial: [u8; 16],
    /// The key it is sealed under.
    pub key: Arc<JournalKey>,
    /// The sealed bytes.
    pub bytes: Vec<u8>,
}

/// Seals a batch.
pub fn seal(batch: &Batch, serial: [u8; 16], key: Arc<JournalKey>) -> SealedBatch {
    let plain = Steps::Block.closed(batch_format::encode(batch));
    let bytes = key.key.seal(&batch_aad(VERSION, &serial), &plain);
    SealedBatch { serial, key, bytes }
}

fn batch_aad(version: u8, serial: &[u8; 16]) -> Aad {
    let label = match version {
        VERSION_BEFORE_PADDING => "journal batch/1",
        _ => "journal batch/2",
    };
    Aad::new(label).bytes(serial)
}

fn verdict_aad<'a>(version: u8, group: u64, serials: impl Iterator<Item = &'a [u8; 16]>) -> Aad {
    let label = match version {
        VERSION_BEFORE_PADDING => "journal verdict/1",
        _ => "journal verdict/2",
    };
    serials.fold(Aad::new(label).number(group), |aad, serial| aad.bytes(serial))
}

/// The row of a group.
pub fn encode_group(
    group: u64,
    batches: &[SealedBatch],
    verdict: &GroupVerdict,
    key: &SealKey,
) -> Vec<u8> {
    let bytes: usize = batches.iter().map(|batch| batch.bytes.len() + 26).sum();
    let mut out = Vec::with_capacity(bytes + 1024);
    out.push(VERSION);
    out.varint(batches.len() as u64);
    for batch in batches {
        out.extend_from_slice(&batch.serial);
        out.prefixed(&batch.bytes);
    }
    let aad = verdict_aad(VERSION, group, batches.iter().map(|batch| &batch.serial));
    key.seal_into(&aad, &Steps::Block.closed(verdict.encode()), &mut out);
    out
}

/// A group as it is stored.
pub struct StoredGroup {
    /// Its number.
    pub number: u64,
    /// The table it lies in.
    pub half: Half,
    /// Its row.
    pub row: Box<[u8]>,
}

/// The stored groups from a number up to, and without, another, in their order; the two halves
/// are read side by side.
///
/// # Errors
/// When the disk refuses or a row key is none of a group.
pub fn stored(
    store: &Store,
    from: u64,
    end: u64,
) -> Result<impl Iterator<Item = Result<StoredGroup, StoreError>> + '_, StoreError> {
    let (from, end) = (keys::group(from), keys::group(end));
    let rows = |half| {
        let rows = store.scan(Table::Journal(half), &from, Some(&end))?;
        let group = move |row: Result<(Box<[u8]>, Box<[u8]>), StoreError>| {
            let (key, row) = row?;
            let number = keys::group_number(&key).ok_or(Corrupt("group"))?;
            Ok::<_, StoreError>(StoredGroup { number, half, row })
        };
        Ok::<_, StoreError>(rows.map(group).peekable())
    };
    let (mut a, mut b) = (rows(Half::A)?, rows(Half::B)?);
    Ok(std::iter::from_fn(move || match (a.peek(), b.peek()) {
        (Some(Ok(left)), Some(Ok(right))) if right.number < left.number => b.next(),
        (None, _) | (Some(Ok(_)), Some(Err(_))) => b.next(),
        _ => a.next(),
    }))
}

/// A group read back.
pub struct OpenGroup {
    /// Its batches.
    pub batches: Vec<Batch>,
    /// What was decided about them.
    pub verdict: GroupVerdict,
    /// The keys it needed.
    pub keys: Vec<KeyId>,
}

/// A group could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// It does not follow its format.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A part does not open.
    #[error("a journal entry cannot be opened: {0}")]
    Open(#[from] OpenError),
    /// Its key is not in the register.
    #[error("a journal entry needs key {0}, which the register does not hold")]
    NoKey(KeyId),
}

/// Reads the row of a group; `key_of` finds keys by their number.
///
/// # Errors
/// When the row does not follow its format, or does not open under its keys.
pub fn decode_group(
    group: u64,
    row: &[u8],
    key_of: &dyn Fn(KeyId) -> Option<Arc<SealKey>>,
) -> Result<OpenGroup, JournalError> {
    let mut reader = Reader::new("journal entry", row);
    let version = reader.byte()?;
    if ![VERSION, VERSION_BEFORE_PADDING].contains(&version) {
        return Err(reader.corrupt().into());
    }
    let mut keys = Vec::new();
    let mut open = |sealed: &[u8], aad: &Aad| -> Result<Vec<u8>, JournalError> {
        let id = seal::key_id(sealed)?;
        keys.push(id);
        let plain = key_of(id).ok_or(JournalError::NoKey(id))?.open(aad, sealed)?;
        Ok(if version == VERSION { Steps::Block.opened(plain)? } else { plain })
    };
    let mut batches = Vec::new();
    let mut serials = Vec::new();
    for _ in 0..reader.count_of(17)? {
        let serial = reader.array()?;
        let sealed = reader.prefixed()?;
        batches.push(batch_format::decode(&open(sealed, &batch_aad(version, &serial))?)?);
        serials.push(serial);
    }
    let plain = open(reader.rest(), &verdict_aad(version, group, serials.iter()))?;
    let rows_max = batches.iter().map(|batch| batch.claims.len()).max().unwrap_or(0);
    let verdict = GroupVerdict::decode(&plain, rows_max)?;
    let fits = verdict.batches.len() == batches.len()
        && verdict.batches.iter().zip(&batches).all(|(rows, of)| rows.len() == of.claims.len());
    if !fits {
        return Err(Corrupt("journal verdict").into());
    }
    Ok(OpenGroup { batches, verdict, keys })
}

/// The row of a group with another verdict, as an earlier version of the program wrote it.
#[cfg(test)]
pub fn changed(
    group: u64,
    row: &[u8],
    key_of: &dyn Fn(KeyId) -> Option<Arc<SealKey>>,
    change: impl FnOnce(&mut GroupVerdict),
) -> Vec<u8> {
    let mut verdict = decode_group(group, row, key_of).unwrap().verdict;
    change(&mut verdict);
    let mut reader = Reader::new("journal entry", row);
    reader.byte().unwrap();
    let serials: Vec<[u8; 16]> = (0..reader.count_of(17).unwrap())
        .map(|_| {
            let serial = reader.array().unwrap();
            reader.prefixed().unwrap();
            serial
        })
        .collect();
    let sealed = reader.rest();
    let key = key_of(seal::key_id(sealed).unwrap()).unwrap();
    let mut out = row[..row.len() - sealed.len()].to_vec();
    let plain = Steps::Block.closed(verdict.encode());
    key.seal_into(&verdict_aad(VERSION, group, serials.iter()), &plain, &mut out);
    out
}

/// The row of a group as builds wrote it that did not pad.
#[cfg(test)]
pub fn before_padding(
    group: u64,
    row: &[u8],
    key_of: &dyn Fn(KeyId) -> Option<Arc<SealKey>>,
) -> Vec<u8> {
    let OpenGroup { batches, verdict, keys } = decode_group(group, row, key_of).unwrap();
    let mut out = vec![VERSION_BEFORE_PADDING];
    out.varint(batches.len() as u64);
    let mut serials = Vec::new();
    for (no, batch) in (0..).zip(&batches) {
        let serial = [no; 16];
        let key = key_of(keys[usize::from(no)]).unwrap();
        let aad = batch_aad(VERSION_BEFORE_PADDING, &serial);
        out.extend_from_slice(&serial);
        out.prefixed(&key.seal(&aad, &batch_format::encode(batch)));
        serials.push(serial);
    }
    let aad = verdict_aad(VERSION_BEFORE_PADDING, group, serials.iter());
    key_of(keys[batches.len()]).unwrap().seal_into(&aad, &verdict.encode(), &mut out);
    out
}
