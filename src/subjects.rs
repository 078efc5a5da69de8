//! The desk for people: what a site keeps of one of them goes, at the site's word. The id comes in
//! a body, is read by `identity` alone, and what is known of it from then on are pseudonyms.
//!
//! One erasure, in this order: the ledger is told that somebody is erased (never who), the person
//! is hidden, the engine erases, the ledger is told what came of it. What waits, because it is on
//! hold or a copy of the key register is out of reach, is tried again now and then, and at once
//! when a hold or a backfill ends.
//!
//! Invariants: no answer, no entry and no log line holds an id or a pseudonym (P1, L1); a site has
//! a budget of questions a day, so that nobody reads out who is a customer (check 51); asking again
//! is no fault and answers what there was left to do.

mod person;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::crypto::WipedVec;
use crate::engine::erase::{EraseReport, Order, Stage, Waits};
use crate::engine::{Engine, EngineError};
use crate::keys::{KeysError, LedgerMark};
use crate::ledger::{
    Actor, Alarm, Credential, Entry, Event, Keys, Ledger, LedgerError, Receipt, Recorded, Word,
};
use crate::model::batch::{Bucket, Epoch};
use crate::model::caller::Caller;
use crate::model::ids::SiteId;
use crate::model::reason::Reason;
use crate::model::site::Site;
use crate::model::time::{Clock, Day, Month};
use crate::wire::fault::{Flaw, Pointer};
use crate::wire::subjects::{EraseRequest, ErasureView, StandingView, Subject, standing_to_json};
use person::{Known, known};

/// The word of an erasure where it is refused.
const ERASE: Word = Word::of("erase");

/// How the desk works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Questions about people that a site may ask in a UTC day.
    pub requests_per_day: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { requests_per_day: 1_000 }
    }
}

/// Why a request about a person was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// The body is no JSON object.
    #[error("the body cannot be read")]
    Unreadable,
    /// A member does not fit.
    #[error("a member does not fit")]
    Unfit(Flaw),
    /// No such site, or no such lost erasure.
    #[error("there is nothing of that name")]
    NotFound,
    /// The site has asked too many questions today.
    #[error("the site has asked too many questions about people today")]
    OverBudget,
    /// The engine is busy.
    #[error("the engine is busy")]
    Busy,
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// Ledger, keys or disk refused; the log says more.
    #[error("it failed")]
    Failed,
}

impl From<EngineError> for SubjectError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Busy => Self::Busy,
            EngineError::DiskFull => Self::DiskFull,
            EngineError::Stopped => Self::Stopped,
            EngineError::NoSite | EngineError::Ended => Self::NotFound,
            other @ (EngineError::Damaged(_)
            | EngineError::Refused(_)
            | EngineError::Conflict(_)
            | EngineError::InUse) => {
                tracing::error!(error = %other, "people: the engine refused");
                Self::Failed
            }
        }
    }
}

impl From<LedgerError> for SubjectError {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "people: the ledger refused");
        Self::Failed
    }
}

impl From<KeysError> for SubjectError {
    fn from(error: KeysError) -> Self {
        tracing::error!(%error, "people: the keys refused");
        Self::Failed
    }
}

impl From<Flaw> for SubjectError {
    fn from(flaw: Flaw) -> Self {
        if flaw.reason == Reason::BadJson { Self::Unreadable } else { Self::Unfit(flaw) }
    }
}

/// Who says whether the records of a bucket are on hold.
pub type Holds = Arc<dyn Fn(&Site, Bucket) -> bool + Send + Sync>;

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Subjects(Arc<Inner>);

struct Inner {
    engine: Engine,
    ledger: Arc<Ledger>,
    holds: Holds,
    clock: Arc<dyn Clock>,
    settings: Settings,
    /// What each site has asked in a day.
    asked: Mutex<BTreeMap<SiteId, AskedOn>>,
    /// Held while somebody is erased: one after the other.
    erasing: tokio::sync::Mutex<()>,
    /// Erasures of which the ledger heard that a file is in use.
    told_in_use: Mutex<BTreeSet<u64>>,
    /// Something has ended that an erasure waits for, or one could not begin.
    nudged: tokio::sync::Notify,
}

