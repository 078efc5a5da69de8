//! What a statement is of: a closed month of a site, or of a billing group. A group is asked for by
//! its key scope, which no caller can name as a site, and all that makes a statement is the same.
//!
//! A group's users are in a set of its own. Everything else is the sum of its members, as these
//! stood when the first version was issued: a site that joins after the group's close adds to the
//! corrections, and later versions have the figures of the first.

use std::sync::Arc;

use super::{Billing, BillingError, Inner};
use crate::engine::groups::GroupMonth;
use crate::engine::{EngineError, UsageMonth};
use crate::identity::UserRules;
use crate::model::caller::Caller;
use crate::model::ids::{GroupId, SiteId};
use crate::model::pseudonym::Algorithm;
use crate::model::site::MonthSpan;
use crate::model::systems::Hidden;
use crate::model::time::{Month, Timestamp};
use crate::model::usage::{Counters, Evidence, State, Tally};
use crate::wire::statement::{
    Body, ByDrm, Corrected, Earlier, Excluded, FORMAT, Figures, GROUP_FORMAT, Member, Method,
    Statement,
};

/// How many months before may have had late records since the last statement: as many as a month's
/// sets are kept for, since what is older takes no records.
const EARLIER: usize = 7;

/// A closed month.
pub(super) enum Subject {
    /// Of a site.
    Site(UsageMonth),
    /// Of a billing group.
    Group(GroupMonth),
    /// Of a group that all members have left since: those of the last month that had some, of whom
    /// nothing is counted here. It is there to tell what came late of that month.
    Left(GroupMonth),
}

/// What a version says of its subject.
pub(super) struct Said {
    pub format: &'static str,
    pub site_id: Option<SiteId>,
    pub billing_group: Option<GroupId>,
    pub time_zone: Option<String>,
    pub from: Timestamp,
    pub to: Timestamp,
    pub method: Option<Method>,
    pub pseudonym_algorithm: Option<String>,
    pub figures: Figures,
    pub by_drm_type: Vec<ByDrm>,
    pub excluded: Vec<Excluded>,
    pub corrections: Corrected,
    pub members: Option<Vec<Member>>,
}

impl Billing {
    /// The key scope of a billing group, for a caller that may see every member of its month: what
    /// is missing in one's own sites would be the others'.
    ///
    /// # Errors
    /// [`BillingError::NotFound`], and what the engine cannot tell.
    pub fn group(
        &self,
        caller: &Caller,
        group: &GroupId,
        month: Month,
    ) -> Result<SiteId, BillingError> {
        let found = self.0.of_group(group, month)?;
        let holds = |member: &UsageMonth| caller.sites.holds(&member.site.id);
        let visible = found.members().iter().all(holds);
        visible.then(|| SiteId::of_group(group)).ok_or(BillingError::NotFound)
    }
}

impl Subject {
    /// Its figures; of a group users only.
    pub fn tally(&self) -> &Tally {
        match self {
            Self::Site(usage) => &usage.tally,
            Self::Group(group) | Self::Left(group) => &group.tally,
        }
    }

    /// How far it is.
    const fn state(&self) -> State {
        match self {
            Self::Site(usage) => usage.state,
            Self::Group(group) | Self::Left(group) => group.state,
        }
    }

    /// The members of a group, also of one that they have left; a site has none.
    pub fn members(&self) -> &[UsageMonth] {
        match self {
            Self::Site(_) => &[],
            Self::Group(group) | Self::Left(group) => &group.members,
        }
    }

    /// The other scopes whose lists are about the same persons: the group of a site, the members of
    /// a group.
    pub fn about_the_same(&self, month: Month) -> Vec<SiteId> {
        match self {
            Self::Site(usage) => {
                let group = usage.site.settings_in(month).billing_group.as_ref();
                group.map(SiteId::of_group).into_iter().collect()
            }
            Self::Group(_) | Self::Left(_) => {
                self.members().iter().map(|member| member.site.id.clone()).collect()
            }
        }
    }

    /// Whether anything was ever counted.
    pub fn has_records(&self) -> bool {
        match self {
            Self::Site(usage) => usage.tally.has_records(),
            Self::Group(_) | Self::Left(_) => {
                self.members().iter().any(|member| member.tally.has_records())
            }
        }
    }

    /// When it closed.
    pub fn closed_at(&self) -> Timestamp {
        match self {
            Self::Site(usage) => usage.tally.closed_at.unwrap_or(usage.closes_at),
            Self::Group(group) | Self::Left(group) => {
                group.tally.closed_at.unwrap_or(group.closes_at)
            }
        }
    }

    /// What became of its sets.
    pub const fn evidence(&self) -> Evidence {
        match self {
            Self::Site(usage) => usage.evidence,
            Self::Group(group) | Self::Left(group) => group.evidence,
        }
    }

