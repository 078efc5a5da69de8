//! What knows duplicates goes only once the floor is behind it.

use super::run::Run;
use crate::engine::EngineError;
use crate::engine::writer::Message;
use crate::model::retention::{Doom, Lot};
use crate::store::rows::Position;
use crate::store::{Table, keys};

impl Run<'_> {
    /// A slot that still knows duplicates is never destroyed: the floor behind it must be on the
    /// disk, because a start without the slot would take its records again.
    ///
    /// # Errors
    /// Refused where it is not; those of a fold.
    pub(super) fn check_floor(&self, lots: &[Doom]) -> Result<(), EngineError> {
        let days = lots.iter().filter_map(|doom| match doom.lot {
            Lot::Seen(day) => Some(day),
            _ => None,
        });
        let Some(last) = days.max() else { return Ok(()) };
        // A fold that is under way may have the floor in its last change set.
        self.ask(Message::Fold)?;
        let row = self.engine.shared.store.get(Table::Meta, keys::POSITION)?;
        let position = row.map(|row| Position::decode(&row)).transpose()?;
        if position.is_none_or(|position| last.0 >= position.seen_floor) {
            return Err(EngineError::Refused(
                "a slot that still knows duplicates is not destroyed before its time".into(),
            ));
        }
        Ok(())
    }
}
