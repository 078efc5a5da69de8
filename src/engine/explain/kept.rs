//! The reports that were made last, and whose turn it is to make one.
//!
//! Of two reports of one month the difference may be about one person, so a month that changes is
//! explained once in a while and no sooner. Whoever may see one site must not be able to shorten
//! that: each site has its own room, what was read of nothing takes none, and when a month was
//! explained is remembered longer than what was said.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::model::batch::SiteMonth;
use crate::model::explained::Explained;
use crate::model::ids::SiteNo;
use crate::model::time::Timestamp;

/// Reports of one site that are kept, so many: more months than have records at once.
const OF_SITE_MAX: usize = 24;
/// Reports that are kept of all sites, so many.
const ALL_MAX: usize = 20_000;

/// What is known of the last explanation of a month.
#[derive(Clone)]
pub struct Known {
    /// When it was made.
    pub at: Timestamp,
    /// What it said; `None` where there was no room for it any more.
    pub report: Option<Arc<Explained>>,
}

impl Known {
    /// Whether it was made so short a time ago; one of the future was not.
    pub fn is_fresh(&self, now: Timestamp, fresh_ms: i64) -> bool {
        (0..fresh_ms).contains(&now.0.saturating_sub(self.at.0))
    }
}

/// The reports that were made last, and whose turn it is.
#[derive(Default)]
pub struct Kept {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Who waits for the turn and gives way to nobody.
    waiting: AtomicUsize,
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    months: BTreeMap<SiteMonth, Known>,
    /// How often something was taken away from a site's records; what was made before is not kept.
    removals: HashMap<SiteNo, u64>,
}

/// Counts one who waits, also where it gives up.
struct Waits<'k>(&'k AtomicUsize);

impl<'k> Waits<'k> {
    fn on(waiting: &'k AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Kept {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn to explain a month.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        let _waits = Waits::on(&self.waiting);
        Arc::clone(&self.turn).lock_owned().await
    }

    /// The turn, where nobody has it.
    pub fn free_turn(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.turn).try_lock_owned().ok()
    }

    /// Whether somebody waits for the turn.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// What is known of the last explanation of a month.
    pub fn of(&self, at: SiteMonth) -> Option<Known> {
        self.last().months.get(&at).cloned()
    }

    /// Forgets them all.
    #[cfg(test)]
    pub fn forget(&self) {
        self.last().months.clear();
    }

    /// Forgets what was made of a site's records, and what is being made of them now: somebody is
    /// hidden from this moment on, or some of them are destroyed.
    pub fn remove(&self, site: SiteNo) {
        let mut last = self.last();
        last.months.retain(|at, _| at.site != site);
        *last.removals.entry(site).or_default() += 1;
    }

    /// How often something was taken away from a site's records.
    pub fn removals(&self, site: SiteNo) -> u64 {
        self.last().removals.get(&site).copied().unwrap_or_default()
    }

    /// Keeps a report that was begun after so many removals, unless the last one is fresh, or there
    /// was nothing to read; whether there was no removal meanwhile.
    pub fn keep(
        &self,
        at: SiteMonth,
        report: &Arc<Explained>,
        removals: u64,
        (now, fresh_ms): (Timestamp, i64),
    ) -> bool {
        let mut last = self.last();
        if last.removals.get(&at.site).copied().unwrap_or_default() != removals {
            return false;
        }
        let is_fresh = last.months.get(&at).is_some_and(|known| known.is_fresh(now, fresh_ms));
        if is_fresh || report.records_seen == 0 {
            return true;
        }
        let report = Some(Arc::clone(report));
        last.months.insert(at, Known { at: now, report });
        last.make_room(at, |of| of.site == at.site, OF_SITE_MAX);
        last.make_room(at, |_| true, ALL_MAX);
        last.months.retain(|_, known| known.report.is_some() || known.is_fresh(now, fresh_ms));
        true
    }
}

