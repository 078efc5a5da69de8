//! The close of a backfill: everything that was put aside becomes one group of the journal.
//!
//! Here it is read, compared and sealed; the writer judges and writes it. What was looked at here
//! and could change (slots that know duplicates, persons who are erased) is looked at again by the
//! writer, and where it differs nothing was done and it begins again.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::known::known;
use super::merge::Merge;
use super::{Order, Whole, aad, mark_key};
use crate::engine::fold::FoldError;
use crate::engine::writer::{Message, Submission};
use crate::engine::{Engine, EngineError};
use crate::model::backfill::{Job, Stage};
use crate::model::batch::{Batch, SiteMonth};
use crate::model::person::Person;
use crate::model::site::SiteConflict;
use crate::model::time::{Day, Month};
use crate::store::backfill::{self as rows, MARK_BYTES, Staged};
use crate::store::codec::Corrupt;
use crate::store::{Table, keys};

/// How often a close begins again while persons are erased or slots end beside it.
const TRIES: usize = 5;

impl Engine {
    /// Counts everything of a backfill whose close is written down, or answers how it was counted.
    /// Cut anywhere, nothing of it is counted or all of it is.
    ///
    /// # Errors
    /// Busy where too much waits for the fold, or an erasure was lost with data of before and was
    /// not repeated; refused where it is not being closed; damaged where its records do not open;
    /// ended where its site's collection has; a conflict where members of the site's billing group
    /// read user ids differently; stopped.
    pub async fn close_backfill(&self, number: u64) -> Result<Arc<Job>, EngineError> {
        let turn = Arc::clone(&self.shared.backfills.turn).lock_owned().await;
        let mut turn = Some(turn);
        for _ in 0..TRIES {
            // What was acknowledged before lies in blocks then, where it can be compared.
            self.fold().await?;
            let held = turn.take();
            let (closed, held) =
                self.aside(move |engine| Ok((closed(engine, number), held))).await?;
            turn = held;
            if let Some(job) = closed? {
                return Ok(job);
            }
        }
        Err(EngineError::Busy)
    }
}

fn closed(engine: &Engine, number: u64) -> Result<Option<Arc<Job>>, EngineError> {
    if let Some(job) = engine.backfill(number).filter(|job| job.stage == Stage::Closed) {
        return Ok(Some(job));
    }
    let Some(whole) = prepare(engine, number)? else { return Ok(None) };
    engine.wait_for(|reply| Message::Backfill(Order::Close(Box::new(whole), reply)))
}

/// Everything of a backfill that is being closed, as the writer takes it; `None` where records
/// changed meanwhile, so that it must begin again.
///
/// # Errors
/// As [`Engine::close_backfill`].
pub(in crate::engine) fn prepare(
    engine: &Engine,
    number: u64,
) -> Result<Option<Whole>, EngineError> {
    let shared = &engine.shared;
    let unknown = || EngineError::Refused("there is no such backfill to be closed".into());
    let job = shared.backfills.of(number).ok_or_else(unknown)?;
    if job.stage != Stage::Closing {
        return Err(unknown());
    }
    if shared.disk_low.load(Ordering::Acquire) {
        return Err(EngineError::DiskFull);
    }
    let site = shared.directory.by_no(job.site).ok_or(EngineError::NoSite)?;
    if site.terminated_at.is_some() {
        return Err(EngineError::Ended);
    }
    if !engine.reads_alike(&job)? {
        return Err(EngineError::Conflict(SiteConflict::UserForm));
    }
    let at = |month: &Month| SiteMonth { site: site.no, month: *month };
    if job.staged.keys().any(|month| shared.has_lost_erasure(at(month))) {
        tracing::warn!(backfill = number, "its close waits for an erasure that must be repeated");
        return Err(EngineError::Busy);
    }
    // In this order: whoever is hidden after this makes the writer send it back.
    let floor = engine.seen_floor();
    let erasing = shared.erasing_at(site.no);
    let hidden = shared.hidden(site.no);
    let mut loads = staged(engine, &job)?;
    let old = old_events(&loads, floor);
    let found = if old.marks.is_empty() {
        HashSet::new()
    } else {
        let key = job.key.and_then(|key| shared.ring.by_id(key)).ok_or(Corrupt("backfill"))?;
        let mark = mark_key(&job, &key)?;
        match known(engine, &site, &old.months, (floor, &mark), &old.marks)? {
            Some(found) => found,
            None => return Ok(None),
        }
    };
    let mut seen = HashSet::with_capacity(loads.iter().map(|load| load.marks.len()).sum());
    let mut group = Vec::with_capacity(loads.len());
    let mut repeats = Vec::with_capacity(loads.len());
    for load in &mut loads {
        // Each goes as soon as it is sealed again: all of them are held once, not twice.
        let Staged { mut batch, marks } = std::mem::take(load);
        let is_known = |mark: &[u8; MARK_BYTES]| !seen.insert(*mark) || found.contains(mark);
        repeats.push(marks.iter().map(is_known).collect::<Vec<bool>>());
        hide(&mut batch, &hidden)?;
        group.push(submission(engine, batch));
    }
    Ok(Some(Whole { number, group, repeats, floor, erasing }))
}

