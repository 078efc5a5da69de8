//! The desk for what must go and what must stay: which lot is due when and by which rule, what is
//! on hold, the destruction of what is due, and the certificate of it.
//!
//! One destruction, in this order: the plan is written down ([`run`]), the ledger is told with a
//! commitment to each key, the engine destroys, the desk looks for itself, the ledger is told what
//! came of it, and a certificate is issued ([`certificate`]). Cut anywhere, the next run goes on.
//!
//! Invariants: what is due and not held is destroyed within the hour, and a failure is an alarm,
//! never a success (R1); what is held is not destroyed, and a hold ends by two credentials (R2); a
//! clock that is set back prolongs nothing, and one that jumps ahead makes nothing due until
//! somebody says that it is right ([`clock`]). Nothing here sees a record or a pseudonym.

mod access;
mod aside;
pub mod certificate;
mod clock;
mod counts;
mod due;
mod evidence;
#[cfg(test)]
pub mod fake;
mod figures;
mod groups;
mod holds;
mod in_force;
pub mod inventory;
mod late;
mod limits;
mod list;
mod loading;
mod notice;
mod papers;
mod plan;
pub mod policy;
mod processing;
mod removal;
mod replay;
mod reviews;
mod run;
mod second;
mod sweep;
mod termination;
#[cfg(test)]
mod tests;
mod told;
mod turn_over;
pub mod vault;
mod verification;
mod waiting;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::engine::EngineError;
use crate::ledger::{Actor, Credential, Entry, Event, Ledger, LedgerError, Receipt};
use crate::model::caller::{Caller, SiteScope};
use crate::model::reason::Reason;
use crate::model::time::Clock;
use crate::observe::Registry;
use crate::wire::fault::Flaw;
use crate::wire::retention::BadForm;
use crate::wire::retention::processing::ProcessingSaid;
use crate::wire::retention::rows::{ClockRow, HoldRow, NoticeRow, RunRow, TurnRow};
use figures::Figures;
pub use list::Question;
use policy::{Policy, PolicyError, Profile};
pub use replay::replay;
pub use vault::{DestroyReport, LotInfo, LotReport, Vault, Verification};

/// How the desk works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The law that grounds and periods follow.
    pub profile: Profile,
    /// A policy file that changes the profile's periods.
    pub policy: Option<PathBuf>,
    /// The pause between two runs.
    pub every: Duration,
    /// How far the clock may be ahead of the time that has passed, after a start of the last run,
    /// before somebody must confirm it, days.
    pub jump_days: u32,
    /// The longest time from the retirement of a key to the turn-over of the vault epoch.
    pub turn_over: Duration,
    /// Whether the end of a site and the confirmation of a jump of the clock need two people.
    pub two_people: bool,
    /// The text about processors that evidence passes on.
    pub processors: Option<PathBuf>,
    /// The report of the tests whose SHA-256 evidence has.
    pub test_report: Option<PathBuf>,
    /// What the operator says of the processing, for evidence.
    pub processing: ProcessingSaid,
    /// The SHA-256 of all settings in force, for evidence.
    pub configuration: [u8; 32],
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            profile: Profile::KrPipa,
            policy: None,
            every: Duration::from_secs(3_600),
            jump_days: 3,
            turn_over: Duration::from_secs(24 * 3_600),
            two_people: false,
            processors: None,
            test_report: None,
            processing: ProcessingSaid::default(),
            configuration: [0; 32],
        }
    }
}

/// Why the desk does not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Its rows.
    #[error("what the retention desk keeps cannot be read: {0}")]
    Rows(#[from] EngineError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The list of processors.
    #[error(
        "the file of [evidence] processors is no regular file that can be read as text of at most \
         64 KiB; put one there, or leave the setting empty"
    )]
    Processors,
    /// The report of the tests.
    #[error(
        "the file of [evidence] test_report is no regular file that can be read, or has more than \
         256 MiB; put one there, or leave the setting empty"
    )]
    TestReport,
    /// A row of another form.
    #[error("what the retention desk keeps is damaged; put back the data directory")]
    Damaged(#[from] BadForm),
}

