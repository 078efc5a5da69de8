//! A run: what is due and not held is destroyed, and what a cut left half-way is finished first.
//!
//! The row `run` says how far the one destruction under way has got:
//!
//! 1. the plan with the commitments is written, without the number of an intent
//! 2. the ledger has the intent; its number is written into the row
//! 3. the engine destroys; its report is written into the row
//! 4. the ledger has the result
//! 5. the certificate is issued (or the lots are noted as failed), and the row is removed
//!
//! Each step can be found again: an intent by its commitments, a result by its operation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::aside::Tried;
use super::certificate::{self, Issue};
use super::figures::Look;
use super::holds::is_unreviewed;
use super::plan::{Standing, buckets, committed, digest_of, doom_of, keys_of, name_of, rule_name};
use super::policy::Profile;
use super::vault::{DestroyReport, Verification};
use super::{Desk, DeskError, Inner, credential, everywhere, removal, waiting};
use crate::engine::EngineError;
use crate::ledger::{
    Actor, Alarm, Credential, Digest, Entry, Event, Ledger, LedgerError, Phase, Recorded,
    Verification as Said, Word,
};
use crate::model::caller::Caller;
use crate::model::retention::{Doom, Lot};
use crate::model::time::Timestamp;
use crate::wire::retention::rows::{Committed, Planned, Reported, RunRow};
use crate::wire::retention::view::RunView;

/// The row's name.
pub(super) const ROW: &str = "run";
/// Before the names of the rows of destructions that failed.
pub(super) const FAILED: &str = "failed/";
/// Entries that are read from the ledger at once.
const READ_ENTRIES: u64 = 1_000;

/// How a destruction ended.
pub(super) enum End {
    /// Done, with a certificate.
    Certified,
    /// A copy of the register off the host is waited for.
    Waiting,
    /// Not shown to be destroyed.
    Failed,
    /// Given up before it began, because something of it is held by now.
    Withdrawn,
    /// Given up before a key went, because the engine refused or what is on hold cannot be copied;
    /// an alarm was given.
    NotKept,
    /// The same, because the disk has no room for copies.
    NoRoom,
    /// Given up before a key went, because a copy of the register of holds is out of reach.
    OutOfReach,
    /// Put aside, because that copy was lost after keys had left the register.
    PutAside,
}

impl Desk {
    /// Destroys what is due now, as a custodian asks.
    ///
    /// # Errors
    /// [`DeskError::NeedsAllSites`] for a credential of some sites: a run is of all of them.
    /// [`DeskError::ClockAhead`] while a jump of the clock waits for its confirmation: what was due
    /// by the time that has passed without the jump was destroyed, the rest was not.
    pub async fn run(&self, caller: &Caller) -> Result<Vec<u8>, DeskError> {
        everywhere(caller)?;
        let actor = Actor::Credential(credential(caller)?);
        Ok(self.run_by(actor).await?.to_json())
    }

    /// The same for the server by itself.
    ///
    /// # Errors
    /// As [`Desk::run`].
    pub async fn run_by(&self, actor: Actor) -> Result<RunView, DeskError> {
        let inner = self.0.clone();
        let run = async move {
            let one = Arc::clone(&inner.running).lock_owned().await;
            let ran = inner.run(actor).await;
            // Whoever waits for the end of a run may close next what the desk stands on.
            drop(inner);
            drop(one);
            ran
        };
        self.whole(run).await
    }
}

impl Inner {
    async fn run(&self, actor: Actor) -> Result<RunView, DeskError> {
        let now = self.clock.now();
        let ran = match self.finish_turn_over(now).await {
            // Nothing can begin before it has ended.
            Ok(false) => Ok(RunView { waiting: true, ..RunView::default() }),
            Ok(true) => self.destroy_due(&actor).await,
            Err(error) => Err(error),
        };
        if let Err(error) = self.turn_over_in_time(now).await {
            tracing::error!(%error, "the turn-over of the vault epoch did not end");
        }
        if let Err(error) = self.keep_told().await {
            tracing::error!(%error, "what the ledger tells of the past was not read on");
        }
        // Whatever became of it, somebody may be waiting to see what is overdue.
        self.look().await?;
        if ran.is_ok() {
            self.figures.ran(self.clock.now());
        }
        ran
    }

