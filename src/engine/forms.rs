//! Members of a billing group must read user ids alike: a group's tag is made of the form that a
//! member's month gives an id, so that members of two forms would count one person twice. Here is
//! how the writer tells before it changes a site.

use std::collections::BTreeSet;

use super::writer::Writer;
use crate::keys::KeyKind;
use crate::model::ids::{GroupId, SiteId};
use crate::model::site::{Site, SiteSettings};
use crate::model::time::{Month, Timestamp};

/// How many months before the present one may be opened by a record of the accepted age, which is
/// longer than a month.
const MONTHS_BACK: usize = 2;

impl Writer {
    /// Whether a site, as it would be, and another member of one of its billing groups would have
    /// different forms of user ids in a month that the group may still count in.
    pub(super) fn differs_in_form(&self, site: &Site, now: Timestamp) -> bool {
        let directory = &self.shared.directory;
        let groups: BTreeSet<&GroupId> =
            all_settings(site).filter_map(|s| s.billing_group.as_ref()).collect();
        groups.into_iter().any(|group| {
            let others = directory.ever_members(group).into_iter();
            let mut others = others.filter(|other| other.id != site.id).peekable();
            if others.peek().is_none() {
                return false;
            }
            let months = self.months_of(group, site, now);
            others.any(|other| months.iter().any(|month| differ(group, site, &other, *month)))
        })
    }

    /// The months that a group may count in: those it has a set of, those that a late record may
    /// open, and the next one.
    fn months_of(&self, group: &GroupId, site: &Site, now: Timestamp) -> BTreeSet<Month> {
        let scope = SiteId::of_group(group);
        let keys = self.shared.ring.list().into_iter();
        let keys =
            keys.filter(|key| key.kind == KeyKind::Base && key.site.as_ref() == Some(&scope));
        let mut months: BTreeSet<Month> = keys.map(|key| Month(key.epoch)).collect();
        // A month more at either side: zones differ.
        let mut month = now.day().month().next();
        for _ in 0..MONTHS_BACK + 2 {
            months.insert(month);
            month = month.previous();
        }
        // What was announced holds from its month on, for all members.
        let others = self.shared.directory.ever_members(group);
        let own = others.iter().map(AsRef::as_ref).chain([site]);
        months.extend(own.filter_map(|site| site.pending.as_ref().map(|(month, _)| *month)));
        months
    }
}

/// All settings that a site had, has or will have.
fn all_settings(site: &Site) -> impl Iterator<Item = &SiteSettings> {
    let others = site.past.iter().chain(&site.pending).map(|(_, settings)| settings);
    others.chain([&site.settings])
}

/// Whether both are members in a month, and read user ids differently.
fn differ(group: &GroupId, one: &Site, other: &Site, month: Month) -> bool {
    let counts = |site: &Site| site.is_member(group, month) && takes(site, month);
    let forms = [one, other].map(|site| site.pseudonyms_in(month).users);
    forms[0] != forms[1] && counts(one) && counts(other)
}

/// Whether a site has, or may get, records of a month: one that has ended takes no more.
fn takes(site: &Site, month: Month) -> bool {
    let last = site.months.last().map(|span| span.month);
    site.terminated_at.is_none() || last.is_some_and(|last| month <= last)
}
