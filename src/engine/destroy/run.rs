//! One destruction, step by step.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{DestroyReport, DestroyStep, DestroySteps, LotReport, Verification, lots, trial};
use crate::crypto::{Aad, SealKey};
use crate::engine::fold::{
    FoldError, count_records, ranges, rows_of_access, rows_of_seen, rows_of_sets,
    rows_of_suppressed, tables_of,
};
use crate::engine::hold::{self, Keeping};
use crate::engine::writer::{Message, Order, Reply};
use crate::engine::{Engine, EngineError};
use crate::keys::{
    Destroyed, Destruction, HeldKey, KeyInfo, KeyKind, KeyRing, KeysError, LedgerMark, Step, Steps,
    Victim,
};
use crate::model::ids::KeyId;
use crate::model::retention::{Doom, Lot};
use crate::store::destruction::{DoomedKey, DoomedLot, Ended, Stage, UnderWay};
use crate::store::{Changes, Reclaimed, RowRange, Store, Table, keys};

/// How often, and how long apart, it is looked whether the journal keys from before are retired:
/// a request that was just sealed under one holds it until its batch is folded.
const LOOKS: u32 = 12_000;
const LOOK: Duration = Duration::from_millis(5);
/// How long requests are waited for that hold destroyed keys of pseudonyms: longer than any may
/// take.
const REQUESTS_END: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 120 });

/// A destruction under way.
pub struct Run<'e> {
    /// Of what.
    pub engine: &'e Engine,
    /// The ledger's mark.
    pub mark: LedgerMark,
    /// Who follows.
    pub steps: &'e dyn DestroySteps,
}

/// How the destruction of the keys ended.
enum KeysEnd {
    Destroyed(Destroyed),
    Waiting(Vec<PathBuf>),
    StillOpens,
}

/// Tells the steps of the register to who follows the whole.
struct Follow<'e>(&'e dyn DestroySteps);

impl Steps for Follow<'_> {
    fn done(&self, step: Step) {
        self.0.begins(DestroyStep::After(step));
    }
}

fn aad(name: &[u8]) -> Aad {
    Aad::new("meta/1").bytes(name)
}

/// The destruction that has not ended, by the name of its row.
///
/// # Errors
/// When its row cannot be read.
pub fn load(store: &Store, ring: &KeyRing, name: &[u8]) -> Result<Option<UnderWay>, EngineError> {
    let Some(sealed) = store.get(Table::Meta, name)? else { return Ok(None) };
    let plain = ring.state_key().open(&aad(name), &sealed).map_err(FoldError::from)?;
    Ok(Some(UnderWay::decode(&plain)?))
}

/// The report of the destruction that ended last.
///
/// # Errors
/// When its row cannot be read.
pub fn last(engine: &Engine) -> Result<Option<DestroyReport>, EngineError> {
    let Some(sealed) = engine.shared.store.get(Table::Meta, keys::DESTROYED)? else {
        return Ok(None);
    };
    let aad = Aad::new("meta/1").bytes(keys::DESTROYED);
    let plain = engine.shared.ring.state_key().open(&aad, &sealed).map_err(FoldError::from)?;
    let Ended { home_copy_opens, numbers, lots } = Ended::decode(&plain)?;
    let [old_epoch, new_epoch, generation, keys_tried, files_removed, bytes_reclaimed, searched] =
        numbers;
    let row = UnderWay { stage: Stage::Kept, vek_epoch: old_epoch, lots };
    let run = Run { engine, mark: LedgerMark::default(), steps: &() };
    let known =
        Destroyed { old_epoch, new_epoch, generation, home_copy_opens, ..Destroyed::default() };
    let report = run.report(&row, known)?;
    let files_searched = searched;
    Ok(Some(DestroyReport { keys_tried, files_removed, bytes_reclaimed, files_searched, ..report }))
}

