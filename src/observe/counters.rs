//! The counters of the rooms between `http` and the disk, in one place so that their names are
//! read side by side; a room takes its struct as an argument and knows no registry.

use super::metrics::{Counter, Gauge, Histogram, Label, Registry};

/// What became of records, as the ingest desk counts them.
#[derive(Clone, Debug)]
pub struct RecordCounters {
    outcomes: Counter,
    rejects: Counter,
    /// Requests whose body could not be read as a whole.
    pub unreadable: Counter,
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
    pub fn register(
        registry: &Registry,
        reasons: impl IntoIterator<Item = &'static str>,
    ) -> Self {
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
            unreadable: registry.counter(
                "blindtally_requests_unreadable",
                "Requests to post records whose body could not be read as a whole.",
                vec![],
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

/// What the engine does.
#[derive(Clone, Debug)]
pub struct EngineCounters {
    /// Groups of batches that one sync made durable.
    pub group_commits: Counter,
    /// Batches in those groups.
    pub group_batches: Counter,
    /// From the first batch of a group to its durable end.
    pub commit_seconds: Histogram,
    /// Folds that ended well.
    pub folds: Counter,
    /// Folds that failed.
    pub fold_failures: Counter,
    /// Rows that folds wrote into blocks.
    pub folded_rows: Counter,
    /// The length of a fold.
    pub fold_seconds: Histogram,
    /// Batches that wait for the writer.
    pub queue_batches: Gauge,
    /// Bytes of the batches that wait for the writer.
    pub queue_bytes: Gauge,
    /// Bytes of the journal that no fold has taken yet.
    pub journal_bytes: Gauge,
}

impl EngineCounters {
    /// Registers the counters.
    pub fn register(registry: &Registry) -> Self {
        let counter = |name, help| registry.counter(name, help, vec![]);
        Self {
            group_commits: counter("blindtally_group_commits", "Group commits (one sync each)."),
            group_batches: counter("blindtally_group_batches", "Batches in group commits."),
            commit_seconds: registry
                .histogram("blindtally_commit_seconds", "Length of a group commit."),
            folds: counter("blindtally_folds", "Folds that ended well."),
            fold_failures: counter("blindtally_fold_failures", "Folds that failed."),
            folded_rows: counter("blindtally_folded_rows", "Rows that folds wrote into blocks."),
            fold_seconds: registry.histogram("blindtally_fold_seconds", "Length of a fold."),
            queue_batches: registry
                .gauge("blindtally_queue_batches", "Batches that wait for the writer."),
            queue_bytes: registry
                .gauge("blindtally_queue_bytes", "Bytes of batches that wait for the writer."),
            journal_bytes: registry
                .gauge("blindtally_journal_bytes", "Bytes of the journal not folded yet."),
        }
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
        EngineCounters::register(&registry).group_commits.up(&[]);
        let text = registry.render(Exposition::Prometheus);
        for line in [
            "blindtally_records_total{outcome=\"accepted\"} 5\n",
            "blindtally_records_total{outcome=\"rejected\"} 2\n",
            "blindtally_records_rejected_total{reason=\"bad_json\"} 0\n",
            "blindtally_records_rejected_total{reason=\"too_old\"} 2\n",
            "blindtally_group_commits_total 1\n",
            "blindtally_requests_unreadable_total 0\n",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
