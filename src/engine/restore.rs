//! Data that was put back from a backup is made fit to the keys and to the ledger of today before
//! anything else sees it: what was destroyed since then goes from it, its names are never given
//! again, tokens that were revoked and sites that ended stay so.
//!
//! Which lots were destroyed the ledger says; whether a lot lives the register says. What the data
//! needs and neither of them explains is refused: the register is older than the data then.
//!
//! Numbers go on far beyond those that the lost data may have used, so that no receipt, block or
//! run is named twice. Slots of duplicates end where the lost data had ended them, at the latest.
//!
//! Every step can be repeated, and the row of the backup says "not yet" until the last one, which
//! is one change set.

mod erase;
mod periods;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::backup::{backup_of, mark_of};
use super::destroy::lot_of;
use super::directory::Directory;
use super::fold::{Folder, tables_of};
use super::gone::Gone;
use super::{EngineError, access, hold, runs, writer};
use crate::crypto::seal;
use crate::keys::KeyRing;
use crate::model::batch::{Bucket, Epoch, SiteMonth};
use crate::model::ids::{HoldNo, SiteId, SiteNo};
use crate::model::retention::Lot;
use crate::model::time::{Day, Month, Timestamp};
use crate::model::vocab::Class;
use crate::store::backup::BackupRow;
use crate::store::codec::Corrupt;
use crate::store::rows::Position;
use crate::store::{Changes, RowRange, Store, Table, keys};

pub use periods::LedgerPeriod;

/// Numbers go on at the generation of the register times this, so that each restore, also of the
/// same backup, has numbers of its own: the register is written at each start and each fold, and
/// fewer groups, blocks and runs than this are made in between.
const NUMBERS_EACH: u64 = 1 << 32;

/// A lot as the ledger names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its site.
    pub site: SiteId,
    /// What it is of.
    pub kind: NamedKind,
    /// Its month or day.
    pub epoch: Epoch,
}

/// What a lot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedKind {
    /// A bucket.
    Records(Class),
    /// A month's sets.
    Sets,
    /// The record key of a month.
    RecordKey,
    /// The watermark key of a month.
    WatermarkKey,
    /// The base key of a month.
    BaseKey,
    /// The suppression key of a site that was made in the month.
    Suppression,
    /// The duplicates of a UTC day, of all sites.
    Seen,
    /// The access log of a UTC month.
    Access,
}

impl Named {
    fn lot(&self, directory: &Directory) -> Option<Lot> {
        match (self.kind, self.epoch) {
            (NamedKind::Seen, Epoch::Day(day)) => return Some(Lot::Seen(day)),
            (NamedKind::Access, Epoch::Month(month)) => return Some(Lot::Access(month)),
            _ => {}
        }
        let of = directory.site(&self.site)?;
        let site = of.no;
        let at = SiteMonth { site, month: self.epoch.month() };
        Some(match self.kind {
            NamedKind::Records(class) => Lot::Records(Bucket { class, site, epoch: self.epoch }),
            NamedKind::Sets => Lot::Sets(at),
            NamedKind::RecordKey => Lot::RecordKey(at),
            NamedKind::WatermarkKey => Lot::WatermarkKey(at),
            NamedKind::BaseKey => Lot::BaseKey(at),
            // Of another site, which had the same id before.
            NamedKind::Suppression if at.month != of.created_at.day().month() => return None,
            NamedKind::Suppression => Lot::Suppression(at),
            NamedKind::Seen | NamedKind::Access => return None,
        })
    }
}

/// An erasure of one person that the ledger tells of; whose it was it does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerErasure {
    /// The number of its intent.
    pub number: u64,
    /// The site.
    pub site: SiteId,
    /// The months whose records were searched.
    pub months: Vec<Month>,
    /// Whether later records of the person are not kept either.
    pub suppressed: bool,
    /// Whether it has ended.
    pub ended: bool,
    /// Keys that were destroyed for it.
    pub keys: u64,
}

