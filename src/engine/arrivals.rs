//! What arrived from whom, by the hour ([`crate::model::arrival`]).
//!
//! The journal has what each group adds; the table has each hour as of the last fold, and is
//! written in the same change set as the counters. In memory are the hours that changed since. The
//! hour is that of the group's own time, so a replay comes to the same figures.

mod sums;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::fold::FoldError;
use super::{Engine, EngineError, ended};
use crate::crypto::{self, Aad, SealKey};
use crate::model::arrival::{
    Credential, HOUR_NAMES_MAX, Hour, NAMES_MAX, OTHERS, Place, Received, Sender,
};
use crate::model::caller::{SiteScope, Token};
use crate::model::ids::SiteId;
use crate::model::limits;
use crate::model::time::Day;
use crate::model::usage::Tally;
use crate::store::arrivals::{Total, decode_hour, encode_hour};
use crate::store::codec::Corrupt;
use crate::store::rows::decode_count;
use crate::store::verdict::decode_tally;
use crate::store::{Changes, Store, StoreError, Table, keys};
use sums::Duplicates;
pub use sums::Sums;

/// Longest list of sites that a credential is known by, bytes; a longer one is known by its digest.
const SITES_BYTES_MAX: usize = 1_024;

/// Rows that are written at once where reasons end.
const ROWS_AT_ONCE: u64 = 256;

/// What a credential is known by in the arrivals.
pub fn credential(of: &Token) -> Credential {
    let sites = match &of.sites {
        SiteScope::All => "*".to_owned(),
        SiteScope::Some(sites) => {
            let ids: Vec<&str> = sites.iter().map(SiteId::as_str).collect();
            let list = ids.join(",");
            if list.len() <= SITES_BYTES_MAX {
                list
            } else {
                let digest = crypto::digest(list.as_bytes());
                digest.iter().fold("#".to_owned(), |text, byte| text + &format!("{byte:02x}"))
            }
        }
    };
    Credential { producer: of.producer.as_str().into(), sites: sites.into() }
}

/// What came of each sender in an hour.
type Senders = BTreeMap<Sender, Received>;

#[derive(Default)]
struct HourNow {
    senders: Senders,
    /// How many names each credential has in it beside its own, and all of them.
    names: (HashMap<Arc<Credential>, usize>, usize),
    /// Whether it changed since the last cut.
    changed: bool,
}

impl HourNow {
    /// Forgets why records were refused.
    fn end_reasons(&mut self) {
        for received in self.senders.values_mut() {
            self.changed |= received.end_reasons();
        }
    }

    fn of(senders: Senders) -> Self {
        let mut now = Self::default();
        senders.keys().filter(|sender| sender.is_bounded()).for_each(|sender| now.name(sender));
        Self { senders, ..now }
    }

    fn name(&mut self, sender: &Sender) {
        let (of, all) = &mut self.names;
        *of.entry(Arc::clone(&sender.credential)).or_default() += 1;
        *all += 1;
    }

    /// Adds what came of a sender. Nobody's names take the place of another's own, and of one
    /// credential's names there are only so many: a producer could name very many.
    fn add(&mut self, sender: &Sender, received: &Received) {
        self.changed = true;
        if let Some(known) = self.senders.get_mut(sender) {
            return known.add(received);
        }
        let mut sender = sender.clone();
        if sender.is_bounded() {
            let of = self.names.0.get(&sender.credential).copied().unwrap_or_default();
            if of >= NAMES_MAX || self.names.1 >= HOUR_NAMES_MAX {
                sender.producer = OTHERS.into();
            } else {
                self.name(&sender);
            }
        }
        self.senders.entry(sender).or_default().add(received);
    }
}

#[derive(Default)]
struct Recent {
    hours: BTreeMap<Hour, HourNow>,
    total: Total,
    /// Records that all months count.
    counted: u64,
    /// Records that months had counted whose figures have ended.
    ended: u64,
    duplicates: Duplicates,
    /// Before this hour nobody knows why a record was refused.
    reasons_from: Hour,
}

/// The arrivals.
pub struct Arrivals {
    store: Arc<Store>,
    key: Arc<SealKey>,
    recent: RwLock<Recent>,
}

