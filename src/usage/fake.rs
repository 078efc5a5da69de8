//! Sites whose months are all zeros in UTC.

use std::sync::Arc;

use super::Counts;
use crate::engine::UsageMonth;
use crate::model::ids::{SiteId, SiteNo};
use crate::model::site::{MonthSpan, Site, SiteSettings};
use crate::model::time::{Month, Timestamp};
use crate::model::usage::Counters;

/// The sites.
pub struct Figures(Vec<Arc<Site>>);

impl Figures {
    /// Sites of these ids, in their order.
    pub fn of(ids: &[&str]) -> Self {
        let site = |id: &&str| {
            Arc::new(Site {
                id: SiteId::parse(id.as_bytes()).unwrap(),
                no: SiteNo(1),
                created_at: Timestamp(0),
                terminated_at: None,
                settings: SiteSettings::default(),
                pending: None,
                months: Vec::new(),
            })
        };
        Self(ids.iter().map(site).collect())
    }
}

impl Counts for Figures {
    fn sites(&self) -> Vec<Arc<Site>> {
        self.0.clone()
    }

    fn usage(&self, site: &SiteId, month: Month) -> Option<UsageMonth> {
        let site = self.0.iter().find(|known| known.id == *site)?;
        let start = |month: Month| {
            Timestamp::parse(format!("{month}-01T00:00:00Z").as_bytes()).unwrap_or_default()
        };
        let span = MonthSpan { month, from: start(month), to: start(month.next()), partitions: 1 };
        let counters = Counters { mau: 7, ..Counters::default() };
        let time_zone = site.settings.time_zone.clone();
        let site = Arc::clone(site);
        Some(UsageMonth { site, span, time_zone, counters, as_of: Timestamp(0) })
    }
}
