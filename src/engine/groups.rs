//! Billing groups: the users of several sites counted once, in a set beside those of the sites.
//!
//! A group has a number as a site has, so its month is a site-month like any other: set, counters,
//! runs, spill, recovery, recount and destruction are the same. Only users are counted; sums are
//! those of the members, which is why a group's counters hold no records.
//!
//! A row counts for the month of its own site's label. The group's month is closed when the last of
//! its members is, and stays closed; a site that was made after the month's end is not waited for.
//! A row that comes before the close counts for the group even where its own site has closed and
//! takes it as a correction, a row that comes after is a correction of the group.
//! (docs/decisions/0033-billing-groups.md)

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use super::distinct::Disk;
use super::gone::Takes;
use super::runs::RunError;
use super::state::{MonthState, SetKeys, State, TallyKind};
use super::writer::{RingKeys, Writer};
use super::{Engine, EngineError, Shared, UsageMonth, calendar};
use crate::model::batch::{Batch, SiteMonth};
use crate::model::ids::{GroupId, ShortTag, SiteId, SiteNo};
use crate::model::limits;
use crate::model::pseudonym::Algorithm;
use crate::model::rules::RuleSet;
use crate::model::site::Site;
use crate::model::time::{Month, Timestamp};
use crate::model::usage::{Counters, Evidence, State as MonthLife, Tally};
use crate::model::vocab::DrmType;
use crate::store::codec::Corrupt;

const HOUR_MS: i64 = 3_600_000;

/// A billing group's month as it stands.
#[derive(Clone, Debug)]
pub struct GroupMonth {
    /// The group.
    pub group: GroupId,
    /// The month by its name: each member's own of that name.
    pub month: Month,
    /// What makes the pseudonyms of its set.
    pub algorithm: Algorithm,
    /// The members of the month, in the order of their ids.
    pub members: Vec<UsageMonth>,
    /// Users of the group, and those that came after its close; nothing else.
    pub tally: Tally,
    /// How far the group's month is.
    pub state: MonthLife,
    /// When the last member closes, or was due to; who joins after the close does not move it.
    pub closes_at: Timestamp,
    /// What the group's figures rest on.
    pub evidence: Evidence,
    /// When the figures were read.
    pub as_of: Timestamp,
}

impl GroupMonth {
    /// The group's users with the sums of its members as of the group's close; and what came after
    /// that, late records of members and all records of sites that joined later.
    pub fn sums(&self) -> (Counters, Counters) {
        let Tally { counters, corrections, .. } = &self.tally;
        let (mut figures, mut late) = (counters.clone(), corrections.clone());
        for member in &self.members {
            let Tally { counters, corrections, .. } = &member.tally;
            late.add_sums(corrections);
            match self.is_in_time(member) {
                true => figures.add_sums(counters),
                false => late.add_sums(counters),
            }
        }
        (figures, late)
    }

    /// The rules that its members' months are counted by; where these differ, the newest.
    pub fn rule_set(&self) -> RuleSet {
        self.members.iter().map(|member| member.span.rule_set).max().unwrap_or_default()
    }

    /// Whether a member's own month closed no later than the group's. Another one joined after the
    /// group had closed, or had no record until then.
    pub fn is_in_time(&self, member: &UsageMonth) -> bool {
        let closed_at = |tally: &Tally| tally.closed_at.unwrap_or(Timestamp::END);
        closed_at(&member.tally) <= closed_at(&self.tally)
    }
}

impl MonthState {
    /// Counts a user of a member of this group.
    ///
    /// # Errors
    /// When a set on disk cannot be read.
    pub(super) fn take_member(
        &mut self,
        tag: ShortTag,
        drm: DrmType,
        disk: &mut Disk<'_>,
    ) -> Result<(), RunError> {
        if !self.is_closed() {
            let bit = drm.bit();
            let before = self.sets[TallyKind::Users as usize].insert(tag, bit, disk)?;
            self.tally.counters.mau += u64::from(before == 0);
            let counter = &mut self.tally.counters.mau_by_drm[usize::from(drm.code())];
            *counter += u64::from(before & bit == 0);
        } else {
            let new = self.add(TallyKind::Users, tag, disk)?;
            self.tally.corrections.mau += u64::from(new);
        }
        Ok(())
    }
}

