//! One destruction, step by step.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{DestroyReport, DestroyStep, DestroySteps, LotReport, Verification, lots, trial};
use crate::crypto::{Aad, SealKey};
use crate::engine::fold::{FoldError, blocks_of, ranges, read_header, rows_of_sets, tables_of};
use crate::engine::writer::{Message, Order, Reply};
use crate::engine::{Engine, EngineError};
use crate::keys::{
    Destroyed, Destruction, KeyInfo, KeyKind, KeyRing, KeysError, LedgerMark, Step, Steps, Victim,
};
use crate::model::ids::KeyId;
use crate::model::retention::Lot;
use crate::store::destruction::{DoomedKey, DoomedLot, Ended, UnderWay};
use crate::store::{Changes, Reclaimed, RowRange, Store, Table, keys};

/// How often, and how long apart, it is looked whether the journal keys from before are retired:
/// a request that was just sealed under one holds it until its batch is folded.
const LOOKS: u32 = 12_000;
const LOOK: Duration = Duration::from_millis(5);

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

fn aad() -> Aad {
    Aad::new("meta/1").bytes(keys::DESTRUCTION)
}

/// The destruction that has not ended.
///
/// # Errors
/// When its row cannot be read.
pub fn load(store: &Store, ring: &KeyRing) -> Result<Option<UnderWay>, EngineError> {
    let Some(sealed) = store.get(Table::Meta, keys::DESTRUCTION)? else { return Ok(None) };
    let plain = ring.state_key().open(&aad(), &sealed).map_err(FoldError::from)?;
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
    let row = UnderWay { folded: true, vek_epoch: old_epoch, lots };
    let run = Run { engine, mark: LedgerMark::default(), steps: &() };
    let report = run.report(&row, Destroyed { home_copy_opens, ..Destroyed::default() })?;
    Ok(Some(DestroyReport {
        old_epoch,
        new_epoch,
        generation,
        keys_tried,
        files_removed,
        bytes_reclaimed,
        files_searched: searched,
        ..report
    }))
}