/// What the ledger tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Lots whose destruction began at any time.
    pub destroyed: Vec<Named>,
    /// Lots whose copies in hold storage began to be destroyed at any time.
    pub copies_destroyed: Vec<Named>,
    /// Holds that were released.
    pub released: BTreeSet<HoldNo>,
    /// Sites whose collection ended, and when.
    pub terminated: Vec<(SiteId, Timestamp)>,
    /// The own periods of records that sites got, in order.
    pub periods: Vec<LedgerPeriod>,
    /// Tokens that were revoked.
    pub revoked: Vec<String>,
    /// Erasures of one person, at any time.
    pub erasures: Vec<LedgerErasure>,
    /// The time of its last entry.
    pub last: Timestamp,
}

/// What was made fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Lots that are gone from the data now.
    pub lots: u64,
    /// Tokens that were revoked.
    pub tokens: u64,
    /// Sites that ended.
    pub sites: u64,
}

/// What the work is done on.
pub(super) struct Parts<'a> {
    pub(super) store: &'a Arc<Store>,
    pub(super) ring: &'a Arc<KeyRing>,
    pub(super) directory: &'a Arc<Directory>,
    /// The generation of the register before this start wrote to it.
    pub(super) generation: u64,
    pub(super) now: Timestamp,
    pub(super) age_ms: i64,
}

/// Refuses data that was put back and that nobody has made fit.
pub(super) fn refuse_unfit(store: &Store) -> Result<(), EngineError> {
    match backup_of(store)? {
        Some(row) if !row.replayed => Err(EngineError::Refused(
            "this data is a backup that was not made fit to today's ledger".into(),
        )),
        _ => Ok(()),
    }
}

/// Makes data that was put back fit; nothing to do on any other.
pub(super) fn replay(parts: &Parts<'_>, replay: &Replay) -> Result<Replayed, EngineError> {
    let row = backup_of(parts.store)?;
    if let Some(BackupRow { replayed: true, done: [lots, tokens, sites], .. }) = row {
        return Ok(Replayed { lots, tokens, sites });
    }
    let gone = Gone::load(parts.store)?;
    let living: BTreeSet<Lot> =
        parts.ring.list().iter().filter_map(|key| lot_of(parts.directory, key)).collect();
    let Some(row) = row else {
        // An older register, as from a copy off the host, does where the data needs no more.
        if mark_of(parts.store)?.is_some_and(|mark| mark.generation > parts.generation) {
            let known = |lot: &Lot| living.contains(lot) || gone.contains(lot);
            let floor = parts.position()?.seen_floor;
            parts.fits(&known, &|lot| living.contains(lot), Day(floor))?;
        }
        return Ok(Replayed::default());
    };
    let named = replay.destroyed.iter().filter_map(|named| named.lot(parts.directory));
    let mut lost: BTreeSet<Lot> =
        named.filter(|lot| !living.contains(lot) && !gone.contains(lot)).collect();
    let position = parts.position()?;
    let floor = position.seen_floor.max(parts.floor(replay.last)?.0);
    let floor = floor.max(parts.ended_slots(&mut lost)?.0);
    let known = |lot: &Lot| living.contains(lot) || lost.contains(lot) || gone.contains(lot);
    parts.fits(&known, &|lot| living.contains(lot), Day(floor))?;
    let ended: BTreeSet<Lot> =
        replay.copies_destroyed.iter().filter_map(|named| named.lot(parts.directory)).collect();
    let over = |hold: HoldNo, lot: Lot| replay.released.contains(&hold) && ended.contains(&lot);
    let moved = |lot: Lot| !living.contains(&lot) && (lost.contains(&lot) || gone.contains(&lot));
    let (copies, held) = hold::replay((parts.store, parts.ring, parts.directory), over, moved)?;
    let lots = lost.len() as u64 + copies;
    let tokens = parts.tokens(replay)?;
    let (of_sites, sites) = periods::sites(parts, replay, row.operation)?;
    let replayed = Replayed { lots, tokens, sites };
    let row = BackupRow { done: [replayed.lots, replayed.tokens, replayed.sites], ..row };
    let lots: Vec<Lot> = lost.into_iter().collect();
    parts.remove(&lots, position)?;
    erase::remove_unreadable(parts)?;
    let mut last = held;
    last.append(erase::lost(parts, &replay.erasures, row.operation)?);
    parts.directory.site_rows(&of_sites, &mut last);
    parts.end(&lots, &gone, Position { seen_floor: floor, ..position }, row, last)?;
    parts.directory.show_sites(of_sites);
    Ok(replayed)
}

