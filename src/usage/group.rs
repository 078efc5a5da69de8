//! A billing group's month: users counted once over its sites, and the sites' own figures beside.

use super::{Usage, UsageError};
use crate::engine::UsageMonth;
use crate::model::caller::Caller;
use crate::model::ids::GroupId;
use crate::model::time::Month;
use crate::wire::group::{GroupUsage, Member};

impl Usage {
    /// One month of a billing group, as JSON. Whoever may not see every member sees nothing of the
    /// group: what is missing in one's own sites would be the others'.
    ///
    /// # Errors
    /// [`UsageError::NotFound`], [`UsageError::Failed`].
    pub fn group(
        &self,
        caller: &Caller,
        group: &GroupId,
        month: Month,
    ) -> Result<Vec<u8>, UsageError> {
        let found = self.counts.group_usage(group, month)?.ok_or(UsageError::NotFound)?;
        if !found.members.iter().all(|member| caller.sites.holds(&member.site.id)) {
            return Err(UsageError::NotFound);
        }
        let (figures, corrections) = found.sums();
        let rule_set = found.rule_set();
        let usage = GroupUsage {
            group: found.group,
            month,
            algorithm: found.algorithm,
            rule_set,
            state: found.state,
            closes_at: found.closes_at,
            figures,
            corrections,
            members: found.members.into_iter().map(member).collect(),
            evidence: found.evidence,
            as_of: found.as_of,
        };
        Ok(usage.to_json())
    }
}

fn member(usage: UsageMonth) -> Member {
    Member {
        site_id: usage.site.id.clone(),
        time_zone: usage.time_zone,
        pseudonyms: usage.span.pseudonyms,
        rule_set: usage.span.rule_set,
        state: usage.state,
        counters: usage.tally.counters,
        corrections: usage.tally.corrections,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Figures, caller};
    use super::*;
    use crate::model::caller::{Role, SiteScope};
    use crate::model::ids::SiteId;
    use std::sync::Arc;

    #[test]
    fn a_group_is_shown_to_whoever_has_all_of_its_sites() {
        let desk = Usage::new(Arc::new(Figures::of(&["A", "B", "C"])));
        let group = |name: &str| GroupId::parse(name.as_bytes()).unwrap();
        let ask = |sites: SiteScope, name: &str| {
            let month = Month::parse(b"2026-11").unwrap();
            desk.group(&caller(Role::Billing, sites), &group(name), month)
        };
        let some = |ids: &[&str]| {
            SiteScope::Some(ids.iter().map(|id| SiteId::parse(id.as_bytes()).unwrap()).collect())
        };
        for sites in [SiteScope::All, some(&["A", "B"]), some(&["A", "B", "C"])] {
            assert!(ask(sites, "G").is_ok());
        }
        for sites in [some(&["A"]), some(&["B", "C"]), some(&["X"])] {
            assert_eq!(ask(sites, "G"), Err(UsageError::NotFound));
        }
        assert_eq!(ask(SiteScope::All, "H"), Err(UsageError::NotFound));
    }
}
