//! When a lot is due. Everything is computed from the end of its epoch, in calendar months of UTC.

use std::collections::BTreeMap;

use super::policy::{Policy, RetentionClass, SETS_MONTHS_MAX, TERMINATION_MONTHS};
use super::vault::LotInfo;
use crate::engine::calendar;
use crate::model::batch::{Bucket, Epoch, SiteMonth};
use crate::model::limits;
use crate::model::retention::Lot;
use crate::model::site::{MonthSpan, Site};
use crate::model::time::{DAY_MS, Day, Month, Timestamp};
use crate::model::vocab::Class;

/// What the due times of a site's lots follow from.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// The policy in force.
    pub policy: &'a Policy,
    /// The site.
    pub site: &'a Site,
    /// The accepted age of records, milliseconds.
    pub age_ms: i64,
}

/// The same time of day so many calendar months later; the last day of a month that is shorter.
pub fn add_months(at: Timestamp, months: u32) -> Timestamp {
    let span = jiff::Span::new().try_months(i64::from(months));
    let later = jiff::Timestamp::from_millisecond(at.0).and_then(|at| {
        at.to_zoned(jiff::tz::TimeZone::UTC).checked_add(span?).map(|later| later.timestamp())
    });
    later.map_or(Timestamp::END, |later| Timestamp(later.as_millisecond()))
}

/// When what knows the duplicates of a day is due: no record of it can be accepted any more. It is
/// of no site, and ends by what is accepted and not by the policy.
pub fn seen_due(ends_at: Timestamp, age_ms: i64) -> Timestamp {
    let life = age_ms.saturating_add(limits::FUTURE_MS_MAX + limits::SLOT_MARGIN_MS);
    Timestamp(ends_at.0.saturating_add(life))
}

/// When a month of the access log is due that ends then. It is of no site.
pub fn access_due(ends_at: Timestamp, policy: &Policy) -> Timestamp {
    let months = policy.years_as_months(RetentionClass::AccessLog);
    months.map_or(Timestamp::END, |months| add_months(ends_at, months))
}

