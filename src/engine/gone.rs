//! Lots that were destroyed, or are being destroyed: their names are never given again.
//!
//! Each is known from a journal group on. Groups before it were judged without it, and a replay
//! judges them so again; a lot's keys go only after those groups are folded.

use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;

use super::EngineError;
use super::destroy::lots;
use super::shared::Shared;
use crate::model::backfill::Job;
use crate::model::batch::{Bucket, Epoch, SiteMonth};
use crate::model::ids::SiteNo;
use crate::model::retention::Lot;
use crate::model::site::{MonthSpan, Site};
use crate::model::time::{Day, Month, Timestamp};
use crate::model::vocab::Class;
use crate::store::codec::Corrupt;
use crate::store::destruction::{decode_gone, encode_gone};
use crate::store::{Changes, Store, Table, keys};

/// The destroyed lots, each with the first group that knows it.
#[derive(Default)]
pub struct Gone {
    lots: HashMap<Lot, u64>,
    /// Months that lost a key, with the first group that knows it.
    closed: HashMap<SiteMonth, u64>,
    /// Destroyed buckets by site, so that a site's month finds its own.
    buckets: HashMap<SiteNo, BTreeMap<(Epoch, Class), u64>>,
}

/// What a month of a site still takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Every row is counted and kept.
    All,
    /// Every row is counted, those of these buckets are not kept.
    Counts(Vec<(Epoch, Class)>),
    /// Nothing: its figures are final.
    Nothing,
}

/// Who knows when a bucket is due: the desk above. Without one no bucket is.
pub trait Dues: Send + Sync {
    /// Whether the records of a bucket should be destroyed by now, with nothing that holds them.
    /// Its epoch ends then.
    fn is_over(&self, site: &Site, bucket: Bucket, ends_at: Timestamp) -> bool;

    /// When the records of a bucket, whose epoch ends then, are due; `None` where something holds
    /// them, or nobody knows.
    fn due_at(&self, site: &Site, bucket: Bucket, ends_at: Timestamp) -> Option<Timestamp> {
        let _ = (site, bucket, ends_at);
        None
    }

    /// Whether the sets of a month, which ends then, should be destroyed by now.
    fn sets_over(&self, site: &Site, month: Month, ends_at: Timestamp) -> bool;
}

/// Classes that have buckets.
const BUCKETS: [Class; 2] = [Class::Records, Class::Detections];

/// The epoch that keeps a row: the site's month, or the row's UTC day where the site keeps its
/// records for a shorter period.
pub fn epoch_of(site: &Site, month: Month, occurred_at: Timestamp) -> Epoch {
    if site.settings_in(month).records_days.is_some() {
        Epoch::Day(occurred_at.day())
    } else {
        Epoch::Month(month)
    }
}

