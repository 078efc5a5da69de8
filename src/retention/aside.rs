//! What cannot go now, and stands in no other's way: plans that the engine gave up before a key
//! went, and what waits for a copy of the register of holds that is out of reach. Each run tries it
//! again.
//!
//! Whatever lasts is an alarm when it begins, a figure as long as it lasts, and a line in the log
//! when it is over. A start forgets what lasted, so it alarms anew.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Name, Standing, name_of};
use super::run::End;
use super::{DeskError, Inner};
use crate::engine::EngineError;
use crate::ledger::{Actor, Alarm};
use crate::model::time::Timestamp;
use crate::wire::retention::rows::{Planned, Reported, RunRow};
use crate::wire::retention::view::RunView;

/// Due lots and copies that a run left where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftAlone {
    /// On hold, and cannot be copied to hold storage.
    pub(super) held: usize,
    /// Refused by the engine.
    pub(super) refused: usize,
    /// Copies of holds that ended, refused likewise.
    pub(super) copies: usize,
    /// Waiting for a copy of the register of holds.
    pub(super) waiting: usize,
}

/// What lasts, and had its alarm when it began. The same trouble of copies in hold storage is
/// another one: neither hides the beginning of the other, nor ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lasting {
    pub(super) reason: Alarm,
    pub(super) of_copies: bool,
}

/// What was given up in this run before a key went, and in how large a plan it is tried once more:
/// half as many each time, so that what cannot go is found and all else goes. Nothing, once it
/// was tried alone.
#[derive(Default)]
pub(super) struct Tried {
    most: BTreeMap<Name, usize>,
    /// Those among them that wait for a copy of the register of holds: nobody refused them.
    waits: BTreeSet<Name>,
    /// A copy of the register of holds is out of reach: what is on hold, and copies, wait.
    holds_wait: bool,
    /// The disk has no room for copies: what is on hold stays where it is.
    no_room: bool,
}

impl Tried {
    /// Notes that a plan was given up.
    pub(super) fn add(&mut self, lots: &[Planned]) {
        let half = lots.len() / 2;
        self.most.extend(lots.iter().map(|planned| (name_of(planned), half)));
        for planned in lots {
            self.waits.remove(&name_of(planned));
        }
    }

    /// The same for what a copy of the register of holds is waited for with.
    pub(super) fn waits(&mut self, lots: &[Planned]) {
        self.add(lots);
        self.waits.extend(lots.iter().map(name_of));
    }

    /// Notes what waits by itself, as an earlier run has found, so that it is not tried.
    pub(super) fn leave(&mut self, names: BTreeSet<Name>) {
        self.most.extend(names.iter().map(|name| (*name, 0)));
        self.waits.extend(names);
    }

    /// What was found to wait, each alone.
    pub(super) fn waiting(&self) -> BTreeSet<Name> {
        let alone = |name: &&Name| self.most.get(*name) == Some(&0);
        self.waits.iter().filter(alone).copied().collect()
    }

    /// Notes that a copy of the register of holds is out of reach.
    pub(super) const fn leave_holds(&mut self) {
        self.holds_wait = true;
    }

    /// Notes that the disk has no room for copies, so that not each of them is tried.
    pub(super) const fn leave_held(&mut self) {
        self.no_room = true;
    }

    /// Whether what is on hold waits for a copy of the register of holds.
    pub(super) const fn holds_wait(&self) -> bool {
        self.holds_wait
    }

    /// Whether it waits for a copy of the register of holds though no hold covers it.
    pub(super) fn waits_alone(&self, one: &Standing) -> bool {
        self.waits.contains(&one.name())
    }

    /// Whether something is left alone in this run.
    pub(super) fn is_over(&self, one: &Standing) -> bool {
        let of_holds = one.hold.is_some() || !one.holds.is_empty();
        let needs_room = !one.holds.is_empty();
        (of_holds && self.holds_wait)
            || (needs_room && self.no_room)
            || self.most.get(&one.name()) == Some(&0)
    }

    /// How many of those that failed in a plan as large as this one's are tried together; `None`
    /// for what was not tried.
    pub(super) fn most(&self, one: &Standing) -> Option<usize> {
        self.most.get(&one.name()).copied()
    }
}

impl Inner {
    /// Finishes what was begun, then destroys what is due and not on hold, and keeps apart what is.
    /// What cannot go is left alone.
    pub(super) async fn destroy_free(
        &self,
        actor: &Actor,
        now: Timestamp,
        view: &mut RunView,
    ) -> Result<(), DeskError> {
        if !self.finish_begun(now, view).await? {
            return Ok(());
        }
        let mut tried = Tried::default();
        let waited = std::mem::take(&mut self.state().waiting);
        if self.left_waiting() > 0 {
            // It was asked for just now.
            tried.leave_holds();
            tried.leave(waited);
        } else if (!waited.is_empty() || self.needs_holds(now)?) && !self.reaches_holds().await {
            tried.leave_holds();
            // They were looked for once; no intent of them until the copy is back.
            tried.leave(waited);
        }
        while let Some(row) = self.begin(actor, now, &tried).await? {
            let lots = row.lots.clone();
            match self.carry_on(row, false, view).await? {
                End::Certified => {}
                End::NotKept => tried.add(&lots),
                End::NoRoom => tried.leave_held(),
                End::OutOfReach => {
                    tried.leave_holds();
                    tried.waits(&lots);
                }
                End::PutAside => tried.leave_holds(),
                End::Waiting | End::Failed | End::Withdrawn => return Ok(()),
            }
        }
        self.state().waiting = tried.waiting();
        let left = self.left_alone(now, &tried)?;
        let waiting = left.waiting + self.left_waiting();
        self.figures.left_alone(LeftAlone { waiting, ..left });
        view.waiting |= tried.holds_wait();
        self.lasting(Alarm::RegisterCopyUnreachable, tried.holds_wait()).await?;
        // What waits was not tried, so nobody knows whether it could go: nothing is over by that.
        let tells = |count: usize| count > 0 || !tried.holds_wait();
        if tells(left.held) {
            self.lasting(Alarm::HoldNotKept, left.held > 0).await?;
        }
        if tells(left.copies) {
            let what = Lasting { reason: Alarm::DestructionFailed, of_copies: true };
            self.lasts(what, left.copies > 0).await?;
        }
        // What no hold covers is tried whether or not the register of holds can be reached.
        self.lasting(Alarm::DestructionFailed, left.refused > 0).await
    }

