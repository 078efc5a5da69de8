//! Giving up copies that cannot be made, so that one damaged lot does not keep every other from
//! being destroyed. What was begun of them goes: rows first, then the keys that the holds got,
//! because a copy that nobody knows of would open what is destroyed later without it.

use super::{EngineError, living};
use crate::engine::Shared;
use crate::keys::{Destruction, LedgerMark};
use crate::model::ids::{HoldNo, KeyId};
use crate::model::retention::Lot;
use crate::store::destruction::UnderWay;
use crate::store::{Changes, Table, keys};

/// Removes what there is of copies that are not whole, of the lots of a destruction. Cut short, it
/// can be repeated.
///
/// # Errors
/// When the disk or the register of holds refuses, or a copy of that register off the host cannot
/// be reached: then there may be something left, and nothing may be given up.
pub fn give_up(shared: &Shared, row: &UnderWay, mark: LedgerMark) -> Result<(), EngineError> {
    let copies = row.lots.iter().flat_map(|doomed| {
        let not_whole = |hold: &&HoldNo| shared.held(**hold, doomed.lot).is_none();
        doomed.heirs.iter().filter(not_whole).map(|hold| (*hold, doomed.lot))
    });
    let copies: Vec<(HoldNo, Lot)> = copies.collect();
    remove_rows(shared, &copies)?;
    let Some(ring) = shared.ring.hold_existing()? else { return Ok(()) };
    let mut all = living(&shared.directory, &ring);
    let own = copies.iter().filter_map(|(hold, lot)| all.remove(&(Some(*hold), *lot)));
    let ids: Vec<KeyId> = own.flatten().map(|key| key.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    match ring.destroy(&ids, mark, &())? {
        Destruction::Waiting(_) => Err(EngineError::Refused(
            "a copy of the register of holds off the host cannot be reached, so copies that are \
             not whole stay"
                .into(),
        )),
        Destruction::Done(_) | Destruction::NothingToDestroy => Ok(()),
    }
}

fn remove_rows(shared: &Shared, copies: &[(HoldNo, Lot)]) -> Result<(), EngineError> {
    let mut changes = Changes::default();
    for (hold, lot) in copies {
        let (from, to) = keys::hold_keys(*hold, lot);
        if shared.store.has(Table::HoldKeys) {
            changes.delete_range(Table::HoldKeys, from, to);
        }
        let held = shared.held.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_needed = held.keys().any(|(_, of)| of == lot);
        drop(held);
        if !is_needed && shared.store.has(Table::HoldRows) {
            let (from, to) = keys::hold_rows(lot);
            changes.delete_range(Table::HoldRows, from, to);
        }
    }
    Ok(shared.store.apply(&changes)?)
}