impl Gone {
    /// Loads the rows of destroyed lots.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn load(store: &Store) -> Result<Self, EngineError> {
        let mut gone = Self::default();
        for row in store.scan(Table::Meta, keys::GONE, Some(keys::GONE_END))? {
            let (key, value) = row?;
            let lot = keys::gone_lot(&key).ok_or(Corrupt("destroyed lot"))?;
            gone.add(lot, decode_gone(&value)?);
        }
        Ok(gone)
    }

    /// The rows of lots that are not known yet.
    pub fn rows(&self, lots: &[Lot], from_group: u64, changes: &mut Changes) {
        // Of slots the persisted floor says it.
        let named = lots.iter().filter(|lot| !matches!(lot, Lot::Seen(_)));
        for lot in named.filter(|lot| !self.lots.contains_key(lot)) {
            changes.put(Table::Meta, keys::gone(lot), encode_gone(from_group));
        }
    }

    /// Adds a lot; one that is known stays as it is.
    pub fn add(&mut self, lot: Lot, from_group: u64) {
        if self.lots.contains_key(&lot) || matches!(lot, Lot::Seen(_)) {
            return;
        }
        self.lots.insert(lot, from_group);
        match lot {
            Lot::Records(Bucket { class, site, epoch }) => {
                self.buckets.entry(site).or_default().insert((epoch, class), from_group);
            }
            Lot::Sets(at) | Lot::RecordKey(at) | Lot::WatermarkKey(at) | Lot::BaseKey(at) => {
                let first = self.closed.entry(at).or_insert(from_group);
                *first = from_group.min(*first);
            }
            Lot::Suppression(_) | Lot::Seen(_) | Lot::Access(_) => {}
        }
    }

    /// The months whose sets are destroyed, or being destroyed.
    pub fn sets(&self) -> impl Iterator<Item = SiteMonth> + '_ {
        self.lots.keys().filter_map(|lot| match lot {
            Lot::Sets(at) => Some(*at),
            _ => None,
        })
    }

    /// The latest site that a lot was destroyed of.
    pub fn last_site(&self) -> Option<SiteNo> {
        self.lots.keys().filter_map(lots::site_of).max()
    }

    /// Whether a lot is destroyed, or being destroyed.
    pub fn contains(&self, lot: &Lot) -> bool {
        self.lots.contains_key(lot)
    }

    /// Whether a month takes no records, from a group on.
    pub fn is_closed(&self, at: SiteMonth, group: u64) -> bool {
        self.closed.get(&at).is_some_and(|from| *from <= group)
    }

    /// What a month takes from a group on.
    pub fn takes(&self, at: SiteMonth, group: u64, site: Option<&Site>) -> Takes {
        if self.is_closed(at, group) {
            return Takes::Nothing;
        }
        let (Some(buckets), Some(site)) = (self.buckets.get(&at.site), site) else {
            return Takes::All;
        };
        let range = if site.settings_in(at.month).records_days.is_some() {
            let span = site.months.iter().find(|span| span.month == at.month);
            let Some(MonthSpan { from, to, .. }) = span else { return Takes::All };
            Epoch::Day(from.day())..=Epoch::Day(to.day())
        } else {
            Epoch::Month(at.month)..=Epoch::Month(at.month)
        };
        let known = buckets
            .range((*range.start(), Class::ALL[0])..)
            .take_while(|((epoch, _), _)| epoch <= range.end())
            .filter(|(_, from)| **from <= group);
        let list: Vec<(Epoch, Class)> = known.map(|(name, _)| *name).collect();
        if list.is_empty() { Takes::All } else { Takes::Counts(list) }
    }
}

