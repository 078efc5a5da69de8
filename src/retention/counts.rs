//! The end of plain counts (class C4): figures of months and rows of sites.
//!
//! Figures stand behind a statement, the site's or its group's, so they go with it, in the same
//! run: the period counts from the close of the month, and from the issue of the last version where
//! that is later. A month with a living key, or with a copy in hold storage, waits for its end. A
//! site's row goes when its own period is over, counted from its end, and nothing else is left.

use std::collections::BTreeMap;

use super::due::add_months;
use super::policy::RetentionClass;
use super::sweep::STATEMENTS;
use super::{DeskError, Inner, removal, termination};
use crate::ledger::{Actor, Entry, Event};
use crate::model::ids::SiteId;
use crate::model::time::{Month, Timestamp};

/// Before the names of rows of lists that were answered.
const CHALLENGES: &str = "challenge/";
/// Before the names of rows of statements that a cut left.
const DRAFTS: &str = "statement-draft/";
/// Most sites of one entry in the ledger, so that its line stays readable.
const SITES_MAX: usize = 1_000;

impl Inner {
    /// Figures whose period is over, and of which neither a statement nor a key is left.
    pub(super) async fn figures_due(&self, now: Timestamp) -> Result<u64, DeskError> {
        let months = self.policy_at(now).years_as_months(RetentionClass::Statements);
        let Some(months) = months else { return Ok(0) };
        let mut due: BTreeMap<Month, Vec<SiteId>> = BTreeMap::new();
        for of in self.vault.figures_kept()? {
            let is_over = of.closed_at.is_some_and(|at| add_months(at, months) <= now);
            if is_over && !of.lives && !self.is_stated(&of.site, of.month)? {
                due.entry(of.month).or_default().push(of.site);
            }
        }
        let mut swept = 0;
        for (month, mut sites) in due {
            sites.sort_unstable();
            for sites in sites.chunks(SITES_MAX) {
                self.removing().await?;
                // Before the rows: what a cut leaves is removed by the next run.
                let event = Event::FiguresRemoved { month, sites: sites.to_vec() };
                self.append(Entry::new(now, Actor::Server, event)).await?;
                for site in sites {
                    swept += self.questions_end(site, month).await?;
                }
                let named = sites.iter().map(|site| (site.clone(), month)).collect();
                swept += self.vault.end_figures(named).await?;
            }
        }
        Ok(swept)
    }

    /// Whether a statement of the month is kept: the site's own, or that of its billing group,
    /// which is read beside the figures of all members.
    fn is_stated(&self, site: &SiteId, month: Month) -> Result<bool, DeskError> {
        let of = self.vault.site(site);
        let group = of.and_then(|site| site.settings_in(month).billing_group.clone());
        let scopes = [Some(site.clone()), group.map(|group| SiteId::of_group(&group))];
        for scope in scopes.into_iter().flatten() {
            if self.has_rows(STATEMENTS, &scope, Some(month))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes what is kept beside the statements of a month: how many lists were answered, and a
    /// version that a cut left and nobody asked for again.
    pub(super) async fn questions_end(
        &self,
        site: &SiteId,
        month: Month,
    ) -> Result<u64, DeskError> {
        let challenge = format!("{CHALLENGES}{site}/{month}");
        let mut names: Vec<String> = Vec::new();
        for (name, _) in self.vault.load_rows(&challenge)? {
            names.extend((name == challenge).then_some(name));
        }
        let drafts = self.vault.load_rows(&format!("{DRAFTS}{site}/{month}/"))?;
        names.extend(drafts.into_iter().map(|(name, _)| name));
        let swept = names.len() as u64;
        for name in names {
            self.vault.delete_row(name).await?;
        }
        Ok(swept)
    }

    /// Rows of sites that ended so long ago, and of billing groups that no site names, once nothing
    /// else is left of them.
    pub(super) async fn sites_due(&self, now: Timestamp) -> Result<u64, DeskError> {
        let months = self.policy_at(now).years_as_months(RetentionClass::Statements);
        let Some(months) = months else { return Ok(0) };
        let mut swept = 0;
        let sites = self
            .vault
            .sites()
            .into_iter()
            .filter(|site| site.terminated_at.is_some_and(|at| add_months(at, months) <= now));
        let sites: Vec<SiteId> = sites.map(|site| site.id.clone()).collect();
        // A group's own figures were there as long as they may be, and no site names it.
        for site in sites.into_iter().chain(self.vault.groups()) {
            if self.is_named(&site)? || !self.vault.is_bare(&site)? {
                continue;
            }
            self.removing().await?;
            let event = Event::SiteRemoved { site: site.clone() };
            self.append(Entry::new(now, Actor::Server, event)).await?;
            // First: a site of the same id that is made later has an end of its own.
            self.vault.delete_row(termination::row_of(&site)).await?;
            swept += 1 + u64::from(self.vault.end_site(site).await?);
        }
        Ok(swept)
    }

    /// Whether a row of the desk is of a site, but for that of its end.
    fn is_named(&self, site: &SiteId) -> Result<bool, DeskError> {
        let is_held = |state: &super::State| {
            state.holds.values().any(|hold| hold.site == *site && hold.released.is_none())
        };
        if is_held(&self.state()) {
            return Ok(true);
        }
        for kind in [STATEMENTS, DRAFTS, CHALLENGES, removal::ROWS] {
            if self.has_rows(kind, site, None)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether there is a row of a kind for a site, or for a month of it.
    fn has_rows(&self, kind: &str, site: &SiteId, of: Option<Month>) -> Result<bool, DeskError> {
        let own = match of {
            Some(month) => format!("{kind}{site}/{month}/"),
            None => format!("{kind}{site}/"),
        };
        Ok(self.vault.load_row_from(&own, &own)?.is_some())
    }
}
