//! The lots of billing groups: the set of a group's month, and the base key that its tags were
//! made with. Both go when the last of the members' own sets of that month is due, by the same
//! rule; they wait while the month of a member is open that was there before its end, and are held
//! where a member's set is. Whoever joins later may put them off, to six months behind the month's
//! end and no further.

use super::Inner;
use super::due::Terms;
use super::holds::covers;
use super::plan::{Standing, standing};
use super::vault::LotInfo;
use crate::engine::calendar;
use crate::model::batch::SiteMonth;
use crate::model::ids::HoldNo;
use crate::model::retention::Lot;
use crate::model::site::Site;
use crate::model::time::{Month, Timestamp};
use crate::wire::retention::rows::HoldRow;

impl Inner {
    /// What is decided of a lot of a billing group's key scope, or of a copy of it.
    pub(super) fn group_standing(
        &self,
        (info, hold): (LotInfo, Option<HoldNo>),
        scope: &Site,
        holds: &[HoldRow],
        now: Timestamp,
    ) -> Standing {
        let (Lot::Sets(at) | Lot::BaseKey(at) | Lot::RecordKey(at) | Lot::WatermarkKey(at)) =
            info.lot
        else {
            // A group has no records; what nobody knows the end of is kept.
            return standing((info, hold), (Timestamp::END, Timestamp::END), &[], true);
        };
        let group = scope.id.group();
        let members = group.map_or(Vec::new(), |group| self.vault.members(&group, at.month));
        let (policy, age_ms) = (self.policy_at(now), self.vault.age_ms());
        let terms = |site| Terms { policy, site, age_ms };
        let (mut due, mut waits, mut covering) = (None, false, Vec::new());
        for site in &members {
            let (terms, own) = (terms(&**site), own_set(site, at.month));
            due = due.max(terms.dues(std::slice::from_ref(&own)).remove(&own.lot));
            // One that was made later closes within its own due time, or where the end of that is
            // cut off takes no record of the month any more: sites to come would keep it for ever.
            waits |= site.created_at < own.ends_at && terms.waits_for_close(own.lot);
            covering.extend(holds.iter().filter(|row| covers(row, &terms, own.lot)));
        }
        // Sites that left before anything was counted may leave keys to nobody.
        let own = own_set(scope, at.month);
        let alone = || terms(scope).dues(std::slice::from_ref(&own)).remove(&own.lot);
        let due = due.or_else(alone).unwrap_or(Timestamp::END);
        let last_record = terms(scope).last_record(info.ends_at);
        standing((info, hold), (due, last_record), &covering, waits)
    }
}

/// The pseudonym set of a site's month, whether it lives or not.
fn own_set(site: &Site, month: Month) -> LotInfo {
    // Every zone was known at the start.
    let ends_at = calendar::span(site, month).map_or(Timestamp::END, |span| span.to);
    let lot = Lot::Sets(SiteMonth { site: site.no, month });
    LotInfo { lot, site: site.id.clone(), keys: Vec::new(), ends_at }
}
