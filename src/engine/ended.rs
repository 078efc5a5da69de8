//! The end of plain counts: a month's figures and a site's row go when their class says so.
//!
//! Counts have no key of their own, so their end is that of their bytes: the rows are removed, and
//! whoever ordered it has the files rewritten ([`Engine::rewrite_counts`]). A row without a count
//! says that a month had figures, so that nobody is told that nothing was counted in it; and one
//! number over all sites says how many records such months had counted, because what arrived is
//! checked against what is counted.
//!
//! Only a month without a living key ends: no record can change its figures, also in a replay.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};

use super::arrivals::stored_reasons;
use super::destroy::lots;
use super::writer::{FoldOrder, Message, Order, Reply, Writer};
use super::{Engine, EngineError, Shared};
use crate::model::arrival::Hour;
use crate::model::batch::{Epoch, SiteMonth};
use crate::model::ids::{SiteId, SiteNo};
use crate::model::retention::Lot;
use crate::model::site::Site;
use crate::model::time::{Month, Timestamp};
use crate::store::codec::Corrupt;
use crate::store::rows::{ENDED_MARK, decode_count, encode_count};
use crate::store::{Changes, RowRange, Store, Table, keys};

/// Longest row key of the tables whose files are rewritten, bytes; a desk's row has the longest.
const ROW_KEY_MAX: usize = 128;

/// The months whose figures have ended.
pub type Ended = HashSet<SiteMonth>;

/// A month that has figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiguresInfo {
    /// Its site.
    pub site: SiteId,
    /// Which.
    pub month: Month,
    /// When they became final.
    pub closed_at: Option<Timestamp>,
    /// Whether anything of the month has a living key, in hold storage too, or could get one.
    pub lives: bool,
}

/// Loads which months' figures have ended.
///
/// # Errors
/// When a row cannot be read.
pub fn load(store: &Store) -> Result<Ended, EngineError> {
    let mut ended = Ended::new();
    for row in store.scan(Table::Meta, keys::ENDED, Some(keys::ENDED_END))? {
        let (key, value) = row?;
        if *value != ENDED_MARK {
            return Err(Corrupt("month that ended").into());
        }
        ended.insert(keys::ended_of(&key).ok_or(Corrupt("month that ended"))?);
    }
    Ok(ended)
}

/// Records that months had counted whose figures have ended.
///
/// # Errors
/// When the row cannot be read.
pub fn records(store: &Store) -> Result<u64, EngineError> {
    let row = store.get(Table::Meta, keys::ENDED_RECORDS)?;
    Ok(row.map(|row| decode_count(&row)).transpose()?.unwrap_or(0))
}

impl Shared {
    /// Whether a month had figures that have ended.
    pub(super) fn has_ended(&self, at: SiteMonth) -> bool {
        self.ended.read().unwrap_or_else(PoisonError::into_inner).contains(&at)
    }

    /// The months of each site that have a living key: those of buckets of days with their
    /// neighbors, since a day may lie in two months.
    fn living_months(&self) -> Result<HashSet<SiteMonth>, EngineError> {
        let mut living: BTreeSet<_> = lots::living(self).into_keys().map(|(_, lot)| lot).collect();
        living.extend(
            self.held.read().unwrap_or_else(PoisonError::into_inner).keys().map(|(_, lot)| *lot),
        );
        let unfinished = self.unfinished.read().unwrap_or_else(PoisonError::into_inner);
        living.extend(unfinished.iter().map(|doom| doom.lot));
        drop(unfinished);
        let waiting = self.waiting.read().unwrap_or_else(PoisonError::into_inner);
        living.extend(waiting.dooms.iter().map(|doom| doom.lot));
        drop(waiting);
        let mut months = HashSet::new();
        for lot in living {
            if matches!(lot, Lot::Suppression(_)) {
                // It is of a site, and of no month.
                continue;
            }
            // Duplicates are of no month.
            let Some(site) = lots::site_of(&lot) else { continue };
            match lots::epoch_of(&lot) {
                Epoch::Month(month) => months.extend([SiteMonth { site, month }]),
                Epoch::Day(day) => {
                    let month = day.month();
                    let near = [month.previous(), month, month.next()];
                    months.extend(near.map(|month| SiteMonth { site, month }));
                }
            }
        }
        Ok(months)
    }

    /// Whether a site's, or a billing group's, time can be over: a site has ended, or no site names
    /// the group any more.
    fn may_end(&self, site: &Site) -> bool {
        let Some(group) = site.id.group() else { return site.terminated_at.is_some() };
        let names = |site: &Site| {
            let others = site.past.iter().chain(&site.pending).map(|(_, settings)| settings);
            let mut all = others.chain([&site.settings]);
            all.any(|settings| settings.billing_group.as_ref() == Some(&group))
        };
        !self.directory.sites().iter().any(|site| names(site))
    }

