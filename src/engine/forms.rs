//! Members of a billing group must read user ids alike: a group's tag is made of the form that a
//! member's month gives an id, so that members of two forms would count one person twice. Here is
//! how the writer tells before it changes a site, and before it takes a backfill.
//!
//! Only members count that have records of a month or can get some: those of a month that late
//! records reach, those with records in it, and those with an open backfill that reaches it. A
//! change of a site moves no month that has records, so it can give two forms only to months that
//! late records reach; a backfill can do so to older ones. Both pass here, on the writer's thread.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use super::writer::Writer;
use super::{Engine, EngineError, Shared, calendar};
use crate::model::backfill::{BACK_MS_MAX, Job};
use crate::model::batch::SiteMonth;
use crate::model::ids::{GroupId, SiteNo};
use crate::model::site::{Site, SiteSettings};
use crate::model::time::{DAY_MS, Month, Timestamp};
use crate::model::usage::Tally;

/// How far the months of two zones lie apart at most, milliseconds.
const ZONES_MS: i64 = 2 * DAY_MS;

/// The months that records of the accepted age may open, and the next one.
#[derive(Clone, Copy)]
struct Reach {
    first: Month,
    last: Month,
}

impl Writer {
    /// Whether a site, as it would be, and another member of one of its billing groups would have
    /// different forms of user ids in a month that both may count in.
    pub(super) fn differs_in_form(&self, site: &Site, now: Timestamp) -> bool {
        let directory = &self.shared.directory;
        let reach = Reach::at(now, self.settings.age_ms);
        let groups: BTreeSet<&GroupId> =
            all_settings(site).filter_map(|s| s.billing_group.as_ref()).collect();
        groups.into_iter().any(|group| {
            let mut others = directory.ever_members(group);
            others.retain(|other| other.id != site.id);
            let months = reach.months_of(site, &others);
            others.iter().any(|other| {
                let other: &Site = other;
                let counts = |month: Month| [site, other].iter().all(|of| self.counts(of, month));
                months.iter().any(|month| differ(group, site, other, *month) && counts(*month))
            })
        })
    }

    /// Whether a site has, or may get, records of a month that late records reach.
    fn counts(&self, site: &Site, month: Month) -> bool {
        takes(site) || self.shared.has_records_in(site.no, month)
    }
}

impl Engine {
    /// Whether all members of a billing group that count in the months of a backfill read user ids
    /// as the backfill's site does; true where the site is in no group.
    ///
    /// # Errors
    /// When there is no such site, or a time zone is unknown.
    pub fn reads_alike(&self, job: &Job) -> Result<bool, EngineError> {
        let now = self.shared.clock.now();
        self.shared.reads_alike(job, Reach::at(now, self.settings().age_ms))
    }
}

impl Writer {
    /// The same on the writer's thread, where nothing changes meanwhile.
    ///
    /// # Errors
    /// As [`Engine::reads_alike`].
    pub(super) fn reads_alike(&self, job: &Job) -> Result<bool, EngineError> {
        let now = self.shared.clock.now();
        self.shared.reads_alike(job, Reach::at(now, self.settings.age_ms))
    }
}

impl Shared {
    fn reads_alike(&self, job: &Job, reach: Reach) -> Result<bool, EngineError> {
        let site = self.directory.by_no(job.site).ok_or(EngineError::NoSite)?;
        for month in months_of_job(job, &site)? {
            let Some(group) = &site.settings_in(month).billing_group else { continue };
            let mut members = self.directory.members(group, month);
            members.retain(|other| other.id != site.id);
            for other in &members {
                if differ(group, &site, other, month) && self.counts(other, month, reach)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether a site has, or may get, records of a month.
    fn counts(&self, site: &Site, month: Month, reach: Reach) -> Result<bool, EngineError> {
        if (takes(site) && month >= reach.first) || self.has_records_in(site.no, month) {
            return Ok(true);
        }
        for job in self.open_jobs(site.no) {
            if months_of_job(&job, site)?.contains(&month) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn open_jobs(&self, site: SiteNo) -> impl Iterator<Item = Arc<Job>> {
        let jobs = self.backfills.all().into_iter();
        jobs.filter(move |job| job.site == site && job.is_open())
    }

    fn has_records_in(&self, site: SiteNo, month: Month) -> bool {
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        published.get(&SiteMonth { site, month }).is_some_and(Tally::has_records)
    }
}

impl Reach {
    fn at(now: Timestamp, age_ms: i64) -> Self {
        let first = Timestamp(now.0.saturating_sub(age_ms).saturating_sub(ZONES_MS));
        Self { first: first.day().month(), last: now.day().month().next() }
    }

    /// With those from which on something is announced: it holds from there on.
    fn months_of(self, site: &Site, others: &[Arc<Site>]) -> BTreeSet<Month> {
        let all = others.iter().map(AsRef::as_ref).chain([site]);
        let announced = all.flat_map(|site| site.pending.iter().map(|(month, _)| *month));
        let mut months: BTreeSet<Month> = announced.collect();
        let mut month = self.first;
        while month <= self.last {
            months.insert(month);
            month = month.next();
        }
        months
    }
}

/// Whether a site takes records: one that has ended takes no more, although its months go on to
/// close.
const fn takes(site: &Site) -> bool {
    site.terminated_at.is_none()
}

/// All settings that a site had, has or will have.
fn all_settings(site: &Site) -> impl Iterator<Item = &SiteSettings> {
    let others = site.past.iter().chain(&site.pending).map(|(_, settings)| settings);
    others.chain([&site.settings])
}

/// Whether both are members in a month, and read user ids differently.
fn differ(group: &GroupId, one: &Site, other: &Site, month: Month) -> bool {
    let forms = [one, other].map(|site| site.pseudonyms_in(month).users);
    forms[0] != forms[1] && one.is_member(group, month) && other.is_member(group, month)
}

/// The months of a site that the records of a backfill may belong to.
fn months_of_job(job: &Job, site: &Site) -> Result<BTreeSet<Month>, EngineError> {
    let from = job.from.max(Timestamp(job.made_at.0.saturating_sub(BACK_MS_MAX)));
    let last = Timestamp(job.to.min(job.made_at).0.saturating_sub(1)).max(from);
    let mut reached = site.clone();
    reached.months = calendar::reaching(&reached, from)?;
    reached.months = calendar::reaching(&reached, last)?;
    let spans = reached.months.into_iter();
    let own = spans.filter(|span| span.from <= last && from < span.to);
    Ok(own.map(|span| span.month).chain(job.staged.keys().copied()).collect())
}
