//! What stands in no other's way. Destructions that end before a key went: there is no room for a
//! copy, a copy cannot be made, or one of the register of holds is out of reach. Their lots stay.
//! And the destruction of copies whose keys went before that copy was lost: it cannot be taken
//! back, so its row is put aside until the copy is there. There is one of these at most, because
//! nothing else of that vault begins while a turn-over of it waits.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::PoisonError;

use super::DestroyReport;
use super::run::{Run, dooms, is_of_holds, load};
use crate::engine::{Engine, EngineError, hold};
use crate::keys::{KeyInfo, KeyRing, LedgerMark};
use crate::model::ids::{HoldNo, KeyId};
use crate::model::retention::{Doom, Lot};
use crate::store::destruction::{DoomedKey, DoomedLot, Stage, UnderWay};
use crate::store::{Changes, Store, Table, keys};

/// A destruction of copies that waits for a copy of the register of holds.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Waiting {
    /// What it takes; nothing where there is none.
    pub(in crate::engine) dooms: Vec<Doom>,
    /// The vault epoch of the holds that the keys lived in.
    vek_epoch: u64,
}

impl Waiting {
    /// The one that is stored.
    ///
    /// # Errors
    /// When its row cannot be read.
    pub(in crate::engine) fn load(store: &Store, ring: &KeyRing) -> Result<Self, EngineError> {
        Ok(load(store, ring, keys::WAITING)?.as_ref().map(Self::of).unwrap_or_default())
    }

    fn of(row: &UnderWay) -> Self {
        Self { dooms: dooms(row), vek_epoch: row.vek_epoch }
    }

    /// Whether the turn-over to a vault epoch is its own.
    pub(in crate::engine) fn began(&self, epoch: u64) -> bool {
        !self.dooms.is_empty() && self.vek_epoch.checked_add(1) == Some(epoch)
    }
}

fn name(doom: &Doom) -> (Lot, Option<HoldNo>) {
    (doom.lot, doom.hold)
}

/// The keys of what is under way: a row goes when all of it has ended.
///
/// # Errors
/// When the row cannot be read.
pub(super) fn doomed_keys(engine: &Engine) -> Result<Vec<KeyInfo>, EngineError> {
    let shared = &engine.shared;
    let load = |name| load(&shared.store, &shared.ring, name);
    let rows = [load(keys::DESTRUCTION)?, load(keys::WAITING)?];
    let run = Run { engine, mark: LedgerMark::default(), steps: &() };
    let of = |doomed: &DoomedLot, key: &DoomedKey| Some(run.victim(doomed, key)?.key);
    let lots = rows.iter().flatten().flat_map(|row| &row.lots);
    let pairs = lots.flat_map(|lot| lot.keys.iter().map(move |key| (lot, key)));
    let keys = pairs.map(|(lot, key)| of(lot, key));
    keys.collect::<Option<_>>().ok_or_else(|| EngineError::Damaged("a destruction's row".into()))
}

impl Run<'_> {
    /// What was begun with these lots; nothing where none of them was.
    ///
    /// # Errors
    /// Refused while a destruction of others has not ended.
    pub(super) fn begun_with(&self, lots: &[Doom]) -> Result<Option<UnderWay>, EngineError> {
        let shared = &self.engine.shared;
        let is_it = |row: &UnderWay| dooms(row).iter().map(name).eq(lots.iter().map(name));
        let waiting = load(&shared.store, &shared.ring, keys::WAITING)?;
        if let Some(row) = waiting.filter(is_it) {
            return Ok(Some(row));
        }
        match load(&shared.store, &shared.ring, keys::DESTRUCTION)? {
            Some(row) if !is_it(&row) => Err(EngineError::Refused(
                "a destruction of other lots has not ended; finish it before the next".into(),
            )),
            row => Ok(row),
        }
    }

    /// The keys of copies have left the register of holds, and a copy of it off the host was lost
    /// since it was asked for: the destruction waits, and stands in no other's way.
    pub(super) fn leave_waiting(&self, row: &UnderWay, ring: &KeyRing) -> Result<(), EngineError> {
        let shared = &self.engine.shared;
        let waits = !shared.waiting.read().unwrap_or_else(PoisonError::into_inner).dooms.is_empty();
        // One of others that is still being tried keeps its place.
        if waits {
            return Ok(());
        }
        // The register is written under the next epoch, so the one before is known for certain.
        let row = UnderWay { vek_epoch: ring.vek_epoch()?.saturating_sub(1), ..row.clone() };
        let mut changes = self.sealed_as(keys::WAITING, &row);
        changes.delete(Table::Meta, keys::DESTRUCTION);
        self.write(&changes)?;
        *shared.waiting.write().unwrap_or_else(PoisonError::into_inner) = Waiting::of(&row);
        shared.unfinished.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    /// Whether it is the one that waits.
    fn is_waiting(&self, row: &UnderWay) -> bool {
        let waiting = self.engine.shared.waiting.read().unwrap_or_else(PoisonError::into_inner);
        !waiting.dooms.is_empty() && waiting.dooms.iter().map(name).eq(dooms(row).iter().map(name))
    }

    /// Writes the changes that end a destruction; its row goes with them.
    pub(super) fn close(&self, row: &UnderWay, mut changes: Changes) -> Result<(), EngineError> {
        let shared = &self.engine.shared;
        if self.is_waiting(row) {
            changes.delete(Table::Meta, keys::WAITING);
            self.write(&changes)?;
            *shared.waiting.write().unwrap_or_else(PoisonError::into_inner) = Waiting::default();
        } else {
            changes.delete(Table::Meta, keys::DESTRUCTION);
            self.write(&changes)?;
            shared.unfinished.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
        Ok(())
    }

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
        if load(&shared.store, &shared.ring, keys::DESTRUCTION)?.is_some() {
            self.end_unkept(row)?;
        }
        self.waiting(row, paths)
    }

    /// Ends a destruction before a key went: what was begun of copies goes.
    fn end_unkept(&self, row: &UnderWay) -> Result<(), EngineError> {
        hold::give_up(&self.engine.shared, row, self.mark)?;
        self.close(row, Changes::default())
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
        if load(&shared.store, &shared.ring, keys::DESTRUCTION)?.is_some() {
            self.end_unkept(row)?;
        }
        Err(error)
    }
}
