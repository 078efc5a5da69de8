//! Sites whose months hold the same figures.

use std::sync::Arc;

use super::{Counts, Explaining};
use crate::engine::groups::GroupMonth;
use crate::engine::{EngineError, UsageMonth};
use crate::model::caller::{Caller, Role, SiteScope, Token};
use crate::model::explained::Explained;
use crate::model::ids::{GroupId, SiteId, SiteNo};
use crate::model::pseudonym::{Algorithm, Pseudonyms};
use crate::model::rules::RuleSet;
use crate::model::site::{MonthSpan, Site, SiteSettings};
use crate::model::time::{Month, Timestamp};
use crate::model::usage::{Counters, State, Tally};

/// A caller that needs no token.
pub fn caller(role: Role, sites: SiteScope) -> Caller {
    Arc::new(Token {
        key_id: "a".repeat(16),
        secret_hash: [0; 32],
        role,
        sites,
        name: "test".to_owned(),
        producer: "test".to_owned(),
        producers: None,
        created_at: Timestamp(0),
        expires_at: Timestamp(i64::MAX),
        issuer: None,
    })
}

/// The month whose explanation is never done.
pub const NEVER_EXPLAINED: &str = "2000-02";

/// The sites.
pub struct Figures(Vec<Arc<Site>>);

impl Figures {
    /// Sites of these ids, in their order.
    pub fn of(ids: &[&str]) -> Self {
        let site = |id: &&str| {
            Arc::new(Site {
                id: SiteId::parse(id.as_bytes()).unwrap(),
                no: SiteNo(1),
                algorithm: Algorithm::default(),
                created_at: Timestamp(0),
                terminated_at: None,
                settings: SiteSettings::default(),
                pending: Vec::new(),
                past: Vec::new(),
                months: Vec::new(),
                closed_through: None,
            })
        };
        Self(ids.iter().map(site).collect())
    }
}

impl Counts for Figures {
    fn sites(&self) -> Vec<Arc<Site>> {
        self.0.clone()
    }

    fn usage(&self, site: &SiteId, month: Month) -> Result<Option<UsageMonth>, EngineError> {
        let Some(site) = self.0.iter().find(|known| known.id == *site) else { return Ok(None) };
        let start = |month: Month| {
            Timestamp::parse(format!("{month}-01T00:00:00Z").as_bytes()).unwrap_or_default()
        };
        let span = MonthSpan {
            month,
            from: start(month),
            to: start(month.next()),
            partitions: 1,
            pseudonyms: Pseudonyms::default(),
            rule_set: RuleSet::default(),
        };
        let counters = Counters { mau: 7, ..Counters::default() };
        Ok(Some(UsageMonth {
            time_zone: site.settings.time_zone.clone(),
            site: Arc::clone(site),
            span,
            state: State::Open,
            closes_at: span.to,
            tally: Tally { counters, ..Tally::default() },
            evidence: crate::model::usage::Evidence::Live,
            as_of: Timestamp(0),
        }))
    }

    fn group_usage(
        &self,
        group: &GroupId,
        month: Month,
    ) -> Result<Option<GroupMonth>, EngineError> {
        // Every site but the last is of the group.
        let sites = self.0.iter().take(self.0.len().saturating_sub(1));
        let mut members = Vec::new();
        for site in sites.filter(|_| group.as_str() == "G") {
            members.extend(self.usage(&site.id, month)?);
        }
        let Some(first) = members.first().cloned() else { return Ok(None) };
        Ok(Some(GroupMonth {
            group: group.clone(),
            month,
            algorithm: Algorithm::default(),
            members,
            tally: first.tally,
            state: first.state,
            closes_at: first.closes_at,
            evidence: first.evidence,
            as_of: first.as_of,
        }))
    }

    fn explain(&self, site: SiteId, month: Month) -> Explaining<'_> {
        let known = self.usage(&site, month);
        Box::pin(async move {
            if month.to_string() == NEVER_EXPLAINED {
                std::future::pending::<()>().await;
            }
            let found = known?.ok_or(EngineError::NoSite)?;
            let explained = Explained::new(
                (site, month),
                (found.as_of, found.tally),
                crate::model::explained::Limits::default(),
            );
            Ok(Arc::new(explained))
        })
    }

    fn explained(&self, _: &SiteId, _: Month) -> Option<Arc<Explained>> {
        None
    }
}
