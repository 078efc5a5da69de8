//! The figures of a site's month, as they are counted, stored and answered.

use super::time::Timestamp;
use super::vocab::{DrmType, Environment, vocabulary};

vocabulary! {
    /// What the figures rest on.
    pub enum Evidence {
        /// The sets of pseudonyms are there and can be counted again.
        Live = 1, "live";
        /// The sets have been destroyed; the figures remain.
        Destroyed = 2, "destroyed";
        /// The sets are on hold, apart from everything else.
        Held = 3, "held";
    }
}

vocabulary! {
    /// How far a month is.
    pub enum State {
        /// Still counting.
        Open = 1, "open";
        /// Over, and waiting for late records.
        Closing = 2, "closing";
        /// Final.
        Closed = 3, "closed";
    }
}

/// What came for a month after its close. It never changes the month's own figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Corrections {
    /// Accepted records of every type and environment.
    pub records: u64,
    /// Distinct users with a countable licence who are not among the closed month's.
    pub users: u64,
    /// Issued licences in production.
    pub licenses_issued: u64,
    /// Distinct devices that stand for users and are not among the closed month's; never part of
    /// the users.
    pub device_users: u64,
}

/// Everything that is counted of one site and month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The month's own figures; from the close on they never change.
    pub counters: Counters,
    /// What came after the close.
    pub corrections: Corrections,
    /// When the month was closed.
    pub closed_at: Option<Timestamp>,
}

impl Tally {
    /// Whether any record was ever accepted.
    pub const fn has_records(&self) -> bool {
        self.counters.records > 0 || self.corrections.records > 0
    }
}

/// The counters of one site and month under rule set `mau/1`. All of them are exact, and all only
/// grow until the month is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Distinct users with a countable licence in production.
    pub mau: u64,
    /// Distinct users by DRM system, in the order of [`DrmType::ALL`]; not additive.
    pub mau_by_drm: [u64; 8],
    /// Issued licences in production (MAL), unattributed included.
    pub licenses_issued: u64,
    /// Issued licences by DRM system, in the order of [`DrmType::ALL`].
    pub licenses_by_drm: [u64; 8],
    /// Failed licence requests in production.
    pub licenses_failed: u64,
    /// Distinct recommended good device ids of the issued licences.
    pub devices: u64,
    /// Issued licences whose user id is missing or a sentinel.
    pub unattributed_licenses: u64,
    /// Distinct watermark sessions in production.
    pub watermark_sessions: u64,
    /// Distinct users of watermark sessions in production.
    pub watermark_users: u64,
    /// Records that were sent again.
    pub duplicates: u64,
    /// Issued licences in the trial environment.
    pub trial: u64,
    /// Issued licences in the test environment.
    pub test: u64,
    /// Accepted records of every type and environment.
    pub records: u64,
    /// Distinct devices that stand for users who are nobody; never part of the users.
    pub device_users: u64,
    /// Licences among the unattributed ones that a device stands for.
    pub licenses_by_device: u64,
    /// Licences among the unattributed ones whose user id is a sentinel.
    pub sentinel_licenses: u64,
    /// Issued renewals that the site does not count.
    pub renewals_excluded: u64,
    /// Failed requests that made their users active.
    pub failures_counted: u64,
    /// Releases, requests for certificates, preflights.
    pub no_license: u64,
    /// Failed requests in other environments.
    pub failed_elsewhere: u64,
}

impl Counters {
    /// How many figures there are.
    pub const FIGURES: usize = 34;