impl Arrivals {
    /// The arrivals as of the last fold. Data from before they were counted has a number of records
    /// that nobody knows the senders of.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn load(store: &Arc<Store>, key: Arc<SealKey>) -> Result<Self, EngineError> {
        let ended = ended::records(store)?;
        let (records, counted_then) = stored_count(store)?;
        let mut total = match stored_total(store, &key)? {
            Some(total) => total,
            None => Total { before: records, ..Total::default() },
        };
        let arrived_then = total.received.duplicates;
        let duplicates = Duplicates { counted_then, arrived_then, ..Duplicates::default() };
        // Of data from before it had none: the total is kept longer than any reason.
        total.received.end_reasons();
        let reasons_from = stored_reasons(store)?;
        let recent = Recent { total, ended, duplicates, reasons_from, ..Recent::default() };
        let recent = RwLock::new(recent);
        Ok(Self { store: Arc::clone(store), key, recent })
    }

    /// Reads an hour into memory, so that it can be added to.
    ///
    /// # Errors
    /// When its row cannot be read.
    pub fn hold(&self, hour: Hour) -> Result<(), EngineError> {
        let mut recent = self.write();
        let has_ended = hour < recent.reasons_from;
        if let Entry::Vacant(place) = recent.hours.entry(hour) {
            let row = self.store.get(Table::Arrivals, &keys::arrivals(hour))?;
            let senders = row.map(|sealed| self.read_row(hour, &sealed)).transpose()?;
            let now = place.insert(HourNow::of(senders.unwrap_or_default()));
            if has_ended {
                now.end_reasons();
            }
        }
        Ok(())
    }

    fn read_row(&self, hour: Hour, sealed: &[u8]) -> Result<Senders, EngineError> {
        Ok(decode_hour(&open(&self.key, &keys::arrivals(hour), sealed)?)?.into_iter().collect())
    }

    /// Adds what a group brought to an hour that is held; each sender once, in their order.
    pub fn add(&self, hour: Hour, arrivals: &[(Sender, Received)]) {
        if arrivals.is_empty() {
            return;
        }
        let mut recent = self.write();
        let Recent { hours, total, reasons_from, .. } = &mut *recent;
        let now = hours.entry(hour).or_default();
        for (sender, received) in arrivals {
            total.received.add(received);
            now.add(sender, received);
        }
        total.received.end_reasons();
        // The clock was set back: an hour whose reasons have ended gets no others.
        if hour < *reasons_from {
            now.end_reasons();
        }
    }

    /// Before which hour reasons have ended.
    pub fn reasons_from(&self) -> Hour {
        self.read().reasons_from
    }

    /// Whether something that arrived before an hour waits for the fold.
    pub fn has_before(&self, hour: Hour) -> bool {
        self.read().hours.range(..hour).next().is_some()
    }

    /// Forgets, in memory, why records were refused before an hour.
    pub fn end_reasons(&self, before: Hour) {
        let mut recent = self.write();
        recent.reasons_from = recent.reasons_from.max(before);
        recent.hours.range_mut(..before).for_each(|(_, now)| now.end_reasons());
    }

    /// What a fold writes: the hours that changed since the last cut, and the total.
    pub fn cut(&self) -> Changes {
        let mut recent = self.write();
        let Recent { hours, total, .. } = &mut *recent;
        let mut changes = Changes::default();
        for (hour, now) in hours.iter_mut().filter(|(_, now)| now.changed) {
            now.changed = false;
            let row = keys::arrivals(*hour);
            let sealed = self.key.seal(&aad(&row), &encode_hour(now.senders.iter()));
            changes.put(Table::Arrivals, row, sealed);
        }
        if !changes.is_empty() {
            let sealed = self.key.seal(&aad(&keys::ARRIVALS_TOTAL), &total.encode());
            changes.put(Table::Arrivals, keys::ARRIVALS_TOTAL, sealed);
        }
        changes
    }

    /// A fold has ended: what it wrote need not be in memory, but for the hour that goes on.
    pub fn folded(&self) {
        let mut recent = self.write();
        let last = recent.hours.keys().next_back().copied();
        recent.hours.retain(|hour, now| now.changed || Some(*hour) == last);
    }

    /// Notes what a month counts now that counted something else before.
    pub fn note(&self, before: Option<&Tally>, now: &Tally) {
        let mut recent = self.write();
        recent.counted = recent.counted + counted(now) - before.map_or(0, counted);
        let duplicates = |of: &Tally| of.counters.duplicates;
        let all = &mut recent.duplicates.counted;
        *all = *all + duplicates(now) - before.map_or(0, duplicates);
    }

    /// Notes how many duplicates came since the start for months that do not count them.
    pub fn note_apart(&self, duplicates: u64) {
        self.write().duplicates.apart = duplicates;
    }

    /// Notes that the figures of a month have ended; how many records it counted.
    pub fn end(&self, tally: &Tally) -> u64 {
        let (mut recent, records) = (self.write(), counted(tally));
        recent.counted -= records;
        recent.ended += records;
        records
    }

    /// By how many records what is counted, or was until its end, differs from what was accepted,
    /// and by how many duplicates what is counted since the start differs from what came.
    pub fn difference(&self) -> u64 {
        let Recent { total, counted, ended, duplicates, .. } = &*self.read();
        let Duplicates { counted_then, arrived_then, counted: all, apart } = duplicates;
        let records = (counted + ended).abs_diff(total.before + total.received.accepted);
        let more = (all + apart + arrived_then).abs_diff(total.received.duplicates + counted_then);
        records + more
    }

    /// What is counted and what was accepted must be as many records, and no month may count a
    /// duplicate that never came.
    ///
    /// # Errors
    /// When they are not.
    pub fn check(&self) -> Result<(), EngineError> {
        let what = "the records that arrived are not as many as those that are counted";
        let is_possible = {
            let Recent { total, duplicates, .. } = &*self.read();
            Sums::of(total, (0, duplicates.counted)).is_possible()
        };
        match self.difference() == 0 && is_possible {
            true => Ok(()),
            false => Err(EngineError::Damaged(what.into())),
        }
    }

    /// Hands out the senders of the hours of a range, in order, until somebody has enough. The hour
    /// that it would have gone on with, where it looked at as many as it may.
    fn each(
        &self,
        range: &Range<Hour>,
        look: &Look,
        mut take: impl FnMut(Hour, Senders) -> ControlFlow<()>,
    ) -> Result<Option<Hour>, EngineError> {
        // Memory first: what is not in it now is in the table, at least as it is now.
        let mut recent: BTreeMap<Hour, Senders> = match range.is_empty() {
            true => return Ok(None),
            false => {
                let recent = self.read();
                let hours = recent.hours.range(range.clone());
                hours.map(|(hour, now)| (*hour, now.senders.clone())).collect()
            }
        };
        let (mut hours, mut senders) = (0, 0);
        let mut hand = |hour: Hour, of: &mut dyn FnMut() -> Result<Senders, EngineError>| {
            // Asked before a row is opened, which is what costs.
            if hours >= look.hours || senders >= look.senders {
                return Ok(ControlFlow::Break(Some(hour)));
            }
            let found = of()?;
            hours += 1;
            senders += found.len();
            Ok::<_, EngineError>(take(hour, found).map_break(|()| None))
        };
        let (from, to) = (keys::arrivals(range.start), keys::arrivals(range.end));
        for row in self.store.scan(Table::Arrivals, &from, Some(&to))? {
            let (key, sealed) = row?;
            let hour = keys::arrivals_hour(&key).ok_or(Corrupt("arrivals"))?;
            while let Some(first) = recent.first_entry().filter(|first| *first.key() < hour) {
                let (hour, mut known) = first.remove_entry();
                if let ControlFlow::Break(end) = hand(hour, &mut || Ok(mem::take(&mut known)))? {
                    return Ok(end);
                }
            }
            let mut known = recent.remove(&hour);
            let mut read = || known.take().map_or_else(|| self.read_row(hour, &sealed), Ok);
            if let ControlFlow::Break(end) = hand(hour, &mut read)? {
                return Ok(end);
            }
        }
        for (hour, mut known) in recent {
            if let ControlFlow::Break(end) = hand(hour, &mut || Ok(mem::take(&mut known)))? {
                return Ok(end);
            }
        }
        Ok(None)
    }

    fn read(&self) -> RwLockReadGuard<'_, Recent> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Recent> {
        self.recent.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stored_total(store: &Store, key: &SealKey) -> Result<Option<Total>, EngineError> {
    let sealed = store.get(Table::Arrivals, &keys::ARRIVALS_TOTAL)?;
    let opened = sealed.map(|sealed| open(key, &keys::ARRIVALS_TOTAL, &sealed)).transpose()?;
    Ok(opened.map(|row| Total::decode(&row)).transpose()?)
}

