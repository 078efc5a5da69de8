//! What is issued without being asked for: the first version of each month that closed and had
//! records, and of the month that closed last also without any, where it is the next to tell what
//! came late of the months before.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::issue::{ROWS, row_of};
use super::{BillingError, Inner, Known, MONTHS_BACK};
use crate::model::ids::SiteId;
use crate::model::time::Month;

/// A closed month that may lack its statement.
#[derive(Clone)]
struct Candidate {
    scope: SiteId,
    month: Month,
    /// Whether it is the scope's last one. Only that tells what came late where it had no record
    /// itself: an older one would be a new statement in the place where nobody looks for one.
    is_last: bool,
}

impl Inner {
    /// Issues the statements of months that closed and had records, or that follow months of which
    /// something came late, after one fold for all of them.
    pub(super) async fn issue_due(self: &Arc<Self>) -> Result<(), BillingError> {
        let recent = self.blocking(|inner| Ok(inner.recent())).await?;
        let older = self.blocking(|inner| Ok(inner.older())).await?;
        // Of the last ones a statement that the ledger knows may have been lost with its data.
        let unknown = move |known: &Known| -> Vec<_> {
            older.into_iter().filter(|at| !known.issued.contains_key(at)).collect()
        };
        let all: BTreeSet<_> = recent.into_iter().chain(self.of_ledger(unknown).await?).collect();
        let (due, mut first) = self.blocking(|inner| Ok(inner.due(all))).await?;
        if due.is_empty() {
            return first;
        }
        self.months.fold().await?;
        for Candidate { scope, month, is_last } in due {
            let _turn = self.turns.of(&scope, month).await;
            // What was issued before may have told what this one was for.
            let issued = match self.is_due(&scope, month, is_last) {
                Ok(true) => self.last(&scope, month, true).await.map(drop),
                other => other.map(drop),
            };
            // One site's fault keeps no other site from its statement.
            if let Err(error) = issued {
                tracing::error!(%scope, %month, %error, "no statement was issued");
                first = first.and(Err(error));
            }
        }
        first
    }

    /// Looks at many months, off the threads that answer others.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&Self) -> Result<T, BillingError> + Send + 'static,
    ) -> Result<T, BillingError> {
        let inner = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || look(&inner)).await;
        looked.map_err(|_| BillingError::Failed)?
    }

    /// Of such months those that need a statement and have none, the earliest of a scope first, so
    /// that what a month's own statement tells is told before the last one is asked; and a fault on
    /// the way.
    fn due(&self, all: BTreeSet<(SiteId, Month)>) -> (Vec<Candidate>, Result<(), BillingError>) {
        let (mut due, mut first) = (Vec::new(), Ok(()));
        let mut closed: Option<SiteId> = None;
        for (scope, month) in all.into_iter().rev() {
            let is_last = closed.as_ref() != Some(&scope);
            match self.is_due(&scope, month, is_last) {
                // One that is open still is not the last that closed.
                Err(BillingError::NotClosed) => continue,
                Ok(true) => due.push(Candidate { scope: scope.clone(), month, is_last }),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%scope, %month, %error, "no statement was issued");
                    first = first.and(Err(error));
                }
            }
            closed = Some(scope);
        }
        due.reverse();
        (due, first)
    }

    /// The last closed months of each site and group.
    fn recent(&self) -> BTreeSet<(SiteId, Month)> {
        let sites = self.months.sites();
        // A group's month closes with that of its last member, which lags behind by one at most.
        let newest = sites.iter().filter_map(|site| site.closed_through).max();
        let groups = self.months.groups().into_iter().filter_map(|scope| Some((scope, newest?)));
        let own = sites.iter().filter_map(|site| Some((site.id.clone(), site.closed_through?)));
        let mut all = BTreeSet::new();
        for (scope, newest) in own.chain(groups) {
            let mut month = newest;
            for _ in 0..MONTHS_BACK + usize::from(scope.is_group()) {
                all.insert((scope.clone(), month));
                month = month.previous();
            }
        }
        all
    }

    /// All closed months of sites whose boundaries are stored, and those of their groups: however
    /// late they closed, and however often a statement failed.
    fn older(&self) -> BTreeSet<(SiteId, Month)> {
        let mut all = BTreeSet::new();
        for site in self.months.sites() {
            let months = site.months.iter().map(|span| span.month);
            for month in months.filter(|month| site.is_closed(*month)) {
                all.insert((site.id.clone(), month));
                let group = site.settings_in(month).billing_group.as_ref();
                all.extend(group.map(|group| (SiteId::of_group(group), month)));
            }
        }
        all
    }

    /// Whether a closed month needs a statement and has none; `is_last` of the last that closed. Of
    /// the others without a record nothing is read.
    ///
    /// # Errors
    /// [`BillingError::NotClosed`], and what the engine cannot tell.
    fn is_due(&self, scope: &SiteId, month: Month, is_last: bool) -> Result<bool, BillingError> {
        let nothing = |error| match error {
            BillingError::NotFound | BillingError::Ended => Ok(false),
            error => Err(error),
        };
        let has_records = match self.ended(scope, month) {
            Ok(subject) => subject.has_records(),
            Err(error) => return nothing(error),
        };
        if !has_records && !is_last {
            return Ok(false);
        }
        if !self.months.load_rows(&row_of(ROWS, scope, month))?.is_empty() {
            return Ok(false);
        }
        if has_records {
            return Ok(true);
        }
        // Who sends nothing any more is told of what came late all the same.
        match self.closed(scope, month) {
            Ok(_) => self.has_untold(scope, month),
            Err(error) => nothing(error),
        }
    }
}