impl Parts<'_> {
    fn position(&self) -> Result<Position, EngineError> {
        let row = self.store.get(Table::Meta, keys::POSITION)?;
        Ok(Position::decode(&row.ok_or(Corrupt("position"))?)?)
    }

    /// Where the lost data may have ended its slots, at the latest: by newer slots, or, on a server
    /// without records, by time alone, and then their keys are gone.
    fn floor(&self, last: Timestamp) -> Result<Day, EngineError> {
        let now = self.now.max(last);
        let living: BTreeSet<Day> = self.ring.seen_days().into_iter().collect();
        let newest = living.last().copied();
        let by_slots = newest.map_or(Day(0), |day| writer::floor(now, day, self.age_ms));
        let over = writer::first_slot_at(now, self.age_ms);
        let stored =
            runs::list(self.store, Table::Seen)?.into_iter().map(|(set, _)| Day(set.owner));
        let expired = stored.filter(|day| *day < over && !living.contains(day)).max();
        let by_time = expired.map_or(Day(0), |day| Day(day.0.saturating_add(1)));
        Ok(by_slots.max(by_time))
    }

    /// The floor behind the slots that the ledger says were destroyed; of those, only what the data
    /// still has stays among the lots that go from it.
    fn ended_slots(&self, lost: &mut BTreeSet<Lot>) -> Result<Day, EngineError> {
        let stored: BTreeSet<u32> =
            runs::list(self.store, Table::Seen)?.into_iter().map(|(set, _)| set.owner).collect();
        let mut floor = Day(0);
        lost.retain(|lot| {
            let Lot::Seen(day) = lot else { return true };
            floor = floor.max(Day(day.0.saturating_add(1)));
            stored.contains(&day.0)
        });
        Ok(floor)
    }

    /// Everything in the data must have its key, unless its destruction is in the ledger.
    fn fits(
        &self,
        known: &dyn Fn(&Lot) -> bool,
        lives: &dyn Fn(&Lot) -> bool,
        floor: Day,
    ) -> Result<(), EngineError> {
        for (bucket, wrapped) in stored_buckets(self.store)? {
            let lot = Lot::Records(bucket);
            let by = seal::key_id(&wrapped).map_err(|error| damaged(&error.to_string()))?;
            // A bucket's name is given once, so its living key is the one that the block names,
            // unless an erasure gave it another one since.
            let opens = self.ring.by_id(by).is_some() || erase::is_replaced(self, bucket, by);
            if !known(&lot) || (lives(&lot) && !opens) {
                return Err(older("the records of", &bucket.epoch.month().to_string()));
            }
        }
        for row in self.store.scan(Table::Counters, &[], None)? {
            let at = keys::counters_of(&row?.0).ok_or(Corrupt("counters"))?;
            let month = at.month.to_string();
            for lot in [Lot::Sets(at), Lot::RecordKey(at), Lot::WatermarkKey(at), Lot::BaseKey(at)]
            {
                if !known(&lot) {
                    return Err(older("the pseudonyms of", &month));
                }
            }
        }
        for (month, sealed) in access::stored(self.store)? {
            let lot = Lot::Access(month);
            let by = seal::key_id(&sealed).map_err(|error| damaged(&error.to_string()))?;
            if !known(&lot) || (lives(&lot) && self.ring.by_id(by).is_none()) {
                return Err(older("the access log of", &month.to_string()));
            }
        }
        let living: BTreeSet<Day> = self.ring.seen_days().into_iter().collect();
        for (set, _) in runs::list(self.store, Table::Seen)? {
            let day = Day(set.owner);
            if day >= floor && !living.contains(&day) {
                return Err(older("the duplicates of", &day.month().to_string()));
            }
        }
        Ok(())
    }

    /// Revokes the tokens that the ledger says were; how many were left.
    fn tokens(&self, replay: &Replay) -> Result<u64, EngineError> {
        let mut done = 0;
        for token in &replay.revoked {
            done += u64::from(self.directory.delete_token(self.store, token)?);
        }
        Ok(done)
    }

    /// Rows of destroyed lots go, and the files that held them.
    fn remove(&self, lots: &[Lot], position: Position) -> Result<(), EngineError> {
        if lots.is_empty() {
            return Ok(());
        }
        let tables: BTreeSet<Table> = lots.iter().flat_map(tables_of).collect();
        let before = self.store.files(&tables)?;
        let parts = (Arc::clone(self.store), Arc::clone(self.ring), Arc::clone(self.directory));
        let (store, ring, directory) = parts;
        Folder::new(store, ring, directory, position, Default::default())?.remove(lots)?;
        // Whole tables, because an attempt before this one may have removed the rows already.
        let whole = |table: &Table| -> RowRange { (*table, Vec::new(), vec![0xff; ROW_KEY_MAX]) };
        let ranges: Vec<RowRange> = tables.iter().map(whole).collect();
        let reclaimed = self.store.reclaim(&before, &tables, &ranges)?;
        if reclaimed.left > 0 {
            return Err(EngineError::Refused(
                "files of what was destroyed are still there; start the server again".into(),
            ));
        }
        Ok(())
    }

    /// The last step: from here on the data is like any other.
    fn end(
        &self,
        lots: &[Lot],
        gone: &Gone,
        position: Position,
        row: BackupRow,
        mut changes: Changes,
    ) -> Result<(), EngineError> {
        let first = self.ring.generation()?.checked_mul(NUMBERS_EACH);
        let first = first.ok_or_else(|| damaged("the register's generation"))?;
        let position = Position {
            folded_through: position.folded_through.max(first),
            next_block: position.next_block.max(first),
            next_run: position.next_run.max(first),
            seen_floor: position.seen_floor,
            believed: position.believed,
        };
        gone.rows(lots, position.folded_through + 1, &mut changes);
        let to = keys::page(position.seen_floor, 0, 0, 0);
        changes.delete_range(Table::Seen, keys::page(0, 0, 0, 0), to);
        changes.put(Table::Meta, keys::POSITION, position.encode());
        changes.put(Table::Meta, keys::BACKUP, BackupRow { replayed: true, ..row }.encode());
        Ok(self.store.apply(&changes)?)
    }
}

