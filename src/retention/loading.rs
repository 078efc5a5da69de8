//! The desk's rows at a start.

use super::vault::Vault;
use super::{StartError, State, clock, holds, inventory, notice, run, sweep, turn_over, waiting};
use crate::wire::retention::rows::{ClockRow, HoldRow, NoticeRow, RunRow, TurnRow};

/// Whether every row of a desk is of a kind that has a rule. One of each kind is read: of some
/// there are many, and they are large.
pub(super) fn has_known_rows(vault: &dyn Vault) -> Result<bool, StartError> {
    let mut from = String::new();
    while let Some((name, _)) = vault.load_row_from("", &from)? {
        if !inventory::is_known(&name) {
            return Ok(false);
        }
        from = inventory::after_kind_of(&name);
    }
    Ok(true)
}

/// What the desk knows of its rows.
///
/// # Errors
/// When a row cannot be read or is damaged.
pub(super) fn load(vault: &dyn Vault) -> Result<State, StartError> {
    let mut state = State::default();
    for (_, row) in vault.load_rows(holds::ROWS)? {
        let hold = HoldRow::parse(&row)?;
        state.holds.insert(hold.number, hold);
    }
    for (name, row) in vault.load_rows(notice::ROWS)? {
        state.notices.insert(name, NoticeRow::parse(&row)?);
    }
    for (_, row) in vault.load_rows(clock::ROW)? {
        state.clock = Some(ClockRow::parse(&row)?);
    }
    for (_, row) in vault.load_rows(run::ROW)? {
        state.run = Some(RunRow::parse(&row)?);
    }
    for (_, row) in vault.load_rows(waiting::ROW)? {
        state.waits = Some(RunRow::parse(&row)?);
    }
    // A cut may have come between the two.
    if state.run.as_ref().is_some_and(|row| state.is_aside(row)) {
        state.run = None;
    }
    state.sweeping = !vault.load_rows(sweep::ROW)?.is_empty();
    for (_, row) in vault.load_rows(turn_over::ROW)? {
        state.turn = Some(TurnRow::parse(&row)?);
    }
    Ok(state)
}