    /// How the user ids of its month are read, and what makes pseudonyms of them. Members of a
    /// group that have records read them alike.
    pub fn reading(&self, month: Month) -> (Algorithm, UserRules) {
        let sentinels =
            |usage: &UsageMonth| usage.site.settings_in(month).sentinel_user_ids.clone();
        match self {
            Self::Site(usage) => {
                let of = usage.span.pseudonyms;
                (of.algorithm, UserRules::new(of.users, &sentinels(usage)))
            }
            Self::Group(group) | Self::Left(group) => {
                let own = group.members.iter().filter(|member| member.tally.has_records());
                let form = own.clone().next().map(|member| member.span.pseudonyms.users);
                let lists: Vec<_> = own.map(sentinels).collect();
                let lists = lists.iter().map(Vec::as_slice);
                (group.algorithm, UserRules::common(form.unwrap_or_default(), lists))
            }
        }
    }

    /// What a version says; `before` is the version that it follows, where it is stored. What by
    /// DRM system is about fewer users than `least` is left out.
    pub fn said(&self, month: Month, before: Option<&Body>, least: u64) -> Said {
        match self {
            Self::Site(usage) => of_site(usage, month, least),
            Self::Group(group) => of_group(group, before, least),
            Self::Left(group) => {
                Said { members: Some(Vec::new()), ..of_group(group, before, least) }
            }
        }
    }
}

impl Inner {
    /// A month that can have a statement; of a group none without any record.
    pub(super) fn closed(&self, scope: &SiteId, month: Month) -> Result<Subject, BillingError> {
        let subject = self.ended(scope, month)?;
        let exists = match &subject {
            // Nothing is stated of a time before the site.
            Subject::Site(usage) => usage.span.to > usage.site.created_at,
            // A group without any record has one where there is something to be told of the
            // months before.
            Subject::Group(_) | Subject::Left(_) => false,
        };
        if exists || subject.has_records() {
            return Ok(subject);
        }
        match scope.is_group() && !self.earlier(scope, month)?.is_empty() {
            true => Ok(subject),
            false => Err(BillingError::NotFound),
        }
    }

    /// A closed month, whether anything can be said of it or not.
    pub(super) fn ended(&self, scope: &SiteId, month: Month) -> Result<Subject, BillingError> {
        let subject = match scope.group() {
            Some(group) => self.of_group(&group, month)?,
            None => Subject::Site(self.months.usage(scope, month)?.ok_or(BillingError::NotFound)?),
        };
        match subject.state() {
            State::Closed => Ok(subject),
            State::Open | State::Closing => Err(BillingError::NotClosed),
        }
    }

    /// A group's month. Where it has no members any more, those of the last month that had some
    /// stand for it, as long as something may come late of that one.
    fn of_group(&self, group: &GroupId, month: Month) -> Result<Subject, BillingError> {
        if let Some(found) = self.months.group(group, month)? {
            return Ok(Subject::Group(found));
        }
        let mut of = month;
        for _ in 0..EARLIER {
            of = of.previous();
            if let Some(last) = kept(self.months.group(group, of))? {
                return self.left(last, month).map(Subject::Left);
            }
        }
        Err(BillingError::NotFound)
    }

    /// A month of a group after the last one that had members. It is over when theirs is.
    fn left(&self, last: GroupMonth, month: Month) -> Result<GroupMonth, BillingError> {
        let mut members = Vec::with_capacity(last.members.len());
        for UsageMonth { site, .. } in &last.members {
            let usage = self.months.usage(&site.id, month)?.ok_or(BillingError::NotFound)?;
            let (site, tally) = (Arc::clone(site), Tally::default());
            members.push(UsageMonth { site, tally, ..usage });
        }
        let is_over = members.iter().all(|of| of.state == State::Closed);
        let state = if is_over { State::Closed } else { State::Closing };
        let closes_at = members.iter().map(|of| of.closes_at).max().unwrap_or_default();
        let (tally, evidence) = (Tally::default(), Evidence::Live);
        Ok(GroupMonth { month, members, tally, state, closes_at, evidence, ..last })
    }

