//! Which time is believed. It goes on with a clock that nobody can set, from the latest time that
//! was believed, and never stands still while the server runs: a clock that is set back prolongs
//! nothing that has not run out yet, and one that jumps ahead keeps nothing from going that is due
//! by the believed time. The latest believed time is kept, so a start goes on from there. A clock
//! that was ahead, and was believed, is not taken back by one that is right: what was believed may
//! have made something due.
//!
//! What is a jump: within a process, a clock that is further ahead than the time that has passed
//! since the process first believed it, by a clock that nobody can set, so that many small steps
//! are one large one; after a start, a clock further ahead than the latest believed time, because
//! nobody knows how long the server was off.

use std::time::Duration;

use super::{Desk, DeskError, Inner, credential, everywhere};
use crate::ledger::{Actor, Alarm, Digest, Entry, Event};
use crate::model::caller::Caller;
use crate::model::reason::Reason;
use crate::model::time::{DAY_MS, Timestamp};
use crate::wire::fault::{Flaw, Pointer};
use crate::wire::retention::rows::ClockRow;
use crate::wire::retention::{ConfirmRequest, view};

/// The row's name.
pub(super) const ROW: &str = "clock";
/// Name and reason of a confirmation that waits for a second person; behind the reason stands how
/// far the clock was ahead, milliseconds.
const REQUEST: &str = "clock";
/// How far back a clock may go without an alarm: ordinary corrections do.
const BACK_MS: i64 = 60_000;
/// What a clock that is put right now and then may lag behind one that nobody can set, for each
/// such part of the time that has passed: 200 millionths, four times what a quartz does.
const DRIFT_PART: i64 = 5_000;
/// How far the clock may be from the time that a confirmation names: what a person needs to look at
/// another clock and to type it.
const CONFIRM_MS: i64 = 10 * 60_000;
/// The engine's clock has jumped if it is further ahead of the time that the engine goes by than
/// this, milliseconds: an hour, and what passes between two looks of it.
const ENGINE_JUMP_MS: i64 = 3_600_000;

/// A time that this process believed, and how long its clock had run then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    at: Timestamp,
    running: Duration,
}

impl Anchor {
    /// A time that was believed when the clock had run for so long.
    pub(super) const fn new(at: Timestamp, running: Duration) -> Self {
        Self { at, running }
    }
}

impl Desk {
    /// A custodian says that a jump of the clock is right, and which time it is. The request's text
    /// is used up. Whether it is confirmed, or waits for a second person, and the answer.
    ///
    /// # Errors
    /// [`DeskError::SamePerson`] for a second request by the first person where two are needed.
    /// [`DeskError::NeedsAllSites`] for a credential of some sites: a time makes lots of all sites
    /// due. [`DeskError::NothingToConfirm`] when there is none; [`DeskError::Unfit`] when the clock
    /// says another time than the custodian.
    pub async fn confirm_clock(
        &self,
        caller: &Caller,
        text: &mut [u8],
    ) -> Result<(bool, Vec<u8>), DeskError> {
        everywhere(caller)?;
        let named = ConfirmRequest::parse(text)?.time;
        let (inner, caller) = (self.0.clone(), caller.clone());
        self.whole(async move { inner.confirm(&caller, named).await }).await
    }
}

impl Inner {
    /// The time of a run, also kept as the latest that was believed, and whether the clock agrees:
    /// while a jump of it waits for its confirmation the time is the one that has passed without
    /// it.
    pub(super) async fn believe(&self, real: Timestamp) -> Result<(Timestamp, bool), DeskError> {
        let known = self.state().clock.clone();
        // A desk that knows of no time goes on from the engine's: its data may be older than it.
        let mut row = known.unwrap_or_else(|| self.first(real));
        let (passed, is_jump) = (self.passed(&row), real.0 > self.limit(&row));
        let now = if is_jump { passed } else { passed.max(real) };
        if is_jump && row.jump.is_none() {
            self.alarm(Alarm::ClockAhead).await?;
        }
        row.jump = is_jump.then(|| row.jump.unwrap_or(real));
        let back = real.0 < passed.0 - self.tolerated();
        if back && !row.back {
            self.alarm(Alarm::ClockBack).await?;
        }
        row.back = back;
        row.high_water = now;
        self.keep_clock(row).await?;
        if self.state().anchor.is_none() {
            self.anchor(now);
        }
        self.seen(now);
        Ok((now, !is_jump))
    }

    /// As [`Inner::believe`], for what must not be done by a clock that nobody has confirmed.
    ///
    /// # Errors
    /// [`DeskError::ClockAhead`] then.
    pub(super) async fn confirmed(&self) -> Result<Timestamp, DeskError> {
        let (now, is_confirmed) = self.believe(self.clock.now()).await?;
        if is_confirmed { Ok(now) } else { Err(DeskError::ClockAhead) }
    }

