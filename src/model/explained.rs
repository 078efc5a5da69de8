//! What the licences of a site's month were: counts that are made from its records, not counted as
//! they come. There is no pseudonym in here, only numbers.

use std::collections::BTreeMap;

use super::field::ErrorClass;
use super::ids::SiteId;
use super::time::{Month, Timestamp};
use super::usage::Tally;
use super::vocab::{DrmType, Environment, Outcome, Quality, RequestType};

/// What a licence request was: records that are alike in all of this are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Where it comes from.
    pub environment: Environment,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The DRM system.
    pub drm: DrmType,
    /// What was asked for.
    pub request: RequestType,
    /// Where the error lies.
    pub error: Option<ErrorClass>,
}

impl Cell {
    /// Whether it is an issued licence in production (MAL), whether it makes anybody active or not.
    pub fn is_issue(&self) -> bool {
        self.environment == Environment::Production
            && self.outcome == Some(Outcome::Success)
            && self.request.issues()
    }

    /// Whether it is a failed request for a licence in production.
    pub fn is_failure(&self) -> bool {
        self.environment == Environment::Production
            && self.outcome == Some(Outcome::Fail)
            && self.request.issues()
    }
}

/// Records of one kind, and whom they are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The records.
    pub records: u64,
    /// Whom they are about, as numbers that mean something inside of one report only; no more than
    /// the report needs to see that they are enough.
    pub subjects: Vec<u32>,
    /// Records that name neither a user nor a device: each is about somebody of its own.
    pub nameless: u64,
}

impl Part {
    /// How many subjects there are, or are at least.
    pub fn subjects(&self) -> u64 {
        self.subjects.len() as u64 + self.nameless
    }
}

/// The share of the counted records that must have been read to say who is suspect, percent.
const READ_LEAST_PERCENT: u128 = 90;
/// Ranges of a histogram.
const RANGES: usize = 12;

/// How many members have how many of something. The first range is nothing, the next one is one,
/// and each further one is twice as wide as the one before: 2–3, 4–7, …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram(pub [u64; RANGES]);

impl Histogram {
    /// How many ranges there are; the last one has no end.
    pub const RANGES: usize = RANGES;
    /// The least number of the last range.
    pub const LAST_FROM: u32 = 1 << (Self::RANGES - 2);

    /// Counts a member that has so many.
    pub fn add(&mut self, number: u32) {
        self.0[Self::place(number)] += 1;
    }

    /// The place of the range that a number lies in.
    pub fn place(number: u32) -> usize {
        ((u32::BITS - number.leading_zeros()) as usize).min(Self::RANGES - 1)
    }

    /// The first number of a range and its last, where it has one.
    pub fn range(range: usize) -> (u32, Option<u32>) {
        let from = if range == 0 { 0 } else { 1 << (range - 1) };
        let last = if range == 0 { 0 } else { (1u32 << range) - 1 };
        (from, (range + 1 < Self::RANGES).then_some(last))
    }

    /// All members.
    pub fn members(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// What a device is a kind of, for the old statistics of PallyCon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Android.
    Android = 0,
    /// iOS and its kin.
    Ios = 1,
    /// A desktop computer.
    Pc = 2,
    /// Anything else, and unknown.
    Other = 3,
}

/// How many families there are.
pub const FAMILIES: usize = 4;

/// Members that look like many behind one id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// Users with more devices than is believed of one.
    pub users_by_devices: u64,
    /// Users with a larger share of the licences than is believed of one.
    pub users_by_share: u64,
    /// Users with either.
    pub users: u64,
    /// The licences of those users.
    pub user_licenses: u64,
    /// Devices with more users than is believed of one.
    pub devices: u64,
    /// The licences of those devices.
    pub device_licenses: u64,
}

/// From where on a member is suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A user with more distinct devices than this.
    pub devices_per_user: u32,
    /// A device with more distinct users than this.
    pub users_per_device: u32,
    /// A user with more than this share of the issued licences, parts of a million.
    pub license_share_ppm: u32,
    /// Issued licences below which nobody is suspect by the share.
    pub share_least: u64,
}

impl Default for Limits {
    /// The numbers of reference/domain.md §7.2; of a share it names none: one percent, where that
    /// is a hundred licences or more.
    fn default() -> Self {
        Self {
            devices_per_user: 50,
            users_per_device: 20,
            license_share_ppm: 10_000,
            share_least: 10_000,
        }
    }
}

/// The histograms, by the place of their flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// Licences per user.
    LicensesPerUser = 0,
    /// Devices per user.
    DevicesPerUser = 1,
    /// Users per device.
    UsersPerDevice = 2,
    /// Licences per session.
    LicensesPerSession = 3,
}

/// How many histograms there are.
pub const HISTOGRAMS: usize = 4;

