//! One erasure, step by step.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::{EraseReport, EraseStep, EraseSteps, Order, Waits, aad, row_change};
use crate::crypto::{SealKey, seal};
use crate::engine::destroy::run as destruction;
use crate::engine::fold::{BlockPlace, Sealing, block_key_opens, blocks_of, wrapped_key};
use crate::engine::writer::{self, Message};
use crate::engine::{Engine, EngineError, hold};
use crate::keys::{Destruction, KeyKind, KeysError, LedgerMark, Step, Steps};
use crate::model::batch::{Bucket, Epoch};
use crate::model::ids::{KeyId, SiteNo};
use crate::model::person::Person;
use crate::model::retention::Lot;
use crate::store::erasure::{Erasure, Sample, Stage, encode_suppressed};
use crate::store::{Changes, Table, keys};

/// An erasure under way.
pub struct Run<'e> {
    /// Of what.
    pub engine: &'e Engine,
    /// The ledger's mark.
    pub mark: LedgerMark,
    /// Who follows.
    pub steps: Arc<dyn EraseSteps>,
}

/// Tells the steps of the register to who follows the whole.
struct Follow<'e>(&'e dyn EraseSteps);

impl Steps for Follow<'_> {
    fn done(&self, step: Step) {
        self.0.begins(EraseStep::After(step));
    }
}

/// How the destruction of the keys ended.
enum KeysEnd {
    Gone,
    Waiting(Vec<PathBuf>),
}

/// Writes the rows that hide a person.
pub fn hide(engine: &Engine, site: SiteNo, order: Order) -> Result<(), EngineError> {
    let shared = &engine.shared;
    let named = shared.directory.by_no(site).ok_or(EngineError::NoSite)?;
    let keys_of_site = match order.suppress.is_empty() {
        false => Some(shared.ring.suppression(&named.id)?),
        true => None,
    };
    let row = Erasure {
        number: order.number,
        stage: Stage::Hidden,
        site,
        months: order.months,
        person: order.person,
        suppress: !order.suppress.is_empty(),
        parts: Vec::new(),
        vek_epoch: 0,
        blocks: 0,
        records: 0,
        gone: Vec::new(),
        left: None,
        samples: Vec::new(),
        repeats: order.repeats,
    };
    let mut changes = row_change(&shared.ring, &row);
    if !order.suppress.is_empty() {
        // Under the lost one's number too: else a later restore takes that one for lost again.
        for number in [order.number].into_iter().chain(order.repeats) {
            let name = keys::suppressed(site, number);
            let sealed =
                shared.ring.state_key().seal(&aad(&name), &encode_suppressed(&order.suppress));
            changes.put(Table::Meta, name, sealed);
        }
    }
    let repeats = order.repeats.unwrap_or(u64::MAX);
    changes.delete(Table::Meta, keys::erasing(repeats));
    // Held over the write, so that nobody reads between the disk and the list.
    let mut erasing = shared.erasing.write().unwrap_or_else(PoisonError::into_inner);
    shared.store.apply(&changes).map_err(EngineError::from).inspect_err(|e| shared.fail(e))?;
    erasing.remove(&repeats);
    erasing.insert(row.number, row);
    drop(erasing);
    shared.explained.remove(site);
    if let Some(keys) = keys_of_site {
        let mut suppressed = shared.suppressed.write().unwrap_or_else(PoisonError::into_inner);
        suppressed.put(site, keys, &[order.suppress]);
    }
    Ok(())
}

/// Takes from the row of an erasure that is done whose it was.
pub fn make_nameless(engine: &Engine, number: u64) -> Result<(), EngineError> {
    let shared = &engine.shared;
    let mut erasing = shared.erasing.write().unwrap_or_else(PoisonError::into_inner);
    let Some(row) = erasing.get_mut(&number) else { return Ok(()) };
    let nameless = Erasure { person: Person::default(), ..row.clone() };
    let written = shared.store.apply(&row_change(&shared.ring, &nameless));
    written.map_err(EngineError::from).inspect_err(|e| shared.fail(e))?;
    *row = nameless;
    Ok(())
}

/// Removes the row of an erasure that is done.
pub fn end(engine: &Engine, number: u64) -> Result<(), EngineError> {
    let shared = &engine.shared;
    let mut changes = Changes::default();
    changes.delete(Table::Meta, keys::erasing(number));
    let mut erasing = shared.erasing.write().unwrap_or_else(PoisonError::into_inner);
    shared.store.apply(&changes).map_err(EngineError::from).inspect_err(|e| shared.fail(e))?;
    erasing.remove(&number);
    Ok(())
}