impl Shared {
    /// Asks about destroyed lots.
    pub fn gone<T>(&self, ask: impl FnOnce(&Gone) -> T) -> T {
        ask(&self.gone.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds lots that are destroyed from a group on.
    pub fn add_gone(&self, lots: &[Lot], from_group: u64) {
        let mut gone = self.gone.write().unwrap_or_else(PoisonError::into_inner);
        lots.iter().for_each(|lot| gone.add(*lot, from_group));
        drop(gone);
        for lot in lots {
            if let Lot::Records(bucket) = lot {
                self.explained.remove(bucket.site);
            }
        }
    }

    /// The buckets for rows of a month and of these days that are due, whether they ever were or
    /// not: a record that comes so late would be stored only to be destroyed.
    pub fn past_due(&self, at: SiteMonth, days: &[Day]) -> Vec<(Epoch, Class)> {
        let Some((dues, site)) = self.dues.get().zip(self.directory.by_no(at.site)) else {
            return Vec::new();
        };
        let epochs: Vec<(Epoch, Timestamp)> = match site.settings_in(at.month).records_days {
            Some(_) => {
                let end = |day: &Day| Day(day.0.saturating_add(1)).start();
                days.iter().map(|day| (Epoch::Day(*day), end(day))).collect()
            }
            None => {
                let span = site.months.iter().find(|span| span.month == at.month);
                span.map(|span| (Epoch::Month(at.month), span.to)).into_iter().collect()
            }
        };
        let named = epochs.iter().flat_map(|named| BUCKETS.map(|class| (*named, class)));
        let is_over = |((epoch, ends_at), class): &((Epoch, Timestamp), Class)| {
            let bucket = Bucket { class: *class, site: at.site, epoch: *epoch };
            dues.is_over(&site, bucket, *ends_at)
        };
        named.filter(is_over).map(|((epoch, _), class)| (epoch, class)).collect()
    }

    /// Whether records of a backfill that were put aside became due since it was made: they would
    /// outlive the bucket that they belong to.
    pub fn is_overtaken(&self, job: &Job) -> bool {
        let (dues, site) = (self.dues.get(), self.directory.by_no(job.site));
        let Some((dues, site)) = dues.zip(site) else { return false };
        let became_due = |month: &Month| {
            let span = site.months.iter().find(|span| span.month == *month);
            let Some(MonthSpan { from, to, .. }) = span else { return false };
            let epochs: Vec<(Epoch, Timestamp)> = match site.settings_in(*month).records_days {
                Some(_) => {
                    let last = Timestamp((*to).min(job.to).0 - 1);
                    let days = (*from).max(job.from).day().0..=last.day().0;
                    days.map(|day| (Epoch::Day(Day(day)), Day(day + 1).start())).collect()
                }
                None => vec![(Epoch::Month(*month), *to)],
            };
            let named = epochs.iter().flat_map(|named| BUCKETS.map(|class| (*named, class)));
            named.into_iter().any(|((epoch, ends_at), class)| {
                let bucket = Bucket { class, site: job.site, epoch };
                let due = dues.due_at(&site, bucket, ends_at);
                // What was due before was left out when it came.
                due.is_some_and(|due| due > job.made_at) && dues.is_over(&site, bucket, ends_at)
            })
        };
        job.staged.iter().any(|(month, records)| *records > 0 && became_due(month))
    }

    /// Notes, at a start, every month whose sets are destroyed; a month without records has no
    /// other row that would tell.
    pub fn note_destroyed_sets(&self) {
        let months: Vec<SiteMonth> = self.gone(|gone| gone.sets().collect());
        for at in months {
            let site = self.directory.by_no(at.site);
            let key = site.and_then(|site| self.ring.sets_existing(&site.id, at.month));
            if key.is_none() {
                self.without_sets(at);
            }
        }
    }

    /// Notes that the sets of a month are destroyed.
    pub fn without_sets(&self, at: SiteMonth) {
        self.without_sets.write().unwrap_or_else(PoisonError::into_inner).insert(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::SiteId;
    use crate::model::pseudonym::{Algorithm, Pseudonyms};

    use crate::model::rules::RuleSet;
    use crate::model::site::SiteSettings;
    use crate::model::time::DAY_MS;

    fn site(days: Option<u32>) -> Site {
        let month = Day(20_000).month();
        Site {
            id: SiteId::parse(b"A").unwrap(),
            no: SiteNo(1),
            algorithm: Algorithm::default(),
            created_at: Timestamp(0),
            terminated_at: None,
            settings: SiteSettings { records_days: days, ..SiteSettings::default() },
            pending: Vec::new(),
            past: Vec::new(),
            months: vec![MonthSpan {
                month,
                from: Day(19_990).start(),
                to: Timestamp(Day(20_021).start().0 - DAY_MS / 2),
                partitions: 1,
                pseudonyms: Pseudonyms::default(),
                rule_set: RuleSet::default(),
            }],
            closed_through: None,
        }
    }

    #[test]
    fn a_month_knows_its_destroyed_buckets_from_their_group_on() {
        let mut gone = Gone::default();
        let month = Day(20_000).month();
        let at = SiteMonth { site: SiteNo(1), month };
        let bucket = |epoch| Bucket { class: Class::Records, site: SiteNo(1), epoch };
        for (epoch, group) in [
            (Epoch::Month(month), 5),
            (Epoch::Month(month.next()), 1),
            (Epoch::Day(Day(19_989)), 1),
            (Epoch::Day(Day(19_990)), 3),
            (Epoch::Day(Day(20_020)), 4),
            (Epoch::Day(Day(20_021)), 1),
        ] {
            gone.add(Lot::Records(bucket(epoch)), group);
        }
        let (long, short) = (site(None), site(Some(30)));
        assert_eq!(gone.takes(at, 4, Some(&long)), Takes::All);
        let whole = vec![(Epoch::Month(month), Class::Records)];
        assert_eq!(gone.takes(at, 5, Some(&long)), Takes::Counts(whole));
        assert_eq!(gone.takes(at, 2, Some(&short)), Takes::All);
        let days = [19_990, 20_020].map(|day| (Epoch::Day(Day(day)), Class::Records));
        assert_eq!(gone.takes(at, 9, Some(&short)), Takes::Counts(days.to_vec()));
        gone.add(Lot::BaseKey(at), 7);
        assert_ne!(gone.takes(at, 6, Some(&long)), Takes::Nothing);
        assert_eq!(gone.takes(at, 7, Some(&long)), Takes::Nothing);
        assert_eq!(gone.takes(SiteMonth { site: SiteNo(2), month }, 9, None), Takes::All);
    }

    #[test]
    fn a_lot_keeps_the_first_group_that_knew_it() {
        let mut gone = Gone::default();
        let at = SiteMonth { site: SiteNo(1), month: Month(3) };
        gone.add(Lot::Sets(at), 5);
        gone.add(Lot::Sets(at), 2);
        assert!(gone.contains(&Lot::Sets(at)) && !gone.is_closed(at, 4) && gone.is_closed(at, 5));
    }
}