    /// The figures in their stored order.
    pub fn figures(&self) -> impl Iterator<Item = u64> + '_ {
        [self.mau]
            .into_iter()
            .chain(self.mau_by_drm)
            .chain([self.licenses_issued])
            .chain(self.licenses_by_drm)
            .chain([
                self.licenses_failed,
                self.devices,
                self.unattributed_licenses,
                self.watermark_sessions,
                self.watermark_users,
                self.duplicates,
                self.trial,
                self.test,
                self.records,
                self.device_users,
                self.licenses_by_device,
                self.sentinel_licenses,
                self.renewals_excluded,
                self.failures_counted,
                self.no_license,
                self.failed_elsewhere,
            ])
    }

    /// Rebuilds the counters from figures in their stored order; `None` when the number of figures
    /// differs.
    pub fn from_figures(figures: &[u64]) -> Option<Self> {
        let mut rest = figures.iter().copied();
        let mut next = || rest.next();
        let eight = |next: &mut dyn FnMut() -> Option<u64>| {
            let mut row = [0; 8];
            for cell in &mut row {
                *cell = next()?;
            }
            Some(row)
        };
        let counters = Self {
            mau: next()?,
            mau_by_drm: eight(&mut next)?,
            licenses_issued: next()?,
            licenses_by_drm: eight(&mut next)?,
            licenses_failed: next()?,
            devices: next()?,
            unattributed_licenses: next()?,
            watermark_sessions: next()?,
            watermark_users: next()?,
            duplicates: next()?,
            trial: next()?,
            test: next()?,
            records: next()?,
            device_users: next()?,
            licenses_by_device: next()?,
            sentinel_licenses: next()?,
            renewals_excluded: next()?,
            failures_counted: next()?,
            no_license: next()?,
            failed_elsewhere: next()?,
        };
        rest.next().is_none().then_some(counters)
    }

    /// Adds the figures that add up over several sites; users and devices do not.
    pub fn add_sums(&mut self, of: &Self) {
        for (sum, count) in self.licenses_by_drm.iter_mut().zip(of.licenses_by_drm) {
            *sum += count;
        }
        for (sum, count) in [
            (&mut self.licenses_issued, of.licenses_issued),
            (&mut self.licenses_failed, of.licenses_failed),
            (&mut self.failures_counted, of.failures_counted),
            (&mut self.unattributed_licenses, of.unattributed_licenses),
            (&mut self.sentinel_licenses, of.sentinel_licenses),
            (&mut self.renewals_excluded, of.renewals_excluded),
            (&mut self.device_users, of.device_users),
            (&mut self.licenses_by_device, of.licenses_by_device),
            (&mut self.watermark_sessions, of.watermark_sessions),
            (&mut self.no_license, of.no_license),
            (&mut self.trial, of.trial),
            (&mut self.test, of.test),
            (&mut self.failed_elsewhere, of.failed_elsewhere),
            (&mut self.duplicates, of.duplicates),
            (&mut self.records, of.records),
        ] {
            *sum += count;
        }
    }

    /// The counter of issued licences of an environment that is not billed.
    pub fn other_environment(&mut self, environment: Environment) -> Option<&mut u64> {
        match environment {
            Environment::Production => None,
            Environment::Trial => Some(&mut self.trial),
            Environment::Test => Some(&mut self.test),
        }
    }

    /// The licence records that made nobody active, each under one reason. With those that did they
    /// are all licence records: `licenses_issued` = attributed + no user id + sentinel + renewals
    /// not counted, `licenses_failed` = failed + counted failures.
    pub fn exclusions(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("failed", self.licenses_failed.saturating_sub(self.failures_counted)),
            ("no_user_id", self.unattributed_licenses.saturating_sub(self.sentinel_licenses)),
            ("sentinel_user_id", self.sentinel_licenses),
            ("renewal", self.renewals_excluded),
            ("no_license", self.no_license),
            ("trial", self.trial),
            ("test", self.test),
            ("failed_elsewhere", self.failed_elsewhere),
        ]
        .into_iter()
    }

    /// `(system, users, licences)` of the DRM systems seen.
    pub fn by_drm(&self) -> impl Iterator<Item = (DrmType, u64, u64)> + '_ {
        DrmType::ALL
            .iter()
            .zip(self.mau_by_drm.iter().zip(&self.licenses_by_drm))
            .filter(|(_, (users, licenses))| **users > 0 || **licenses > 0)
            .map(|(drm, (users, licenses))| (*drm, *users, *licenses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_round_trip() {
        let numbers: Vec<u64> = (1..=Counters::FIGURES as u64).collect();
        let counters = Counters::from_figures(&numbers).unwrap();
        assert_eq!(counters.figures().collect::<Vec<_>>(), numbers);
        assert_eq!(Counters::from_figures(&numbers[1..]), None);
        assert_eq!(Counters::from_figures(&[0; Counters::FIGURES + 1]), None);
    }
}