impl Run<'_> {
    /// Erases, or goes on where it stood.
    ///
    /// # Errors
    /// As [`Engine::erase`].
    pub fn erase(&self, number: u64, waits: &Waits) -> Result<EraseReport, EngineError> {
        let unfinished = &self.engine.shared.unfinished;
        if !unfinished.read().unwrap_or_else(PoisonError::into_inner).is_empty() {
            // It knows its keys by their numbers, and copies for holds may be half made.
            return Err(EngineError::Busy);
        }
        let mut row = self.load(number)?;
        if row.stage == Stage::Lost {
            return Err(EngineError::Refused("this erasure is lost and must be repeated".into()));
        }
        if row.stage == Stage::Sealed {
            if let KeysEnd::Waiting(paths) = self.destroy_keys(&mut row)? {
                return Ok(self.report(&row, paths));
            }
            self.settle(&mut row)?;
        }
        if row.stage == Stage::Ended || self.waits_still(&row, waits)? {
            return Ok(self.report(&row, Vec::new()));
        }
        // Keys that holds got for copies that were given up would open what was sealed before.
        let of_site = |_, lot: &Lot| matches!(lot, Lot::Records(b) if b.site == row.site);
        let waiting = hold::clear(&self.engine.shared, of_site, self.mark)?;
        if !waiting.is_empty() {
            return Ok(self.report(&row, waiting));
        }
        if row.left.is_none() {
            self.steps.begins(EraseStep::Fold);
            self.fold_away()?;
        }
        row = self.seal_anew(row, waits)?;
        if let KeysEnd::Waiting(paths) = self.destroy_keys(&mut row)? {
            return Ok(self.report(&row, paths));
        }
        self.steps.begins(EraseStep::Gone);
        self.settle(&mut row)?;
        Ok(self.report(&row, Vec::new()))
    }

    /// Whether everything was searched, and everything that was left waits still: then there is
    /// nothing to do. What came later nobody asked to erase.
    fn waits_still(&self, row: &Erasure, waits: &Waits) -> Result<bool, EngineError> {
        let (Some(left), true) = (&row.left, row.parts.is_empty()) else { return Ok(false) };
        if left.is_empty() {
            return Ok(!self.backfills(row).is_empty());
        }
        let (living, copies) = (self.living(row.site), self.copies(row)?);
        let still = |bucket: &Bucket| match living.contains(bucket) {
            true => waits(*bucket),
            false => copies.contains(bucket),
        };
        Ok(left.iter().all(still))
    }

    /// The row as it is on the disk: what a call before this one wrote of it may be more than what
    /// memory has.
    fn load(&self, number: u64) -> Result<Erasure, EngineError> {
        let shared = &self.engine.shared;
        let name = keys::erasing(number);
        let unknown = || EngineError::Refused("there is no such erasure".into());
        let sealed = shared.store.get(Table::Meta, &name)?.ok_or_else(unknown)?;
        let damaged = |_| EngineError::Damaged("the row of an erasure".into());
        let plain = shared.ring.state_key().open(&aad(&name), &sealed).map_err(damaged)?;
        Ok(Erasure::decode(&plain)?)
    }

    /// Folds what was acknowledged before, so that no row of the person is in the journal.
    fn fold_away(&self) -> Result<(), EngineError> {
        let fold = destruction::Run { engine: self.engine, mark: self.mark, steps: &() };
        let close = |reply| writer::Order::Close(Vec::new(), Changes::default(), reply);
        let journal = fold.order(close)?;
        fold.fold_away(&journal)
    }

    /// The living buckets of a site.
    fn living(&self, site: SiteNo) -> Vec<Bucket> {
        let shared = &self.engine.shared;
        let mut living: Vec<Bucket> = Vec::new();
        for key in shared.ring.list() {
            let bucket = (key.kind == KeyKind::Bucket)
                .then(|| {
                    let site = shared.directory.site(key.site.as_ref()?)?.no;
                    Some(Bucket { class: key.class?, site, epoch: Epoch::from_code(key.epoch) })
                })
                .flatten();
            living.extend(bucket.filter(|bucket| bucket.site == site));
        }
        living.sort_unstable();
        living.dedup();
        living
    }

    fn seal_anew(&self, row: Erasure, waits: &Waits) -> Result<Erasure, EngineError> {
        let copies = self.copies(&row)?;
        // What was begun before a hold came is brought to its end.
        let begun = |bucket: &Bucket| row.parts.iter().any(|part| part.bucket == *bucket);
        let is_left = |bucket: &Bucket| row.left.as_ref().is_none_or(|left| left.contains(bucket));
        let living = self.living(row.site).into_iter();
        let (held, buckets): (Vec<_>, Vec<_>) = living
            .filter(|bucket| begun(bucket) || is_left(bucket))
            .partition(|bucket| !begun(bucket) && waits(*bucket));
        let (waits, steps) = (Arc::clone(waits), Arc::clone(&self.steps));
        let order = Sealing { row, buckets, held, copies, waits, steps };
        let fold = destruction::Run { engine: self.engine, mark: self.mark, steps: &() };
        fold.ask(|reply| {
            Message::Destruction(Box::new(writer::Order::Erase(Box::new(order), reply)))
        })
    }

    /// Destroys the keys from before, and tries what they sealed.
    fn destroy_keys(&self, row: &mut Erasure) -> Result<KeysEnd, EngineError> {
        let ids: Vec<KeyId> = row.parts.iter().flat_map(|part| part.old.iter().copied()).collect();
        if ids.is_empty() {
            return Ok(KeysEnd::Gone);
        }
        let ring = &self.engine.shared.ring;
        let before: Vec<Arc<SealKey>> = ids.iter().filter_map(|id| ring.by_id(*id)).collect();
        self.steps.begins(EraseStep::Keys);
        let follow = Follow(&*self.steps);
        let ended = match ring.destroy(&ids, self.mark, &follow) {
            Ok(Destruction::NothingToDestroy) if ring.is_destroyed(&ids, row.vek_epoch) => {
                // Before a cut, or by the start after it.
                Ok(Destruction::NothingToDestroy)
            }
            // Retired only: an older copy of the register would still open.
            Ok(Destruction::NothingToDestroy) => ring.turn_over(self.mark, &follow),
            ended => ended,
        };
        match ended {
            Ok(Destruction::Waiting(paths)) => return Ok(KeysEnd::Waiting(paths)),
            Ok(Destruction::Done(_) | Destruction::NothingToDestroy) => {}
            Err(error @ KeysError::StillOpens(_)) => return Err(error.into()),
            Err(error) => return Err(error.into()),
        }
        self.steps.begins(EraseStep::Trial);
        self.try_all(row, &ids, &before)?;
        row.gone.extend(ids);
        Ok(KeysEnd::Gone)
    }

    /// No row of today is under a key from before, and no row from before opens: not with the key
    /// that it names, not with that of its bucket, not with one that was handed out.
    fn try_all(
        &self,
        row: &Erasure,
        ids: &[KeyId],
        before: &[Arc<SealKey>],
    ) -> Result<(), EngineError> {
        let shared = &self.engine.shared;
        let opens = || EngineError::Refused("an erased record still opens; stop and look".into());
        for Sample { bucket, fragment, number, sealed: wrapped } in &row.samples {
            let place = BlockPlace { bucket: *bucket, fragment: *fragment, number: *number };
            let named = seal::key_id(wrapped).ok().and_then(|id| shared.ring.by_id(id));
            let parts = row.parts.iter().filter(|part| part.bucket == place.bucket);
            let fresh = parts.filter_map(|part| shared.ring.by_id(part.key));
            let mut all = fresh.chain(named).chain(before.iter().cloned());
            if all.any(|key| block_key_opens(&key, place, wrapped)) {
                return Err(opens());
            }
        }
        for part in &row.parts {
            for place in blocks_of(&shared.store, part.bucket)? {
                // A fold may join fragments at this moment, which takes their rows away.
                let Ok(wrapped) = wrapped_key(&shared.store, place) else { continue };
                if seal::key_id(&wrapped).is_ok_and(|id| ids.contains(&id)) {
                    return Err(EngineError::Damaged("a block was left under an old key".into()));
                }
            }
        }
        Ok(())
    }

    /// Copies in hold storage: who is in them is looked at by nobody, so they may have the person.
    /// Those that came after everything was searched are of buckets that were left.
    fn copies(&self, row: &Erasure) -> Result<Vec<Bucket>, EngineError> {
        let copies = hold::copies(&self.engine.shared)?.into_iter();
        let of_site = copies.filter_map(|copy| match copy.lot {
            Lot::Records(bucket) if bucket.site == row.site => Some(bucket),
            _ => None,
        });
        let mut buckets: Vec<Bucket> = of_site.collect();
        buckets.sort_unstable();
        buckets.dedup();
        if let Some(left) = &row.left {
            buckets.retain(|bucket| left.contains(bucket));
        }
        Ok(buckets)
    }

    /// Writes how far it is.
    fn settle(&self, row: &mut Erasure) -> Result<(), EngineError> {
        let shared = &self.engine.shared;
        let is_searched = row.left.as_ref().is_some_and(Vec::is_empty);
        let is_done = is_searched && self.backfills(row).is_empty();
        row.stage = if is_done { Stage::Ended } else { Stage::Hidden };
        row.parts.clear();
        row.samples.clear();
        let written = shared.store.apply(&row_change(&shared.ring, row));
        written.map_err(EngineError::from).inspect_err(|error| shared.fail(error))?;
        let mut erasing = shared.erasing.write().unwrap_or_else(PoisonError::into_inner);
        erasing.insert(row.number, row.clone());
        Ok(())
    }

    /// The backfills from before that something still opens. They are not searched: what they hold
    /// of somebody who is hidden is neither read nor kept when they are counted, and goes with
    /// their key, so an erasure waits for that.
    fn backfills(&self, row: &Erasure) -> Vec<u64> {
        self.engine.shared.backfills.living_at(row.site, row.number)
    }

    fn report(&self, row: &Erasure, waiting_for: Vec<PathBuf>) -> EraseReport {
        let is_done = row.stage == Stage::Ended;
        EraseReport {
            done: is_done,
            blocks: row.blocks,
            records: row.records,
            keys: row.gone.clone(),
            held: row.left.clone().unwrap_or_default(),
            backfills: if is_done { Vec::new() } else { self.backfills(row) },
            waiting_for,
        }
    }
}
