//! Settings of a site hold at once until a record of it was accepted, and from then on what a month
//! was opened with stays. Here is how the writer tells, and what keeps rows that were made before
//! such a change from being counted after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::writer::{Submission, Writer};
use super::{EngineError, MonthSeen, calendar, directory};
use crate::model::site::Site;

impl Writer {
    /// Whether a record was ever accepted for the site.
    pub(super) fn has_records(&mut self, site: &Site) -> bool {
        let months = self.state.months().iter();
        months.filter(|month| month.at.site == site.no).any(|month| month.counters.records > 0)
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

    /// Sends batches away whose months do not stand any more: nothing of them was judged.
    pub(super) fn turn_away(&self, group: Vec<Submission>) -> Vec<Submission> {
        let (stands, changed): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|submission| self.still_stands(&submission.months));
        for submission in changed {
            let bytes = submission.sealed.bytes.len();
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            let _ = submission.reply.send(Err(EngineError::Busy));
        }
        stands
    }
}