    async fn destroy_due(&self, actor: &Actor) -> Result<RunView, DeskError> {
        let (now, is_confirmed) = self.believe(self.clock.now()).await?;
        self.look_after_holds(now).await?;
        self.note_ended_sites(now).await?;
        self.keep_notice(now).await?;
        self.announce_policy(now).await?;
        self.vault.expire(now).await?;
        let mut view = RunView::default();
        let destroyed = self.destroy_free(actor, now, &mut view).await;
        // Whatever waits: what has no key needs none of it.
        let swept = self.sweep(now).await;
        destroyed?;
        swept?;
        // What was due by the believed time is gone; what the clock makes due waits.
        if is_confirmed { Ok(view) } else { Err(DeskError::ClockAhead) }
    }

    /// What must have ended before anything else begins: holds without their entry, a turn-over or
    /// a destruction that was begun. False while one of them waits.
    pub(super) async fn settle(
        &self,
        now: Timestamp,
        view: &mut RunView,
    ) -> Result<bool, DeskError> {
        self.look_after_holds(now).await?;
        let turned = self.finish_turn_over(self.clock.now()).await?;
        Ok(turned && self.finish_begun(now, view).await?)
    }

    /// Goes on with what a cut or a copy out of reach has left; false while it does not end.
    pub(super) async fn finish_begun(
        &self,
        now: Timestamp,
        view: &mut RunView,
    ) -> Result<bool, DeskError> {
        match self.finish_waiting(view).await {
            Err(DeskError::Stopped) => return Err(DeskError::Stopped),
            // Its alarm was given, and it stands in no other's way.
            Err(error) => tracing::error!(%error, "retention: what was put aside did not go on"),
            Ok(()) => {}
        }
        let left = self.state().run.clone();
        if let Some(row) = left
            && let Some(row) = self.found_again(row).await?
            && matches!(self.carry_on(row, true, view).await?, End::Waiting | End::Failed)
        {
            return Ok(false);
        }
        self.close_strangers(now).await?;
        let left = self.vault.unfinished_destruction();
        if !left.is_empty() {
            tracing::error!(lots = left.len(), "retention: a destruction without a plan goes on");
            let mark = self.ask(Ledger::mark).await?;
            let lots: Vec<Lot> = left.iter().map(|doom| doom.lot).collect();
            self.vault.destroy(left, mark).await?;
            self.forget_access(lots.into_iter()).await;
        }
        Ok(true)
    }

    /// Plans a destruction and tells the ledger; `None` when nothing is due.
    pub(super) async fn begin(
        &self,
        actor: &Actor,
        now: Timestamp,
        tried: &Tried,
    ) -> Result<Option<RunRow>, DeskError> {
        // From here to the intent no hold comes in between.
        let _deciding = self.deciding.lock().await;
        let lots = self.plan(now, tried)?;
        if lots.is_empty() {
            return Ok(None);
        }
        self.intend(actor, now, lots, None).await.map(Some)
    }

