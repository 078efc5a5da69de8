//! Answers that are kept for an `Idempotency-Key`, in the change set of their batch.

use super::Writer;
use crate::crypto::Aad;
use crate::engine::{Answer, EngineError, Outcome, Shared};
use crate::model::time::Timestamp;
use crate::store::{Changes, Table, keys};

impl Writer {
    pub(super) fn keep_answer(
        &self,
        changes: &mut Changes,
        answer: Answer,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        keep(&self.shared, changes, answer, outcome, now)
    }
}

/// Adds an answer to the changes that it belongs to.
///
/// # Errors
/// When the register refuses.
pub(super) fn keep(
    shared: &Shared,
    changes: &mut Changes,
    answer: Answer,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<(), EngineError> {
    let day = now.day();
    let seen = shared.ring.seen(day)?;
    let row = keys::answer(day.0, &answer.name(&seen.mac));
    let Some(body) = (answer.render)(outcome) else { return Ok(()) };
    let value = [&answer.body_digest[..], &body].concat();
    let sealed = seen.seal.seal(&answer_aad(&row), &value);
    changes.put(Table::Answers, row, sealed);
    Ok(())
}

/// The associated data of a kept answer.
pub fn answer_aad(row: &[u8]) -> Aad {
    Aad::new("answer/1").bytes(row)
}