    /// Whether every copy of the register of holds can be had. Where nobody can tell, none can.
    async fn reaches_holds(&self) -> bool {
        match self.vault.holds_out_of_reach().await {
            Ok(paths) => {
                for path in &paths {
                    tracing::warn!(
                        path = %path.display(),
                        "a copy of the register of holds cannot be reached; what is on hold, and \
                         copies of holds that ended, wait for it"
                    );
                }
                paths.is_empty()
            }
            Err(error) => {
                tracing::error!(%error, "the register of holds cannot be used");
                false
            }
        }
    }

    /// An alarm when something begins, and a line when it is over.
    pub(super) async fn lasting(&self, reason: Alarm, is: bool) -> Result<(), DeskError> {
        self.lasts(Lasting { reason, of_copies: false }, is).await
    }

    async fn lasts(&self, what: Lasting, is: bool) -> Result<(), DeskError> {
        let was = self.state().lasting.contains(&what);
        if is && !was {
            self.alarm(what.reason).await?;
            self.state().lasting.push(what);
        } else if was && !is {
            let Lasting { reason, of_copies } = what;
            tracing::info!(%reason, of_copies, "retention: what this alarm was about is over");
            self.state().lasting.retain(|known| *known != what);
        }
        Ok(())
    }

    /// Whether the engine has ended a destruction by itself before a key went.
    pub(super) fn is_given_up(&self, row: &RunRow, error: &EngineError) -> bool {
        let can_be = !matches!(error, EngineError::Stopped | EngineError::Busy);
        can_be && !self.is_left_waiting(row) && self.vault.unfinished_destruction().is_empty()
    }

    /// What the engine refused stays where it is; nothing else waits for it.
    pub(super) async fn not_kept(&self, row: RunRow, error: EngineError) -> Result<End, DeskError> {
        tracing::error!(%error, lots = row.lots.len(), "retention: a plan is given up");
        let is_held = row.lots.iter().any(|planned| !planned.heirs.is_empty());
        let reason = if is_held { Alarm::HoldNotKept } else { Alarm::DestructionFailed };
        self.in_the_way(&row, reason).await?;
        self.give_up(row).await?;
        let no_room = is_held && matches!(error, EngineError::DiskFull);
        Ok(if no_room { End::NoRoom } else { End::NotKept })
    }

    /// A copy off the host is out of reach. Where the engine has not begun it is one of the
    /// register of holds, lost after the run had asked for it; else this destruction goes on when
    /// it is back, and only one of copies stands in no other's way until then.
    pub(super) async fn waits(
        &self,
        mut row: RunRow,
        view: &mut RunView,
    ) -> Result<End, DeskError> {
        view.waiting = true;
        if self.is_left_waiting(&row) {
            self.lasting(Alarm::RegisterCopyUnreachable, true).await?;
            self.put_aside(&row).await?;
            return Ok(End::PutAside);
        }
        if !self.vault.unfinished_destruction().is_empty() {
            self.alarm_once(&mut row, Alarm::RegisterCopyUnreachable).await?;
            return Ok(End::Waiting);
        }
        self.in_the_way(&row, Alarm::RegisterCopyUnreachable).await?;
        self.give_up(row).await?;
        Ok(End::OutOfReach)
    }

    /// The alarm of a plan that is given up. The next run knows nothing of a removal, so it could
    /// not say when what was in its way is over.
    async fn in_the_way(&self, row: &RunRow, reason: Alarm) -> Result<(), DeskError> {
        if row.removal.is_some() {
            return self.alarm(reason).await;
        }
        // That the register of holds is away, or keeps nothing, is one trouble, whoever meets it.
        let of_copies = reason == Alarm::DestructionFailed
            && row.lots.iter().any(|planned| planned.hold.is_some());
        self.lasts(Lasting { reason, of_copies }, true).await
    }

    /// The ledger has the result of a plan that came to nothing.
    async fn give_up(&self, mut row: RunRow) -> Result<(), DeskError> {
        let Some(operation) = row.operation else { return Err(DeskError::Failed) };
        let ended_at = self.clock.now().max(row.begun_at);
        let reported = Reported::withdrawn(self.epoch_of_plan(&row.lots)?, ended_at);
        row.report = Some(reported.clone());
        self.keep_run(&row).await?;
        self.result(&row, &reported, operation).await?;
        self.drop_run(&row).await
    }
}