/// Why a request about retention was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// The body is no JSON object.
    #[error("the body cannot be read")]
    Unreadable,
    /// A member does not fit.
    #[error("a member does not fit")]
    Unfit(Flaw),
    /// Nothing of that name, or nothing for this caller.
    #[error("there is nothing of that name")]
    NotFound,
    /// A month that the site never had, or of which nothing is left.
    #[error("the site has no such month, or nothing of it is left")]
    UnknownMonth,
    /// A review of a hold that lies further ahead than one may.
    #[error("the review lies too far ahead")]
    ReviewTooFar(Flaw),
    /// The second request to release a hold by the first person.
    #[error("another person must release the hold")]
    SamePerson,
    /// The hold has ended.
    #[error("the hold has ended")]
    Released,
    /// What is asked for is about every site, and the credential is not.
    #[error("a credential of all sites is needed")]
    NeedsAllSites,
    /// An open hold covers what is to be removed.
    #[error("the month is on hold")]
    Held,
    /// The month has not ended.
    #[error("the month has not ended")]
    MonthRuns,
    /// An open backfill has records of the month put aside.
    #[error("an open backfill has records of the month; close or abandon it first")]
    BackfillOpen,
    /// Late records of the month would still be accepted.
    #[error("the month could still get records")]
    MonthOpen,
    /// The engine refused a removal before a key went.
    #[error("the engine refused the removal; the log has its reason")]
    Unremovable,
    /// A removal needs a copy of the register of holds that is out of reach.
    #[error("a copy of the register of holds is out of reach")]
    HoldsAway,
    /// The clock jumped ahead.
    #[error("the clock jumped ahead and nobody has confirmed it")]
    ClockAhead,
    /// There is no jump.
    #[error("there is no jump of the clock to confirm")]
    NothingToConfirm,
    /// The engine's queue is full.
    #[error("the engine is busy")]
    Busy,
    /// The disk is full.
    #[error("the disk is full")]
    DiskFull,
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// Keys, ledger or disk refused; the log says more.
    #[error("it failed")]
    Failed,
}

impl From<EngineError> for DeskError {
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
                tracing::error!(error = %other, "retention: the engine refused");
                Self::Failed
            }
        }
    }
}

impl From<LedgerError> for DeskError {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "retention: the ledger refused");
        Self::Failed
    }
}

impl From<BadForm> for DeskError {
    fn from(_: BadForm) -> Self {
        tracing::error!("retention: a row cannot be written or read");
        Self::Failed
    }
}

impl From<Flaw> for DeskError {
    fn from(flaw: Flaw) -> Self {
        // A text that is no JSON object has no place to point to.
        if flaw.reason == Reason::BadJson { Self::Unreadable } else { Self::Unfit(flaw) }
    }
}

/// What the desk holds in memory of its rows.
#[derive(Default)]
struct State {
    holds: BTreeMap<u64, HoldRow>,
    clock: Option<ClockRow>,
    /// Of this process, once it has believed a time: what a jump is measured from.
    anchor: Option<clock::Anchor>,
    /// The latest time that this process believed: what the believed time goes on from.
    seen: Option<clock::Anchor>,
    run: Option<RunRow>,
    /// A destruction of copies that was put aside while it waits.
    waits: Option<RunRow>,
    /// When policy files were seen first, by the names of their rows.
    notices: BTreeMap<String, NoticeRow>,
    turn: Option<TurnRow>,
    /// Whether rows were removed whose files are not rewritten yet.
    sweeping: bool,
    /// What waited at the last run for a copy of the register of holds, because of keys that a hold
    /// got and that would open it: each was found alone.
    waiting: std::collections::BTreeSet<plan::Name>,
    /// Whether the ledger was asked which reviews of holds it has.
    reviews_known: bool,
    /// What was wrong at the last run, and had its alarm then.
    lasting: Vec<aside::Lasting>,
}

struct Inner {
    vault: Arc<dyn Vault>,
    ledger: Arc<Ledger>,
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// In force until the next one takes effect.
    policy: Policy,
    /// What the policy file says, where that is another one.
    next: Option<Policy>,
    state: Mutex<State>,
    /// Given to who looks through rows, lots and certificates, off the reactor.
    reading: Arc<tokio::sync::Semaphore>,
    /// Held for a whole run.
    running: Arc<tokio::sync::Mutex<()>>,
    /// Held while it is decided what goes and what stays, and while holds change.
    deciding: tokio::sync::Mutex<()>,
    figures: Figures,
    access: Arc<access::AccessLog>,
    /// The digest of the report of the tests, as it was read last.
    report: papers::KnownReport,
    /// Who is told when the ledger cannot be written any more.
    told: OnceLock<Tell>,
    /// What the ledger tells of the past, as far as it was read.
    past: told::Past,
}

/// Hears why the ledger cannot be written any more.
type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

/// Most look-ups at once.
const READERS_MAX: usize = 2;
/// The row of the policy in force.
const POLICY: &str = "policy";

