//! When months close. The writer closes what is due before it commits anything later, with or
//! without traffic, and by the time that it believes: a clock that is ahead for a moment would
//! close months for good.
//!
//! A site's row says through which month it is closed, so a month without a record is closed too.
//! The tally of a month says when it was closed, in the journal, in its place among the groups:
//! rows before it are the month's own, rows after it are corrections. A replay reads no clock.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::calendar::{self, NoZone};
use super::gone::Takes;
use super::state::{MonthState, SetKeys};
use super::writer::{RingKeys, Submission, Writer};
use super::{Engine, EngineError};
use crate::model::batch::SiteMonth;
use crate::model::ids::SiteNo;
use crate::model::limits;
use crate::model::site::Site;
use crate::model::time::{Month, Timestamp};
use crate::model::usage::{Extent, Tally};
use crate::store::Changes;
use crate::store::codec::Corrupt;
use crate::store::verdict::GroupVerdict;

const HOUR_MS: i64 = 3_600_000;
/// A clock that is further ahead of the last look than this has jumped, milliseconds. The writer
/// looks several times a second, so only a start after a pause or a change of the clock is.
const JUMP_MS: i64 = HOUR_MS;
/// How long a clock that has jumped must keep going before it is believed, milliseconds.
const SETTLE_MS: i64 = HOUR_MS;

/// The time that is believed. It follows the clock, but for jumps: after one the clock has to keep
/// going for an hour. A clock that goes back by more than that is followed at once, since it
/// closes nothing.
struct Believed {
    at: Timestamp,
    /// The first and the last look at a clock that has jumped.
    jump: Option<(Timestamp, Timestamp)>,
}

impl Believed {
    fn look(&mut self, now: Timestamp) -> Timestamp {
        let ahead = now.0.saturating_sub(self.at.0);
        if ahead > JUMP_MS {
            let (first, last) = self.jump.unwrap_or((now, now));
            let goes_on = now >= last && now.0.saturating_sub(last.0) <= JUMP_MS;
            let first = if goes_on { first } else { now };
            self.jump = Some((first, now));
            if now.0.saturating_sub(first.0) < SETTLE_MS {
                return self.at;
            }
        }
        self.jump = None;
        if !(-JUMP_MS..=0).contains(&ahead) {
            self.at = now;
        }
        self.at
    }
}

/// What the writer knows of closes to come.
pub struct Closing {
    believed: Believed,
    /// No month of any site is due before.
    next: Timestamp,
}

impl Closing {
    /// Nothing watched yet; the time was believed last.
    pub fn new(believed: Timestamp) -> Self {
        Self { believed: Believed { at: believed, jump: None }, next: Timestamp::END }
    }

    /// The time that is believed.
    pub fn believed(&self) -> Timestamp {
        self.believed.at
    }

    /// Somebody has looked at another clock, and this is the time.
    pub fn believe(&mut self, at: Timestamp) {
        self.believed = Believed { at: self.believed.at.max(at), jump: None };
    }

    /// Has the next look go through all sites: who the members of a group are has changed.
    pub fn look_again(&mut self) {
        self.next = Timestamp(i64::MIN);
    }

    /// Takes note of when a site's next month closes.
    ///
    /// # Errors
    /// [`NoZone`].
    pub fn watch(&mut self, site: &Site) -> Result<(), NoZone> {
        self.next = self.next.min(next_close(site)?);
        Ok(())
    }
}

/// When a site's next month closes. With the first close of a site all months before it are closed.
fn next_close(site: &Site) -> Result<Timestamp, NoZone> {
    match site.closed_through {
        Some(last) => calendar::closes_at(site, last.next()),
        None => {
            let hours = i64::from(limits::NEW_SITE_HOURS);
            Ok(Timestamp(site.created_at.0.saturating_add(hours * HOUR_MS)))
        }
    }
}

