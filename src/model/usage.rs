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

/// How much is counted of a row. It grew with the program, so a group of the journal says how much
/// was counted when it was judged, and a replay counts as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Of what is late: records, users, licences. Nothing by reasons that came later.
    LateUsers,
    /// The same, and late devices that stand for users.
    LateDevices,
    /// All that [`Counters`] has, in time and late.
    Everything,
}

/// Everything that is counted of one site and month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The month's own figures; from the close on they never change.
    pub counters: Counters,
    /// What came after the close, counted by the same rules. It never changes the month's own
    /// figures. What is distinct is counted where the closed month does not have it; users by DRM
    /// system are not counted, nor are duplicates.
    pub corrections: Counters,
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
    /// Licences among the unattributed ones whose user is anonymous, at a site that counts such
    /// users by their device.
    pub anonymous_licenses: u64,
    /// Licences under a sentinel that a device stands for.
    pub sentinel_by_device: u64,
    /// Licences of anonymous users that a device stands for.
    pub anonymous_by_device: u64,
    /// Records of watermark sessions in production, repeated ones included.
    pub session_records: u64,
    /// Failed watermark sessions in production.
    pub sessions_failed: u64,
    /// Watermark sessions in the trial environment.
    pub sessions_trial: u64,
    /// Watermark sessions in the test environment.
    pub sessions_test: u64,
    /// Records that are neither licence requests nor watermark sessions: contents that were
    /// packaged, marks that were found.
    pub other_records: u64,
}

impl Counters {
    /// How many figures there are.
    pub const FIGURES: usize = 42;
    /// How many of these, the first ones, there were before sessions had reasons.
    pub const FIGURES_BEFORE: usize = 34;

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
                self.anonymous_licenses,
                self.sentinel_by_device,
                self.anonymous_by_device,
                self.session_records,
                self.sessions_failed,
                self.sessions_trial,
                self.sessions_test,
                self.other_records,
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
            anonymous_licenses: next()?,
            sentinel_by_device: next()?,
            anonymous_by_device: next()?,
            session_records: next()?,
            sessions_failed: next()?,
            sessions_trial: next()?,
            sessions_test: next()?,
            other_records: next()?,
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
            (&mut self.anonymous_licenses, of.anonymous_licenses),
            (&mut self.sentinel_by_device, of.sentinel_by_device),
            (&mut self.anonymous_by_device, of.anonymous_by_device),
            (&mut self.session_records, of.session_records),
            (&mut self.sessions_failed, of.sessions_failed),
            (&mut self.sessions_trial, of.sessions_trial),
            (&mut self.sessions_test, of.sessions_test),
            (&mut self.other_records, of.other_records),
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

    /// What is not counted, each record under one reason: licence records that made nobody active,
    /// and watermark sessions that are none of the production. Licences that a device stands for
    /// made that device active, and are not here.
    ///
    /// `licenses_issued` = licences of users + those by devices + no user id + sentinel +
    /// anonymous + renewals not counted; `licenses_failed` = failed + counted failures. With the
    /// records of sessions and all others, these are all records ([`Counters::explained_records`]).
    pub fn exclusions(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let (sentinel, anonymous) = (self.sentinel_licenses, self.anonymous_licenses);
        let by_device = self.sentinel_by_device + self.anonymous_by_device;
        let no_id = self.unattributed_licenses.saturating_sub(sentinel + anonymous);
        let rest = self.licenses_by_device.saturating_sub(by_device);
        let no_id_by_device = rest.min(no_id);
        // Of months that were counted before these figures; there are none of today's.
        let sentinel_by_device = self.sentinel_by_device + (rest - no_id_by_device);
        [
            ("failed", self.licenses_failed.saturating_sub(self.failures_counted)),
            ("no_user_id", no_id.saturating_sub(no_id_by_device)),
            ("sentinel_user_id", sentinel.saturating_sub(sentinel_by_device)),
            ("anonymous", anonymous.saturating_sub(self.anonymous_by_device)),
            ("renewal", self.renewals_excluded),
            ("no_license", self.no_license),
            ("trial", self.trial),
            ("test", self.test),
            ("failed_elsewhere", self.failed_elsewhere),
            ("session_failed", self.sessions_failed),
            ("session_trial", self.sessions_trial),
            ("session_test", self.sessions_test),
        ]
        .into_iter()
    }

    /// Licences in production that made a user active.
    pub const fn licenses_of_users(&self) -> u64 {
        let nobodys = self.unattributed_licenses.saturating_add(self.renewals_excluded);
        self.licenses_issued.saturating_sub(nobodys)
    }

    /// All records by what became of them: those that counted, those that did not by their reason,
    /// and those that are not about licences or sessions. It equals [`Counters::records`] where all
    /// of them were counted since there are these figures.
    pub fn explained_records(&self) -> u64 {
        let excluded: u64 = self.exclusions().map(|(_, records)| records).sum();
        let counted = self.licenses_of_users() + self.licenses_by_device + self.failures_counted;
        counted + excluded + self.session_records + self.other_records
    }

    /// Figures of what came late, beside records and users, by their names.
    pub fn late(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("licenses_issued", self.licenses_issued),
            ("device_users", self.device_users),
            ("licenses_failed", self.licenses_failed),
            ("failures_counted", self.failures_counted),
            ("devices", self.devices),
            ("unattributed_licenses", self.unattributed_licenses),
            ("licenses_by_device", self.licenses_by_device),
            ("watermark_sessions", self.watermark_sessions),
            ("watermark_users", self.watermark_users),
            ("session_records", self.session_records),
            ("other_records", self.other_records),
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

    /// A licence that a device stands for is no exclusion, and everything is one thing only.
    #[test]
    fn every_record_has_one_reason() {
        let counters = Counters {
            licenses_issued: 100,
            unattributed_licenses: 60,
            sentinel_licenses: 20,
            anonymous_licenses: 15,
            licenses_by_device: 33,
            sentinel_by_device: 13,
            anonymous_by_device: 5,
            renewals_excluded: 7,
            licenses_failed: 9,
            failures_counted: 4,
            session_records: 3,
            sessions_failed: 2,
            other_records: 1,
            records: 115,
            ..Counters::default()
        };
        let reasons: Vec<(&str, u64)> = counters.exclusions().filter(|(_, of)| *of > 0).collect();
        let wanted = [
            ("failed", 5),
            ("no_user_id", 10),
            ("sentinel_user_id", 7),
            ("anonymous", 10),
            ("renewal", 7),
            ("session_failed", 2),
        ];
        assert_eq!(reasons, wanted);
        assert_eq!(counters.licenses_of_users(), 33);
        assert_eq!(counters.explained_records(), counters.records);
        // What an older version counted has no reasons that are newer, and is never below zero.
        let old = Counters { sentinel_by_device: 0, anonymous_by_device: 0, ..counters };
        assert!(old.exclusions().all(|(_, records)| records < 100));
    }

    #[test]
    fn figures_round_trip() {
        let numbers: Vec<u64> = (1..=Counters::FIGURES as u64).collect();
        let counters = Counters::from_figures(&numbers).unwrap();
        assert_eq!(counters.figures().collect::<Vec<_>>(), numbers);
        assert_eq!(Counters::from_figures(&numbers[1..]), None);
        assert_eq!(Counters::from_figures(&[0; Counters::FIGURES + 1]), None);
    }
}
