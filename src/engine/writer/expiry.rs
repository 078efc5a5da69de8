//! What time alone ends: slots that know duplicates, and kept answers. A cut ends them too, but a
//! cut needs new records, and a slot before it needs a newer one. Here a slot ends by the floor,
//! which is persisted; its key and its rows go by a destruction, as a lot ([`Lot::Seen`]).
//!
//! [`Lot::Seen`]: crate::model::retention::Lot::Seen

use super::{FoldOrder, Reply, Writer};
use crate::engine::EngineError;
use crate::model::limits;
use crate::model::time::{DAY_MS, Day, Timestamp};

impl Writer {
    /// Raises the floor, and drops kept answers and hours that are older than their stated life, at
    /// a time that somebody believes. What the slots below the floor hold goes with their keys, by
    /// a destruction.
    ///
    /// The clock must agree: of the two the earlier one holds, so that neither a clock that is
    /// ahead for a moment nor one that was ahead once drops anything early.
    ///
    /// # Errors
    /// When the fold thread has ended.
    pub fn expire(&mut self, believed: Timestamp, reply: Reply<()>) -> Result<(), EngineError> {
        let now = believed.min(self.shared.clock.now());
        self.state.raise_floor(first_slot_at(now, self.settings.age_ms));
        let floor = self.state.floor();
        self.shared.floor.store(floor.0, std::sync::atomic::Ordering::Release);
        let order = FoldOrder::Expire(floor, first_answers_at(now), reply);
        self.folder.send(order).map_err(|_| EngineError::Stopped)
    }

    /// The first days whose slot, and whose answers, must still be kept at a cut.
    ///
    /// The clock alone ends nothing: one that is ahead for a moment would have every record refused
    /// from then on. The latest day that has a slot must agree.
    pub(super) fn first_kept(&mut self) -> (Day, Day) {
        let Some(latest) = self.state.seen().keys().next_back().copied() else {
            return (self.state.floor(), Day(0));
        };
        let now = self.shared.clock.now();
        (floor(now, latest, self.settings.age_ms), first_answers_at(now.min(end_of(latest))))
    }
}

/// The first day whose slot must be kept, by the clock and by the latest day that has one.
pub fn floor(now: Timestamp, latest: Day, age_ms: i64) -> Day {
    first_slot_at(now.min(end_of(latest)), age_ms)
}

fn end_of(day: Day) -> Timestamp {
    Timestamp(day.start().0 + DAY_MS)
}

/// The first day whose slot must still be kept at a time: a slot goes when its end is older than
/// the accepted age, the tolerance ahead and an hour.
pub fn first_slot_at(now: Timestamp, age_ms: i64) -> Day {
    let before = now.0.saturating_sub(age_ms + limits::FUTURE_MS_MAX + limits::SLOT_MARGIN_MS);
    Day(u32::try_from(before.div_euclid(DAY_MS)).unwrap_or(0))
}

/// The first day whose answers must still be kept at a time; a day more than is promised, since the
/// clock may have been set back over midnight.
fn first_answers_at(now: Timestamp) -> Day {
    Day(now.day().0.saturating_sub(limits::IDEMPOTENCY_DAYS + 1))
}