/// The site with its due months closed; `None` where none is. The boundaries of a month that
/// closes are stored, so that they stay.
fn closed(site: &Site, now: Timestamp) -> Result<Option<Site>, NoZone> {
    // The present month is not over for a day, in any zone; no month takes two to close.
    let latest = now.day().month().previous();
    for month in [latest, latest.previous(), latest.previous().previous()] {
        if site.is_closed(month) {
            return Ok(None);
        }
        if calendar::closes_at(site, month)? <= now {
            let months = calendar::reaching(site, calendar::span(site, month)?.from)?;
            return Ok(Some(Site { months, closed_through: Some(month), ..site.clone() }));
        }
    }
    Ok(None)
}

impl Writer {
    /// Looks at the clock, and closes what is due by the time that is believed.
    ///
    /// # Errors
    /// When the disk refuses; then the engine must stop.
    pub(super) fn close_due(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let believed = self.closing.believed.look(now);
        self.shared.believed.store(believed.0, Ordering::Release);
        if believed < self.closing.next {
            return Ok(());
        }
        let mut next = Timestamp::END;
        let mut sites = Vec::new();
        for site in self.shared.directory.sites() {
            let closed = closed(&site, believed)?;
            next = next.min(next_close(closed.as_ref().unwrap_or(&site))?);
            sites.extend(closed);
        }
        let mut changes = Changes::default();
        self.shared.directory.site_rows(&sites, &mut changes);
        let tallies = self.close_months(&sites);
        if tallies.is_empty() {
            self.shared.store.apply(&changes)?;
        } else {
            let batches = Vec::new();
            let arrivals = Vec::new();
            let extent = Extent::Everything;
            let judged_at = now;
            let verdict = GroupVerdict { judged_at, believed, batches, tallies, arrivals, extent };
            self.write(changes, Vec::new(), verdict, now)?;
        }
        self.shared.directory.show_sites(sites);
        self.closing.next = next;
        Ok(())
    }

    /// Closes the months that have a tally, and answers these.
    fn close_months(&mut self, sites: &[Site]) -> Vec<(SiteMonth, Tally)> {
        let through: HashMap<SiteNo, Month> =
            sites.iter().filter_map(|site| Some((site.no, site.closed_through?))).collect();
        let believed = self.closing.believed();
        let is_due = |at: SiteMonth| through.get(&at.site).is_some_and(|last| at.month <= *last);
        let mut tallies = Vec::new();
        for month in self.state.months() {
            if is_due(month.at) && !month.is_closed() {
                month.close(believed);
                tallies.push((month.at, month.tally.clone()));
            }
        }
        tallies.extend(self.close_groups(&through));
        tallies
    }

    /// Closes the months of a batch that had no record when they were due.
    ///
    /// # Errors
    /// When a month has no key.
    fn close_late(&mut self, months: &[SiteMonth]) -> Result<(), EngineError> {
        let keys = RingKeys(&self.shared);
        for at in months {
            let site = self.shared.directory.by_no(at.site);
            let due = site.is_some_and(|site| site.is_closed(at.month));
            let known = self.state.known(*at).is_some_and(MonthState::is_closed);
            if due && !known && keys.takes(*at, self.next_group) != Takes::Nothing {
                let missing = Corrupt("key of a month or day");
                self.state.month(*at, &keys).ok_or(missing)?.close(self.closing.believed());
            }
        }
        Ok(())
    }

    /// The same for all months of batches, and those of the billing groups in them.
    pub(super) fn close_late_of(&mut self, group: &[Submission]) -> Result<(), EngineError> {
        for piece in group.iter().flat_map(|submission| &submission.pieces) {
            self.close_late(&piece.batch.months)?;
            self.close_late_groups(&piece.batch)?;
        }
        Ok(())
    }
}

