//! What the writer does with backfills: their rows, and the one group that a whole one becomes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::{Submission, Writer, answers};
use crate::engine::backfill::{Load, Loaded, Order, SEALED_BYTES, seal_load};
use crate::engine::{EngineError, Outcome};
use crate::model::arrival::Hour;
use crate::model::backfill::{Job, Outcomes, Stage};
use crate::model::batch::{Batch, Verdict};
use crate::model::site::SiteConflict;
use crate::model::time::{Day, Month};
use crate::store::{Changes, Table, keys};

/// Everything of a backfill, ready to be judged.
pub struct Whole {
    /// The backfill.
    pub number: u64,
    /// Its batches.
    pub group: Vec<Submission>,
    /// Which of their rows are known to be repeated.
    pub repeats: Vec<Vec<bool>>,
    /// The first day whose duplicates the slots knew.
    pub floor: Day,
    /// The erasures of the site that had not ended.
    pub erasing: Vec<u64>,
}

impl Writer {
    /// Does what is asked for.
    ///
    /// # Errors
    /// When the disk refuses; then the engine must stop.
    pub(super) fn backfill(&mut self, order: Order) -> Result<(), EngineError> {
        match order {
            Order::Make(job, reply) => {
                let made = match self.reads_alike(&job) {
                    Ok(true) => Ok(self.put_backfill(Changes::default(), *job)?),
                    Ok(false) => Err(EngineError::Conflict(SiteConflict::UserForm)),
                    Err(error) => Err(error),
                };
                let _ = reply.send(made);
            }
            Order::Load(load, reply) => {
                let _ = reply.send(self.load(*load)?);
            }
            Order::Change(number, change, reply) => {
                let Some(job) = self.shared.backfills.of(number) else {
                    let _ = reply.send(Ok(None));
                    return Ok(());
                };
                let mut next = Job::clone(&job);
                change(&mut next);
                let mut changes = Changes::default();
                if job.key.is_some() && next.key.is_none() {
                    let (from, to) = keys::backfill_range(number);
                    changes.delete_range(Table::Backfill, from, to);
                }
                let _ = reply.send(Ok(Some(self.put_backfill(changes, next)?)));
            }
            Order::Close(whole, reply) => {
                let _ = reply.send(Ok(self.count_backfill(*whole)?));
            }
            Order::Forget(number, reply) => {
                let mut changes = Changes::default();
                changes.delete(Table::Backfill, keys::backfill(number));
                self.shared.store.apply(&changes)?;
                self.shared.backfills.forget(number);
                let _ = reply.send(Ok(()));
            }
        }
        Ok(())
    }

    fn put_backfill(&self, mut changes: Changes, job: Job) -> Result<Arc<Job>, EngineError> {
        let (name, sealed) = self.shared.backfill_row(&job);
        changes.put(Table::Backfill, name, sealed);
        self.shared.store.apply(&changes)?;
        Ok(self.shared.backfills.show(job))
    }

    /// Puts records aside. The inner result is the caller's.
    fn load(&self, load: Load) -> Result<Result<Loaded, EngineError>, EngineError> {
        let shared = &self.shared;
        if shared.suppressions() != load.suppressions {
            // They were not compared with everybody whose records are not kept.
            return Ok(Err(EngineError::Busy));
        }
        let site = |job: &Job| shared.directory.by_no(job.site);
        let takes = |job: &Arc<Job>| {
            job.stage == Stage::Loading
                && site(job).is_some_and(|site| site.terminated_at.is_none())
        };
        let job = shared.backfills.of(load.number).filter(takes);
        let Some(job) = job else { return Ok(Ok(Loaded::NotOpen)) };
        let mut next = Job::clone(&job);
        for (month, records) in &load.months {
            *next.staged.entry(*month).or_default() += records;
        }
        next.loads = next.loads.saturating_add(1);
        next.bytes += (load.plain.len() + SEALED_BYTES) as u64;
        next.rejected += load.rejected;
        let bounds = self.settings.backfill;
        let is_full = next.records() > bounds.records_max || next.bytes > bounds.bytes_max;
        if is_full || next.loads > bounds.loads_max {
            return Ok(Ok(Loaded::Full));
        }
        let name = keys::backfill_records(job.number, job.loads);
        let Some(sealed) = seal_load(&load.key, &name, &load.plain) else {
            return Ok(Ok(Loaded::NotOpen));
        };
        let now = shared.clock.now();
        let receipt = format!("l-{:x}-{:x}", job.number, job.loads);
        let outcome = Outcome { receipt, judged_at: now, verdicts: Vec::new() };
        let mut changes = Changes::default();
        changes.put(Table::Backfill, name, sealed);
        if let Some(answer) = load.answer {
            answers::keep(shared, &mut changes, answer, &outcome, now)?;
        }
        self.put_backfill(changes, next)?;
        Ok(Ok(Loaded::Done(outcome)))
    }

    /// Judges a whole backfill and writes it as one group, with what became of it; `None` where
    /// something has changed that it was prepared for, and then nothing was done.
    fn count_backfill(&mut self, whole: Whole) -> Result<Option<Arc<Job>>, EngineError> {
        let Whole { number, group, repeats, floor, erasing } = whole;
        let job = self.shared.backfills.of(number).filter(|job| job.stage == Stage::Closing);
        let Some(job) = job else { return Ok(None) };
        // Whoever is suppressed is being erased, so the erasures of the site tell; other sites' do
        // not matter.
        if self.state.floor() != floor || self.shared.erasing_at(job.site) != erasing {
            return Ok(None);
        }
        let site = self.shared.directory.by_no(job.site);
        if site.is_none_or(|site| site.terminated_at.is_some()) || !self.reads_alike(&job)? {
            return Ok(None);
        }
        let now = self.shared.clock.now();
        self.close_late_of(&group)?;
        let mut group = group;
        let verdict = self.judge(&mut group, Some(&repeats), now)?;
        let mut outcomes: BTreeMap<Month, Outcomes> = BTreeMap::new();
        let pieces = group.iter().flat_map(|submission| &submission.pieces);
        for (piece, verdicts) in pieces.zip(&verdict.batches) {
            note(&mut outcomes, &piece.batch, verdicts);
        }
        let ended_at = Some(now);
        let mut next =
            Job { stage: Stage::Closed, outcomes, ended_at, told: false, ..Job::clone(&job) };
        next.exact_from = Some(floor);
        let mut changes = Changes::default();
        let (name, sealed) = self.shared.backfill_row(&next);
        changes.put(Table::Backfill, name, sealed);
        if group.is_empty() {
            self.shared.store.apply(&changes)?;
        } else {
            self.shared.arrivals.hold(Hour::of(now))?;
            self.write(changes, group, verdict, now)?;
        }
        Ok(Some(self.shared.backfills.show(next)))
    }
}

/// Notes what became of the rows of a batch, by month.
fn note(outcomes: &mut BTreeMap<Month, Outcomes>, batch: &Batch, verdicts: &[Verdict]) {
    for (claim, verdict) in batch.claims.iter().zip(verdicts) {
        if let Some(at) = batch.months.get(usize::from(claim.month)) {
            outcomes.entry(at.month).or_default().judge(*verdict);
        }
    }
}

impl crate::engine::Shared {
    /// How often the lists of persons whose records are not kept have changed.
    fn suppressions(&self) -> u64 {
        self.suppressed.read().unwrap_or_else(PoisonError::into_inner).generation
    }
}