impl State {
    /// Where the month of a group is; nowhere once its set is destroyed, or being destroyed.
    pub(super) fn group_index(
        &mut self,
        at: SiteMonth,
        group: u64,
        keys: &dyn SetKeys,
    ) -> Result<Option<usize>, RunError> {
        if keys.takes(at, group) == Takes::Nothing {
            return Ok(None);
        }
        Ok(Some(self.month_index(at, keys).ok_or(Corrupt("key of a group's month"))?))
    }
}

/// The members whose close a group's month waits for: those that were made before the month's end.
/// A site that is made later is none, with records or without: its close would open a month again
/// that was stated, and sites to come would keep it open for ever. Where no member is older, it is
/// those that were made before the first of them could close.
fn awaited(members: &[Arc<Site>], month: Month) -> Vec<Arc<Site>> {
    let is_older =
        |site: &&Arc<Site>| calendar::span(site, month).is_ok_and(|span| site.created_at < span.to);
    let older: Vec<_> = members.iter().filter(is_older).cloned().collect();
    if !older.is_empty() {
        return older;
    }
    let first = members.iter().map(|site| site.created_at.0).min().unwrap_or_default();
    let until = first.saturating_add(i64::from(limits::NEW_SITE_HOURS) * HOUR_MS);
    members.iter().filter(|site| site.created_at.0 < until).cloned().collect()
}

/// When a group's month closes, or was due to. Once it has closed, who joins later with a month
/// that is open still moves it no more: whoever was waited for was due by then. That is also so of
/// members without a record, who have no close of their own in the figures
/// (docs/decisions/0045-the-bill-to-the-letter.md has what this leaves).
fn closes_at(due: &[Timestamp], closed_at: Option<Timestamp>) -> Timestamp {
    let due = due.iter().copied();
    match closed_at {
        Some(at) => due.filter(|due| *due <= at).max().unwrap_or(at),
        None => due.max().unwrap_or_default(),
    }
}

impl Shared {
    /// Whether every member that a group's month waits for has closed it; `through` are closes that
    /// are not shown yet. A group without members has nothing to close.
    fn is_over(&self, group: &GroupId, month: Month, through: &HashMap<SiteNo, Month>) -> bool {
        let members = awaited(&self.directory.members(group, month), month);
        let is_closed = |site: &Site| {
            let last = through.get(&site.no).copied().or(site.closed_through);
            last.is_some_and(|last| month <= last)
        };
        !members.is_empty() && members.iter().all(|site| is_closed(site))
    }

    /// The billing group that a number stands for.
    fn group_of(&self, no: SiteNo) -> Option<GroupId> {
        self.directory.by_no(no)?.id.group()
    }
}

impl Writer {
    /// Closes the months of groups whose last member closes, and answers these.
    pub(super) fn close_groups(
        &mut self,
        through: &HashMap<SiteNo, Month>,
    ) -> Vec<(SiteMonth, Tally)> {
        let (shared, believed) = (Arc::clone(&self.shared), self.closing.believed());
        let mut tallies = Vec::new();
        for month in self.state.months().iter_mut().filter(|month| !month.is_closed()) {
            let group = shared.group_of(month.at.site);
            if group.is_some_and(|group| shared.is_over(&group, month.at.month, through)) {
                month.close(believed);
                tallies.push((month.at, month.tally.clone()));
            }
        }
        tallies
    }

    /// Closes the months of a batch's groups that had no record when they were due.
    ///
    /// # Errors
    /// When a month has no key.
    pub(super) fn close_late_groups(&mut self, batch: &Batch) -> Result<(), EngineError> {
        for (place, at) in batch.months.iter().enumerate() {
            let Some(no) = batch.group_of(place) else { continue };
            let at = SiteMonth { site: no, ..*at };
            if self.state.known(at).is_some_and(MonthState::is_closed) {
                continue;
            }
            let keys = RingKeys(&self.shared);
            let group = self.shared.group_of(no);
            let due = group.is_some_and(|of| self.shared.is_over(&of, at.month, &HashMap::new()));
            if due && keys.takes(at, self.next_group) != Takes::Nothing {
                let missing = Corrupt("key of a group's month");
                self.state.month(at, &keys).ok_or(missing)?.close(self.closing.believed());
            }
        }
        Ok(())
    }
}

