//! The months of a site as ranges of UTC instants: calendar months of the site's zone, stored once
//! and never moved, neither by a change of zone nor by an update of the time-zone data.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::model::limits;
use crate::model::rules::RuleSet;
use crate::model::site::{MonthSpan, Site};
use crate::model::time::{Month, Timestamp};

/// A site's time zone is none that this build knows. Nothing falls back to another zone: a month
/// would begin hours off, and the bill with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this build does not know the time zone of a site")]
pub struct NoZone;

const HOUR_MS: i64 = 3_600_000;

/// Event and set partitions of a month; fixed when the month's row is written.
pub const PARTITIONS: u16 = 256;

/// The stored month that holds an instant.
pub fn stored(site: &Site, at: Timestamp) -> Option<MonthSpan> {
    // Nearly always the last or the one before.
    site.months.iter().rev().find(|span| span.contains(at)).copied()
}

/// The stored row of a month, by name.
pub fn named(site: &Site, month: Month) -> Option<MonthSpan> {
    site.months.iter().find(|span| span.month == month).copied()
}

/// The span that a month has, or would have: the stored row, or the zone's calendar fitted to the
/// stored rows beside it, so that the table stays contiguous.
///
/// # Errors
/// [`NoZone`].
pub fn span(site: &Site, month: Month) -> Result<MonthSpan, NoZone> {
    if let Some(span) = named(site, month) {
        return Ok(span);
    }
    let zone = zone_of(site, month)?;
    let mut from = start(&zone, month);
    // Its own zone says when it ends; the first month of another zone begins there.
    let mut to = start(&zone, month.next());
    if let Some(first) = site.months.first()
        && month.next() == first.month
    {
        to = first.from;
    }
    if let Some(last) = site.months.last()
        && month == last.month.next()
    {
        from = last.to;
    }
    let pseudonyms = site.pseudonyms_in(month);
    let (to, rule_set) = (to.max(from), RuleSet::CURRENT);
    Ok(MonthSpan { month, from, to, partitions: PARTITIONS, pseudonyms, rule_set })
}

/// The stored months with those added that make the table reach the instant.
///
/// # Errors
/// [`NoZone`].
pub fn reaching(site: &Site, at: Timestamp) -> Result<Vec<MonthSpan>, NoZone> {
    let mut grown = site.clone();
    if grown.months.is_empty() {
        let month = month_in(&zone_of(site, at.day().month())?, at);
        grown.months.push(span(site, month)?);
    }
    while let Some(first) = grown.months.first().copied().filter(|first| at < first.from) {
        let before = span(&grown, first.month.previous())?;
        grown.months.insert(0, before);
    }
    while let Some(last) = grown.months.last().copied().filter(|last| at >= last.to) {
        let after = span(&grown, last.month.next())?;
        grown.months.push(after);
    }
    Ok(grown.months)
}

/// When a month closes: the site's closing hours after its end, and not before a new site has had
/// time to send what it has.
///
/// # Errors
/// [`NoZone`].
pub fn closes_at(site: &Site, month: Month) -> Result<Timestamp, NoZone> {
    let hours = i64::from(site.settings_in(month).closing_hours);
    let after_end = span(site, month)?.to.0.saturating_add(hours * HOUR_MS);
    let after_creation =
        site.created_at.0.saturating_add(i64::from(limits::NEW_SITE_HOURS) * HOUR_MS);
    Ok(Timestamp(after_end.max(after_creation)))
}

/// The zone in force for a month: a change waits for the month that it was announced for.
fn zone_of(site: &Site, month: Month) -> Result<TimeZone, NoZone> {
    zone(&site.settings_in(month).time_zone)
}

/// The zone of an IANA name, from the data that this build carries: the system may have other
/// data, or none.
///
/// # Errors
/// [`NoZone`].
pub fn zone(name: &str) -> Result<TimeZone, NoZone> {
    TimeZone::get(name).map_err(|_| NoZone)
}

/// Checks that every zone of a site is known, those of the past and of the time to come as well.
///
/// # Errors
/// [`NoZone`].
pub fn check(site: &Site) -> Result<(), NoZone> {
    let others = site.past.iter().chain(&site.pending).map(|(_, settings)| settings);
    others.chain([&site.settings]).try_for_each(|settings| zone(&settings.time_zone).map(drop))
}

/// The calendar month of a zone that holds an instant.
pub fn month_in(zone: &TimeZone, at: Timestamp) -> Month {
    let instant = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    let civil = instant.to_zoned(zone.clone()).date();
    Month::new(i64::from(civil.year()), i64::from(civil.month())).unwrap_or(at.day().month())
}