    /// Writes a plan down and tells the ledger. `removal` is the reason of one before its time, and
    /// who asked for it first.
    pub(super) async fn intend(
        &self,
        actor: &Actor,
        now: Timestamp,
        lots: Vec<Planned>,
        removal: Option<(&str, &str)>,
    ) -> Result<RunRow, DeskError> {
        let policy = self.policy_at(now);
        let row = RunRow {
            operation: None,
            by: actor.to_string(),
            begun_at: now,
            profile: policy.profile.name().to_owned(),
            policy: Digest(policy.digest),
            vek_before: self.epoch_of_plan(&lots)?,
            open_holds: Some(self.open_holds(&lots)),
            lots,
            alarmed: false,
            report: None,
            removal: removal.map(|(reason, _)| reason.to_owned()),
            requested_by: removal.map(|(_, by)| by.to_owned()),
        };
        self.keep_run(&row).await?;
        let keys = all_keys(&row);
        let event = Event::DestructionIntent {
            profile: Word::of(policy.profile.name()),
            buckets: buckets(&row.lots, |lot| rule_of(&row, policy.profile, lot)),
            keys: keys_of(&keys),
            commitments: digest_of(&keys),
        };
        let receipt = self.append(Entry::new(now, actor.clone(), event)).await?;
        let row = RunRow { operation: Some(receipt.operation), ..row };
        self.keep_run(&row).await?;
        Ok(row)
    }

    /// The epoch of the vault that the keys of a plan live in.
    pub(super) fn epoch_of_plan(&self, lots: &[Planned]) -> Result<u64, DeskError> {
        let of_holds = lots.iter().any(|planned| planned.hold.is_some());
        Ok(if of_holds { self.vault.held_vek_epoch()? } else { self.vault.vek_epoch()? })
    }

    /// A row that a cut left: with its operation, or removed when the ledger never heard of it.
    async fn found_again(&self, mut row: RunRow) -> Result<Option<RunRow>, DeskError> {
        if row.operation.is_some() {
            return Ok(Some(row));
        }
        let wanted = digest_of(&all_keys(&row));
        let begun_at = row.begun_at;
        let open = self.ask(Ledger::unfinished).await?;
        let own = open.iter().find(|entry| {
            let Event::DestructionIntent { commitments, .. } = &entry.event else { return false };
            *commitments == wanted && entry.time == begun_at
        });
        let Some(entry) = own else {
            self.drop_run(&row).await?;
            return Ok(None);
        };
        row.operation = Some(entry.number);
        self.keep_run(&row).await?;
        Ok(Some(row))
    }

    /// From the intent to the end; `again` when it is not known what was done before.
    pub(super) async fn carry_on(
        &self,
        mut row: RunRow,
        again: bool,
        view: &mut RunView,
    ) -> Result<End, DeskError> {
        let Some(operation) = row.operation else { return Err(DeskError::Failed) };
        if again && self.is_held_meanwhile(&mut row).await? {
            tracing::warn!("retention: a plan that a cut had left is given up, some of it is held");
        } else if self.has_other_keys(&mut row).await? {
            tracing::warn!(
                "retention: a plan is given up, an erasure replaced keys of it meanwhile"
            );
        }
        if row.report.is_none() {
            let lots: Vec<Doom> = row.lots.iter().map(doom_of).collect();
            let mark = self.ask(Ledger::mark).await?;
            let mut report = match self.vault.destroy(lots, mark).await {
                Ok(report) => report,
                Err(error) => return self.not_destroyed(row, error).await,
            };
            self.forget_access(row.lots.iter().map(|planned| planned.lot)).await;
            if again && report.nothing {
                // It may have ended before the cut, and nobody heard what it said.
                let last = self.vault.last_destruction()?;
                report = last.filter(|last| is_of(last, &row)).unwrap_or(report);
            }
            if !report.waiting_for.is_empty() {
                return self.waits(row, view).await;
            }
            if report.verification != Verification::Passed && !report.nothing {
                // The engine has not ended it: it stays `destroying`, and the next run goes on.
                self.alarm_once(&mut row, Alarm::VerificationFailed).await?;
                view.failed += 1;
                return Ok(End::Failed);
            }
            let Some(register) = self.searched_or_told(&mut row, view).await? else {
                return Ok(End::Failed);
            };
            row.report = Some(self.looked_at(&row, &report, again, register)?);
            self.keep_run(&row).await?;
        }
        let Some(reported) = row.report.clone() else { return Err(DeskError::Failed) };
        if reported.passed {
            self.note_moved(&row, &reported, operation).await?;
        }
        let result = self.result(&row, &reported, operation).await?;
        if reported.withdrawn {
            self.drop_run(&row).await?;
            return Ok(End::Withdrawn);
        }
        if !reported.passed {
            return self.not_passed(&row, &reported, operation, view).await;
        }
        let Some(reported) = self.with_search(&mut row, reported, view).await? else {
            return Ok(End::Failed);
        };
        let moved = row.lots.iter().filter(|planned| !planned.heirs.is_empty()).count() as u64;
        let destroyed = row.lots.len() as u64 - moved;
        (view.destroyed, view.moved) = (view.destroyed + destroyed, view.moved + moved);
        self.figures.destroyed(destroyed);
        let issue = Issue { row: &row, reported: &reported, operation, result };
        view.certificates.push(self.certify(issue).await?);
        self.drop_run(&row).await?;
        Ok(End::Certified)
    }