/// What of an explanation is not shown because it is about too few. A part without a flag is not
/// shown either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Subjects below which a part is not shown.
    pub least: u64,
    /// For each licence request, in their order.
    pub requests: Vec<bool>,
    /// For each quality of the licences' best ids, in their order.
    pub qualities: Vec<bool>,
    /// For each range of each histogram, by [`Ranges`].
    pub ranges: [Vec<bool>; HISTOGRAMS],
    /// For each quality of device ids.
    pub device_ids: Vec<bool>,
    /// For each family of devices.
    pub families: Vec<bool>,
    /// Issued renewals, where they are shown.
    pub renewals: Option<u64>,
}

/// The licences of a site's month, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The site.
    pub site: SiteId,
    /// The month.
    pub month: Month,
    /// The time of the last fold before the reading began: figures and records are as of then.
    pub as_of: Timestamp,
    /// The figures of the bill as of the same moment.
    pub tally: Tally,
    /// The records that were read.
    pub records_seen: u64,
    /// The licence requests, each in one part.
    pub requests: BTreeMap<Cell, Part>,
    /// Issued licences of active users, by user.
    pub licenses_per_user: Histogram,
    /// Distinct recommended good devices of the issued licences of active users, by user.
    pub devices_per_user: Histogram,
    /// Distinct active users of the issued licences of recommended good devices, by device.
    pub users_per_device: Histogram,
    /// Distinct users with a countable licence, corrections included.
    pub users: u64,
    /// The same by DRM system.
    pub users_by_drm: [u64; 8],
    /// Distinct recommended good devices of issued licences, corrections included.
    pub devices: u64,
    /// The same by family, in the order of [`Family`].
    pub devices_by_family: [u64; FAMILIES],
    /// Distinct devices that stand for users.
    pub device_users: u64,
    /// Distinct device ids of issued licences, recommended or not, in the order of [`Quality`].
    pub device_ids: [u64; Quality::ALL.len()],
    /// Issued licences by the best of their device ids; `None` where they have none.
    pub licenses_by_quality: BTreeMap<Option<Quality>, Part>,
    /// Issued licences that are nobody's.
    pub unattributed: u64,
    /// Issued licences, renewals apart, that name a session.
    pub session_licenses: u64,
    /// Distinct sessions by their number of licences: the keys of one play.
    pub licenses_per_session: Histogram,
    /// Issued licences that name a licence request.
    pub request_licenses: u64,
    /// Distinct licence requests among them.
    pub requests_distinct: u64,
    /// Who is suspect.
    pub suspects: Suspects,
    /// From where on.
    pub limits: Limits,
    /// Passes over the records that it took.
    pub passes: u32,
    /// What of it is not shown.
    pub hidden: Hidden,
}

impl Explained {
    /// Nothing yet of a site's month, at a time, beside these figures.
    pub fn new(
        (site, month): (SiteId, Month),
        (as_of, tally): (Timestamp, Tally),
        limits: Limits,
    ) -> Self {
        Self {
            site,
            month,
            as_of,
            tally,
            records_seen: 0,
            requests: BTreeMap::new(),
            licenses_per_user: Histogram::default(),
            devices_per_user: Histogram::default(),
            users_per_device: Histogram::default(),
            users: 0,
            users_by_drm: [0; 8],
            devices: 0,
            devices_by_family: [0; FAMILIES],
            device_users: 0,
            device_ids: [0; Quality::ALL.len()],
            licenses_by_quality: BTreeMap::new(),
            unattributed: 0,
            session_licenses: 0,
            licenses_per_session: Histogram::default(),
            request_licenses: 0,
            requests_distinct: 0,
            suspects: Suspects::default(),
            limits,
            passes: 0,
            hidden: Hidden::default(),
        }
    }

    /// The records that were counted, corrections included.
    pub const fn records_counted(&self) -> u64 {
        self.tally.counters.records + self.tally.corrections.records
    }

    /// Whether it was made from all records that were counted.
    pub const fn is_whole(&self) -> bool {
        self.records_seen == self.records_counted()
    }

    /// Whether so much of the month was read that who was not found suspect is not suspect. Of a
    /// month whose records are gone for the most part nobody can say.
    pub fn tells_suspects(&self) -> bool {
        let (seen, counted) = (self.records_seen, self.records_counted());
        u128::from(seen) * 100 >= u128::from(counted) * READ_LEAST_PERCENT
    }

    /// Issued licences in production.
    pub fn licenses_issued(&self) -> u64 {
        let issued = self.requests.iter().filter(|(cell, _)| cell.is_issue());
        issued.map(|(_, part)| part.records).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_without_gap() {
        for number in (0..5_000).chain([u32::MAX]) {
            let mut histogram = Histogram::default();
            histogram.add(number);
            let at = histogram.0.iter().position(|count| *count == 1).unwrap();
            let (from, last) = Histogram::range(at);
            assert!(from <= number && last.is_none_or(|last| number <= last), "{number}");
        }
        assert_eq!(Histogram::range(Histogram::RANGES - 1), (Histogram::LAST_FROM, None));
    }
}