/// The first instant of a month in a zone. Where the clock skips midnight, the first instant after
/// the gap; where it shows midnight twice, the first of them.
fn start(zone: &TimeZone, month: Month) -> Timestamp {
    // The month after the last that has a name.
    let Ok(first) = Date::new(month.year(), month.number(), 1) else { return Timestamp::END };
    let midnight = first.at(0, 0, 0, 0);
    let instant = zone.to_ambiguous_zoned(midnight).compatible().map(|zoned| zoned.timestamp());
    Timestamp(instant.unwrap_or_default().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::{SiteId, SiteNo};
    use crate::model::pseudonym::Algorithm;
    use crate::model::site::SiteSettings;

    fn site(zone: &str) -> Site {
        Site {
            id: SiteId::parse(b"A").unwrap(),
            no: SiteNo(1),
            algorithm: Algorithm::default(),
            created_at: Timestamp(0),
            terminated_at: None,
            settings: SiteSettings { time_zone: zone.into(), ..SiteSettings::default() },
            pending: Vec::new(),
            past: Vec::new(),
            months: Vec::new(),
            closed_through: None,
        }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text.as_bytes()).unwrap()
    }

    fn month(text: &str) -> Month {
        Month::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_month_in_seoul_begins_nine_hours_before_utc() {
        let span = span(&site("Asia/Seoul"), month("2026-11")).unwrap();
        assert_eq!((span.from, span.to), (at("2026-10-31T15:00:00Z"), at("2026-11-30T15:00:00Z")));
    }

    #[test]
    fn zones_need_no_files_of_the_system_and_unknown_ones_are_errors() {
        // All of the data is in this build; the system's is not looked at.
        assert!(jiff::tz::db().available().count() > 400);
        let unknown = site("Asia/Atlantis");
        assert_eq!(span(&unknown, month("2026-11")), Err(NoZone));
        assert_eq!(reaching(&unknown, at("2026-11-22T00:00:00Z")), Err(NoZone));
        assert_eq!(check(&unknown), Err(NoZone));
        let mut past = site("UTC");
        past.past.push((month("2026-10"), unknown.settings.clone()));
        assert_eq!(check(&past), Err(NoZone));
        let mut announced = site("UTC");
        announced.pending = vec![(month("2026-12"), unknown.settings)];
        assert_eq!(check(&announced), Err(NoZone));
        assert_eq!(check(&site("Asia/Seoul")), Ok(()));
    }

    #[test]
    fn summer_time_moves_the_boundary() {
        let october = span(&site("America/New_York"), month("2026-11")).unwrap();
        assert_eq!(october.from, at("2026-11-01T04:00:00Z"));
        assert_eq!(october.to, at("2026-12-01T05:00:00Z"));
        // Midnight of 1 November 2026 is before the clocks go back at 02:00.
        let march = span(&site("Europe/Berlin"), month("2026-03")).unwrap();
        assert_eq!(march.to, at("2026-03-31T22:00:00Z"));
    }

    #[test]
    fn a_month_closes_after_its_hours_and_not_before_a_new_site_is_three_days_old() {
        let mut site = site("Asia/Seoul");
        assert_eq!(closes_at(&site, month("2026-11")), Ok(at("2026-12-03T15:00:00Z")));
        site.settings.closing_hours = 24;
        assert_eq!(closes_at(&site, month("2026-11")), Ok(at("2026-12-01T15:00:00Z")));
        site.created_at = at("2026-11-30T00:00:00Z");
        assert_eq!(closes_at(&site, month("2026-11")), Ok(at("2026-12-03T00:00:00Z")));
        assert_eq!(closes_at(&site, month("2026-01")), Ok(at("2026-12-03T00:00:00Z")));
        // The hours of a month are those that it was counted with.
        let long = SiteSettings { closing_hours: 240, ..site.settings.clone() };
        site.pending = vec![(month("2026-12"), long)];
        assert_eq!(closes_at(&site, month("2026-12")), Ok(at("2027-01-10T15:00:00Z")));
        assert_eq!(closes_at(&site, month("2026-11")), Ok(at("2026-12-03T00:00:00Z")));
    }

    #[test]
    fn the_table_grows_contiguously_both_ways() {
        let mut site = site("Asia/Seoul");
        site.months = reaching(&site, at("2026-11-22T00:00:00Z")).unwrap();
        assert_eq!(site.months.len(), 1);
        site.months = reaching(&site, at("2026-09-30T16:00:00Z")).unwrap();
        site.months = reaching(&site, at("2027-01-15T00:00:00Z")).unwrap();
        let names: Vec<String> = site.months.iter().map(|span| span.month.to_string()).collect();
        assert_eq!(names, ["2026-10", "2026-11", "2026-12", "2027-01"]);
        assert!(site.months.is_sorted_by(|left, right| left.to == right.from));
    }

    #[test]
    fn the_first_month_of_a_new_zone_begins_where_the_old_one_ended() {
        let mut site = site("Asia/Seoul");
        site.months = reaching(&site, at("2026-11-22T00:00:00Z")).unwrap();
        let later = SiteSettings { time_zone: "America/New_York".into(), ..Default::default() };
        site.pending = vec![(month("2026-12"), later)];
        site.months = reaching(&site, at("2026-12-22T00:00:00Z")).unwrap();
        assert_eq!(site.months[1].from, at("2026-11-30T15:00:00Z"));
        assert_eq!(site.months[1].to, at("2027-01-01T05:00:00Z"));
    }
}
