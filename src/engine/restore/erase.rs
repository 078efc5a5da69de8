//! Erasures in data that was put back. The keys carry most of it: what an erasure replaced does not
//! open, whosever it was, so those blocks go. What the keys do not carry is who is to be erased
//! still, and whose later records are not kept: that stood in the lost data only, and no personal
//! data is in the ledger. Such an erasure gets a row that says it is lost; whoever ordered it must
//! order it again, and until then nobody is shown a record of its months.

use super::{LedgerErasure, Parts};
use crate::crypto::seal;
use crate::engine::EngineError;
use crate::engine::destroy::lot_of;
use crate::engine::erase::row_change;
use crate::engine::fold::{blocks_of, wrapped_key};
use crate::keys::{KeyInfo, KeyKind};
use crate::model::batch::Bucket;
use crate::model::ids::KeyId;
use crate::model::person::Person;
use crate::model::retention::Lot;
use crate::store::erasure::{Erasure, Stage};
use crate::store::{Changes, Table, keys};

/// Blocks that are removed in one change set.
const BLOCKS_AT_ONCE: usize = 4_096;

fn is_heir(key: &KeyInfo) -> bool {
    key.kind == KeyKind::Bucket && key.hold.is_none() && key.origin.is_some()
}

/// Whether an erasure has put another key of the bucket in the place of this one.
pub fn is_replaced(parts: &Parts<'_>, bucket: Bucket, by: KeyId) -> bool {
    let keys = parts.ring.list();
    let of = |key: &&KeyInfo| lot_of(parts.directory, key) == Some(Lot::Records(bucket));
    keys.iter().filter(|key| is_heir(key)).filter(of).any(|key| by < key.id)
}

/// Removes the blocks whose bucket key was destroyed when somebody of the bucket was erased.
pub fn remove_unreadable(parts: &Parts<'_>) -> Result<(), EngineError> {
    let mut blocks = 0;
    let mut changes = Changes::default();
    for key in parts.ring.list().iter().filter(|key| is_heir(key)) {
        let Some(Lot::Records(bucket)) = lot_of(parts.directory, key) else { continue };
        for place in blocks_of(parts.store, bucket)? {
            let by = seal::key_id(&wrapped_key(parts.store, place)?);
            let by = by.map_err(|error| EngineError::Damaged(error.to_string()))?;
            if parts.ring.by_id(by).is_some() {
                continue;
            }
            place.rows().into_iter().for_each(|(table, key)| changes.delete(table, key));
            blocks += 1;
            if blocks % BLOCKS_AT_ONCE == 0 {
                parts.store.apply(&std::mem::take(&mut changes))?;
            }
        }
    }
    parts.store.apply(&changes)?;
    if blocks > 0 {
        tracing::warn!(
            blocks,
            "records were lost with the backup: somebody of their bucket was erased after it was \
             made, and the key that opened all of them is destroyed"
        );
    }
    Ok(())
}

/// The rows of erasures that must be ordered again.
pub fn lost(
    parts: &Parts<'_>,
    told: &[LedgerErasure],
    backup: u64,
) -> Result<Changes, EngineError> {
    let mut changes = Changes::default();
    for of in told {
        let Some(site) = parts.directory.site(&of.site) else { continue };
        let has =
            |row: Vec<u8>| Ok::<bool, EngineError>(parts.store.get(Table::Meta, &row)?.is_some());
        if has(keys::erasing(of.number))? {
            continue;
        }
        // Nothing comes any more to a site that has ended.
        let unsuppressed = of.suppressed
            && site.terminated_at.is_none()
            && !has(keys::suppressed(site.no, of.number))?;
        // One that found nothing then may find something in data from elsewhere.
        let found_nothing = of.number > backup && of.keys == 0;
        if of.ended && !unsuppressed && !found_nothing {
            continue;
        }
        changes.append(row_change(
            parts.ring,
            &Erasure {
                number: of.number,
                stage: Stage::Lost,
                site: site.no,
                months: of.months.clone(),
                person: Person::default(),
                suppress: of.suppressed,
                parts: Vec::new(),
                vek_epoch: 0,
                blocks: 0,
                records: 0,
                gone: Vec::new(),
                left: None,
                samples: Vec::new(),
                repeats: None,
            },
        ));
    }
    Ok(changes)
}