    /// Whether something came late of the months before that no statement has told yet: neither
    /// their own nor one of a month since.
    pub(super) fn has_untold(&self, scope: &SiteId, month: Month) -> Result<bool, BillingError> {
        for Earlier { month: of, corrections } in self.earlier(scope, month)? {
            let is_told = |said: &Corrected| {
                (said.records, said.users) == (corrections.records, corrections.users)
            };
            let (mut at, mut told) = (of, false);
            // Those behind this month may have been issued before it.
            for _ in 0..=EARLIER {
                if let Some(Statement { body, .. }) = self.stored(scope, at)?.pop() {
                    let mut since = body.earlier_corrections.iter().filter(|said| said.month == of);
                    told |= since.any(|said| is_told(&said.corrections))
                        || (at == of && is_told(&body.corrections));
                }
                at = at.next();
            }
            if !told {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The corrections of the months before, the earliest first.
    pub(super) fn earlier(
        &self,
        scope: &SiteId,
        month: Month,
    ) -> Result<Vec<Earlier>, BillingError> {
        let mut earlier = Vec::new();
        let mut of = month;
        for _ in 0..EARLIER {
            of = of.previous();
            let corrections = match scope.group() {
                Some(group) => self.late_of_group(scope, &group, of)?,
                None => match self.months.usage(scope, of) {
                    Ok(usage) => {
                        let usage = usage.ok_or(BillingError::NotFound)?;
                        Some((&usage.tally.corrections).into())
                    }
                    Err(EngineError::Ended) => None,
                    Err(error) => return Err(error.into()),
                },
            };
            if let Some(corrections) = corrections.filter(Corrected::any) {
                earlier.insert(0, Earlier { month: of, corrections });
            }
        }
        Ok(earlier)
    }

    /// What a restatement of a group's month would say that came late: all that its members count
    /// by now beyond what was stated. `None` while it is open.
    fn late_of_group(
        &self,
        scope: &SiteId,
        group: &GroupId,
        month: Month,
    ) -> Result<Option<Corrected>, BillingError> {
        let Some(found) = kept(self.months.group(group, month))? else { return Ok(None) };
        let stated = self.stored(scope, month)?.pop().map(|last| last.body);
        // Who joined after the close has a month that is open, and the group's stays closed.
        let closed = found.state == State::Closed || stated.is_some();
        Ok(closed.then(|| of_group(&found, stated.as_ref(), 0).corrections))
    }
}

/// What there is, or nothing of a month whose figures have ended: nothing came late of it since.
fn kept<T>(found: Result<Option<T>, EngineError>) -> Result<Option<T>, EngineError> {
    match found {
        Err(EngineError::Ended) => Ok(None),
        found => found,
    }
}

fn of_site(usage: &UsageMonth, month: Month, least: u64) -> Said {
    let counters = &usage.tally.counters;
    Said {
        format: FORMAT,
        site_id: Some(usage.site.id.clone()),
        billing_group: usage.site.settings_in(month).billing_group.clone(),
        time_zone: Some(usage.time_zone.clone()),
        from: usage.span.from,
        to: usage.span.to,
        method: Some(method(usage, month)),
        pseudonym_algorithm: None,
        figures: counters.into(),
        by_drm_type: ByDrm::of(counters, &Hidden::of(counters, least)),
        excluded: excluded(counters),
        corrections: (&usage.tally.corrections).into(),
        members: None,
    }
}

fn of_group(group: &GroupMonth, before: Option<&Body>, least: u64) -> Said {
    let members = &group.members;
    let (all, late) = group.sums();
    let in_time = members.iter().filter(|member| group.is_in_time(member));
    let parts: Vec<Hidden> =
        in_time.map(|member| Hidden::of(&member.tally.counters, least)).collect();
    let hidden = Hidden::of(&all, least).and_parts(parts.iter());
    let said = |of: &Counters| Figures { devices: None, watermark_users: None, ..of.into() };
    let (figures, by_drm_type, excluded, corrections) = match before {
        None => (said(&all), ByDrm::of(&all, &hidden), excluded(&all), Corrected::from(&late)),
        Some(first) => {
            // All that the members count by now, less what was stated.
            let mut now = all;
            now.add_sums(&late);
            let more = Corrected::beyond(&now, &late, &first.figures, &first.excluded);
            let Body { figures, by_drm_type, excluded, .. } = first.clone();
            let by_drm_type = by_drm_type.into_iter().map(|of| of.told(&hidden)).collect();
            (figures, by_drm_type, excluded, more)
        }
    };
    let first = members.iter().map(|member| member.span.from).min();
    let last = members.iter().map(|member| member.span.to).max();
    Said {
        format: GROUP_FORMAT,
        site_id: None,
        billing_group: Some(group.group.clone()),
        time_zone: None,
        from: first.unwrap_or_default(),
        to: last.unwrap_or_default(),
        method: None,
        pseudonym_algorithm: Some(group.algorithm.name().to_owned()),
        figures,
        by_drm_type,
        excluded,
        corrections,
        members: Some(members.iter().map(|usage| member(usage, group.month)).collect()),
    }
}

fn member(usage: &UsageMonth, month: Month) -> Member {
    let closed = usage.state == State::Closed;
    Member {
        site_id: usage.site.id.clone(),
        time_zone: usage.time_zone.clone(),
        from: usage.span.from,
        to: usage.span.to,
        closed_at: closed.then(|| usage.tally.closed_at.unwrap_or(usage.closes_at)),
        method: method(usage, month),
        figures: (&usage.tally.counters).into(),
        corrections: (&usage.tally.corrections).into(),
        // It is read apart, since that takes its time.
        quality: None,
    }
}

fn method(usage: &UsageMonth, month: Month) -> Method {
    let settings = usage.site.settings_in(month);
    let MonthSpan { rule_set, pseudonyms, .. } = usage.span;
    Method::new(rule_set, pseudonyms, settings.closing_hours, settings.counting)
}

fn excluded(counters: &Counters) -> Vec<Excluded> {
    let row = |(reason, records): (&str, u64)| Excluded { reason: reason.to_owned(), records };
    counters.exclusions().map(row).collect()
}
