//! Destructions that end before a key went: there is no room for a copy, a copy cannot be made, or
//! one of the register of holds is out of reach. Their lots stay, and stand in no other's way.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::PoisonError;

use super::DestroyReport;
use super::run::{Run, is_of_holds, load};
use crate::engine::{Engine, EngineError, hold};
use crate::keys::{KeyInfo, LedgerMark};
use crate::model::ids::{HoldNo, KeyId};
use crate::model::retention::Lot;
use crate::store::destruction::{DoomedKey, DoomedLot, Stage, UnderWay};
use crate::store::{Changes, Table, keys};

/// The keys of the destruction under way: its row goes when all of it has ended.
///
/// # Errors
/// When the row cannot be read.
pub(super) fn doomed_keys(engine: &Engine) -> Result<Vec<KeyInfo>, EngineError> {
    let shared = &engine.shared;
    let Some(row) = load(&shared.store, &shared.ring)? else { return Ok(Vec::new()) };
    let run = Run { engine, mark: LedgerMark::default(), steps: &() };
    let of = |doomed: &DoomedLot, key: &DoomedKey| Some(run.victim(doomed, key)?.key);
    let pairs = row.lots.iter().flat_map(|lot| lot.keys.iter().map(move |key| (lot, key)));
    let keys = pairs.map(|(lot, key)| of(lot, key));
    keys.collect::<Option<_>>().ok_or_else(|| EngineError::Damaged("a destruction's row".into()))
}

impl Run<'_> {
    /// Whether there is something to copy and no room for it.
    pub(super) fn lacks_room(&self, row: &UnderWay) -> bool {
        let low = self.engine.shared.disk_low.load(std::sync::atomic::Ordering::Acquire);
        low && row.lots.iter().any(|doomed| !doomed.keys.is_empty() && !doomed.heirs.is_empty())
    }

    /// The copies of the register of holds, off the host, that this destruction would wait for
    /// before a key may go. It asks before it begins, so that nothing else has to wait with it;
    /// once a key went there is no way back.
    pub(super) fn waits_for_holds(&self, row: &UnderWay) -> Result<Vec<PathBuf>, EngineError> {
        let shared = &self.engine.shared;
        if row.stage == Stage::Kept {
            let can_wait = is_of_holds(row) && self.is_untouched(row)?;
            return if can_wait { Ok(shared.ring.holds_out_of_reach()?) } else { Ok(Vec::new()) };
        }
        let living = |doomed: &&DoomedLot| !doomed.keys.is_empty();
        let mut of = row.lots.iter().filter(living);
        if of.any(|doomed| doomed.hold.is_some() || !doomed.heirs.is_empty()) {
            let waiting = shared.ring.holds_out_of_reach()?;
            if !waiting.is_empty() {
                return Ok(waiting);
            }
        }
        // Keys that holds got of these lots, for copies that were given up, would open them.
        let of_other = |hold: HoldNo, lot: &Lot| {
            let own = |doomed: &DoomedLot| doomed.hold.is_none() && doomed.lot == *lot;
            row.lots.iter().any(|doomed| own(doomed) && !doomed.heirs.contains(&hold))
        };
        hold::clear(shared, of_other, self.mark)
    }

    /// Whether each key of copies is there still, and no turn-over of their vault was begun.
    fn is_untouched(&self, row: &UnderWay) -> Result<bool, EngineError> {
        let ring = self.ring_of_holds()?;
        let living: BTreeSet<KeyId> = ring.list().iter().map(|key| key.id).collect();
        let mut keys = row.lots.iter().flat_map(|doomed| &doomed.keys);
        Ok(!ring.epoch_standing()?.waiting && keys.all(|key| living.contains(&key.id)))
    }

    /// A copy of the register of holds is out of reach before a key went: the destruction ends here
    /// and stands in no other's way. It is asked for again later.
    pub(super) fn put_aside(
        &self,
        row: &UnderWay,
        paths: Vec<PathBuf>,
    ) -> Result<DestroyReport, EngineError> {
        let shared = &self.engine.shared;
        if load(&shared.store, &shared.ring)?.is_some() {
            self.end_unkept(row)?;
        }
        self.waiting(row, paths)
    }

    /// Ends a destruction before a key went: what was begun of copies goes.
    fn end_unkept(&self, row: &UnderWay) -> Result<(), EngineError> {
        let shared = &self.engine.shared;
        hold::give_up(shared, row, self.mark)?;
        let mut changes = Changes::default();
        changes.delete(Table::Meta, keys::DESTRUCTION);
        self.write(&changes)?;
        shared.unfinished.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// What is on hold cannot be copied: the destruction ends here, before a key went, so that it
    /// stands in no other's way. Its lots stay shut, and what was begun of the copies goes.
    pub(super) fn give_up(
        &self,
        row: &UnderWay,
        error: EngineError,
    ) -> Result<DestroyReport, EngineError> {
        use EngineError::{Damaged, DiskFull, Refused};
        let shared = &self.engine.shared;
        if !matches!(error, Damaged(_) | DiskFull | Refused(_)) {
            return Err(error);
        }
        if load(&shared.store, &shared.ring)?.is_some() {
            self.end_unkept(row)?;
        }
        Err(error)
    }
}
