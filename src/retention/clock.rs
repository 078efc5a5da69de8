//! Which time is believed. The latest believed time is kept: a clock that is set back does not take
//! back what was due, and one that jumps ahead does not make anything due before a person says that
//! it is right.

use super::{Desk, DeskError, Inner, credential};
use crate::ledger::{Actor, Alarm, Digest, Entry, Event};
use crate::model::caller::Caller;
use crate::model::time::{DAY_MS, Timestamp};
use crate::wire::retention::rows::ClockRow;
use crate::wire::retention::view;

/// The row's name.
pub(super) const ROW: &str = "clock";
/// How far back a clock may go without an alarm: ordinary corrections do.
const BACK_MS: i64 = 60_000;

impl Desk {
    /// A custodian says that a jump of the clock is right.
    ///
    /// # Errors
    /// [`DeskError::NothingToConfirm`] when there is none.
    pub async fn confirm_clock(&self, caller: &Caller) -> Result<Vec<u8>, DeskError> {
        let (inner, by) = (self.0.clone(), credential(caller)?);
        self.whole(async move { inner.confirm(Actor::Credential(by)).await }).await
    }
}

impl Inner {
    /// The time of a run; also kept as the latest that was believed.
    pub(super) async fn believe(&self, real: Timestamp) -> Result<Timestamp, DeskError> {
        let known = self.state().clock.clone();
        let Some(mut row) = known else {
            let row = ClockRow { high_water: real, jump: None, back: false, policy: NO_POLICY };
            self.keep_clock(row).await?;
            return Ok(real);
        };
        if real.0 > self.limit(&row) {
            if row.jump.is_none() {
                self.alarm(Alarm::ClockAhead).await?;
                row.jump = Some(real);
                self.keep_clock(row).await?;
            }
            return Err(DeskError::ClockAhead);
        }
        let back = real.0 < row.high_water.0 - BACK_MS;
        if back && !row.back {
            self.alarm(Alarm::ClockBack).await?;
        }
        row.back = back;
        row.jump = None;
        row.high_water = row.high_water.max(real);
        let now = row.high_water;
        self.keep_clock(row).await?;
        Ok(now)
    }

    /// The time that is believed now, without keeping it.
    pub(super) fn believed(&self) -> (Timestamp, bool) {
        let real = self.clock.now();
        match &self.state().clock {
            None => (real, true),
            Some(row) if real.0 > self.limit(row) => (row.high_water, false),
            Some(row) => (row.high_water.max(real), true),
        }
    }

    fn limit(&self, row: &ClockRow) -> i64 {
        row.high_water.0.saturating_add(i64::from(self.settings.jump_days) * DAY_MS)
    }

    pub(super) async fn keep_clock(&self, row: ClockRow) -> Result<(), DeskError> {
        self.vault.put_row(ROW.to_owned(), row.to_bytes()?).await?;
        self.state().clock = Some(row);
        Ok(())
    }

    async fn confirm(&self, actor: Actor) -> Result<Vec<u8>, DeskError> {
        let _one = self.running.lock().await;
        let real = self.clock.now();
        let known = self.state().clock.clone();
        let Some(mut row) = known.filter(|row| real.0 > self.limit(row)) else {
            return Err(DeskError::NothingToConfirm);
        };
        let from = row.high_water;
        let event = Event::ClockConfirmed { from, to: real };
        self.append(Entry::new(real, actor, event)).await?;
        row.high_water = real;
        row.jump = None;
        self.keep_clock(row).await?;
        Ok(view::confirmed_to_json(from, real))
    }
}

/// Before the ledger was told of any.
const NO_POLICY: Digest = Digest([0; 32]);
