//! How backfills begin and end, step by step. Cut anywhere, [`Inner::pass`] goes on.
//!
//! A close: intent in the ledger, the row says that it closes, the engine counts and the same write
//! says that it is closed, result in the ledger, the key is destroyed, the rows go. One that is
//! abandoned likewise, without the count: intent, the row says so, key, rows, result.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{BackfillError, Inner, actor};
use crate::engine::EngineError;
use crate::engine::backfill::Change;
use crate::keys::LedgerMark;
use crate::ledger::{Actor, Alarm, Entry, Event, Keys, Receipt, Recorded, Word};
use crate::model::backfill::{
    ATTEMPTS_MAX, BACK_MS_MAX, CLOSING_MS_MAX, FIGURES_MS, Job, OPEN_MAX, Outcomes, Stage, Why,
};
use crate::model::caller::Caller;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::wire::backfill::BackfillRequest;
use crate::wire::fault::{Flaw, Pointer};

impl Inner {
    pub(super) async fn create(
        &self,
        caller: &Caller,
        request: BackfillRequest,
    ) -> Result<Arc<Job>, BackfillError> {
        let BackfillRequest { site, producer, from, to, reason } = request;
        let bad = |name| Flaw { reason: Reason::BadTime, pointer: Pointer::of(name) };
        let now = self.clock.now();
        if from.0 < now.0.saturating_sub(BACK_MS_MAX) {
            return Err(BackfillError::Unfit(bad("from")));
        }
        if to > now {
            return Err(BackfillError::Unfit(bad("to")));
        }
        let known = self.engine.site(&site).filter(|_| caller.sites.holds(&site));
        let known = known.filter(|known| known.terminated_at.is_none());
        let known = known.ok_or(BackfillError::NotFound)?;
        if self.engine.backfills().iter().filter(|job| job.is_open()).count() >= OPEN_MAX {
            return Err(BackfillError::TooMany);
        }
        let job = Job {
            number: 0,
            site: known.no,
            producer: producer.map(String::into_boxed_str),
            from,
            to,
            reason: reason.into(),
            made_by: caller.key_id.as_str().into(),
            made_at: now,
            open_until: Timestamp(now.0.saturating_add(self.settings.open_ms)),
            stage: Stage::Loading,
            why: None,
            operation: 0,
            told: false,
            attempts: 0,
            exact_from: None,
            ended_at: None,
            key: None,
            mark: Vec::new(),
            loads: 0,
            bytes: 0,
            rejected: 0,
            staged: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        };
        if !self.engine.reads_alike(&job)? {
            return Err(BackfillError::UserIdsDiffer);
        }
        self.make(actor(caller)?, site, job).await
    }

    pub(super) async fn close(&self, by: Actor, number: u64) -> Result<Arc<Job>, BackfillError> {
        let job = self.engine.backfill(number).ok_or(BackfillError::NotFound)?;
        match job.stage {
            Stage::Loading | Stage::Closing if self.is_over(&job).is_some() => {
                return Err(BackfillError::NotOpen);
            }
            Stage::Loading => {
                if !self.engine.reads_alike(&job)? {
                    return Err(BackfillError::UserIdsDiffer);
                }
                let site = self.engine.site_of_backfill(&job).ok_or(BackfillError::NotFound)?;
                let intent = Event::BackfillCloseIntent { backfill: number, site };
                let operation = self.note(by, intent).await?.operation;
                let change: Change = Box::new(move |job| {
                    job.stage = Stage::Closing;
                    job.operation = operation;
                });
                self.change(number, change).await?;
            }
            Stage::Closing | Stage::Closed => {}
            Stage::Abandoned => return Err(BackfillError::NotOpen),
        }
        self.count(number).await?;
        self.finish(number).await
    }