    /// Whether a hold that the plan does not know covers something of a plan that a cut left, and
    /// the engine has not begun with it. Then the row says that it is given up.
    async fn is_held_meanwhile(&self, row: &mut RunRow) -> Result<bool, DeskError> {
        // From here until the row is written no hold comes in between, and none ends.
        let _deciding = self.deciding.lock().await;
        if row.report.is_some() || self.is_begun(row) {
            return Ok(false);
        }
        let plan: BTreeMap<_, &Planned> =
            row.lots.iter().map(|planned| (name_of(planned), planned)).collect();
        let standings = self.standings(self.believed().0)?;
        let own = || standings.iter().filter_map(|one| Some((one, *plan.get(&one.name())?)));
        // With a lot gone the engine is done with all of them, and only its report is lost.
        let all_live = own().count() == row.lots.len();
        let expected = |(standing, planned): (&Standing, &Planned)| {
            standing.holds.iter().all(|hold| planned.heirs.contains(hold))
        };
        if !all_live || own().all(expected) {
            return Ok(false);
        }
        let ended_at = self.clock.now().max(row.begun_at);
        let epoch = self.epoch_of_plan(&row.lots)?;
        row.report = Some(Reported::withdrawn(epoch, ended_at));
        self.keep_run(row).await?;
        Ok(true)
    }

    /// Whether an erasure has given a planned lot a key that the ledger's intent does not name, and
    /// the engine has not begun. Then the row says that the plan is given up. Once the row is there
    /// no erasure begins with its lots ([`Desk::stays`]).
    async fn has_other_keys(&self, row: &mut RunRow) -> Result<bool, DeskError> {
        if row.report.is_some() || self.is_begun(row) {
            return Ok(false);
        }
        let keys: BTreeSet<u64> = all_keys(row).iter().map(|key| key.key).collect();
        let own = row.lots.iter().filter(|planned| planned.hold.is_none());
        let own: BTreeSet<Lot> = own.map(|planned| planned.lot).collect();
        let lots = self.vault.lots();
        let mut living = lots.iter().filter(|info| own.contains(&info.lot)).flat_map(|of| &of.keys);
        if living.all(|key| keys.contains(&key.0)) {
            return Ok(false);
        }
        let ended_at = self.clock.now().max(row.begun_at);
        let epoch = self.epoch_of_plan(&row.lots)?;
        row.report = Some(Reported::withdrawn(epoch, ended_at));
        self.keep_run(row).await?;
        Ok(true)
    }

    /// Holds that are open now, of the sites of a plan; those of its heirs among them, because a
    /// billing group is on hold by the holds of its members.
    fn open_holds(&self, lots: &[Planned]) -> u64 {
        let sites: BTreeSet<_> = lots.iter().map(|planned| &planned.site).collect();
        let heirs: BTreeSet<u64> =
            lots.iter().flat_map(|planned| &planned.heirs).copied().collect();
        let state = self.state();
        let open = state.holds.values().filter(|hold| hold.released.is_none());
        let own = open.filter(|hold| sites.contains(&hold.site) || heirs.contains(&hold.number));
        own.count() as u64
    }