impl Run<'_> {
    /// Destroys lots, or goes on where it stood.
    ///
    /// # Errors
    /// As [`Engine::destroy`].
    pub fn destroy(&self, mut lots: Vec<Lot>) -> Result<DestroyReport, EngineError> {
        lots.sort_unstable();
        lots.dedup();
        let shared = &self.engine.shared;
        let row = match load(&shared.store, &shared.ring)? {
            Some(row) if row.lots.iter().map(|doomed| doomed.lot).eq(lots.iter().copied()) => row,
            Some(_) => {
                return Err(EngineError::Refused(
                    "a destruction of other lots has not ended; finish it before the next".into(),
                ));
            }
            None => self.plan(&lots)?,
        };
        if row.lots.iter().all(|doomed| doomed.keys.is_empty()) {
            let found = trial::all(shared, &row, &[])?;
            let report = self.report(&row, Destroyed::default())?;
            return Ok(DestroyReport { nothing: true, verification: verdict(found, 0), ..report });
        }
        let row = if row.folded { row } else { self.prepare(row)? };
        self.go_on(&row)
    }

    /// Turns the vault epoch over.
    ///
    /// # Errors
    /// As [`Engine::turn_over`].
    pub fn turn_over(&self) -> Result<DestroyReport, EngineError> {
        let none = UnderWay { folded: true, vek_epoch: 0, lots: Vec::new() };
        match self.engine.shared.ring.turn_over(self.mark, &Follow(self.steps))? {
            Destruction::Done(done) => self.report(&none, done),
            Destruction::Waiting(paths) => self.waiting(&none, paths),
            Destruction::NothingToDestroy => self.report(&none, Destroyed::default()),
        }
    }

    /// What is to be destroyed, by the register.
    fn plan(&self, lots: &[Lot]) -> Result<UnderWay, EngineError> {
        let ring = &self.engine.shared.ring;
        let mut living = lots::living(&self.engine.shared);
        let doomed = |lot: &Lot| {
            let key = |key: KeyInfo| DoomedKey {
                kind: key.kind.code(),
                id: key.id,
                parent: key.parent,
                commitment: ring.commitment(key.id).unwrap_or_default(),
            };
            let keys = living.remove(lot).unwrap_or_default().into_iter().map(key).collect();
            DoomedLot { lot: *lot, records: Some(0), blocks: (0, 0), keys }
        };
        let lots = lots.iter().map(doomed).collect();
        Ok(UnderWay { folded: false, vek_epoch: ring.vek_epoch()?, lots })
    }

    /// Up to where the keys may go: nothing more gets in, and what is there is folded and noted.
    fn prepare(&self, mut row: UnderWay) -> Result<UnderWay, EngineError> {
        let shared = &self.engine.shared;
        self.steps.begins(DestroyStep::Close);
        let changes = self.sealed(&row);
        let journal = self.order(|reply| Order::Close(victims(&row), changes, reply))?;
        let all: Vec<Lot> = row.lots.iter().map(|doomed| doomed.lot).collect();
        *shared.unfinished.write().unwrap_or_else(PoisonError::into_inner) = all;
        self.steps.begins(DestroyStep::Fold);
        self.fold_away(&journal)?;
        self.steps.begins(DestroyStep::Note);
        for doomed in &mut row.lots {
            self.survey(doomed)?;
        }
        row.vek_epoch = shared.ring.vek_epoch()?;
        row.folded = true;
        self.write(&self.sealed(&row))?;
        Ok(row)
    }

    /// Folds until the journal keys that rows from before were sealed under are retired.
    fn fold_away(&self, journal: &[KeyId]) -> Result<(), EngineError> {
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
        let Some(key) = doomed.keys.first().and_then(|key| shared.ring.by_id(key.id)) else {
            return Ok(());
        };
        let places = blocks_of(&shared.store, bucket)?;
        for place in &places {
            let header = read_header(&shared.store, &key, *place);
            let header = header.inspect_err(|error| {
                tracing::error!(%error, "a block that is destroyed cannot be counted");
            });
            let rows = header.ok().map(|header| header.rows as u64);
            doomed.records = doomed.records.zip(rows).map(|(sum, rows)| sum + rows);
        }
        let numbers = || places.iter().map(|place| place.number);
        if let (Some(first), Some(last)) = (numbers().min(), numbers().max()) {
            doomed.blocks = (first, last.saturating_add(1));
        }
        Ok(())
    }

    /// From the keys to the end.
    fn go_on(&self, row: &UnderWay) -> Result<DestroyReport, EngineError> {
        let shared = &self.engine.shared;
        let ids: Vec<KeyId> =
            row.lots.iter().flat_map(|doomed| &doomed.keys).map(|key| key.id).collect();
        let held: Vec<Arc<SealKey>> = ids.iter().filter_map(|id| shared.ring.by_id(*id)).collect();
        let done = match self.destroy_keys(row, &ids)? {
            KeysEnd::Destroyed(done) => done,
            KeysEnd::Waiting(paths) => return self.waiting(row, paths),
            KeysEnd::StillOpens => {
                let report = self.report(row, Destroyed::default())?;
                return Ok(DestroyReport { verification: Verification::KeyStillOpens, ..report });
            }
        };
        let report = self.report(row, done)?;
        self.steps.begins(DestroyStep::Memory);
        self.order(|reply| Order::Forget(victims(row), reply))?;
        self.steps.begins(DestroyStep::Trial);
        if trial::all(shared, row, &held)?.opens > 0 {
            return Ok(DestroyReport { verification: Verification::KeyStillOpens, ..report });
        }
        let reclaimed = self.remove(row)?;
        self.steps.begins(DestroyStep::Verify);
        let report = DestroyReport {
            verification: verdict(trial::all(shared, row, &held)?, reclaimed.left),
            files_removed: reclaimed.files,
            bytes_reclaimed: reclaimed.bytes,
            files_searched: reclaimed.looked_at,
            ..report
        };
        if report.verification == Verification::Passed {
            self.steps.begins(DestroyStep::End);
            let mut changes = self.ended(row, &report);
            changes.delete(Table::Meta, keys::DESTRUCTION);
            self.write(&changes)?;
            shared.unfinished.write().unwrap_or_else(PoisonError::into_inner).clear();
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

    fn destroy_keys(&self, row: &UnderWay, ids: &[KeyId]) -> Result<KeysEnd, EngineError> {
        let ring = &self.engine.shared.ring;
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

    /// Removes the rows, and the files that held them. No row key in the MANIFEST says anything of
    /// anybody, so that is left to roll over by itself.
    fn remove(&self, row: &UnderWay) -> Result<Reclaimed, EngineError> {
        let store = &self.engine.shared.store;
        let lots = victims(row);
        self.steps.begins(DestroyStep::Rows);
        let tables: BTreeSet<Table> = lots.iter().flat_map(tables_of).collect();
        let before = store.files(&tables)?;
        self.order(|reply| Order::Remove(lots, reply))?;
        self.steps.begins(DestroyStep::Files);
        let ranges: Vec<RowRange> = row.lots.iter().flat_map(ranges_of).collect();
        Ok(store.reclaim(&before, &tables, &ranges)?)
    }

    fn report(&self, row: &UnderWay, done: Destroyed) -> Result<DestroyReport, EngineError> {
        let ring = &self.engine.shared.ring;
        let lots = row.lots.iter().map(|doomed| LotReport {
            lot: doomed.lot,
            records: doomed.records,
            keys: doomed.keys.iter().filter_map(|key| self.victim(&doomed.lot, key)).collect(),
        });
        let known = done.new_epoch != 0;
        Ok(DestroyReport {
            lots: lots.collect(),
            old_epoch: if known { done.old_epoch } else { ring.vek_epoch()? },
            new_epoch: if known { done.new_epoch } else { ring.vek_epoch()? },
            generation: if known { done.generation } else { ring.generation()? },
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

    fn waiting(&self, row: &UnderWay, paths: Vec<PathBuf>) -> Result<DestroyReport, EngineError> {
        let report = self.report(row, Destroyed::default())?;
        // The epoch from before lives, and with it everything that an older copy holds.
        let verification = Verification::KeyStillOpens;
        Ok(DestroyReport { waiting_for: paths, verification, ..report })
    }

    fn victim(&self, lot: &Lot, key: &DoomedKey) -> Option<Victim> {
        let site = self.engine.shared.directory.by_no(lots::site_of(lot))?;
        let class = if let Lot::Records(bucket) = lot { Some(bucket.class) } else { None };
        let info = KeyInfo {
            id: key.id,
            parent: key.parent,
            kind: KeyKind::from_code(key.kind)?,
            class,
            epoch: lots::epoch_of(lot).code(),
            site: Some(site.id.clone()),
            hold: None,
            origin: None,
        };
        Some(Victim { key: info, commitment: key.commitment })
    }

    fn sealed(&self, row: &UnderWay) -> Changes {
        let mut changes = Changes::default();
        let sealed = self.engine.shared.ring.state_key().seal(&aad(), &row.encode());
        changes.put(Table::Meta, keys::DESTRUCTION, sealed);
        changes
    }

    /// After a failed write nothing goes on.
    fn write(&self, changes: &Changes) -> Result<(), EngineError> {
        let shared = &self.engine.shared;
        let written = shared.store.apply(changes).map_err(EngineError::from);
        written.inspect_err(|error| shared.fail(error))
    }

    fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.engine.queue.send(message(reply)).map_err(|_| EngineError::Stopped)?;
        answer.blocking_recv().map_err(|_| EngineError::Stopped)?
    }

    fn order<T>(&self, order: impl FnOnce(Reply<T>) -> Order) -> Result<T, EngineError> {
        self.ask(|reply| Message::Destruction(Box::new(order(reply))))
    }
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