/// Longer than any row key of these tables, bytes.
const ROW_KEY_MAX: usize = 18;

/// Each bucket that has blocks, with the wrapped key of one of them.
fn stored_buckets(store: &Store) -> Result<Vec<(Bucket, Vec<u8>)>, EngineError> {
    let mut found = Vec::new();
    for table in store.tables() {
        let Table::BlockKeys(class, _) = table else { continue };
        let mut from = Vec::new();
        loop {
            let Some(row) = store.scan(table, &from, None)?.next() else { break };
            let (key, wrapped) = row?;
            let parts = keys::block_of(&key).ok_or(Corrupt("block key"))?;
            let (fragment, site, epoch, _) = parts;
            let bucket = Bucket { class, site, epoch: Epoch::from_code(epoch) };
            found.push((bucket, wrapped.into_vec()));
            from = behind(fragment, site, epoch);
        }
    }
    Ok(found)
}

/// The first row key behind all blocks of a bucket.
fn behind(fragment: bool, site: SiteNo, epoch: u32) -> Vec<u8> {
    let mut key = keys::block(fragment, site, epoch, u64::MAX);
    key.push(0);
    key
}

fn damaged(what: &str) -> EngineError {
    EngineError::Damaged(what.to_owned())
}

fn older(what: &str, month: &str) -> EngineError {
    EngineError::Refused(format!(
        "the register has no key for {what} {month}, and the ledger does not say that it was \
         destroyed: the keys directory is older than the data; put back the newest register"
    ))
}
