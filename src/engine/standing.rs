//! How sites change. Settings of a site hold at once until a record of it was accepted, and from
//! then on what a month was opened with stays. Here is how the writer tells, and what keeps rows
//! that were made before such a change from being counted after it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::writer::{Submission, Writer};
use super::{EngineError, MonthSeen, SitePut, calendar, directory};
use crate::model::batch::Batch;
use crate::model::ids::SiteId;
use crate::model::pseudonym::Algorithm;
use crate::model::site::{Site, SiteChange, SiteConflict};
use crate::model::time::Timestamp;

impl Writer {
    pub(super) fn put_site(
        &mut self,
        id: SiteId,
        change: SiteChange,
    ) -> Result<Result<SitePut, SiteConflict>, EngineError> {
        let SiteChange { settings, algorithm, group_algorithm } = change;
        let now = self.shared.clock.now();
        let known = self.shared.directory.site(&id);
        let created = known.is_none();
        let fits =
            |said: Option<Algorithm>, of: &Site| said.is_none_or(|said| said == of.algorithm);
        let group_scope = settings.billing_group.as_ref().map(SiteId::of_group);
        let group_scope = group_scope.and_then(|scope| self.shared.directory.site(&scope));
        if !known.as_deref().is_none_or(|site| fits(algorithm, site))
            || !group_scope.as_deref().is_none_or(|scope| fits(group_algorithm, scope))
        {
            return Ok(Err(SiteConflict::Algorithm));
        }
        let group = known.as_ref().and_then(|site| site.settings.billing_group.clone());
        let (site, effective) = match known {
            Some(site) if !self.has_records(&site) => {
                (directory::changed_at_once(&site, settings), None)
            }
            Some(site) => directory::changed(&site, settings, now)?,
            None => {
                let no = self.shared.directory.next_no();
                let site = Site {
                    id,
                    no,
                    algorithm: algorithm.unwrap_or_default(),
                    created_at: now,
                    terminated_at: None,
                    settings,
                    pending: Vec::new(),
                    past: Vec::new(),
                    months: Vec::new(),
                    closed_through: None,
                };
                (site, None)
            }
        };
        if self.differs_in_form(&site, now) {
            return Ok(Err(SiteConflict::UserForm));
        }
        let of_group = group_algorithm.unwrap_or_default();
        let site = self.shared.directory.put_site_of(&self.shared.store, site, of_group)?;
        self.closing.watch(&site)?;
        if group.is_some() && group != site.settings.billing_group {
            // Those that are left may all have closed.
            self.closing.look_again();
        }
        Ok(Ok(SitePut { site, created, effective }))
    }

    pub(super) fn reach(
        &mut self,
        id: &SiteId,
        at: Timestamp,
    ) -> Result<Option<Arc<Site>>, EngineError> {
        let Some(site) = self.shared.directory.site(id) else { return Ok(None) };
        if calendar::stored(&site, at).is_some() {
            return Ok(Some(site));
        }
        let months = calendar::reaching(&site, at)?;
        let grown = Site { months, ..Site::clone(&site) };
        self.shared.directory.put_site(&self.shared.store, grown).map(Some)
    }

    /// Whether a record was ever accepted for the site, or waits in a backfill.
    fn has_records(&mut self, site: &Site) -> bool {
        if self.shared.backfills.is_open_at(site.no) {
            return true;
        }
        let months = self.state.months().iter();
        months.filter(|month| month.at.site == site.no).any(|month| month.tally.has_records())
    }

    /// Whether the months of a batch are still what they were when its rows were made. Settings of
    /// a site without records change at once, and a row made under the old ones must not be counted
    /// under the new.
    fn still_stands(&self, months: &[MonthSeen]) -> bool {
        months.iter().all(|(seen, month)| {
            let Some(now) = self.shared.directory.by_no(seen.no) else { return false };
            Arc::ptr_eq(&now, seen)
                || (calendar::named(&now, *month) == calendar::named(seen, *month)
                    && directory::frozen_alike(now.settings_in(*month), seen.settings_in(*month)))
        })
    }

    /// Sends batches away whose months do not stand any more, or that do not know of everybody
    /// whose records are not kept: nothing of them was judged. What has no rows is of nobody.
    pub(super) fn turn_away(&self, group: Vec<Submission>) -> Vec<Submission> {
        let suppressed = &self.shared.suppressed;
        let suppressions = suppressed.read().unwrap_or_else(PoisonError::into_inner).generation;
        let (stands, changed): (Vec<_>, Vec<_>) = group.into_iter().partition(|submission| {
            let mut pieces = submission.pieces.iter();
            let knows = |batch: &Batch| batch.suppressions == suppressions;
            pieces.all(|piece| piece.batch.claims.is_empty() || knows(&piece.batch))
                && self.still_stands(&submission.months)
        });
        for submission in changed {
            self.shared.queued_bytes.fetch_sub(submission.bytes, Ordering::AcqRel);
            let _ = submission.reply.send(Err(EngineError::Busy));
        }
        stands
    }
}