impl Terms<'_> {
    /// The due time of each lot of the site.
    pub fn dues(&self, lots: &[LotInfo]) -> BTreeMap<Lot, Timestamp> {
        let mut dues = BTreeMap::new();
        for info in lots {
            if let Lot::Records(bucket) = info.lot {
                dues.insert(info.lot, self.bucket(bucket, info.ends_at));
            }
        }
        for info in lots {
            let (at, ends_at) = match info.lot {
                Lot::Records(_) => continue,
                // As long as the site: whoever is suppressed asked that nothing be kept.
                Lot::Suppression(_) | Lot::Seen(_) | Lot::Access(_) => {
                    dues.insert(info.lot, Timestamp::END);
                    continue;
                }
                Lot::Sets(at) | Lot::RecordKey(at) | Lot::WatermarkKey(at) | Lot::BaseKey(at) => {
                    (at, info.ends_at)
                }
            };
            let records = || self.last_bucket(Class::Records, at, ends_at, &dues);
            let detections = || self.last_bucket(Class::Detections, at, ends_at, &dues);
            // Detections hold users and devices as well. And a month that has lost one of its keys
            // takes no record any more, so none is destroyed while one could come.
            let uses = || records().max(detections()).max(self.last_record(ends_at));
            let due = match info.lot {
                Lot::Sets(at) => self.sets(at.month, ends_at),
                Lot::Records(_) | Lot::RecordKey(_) | Lot::WatermarkKey(_) => uses(),
                Lot::Suppression(_) | Lot::Seen(_) | Lot::Access(_) => Timestamp::END,
                Lot::BaseKey(at) => self.sets(at.month, ends_at).max(uses()),
            };
            dues.insert(info.lot, due);
        }
        if let Some(ended) = self.site.terminated_at {
            let last = add_months(ended, TERMINATION_MONTHS);
            dues.values_mut().for_each(|due| *due = (*due).min(last));
        }
        dues
    }

    /// When a bucket is due, whether it lives or not.
    pub fn of_bucket(&self, bucket: Bucket, ends_at: Timestamp) -> Timestamp {
        let due = self.bucket(bucket, ends_at);
        match self.site.terminated_at {
            Some(ended) => due.min(add_months(ended, TERMINATION_MONTHS)),
            None => due,
        }
    }

    /// A bucket: so many months after its month, or the site's own days after its day, whichever is
    /// earlier.
    fn bucket(&self, bucket: Bucket, ends_at: Timestamp) -> Timestamp {
        let last = add_months(ends_at, self.policy.months(bucket.class.into()));
        match bucket.epoch {
            Epoch::Month(_) => last,
            Epoch::Day(day) => {
                let days = self.records_days(day);
                days.map_or(last, |days| after_days(ends_at, days).min(last))
            }
        }
    }

    /// The site's own days for a UTC day: those of the months that the day lies in, and of two the
    /// fewer.
    fn records_days(&self, day: Day) -> Option<u32> {
        let month = day.month();
        let near = [month.previous(), month, month.next()];
        // Without data of its zone, which no start allows, the site's months are those of UTC.
        let lies_in = |month: &Month| match calendar::span(self.site, *month) {
            Ok(span) => overlaps(span, day),
            Err(_) => day.month() == *month,
        };
        let days = |month: Month| self.site.settings_in(month).records_days;
        near.into_iter().filter(lies_in).filter_map(days).min()
    }

    /// When the last bucket with records of a month is due: that of the last record which could
    /// come, or one that lives, if that is later.
    fn last_bucket(
        &self,
        class: Class,
        at: SiteMonth,
        ends_at: Timestamp,
        dues: &BTreeMap<Lot, Timestamp>,
    ) -> Timestamp {
        let last_day = Timestamp(ends_at.0 - 1).day();
        let day_end = Timestamp(last_day.start().0 + DAY_MS);
        let by_rule = match self.site.settings_in(at.month).records_days {
            Some(_) => {
                self.bucket(Bucket { class, site: at.site, epoch: Epoch::Day(last_day) }, day_end)
            }
            None => add_months(ends_at, self.policy.months(RetentionClass::from(class))),
        };
        let living = dues.iter().filter_map(|(lot, due)| match lot {
            Lot::Records(bucket) if bucket.class == class && self.holds(*bucket, at.month) => {
                Some(*due)
            }
            _ => None,
        });
        living.fold(by_rule, Timestamp::max)
    }

    /// Whether a bucket can hold records of a month.
    pub fn holds(&self, bucket: Bucket, month: Month) -> bool {
        match bucket.epoch {
            Epoch::Month(of) => of == month,
            // Where that cannot be told it may: what may be held is not destroyed.
            Epoch::Day(day) => calendar::span(self.site, month).map_or(true, |s| overlaps(s, day)),
        }
    }

    /// Whether a lot waits for its month to close, whatever its due time: without its keys no late
    /// record could be counted any more.
    pub fn waits_for_close(&self, lot: Lot) -> bool {
        match lot {
            Lot::Records(_) | Lot::Suppression(_) | Lot::Seen(_) | Lot::Access(_) => false,
            Lot::Sets(at) | Lot::RecordKey(at) | Lot::WatermarkKey(at) | Lot::BaseKey(at) => {
                !self.site.is_closed(at.month)
            }
        }
    }

    /// Pseudonym sets: when the figures are final and the time for objections is over, and no
    /// record can come any more; at most six months.
    pub(super) fn sets(&self, month: Month, ends_at: Timestamp) -> Timestamp {
        // Every zone was known at the start.
        let closed = calendar::closes_at(self.site, month).unwrap_or(Timestamp::END);
        let objected = after_days(closed, self.policy.objection_days());
        objected.max(self.last_record(ends_at)).min(add_months(ends_at, SETS_MONTHS_MAX))
    }

    /// From when on no record of a month can be accepted.
    pub fn last_record(&self, ends_at: Timestamp) -> Timestamp {
        Timestamp(ends_at.0.saturating_add(self.age_ms))
    }
}

fn after_days(at: Timestamp, days: u32) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::from(days) * DAY_MS))
}

fn overlaps(span: MonthSpan, day: Day) -> bool {
    let from = day.start();
    span.from.0 < from.0 + DAY_MS && from < span.to
}