impl Desk {
    /// Opens the desk: the policy is read and checked, and its rows are loaded.
    ///
    /// # Errors
    /// When anything that can be kept has no rule, the policy cannot be used, or a row is damaged.
    pub fn new(
        vault: Arc<dyn Vault>,
        ledger: Arc<Ledger>,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let (mut state, figures) = (loading::load(vault.as_ref())?, Figures::default());
        // From here on time goes on, whatever the clock says.
        let known = state.clock.as_ref();
        state.seen = known.map(|row| clock::Anchor::new(row.high_water, clock.running()));
        if !loading::has_known_rows(vault.as_ref())? {
            return Err(PolicyError::DeskRow.into());
        }
        let report = papers::KnownReport::default();
        papers::check(&settings, &report)?;
        let (policy, next) = in_force::policies(vault.as_ref(), &ledger, &settings, &state)?;
        for policy in next.iter().chain([&policy]) {
            policy.check(vault.age_ms())?;
        }
        if let Some(last) = state.turn.and_then(|row| row.last) {
            figures.turned(last);
        }
        let inner = Arc::new(Inner {
            vault,
            ledger,
            settings,
            clock,
            policy,
            next,
            state: Mutex::new(state),
            reading: Arc::new(tokio::sync::Semaphore::new(READERS_MAX)),
            running: Arc::default(),
            deciding: tokio::sync::Mutex::default(),
            figures,
            access: Arc::default(),
            report,
            told: OnceLock::new(),
            past: told::Past::default(),
        });
        late::judge(&inner);
        Ok(Self(inner))
    }

    /// Who is told, with a sentence, when the ledger cannot be written any more: the process must
    /// end then.
    pub fn on_ledger_failure(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        // Only the first one is.
        let _ = self.0.told.set(Box::new(tell));
    }

    /// Shows the desk's figures in the metrics.
    pub fn register(&self, registry: &Registry) {
        self.0.figures.register(registry);
    }

    /// Runs now and then, as long as it is polled: what the app spawns.
    pub async fn watch(self) {
        loop {
            match self.run_by(Actor::Server).await {
                Ok(_) | Err(DeskError::ClockAhead) => {}
                Err(error) => tracing::error!(%error, "a retention run did not end"),
            }
            tokio::time::sleep(self.0.settings.every).await;
        }
    }

    /// Waits for a run that is under way; with the engine stopped it ends at its next step.
    pub async fn rest(&self) {
        drop(self.0.running.lock().await);
    }

    /// Looks something up off the reactor: the keys may be locked for as long as they are turned
    /// over, and rows are read from the disk. Few at once, so that nobody takes all threads.
    ///
    /// # Errors
    /// Those of the look.
    pub async fn look_up<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Self) -> Result<T, DeskError> + Send + 'static,
    ) -> Result<T, DeskError> {
        let desk = self.clone();
        self.0.in_turn(move || look(&desk)).await
    }

    /// Goes the whole way even when nobody waits for it any more.
    async fn whole<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, DeskError>> + Send + 'static,
    ) -> Result<T, DeskError> {
        // An error means that it ended with a panic, which has been logged.
        tokio::spawn(work).await.unwrap_or(Err(DeskError::Failed))
    }
}

impl Inner {
    /// Looks through rows, one of a few at a time, off the reactor. Also one that nobody waits for
    /// any more keeps its place until it has ended.
    async fn in_turn<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> Result<T, DeskError> + Send + 'static,
    ) -> Result<T, DeskError> {
        let place = Arc::clone(&self.reading).acquire_owned().await;
        let place = place.map_err(|_| DeskError::Stopped)?;
        let looked = tokio::task::spawn_blocking(move || {
            let _one_of_few = place;
            look()
        });
        // An error means that it ended with a panic, which has been logged.
        looked.await.unwrap_or(Err(DeskError::Failed))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the ledger, which waits for the disk.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, DeskError> {
        let ledger = Arc::clone(&self.ledger);
        let asked = tokio::task::spawn_blocking(move || question(&ledger)).await;
        let asked = asked.map_err(|_| DeskError::Failed)?;
        if let (Err(error @ LedgerError::Failed(_)), Some(tell)) = (&asked, self.told.get()) {
            tell(&error.to_string());
        }
        Ok(asked?)
    }

    async fn append(&self, entry: Entry) -> Result<Receipt, DeskError> {
        self.ask(move |ledger| ledger.append(entry)).await
    }

    async fn alarm(&self, reason: crate::ledger::Alarm) -> Result<(), DeskError> {
        tracing::error!(%reason, "retention: somebody should look");
        self.figures.alarm(reason);
        let event = Event::Alarm { reason };
        self.append(Entry::new(self.clock.now(), Actor::Server, event)).await.map(|_| ())
    }
}

/// Whoever acts on every site at once needs a credential of every site.
fn everywhere(caller: &Caller) -> Result<(), DeskError> {
    if caller.sites == SiteScope::All { Ok(()) } else { Err(DeskError::NeedsAllSites) }
}

/// Whether a caller sees what is of a site, or of all sites together, which is nobody's secret.
fn sees(caller: &Caller, scope: &crate::model::ids::SiteId) -> bool {
    scope.is_everywhere() || caller.sites.holds(scope)
}

/// Who asked, as the ledger writes it.
fn credential(caller: &Caller) -> Result<Credential, DeskError> {
    Credential::parse(&caller.key_id).ok_or(DeskError::Failed)
}