    /// The time that is believed now, without keeping it, and whether the clock agrees.
    pub(super) fn believed(&self) -> (Timestamp, bool) {
        let real = self.clock.now();
        let known = self.state().clock.clone();
        match known {
            None if real.0 > self.limit(&self.first(real)) => (self.first(real).high_water, false),
            None => (real, true),
            Some(row) if real.0 > self.limit(&row) => (self.passed(&row), false),
            Some(row) => (self.passed(&row).max(real), true),
        }
    }

    /// The latest believed time, and what has passed since then.
    fn passed(&self, row: &ClockRow) -> Timestamp {
        let seen = self.state().seen;
        seen.map_or(row.high_water, |seen| self.since(seen)).max(row.high_water)
    }

    /// How far the clock may lag behind without an alarm, milliseconds.
    fn tolerated(&self) -> i64 {
        let anchor = self.state().anchor;
        let passed = anchor.map_or(0, |anchor| self.since(anchor).0.saturating_sub(anchor.at.0));
        BACK_MS.saturating_add(passed / DRIFT_PART)
    }

    /// A time, and what has passed since this process believed it.
    fn since(&self, anchor: Anchor) -> Timestamp {
        let passed = self.clock.running().saturating_sub(anchor.running).as_millis();
        Timestamp(anchor.at.0.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX)))
    }

    /// The latest time that is no jump.
    fn limit(&self, row: &ClockRow) -> i64 {
        let anchor = self.state().anchor;
        let expected = anchor.map_or(row.high_water, |anchor| self.since(anchor));
        let ahead = expected.0.saturating_add(i64::from(self.settings.jump_days) * DAY_MS);
        // What was believed once is no jump.
        ahead.max(self.passed(row).0)
    }

    /// The row of a desk that has none yet.
    fn first(&self, real: Timestamp) -> ClockRow {
        let high_water = self.vault.believed().min(real);
        ClockRow { high_water, jump: None, back: false, policy: NO_POLICY }
    }

    fn anchor(&self, at: Timestamp) {
        let running = self.clock.running();
        self.state().anchor = Some(Anchor { at, running });
    }

    fn seen(&self, at: Timestamp) {
        let running = self.clock.running();
        self.state().seen = Some(Anchor { at, running });
    }

    pub(super) async fn keep_clock(&self, row: ClockRow) -> Result<(), DeskError> {
        self.vault.put_row(ROW.to_owned(), row.to_bytes()?).await?;
        self.state().clock = Some(row);
        Ok(())
    }

    async fn confirm(
        &self,
        caller: &Caller,
        named: Timestamp,
    ) -> Result<(bool, Vec<u8>), DeskError> {
        let by = credential(caller)?;
        let _one = self.running.lock().await;
        let real = self.clock.now();
        let known = self.state().clock.clone();
        // The engine has its own, shorter idea of a jump: it closes no month for an hour then.
        let engine_waits = real.0.saturating_sub(self.vault.believed().0) > ENGINE_JUMP_MS;
        let mut row = known.unwrap_or_else(|| self.first(real));
        if real.0 <= self.limit(&row) && !engine_waits {
            return Err(DeskError::NothingToConfirm);
        }
        // Whoever says that the clock is right says it of the time that they know, not of whatever
        // the clock says when the request comes in.
        if real.0.abs_diff(named.0) > CONFIRM_MS.unsigned_abs() {
            let pointer = Pointer::of("time");
            return Err(DeskError::Unfit(Flaw { reason: Reason::BadValue, pointer }));
        }
        let from = self.passed(&row);
        let asked = Event::ClockConfirmationRequested { from, to: real };
        // Not by the clock, which is in question.
        let ahead = real.0.saturating_sub(from.0);
        let reason = format!("{REQUEST} {ahead}");
        // Whoever spoke of another jump said nothing of this one.
        let is_same = |of: &str| {
            let other = of.strip_prefix(REQUEST).and_then(|rest| rest.trim().parse::<i64>().ok());
            other.is_some_and(|other| other.abs_diff(ahead) <= CONFIRM_MS.unsigned_abs())
        };
        let request = (REQUEST, reason.as_str());
        let waits = self.waits_for_second(caller, request, is_same, from, asked).await?;
        if let Some(until) = waits {
            return Ok((false, view::waits_to_json("confirmation_requested", until)));
        }
        let event = Event::ClockConfirmed { from, to: real };
        self.append(Entry::new(real, Actor::Credential(by), event)).await?;
        row.high_water = from.max(real);
        row.jump = None;
        self.seen(row.high_water);
        self.keep_clock(row).await?;
        self.anchor(real);
        self.vault.believe(real).await?;
        Ok((true, view::confirmed_to_json(from, real)))
    }
}

/// Before the ledger was told of any.
pub(super) const NO_POLICY: Digest = Digest([0; 32]);
