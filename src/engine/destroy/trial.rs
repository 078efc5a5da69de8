//! What must not open is tried: every row of a lot that is still stored, under every key that could
//! be meant, the one in the register and the one that somebody may still hold in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::crypto::{SealKey, seal};
use crate::engine::fold::{
    BlockPlace, answers_of, block_key_opens, blocks_of, rows_of_access, rows_of_seen, rows_of_sets,
    rows_of_suppressed,
};
use crate::engine::writer::answer_aad;
use crate::engine::{EngineError, Shared, access, hold, runs};
use crate::keys::{HeldKey, KeyRing};
use crate::model::ids::{HoldNo, KeyId};
use crate::model::retention::Lot;
use crate::store::destruction::{DoomedLot, UnderWay};
use crate::store::{RowRange, Table, keys};

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
pub fn all(
    shared: &Shared,
    ring: &KeyRing,
    row: &UnderWay,
    held: &[Arc<SealKey>],
) -> Result<Found, EngineError> {
    let mut found = Found::default();
    let keys: BTreeSet<KeyId> =
        row.lots.iter().flat_map(|doomed| &doomed.keys).map(|key| key.id).collect();
    let living = ring.list();
    found.opens += living.iter().filter(|key| keys.contains(&key.id)).count() as u64;
    let store = &shared.store;
    // A lot without a key is none of this destruction's, unless no lot has one.
    let bare = keys.is_empty();
    for doomed in row.lots.iter().filter(|doomed| bare || !doomed.keys.is_empty()) {
        if doomed.hold.is_some() {
            found.copy(shared, ring, (row, doomed), held)?;
            continue;
        }
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
                let range = rows_of_sets(at);
                let opens = |by: &SealKey, key: &[u8], sealed: &[u8]| {
                    runs::row_opens(by, Table::Tally(at.month), key, sealed)
                };
                found.range(shared, range, held, opens)?;
            }
            Lot::Seen(day) => {
                // The slot, and the answers that were kept under its key.
                found.range(shared, rows_of_seen(day), held, |by, key, sealed| {
                    runs::row_opens(by, Table::Seen, key, sealed)
                })?;
                found.range(shared, answers_of(day), held, |by, key, sealed| {
                    by.open(&answer_aad(key), sealed).is_ok()
                })?;
            }
            Lot::Access(month) => {
                found.range(shared, rows_of_access(month), held, access::row_opens)?;
            }
            Lot::Suppression(at) => {
                // A tag in them says of whom it is with the key of the site only.
                let (table, from, to) = rows_of_suppressed(at.site);
                found.rows += store.scan(table, &from, Some(&to))?.count() as u64;
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

    /// The rows of a range, where `opens` says whether a key opens one.
    fn range(
        &mut self,
        shared: &Shared,
        (table, from, to): RowRange,
        held: &[Arc<SealKey>],
        opens: impl Fn(&SealKey, &[u8], &[u8]) -> bool,
    ) -> Result<(), EngineError> {
        if !shared.store.has(table) {
            return Ok(());
        }
        for row in shared.store.scan(table, &from, Some(&to))? {
            let Ok((key, sealed)) = row else {
                // Nothing behind it is reached.
                self.unreadable();
                break;
            };
            self.note(shared, &sealed, held, |by| opens(by, &key, &sealed));
        }
        Ok(())
    }

    /// The rows of a copy in hold storage: its block keys, and the rows of sets that no other copy
    /// needs. (Blocks open with their keys only.)
    fn copy(
        &mut self,
        shared: &Shared,
        ring: &KeyRing,
        (row, doomed): (&UnderWay, &DoomedLot),
        held: &[Arc<SealKey>],
    ) -> Result<(), EngineError> {
        let (store, hold) = (&shared.store, doomed.hold.unwrap_or(HoldNo(0)));
        for (table, from, to) in hold::ranges_of(shared, row, doomed) {
            if !store.has(table) {
                continue;
            }
            for found in store.scan(table, &from, Some(&to))? {
                let Ok((name, sealed)) = found else {
                    // Nothing behind it is reached.
                    self.unreadable();
                    break;
                };
                self.rows += 1;
                // A key of holds by its number there; moved ones are known by the number they had.
                let living = seal::key_id(&sealed).ok().and_then(|id| match ring.held_key(id) {
                    Ok(HeldKey::Seal(key)) => Some(key),
                    _ => None,
                });
                let opens = |key: &SealKey| match (table, doomed.lot) {
                    (Table::HoldKeys, Lot::Records(bucket)) => {
                        let place = keys::hold_key_of(&name);
                        let place = place.and_then(|key| BlockPlace::from_key(bucket.class, key));
                        place.is_some_and(|at| hold::block_key_opens(key, hold, at, &sealed))
                    }
                    (Table::HoldRows, Lot::Sets(at)) => {
                        let run = keys::hold_row_of(&name).map(|(_, run)| run);
                        let table = Table::Tally(at.month);
                        run.is_some_and(|run| runs::row_opens(key, table, run, &sealed))
                    }
                    _ => false,
                };
                self.opens += u64::from(held.iter().chain(&living).any(|key| opens(key)));
            }
        }
        Ok(())
    }
}
