//! What became of records: for the ingest desk, which takes the struct as an argument and knows no
//! registry.

use super::metrics::{Counter, Label, Registry};

/// What became of records, as the ingest desk counts them.
#[derive(Clone, Debug)]
pub struct RecordCounters {
    outcomes: Counter,
    rejects: Counter,
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOutcome {
    /// Taken and judged for the first time.
    Accepted,
    /// Sent again.
    Duplicate,
    /// Refused; [`RecordCounters::rejected`] says why.
    Rejected,
}

impl RecordCounters {
    /// Registers the counters; `reasons` are the names of the closed list of reason codes, in its
    /// order.
    pub fn register(registry: &Registry, reasons: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            outcomes: registry.counter(
                "blindtally_records",
                "Records by what became of them.",
                vec![Label::new("outcome", ["accepted", "duplicate", "rejected"])],
            ),
            rejects: registry.counter(
                "blindtally_records_rejected",
                "Rejected records by reason code.",
                vec![Label::new("reason", reasons)],
            ),
        }
    }

    /// Counts records of one outcome.
    pub fn add(&self, outcome: RecordOutcome, records: u64) {
        self.outcomes.add(&[outcome as usize], records);
    }

    /// Counts rejected records of one reason, given by its position in the closed list; counts
    /// them as [`RecordOutcome::Rejected`] too.
    pub fn rejected(&self, reason: usize, records: u64) {
        self.rejects.add(&[reason], records);
        self.add(RecordOutcome::Rejected, records);
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::Exposition;
    use super::*;

    #[test]
    fn rejects_are_counted_by_reason_and_as_a_whole() {
        let registry = Registry::default();
        let records = RecordCounters::register(&registry, ["bad_json", "too_old"]);
        records.add(RecordOutcome::Accepted, 5);
        records.rejected(1, 2);
        let text = registry.render(Exposition::Prometheus);
        for line in [
            "blindtally_records_total{outcome=\"accepted\"} 5\n",
            "blindtally_records_total{outcome=\"rejected\"} 2\n",
            "blindtally_records_rejected_total{reason=\"bad_json\"} 0\n",
            "blindtally_records_rejected_total{reason=\"too_old\"} 2\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