    /// Whether nothing is left of a site but its row.
    fn is_bare(&self, site: &Site) -> Result<bool, EngineError> {
        let published = self.published.read().unwrap_or_else(PoisonError::into_inner);
        // A group's figures have sums of its members in them.
        let last = site.terminated_at.map(|at| at.day().month().next());
        let of_group = |at: &SiteMonth| {
            let group = self.directory.by_no(at.site).and_then(|scope| scope.id.group());
            group.is_some_and(|group| site.is_member(&group, at.month))
                && last.is_some_and(|last| at.month <= last)
        };
        let has_figures = published.keys().any(|at| at.site == site.no || of_group(at));
        drop(published);
        let erasing = self.erasing.read().unwrap_or_else(PoisonError::into_inner);
        let is_erased_in = erasing.values().any(|row| row.site == site.no);
        drop(erasing);
        let has_keys = self.ring.list().iter().any(|key| key.site.as_ref() == Some(&site.id));
        let lives = self.living_months()?.iter().any(|at| at.site == site.no);
        let suppressed = self.suppressed.read().unwrap_or_else(PoisonError::into_inner);
        let is_suppressing = suppressed.of(site.no).is_some();
        Ok(self.may_end(site)
            && !(has_figures || is_erased_in || has_keys || lives || is_suppressing))
    }
}

impl Engine {
    /// Every month that has figures, in no order.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn figures_kept(&self) -> Result<Vec<FiguresInfo>, EngineError> {
        let shared = &self.shared;
        let living = shared.living_months()?;
        let published = shared.published.read().unwrap_or_else(PoisonError::into_inner);
        let info = |(at, tally): (&SiteMonth, &crate::model::usage::Tally)| {
            let site = shared.directory.by_no(at.site)?.id.clone();
            let (closed_at, lives) =
                (tally.closed_at, living.contains(at) || self.takes_records(*at));
            Some(FiguresInfo { site, month: at.month, closed_at, lives })
        };
        Ok(published.iter().filter_map(info).collect())
    }

    /// Removes the figures of months of a site, for good; how many had any. From then on they are
    /// [`EngineError::Ended`]. Cut short, the same call does the rest.
    ///
    /// # Errors
    /// Refused where a month still takes records, or anything of it has a living key.
    pub async fn end_figures(&self, months: Vec<(SiteId, Month)>) -> Result<u64, EngineError> {
        self.aside(move |engine| {
            let shared = &engine.shared;
            let _one = shared.destroying.lock().unwrap_or_else(PoisonError::into_inner);
            let living = shared.living_months()?;
            let mut ends = Vec::with_capacity(months.len());
            for (id, month) in &months {
                let site = shared.directory.site(id).ok_or(EngineError::NoSite)?;
                let at = SiteMonth { site: site.no, month: *month };
                if living.contains(&at) || engine.takes_records(at) {
                    return Err(EngineError::Refused(format!(
                        "the figures of {id} for {month} cannot end before its keys"
                    )));
                }
                ends.push(at);
            }
            // What was judged before the keys went is folded by now; this is for what closed.
            engine.wait_for(Message::Fold)?;
            engine.wait_for(|reply| Message::Destruction(Box::new(Order::EndFigures(ends, reply))))
        })
        .await
    }

    /// Whether nothing is left of a site that has ended but its row, so that the row may go; the
    /// same of a billing group that no site names.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn is_bare(&self, id: &SiteId) -> Result<bool, EngineError> {
        self.site(id).map_or(Ok(false), |site| self.shared.is_bare(&site))
    }

    /// Removes the row of a site of which nothing else is left; false where there is something, or
    /// no such site.
    ///
    /// # Errors
    /// When the disk refuses, or the engine has stopped.
    pub async fn end_site(&self, id: SiteId) -> Result<bool, EngineError> {
        self.aside(move |engine| {
            let shared = &engine.shared;
            let _one = shared.destroying.lock().unwrap_or_else(PoisonError::into_inner);
            if !engine.is_bare(&id)? {
                return Ok(false);
            }
            engine.wait_for(Message::Fold)?;
            engine.wait_for(|reply| Message::Destruction(Box::new(Order::EndSite(id, reply))))
        })
        .await
    }

    /// Rewrites the files of the default table and of the counters, so that rows which were removed
    /// from them are in no file and no log any more.
    ///
    /// # Errors
    /// [`EngineError::InUse`] when files from before are still there; when the disk refuses, or the
    /// engine has stopped.
    pub async fn rewrite_counts(&self) -> Result<(), EngineError> {
        self.aside(|engine| {
            let _one = engine.shared.destroying.lock().unwrap_or_else(PoisonError::into_inner);
            engine.shared.rewrite(&[Table::Meta, Table::Counters].map(whole))
        })
        .await
    }

    /// Rewrites the files of the default table alone.
    ///
    /// # Errors
    /// As [`Engine::rewrite_counts`].
    pub async fn rewrite_desk_rows(&self) -> Result<(), EngineError> {
        self.aside(|engine| {
            let _one = engine.shared.destroying.lock().unwrap_or_else(PoisonError::into_inner);
            engine.shared.rewrite(&[whole(Table::Meta)])
        })
        .await
    }

    /// Forgets why records were refused that arrived before an hour, also in files and logs, and
    /// keeps how many they were. Cut short, the same call does all of it again. How many hours
    /// knew it.
    ///
    /// # Errors
    /// As [`Engine::rewrite_counts`].
    pub async fn end_reasons(&self, before: Hour) -> Result<u64, EngineError> {
        self.aside(move |engine| {
            let shared = &engine.shared;
            let _one = shared.destroying.lock().unwrap_or_else(PoisonError::into_inner);
            let from = stored_reasons(&shared.store)?;
            if before <= from {
                return Ok(0);
            }
            let last = keys::arrivals(before);
            let mut rows = shared.store.scan(Table::Arrivals, &[], Some(&last))?;
            // A server of today has none, and its files are left alone.
            let has_rows = rows.next().is_some() || shared.arrivals.has_before(before);
            drop(rows);
            if has_rows {
                // What is in the journal is in its hour then.
                engine.wait_for(Message::Fold)?;
            }
            let order = |reply| Order::EndReasons(from..before, reply);
            let hours = engine.wait_for(|reply| Message::Destruction(Box::new(order(reply))))?;
            if has_rows {
                // Data from before had reasons in the total, too.
                engine.shared.rewrite(&[match from {
                    Hour(0) => whole(Table::Arrivals),
                    _ => (Table::Arrivals, keys::arrivals(from).to_vec(), last.to_vec()),
                }])?;
            }
            let mut changes = Changes::default();
            let row = encode_count(u64::from(before.0));
            changes.put(Table::Arrivals, keys::ARRIVALS_REASONS, row);
            let written = shared.store.apply(&changes).map_err(EngineError::from);
            written.inspect_err(|error| shared.fail(error))?;
            Ok(hours)
        })
        .await
    }
}

