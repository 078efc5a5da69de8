//! Knows what was sent: the exact figures of every site and month under rule set `mau/1`
//! (reference/domain.md §8.2, API.md "Billing"). It reads facts, never text, and shares no code
//! with the engine that it judges.
//!
//! Sets are dense: a byte a user and a bit a possible device id, so that fifty million records fit
//! in the memory of a small machine.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::fleet::Fleet;
use super::traffic::{AGE_DAYS_MAX, Event, Session, Who};
use crate::model::time::{DAY_MS, Month, Timestamp};
use crate::model::vocab::{DrmType, Environment, Outcome, RecordType};

/// A set of small numbers.
#[derive(Clone, Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    #[inline]
    fn insert(&mut self, number: u32) {
        let word = (number / 64) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    fn merge(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (to, from) in self.0.iter_mut().zip(&other.0) {
            *to |= from;
        }
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// Counts that merge by addition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    by_drm: [u64; 8],
    failed: u64,
    unattributed: u64,
    sessions: u64,
    duplicates: u64,
    trial: u64,
    test: u64,
}

impl Sums {
    fn merge(&mut self, other: &Self) {
        for (to, from) in self.by_drm.iter_mut().zip(other.by_drm) {
            *to += from;
        }
        self.failed += other.failed;
        self.unattributed += other.unattributed;
        self.sessions += other.sessions;
        self.duplicates += other.duplicates;
        self.trial += other.trial;
        self.test += other.test;
    }
}

/// One site and month.
#[derive(Clone, Debug, Default)]
struct Tally {
    /// By user, the DRM systems of the user's licenses as bits; none = not active.
    users: Vec<u8>,
    devices: Bits,
    watermark_users: Bits,
    kept_sessions: Bits,
    sums: Sums,
}

impl Tally {
    fn observe(&mut self, event: &Event) {
        let success = event.outcome == Outcome::Success;
        match (event.kind, event.environment) {
            (RecordType::LicenseIssued, Environment::Production) if !success => {
                self.sums.failed += 1;
            }
            (RecordType::LicenseIssued, place) if success && event.request.issues() => {
                match place {
                    Environment::Production => self.issue(event),
                    Environment::Trial => self.sums.trial += 1,
                    Environment::Test => self.sums.test += 1,
                }
            }
            (RecordType::SessionCreated, Environment::Production) if success => {
                self.open_session(event);
            }
            _ => {}
        }
    }

    fn issue(&mut self, event: &Event) {
        self.sums.by_drm[event.drm as usize] += 1;
        match event.who {
            Who::User(user) => {
                let user = user as usize;
                if user >= self.users.len() {
                    self.users.resize(user + 1, 0);
                }
                self.users[user] |= event.drm.bit();
            }
            Who::LicenseToken | Who::Empty | Who::Missing => self.sums.unattributed += 1,
        }
        if let Some(device) = event.device.recommended() {
            self.devices.insert(device);
        }
    }

    fn open_session(&mut self, event: &Event) {
        match event.session {
            Session::Kept(user) => self.kept_sessions.insert(user),
            // An id of its own is as distinct as no id.
            Session::Own | Session::Missing => self.sums.sessions += 1,
        }
        if let Who::User(user) = event.who {
            self.watermark_users.insert(user);
        }
    }

    fn merge(&mut self, other: &Self) {
        if self.users.len() < other.users.len() {
            self.users.resize(other.users.len(), 0);
        }
        for (to, from) in self.users.iter_mut().zip(&other.users) {
            *to |= from;
        }
        self.devices.merge(&other.devices);
        self.watermark_users.merge(&other.watermark_users);
        self.kept_sessions.merge(&other.kept_sessions);
        self.sums.merge(&other.sums);
    }

    /// The figures by their place in the usage answer.
    fn figures(&self) -> Vec<(String, u64)> {
        let sums = &self.sums;
        let active = |mask: u8| self.users.iter().filter(|user| **user & mask != 0).count() as u64;
        let mut figures: Vec<(String, u64)> = [
            ("mau", active(u8::MAX)),
            ("licenses_issued", sums.by_drm.iter().sum()),
            ("licenses_failed", sums.failed),
            ("devices", self.devices.len()),
            ("unattributed_licenses", sums.unattributed),
            ("watermark_sessions", sums.sessions + self.kept_sessions.len()),
            ("watermark_users", self.watermark_users.len()),
            ("duplicates", sums.duplicates),
            ("other_environments/trial", sums.trial),
            ("other_environments/test", sums.test),
        ]
        .map(|(name, figure)| (format!("/{name}"), figure))
        .into();
        for drm in DrmType::ALL {
            let name = drm.name();
            figures.push((format!("/by_drm_type/{name}/mau"), active(drm.bit())));
            let licenses = sums.by_drm[*drm as usize];
            figures.push((format!("/by_drm_type/{name}/licenses_issued"), licenses));
        }
        figures
    }
}

/// A month of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    month: Month,
    from_ms: i64,
    to_ms: i64,
}