    /// Has the engine count a backfill. That it was tried is written down before, since what is
    /// tried may end the server; where it is only put off, it was no attempt.
    async fn count(&self, number: u64) -> Result<(), BackfillError> {
        let begun: Change = Box::new(|job| {
            job.attempts = job.attempts.saturating_add(u32::from(job.stage == Stage::Closing));
        });
        if self.change(number, begun).await?.stage != Stage::Closing {
            return Ok(());
        }
        match self.engine.close_backfill(number).await {
            Ok(_) => Ok(()),
            Err(error @ (EngineError::Busy | EngineError::DiskFull)) => {
                let put_off: Change = Box::new(|job| job.attempts = job.attempts.saturating_sub(1));
                self.change(number, put_off).await?;
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn abandon(
        &self,
        by: Actor,
        number: u64,
        why: Why,
    ) -> Result<Arc<Job>, BackfillError> {
        let job = self.engine.backfill(number).ok_or(BackfillError::NotFound)?;
        match job.stage {
            Stage::Loading | Stage::Closing => {
                let site = self.engine.site_of_backfill(&job).ok_or(BackfillError::NotFound)?;
                let word = Word::of(why.name());
                let intent = Event::BackfillAbandonIntent { backfill: number, site, why: word };
                let operation = self.note(by, intent).await?.operation;
                let now = self.clock.now();
                let change: Change = Box::new(move |job| {
                    job.stage = Stage::Abandoned;
                    job.why = Some(why);
                    job.told = false;
                    job.operation = operation;
                    job.ended_at = Some(now);
                });
                self.change(number, change).await?;
                if job.stage == Stage::Closing {
                    self.cut(&job).await?;
                }
            }
            Stage::Abandoned => {}
            Stage::Closed => return Err(BackfillError::NotOpen),
        }
        self.finish(number).await
    }

    /// What is left to do of one that has ended: its key, its rows, the ledger. What has to wait
    /// for a copy of the register off the host waits, and the desk comes back.
    async fn finish(&self, number: u64) -> Result<Arc<Job>, BackfillError> {
        let job = self.engine.backfill(number).ok_or(BackfillError::NotFound)?;
        let closed = job.stage == Stage::Closed;
        if closed && !job.told {
            self.tell(&job, close_result(number, "counted", job.total())).await?;
        }
        if let Some(key) = job.key {
            let head = self.ledger.head()?;
            let mark = LedgerMark { size: head.size, root: head.root };
            if !self.engine.clear_backfill(number, mark).await? {
                return Ok(job);
            }
            if !closed {
                let keys = Keys::of([key]);
                let event = abandon_result(number, "destroyed", job.records(), keys);
                self.tell(&job, event).await?;
            }
            (self.gone)();
        } else if !closed && !job.told {
            // Cut between the two, and the number of the key is gone with its slot.
            let event = abandon_result(number, "destroyed", job.records(), Keys::of([]));
            self.tell(&job, event).await?;
        }
        self.engine.backfill(number).ok_or(BackfillError::NotFound)
    }

    /// Tells the ledger what came of an end, unless it knows.
    async fn tell(&self, job: &Job, event: Event) -> Result<(), BackfillError> {
        self.result(job.operation, event).await?;
        self.change(job.number, Box::new(|job| job.told = true)).await.map(drop)
    }

    async fn result(&self, operation: u64, event: Event) -> Result<(), BackfillError> {
        if self.open()?.iter().any(|intent| intent.number == operation) {
            let entry = Entry::result(self.clock.now(), Actor::Server, operation, event);
            self.append(entry).await?;
        }
        Ok(())
    }

    /// A close that was begun will not be.
    async fn cut(&self, job: &Job) -> Result<(), BackfillError> {
        let event = close_result(job.number, "cut", Outcomes::default());
        self.result(job.operation, event).await
    }

    /// Intents that were cut before anything was changed.
    pub(super) async fn tidy(&self) -> Result<(), BackfillError> {
        self.unmade().await?;
        for intent in self.open()? {
            let (number, closes) = match &intent.event {
                Event::BackfillCloseIntent { backfill, .. } => (*backfill, true),
                Event::BackfillAbandonIntent { backfill, .. } => (*backfill, false),
                _ => continue,
            };
            let job = self.engine.backfill(number);
            if job.as_ref().is_some_and(|job| job.operation == intent.number) {
                continue;
            }
            let event = match closes {
                true => close_result(number, "cut", Outcomes::default()),
                false => abandon_result(number, "cut", 0, Keys::of([])),
            };
            self.result(intent.number, event).await?;
        }
        Ok(())
    }

    /// Why a backfill may not be open any more.
    fn is_over(&self, job: &Job) -> Option<Why> {
        let site = self.engine.site_of_backfill(job).and_then(|id| self.engine.site(&id));
        if self.engine.is_lost_backfill(job) {
            Some(Why::Restored)
        } else if site.is_none_or(|site| site.terminated_at.is_some()) {
            Some(Why::SiteTerminated)
        } else if self.clock.now() >= end_of(job) {
            Some(Why::Expired)
        } else if self.engine.is_overtaken(job) {
            Some(Why::Due)
        } else {
            None
        }
    }

    /// Ends what is over; `resume` = also goes on with closes that were begun.
    pub(super) async fn pass(&self, resume: bool) -> Result<(), BackfillError> {
        let mut failed = Ok(());
        for job in self.engine.backfills() {
            let ended = self.end(&job, resume).await;
            failed = ended.and(failed);
        }
        failed
    }

    async fn end(&self, job: &Job, resume: bool) -> Result<(), BackfillError> {
        let number = job.number;
        match job.stage {
            _ if job.is_open() && self.is_over(job).is_some() => {
                let why = self.is_over(job).unwrap_or(Why::Expired);
                self.abandon(Actor::Server, number, why).await?;
                if (job.stage, why) == (Stage::Closing, Why::Expired) {
                    self.alarm().await?;
                }
                Ok(())
            }
            Stage::Loading => Ok(()),
            Stage::Closing if !resume => Ok(()),
            Stage::Closing if job.attempts < ATTEMPTS_MAX => {
                self.close(Actor::Server, number).await.map(drop)
            }
            Stage::Closing => {
                tracing::error!(backfill = number, "its close fails: close it again or abandon it");
                if !job.told {
                    self.alarm().await?;
                    self.change(number, Box::new(|job| job.told = true)).await?;
                }
                Ok(())
            }
            Stage::Closed | Stage::Abandoned => {
                if job.key.is_some() || !job.told {
                    self.finish(number).await?;
                }
                let now = self.clock.now();
                let is_old = job.ended_at.is_some_and(|at| now.0 - at.0 >= FIGURES_MS);
                if is_old && job.key.is_none() && job.told {
                    self.engine.forget_backfill(number).await?;
                }
                Ok(())
            }
        }
    }

    async fn change(&self, number: u64, change: Change) -> Result<Arc<Job>, BackfillError> {
        let changed = self.engine.change_backfill(number, change).await?;
        changed.ok_or(BackfillError::NotFound)
    }

    /// The intents about backfills without a result.
    fn open(&self) -> Result<Vec<Recorded>, BackfillError> {
        let own = |of: &Recorded| {
            let event = &of.event;
            matches!(event, Event::BackfillCloseIntent { .. } | Event::BackfillAbandonIntent { .. })
        };
        Ok(self.ledger.unfinished()?.into_iter().filter(own).collect())
    }

    pub(super) async fn note(&self, by: Actor, event: Event) -> Result<Receipt, BackfillError> {
        self.append(Entry::new(self.clock.now(), by, event)).await
    }

    /// A close needs somebody, or was given up.
    async fn alarm(&self) -> Result<(), BackfillError> {
        let event = Event::Alarm { reason: Alarm::BackfillStuck };
        self.note(Actor::Server, event).await.map(drop)
    }

    pub(super) async fn append(&self, entry: Entry) -> Result<Receipt, BackfillError> {
        let ledger = Arc::clone(&self.ledger);
        let appended = tokio::task::spawn_blocking(move || ledger.append(entry)).await;
        Ok(appended.map_err(|_| BackfillError::Failed)??)
    }
}

/// When a backfill that is open ends by itself. One whose close was begun has some time more.
fn end_of(job: &Job) -> Timestamp {
    let more = if job.stage == Stage::Closing { CLOSING_MS_MAX } else { 0 };
    Timestamp(job.open_until.0.saturating_add(more))
}

fn close_result(backfill: u64, outcome: &'static str, total: Outcomes) -> Event {
    let Outcomes { accepted, duplicates, corrected, not_retained, too_old } = total;
    let outcome = Word::of(outcome);
    Event::BackfillCloseResult {
        backfill,
        outcome,
        accepted,
        duplicates,
        corrected,
        not_retained,
        too_old,
    }
}

fn abandon_result(backfill: u64, outcome: &'static str, records: u64, keys: Keys) -> Event {
    Event::BackfillAbandonResult { backfill, outcome: Word::of(outcome), records, keys }
}