    /// The engine refused, perhaps because of the root provider, and the next run tries again. One
    /// that has stopped or is busy for a minute needs nobody who looks at this.
    async fn not_destroyed(&self, mut row: RunRow, error: EngineError) -> Result<End, DeskError> {
        if self.is_given_up(&row, &error) {
            return self.not_kept(row, error).await;
        }
        if !matches!(error, EngineError::Stopped | EngineError::Busy) {
            self.alarm_once(&mut row, Alarm::DestructionFailed).await?;
        }
        Err(error.into())
    }

    pub(super) async fn alarm_once(
        &self,
        row: &mut RunRow,
        reason: Alarm,
    ) -> Result<(), DeskError> {
        if !std::mem::replace(&mut row.alarmed, true) {
            self.alarm(reason).await?;
            self.keep_run(row).await?;
        }
        Ok(())
    }

    /// The ledger's entry of the result, made unless it is there.
    pub(super) async fn result(
        &self,
        row: &RunRow,
        reported: &Reported,
        operation: u64,
    ) -> Result<u64, DeskError> {
        let found = self.find(operation, move |entry| {
            entry.operation == operation && entry.event.phase() == Phase::Result
        });
        if let Some(entry) = found.await? {
            return Ok(entry.number);
        }
        let event = Event::DestructionResult {
            buckets: row.lots.len() as u64,
            records: reported.records.iter().flatten().flatten().sum(),
            keys: reported.keys.clone(),
            vek_before: reported.old_epoch,
            vek_after: reported.new_epoch,
            verification: Said {
                passed: reported.passed,
                opened_none_of: if reported.passed { reported.keys_tried } else { 0 },
                files_searched: reported.files_searched,
            },
        };
        let entry = Entry::result(reported.ended_at, actor_of(&row.by)?, operation, event);
        Ok(self.append(entry).await?.index)
    }

    /// Intents that this data directory knows nothing of: it was put back from an older time. What
    /// they meant is destroyed again by its due time; here they get their result.
    async fn close_strangers(&self, now: Timestamp) -> Result<(), DeskError> {
        let aside = self.state().waits.as_ref().and_then(|row| row.operation);
        for entry in self.ask(Ledger::unfinished).await? {
            let Event::DestructionIntent { buckets, keys, .. } = &entry.event else { continue };
            if aside == Some(entry.number) {
                continue;
            }
            let event = Event::DestructionResult {
                buckets: buckets.len() as u64,
                records: 0,
                keys: keys.clone(),
                vek_before: 0,
                vek_after: self.vault.vek_epoch()?,
                verification: Said { passed: false, opened_none_of: 0, files_searched: 0 },
            };
            self.append(Entry::result(now, Actor::Server, entry.number, event)).await?;
            self.alarm(Alarm::VerificationFailed).await?;
        }
        Ok(())
    }

    /// The first entry after one that is wanted.
    pub(super) async fn find(
        &self,
        after: u64,
        wanted: impl Fn(&Recorded) -> bool + Send + 'static,
    ) -> Result<Option<Recorded>, DeskError> {
        self.ask(move |ledger| {
            let (mut from, size) = (after + 1, ledger.head()?.size);
            while from < size {
                let lines = ledger.read(from, READ_ENTRIES)?;
                for (line, entry) in lines.iter().zip(from..) {
                    let read = Recorded::decode(line.as_bytes());
                    let read = read.map_err(|_| LedgerError::Changed { entry })?;
                    if wanted(&read) {
                        return Ok(Some(read));
                    }
                }
                from += lines.len().max(1) as u64;
            }
            Ok(None)
        })
        .await
    }