impl Run<'_> {
    /// Destroys lots, or goes on where it stood.
    ///
    /// # Errors
    /// As [`Engine::destroy`].
    pub fn destroy(&self, mut lots: Vec<Doom>) -> Result<DestroyReport, EngineError> {
        lots.sort_unstable();
        lots.dedup_by_key(|doom| (doom.lot, doom.hold));
        let shared = &self.engine.shared;
        let row = match self.begun_with(&lots)? {
            Some(row) => row,
            None => self.plan(&lots)?,
        };
        // Not shut before it can be copied: what is on hold is nobody's to lose.
        if row.stage == Stage::Shut && self.lacks_room(&row) {
            return self.give_up(&row, EngineError::DiskFull);
        }
        let waiting = self.waits_for_holds(&row)?;
        if !waiting.is_empty() {
            return self.put_aside(&row, waiting);
        }
        let ring = self.ring(&row)?;
        if row.lots.iter().all(|doomed| doomed.keys.is_empty()) {
            let found = trial::all(shared, &ring, &row, &[])?;
            let report = self.report(&row, Destroyed::default())?;
            return Ok(DestroyReport { nothing: true, verification: verdict(found, 0), ..report });
        }
        let row = match (row.stage, is_of_holds(&row)) {
            (Stage::Shut, false) => self.prepare(row)?,
            (Stage::Shut, true) => self.prepare_copies(row)?,
            (Stage::Folded | Stage::Kept, _) => row,
        };
        let row = match row.stage {
            Stage::Kept => row,
            Stage::Shut | Stage::Folded => match self.keep(row.clone()) {
                Ok((row, None)) => row,
                Ok((row, Some(paths))) => return self.put_aside(&row, paths),
                Err(error) => return self.give_up(&row, error),
            },
        };
        self.go_on(&row, &ring)
    }

    /// The vault that the keys of a destruction live in.
    fn ring(&self, row: &UnderWay) -> Result<Arc<KeyRing>, EngineError> {
        let ring = &self.engine.shared.ring;
        if is_of_holds(row) { self.ring_of_holds() } else { Ok(Arc::clone(ring)) }
    }

    pub(super) fn ring_of_holds(&self) -> Result<Arc<KeyRing>, EngineError> {
        let none = || EngineError::Refused("there is no register of holds".into());
        self.engine.shared.ring.hold_existing()?.ok_or_else(none)
    }

    /// Turns the vault epoch over.
    ///
    /// # Errors
    /// As [`Engine::turn_over`].
    pub fn turn_over(&self) -> Result<DestroyReport, EngineError> {
        let none = UnderWay { stage: Stage::Kept, vek_epoch: 0, lots: Vec::new() };
        match self.engine.shared.ring.turn_over(self.mark, &Follow(self.steps))? {
            Destruction::Done(done) => self.report(&none, done),
            Destruction::Waiting(paths) => self.waiting(&none, paths),
            Destruction::NothingToDestroy => self.report(&none, Destroyed::default()),
        }
    }

    /// What is to be destroyed, by the register.
    fn plan(&self, lots: &[Doom]) -> Result<UnderWay, EngineError> {
        let shared = &self.engine.shared;
        let of_holds = lots.first().is_some_and(|doom| doom.hold.is_some());
        if lots.iter().any(|doom| doom.hold.is_some() != of_holds) {
            return Err(EngineError::Refused("lots and copies are destroyed one by one".into()));
        }
        self.check_floor(lots)?;
        let ring = if of_holds { self.ring_of_holds()? } else { Arc::clone(&shared.ring) };
        let mut living =
            if of_holds { hold::living(&shared.directory, &ring) } else { lots::living(shared) };
        let doomed = |doom: &Doom| {
            let key = |key: KeyInfo| DoomedKey {
                kind: key.kind.code(),
                id: key.id,
                parent: key.parent,
                commitment: ring.commitment(key.id).unwrap_or_default(),
            };
            let keys = living.remove(&(doom.hold, doom.lot)).unwrap_or_default();
            DoomedLot {
                lot: doom.lot,
                hold: doom.hold,
                heirs: doom.heirs.clone(),
                records: Some(0),
                blocks: (0, 0),
                keys: keys.into_iter().map(key).collect(),
            }
        };
        let lots = lots.iter().map(doomed).collect();
        Ok(UnderWay { stage: Stage::Shut, vek_epoch: ring.vek_epoch()?, lots })
    }

    /// Up to where the keys may go: nothing more gets in, and what is there is folded and noted.
    fn prepare(&self, mut row: UnderWay) -> Result<UnderWay, EngineError> {
        let shared = &self.engine.shared;
        self.steps.begins(DestroyStep::Close);
        let changes = self.sealed(&row);
        let journal = self.order(|reply| Order::Close(victims(&row), changes, reply))?;
        self.begun(&row);
        self.steps.begins(DestroyStep::Fold);
        self.fold_away(&journal)?;
        self.steps.begins(DestroyStep::Note);
        for doomed in &mut row.lots {
            self.survey(doomed)?;
        }
        row.vek_epoch = shared.ring.vek_epoch()?;
        row.stage = Stage::Folded;
        self.write(&self.sealed(&row))?;
        Ok(row)
    }

    /// The same for copies in hold storage, to which nobody writes.
    fn prepare_copies(&self, mut row: UnderWay) -> Result<UnderWay, EngineError> {
        self.steps.begins(DestroyStep::Close);
        for doomed in &mut row.lots {
            let held = doomed.hold.and_then(|hold| self.engine.shared.held(hold, doomed.lot));
            doomed.records = Some(held.map_or(0, |held| held.records));
        }
        row.stage = Stage::Folded;
        self.write(&self.sealed(&row))?;
        self.begun(&row);
        Ok(row)
    }

    fn begun(&self, row: &UnderWay) {
        let unfinished = &self.engine.shared.unfinished;
        *unfinished.write().unwrap_or_else(PoisonError::into_inner) = dooms(row);
    }

    /// What is on hold gets its copies; only then may the keys go. Answers what is waited for.
    fn keep(&self, mut row: UnderWay) -> Result<(UnderWay, Option<Vec<PathBuf>>), EngineError> {
        let shared = &self.engine.shared;
        self.steps.begins(DestroyStep::Keep);
        // The disk may give back by now what it did not when the lots were counted.
        let uncounted = |doomed: &&mut DoomedLot| {
            doomed.records.is_none() && !doomed.heirs.is_empty() && doomed.hold.is_none()
        };
        for doomed in row.lots.iter_mut().filter(uncounted) {
            self.survey(doomed)?;
        }
        let copies = match hold::keep(shared, &row, self.mark)? {
            Keeping::Made(copies) => copies,
            Keeping::Waiting(paths) => return Ok((row, Some(paths))),
        };
        self.steps.begins(DestroyStep::Kept);
        row.stage = Stage::Kept;
        let mut changes = self.sealed(&row);
        hold::whole(shared, &copies, &mut changes);
        self.write(&changes)?;
        let mut held = shared.held.write().unwrap_or_else(PoisonError::into_inner);
        held.extend(copies.into_iter().map(|(hold, lot, copy)| ((hold, lot), copy)));
        drop(held);
        Ok((row, None))
    }

    /// Folds until the journal keys that rows from before were sealed under are retired.
    ///
    /// # Errors
    /// Busy when a request holds one for a minute; stopped.
    pub fn fold_away(&self, journal: &[KeyId]) -> Result<(), EngineError> {
        let ring = &self.engine.shared.ring;
        for _ in 0..LOOKS {
            self.ask(Message::Fold)?;
            if journal.iter().all(|id| ring.by_id(*id).is_none()) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(EngineError::Busy)
    }

    /// Counts the records of a lot, and notes where its blocks are. A block that cannot be read is
    /// destroyed like all others: its records are not counted, and nobody says how many they were.
    fn survey(&self, doomed: &mut DoomedLot) -> Result<(), EngineError> {
        let (Lot::Records(bucket), shared) = (doomed.lot, &self.engine.shared) else {
            return Ok(());
        };
        (doomed.records, doomed.blocks) = (Some(0), (0, 0));
        if doomed.keys.is_empty() {
            return Ok(());
        }
        (doomed.records, doomed.blocks) = count_records(&shared.store, &shared.ring, bucket)?;
        Ok(())
    }

    /// From the keys to the end.
    fn go_on(&self, row: &UnderWay, ring: &KeyRing) -> Result<DestroyReport, EngineError> {
        let shared = &self.engine.shared;
        let ids: Vec<KeyId> =
            row.lots.iter().flat_map(|doomed| &doomed.keys).map(|key| key.id).collect();
        let of_holds = is_of_holds(row);
        let handed_out = |id: &KeyId| match ring.held_key(*id) {
            Ok(HeldKey::Seal(key)) => Some(key),
            _ if of_holds => None,
            _ => ring.by_id(*id),
        };
        let held: Vec<Arc<SealKey>> = ids.iter().filter_map(handed_out).collect();
        let done = match self.destroy_keys(row, ring, &ids)? {
            KeysEnd::Destroyed(done) => done,
            KeysEnd::Waiting(paths) => {
                if of_holds {
                    self.leave_waiting(row, ring)?;
                }
                return self.waiting(row, paths);
            }
            KeysEnd::StillOpens => {
                let report = self.report(row, Destroyed::default())?;
                return Ok(DestroyReport { verification: Verification::KeyStillOpens, ..report });
            }
        };
        let report = self.report(row, done)?;
        self.steps.begins(DestroyStep::Memory);
        if !of_holds {
            self.order(|reply| Order::Forget(victims(row), reply))?;
        }
        self.steps.begins(DestroyStep::Trial);
        if trial::all(shared, ring, row, &held)?.opens > 0 || !is_let_go(ring) {
            return Ok(DestroyReport { verification: Verification::KeyStillOpens, ..report });
        }
        let reclaimed = self.remove(row)?;
        self.steps.begins(DestroyStep::Verify);
        let report = DestroyReport {
            verification: verdict(trial::all(shared, ring, row, &held)?, reclaimed.left),
            files_removed: reclaimed.files,
            bytes_reclaimed: reclaimed.bytes,
            files_searched: reclaimed.looked_at,
            ..report
        };
        if report.verification == Verification::Passed {
            self.steps.begins(DestroyStep::End);
            self.close(row, self.ended(row, &report))?;
        }
        Ok(report)
    }

    /// The row of a destruction that has ended; it stays until the next one has.
    fn ended(&self, row: &UnderWay, report: &DestroyReport) -> Changes {
        let ended = Ended {
            home_copy_opens: report.home_copy_opens,
            numbers: [
                report.old_epoch,
                report.new_epoch,
                report.generation,
                report.keys_tried,
                report.files_removed,
                report.bytes_reclaimed,
                report.files_searched,
            ],
            lots: row.lots.clone(),
        };
        let aad = Aad::new("meta/1").bytes(keys::DESTROYED);
        let sealed = self.engine.shared.ring.state_key().seal(&aad, &ended.encode());
        let mut changes = Changes::default();
        changes.put(Table::Meta, keys::DESTROYED, sealed);
        changes
    }

    fn destroy_keys(
        &self,
        row: &UnderWay,
        ring: &KeyRing,
        ids: &[KeyId],
    ) -> Result<KeysEnd, EngineError> {
        self.steps.begins(DestroyStep::Keys);
        let follow = Follow(self.steps);
        let ended = match ring.destroy(ids, self.mark, &follow) {
            Ok(Destruction::NothingToDestroy) if ring.is_destroyed(ids, row.vek_epoch) => {
                // Before a cut, or by the start after it, which knows less of it.
                return Ok(KeysEnd::Destroyed(Destroyed {
                    old_epoch: row.vek_epoch,
                    new_epoch: ring.vek_epoch()?,
                    generation: ring.generation()?,
                    home_copy_opens: ring.home_copies_open()?,
                    ..Destroyed::default()
                }));
            }
            // Retired only: an older copy of the register would still open.
            Ok(Destruction::NothingToDestroy) => ring.turn_over(self.mark, &follow),
            ended => ended,
        };
        match ended {
            Ok(Destruction::Done(done)) => Ok(KeysEnd::Destroyed(done)),
            Ok(Destruction::Waiting(paths)) => Ok(KeysEnd::Waiting(paths)),
            Ok(Destruction::NothingToDestroy) | Err(KeysError::StillOpens(_)) => {
                Ok(KeysEnd::StillOpens)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the rows, and the files that held them, the list of files included.
    fn remove(&self, row: &UnderWay) -> Result<Reclaimed, EngineError> {
        let shared = &self.engine.shared;
        let store = &shared.store;
        let lots = victims(row);
        self.steps.begins(DestroyStep::Rows);
        let of_holds = is_of_holds(row);
        let tables: BTreeSet<Table> = match of_holds {
            true => [Table::HoldRows, Table::HoldKeys].into(),
            false => lots.iter().flat_map(tables_of).collect(),
        };
        let ranges: Vec<RowRange> = match of_holds {
            true => {
                row.lots.iter().flat_map(|doomed| hold::ranges_of(shared, row, doomed)).collect()
            }
            false => row.lots.iter().flat_map(ranges_of).collect(),
        };
        let still_open = shared.call_off_copy()?;
        let before = store.files(&tables)?;
        if of_holds {
            hold::remove(shared, row).inspect_err(|error| shared.fail(error))?;
        } else {
            self.order(|reply| Order::Remove(lots, reply))?;
        }
        self.steps.begins(DestroyStep::Files);
        let mut reclaimed = store.reclaim(&before, &tables, &ranges)?;
        reclaimed.left += still_open;
        Ok(reclaimed)
    }

    fn report(&self, row: &UnderWay, done: Destroyed) -> Result<DestroyReport, EngineError> {
        let lots = row.lots.iter().map(|doomed| LotReport {
            lot: doomed.lot,
            hold: doomed.hold,
            heirs: doomed.heirs.clone(),
            records: doomed.records,
            keys: doomed.keys.iter().filter_map(|key| self.victim(doomed, key)).collect(),
        });
        let (old_epoch, new_epoch, generation) = if done.new_epoch == 0 {
            let ring = self.ring(row)?;
            (ring.vek_epoch()?, ring.vek_epoch()?, ring.generation()?)
        } else {
            (done.old_epoch, done.new_epoch, done.generation)
        };
        Ok(DestroyReport {
            lots: lots.collect(),
            old_epoch,
            new_epoch,
            generation,
            waiting_for: Vec::new(),
            nothing: false,
            verification: Verification::Passed,
            keys_tried: done.victims.len() as u64,
            files_removed: 0,
            bytes_reclaimed: 0,
            files_searched: 0,
            home_copy_opens: done.home_copy_opens,
        })
    }

    pub(super) fn waiting(
        &self,
        row: &UnderWay,
        paths: Vec<PathBuf>,
    ) -> Result<DestroyReport, EngineError> {
        let report = self.report(row, Destroyed::default())?;
        // The epoch from before lives, and with it everything that an older copy holds.
        let verification = Verification::KeyStillOpens;
        Ok(DestroyReport { waiting_for: paths, verification, ..report })
    }

    pub(super) fn victim(&self, doomed: &DoomedLot, key: &DoomedKey) -> Option<Victim> {
        let lot = &doomed.lot;
        let site = match lots::site_of(lot) {
            Some(no) => Some(self.engine.shared.directory.by_no(no)?.id.clone()),
            None => None,
        };
        let epoch = match lot {
            Lot::Seen(day) => day.0,
            _ => lots::epoch_of(lot).code(),
        };
        let class = if let Lot::Records(bucket) = lot { Some(bucket.class) } else { None };
        let info = KeyInfo {
            id: key.id,
            parent: key.parent,
            kind: KeyKind::from_code(key.kind)?,
            class,
            epoch,
            site,
            hold: doomed.hold,
            origin: None,
        };
        Some(Victim { key: info, commitment: key.commitment })
    }

    fn sealed(&self, row: &UnderWay) -> Changes {
        self.sealed_as(keys::DESTRUCTION, row)
    }

    /// A row under a name.
    pub(super) fn sealed_as(&self, name: &[u8], row: &UnderWay) -> Changes {
        let mut changes = Changes::default();
        let sealed = self.engine.shared.ring.state_key().seal(&aad(name), &row.encode());
        changes.put(Table::Meta, name, sealed);
        changes
    }

    /// After a failed write nothing goes on.
    pub(super) fn write(&self, changes: &Changes) -> Result<(), EngineError> {
        let shared = &self.engine.shared;
        let written = shared.store.apply(changes).map_err(EngineError::from);
        written.inspect_err(|error| shared.fail(error))
    }

    /// Asks the writer and waits.
    ///
    /// # Errors
    /// Stopped, and those of what is asked.
    pub fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.engine.queue.send(message(reply)).map_err(|_| EngineError::Stopped)?;
        answer.blocking_recv().map_err(|_| EngineError::Stopped)?
    }

    /// As `ask`.
    ///
    /// # Errors
    /// As `ask`.
    pub fn order<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, EngineError> {
        self.ask(|reply| Message::Destruction(Box::new(order(reply))))
    }
}

/// What a destruction takes.
pub fn dooms(row: &UnderWay) -> Vec<Doom> {
    let doom = |doomed: &DoomedLot| {
        let (lot, hold, heirs) = (doomed.lot, doomed.hold, doomed.heirs.clone());
        Doom { lot, hold, heirs }
    };
    row.lots.iter().map(doom).collect()
}

/// Whether a destruction takes copies in hold storage.
pub(super) fn is_of_holds(row: &UnderWay) -> bool {
    row.lots.iter().any(|doomed| doomed.hold.is_some())
}

/// The lots that have something to destroy.
fn victims(row: &UnderWay) -> Vec<Lot> {
    let some = row.lots.iter().filter(|doomed| !doomed.keys.is_empty());
    some.map(|doomed| doomed.lot).collect()
}

/// Where the rows of a lot were.
fn ranges_of(doomed: &DoomedLot) -> Vec<RowRange> {
    match doomed.lot {
        Lot::Records(bucket) if doomed.blocks.0 < doomed.blocks.1 => {
            ranges(bucket, doomed.blocks.0, doomed.blocks.1)
        }
        Lot::Sets(at) if !doomed.keys.is_empty() => vec![rows_of_sets(at)],
        Lot::Suppression(at) if !doomed.keys.is_empty() => vec![rows_of_suppressed(at.site)],
        Lot::Seen(day) if !doomed.keys.is_empty() => vec![rows_of_seen(day)],
        Lot::Access(month) if !doomed.keys.is_empty() => vec![rows_of_access(month)],
        _ => Vec::new(),
    }
}

fn verdict(found: trial::Found, files_left: u64) -> Verification {
    match (found.opens, found.rows + files_left) {
        (0, 0) => Verification::Passed,
        (0, left) => Verification::BytesLeft(left),
        _ => Verification::KeyStillOpens,
    }
}

/// Whether no request holds keys of pseudonyms that were destroyed; waits for those that do. They
/// cannot be wiped under a request's hands.
fn is_let_go(ring: &KeyRing) -> bool {
    let until = Instant::now() + REQUESTS_END;
    while ring.held() > 0 {
        if Instant::now() > until {
            tracing::warn!(keys = ring.held(), "destroyed keys are still in the hands of requests");
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}
