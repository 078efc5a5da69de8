//! When to send: an open-loop schedule. The due time of a batch depends on its number alone, never
//! on how fast earlier answers came, so that a slow server shows in the latency instead of slowing
//! the clients that measure it (Tene's "coordinated omission").

use std::time::Duration;

/// The due times of batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    batch: u32,
    records_per_second: u64,
}

impl Schedule {
    /// So many records a second in batches of this size; zero means at full speed.
    pub(super) fn new(batch: u32, records_per_second: u64) -> Self {
        Self { batch, records_per_second }
    }

    /// How long after the start the batch of this number is due; `None` at full speed.
    pub(super) fn due(&self, number: u64) -> Option<Duration> {
        let rate = u128::from(self.records_per_second);
        let before = u128::from(number) * u128::from(self.batch);
        let nanoseconds = (before * 1_000_000_000).checked_div(rate)?;
        Some(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_follow_the_rate_without_drift() {
        let schedule = Schedule::new(1_000, 300_000);
        assert_eq!(schedule.due(0), Some(Duration::ZERO));
        assert_eq!(schedule.due(1), Some(Duration::from_nanos(3_333_333)));
        assert_eq!(schedule.due(300), Some(Duration::from_secs(1)));
        assert_eq!(schedule.due(3_000_000), Some(Duration::from_secs(10_000)));
    }

    #[test]
    fn full_speed_has_no_schedule() {
        assert_eq!(Schedule::new(1_000, 0).due(5), None);
    }
}