impl Last {
    /// Lets go of the oldest reports among some, but for one, until there are no more than so many;
    /// when they were made stays known.
    fn make_room(&mut self, but: SiteMonth, among: impl Fn(&SiteMonth) -> bool, most: usize) {
        let own = self.months.iter().filter(|(of, known)| among(of) && known.report.is_some());
        let mut old: Vec<_> = own.map(|(of, known)| (known.at, *of)).collect();
        let over = old.len().saturating_sub(most);
        if over == 0 {
            return;
        }
        old.retain(|(_, of)| *of != but);
        old.sort_unstable();
        for (_, of) in old.into_iter().take(over) {
            if let Some(known) = self.months.get_mut(&of) {
                known.report = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::explained::Limits;
    use crate::model::ids::SiteId;
    use crate::model::time::Month;
    use crate::model::usage::Tally;

    const FRESH_MS: i64 = 1_000_000;

    fn keep(kept: &Kept, site: u32, number: u16, now: i64, records_seen: u64) -> SiteMonth {
        let mut month = Month::parse(b"1990-01").unwrap();
        (0..number).for_each(|_| month = month.next());
        let at = SiteMonth { site: SiteNo(site), month };
        let name = (SiteId::parse(b"A").unwrap(), month);
        let mut made = Explained::new(name, (Timestamp(now), Tally::default()), Limits::default());
        made.records_seen = records_seen;
        assert!(kept.keep(at, &Arc::new(made), 0, (Timestamp(now), FRESH_MS)));
        at
    }

    fn said(kept: &Kept, at: SiteMonth) -> Option<(i64, bool)> {
        kept.of(at).map(|known| (known.at.0, known.report.is_some()))
    }

    /// Whoever may see one site asks for as many months as there are: no report of another site
    /// goes, and of the own ones none is made anew before its time.
    #[test]
    fn who_asks_for_many_months_is_given_no_report_before_its_time() {
        let kept = Kept::default();
        let other = keep(&kept, 2, 0, 1, 5);
        let own = keep(&kept, 1, 0, 2, 5);
        for number in 1..3_000 {
            let nothing = keep(&kept, 1, number, 3, 0);
            assert_eq!(said(&kept, nothing), None, "nothing was read");
        }
        assert_eq!((said(&kept, own), said(&kept, other)), (Some((2, true)), Some((1, true))));
        for number in 1..500 {
            keep(&kept, 1, number, 4, 5);
        }
        assert_eq!(said(&kept, other), Some((1, true)), "it is another site's");
        assert_eq!(said(&kept, own), Some((2, false)), "it went, and that it was made is known");
        let reports = kept.last().months.values().filter(|of| of.report.is_some()).count();
        assert_eq!(reports, OF_SITE_MAX + 1);
        // Another one, of a statement for instance, does not take its place.
        keep(&kept, 1, 0, 5, 5);
        assert_eq!(said(&kept, own), Some((2, false)));
        // What is known of reports that went is let go of in its time.
        keep(&kept, 1, 0, 2 + FRESH_MS, 5);
        assert_eq!(said(&kept, own), Some((2 + FRESH_MS, true)));
        keep(&kept, 1, 1, 4 + FRESH_MS, 5);
        assert!(kept.last().months.len() <= OF_SITE_MAX + 1);
    }

    #[test]
    fn what_was_begun_before_a_removal_is_not_kept() {
        let kept = Kept::default();
        let at = keep(&kept, 1, 0, 1, 5);
        let report = kept.of(at).unwrap().report.unwrap();
        kept.remove(SiteNo(1));
        assert_eq!((said(&kept, at), kept.removals(SiteNo(1))), (None, 1));
        assert!(!kept.keep(at, &report, 0, (Timestamp(2), FRESH_MS)));
        assert!(kept.keep(at, &report, 1, (Timestamp(2), FRESH_MS)));
        assert_eq!(said(&kept, at), Some((2, true)));
    }
}
