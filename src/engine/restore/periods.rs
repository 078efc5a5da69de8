//! The own periods of sites in data that was put back: every change that the ledger tells of since
//! the backup is made again, in order and as of its own time. So each month gets the period that it
//! had before the loss: what was announced then holds from the month that was said then, and a
//! change that another one has followed since is not forgotten.
//!
//! The rows belong to the last step of a restore, because a change that is made twice is another
//! one.

use std::collections::BTreeMap;

use super::{Parts, Replay};
use crate::engine::EngineError;
use crate::engine::directory::{changed, changed_at_once};
use crate::model::ids::SiteId;
use crate::model::site::{Site, SiteSettings};
use crate::model::time::Timestamp;

/// A site's own period of records, as the ledger tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerPeriod {
    /// The number of its entry.
    pub number: u64,
    /// The site.
    pub site: SiteId,
    /// The days; none where the policy's months hold.
    pub records_days: Option<u32>,
    /// When it was said.
    pub at: Timestamp,
}

/// Sites as they would be had nothing been lost, of which a period or the end was.
///
/// # Errors
/// When a site's time zone is not known.
pub(super) fn sites(
    parts: &Parts<'_>,
    replay: &Replay,
    operation: u64,
) -> Result<(Vec<Site>, u64), EngineError> {
    let mut sites: BTreeMap<SiteId, Site> = BTreeMap::new();
    let known = |sites: &BTreeMap<SiteId, Site>, id: &SiteId, at: Timestamp| {
        let site = sites.get(id).cloned().or_else(|| Some((*parts.directory.site(id)?).clone()));
        // A site of the same id that was made later has settings and an end of its own.
        site.filter(|site| site.created_at <= at)
    };
    for said in replay.periods.iter().filter(|said| said.number > operation) {
        let Some(site) = known(&sites, &said.site, said.at) else { continue };
        let last = site.last_said();
        if last.records_days == said.records_days {
            continue;
        }
        let settings = SiteSettings { records_days: said.records_days, ..last.clone() };
        // As a site changes that has no record: there is none that was sent before.
        let site = match site.months.is_empty() {
            true => changed_at_once(&site, settings),
            false => changed(&site, settings, said.at)?.0,
        };
        sites.insert(site.id.clone(), site);
    }
    let mut ended = 0;
    for (id, at) in &replay.terminated {
        let Some(site) = known(&sites, id, *at) else { continue };
        if site.terminated_at.is_none() {
            sites.insert(id.clone(), Site { terminated_at: Some(*at), ..site });
            ended += 1;
        }
    }
    Ok((sites.into_values().collect(), ended))
}
