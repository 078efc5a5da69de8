//! The turn-over of the vault epoch, at least every 24 hours where a key was retired: only it makes
//! noise of retired keys in older copies of the register. Every destruction is one as well.
//!
//! The row `turn` says which epoch is known, how many keys had ended when it began, and from when
//! on the time to the next one counts. Where a cut leaves any of this unknown, the row keeps what
//! is older, so that the next turn-over comes too early rather than too late.

use super::{DeskError, Inner};
use crate::keys::EpochStanding;
use crate::ledger::{Alarm, Ledger};
use crate::model::time::Timestamp;
use crate::wire::retention::rows::TurnRow;
use crate::wire::retention::view::TurnView;

/// The row's name.
pub(super) const ROW: &str = "turn";

impl Inner {
    /// Goes on with a turn-over that waits for a copy off the host, which is no destruction's;
    /// false while it waits.
    pub(super) async fn finish_turn_over(&self, now: Timestamp) -> Result<bool, DeskError> {
        let waits = self.vault.epoch_standing()?.waiting;
        if !waits || !self.vault.unfinished_destruction().is_empty() {
            return Ok(true);
        }
        self.turn(now).await
    }

    /// Turns the epoch over when a key has ended under it and the next run would be too late.
    pub(super) async fn turn_over_in_time(&self, now: Timestamp) -> Result<(), DeskError> {
        let standing = self.vault.epoch_standing()?;
        if standing.waiting {
            // Tried in this run already, by whoever began it.
            return self.alarm_of_turn(now, standing).await;
        }
        let row = self.known_turn(now, standing).await?;
        let back = now < row.from;
        let soon = now.0.saturating_add(millis(self.settings.every)) >= self.next_by(&row).0;
        let ended = standing.ended > row.ended && (soon || back);
        let turned = if ended { self.turn(now).await } else { Ok(true) };
        self.alarm_of_turn(now, self.vault.epoch_standing()?).await?;
        turned.map(|_| ())
    }

    /// Turns it over; false while a copy off the host is waited for.
    async fn turn(&self, now: Timestamp) -> Result<bool, DeskError> {
        let before = self.vault.epoch_standing()?;
        let mark = self.ask(Ledger::mark).await?;
        let turned = self.vault.turn_over(mark).await;
        if !matches!(&turned, Ok(waiting_for) if waiting_for.is_empty()) {
            self.figures.turn_failed();
        }
        let waiting_for = turned?;
        for path in &waiting_for {
            tracing::warn!(path = %path.display(), "the turn-over of the vault epoch waits");
        }
        if waiting_for.is_empty() {
            let after = self.vault.epoch_standing()?;
            // What ended while it waited may be much older than its end.
            let ended_before = after.ended_before.filter(|_| !before.waiting);
            self.known_turn(now, EpochStanding { ended_before, ..after }).await?;
        }
        Ok(waiting_for.is_empty())
    }

    /// The row, after it was brought up to an epoch that somebody began.
    async fn known_turn(
        &self,
        now: Timestamp,
        standing: EpochStanding,
    ) -> Result<TurnRow, DeskError> {
        let (vek_epoch, last) = (standing.epoch, Some(now));
        let row = match (self.state().turn, standing.ended_before) {
            (Some(row), _) if row.vek_epoch == vek_epoch => return Ok(row),
            (_, Some(ended)) => TurnRow { vek_epoch, ended, last, from: now, alarmed: false },
            (Some(row), None) => TurnRow { vek_epoch, last, alarmed: false, ..row },
            // A vault that is new, or one from before this row: then nobody knows since when.
            (None, None) => {
                let from = if standing.ended == 0 { now } else { Timestamp(0) };
                TurnRow { vek_epoch, ended: 0, last: None, from, alarmed: false }
            }
        };
        self.keep_turn(row).await?;
        Ok(row)
    }

    /// An alarm when keys have ended and the turn-over is late, once for each epoch.
    async fn alarm_of_turn(
        &self,
        now: Timestamp,
        standing: EpochStanding,
    ) -> Result<(), DeskError> {
        let Some(row) = self.state().turn else { return Ok(()) };
        // What nobody has waited for yet is not late.
        let known = row.from > Timestamp(0);
        let late = standing.ended > row.ended && self.next_by(&row) < now;
        if known && late && !row.alarmed {
            self.alarm(Alarm::TurnOverLate).await?;
            self.keep_turn(TurnRow { alarmed: true, ..row }).await?;
        }
        Ok(())
    }

    /// How it stands, for the list.
    pub(super) fn turn_view(&self) -> Result<TurnView, DeskError> {
        let standing = self.vault.epoch_standing()?;
        let row = self.state().turn;
        let open = row.filter(|row| standing.ended > row.ended);
        Ok(TurnView {
            vek_epoch: standing.epoch,
            last: row.and_then(|row| row.last),
            next_by: open.map(|row| self.next_by(&row)),
        })
    }

    fn next_by(&self, row: &TurnRow) -> Timestamp {
        Timestamp(row.from.0.saturating_add(millis(self.settings.turn_over)))
    }

    async fn keep_turn(&self, row: TurnRow) -> Result<(), DeskError> {
        self.vault.put_row(ROW.to_owned(), row.to_bytes()?).await?;
        self.state().turn = Some(row);
        if let Some(last) = row.last {
            self.figures.turned(last);
        }
        Ok(())
    }
}

fn millis(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