/// Everything that was put aside, small requests together.
fn staged(engine: &Engine, job: &Job) -> Result<Vec<Staged>, EngineError> {
    let shared = &engine.shared;
    let gone = || EngineError::Damaged("records of a backfill are missing".into());
    let key = job.key.and_then(|key| shared.ring.by_id(key)).ok_or_else(gone)?;
    let mut loads = Merge::default();
    for load in 0..job.loads {
        let name = keys::backfill_records(job.number, load);
        let sealed = shared.store.get(Table::Backfill, &name)?.ok_or_else(gone)?;
        let plain = key.open(&aad(&name), &sealed).map_err(FoldError::from)?;
        loads.push(rows::decode_staged(&plain)?);
    }
    let loads = loads.end();
    let records: usize = loads.iter().map(|load| load.marks.len()).sum();
    if records as u64 == job.records() { Ok(loads) } else { Err(gone()) }
}

/// Events of days whose slots are gone.
struct Old {
    marks: HashSet<[u8; MARK_BYTES]>,
    months: BTreeSet<Month>,
}

fn old_events(loads: &[Staged], floor: Day) -> Old {
    let mut old = Old { marks: HashSet::new(), months: BTreeSet::new() };
    for Staged { batch, marks } in loads {
        for (claim, mark) in batch.claims.iter().zip(marks) {
            if claim.occurred_at.day() < floor {
                old.marks.insert(*mark);
                let at = batch.months.get(usize::from(claim.month));
                old.months.extend(at.map(|at| at.month));
            }
        }
    }
    old
}

/// Marks the rows of persons who are being erased: they are counted and not kept, and nothing of
/// them goes into the journal.
fn hide(batch: &mut Batch, hidden: &[Person]) -> Result<(), EngineError> {
    if !hidden.iter().all(Person::is_empty) {
        let rows = rows::rows_of(&batch.details, hidden)?;
        let claims = batch.claims.iter_mut().zip(rows);
        claims.for_each(|(claim, is_one)| claim.suppressed |= is_one);
    }
    if batch.claims.iter().any(|claim| claim.suppressed) {
        batch.strip(|claim| claim.suppressed);
    }
    Ok(())
}

/// A batch as the writer takes it; nobody waits for each of them.
fn submission(engine: &Engine, mut batch: Batch) -> Submission {
    let arrival = std::mem::take(&mut batch.arrival);
    let (pieces, order) = engine.pieces(batch);
    let (reply, _) = oneshot::channel();
    Submission { pieces, order, arrival, bytes: 0, months: Vec::new(), answer: None, reply }
}
