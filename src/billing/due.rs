//! What is issued without being asked for: the first version of each month that closed and had
//! records, and of one without any where it is the next to tell what came late of the months
//! before.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::issue::{ROWS, row_of};
use super::{BillingError, Inner, Known, MONTHS_BACK};
use crate::model::ids::SiteId;
use crate::model::site::Site;
use crate::model::time::Month;

impl Inner {
    /// Issues the statements of months that closed and had records, or that follow months of which
    /// something came late, after one fold for all of them.
    pub(super) async fn issue_due(&self) -> Result<(), BillingError> {
        let (due, mut first) = self.due().await;
        if due.is_empty() {
            return first;
        }
        self.months.fold().await?;
        for (site, month) in due {
            let _turn = self.turns.of(&site, month).await;
            // What was issued before may have told what this one was for.
            let issued = match self.is_due(&site, month) {
                Ok(true) => self.last(&site, month, true).await.map(drop),
                other => other.map(drop),
            };
            // One site's fault keeps no other site from its statement.
            if let Err(error) = issued {
                tracing::error!(%site, %month, %error, "no statement was issued");
                first = first.and(Err(error));
            }
        }
        first
    }

    /// The closed months that need a statement and have none; and the first fault on the way.
    async fn due(&self) -> (Vec<(SiteId, Month)>, Result<(), BillingError>) {
        let (mut due, mut first) = (Vec::new(), Ok(()));
        let candidates = match self.candidates().await {
            Ok(candidates) => candidates,
            Err(error) => return (due, Err(error)),
        };
        for (scope, month) in candidates {
            match self.is_due(&scope, month) {
                Ok(true) => due.push((scope, month)),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%scope, %month, %error, "no statement was issued");
                    first = first.and(Err(error));
                }
            }
        }
        (due, first)
    }

    /// The months that may lack their statement: the last ones, and all of which the ledger knows
    /// none, however late they closed and however often it failed.
    async fn candidates(&self) -> Result<BTreeSet<(SiteId, Month)>, BillingError> {
        let sites = self.months.sites();
        // A group's month closes with that of its last member, which lags behind by one at most.
        let newest = sites.iter().filter_map(|site| site.closed_through).max();
        let groups = self.months.groups().into_iter().filter_map(|scope| Some((scope, newest?)));
        let own = sites.iter().filter_map(|site| Some((site.id.clone(), site.closed_through?)));
        let mut all = BTreeSet::new();
        for (scope, newest) in own.chain(groups.clone()) {
            let mut month = newest;
            for _ in 0..MONTHS_BACK + usize::from(scope.is_group()) {
                all.insert((scope.clone(), month));
                month = month.previous();
            }
        }
        let stored = |site: &Arc<Site>| -> Vec<Month> {
            let closed = site.months.iter().filter(|span| site.is_closed(span.month));
            closed.map(|span| span.month).collect()
        };
        let months: BTreeSet<Month> = sites.iter().flat_map(stored).collect();
        let of_groups = groups.flat_map(|(scope, _)| {
            let own = |month: &Month| (scope.clone(), *month);
            months.iter().map(own).collect::<Vec<_>>()
        });
        let of_sites = sites.iter().flat_map(|site| {
            let own = |month| (site.id.clone(), month);
            stored(site).into_iter().map(own).collect::<Vec<_>>()
        });
        let older: Vec<_> = of_sites.chain(of_groups).collect();
        let unknown = move |known: &Known| -> Vec<_> {
            older.into_iter().filter(|at| !known.issued.contains_key(at)).collect()
        };
        all.extend(self.of_ledger(unknown).await?);
        Ok(all)
    }

    fn is_due(&self, scope: &SiteId, month: Month) -> Result<bool, BillingError> {
        let subject = match self.closed(scope, month) {
            Ok(subject) => subject,
            Err(BillingError::NotFound | BillingError::NotClosed | BillingError::Ended) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if !self.months.load_rows(&row_of(ROWS, scope, month))?.is_empty() {
            return Ok(false);
        }
        // Who sends nothing any more is told of what came late all the same.
        Ok(subject.has_records() || self.has_untold(scope, month)?)
    }
}