    /// Counts what is due, held and overdue, and alarms when something became overdue.
    pub(super) async fn look(&self) -> Result<(), DeskError> {
        let real = self.clock.now();
        let (believed, _) = self.believed();
        // What is overdue by the clock is shown even when the clock is not believed.
        let now = real.max(believed);
        let standings = self.all_standings(believed)?;
        // A lot that two holds keep is one lot.
        let count = |wanted: &dyn Fn(&Standing) -> bool| {
            let lots = standings.iter().filter(|standing| wanted(standing));
            let lots: BTreeSet<Lot> = lots.map(|standing| standing.info.lot).collect();
            i64::try_from(lots.len()).unwrap_or(i64::MAX)
        };
        let holds = |state: &super::State| {
            state.holds.values().filter(|hold| is_unreviewed(hold, believed)).count()
        };
        let look = Look {
            due: count(&|standing| standing.is_free(now) && standing.holds.is_empty()),
            held: count(&|standing| standing.is_held(now)),
            overdue: count(&|standing| standing.is_overdue(now)),
            unreviewed: i64::try_from(holds(&self.state())).unwrap_or(i64::MAX),
        };
        let was_overdue = self.figures.look(look);
        if look.overdue > 0 && !was_overdue {
            self.alarm(Alarm::DestructionOverdue).await?;
        }
        Ok(())
    }

    pub(super) async fn keep_run(&self, row: &RunRow) -> Result<(), DeskError> {
        let is_aside = self.state().is_aside(row);
        let name = if is_aside { waiting::ROW } else { ROW };
        self.vault.put_row(name.to_owned(), row.to_bytes()?).await?;
        let mut state = self.state();
        let place = if is_aside { &mut state.waits } else { &mut state.run };
        *place = Some(row.clone());
        Ok(())
    }

    pub(super) async fn drop_run(&self, row: &RunRow) -> Result<(), DeskError> {
        if let Some(operation) = row.operation {
            self.vault.delete_row(certificate::draft_row(operation)).await?;
        }
        let is_aside = self.state().is_aside(row);
        let name = if is_aside { waiting::ROW } else { ROW };
        self.vault.delete_row(name.to_owned()).await?;
        let mut state = self.state();
        let place = if is_aside { &mut state.waits } else { &mut state.run };
        *place = None;
        Ok(())
    }
}

/// The keys of all lots, in order.
pub(super) fn all_keys(row: &RunRow) -> Vec<Committed> {
    committed(row.lots.iter().map(|planned| planned.keys.clone()))
}

/// Whether a report is of the destruction of this row: of its lots and its keys.
fn is_of(report: &DestroyReport, row: &RunRow) -> bool {
    let lots: BTreeSet<_> = report.lots.iter().map(|lot| (lot.lot, lot.hold)).collect();
    let keys: BTreeSet<u64> =
        report.lots.iter().flat_map(|lot| &lot.keys).map(|victim| victim.key.id.0).collect();
    lots == row.lots.iter().map(name_of).collect()
        && keys == all_keys(row).iter().map(|key| key.key).collect()
}

/// The rule that a lot of a row is destroyed by.
pub(super) fn rule_of(row: &RunRow, profile: Profile, lot: Lot) -> &'static str {
    let removal = row.removal.as_deref().and_then(removal::rule_of);
    removal.map_or_else(|| rule_name(profile, lot), |(rule, _)| rule)
}

/// The profile that a row was planned under.
pub(super) fn profile_of(row: &RunRow) -> Result<Profile, DeskError> {
    Profile::from_name(row.profile.as_bytes()).ok_or(DeskError::Failed)
}

fn actor_of(by: &str) -> Result<Actor, DeskError> {
    match by {
        "server" => Ok(Actor::Server),
        _ => Credential::parse(by).map(Actor::Credential).ok_or(DeskError::Failed),
    }
}