impl Shared {
    /// Rewrites the files of rows, the list of files included. A copy that is being made is called
    /// off: its files are among them.
    ///
    /// # Errors
    /// [`EngineError::InUse`] when files from before are still there; when the disk refuses.
    pub(super) fn rewrite(&self, rows: &[RowRange]) -> Result<(), EngineError> {
        let still_open = self.call_off_copy()?;
        let tables: BTreeSet<Table> = rows.iter().map(|(table, ..)| *table).collect();
        let before = self.store.files(&tables)?;
        let left = self.store.reclaim(&before, &tables, rows)?.left + still_open;
        if left > 0 { Err(EngineError::InUse) } else { Ok(()) }
    }
}

/// All rows of a table.
pub(super) fn whole(table: Table) -> RowRange {
    (table, Vec::new(), vec![u8::MAX; ROW_KEY_MAX])
}

impl Writer {
    /// Lets go of the figures of months, and has the fold remove their rows.
    ///
    /// # Errors
    /// When the fold thread has ended.
    pub(super) fn end_figures(
        &mut self,
        months: Vec<SiteMonth>,
        reply: Reply<u64>,
    ) -> Result<(), EngineError> {
        let months: HashSet<SiteMonth> = months.into_iter().collect();
        let shared = Arc::clone(&self.shared);
        // First here: whatever a cut still says of them is written before their rows go.
        self.state.forget(&months);
        shared.ended.write().unwrap_or_else(PoisonError::into_inner).extend(&months);
        let mut published = shared.published.write().unwrap_or_else(PoisonError::into_inner);
        let (mut known, mut records) = (Vec::new(), 0);
        for at in &months {
            if let Some(tally) = published.remove(at) {
                known.push(*at);
                records += shared.arrivals.end(&tally);
            }
        }
        drop(published);
        for at in &known {
            shared.explained.remove(at.site);
        }
        let order = FoldOrder::End(known, records, reply);
        self.folder.send(order).map_err(|_| EngineError::Stopped)
    }

    /// Removes a site's row.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn end_site(&mut self, id: &SiteId) -> Result<bool, EngineError> {
        let Some(site) = self.shared.directory.site(id) else { return Ok(false) };
        // Somebody may have asked for something of the site meanwhile.
        if !self.shared.is_bare(&site)? {
            return Ok(false);
        }
        let mut changes = Changes::default();
        let (from, to) = (keys::ended_from(site.no), keys::ended_from(SiteNo(site.no.0 + 1)));
        changes.delete_range(Table::Meta, from, to);
        changes.delete(Table::Meta, self.shared.directory.row_of(id));
        self.shared.store.apply(&changes)?;
        self.shared.directory.remove_site(id);
        let mut ended = self.shared.ended.write().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|at| at.site != site.no);
        Ok(true)
    }
}