/// Before which hour reasons have ended, with the files that had them.
///
/// # Errors
/// When the row cannot be read.
pub fn stored_reasons(store: &Store) -> Result<Hour, EngineError> {
    let row = store.get(Table::Arrivals, &keys::ARRIVALS_REASONS)?;
    let hour = row.map(|row| decode_count(&row)).transpose()?.unwrap_or(0);
    Ok(Hour(u32::try_from(hour).map_err(|_| Corrupt("arrivals"))?))
}

/// Forgets, in the rows of a range of hours, why records were refused; how many rows knew it.
///
/// # Errors
/// When a row cannot be read, or the disk refuses.
pub fn end_stored(store: &Store, key: &SealKey, hours: &Range<Hour>) -> Result<u64, FoldError> {
    let (from, to) = (keys::arrivals(hours.start), keys::arrivals(hours.end));
    let (mut changes, mut rows) = (Changes::default(), 0);
    for row in store.scan(Table::Arrivals, &from, Some(&to))? {
        let (name, sealed) = row?;
        let mut senders = decode_hour(&key.open(&aad(&name), &sealed)?)?;
        let knew = senders.iter_mut().fold(false, |knew, (_, of)| of.end_reasons() | knew);
        if !knew {
            continue;
        }
        let plain = encode_hour(senders.iter().map(|(sender, received)| (sender, received)));
        changes.put(Table::Arrivals, name.to_vec(), key.seal(&aad(&name), &plain));
        rows += 1;
        if rows % ROWS_AT_ONCE == 0 {
            store.apply(&mem::take(&mut changes))?;
        }
    }
    store.apply(&changes)?;
    Ok(rows)
}