/// What a site has asked in a day.
#[derive(Clone, Copy)]
struct AskedOn {
    day: Day,
    questions: u32,
    /// Whether the ledger says that it was too much. One entry a day: refused questions must not
    /// make the ledger grow.
    told: bool,
}

/// A request once its id is gone.
struct Asked {
    site: Arc<Site>,
    known: Known,
    ground: &'static str,
    repeats: Option<u64>,
}

impl Subjects {
    /// A desk over the engine, the ledger, and whoever knows the holds.
    pub fn new(
        engine: Engine,
        ledger: Arc<Ledger>,
        holds: Holds,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        Self(Arc::new(Inner {
            engine,
            ledger,
            holds,
            clock,
            settings,
            asked: Mutex::default(),
            erasing: tokio::sync::Mutex::default(),
            told_in_use: Mutex::default(),
            nudged: tokio::sync::Notify::new(),
        }))
    }

    /// Erases a person. The request's text is wiped. Whether nothing is left to do, and the answer.
    ///
    /// # Errors
    /// [`SubjectError`]. What was begun then goes on by itself, and the same can be asked again.
    pub async fn erase(
        &self,
        caller: &Caller,
        site: SiteId,
        text: WipedVec,
    ) -> Result<(bool, Vec<u8>), SubjectError> {
        let by = Credential::parse(&caller.key_id).ok_or(SubjectError::Failed)?;
        let by = Actor::Credential(by);
        self.whole(|inner| async move {
            let inner = &inner;
            let site = inner.engine.site(&site).ok_or(SubjectError::NotFound)?;
            inner.spend(by.clone(), &site.id).await?;
            let asked = inner.look(site, text).await?;
            inner.erase(by, asked).await
        })
        .await
    }

    /// The erasures of a site that have not ended.
    ///
    /// # Errors
    /// When there is no such site.
    pub fn standing(&self, site: &SiteId) -> Result<Vec<u8>, SubjectError> {
        self.0.engine.site(site).ok_or(SubjectError::NotFound)?;
        let own = self.0.engine.erasures().into_iter().filter(|of| of.site == *site);
        let view = |of: crate::engine::erase::Standing| StandingView {
            number: of.number,
            state: if of.stage == Stage::Lost { "lost" } else { "pending" },
            months: of.months,
        };
        Ok(standing_to_json(&own.map(view).collect::<Vec<_>>()))
    }

    /// Says that something has ended that erasures wait for.
    pub fn nudge(&self) {
        self.0.nudged.notify_one();
    }

    /// At a start: intents that hid nobody are closed, so that whoever was not answered asks again.
    ///
    /// # Errors
    /// When the ledger refuses.
    pub async fn tidy(&self) -> Result<(), SubjectError> {
        self.whole(|inner| async move { inner.tidy().await }).await
    }

    /// Tries what waits, once.
    ///
    /// # Errors
    /// Of one that could not be tried; [`SubjectError::Busy`] where all of these were busy.
    pub async fn pass(&self) -> Result<(), SubjectError> {
        self.whole(|inner| async move { inner.pass().await }).await
    }

    /// Waits for an erasure that is under way.
    pub async fn rest(&self) {
        drop(self.0.erasing.lock().await);
    }

    /// Goes the whole way even when nobody waits for it any more.
    async fn whole<T, W>(&self, work: impl FnOnce(Arc<Inner>) -> W) -> Result<T, SubjectError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, SubjectError>> + Send + 'static,
    {
        // An error means that it ended with a panic, which has been logged.
        tokio::spawn(work(Arc::clone(&self.0))).await.unwrap_or(Err(SubjectError::Failed))
    }
}

impl Inner {
    /// Takes one question from the site's budget of today.
    async fn spend(&self, by: Actor, site: &SiteId) -> Result<(), SubjectError> {
        let today = self.clock.now().day();
        let limit = self.settings.requests_per_day;
        let none = AskedOn { day: today, questions: 0, told: false };
        let asked = || self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = {
            let mut asked = asked();
            let of = asked.entry(site.clone()).or_insert(none);
            if of.day < today {
                *of = none;
            }
            of.questions = of.questions.saturating_add(1);
            *of
        };
        if now.questions <= limit {
            return Ok(());
        }
        if !now.told {
            let (route, own) = (ERASE, site.clone());
            self.note(by, Event::OverBudget { route, site: own, limit: u64::from(limit) }).await?;
            asked().entry(site.clone()).and_modify(|of| of.told = true);
        }
        Err(SubjectError::OverBudget)
    }

