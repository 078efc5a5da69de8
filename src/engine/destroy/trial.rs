//! What must not open is tried: every row of a lot that is still stored, under every key that could
//! be meant, the one in the register and the one that somebody may still hold in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::crypto::{SealKey, seal};
use crate::engine::fold::{block_key_opens, blocks_of, rows_of_sets};
use crate::engine::{EngineError, Shared, runs};
use crate::model::ids::KeyId;
use crate::model::retention::Lot;
use crate::store::destruction::UnderWay;

/// What a trial found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Rows that open, and keys that live.
    pub opens: u64,
    /// Rows that are there.
    pub rows: u64,
}

/// Tries everything of the lots that is stored. `held` are their keys as they were handed out
/// before. What the disk does not give back opens nothing, and is still there.
///
/// # Errors
/// When a table cannot be searched at all.
pub fn all(shared: &Shared, row: &UnderWay, held: &[Arc<SealKey>]) -> Result<Found, EngineError> {
    let mut found = Found::default();
    let keys: BTreeSet<KeyId> =
        row.lots.iter().flat_map(|doomed| &doomed.keys).map(|key| key.id).collect();
    let living = shared.ring.list();
    found.opens += living.iter().filter(|key| keys.contains(&key.id)).count() as u64;
    let store = &shared.store;
    // A lot without a key is none of this destruction's, unless no lot has one.
    let bare = keys.is_empty();
    for doomed in row.lots.iter().filter(|doomed| bare || !doomed.keys.is_empty()) {
        match doomed.lot {
            Lot::Records(bucket) => {
                let Ok(places) = blocks_of(store, bucket) else {
                    found.unreadable();
                    continue;
                };
                for place in places {
                    let [.., (table, key)] = place.rows();
                    let wrapped = match store.get(table, &key) {
                        Ok(Some(wrapped)) => wrapped,
                        Ok(None) => continue,
                        Err(_) => {
                            found.unreadable();
                            continue;
                        }
                    };
                    let opens = |key: &SealKey| block_key_opens(key, place, &wrapped);
                    found.note(shared, &wrapped, held, opens);
                }
            }
            Lot::Sets(at) => {
                let (table, from, to) = rows_of_sets(at);
                if !store.has(table) {
                    continue;
                }
                for row in store.scan(table, &from, Some(&to))? {
                    let Ok((key, sealed)) = row else {
                        // Nothing behind it is reached.
                        found.unreadable();
                        break;
                    };
                    let opens = |by: &SealKey| runs::row_opens(by, table, &key, &sealed);
                    found.note(shared, &sealed, held, opens);
                }
            }
            Lot::RecordKey(_) | Lot::WatermarkKey(_) | Lot::BaseKey(_) => {}
        }
    }
    Ok(found)
}

impl Found {
    fn unreadable(&mut self) {
        tracing::error!("a row of what is destroyed cannot be read");
        self.rows += 1;
    }

    fn note(
        &mut self,
        shared: &Shared,
        sealed: &[u8],
        held: &[Arc<SealKey>],
        opens: impl Fn(&SealKey) -> bool,
    ) {
        self.rows += 1;
        let living = seal::key_id(sealed).ok().and_then(|id| shared.ring.by_id(id));
        let mut keys = held.iter().chain(&living);
        self.opens += u64::from(keys.any(|key| opens(key)));
    }
}