/// The records that all months count or counted until their end, and the duplicates that those
/// count which have not ended.
fn stored_count(store: &Store) -> Result<(u64, u64), EngineError> {
    let (mut records, mut duplicates) = (ended::records(store)?, 0);
    for row in store.scan(Table::Counters, &[], None)? {
        let tally = decode_tally(&row?.1)?;
        records += counted(&tally);
        duplicates += tally.counters.duplicates;
    }
    Ok((records, duplicates))
}

/// The sums as of the last fold, which writes both at once; `None` where no fold wrote what
/// arrived.
///
/// # Errors
/// When a row cannot be read.
pub fn stored_sums(store: &Store, key: &SealKey) -> Result<Option<Sums>, EngineError> {
    let Some(total) = stored_total(store, key)? else { return Ok(None) };
    Ok(Some(Sums::of(&total, stored_count(store)?)))
}

/// Records that a month counts, its corrections included.
fn counted(tally: &Tally) -> u64 {
    tally.counters.records + tally.corrections.records
}

fn aad(row: &[u8]) -> Aad {
    Aad::new("arrivals/1").bytes(row)
}

fn open(key: &SealKey, row: &[u8], sealed: &[u8]) -> Result<Vec<u8>, EngineError> {
    key.open(&aad(row), sealed).map_err(|error| EngineError::Damaged(error.to_string()))
}

/// Removes the hours that are not kept on the first day whose answers still are, or after it.
///
/// # Errors
/// When the disk refuses.
pub fn drop_old(store: &Store, answers_from: Day, changes: &mut Changes) -> Result<(), StoreError> {
    let today = Day(answers_from.0.saturating_add(limits::IDEMPOTENCY_DAYS + 1));
    let first = keys::arrivals(Hour::first_kept(today));
    // Asked first: a removal that removes nothing would still be written, at each fold.
    if store.scan(Table::Arrivals, &[], Some(&first))?.next().transpose()?.is_some() {
        changes.delete_range(Table::Arrivals, keys::arrivals(Hour(0)).into(), first.into());
    }
    Ok(())
}

/// One sender in one hour.
pub type ArrivalRow = (Hour, Sender, Received);

/// How much one question may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Most rows that are wanted.
    pub rows: usize,
    /// Most hours, whether wanted rows are in them or not.
    pub hours: usize,
    /// Most senders of these hours; the last hour is looked at whole.
    pub senders: usize,
}

impl Engine {
    /// What arrived in the hours of a range from the senders that are wanted, from a place in their
    /// order; and the place where it goes on, if it does, which may be behind no row at all. It
    /// holds everything that was answered before the call. It reads files, so it runs off the
    /// reactor.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn arrivals(
        &self,
        range: Range<Hour>,
        from: Option<&Place>,
        look: &Look,
        wanted: impl Fn(&Sender) -> bool,
    ) -> Result<(Vec<ArrivalRow>, Option<Place>), EngineError> {
        let mut rows: Vec<ArrivalRow> = Vec::new();
        let mut next = None;
        let start = from.map_or(range.start, |place| range.start.max(place.hour));
        let end = self.shared.arrivals.each(&(start..range.end), look, |hour, senders| {
            let is_new = |sender: &Sender| {
                let here = (hour, Some(sender));
                from.is_none_or(|place| here > (place.hour, place.behind.as_ref()))
            };
            for (sender, received) in senders {
                if is_new(&sender) && wanted(&sender) {
                    if rows.len() >= look.rows {
                        next = rows.last().map(|(hour, sender, _)| Place {
                            hour: *hour,
                            behind: Some(sender.clone()),
                        });
                        return ControlFlow::Break(());
                    }
                    rows.push((hour, sender, received));
                }
            }
            ControlFlow::Continue(())
        })?;
        Ok((rows, next.or(end.map(|hour| Place { hour, behind: None }))))
    }

    /// By how many records the figures of all months differ from what was accepted from all
    /// senders; anything but nought is a fault of this program.
    pub fn arrivals_difference(&self) -> u64 {
        // A group that is being published is in both or in neither.
        let _published = self.shared.published.read().unwrap_or_else(PoisonError::into_inner);
        self.shared.arrivals.difference()
    }
}