impl Engine {
    /// The figures of a billing group's month; `None` when no site is a member in that month. The
    /// figures of the members are of the same moment.
    ///
    /// # Errors
    /// [`EngineError::Ended`]; when a site's time zone is unknown.
    pub fn group_usage(
        &self,
        group: &GroupId,
        month: Month,
    ) -> Result<Option<GroupMonth>, EngineError> {
        let shared = &self.shared;
        let sites = shared.directory.members(group, month);
        let Some(scope) = self.site(&SiteId::of_group(group)).filter(|_| !sites.is_empty()) else {
            return Ok(None);
        };
        let at = SiteMonth { site: scope.no, month };
        let published = shared.published.read().unwrap_or_else(PoisonError::into_inner);
        let tally_of = |at: &SiteMonth| published.get(at).cloned().unwrap_or_default();
        let own = |site: &Arc<Site>| SiteMonth { site: site.no, month };
        let tallies: Vec<Tally> = sites.iter().map(|site| tally_of(&own(site))).collect();
        let tally = tally_of(&at);
        drop(published);
        if shared.has_ended(at) {
            return Err(EngineError::Ended);
        }
        let awaited = awaited(&sites, month);
        let mut members = Vec::with_capacity(sites.len());
        for (site, tally) in sites.into_iter().zip(tallies) {
            members.push(self.usage_of(site, month, tally)?);
        }
        let waits = |of: &&UsageMonth| awaited.iter().any(|site| site.no == of.site.no);
        let own: Vec<_> = members.iter().filter(waits).collect();
        let state = match tally.closed_at {
            Some(_) => MonthLife::Closed,
            None if own.iter().all(|of| of.state == MonthLife::Closed) => MonthLife::Closed,
            None if own.iter().any(|of| of.state == MonthLife::Open) => MonthLife::Open,
            None => MonthLife::Closing,
        };
        let due: Vec<Timestamp> = own.iter().map(|of| of.closes_at).collect();
        let closes_at = closes_at(&due, tally.closed_at);
        Ok(Some(GroupMonth {
            group: group.clone(),
            month,
            algorithm: scope.algorithm,
            members,
            tally,
            state,
            closes_at,
            evidence: self.evidence(at),
            as_of: shared.clock.now(),
        }))
    }

    /// The months of billing groups that may have closed after a time: those whose own figures did,
    /// and where nobody was counted those of which a member did.
    pub fn groups_closed_after(&self, time: Timestamp) -> BTreeSet<(GroupId, Month)> {
        let directory = &self.shared.directory;
        let group = |scope: SiteId| {
            let of = scope.group()?;
            let members = directory.ever_members(&of);
            Some((directory.site(&scope)?.no, of, members))
        };
        let groups: Vec<_> = self.groups().into_iter().filter_map(group).collect();
        let mut found = BTreeSet::new();
        for (no, of, members) in &groups {
            // Of one group at a time: the writer waits for it.
            let published = self.shared.published.read().unwrap_or_else(PoisonError::into_inner);
            let tally = |site: SiteNo, month: Month| published.get(&SiteMonth { site, month });
            for member in members {
                let months = member.months.iter().map(|span| span.month);
                let own = months.filter(|month| member.is_member(of, *month));
                let closed = own.filter(|month| {
                    let stated = tally(*no, *month).or_else(|| tally(member.no, *month));
                    stated.and_then(|of| of.closed_at).is_some_and(|at| at > time)
                });
                found.extend(closed.map(|month| (of.clone(), month)));
            }
        }
        found
    }

    /// The key scopes of all billing groups that ever had a member.
    pub fn groups(&self) -> Vec<SiteId> {
        self.shared.directory.groups()
    }

    /// The members of a billing group in a month, in the order of their ids.
    pub fn members(&self, group: &GroupId, month: Month) -> Vec<Arc<Site>> {
        self.shared.directory.members(group, month)
    }

    /// The key scope of a billing group; `None` where no site was ever a member.
    pub fn group_scope(&self, group: &GroupId) -> Option<Arc<Site>> {
        self.site(&SiteId::of_group(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member whose own month is open still when it joins is due later than the group closed.
    #[test]
    fn who_joins_after_the_close_moves_nothing() {
        let [first, last, late] = [10, 20, 90].map(Timestamp);
        let own = [first, last];
        assert_eq!(closes_at(&own, None), Timestamp(20));
        assert_eq!(closes_at(&own, Some(Timestamp(21))), Timestamp(20));
        let joined = [first, last, late];
        assert_eq!(closes_at(&joined, Some(Timestamp(21))), Timestamp(20));
        assert_eq!(closes_at(&joined, None), Timestamp(90), "it is waited for");
        assert_eq!(closes_at(&[late], Some(Timestamp(21))), Timestamp(21));
        assert_eq!(closes_at(&[], None), Timestamp::default());
    }
}
