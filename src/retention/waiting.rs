//! The destruction of copies whose keys have left the register of holds, and whose vault epoch
//! waits for a copy of that register off the host, lost since a run had asked for it. It has begun
//! and cannot be taken back; so its row is put aside, and everything else goes on. Each run tries
//! it first. There is one at most: nothing else of that vault begins while a turn-over of it waits.

use std::collections::BTreeSet;

use super::plan::{Name, doom_of, name_of};
use super::{DeskError, Inner, State, run};
use crate::model::retention::Doom;
use crate::wire::retention::rows::{Planned, RunRow};
use crate::wire::retention::view::RunView;

/// The row's name; its form is that of the row `run`.
pub(super) const ROW: &str = "waiting";

impl State {
    /// What was planned and has not ended, of both rows.
    pub(super) fn planned(&self) -> impl Iterator<Item = &Planned> {
        self.run.iter().chain(&self.waits).flat_map(|row| &row.lots)
    }

    /// Whether a plan is the one that was put aside.
    pub(super) fn is_aside(&self, row: &RunRow) -> bool {
        let operation = self.waits.as_ref().and_then(|own| own.operation);
        operation.is_some() && operation == row.operation
    }
}

impl Inner {
    /// Whether the engine has begun with a plan, and has not ended.
    pub(super) fn is_begun(&self, row: &RunRow) -> bool {
        is_any_of(row, &self.vault.unfinished_destruction()) || self.is_left_waiting(row)
    }

    /// Whether the engine has left a plan waiting, in nobody's way.
    pub(super) fn is_left_waiting(&self, row: &RunRow) -> bool {
        is_any_of(row, &self.vault.waiting_destruction())
    }

    /// Puts the row of a plan aside, so that others can be made.
    pub(super) async fn put_aside(&self, row: &RunRow) -> Result<(), DeskError> {
        if self.state().is_aside(row) {
            return Ok(());
        }
        self.vault.put_row(ROW.to_owned(), row.to_bytes()?).await?;
        self.state().waits = Some(row.clone());
        self.vault.delete_row(run::ROW.to_owned()).await?;
        self.state().run = None;
        Ok(())
    }

    /// Goes on with what was put aside, as far as it goes now.
    pub(super) async fn finish_waiting(&self, view: &mut RunView) -> Result<(), DeskError> {
        let Some(row) = self.state().waits.clone() else {
            let left = self.vault.waiting_destruction();
            // A cut came before its row was put aside: then the other row has it.
            let planned = self.state().run.as_ref().is_some_and(|run| is_any_of(run, &left));
            if !left.is_empty() && !planned {
                tracing::error!(lots = left.len(), "retention: copies without a plan go on");
                let mark = self.ask(crate::ledger::Ledger::mark).await?;
                self.vault.destroy(left, mark).await?;
            }
            return Ok(());
        };
        // A cut may have left it in the other row as well.
        if self.state().run.is_none() && !self.vault.load_rows(run::ROW)?.is_empty() {
            self.vault.delete_row(run::ROW.to_owned()).await?;
        }
        let waits = view.waiting;
        let ended = self.carry_on(row, true, view).await;
        // Whoever asked for something else need not wait with it.
        view.waiting = waits;
        ended.map(|_| ())
    }

    /// How many lots wait that way.
    pub(super) fn left_waiting(&self) -> usize {
        self.state().waits.as_ref().map_or(0, |row| row.lots.len())
    }

    /// The names of what was put aside: nobody plans it again.
    pub(super) fn names_aside(&self) -> BTreeSet<Name> {
        self.state().waits.iter().flat_map(|row| &row.lots).map(name_of).collect()
    }
}

fn is_any_of(row: &RunRow, dooms: &[Doom]) -> bool {
    let name = |doom: &Doom| (doom.lot, doom.hold);
    let names: BTreeSet<Name> = dooms.iter().map(name).collect();
    row.lots.iter().map(doom_of).any(|doom| names.contains(&name(&doom)))
}