    /// Reads the request and turns the id into pseudonyms; the keys may wait for the disk.
    async fn look(
        self: &Arc<Self>,
        site: Arc<Site>,
        mut text: WipedVec,
    ) -> Result<Asked, SubjectError> {
        let inner = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || {
            let request = EraseRequest::parse(&mut text)?;
            let nobody = Flaw { reason: Reason::BadValue, pointer: Pointer::of("user_id") };
            // No record comes to a site that has ended, and its suppression key ends with it.
            let suppress = request.suppress && site.terminated_at.is_none();
            let subject: Subject<'_> = request.subject;
            let known = known(inner.engine.ring(), &site, subject, suppress)?;
            let known = known.ok_or(nobody)?;
            let (ground, repeats) = (request.ground, request.repeats);
            Ok(Asked { site, known, ground, repeats })
        });
        looked.await.unwrap_or(Err(SubjectError::Failed))
    }

    async fn erase(&self, by: Actor, asked: Asked) -> Result<(bool, Vec<u8>), SubjectError> {
        let _one = self.erasing.lock().await;
        let Asked { site, known, ground, repeats } = asked;
        // A month that began while this waited, for a record that comes late, was not looked at.
        self.knows_months(&site.id, &known.months)?;
        let is_lost = |number: u64| {
            let all = self.engine.erasures();
            all.iter().any(|of| (of.number, of.stage, &of.site) == (number, Stage::Lost, &site.id))
        };
        if repeats.is_some_and(|number| !is_lost(number)) {
            return Err(SubjectError::NotFound);
        }
        let suppressed = !known.suppress.is_empty();
        let intent = Event::ErasureIntent {
            site: site.id.clone(),
            months: known.months.clone(),
            ground: Word::of(ground),
            suppressed,
        };
        let told = self.note(by, intent).await?;
        let Known { person, months, not_attributable, suppress } = known;
        let number = told.operation;
        let order = Order { number, months: months.clone(), person, suppress, repeats };
        self.engine.hide(&site.id, order).await?;
        let knows = self.knows_months(&site.id, &months);
        if let Some(lost) = repeats {
            self.result(&site.id, lost, &EraseReport::default(), "repeated").await?;
        }
        let done = self.go_on(number, &site, told.mark()).await;
        let (state, report) = match done {
            Ok(report) if report.done => ("done", report),
            Ok(report) if !report.waiting_for.is_empty() => ("waiting_for_copies", report),
            Ok(report) if report.held.is_empty() && !report.backfills.is_empty() => {
                ("waiting_for_backfill", report)
            }
            Ok(report) => ("waiting_for_hold", report),
            // The person is hidden, and the desk tries again by itself.
            Err(SubjectError::Failed | SubjectError::Busy) => {
                self.nudged.notify_one();
                ("pending", EraseReport::default())
            }
            Err(error) => return Err(error),
        };
        // What was found goes on by itself; asked again, the month that began is searched, too.
        knows?;
        let view = ErasureView {
            number,
            site: site.id.clone(),
            state,
            months,
            not_attributable,
            records: report.records,
            blocks: report.blocks,
            keys: report.keys.len() as u64,
            held: report.held.iter().map(name_of).collect(),
            suppressed,
        };
        Ok((state == "done", view.to_json()))
    }

    /// Busy where the site has a month that a person was not looked for in.
    fn knows_months(&self, site: &SiteId, known: &[Month]) -> Result<(), SubjectError> {
        let all = self.engine.ring().record_months(site)?;
        let knows = all.iter().all(|month| known.contains(month));
        if knows { Ok(()) } else { Err(SubjectError::Busy) }
    }

    /// Has the engine erase a person who is hidden, and tells the ledger when it is done.
    async fn go_on(
        &self,
        number: u64,
        site: &Arc<Site>,
        mark: LedgerMark,
    ) -> Result<EraseReport, SubjectError> {
        let (holds, of) = (Arc::clone(&self.holds), Arc::clone(site));
        let waits: Waits = Arc::new(move |bucket| holds(&of, bucket));
        let report = self.engine.erase(number, waits, mark, Arc::new(())).await?;
        if report.done {
            let outcome = if report.records > 0 { "erased" } else { "nothing" };
            self.result(&site.id, number, &report, outcome).await?;
            if let Err(error) = self.engine.end_erasure(number).await {
                self.tell_in_use(number, &error).await?;
                return Err(error.into());
            }
        }
        Ok(report)
    }

    /// An alarm where a file that says whose erasure it was is in use, once each; the desk tries
    /// again by itself.
    async fn tell_in_use(&self, number: u64, error: &EngineError) -> Result<(), SubjectError> {
        let is_new = || {
            let mut told = self.told_in_use.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(number)
        };
        if *error == EngineError::InUse && is_new() {
            let event = Event::Alarm { reason: Alarm::FilesInUse };
            self.note(Actor::Server, event).await?;
        }
        Ok(())
    }

    /// Tells the ledger what came of an erasure, unless it knows.
    async fn result(
        &self,
        site: &SiteId,
        number: u64,
        report: &EraseReport,
        outcome: &'static str,
    ) -> Result<(), SubjectError> {
        if !self.open()?.iter().any(|intent| intent.number == number) {
            return Ok(());
        }
        let event = Event::ErasureResult {
            site: site.clone(),
            outcome: Word::of(outcome),
            blocks: report.blocks,
            records: report.records,
            keys: Keys::of(report.keys.iter().copied()),
        };
        let entry = Entry::result(self.clock.now(), Actor::Server, number, event);
        self.append(entry).await.map(drop)
    }

    async fn tidy(&self) -> Result<(), SubjectError> {
        let known = self.engine.erasures();
        for intent in self.open()? {
            let Event::ErasureIntent { site, .. } = &intent.event else { continue };
            if known.iter().any(|of| of.number == intent.number) {
                continue;
            }
            // A cut between the row of the repeat, which takes the lost one's away, and this word.
            let repeated = known.iter().any(|of| of.repeats == Some(intent.number));
            let outcome = if repeated { "repeated" } else { "cut" };
            self.result(site, intent.number, &EraseReport::default(), outcome).await?;
        }
        Ok(())
    }

    async fn pass(&self) -> Result<(), SubjectError> {
        let _one = self.erasing.lock().await;
        let mut failed = Ok(());
        for of in self.engine.erasures() {
            let Some(site) = self.engine.site(&of.site) else { continue };
            if of.stage != Stage::Lost {
                let head = self.ledger.head()?;
                let mark = LedgerMark { size: head.size, root: head.root };
                // What is only busy is told where nothing else is.
                failed = match (failed, self.go_on(of.number, &site, mark).await) {
                    (Ok(()) | Err(SubjectError::Busy), Err(error)) => Err(error),
                    (failed, _) => failed,
                };
            }
        }
        failed
    }

    /// The intents of erasures without a result.
    fn open(&self) -> Result<Vec<Recorded>, SubjectError> {
        let open = self.ledger.unfinished()?.into_iter();
        Ok(open.filter(|of| matches!(of.event, Event::ErasureIntent { .. })).collect())
    }

    async fn note(&self, by: Actor, event: Event) -> Result<Receipt, SubjectError> {
        self.append(Entry::new(self.clock.now(), by, event)).await
    }

    async fn append(&self, entry: Entry) -> Result<Receipt, SubjectError> {
        let ledger = Arc::clone(&self.ledger);
        let appended = tokio::task::spawn_blocking(move || ledger.append(entry)).await;
        Ok(appended.map_err(|_| SubjectError::Failed)??)
    }
}

fn name_of(bucket: &Bucket) -> (&'static str, String) {
    let epoch = match bucket.epoch {
        Epoch::Month(month) => Month::to_string(&month),
        Epoch::Day(day) => day.to_string(),
    };
    (bucket.class.name(), epoch)
}
