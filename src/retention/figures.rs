//! The desk's metrics.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

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
    last_run: AtomicI64,
}

/// What there is to see of the desk.
#[derive(Debug, Default)]
pub struct Figures {
    cells: Arc<Cells>,
    alarms: OnceLock<(Counter, Counter)>,
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
        let help = "When the last run ended, seconds since 1970.";
        probe("blindtally_retention_last_run_seconds", help, |c| &c.last_run);
        let alarms = registry.counter(
            "blindtally_retention_alarms",
            "Alarms of the retention desk by reason.",
            vec![Label::new("reason", Alarm::ALL.iter().map(|alarm| alarm.name()))],
        );
        let help = "Lots destroyed.";
        let destroyed = registry.counter("blindtally_retention_lots_destroyed", help, vec![]);
        // A second registration changes nothing.
        let _ = self.alarms.set((alarms, destroyed));
    }

    /// Counts an alarm.
    pub fn alarm(&self, reason: Alarm) {
        if let (Some((alarms, _)), Some(at)) =
            (self.alarms.get(), Alarm::ALL.iter().position(|known| *known == reason))
        {
            alarms.up(&[at]);
        }
    }

    /// Counts lots that were destroyed.
    pub fn destroyed(&self, lots: u64) {
        if let Some((_, destroyed)) = self.alarms.get() {
            destroyed.add(&[], lots);
        }
    }

    /// Keeps a look, and whether lots were overdue at the one before.
    pub fn look(&self, look: Look) -> bool {
        let set = |cell: &AtomicI64, value| cell.swap(value, Ordering::Relaxed);
        set(&self.cells.due, look.due);
        set(&self.cells.held, look.held);
        set(&self.cells.unreviewed, look.unreviewed);
        set(&self.cells.overdue, look.overdue) > 0
    }

    /// Keeps when a run ended.
    pub fn ran(&self, at: Timestamp) {
        self.cells.last_run.store(at.0.div_euclid(1_000), Ordering::Relaxed);
    }

    /// What was kept last.
    #[cfg(test)]
    pub fn last(&self) -> Look {
        let get = |cell: &AtomicI64| cell.load(Ordering::Relaxed);
        let Cells { due, held, overdue, unreviewed, .. } = &*self.cells;
        Look { due: get(due), held: get(held), overdue: get(overdue), unreviewed: get(unreviewed) }
    }
}
