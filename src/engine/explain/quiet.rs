//! Months that are explained without anybody asking, so that somebody who looks like many is found
//! while the month is open and not when it is billed. It gives way: to whoever has the turn, to
//! whoever comes for it meanwhile, and by its priority to all other threads.

use std::sync::Arc;

use super::kept::Known;
use crate::engine::{Engine, EngineError};
use crate::model::batch::SiteMonth;
use crate::model::explained::Explained;
use crate::model::ids::SiteId;
use crate::model::time::{DAY_MS, Month};
use crate::model::usage::Tally;

impl Engine {
    /// The months that are not closed, in which somebody may be suspect, and that nobody explained
    /// for a day (or as long as a report is fresh) although something came; the one that waits
    /// longest comes first.
    ///
    /// # Errors
    /// When a month cannot be told.
    pub fn unexplained(&self) -> Result<Vec<(SiteId, Month)>, EngineError> {
        let (now, every_ms) = (self.clock().now(), self.settings.explain.fresh_ms.max(DAY_MS));
        let mut due = Vec::new();
        for site in self.sites() {
            for span in site.months.iter().filter(|span| !site.is_closed(span.month)) {
                let found = match self.usage(&site.id, span.month) {
                    Ok(Some(found)) => found,
                    Ok(None) | Err(EngineError::Ended) => continue,
                    Err(error) => return Err(error),
                };
                let at = SiteMonth { site: site.no, month: span.month };
                let last = self.shared.explained.of(at);
                let is_fit = |of: &Known| {
                    let is_same = |report: &Explained| report.tally == found.tally;
                    of.is_fresh(now, every_ms) || of.report.as_deref().is_some_and(is_same)
                };
                let is_open = found.tally.closed_at.is_none();
                if is_open && self.may_suspect(&found.tally) && !last.as_ref().is_some_and(is_fit) {
                    due.push((last.map(|last| last.at), site.id.clone(), span.month));
                }
            }
        }
        due.sort_unstable();
        Ok(due.into_iter().map(|(_, id, month)| (id, month)).collect())
    }

    /// Explains such a month of what is folded; `at_ease` is what the thread does first that reads
    /// it.
    ///
    /// # Errors
    /// As [`Engine::explain`]; [`EngineError::Busy`] where another explanation comes first.
    pub async fn explain_at_ease(
        &self,
        id: SiteId,
        month: Month,
        at_ease: fn(),
    ) -> Result<Arc<Explained>, EngineError> {
        let turn = self.shared.explained.free_turn().ok_or(EngineError::Busy)?;
        self.explain_now(id, month, turn, Some(at_ease)).await
    }

    /// Whether there are licences enough for anybody to be suspect.
    fn may_suspect(&self, tally: &Tally) -> bool {
        let (issued, limits) = (tally.counters.licenses_issued, self.settings.explain.limits);
        let members = limits.devices_per_user.min(limits.users_per_device);
        issued > u64::from(members) || issued > 0 && issued >= limits.share_least
    }
}