impl Engine {
    /// The months of sites that had a record and are not closed, or closed after a time.
    pub fn unsettled(&self, closed_after: Timestamp) -> Vec<(Arc<Site>, Month)> {
        let sites = self.sites();
        let published = self.shared.published.read().unwrap_or_else(PoisonError::into_inner);
        let mut unsettled = Vec::new();
        for site in sites {
            for month in site.months.iter().map(|span| span.month) {
                let tally = published.get(&SiteMonth { site: site.no, month });
                let is_one = |of: &Tally| of.closed_at.is_none_or(|at| at > closed_after);
                if tally.is_some_and(is_one) {
                    unsettled.push((Arc::clone(&site), month));
                }
            }
        }
        unsettled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::SiteId;
    use crate::model::pseudonym::Algorithm;
    use crate::model::site::SiteSettings;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text.as_bytes()).unwrap()
    }

    fn month(text: &str) -> Month {
        Month::parse(text.as_bytes()).unwrap()
    }

    fn site(zone: &str, created_at: &str) -> Site {
        Site {
            id: SiteId::parse(b"A").unwrap(),
            no: SiteNo(1),
            algorithm: Algorithm::default(),
            created_at: at(created_at),
            terminated_at: None,
            settings: SiteSettings { time_zone: zone.into(), ..SiteSettings::default() },
            pending: Vec::new(),
            past: Vec::new(),
            months: Vec::new(),
            closed_through: None,
        }
    }

    #[test]
    fn a_clock_that_jumps_is_believed_after_an_hour() {
        const MINUTE: i64 = 60_000;
        let mut believed = Believed { at: Timestamp(0), jump: None };
        let mut look = |now: i64| believed.look(Timestamp(now * MINUTE)).0 / MINUTE;
        assert_eq!([look(1), look(61)], [1, 61], "an hour is no jump");
        assert_eq!([look(5_000), look(5_030), look(62)], [61, 61, 62], "ahead for half an hour");
        assert_eq!([look(5_031), look(5_090), look(5_091)], [62, 62, 5_091], "a new hour");
        assert_eq!([look(9_000), look(9_061), look(9_120)], [5_091, 5_091, 5_091]);
        assert_eq!(look(9_121), 9_121, "it jumped twice, and then went on");
        assert_eq!([look(9_100), look(9_122)], [9_121, 9_122], "back for a moment");
        assert_eq!([look(4_000), look(4_001)], [4_000, 4_001], "back for good");
        assert_eq!([look(9_000), look(8_999), look(9_058)], [4_001; 3], "it went back meanwhile");
        assert_eq!(look(9_059), 9_059);
    }

    #[test]
    fn months_close_in_their_order_and_store_their_boundaries() {
        let new = site("Asia/Seoul", "2026-11-10T00:00:00Z");
        assert_eq!(next_close(&new), Ok(at("2026-11-13T00:00:00Z")));
        assert_eq!(closed(&new, at("2026-11-12T23:59:59Z")), Ok(None));
        let first = closed(&new, at("2026-11-13T00:00:00Z")).unwrap().unwrap();
        assert_eq!(first.closed_through, Some(month("2026-10")));
        assert_eq!(first.months.len(), 1);
        assert_eq!(first.months[0].to, at("2026-10-31T15:00:00Z"));
        assert_eq!(next_close(&first), Ok(at("2026-12-03T15:00:00Z")));
        assert_eq!(closed(&first, at("2026-12-03T14:59:59Z")), Ok(None));
        let second = closed(&first, at("2026-12-03T15:00:00Z")).unwrap().unwrap();
        assert_eq!(second.closed_through, Some(month("2026-11")));
        // Off for long: all at once.
        let late = closed(&first, at("2027-06-02T00:00:00Z")).unwrap().unwrap();
        assert_eq!(late.closed_through, Some(month("2027-04")));
        assert_eq!(late.months.len(), 7);
    }

    /// Over years and all kinds of zones and hours: what closes is what is due, and nothing else.
    #[test]
    fn every_close_is_found_when_it_is_due() {
        for zone in ["UTC", "Asia/Seoul", "America/New_York", "Pacific/Kiritimati", "Etc/GMT+12"] {
            for hours in [24, 72, 240] {
                let mut site = site(zone, "2024-01-10T00:00:00Z");
                site.settings.closing_hours = hours;
                for _ in 0..30 {
                    let due = next_close(&site).unwrap();
                    assert_eq!(closed(&site, Timestamp(due.0 - 1)), Ok(None), "{zone} {hours}");
                    let next = closed(&site, due).unwrap().unwrap();
                    if let Some(last) = site.closed_through {
                        assert_eq!(next.closed_through, Some(last.next()), "{zone} {hours}");
                    }
                    site = next;
                }
            }
        }
    }
}
