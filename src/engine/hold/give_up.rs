//! Giving up copies that cannot be made, so that one damaged lot, or a copy of the register of
//! holds that is out of reach, does not keep every other lot from being destroyed. What was begun
//! of them goes: rows first, then the keys that the holds got, because a copy that nobody knows of
//! would open what is destroyed later without it.
//!
//! While a copy of that register is out of reach such keys cannot go. They stay, without rows, and
//! whoever destroys or erases something of their lots sees to them first ([`clear`]).

use std::path::PathBuf;
use std::sync::PoisonError;

use super::{EngineError, living};
use crate::engine::Shared;
use crate::keys::{Destruction, LedgerMark};
use crate::model::ids::{HoldNo, KeyId};
use crate::model::retention::{Doom, Lot};
use crate::store::destruction::UnderWay;
use crate::store::{Changes, Table, keys};

/// Removes what there is of copies that are not whole, of the lots of a destruction. Cut short, it
/// can be repeated.
///
/// # Errors
/// When the disk or the register of holds refuses: then nothing may be given up.
pub fn give_up(shared: &Shared, row: &UnderWay, mark: LedgerMark) -> Result<(), EngineError> {
    let copies = row.lots.iter().flat_map(|doomed| {
        let not_whole = |hold: &&HoldNo| shared.held(**hold, doomed.lot).is_none();
        doomed.heirs.iter().filter(not_whole).map(|hold| (*hold, doomed.lot))
    });
    let copies: Vec<(HoldNo, Lot)> = copies.collect();
    remove_rows(shared, &copies)?;
    let waiting = clear(shared, |hold, lot| copies.contains(&(hold, *lot)), mark)?;
    if !waiting.is_empty() {
        tracing::warn!(
            copies = waiting.len(),
            "keys of copies that were given up stay in the register of holds until its copies off \
             the host can be reached"
        );
    }
    Ok(())
}

/// Destroys the keys that holds got of lots for copies that were given up. Answers the copies of
/// the register of holds that this waits for: then the keys are still there, or their vault epoch
/// is, which opens them for whoever has an older copy of the register.
///
/// # Errors
/// When the register of holds refuses.
pub fn clear(
    shared: &Shared,
    is_of: impl Fn(HoldNo, &Lot) -> bool,
    mark: LedgerMark,
) -> Result<Vec<PathBuf>, EngineError> {
    let Some(ring) = shared.ring.hold_existing()? else { return Ok(Vec::new()) };
    // A call before this one may have been cut: its victims are listed no more.
    if ring.may_open_victims()?
        && may_open(shared, ring.vek_epoch()?, &is_of)
        && let Some(Destruction::Waiting(paths)) = ring.resume(&())?
    {
        return Ok(paths);
    }
    let all = living(&shared.directory, &ring);
    let left = all.into_iter().filter(|((hold, lot), _)| {
        hold.is_some_and(|hold| shared.held(hold, *lot).is_none() && is_of(hold, lot))
    });
    let ids: Vec<KeyId> = left.flat_map(|(_, keys)| keys).map(|key| key.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let waiting = shared.ring.holds_out_of_reach()?;
    if !waiting.is_empty() {
        return Ok(waiting);
    }
    match ring.destroy(&ids, mark, &())? {
        Destruction::Waiting(paths) => Ok(paths),
        Destruction::Done(_) | Destruction::NothingToDestroy => Ok(Vec::new()),
    }
}

/// Whether the turn-over that waits, to this vault epoch, may have victims that are meant: it is
/// known whose they are where it is the end of copies, and else nobody can tell.
fn may_open(shared: &Shared, epoch: u64, is_of: &impl Fn(HoldNo, &Lot) -> bool) -> bool {
    let waiting = shared.waiting.read().unwrap_or_else(PoisonError::into_inner);
    let is_meant = |doom: &Doom| doom.hold.is_some_and(|hold| is_of(hold, &doom.lot));
    !waiting.began(epoch) || waiting.dooms.iter().any(is_meant)
}

fn remove_rows(shared: &Shared, copies: &[(HoldNo, Lot)]) -> Result<(), EngineError> {
    let mut changes = Changes::default();
    for (hold, lot) in copies {
        let (from, to) = keys::hold_keys(*hold, lot);
        if shared.store.has(Table::HoldKeys) {
            changes.delete_range(Table::HoldKeys, from, to);
        }
        let held = shared.held.read().unwrap_or_else(PoisonError::into_inner);
        let is_needed = held.keys().any(|(_, of)| of == lot);
        drop(held);
        if !is_needed && shared.store.has(Table::HoldRows) {
            let (from, to) = keys::hold_rows(lot);
            changes.delete_range(Table::HoldRows, from, to);
        }
    }
    Ok(shared.store.apply(&changes)?)
}
