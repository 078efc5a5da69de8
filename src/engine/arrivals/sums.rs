//! What arrived beside what is counted.

use crate::store::arrivals::Total;

/// The duplicates of all months beside those that arrived. What comes for a month that is closed or
/// destroyed is in no figure of it; how many those are is known since the last fold before the
/// start, and from there on both must grow alike.
#[derive(Default)]
pub struct Duplicates {
    /// What all months counted as of that fold.
    pub counted_then: u64,
    /// What had arrived as of that fold.
    pub arrived_then: u64,
    /// What all months count, or counted until their end.
    pub counted: u64,
    /// What came since for months that do not count it.
    pub apart: u64,
}

/// What arrived and what all months count, as of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Records that were accepted.
    pub accepted: u64,
    /// Records that all months count; as many.
    pub counted: u64,
    /// Duplicates that came; of data from before arrivals were counted nobody knows how many.
    pub duplicates: Option<u64>,
    /// Duplicates that months count; no more than came, since what comes for a closed or destroyed
    /// month is in none of its figures.
    pub counted_duplicates: u64,
}

impl Sums {
    pub(super) fn of(total: &Total, (counted, counted_duplicates): (u64, u64)) -> Self {
        let duplicates = (total.before == 0).then_some(total.received.duplicates);
        let accepted = total.before + total.received.accepted;
        Self { accepted, counted, duplicates, counted_duplicates }
    }

    /// Whether no more duplicates are counted than came.
    pub fn is_possible(&self) -> bool {
        self.duplicates.is_none_or(|came| self.counted_duplicates <= came)
    }

    /// Whether all that must agree agrees.
    pub fn agree(&self) -> bool {
        self.accepted == self.counted && self.is_possible()
    }
}
