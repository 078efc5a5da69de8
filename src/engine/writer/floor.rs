//! How far back slots of duplicates are kept.

use super::Writer;
use crate::model::limits;
use crate::model::time::{DAY_MS, Day, Timestamp};

/// A slot outlives the accepted age and the tolerance ahead by this, milliseconds: an hour.
const SLACK_MS: i64 = 3_600_000;

impl Writer {
    /// The first day whose slot must still be kept: a slot goes when its end is older than the
    /// accepted age, the tolerance ahead and an hour.
    ///
    /// The clock alone does not raise it: one that is ahead for a moment would have every record
    /// refused from then on. The latest day that has a slot must agree.
    pub(super) fn floor(&mut self) -> Day {
        let Some(latest) = self.state.seen().keys().next_back().copied() else {
            return self.state.floor();
        };
        floor(self.shared.clock.now(), latest, self.settings.age_ms)
    }
}

/// The first day whose slot must be kept, by the clock and by the latest day that has one.
pub fn floor(now: Timestamp, latest: Day, age_ms: i64) -> Day {
    let margin = age_ms + limits::FUTURE_MS_MAX + SLACK_MS;
    let latest_end = latest.start().0 + DAY_MS;
    let before = now.0.min(latest_end).saturating_sub(margin);
    Day(u32::try_from(before.div_euclid(DAY_MS)).unwrap_or(0))
}
