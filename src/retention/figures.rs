//! The desk's metrics.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use super::aside::LeftAlone;
use crate::ledger::Alarm;
use crate::model::time::Timestamp;
use crate::observe::Registry;
use crate::observe::metrics::{Counter, Label};

#[derive(Debug, Default)]
struct Cells {
    due: AtomicI64,
    held: AtomicI64,
    overdue: AtomicI64,
    unreviewed: AtomicI64,
    left_alone: AtomicI64,
    files_in_use: AtomicI64,
    last_run: AtomicI64,
    last_turn: AtomicI64,
}

#[derive(Debug)]
struct Counters {
    alarms: Counter,
    destroyed: Counter,
    turn_failures: Counter,
}

/// What there is to see of the desk.
#[derive(Debug, Default)]
pub struct Figures {
    cells: Arc<Cells>,
    counters: OnceLock<Counters>,
}

/// Counts of one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Lots that are due and not on hold.
    pub due: i64,
    /// Lots that are due and on hold.
    pub held: i64,
    /// Lots that should be gone.
    pub overdue: i64,
    /// Holds whose review was missed.
    pub unreviewed: i64,
}

impl Figures {
    /// Registers the metrics.
    pub fn register(&self, registry: &Registry) {
        let probe = |name, help, read: fn(&Cells) -> &AtomicI64| {
            let cells = Arc::clone(&self.cells);
            registry.probe(name, help, move || read(&cells).load(Ordering::Relaxed));
        };
        probe("blindtally_retention_lots_due", "Lots due and not on hold.", |c| &c.due);
        probe("blindtally_retention_lots_held", "Lots due and on hold.", |c| &c.held);
        probe("blindtally_retention_lots_overdue", "Lots past their deadline.", |c| &c.overdue);
        probe("blindtally_retention_holds_unreviewed", "Holds past their review date.", |c| {
            &c.unreviewed
        });
        let help = "Due lots and copies that the last run left, because they cannot go now.";
        probe("blindtally_retention_lots_left", help, |c| &c.left_alone);
        let help = "Whether a file that holds removed rows was in use at the last run: 1 or 0.";
        probe("blindtally_retention_files_in_use", help, |c| &c.files_in_use);
        let help = "When the last run ended, seconds since 1970.";
        probe("blindtally_retention_last_run_seconds", help, |c| &c.last_run);
        let help = "When the vault epoch was turned over last, seconds since 1970.";
        probe("blindtally_keys_turned_over_seconds", help, |c| &c.last_turn);
        let alarms = registry.counter(
            "blindtally_retention_alarms",
            "Alarms of the retention desk by reason.",
            vec![Label::new("reason", Alarm::ALL.iter().map(|alarm| alarm.name()))],
        );
        let help = "Lots destroyed.";
        let destroyed = registry.counter("blindtally_retention_lots_destroyed", help, vec![]);
        let help = "Turn-overs of the vault epoch that failed, or wait for a copy off the host.";
        let turn_failures = registry.counter("blindtally_keys_turn_over_failures", help, vec![]);
        // A second registration changes nothing.
        let _ = self.counters.set(Counters { alarms, destroyed, turn_failures });
    }

    /// Counts an alarm.
    pub fn alarm(&self, reason: Alarm) {
        if let (Some(counters), Some(at)) =
            (self.counters.get(), Alarm::ALL.iter().position(|known| *known == reason))
        {
            counters.alarms.up(&[at]);
        }
    }

    /// Counts lots that were destroyed.
    pub fn destroyed(&self, lots: u64) {
        if let Some(counters) = self.counters.get() {
            counters.destroyed.add(&[], lots);
        }
    }

    /// Counts a turn-over that did not end.
    pub fn turn_failed(&self) {
        if let Some(counters) = self.counters.get() {
            counters.turn_failures.up(&[]);
        }
    }

    /// Keeps when the vault epoch was turned over.
    pub fn turned(&self, at: Timestamp) {
        self.cells.last_turn.store(at.0.div_euclid(1_000), Ordering::Relaxed);
    }

    /// Keeps a look, and whether lots were overdue at the one before.
    pub fn look(&self, look: Look) -> bool {
        let set = |cell: &AtomicI64, value| cell.swap(value, Ordering::Relaxed);
        set(&self.cells.due, look.due);
        set(&self.cells.held, look.held);
        set(&self.cells.unreviewed, look.unreviewed);
        set(&self.cells.overdue, look.overdue) > 0
    }

    /// Keeps what the last run left where it is.
    pub(super) fn left_alone(&self, left: LeftAlone) {
        let all = left.held + left.refused + left.copies + left.waiting;
        let all = i64::try_from(all).unwrap_or(i64::MAX);
        self.cells.left_alone.store(all, Ordering::Relaxed);
    }

    /// Keeps whether a file with removed rows was in use.
    pub fn in_use(&self, is: bool) {
        self.cells.files_in_use.store(i64::from(is), Ordering::Relaxed);
    }

    /// Keeps when a run ended.
    pub fn ran(&self, at: Timestamp) {
        self.cells.last_run.store(at.0.div_euclid(1_000), Ordering::Relaxed);
    }

    /// How many lots and copies the last run left.
    #[cfg(test)]
    pub fn left(&self) -> i64 {
        self.cells.left_alone.load(Ordering::Relaxed)
    }

    /// What was kept last.
    #[cfg(test)]
    pub fn last(&self) -> Look {
        let get = |cell: &AtomicI64| cell.load(Ordering::Relaxed);
        let Cells { due, held, overdue, unreviewed, .. } = &*self.cells;
        Look { due: get(due), held: get(held), overdue: get(overdue), unreviewed: get(unreviewed) }
    }
}