/// The figures that a site's month must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// The site's number.
    pub(super) site: u32,
    /// The month in the site's zone.
    pub(super) month: Month,
    /// JSON pointers into the usage answer, and the figures there.
    pub(super) figures: Vec<(String, u64)>,
}

/// Why there can be no oracle: a zone that this machine does not know.
#[derive(Debug, thiserror::Error)]
#[error("time zone {zone} is not known here (is tzdata installed?)")]
pub(super) struct UnknownZone {
    zone: String,
    source: jiff::Error,
}

/// The exact figures of a stream, as far as it was made.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    spans: Vec<Vec<Span>>,
    tallies: Vec<Vec<Tally>>,
}

impl Oracle {
    /// An oracle for sites that bill in these zones, in the order of the fleet.
    ///
    /// # Errors
    ///
    /// When a zone is unknown.
    pub(super) fn new(zones: &[String], now_ms: i64) -> Result<Self, UnknownZone> {
        let spans: Vec<Vec<Span>> =
            zones.iter().map(|zone| months(zone, now_ms)).collect::<Result<_, _>>()?;
        let tallies = spans.iter().map(|spans| vec![Tally::default(); spans.len()]).collect();
        Ok(Self { spans, tallies })
    }

    /// The same sites, with nothing observed.
    pub(super) fn emptied(&self) -> Self {
        let tallies = self.spans.iter().map(|spans| vec![Tally::default(); spans.len()]).collect();
        Self { spans: self.spans.clone(), tallies }
    }

    /// Takes a record in; `again` says that it was sent before.
    pub(super) fn observe(&mut self, event: &Event, again: bool) {
        let site = event.site as usize;
        let at = event.at_ms;
        let in_month = |span: &Span| (span.from_ms..span.to_ms).contains(&at);
        let Some(place) = self.spans[site].iter().position(in_month) else {
            return;
        };
        let tally = &mut self.tallies[site][place];
        match again {
            true => tally.sums.duplicates += 1,
            false => tally.observe(event),
        }
    }

    /// Takes in what another oracle of the same sites observed.
    pub(super) fn merge(&mut self, other: &Self) {
        let theirs = other.tallies.iter().flatten();
        for (to, from) in self.tallies.iter_mut().flatten().zip(theirs) {
            to.merge(from);
        }
    }

    /// How many records were made a second time.
    pub(super) fn duplicates(&self) -> u64 {
        self.tallies.iter().flatten().map(|tally| tally.sums.duplicates).sum()
    }

    /// What the server must answer, for every site and month that records may lie in.
    pub(super) fn expected(&self) -> Vec<Expected> {
        let mut all = Vec::new();
        for (site, (spans, tallies)) in self.spans.iter().zip(&self.tallies).enumerate() {
            for (span, tally) in spans.iter().zip(tallies) {
                let figures = tally.figures();
                if figures.iter().any(|(_, figure)| *figure > 0) {
                    all.push(Expected { site: site as u32, month: span.month, figures });
                }
            }
        }
        all
    }
}

/// The months of a zone that records may lie in.
fn months(zone: &str, now_ms: i64) -> Result<Vec<Span>, UnknownZone> {
    let unknown = |source| UnknownZone { zone: zone.to_owned(), source };
    let tz = TimeZone::get(zone).map_err(unknown)?;
    let start_ms = |month: Month| -> Result<i64, jiff::Error> {
        let first = Date::new(month.year(), month.number(), 1)?.to_zoned(tz.clone())?;
        Ok(first.timestamp().as_millisecond())
    };
    let earliest_ms = now_ms - i64::from(AGE_DAYS_MAX + 2) * DAY_MS;
    let mut month = Timestamp(earliest_ms).day().month();
    let mut spans = Vec::new();
    loop {
        let from_ms = start_ms(month).map_err(unknown)?;
        if from_ms > now_ms {
            return Ok(spans);
        }
        spans.push(Span { month, from_ms, to_ms: start_ms(month.next()).map_err(unknown)? });
        month = month.next();
    }
}

/// The zones that the fleet's sites are created with.
pub(super) fn own_zones(fleet: &Fleet) -> Vec<String> {
    fleet.sites.iter().map(|site| site.zone.to_owned()).collect()
}

/// The months of a zone that records may lie in, by name.
///
/// # Errors
///
/// When the zone is unknown.
pub(super) fn month_names(zone: &str, now_ms: i64) -> Result<Vec<Month>, UnknownZone> {
    Ok(months(zone, now_ms)?.into_iter().map(|span| span.month).collect())
}
