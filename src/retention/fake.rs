//! A vault in memory that can be cut anywhere, and a clock that tests move.

mod fault;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use fault::Fault;

use super::tests::token_of;
use super::vault::{
    Change, DestroyReport, Dues, FiguresInfo, HeldInfo, LotInfo, LotReport, Row, Vault,
    Verification,
};
use crate::crypto::sha256;
use crate::engine::EngineError;
use crate::keys::vek::LedgerMark;
use crate::keys::{EpochStanding, KeyInfo, KeyKind, RegisterScan, Victim};
use crate::model::arrival::Hour;
use crate::model::caller::Caller;
use crate::model::ids::{HoldNo, KeyId, SiteId};
use crate::model::limits;
use crate::model::pseudonym::Algorithm;
use crate::model::retention::{Doom, Lot};
use crate::model::site::Site;
use crate::model::time::{Clock, DAY_MS, Day, Month, Timestamp};

/// A clock that tests move: what it says, and how many milliseconds it has run.
pub struct TestClock(pub AtomicI64, pub AtomicI64);

impl TestClock {
    /// A clock that begins at a time.
    pub const fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.0), AtomicI64::new(0))
    }

    /// Time passes until then; the clock is set back where it lies behind.
    pub fn set(&self, at: Timestamp) {
        let passed = at.0 - self.0.swap(at.0, Ordering::Relaxed);
        self.1.fetch_add(passed.max(0), Ordering::Relaxed);
    }

    /// Somebody sets it, and no time passes.
    pub fn jump(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }

    fn running(&self) -> Duration {
        Duration::from_millis(self.1.load(Ordering::Relaxed).unsigned_abs())
    }
}

/// Where the vault is cut: calls that change something are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Before the change of this number, counted from 0.
    Before(usize),
    /// After it.
    After(usize),
}

/// What a vault is made of.
#[derive(Default)]
pub struct Inside {
    /// The sites.
    pub sites: BTreeMap<SiteId, Arc<Site>>,
    /// Living lots.
    pub lots: Vec<LotInfo>,
    /// Months that have figures.
    pub figures: Vec<FiguresInfo>,
    /// Rows.
    pub rows: BTreeMap<String, Vec<u8>>,
    /// Tokens and their ends.
    pub tokens: BTreeMap<String, Timestamp>,
    /// The next search in the register cannot read it.
    pub unreadable: bool,
    /// How often the files of removed rows were rewritten.
    pub rewritten: usize,
    /// Keys that were destroyed.
    pub gone: BTreeSet<KeyId>,
    /// VEK epoch.
    pub epoch: u64,
    /// What the last destruction that ended said.
    pub last: Option<DestroyReport>,
    /// Keys that have ended.
    pub ended: u64,
    /// The same when this process turned the epoch over last.
    pub ended_before: Option<u64>,
    /// A turn-over waits for a copy off the host.
    pub turn_waits: bool,
    /// A copy off the host cannot be reached by turn-overs.
    pub no_copy: bool,
    /// A copy of the register of holds cannot be reached.
    pub no_hold_copy: bool,
    /// What a destruction takes that has begun and not ended.
    pub unfinished: Vec<Doom>,
    /// Lots whose keys the register has let go of while their epoch lives: it does not list them,
    /// and they are not destroyed.
    pub turned: Vec<LotInfo>,
    /// Open backfills, by the site and month that they have records of.
    pub staged: BTreeMap<(SiteId, Month), u64>,
    /// Copies in hold storage.
    pub held: Vec<HeldInfo>,
    /// Copies whose keys the register of holds has let go of while their epoch lives.
    pub held_turned: Vec<HeldInfo>,
    /// What a destruction of copies took that waits for a copy of that register.
    pub waiting: Vec<Doom>,
    /// Keys of holds that were destroyed.
    pub held_gone: BTreeSet<KeyId>,
    /// VEK epoch of the vault of the holds.
    pub held_epoch: u64,
    /// Wrapped forms of destroyed keys that a search in the register finds.
    pub forms_left: u64,
    /// The next destruction misbehaves.
    pub fault: Option<Fault>,
    /// The latest time that it was told to drop by what it keeps by itself.
    pub expired: Option<Timestamp>,
    /// Whether a backup is being copied.
    pub copying: bool,
    /// How often files are still found in use.
    pub in_use: u64,
    /// Before which hour reasons have ended.
    pub reasons_from: Option<Hour>,
    /// Where the floor stays, whatever time is believed: the clock is behind.
    pub floor_stays: Option<Day>,
    /// The time that the engine goes by; the clock's where nothing is said.
    pub engine_at: Option<Timestamp>,
    /// What a custodian confirmed last.
    pub believed: Option<Timestamp>,
    /// Who says which buckets are due.
    pub dues: Option<Box<dyn Dues>>,
    /// Rows that were read and opened so far.
    pub opened: usize,
    /// How often living lots were listed.
    pub listed: usize,
    /// Where it is cut.
    pub cut: Option<Cut>,
    /// Changes so far.
    pub changes: usize,
}

/// A vault in memory.
#[derive(Default)]
pub struct Memory(pub Mutex<Inside>);

impl Memory {
    /// Looks inside, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Inside) -> Result<T, EngineError>,
    ) -> Change<'_, T> {
        let done = self.with(|inside| {
            let at = inside.changes;
            inside.changes += 1;
            let (before, after) = match inside.cut {
                None => (false, false),
                Some(Cut::Before(cut)) => (at >= cut, false),
                Some(Cut::After(cut)) => (at > cut, at == cut),
            };
            if before {
                return Err(EngineError::Stopped);
            }
            let done = change(inside);
            if after { Err(EngineError::Stopped) } else { done }
        });
        Box::pin(std::future::ready(done))
    }
}

/// The commitment of a key of this vault.
pub fn commitment(key: KeyId) -> [u8; 32] {
    sha256(&[b"commit", &key.0.to_be_bytes()])
}

/// A key as a report shows it.
fn victim(key: KeyId) -> Victim {
    let info = KeyInfo {
        id: key,
        parent: KeyId(1),
        kind: KeyKind::Bucket,
        class: None,
        epoch: 0,
        site: None,
        hold: None,
        origin: None,
    };
    Victim { key: info, commitment: commitment(key) }
}

fn report(inside: &Inside, lots: Vec<LotReport>, old_epoch: u64) -> DestroyReport {
    DestroyReport {
        nothing: lots.is_empty(),
        keys_tried: lots.iter().map(|lot| lot.keys.len() as u64).sum(),
        lots,
        old_epoch,
        new_epoch: inside.epoch,
        generation: 40 + inside.epoch,
        waiting_for: Vec::new(),
        verification: Verification::Passed,
        files_removed: 3,
        bytes_reclaimed: 4_096,
        files_searched: 9,
        home_copy_opens: true,
    }
}

/// As the engine counts: records are in buckets only, and here no two have as many.
fn records_of(lot: Lot) -> Option<u64> {
    let Lot::Records(bucket) = lot else { return Some(0) };
    Some(u64::from(bucket.site.0) * 1_000 + u64::from(bucket.class.code()))
}

/// The register is written in both copies, and the epoch from before lives.
fn turn(inside: &mut Inside, lots: &[Doom], living: &[(Doom, LotInfo)]) {
    keep(inside, living);
    inside.epoch += u64::from(inside.turned.is_empty());
    inside.lots.retain(|info| lots.iter().all(|doom| doom.lot != info.lot));
    inside.turned = living.iter().map(|(_, info)| info.clone()).collect();
    inside.unfinished = lots.to_vec();
}

/// The same of the register of holds, once each heir has its copy.
fn turn_held(inside: &mut Inside, lots: &[Doom], living: &[(Doom, LotInfo)]) {
    keep(inside, living);
    if !inside.waiting.is_empty() {
        return;
    }
    inside.held_epoch += 1;
    let names: BTreeSet<Name> = lots.iter().map(|doom| (doom.hold, doom.lot)).collect();
    let goes = |held: &HeldInfo| names.contains(&(Some(held.hold), held.lot));
    let (gone, stays) = std::mem::take(&mut inside.held).into_iter().partition(goes);
    (inside.held_turned, inside.held) = (gone, stays);
    inside.waiting = lots.to_vec();
}

/// A name of what is destroyed: a hold for a copy, and the lot.
type Name = (Option<HoldNo>, Lot);

/// What lives of what is to be destroyed, with its site, its keys and its end.
fn living(inside: &Inside, dooms: &[Doom]) -> Vec<(Doom, LotInfo)> {
    let known = inside.turned.iter().chain(&inside.lots);
    let of = |doom: &Doom| match doom.hold {
        None => known.clone().find(|info| info.lot == doom.lot).cloned(),
        Some(hold) => {
            let mut known = inside.held_turned.iter().chain(&inside.held);
            let copy = known.find(|held| (held.hold, held.lot) == (hold, doom.lot));
            copy.map(|held| LotInfo {
                lot: held.lot,
                site: held.site.clone(),
                keys: held.keys.clone(),
                ends_at: held.ends_at,
            })
        }
    };
    dooms.iter().filter_map(|doom| Some((doom.clone(), of(doom)?))).collect()
}

/// The number of a key that a hold gets.
fn held_key(hold: HoldNo, key: KeyId) -> KeyId {
    KeyId(hold.0 * 100_000 + key.0 % 100_000)
}

/// Each heir gets its copy.
fn keep(inside: &mut Inside, living: &[(Doom, LotInfo)]) {
    for (doom, info) in living {
        for hold in &doom.heirs {
            if inside.held.iter().any(|held| (held.hold, held.lot) == (*hold, doom.lot)) {
                continue;
            }
            inside.held_epoch = inside.held_epoch.max(1);
            let (lot, site, ends_at) = (info.lot, info.site.clone(), info.ends_at);
            let keys = info.keys.iter().map(|key| held_key(*hold, *key)).collect();
            let records = records_of(lot).unwrap_or(0);
            inside.held.push(HeldInfo {
                hold: *hold,
                lot,
                site,
                keys,
                records,
                ends_at,
                lost: false,
            });
        }
    }
}

fn take(inside: &mut Inside, living: &[(Doom, LotInfo)]) {
    let keys = || living.iter().flat_map(|(_, info)| info.keys.iter().copied());
    let names: BTreeSet<Name> = living.iter().map(|(doom, _)| (doom.hold, doom.lot)).collect();
    if living.iter().any(|(doom, _)| doom.hold.is_some()) {
        inside.held_epoch += u64::from(inside.held_turned.is_empty());
        inside.held_turned.clear();
        inside.waiting.clear();
        inside.held_gone.extend(keys());
        inside.held.retain(|held| !names.contains(&(Some(held.hold), held.lot)));
    } else {
        inside.epoch += u64::from(inside.turned.is_empty());
        inside.turned.clear();
        inside.ended += keys().count() as u64;
        inside.ended_before = Some(inside.ended);
        inside.gone.extend(keys());
        inside.lots.retain(|info| !names.contains(&(None, info.lot)));
        let months: Vec<Month> = names.iter().filter_map(|(_, lot)| access_of(*lot)).collect();
        let goes = |name: &str| access_month(name).is_some_and(|month| months.contains(&month));
        inside.rows.retain(|name, _| !goes(name));
    }
}

/// The month of a day's row of the access log.
fn access_month(name: &str) -> Option<Month> {
    Month::parse(name.strip_prefix("access/")?.get(..7)?.as_bytes())
}

fn access_of(lot: Lot) -> Option<Month> {
    if let Lot::Access(month) = lot { Some(month) } else { None }
}

/// The key of a month of the access log is made with its first row, and once.
fn make_access(inside: &mut Inside, month: Month) -> Result<(), EngineError> {
    let (lot, key) = (Lot::Access(month), KeyId(10_000_000 + u64::from(month.0)));
    if inside.gone.contains(&key) {
        return Err(EngineError::Ended);
    }
    if inside.lots.iter().all(|info| info.lot != lot) {
        let (site, ends_at) = (SiteId::everywhere(), month.next().start());
        inside.lots.push(LotInfo { lot, site, keys: vec![key], ends_at });
    }
    Ok(())
}

/// The epoch that the keys of a vault lived in, or live in where nothing of it waits.
fn epoch_of(inside: &Inside, of_holds: bool) -> u64 {
    match of_holds {
        true => inside.held_epoch - u64::from(!inside.held_turned.is_empty()),
        false => inside.epoch - u64::from(!inside.turned.is_empty()),
    }
}

/// What a destruction says that finds its lots without keys.
fn emptied(lots: &[Doom]) -> Vec<LotReport> {
    let of = |doom: &Doom| LotReport {
        lot: doom.lot,
        hold: doom.hold,
        heirs: doom.heirs.clone(),
        records: Some(0),
        keys: Vec::new(),
    };
    lots.iter().map(of).collect()
}

fn destroy(inside: &mut Inside, lots: &[Doom]) -> Result<DestroyReport, EngineError> {
    let of_holds = lots.iter().any(|doom| doom.hold.is_some());
    let old_epoch = epoch_of(inside, of_holds);
    let living = living(inside, lots);
    let report_of = living.iter().map(|(doom, info)| LotReport {
        lot: info.lot,
        hold: doom.hold,
        heirs: doom.heirs.clone(),
        records: records_of(info.lot),
        keys: info.keys.iter().copied().map(victim).collect(),
    });
    let mut done: Vec<LotReport> = report_of.collect();
    let fault = fault::of(inside, lots)?;
    match fault {
        Some(Fault::Nothing) => return Ok(report(inside, Vec::new(), old_epoch)),
        // It did not even begin.
        Some(Fault::Lies) => return Ok(report(inside, done, old_epoch)),
        Some(Fault::Waiting | Fault::CopyLost | Fault::GivenUp(_) | Fault::LostBehind) => {
            match fault {
                Some(Fault::Waiting) => turn(inside, lots, &living),
                Some(Fault::LostBehind) => turn_held(inside, lots, &living),
                _ => {}
            }
            let waiting_for = vec![PathBuf::from("elsewhere")];
            return Ok(DestroyReport { waiting_for, ..report(inside, Vec::new(), old_epoch) });
        }
        Some(Fault::StillOpens) => {
            turn(inside, lots, &living);
            let verification = Verification::KeyStillOpens;
            return Ok(DestroyReport { verification, ..report(inside, done, old_epoch) });
        }
        Some(Fault::Away) => {
            turn(inside, lots, &living);
            return Err(EngineError::Refused("the token cannot be reached".into()));
        }
        Some(Fault::Uncounted) => {
            let bucket = done.iter_mut().find(|lot| matches!(lot.lot, Lot::Records(_)));
            bucket.into_iter().for_each(|lot| lot.records = None);
        }
        Some(Fault::Busy) => return Err(EngineError::Busy),
        Some(
            Fault::HalfWay
            | Fault::KeepsNothing
            | Fault::CannotKeep(_)
            | Fault::NoRoom
            | Fault::Refuses(_),
        )
        | None => {}
    }
    let was_unfinished = !inside.unfinished.is_empty() && inside.turned.is_empty();
    inside.unfinished.clear();
    if !living.is_empty() {
        keep(inside, &living);
        take(inside, &living);
    }
    if fault == Some(Fault::KeepsNothing) {
        inside.held.clear();
    }
    if fault == Some(Fault::HalfWay) {
        inside.unfinished = lots.to_vec();
        return Err(EngineError::Stopped);
    }
    let done = if was_unfinished { emptied(lots) } else { done };
    let mut report = report(inside, done, old_epoch);
    report.new_epoch = if of_holds { inside.held_epoch } else { inside.epoch };
    if !report.nothing {
        inside.last = Some(report.clone());
    }
    Ok(report)
}

impl Vault for Memory {
    fn lots(&self) -> Vec<LotInfo> {
        self.with(|inside| {
            inside.listed += 1;
            inside.lots.clone()
        })
    }

    fn site(&self, id: &SiteId) -> Option<Arc<Site>> {
        self.with(|inside| inside.sites.get(id).cloned())
    }

    fn sites(&self) -> Vec<Arc<Site>> {
        let known = self.with(|inside| inside.sites.values().cloned().collect::<Vec<_>>());
        known.into_iter().filter(|site| !site.id.is_group()).collect()
    }

    fn groups(&self) -> Vec<SiteId> {
        let known = self.with(|inside| inside.sites.keys().cloned().collect::<Vec<_>>());
        known.into_iter().filter(SiteId::is_group).collect()
    }

    fn key_list(&self) -> Vec<KeyInfo> {
        self.with(|inside| {
            inside.lots.iter().flat_map(|lot| &lot.keys).map(|key| victim(*key).key).collect()
        })
    }

    fn held_key_list(&self) -> Result<Vec<KeyInfo>, EngineError> {
        Ok(self.with(|inside| {
            let of = |held: &HeldInfo| {
                let info = |key: &KeyId| KeyInfo { hold: Some(held.hold), ..victim(*key).key };
                held.keys.iter().map(info).collect::<Vec<_>>()
            };
            inside.held.iter().flat_map(of).collect()
        }))
    }

    fn staged_in(&self, site: &SiteId, month: Month) -> Option<u64> {
        self.with(|inside| inside.staged.get(&(site.clone(), month)).copied())
    }

    fn vek_home(&self) -> String {
        "a home in memory".to_owned()
    }

    fn age_ms(&self) -> i64 {
        limits::AGE_MS_MAX
    }

    fn is_copying(&self) -> bool {
        self.with(|inside| inside.copying)
    }

    fn seen_floor(&self) -> Day {
        let floor = |at: Timestamp| {
            let life = limits::AGE_MS_MAX + 65 * 60_000;
            Day(u32::try_from((at.0 - life).div_euclid(DAY_MS)).unwrap_or(0))
        };
        self.with(|inside| inside.floor_stays.or(inside.expired.map(floor)).unwrap_or(Day(0)))
    }

    fn commitment(&self, key: KeyId) -> Option<[u8; 32]> {
        self.with(|inside| (!inside.gone.contains(&key)).then(|| commitment(key)))
    }

    fn vek_epoch(&self) -> Result<u64, EngineError> {
        Ok(self.with(|inside| inside.epoch))
    }

    fn epoch_standing(&self) -> Result<EpochStanding, EngineError> {
        Ok(self.with(|inside| EpochStanding {
            epoch: inside.epoch,
            ended: inside.ended,
            ended_before: inside.ended_before,
            waiting: inside.turn_waits,
        }))
    }

    fn turn_over(&self, _mark: LedgerMark) -> Change<'_, Vec<PathBuf>> {
        self.change(|inside| {
            if !inside.turn_waits {
                inside.epoch += 1;
                inside.ended_before = Some(inside.ended);
            }
            inside.turn_waits = inside.no_copy;
            Ok(if inside.no_copy { vec![PathBuf::from("elsewhere")] } else { Vec::new() })
        })
    }

    fn is_destroyed(&self, keys: &[KeyId], epoch: u64) -> bool {
        self.with(|inside| {
            let all = keys.iter().all(|key| inside.gone.contains(key));
            !keys.is_empty() && all && inside.epoch > epoch && inside.turned.is_empty()
        })
    }

    fn held(&self) -> Result<Vec<HeldInfo>, EngineError> {
        Ok(self.with(|inside| inside.held.clone()))
    }

    fn held_commitment(&self, key: KeyId) -> Option<[u8; 32]> {
        self.with(|inside| (!inside.held_gone.contains(&key)).then(|| commitment(key)))
    }

    fn held_vek_epoch(&self) -> Result<u64, EngineError> {
        Ok(self.with(|inside| inside.held_epoch))
    }

    fn is_held_destroyed(&self, keys: &[KeyId], epoch: u64) -> bool {
        self.with(|inside| {
            let ended = inside.held_epoch > epoch && inside.held_turned.is_empty();
            !keys.is_empty() && ended && keys.iter().all(|key| inside.held_gone.contains(key))
        })
    }

    fn scan_register(&self, gone: &[KeyId], of_holds: bool) -> Result<RegisterScan, EngineError> {
        self.with(|inside| {
            let ended = if of_holds { &inside.held_gone } else { &inside.gone };
            let left = gone.iter().filter(|key| !ended.contains(key)).count() as u64;
            let (keys, found) = (gone.len() as u64, left + inside.forms_left);
            let scan = RegisterScan { copies: 2, places: 2_048, keys, wrapped: keys, found };
            if inside.unreadable { Err(EngineError::Refused("away".into())) } else { Ok(scan) }
        })
    }

    fn unfinished_destruction(&self) -> Vec<Doom> {
        self.with(|inside| inside.unfinished.clone())
    }

    fn unfinished_keys(&self) -> Result<Vec<KeyInfo>, EngineError> {
        Ok(self.with(|inside| {
            let lots = inside.turned.iter().filter(|_| !inside.unfinished.is_empty());
            let own = lots.flat_map(|lot| &lot.keys).map(|key| victim(*key).key);
            let held = inside.held_turned.iter().flat_map(|held| {
                let of = |key: &KeyId| KeyInfo { hold: Some(held.hold), ..victim(*key).key };
                held.keys.iter().map(of).collect::<Vec<_>>()
            });
            own.chain(held).collect()
        }))
    }

    fn waiting_destruction(&self) -> Vec<Doom> {
        self.with(|inside| inside.waiting.clone())
    }

    fn last_destruction(&self) -> Result<Option<DestroyReport>, EngineError> {
        Ok(self.with(|inside| inside.last.clone()))
    }

    fn destroy(&self, lots: Vec<Doom>, _mark: LedgerMark) -> Change<'_, DestroyReport> {
        self.change(|inside| destroy(inside, &lots))
    }

    fn holds_out_of_reach(&self) -> Change<'_, Vec<PathBuf>> {
        // Nothing that a test cuts.
        let away = self.with(|inside| {
            let is_lost_later = match inside.fault {
                Some(Fault::CopyLost) => true,
                Some(Fault::LostBehind) => inside.waiting.is_empty(),
                _ => false,
            };
            inside.no_hold_copy && !is_lost_later
        });
        let paths = if away { vec![PathBuf::from("elsewhere.hold")] } else { Vec::new() };
        Box::pin(std::future::ready(Ok(paths)))
    }

    fn judge_by(&self, dues: Box<dyn Dues>) {
        self.with(|inside| inside.dues = Some(dues));
    }

    fn expire(&self, believed: Timestamp) -> Change<'_, ()> {
        self.with(|inside| inside.expired = Some(believed));
        Box::pin(std::future::ready(Ok(())))
    }

    fn believed(&self) -> Timestamp {
        self.with(|inside| inside.engine_at.unwrap_or(Timestamp::END))
    }

    fn believe(&self, at: Timestamp) -> Change<'_, ()> {
        self.with(|inside| {
            inside.believed = Some(at);
            inside.engine_at = inside.engine_at.map(|_| at);
        });
        Box::pin(std::future::ready(Ok(())))
    }

    fn terminate(&self, site: SiteId, at: Timestamp) -> Change<'_, Arc<Site>> {
        self.change(|inside| {
            let known = inside.sites.get_mut(&site).ok_or(EngineError::NoSite)?;
            let terminated_at = known.terminated_at.or(Some(at));
            *known = Arc::new(Site { terminated_at, ..Site::clone(known) });
            Ok(Arc::clone(known))
        })
    }

    fn load_rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
        let rows = |inside: &mut Inside| {
            let own = inside.rows.iter().filter(|(name, _)| name.starts_with(prefix));
            let own: Vec<Row> = own.map(|(name, row)| (name.clone(), row.clone())).collect();
            inside.opened += own.len();
            own
        };
        Ok(self.with(rows))
    }

    fn load_row_from(&self, prefix: &str, from: &str) -> Result<Option<Row>, EngineError> {
        let first = |inside: &mut Inside| {
            let mut rows = inside.rows.range(from.to_owned()..);
            let (name, row) = rows.next().filter(|(name, _)| name.starts_with(prefix))?;
            inside.opened += 1;
            Some((name.clone(), row.clone()))
        };
        Ok(self.with(first))
    }

    fn put_row(&self, name: String, bytes: Vec<u8>) -> Change<'_, ()> {
        self.change(|inside| {
            access_month(&name).map_or(Ok(()), |month| make_access(inside, month))?;
            inside.rows.insert(name, bytes);
            Ok(())
        })
    }

    fn token_ends(&self) -> Vec<(String, Timestamp)> {
        self.with(|inside| inside.tokens.clone().into_iter().collect())
    }

    fn token(&self, key_id: &str) -> Option<Caller> {
        Some(token_of(key_id))
    }

    fn delete_token(&self, key_id: String) -> Change<'_, ()> {
        self.change(|inside| {
            inside.tokens.remove(&key_id);
            Ok(())
        })
    }

    fn figures_kept(&self) -> Result<Vec<FiguresInfo>, EngineError> {
        Ok(self.with(|inside| inside.figures.clone()))
    }

    fn end_figures(&self, months: Vec<(SiteId, Month)>) -> Change<'_, u64> {
        self.change(move |inside| {
            let before = inside.figures.len();
            inside.figures.retain(|of| !months.contains(&(of.site.clone(), of.month)));
            Ok((before - inside.figures.len()) as u64)
        })
    }

    fn is_bare(&self, site: &SiteId) -> Result<bool, EngineError> {
        Ok(self.with(|inside| {
            let lives = inside.lots.iter().any(|info| info.site == *site);
            !lives && inside.figures.iter().all(|of| of.site != *site)
        }))
    }

    fn end_site(&self, site: SiteId) -> Change<'_, bool> {
        self.change(move |inside| Ok(inside.sites.remove(&site).is_some()))
    }

    fn rewrite_rows(&self) -> Change<'_, ()> {
        self.change(|inside| {
            if inside.in_use > 0 {
                inside.in_use -= 1;
                return Err(EngineError::InUse);
            }
            inside.rewritten += 1;
            Ok(())
        })
    }

    fn end_reasons(&self, before: Hour) -> Change<'_, u64> {
        // No change that a test cuts: it is done again as a whole.
        let done = self.with(|inside| {
            if inside.in_use > 0 {
                inside.in_use -= 1;
                return Err(EngineError::InUse);
            }
            inside.reasons_from = Some(before);
            Ok(0)
        });
        Box::pin(std::future::ready(done))
    }

    fn delete_row(&self, name: String) -> Change<'_, ()> {
        self.change(|inside| {
            inside.rows.remove(&name);
            Ok(())
        })
    }
}

/// A desk with sites whose sets of January 2026 are due, for tests of the rooms above.
pub fn desk(folder: &std::path::Path, sites: &[&str], now: Timestamp) -> super::Desk {
    use crate::model::batch::SiteMonth;
    use crate::model::ids::SiteNo;
    use crate::model::site::SiteSettings;
    let vault = Memory::default();
    let month = Month::parse(b"2026-01").unwrap();
    for (no, id) in (1..).zip(sites) {
        let site = Site {
            id: SiteId::parse(id.as_bytes()).unwrap(),
            no: SiteNo(no),
            algorithm: Algorithm::default(),
            created_at: Timestamp(0),
            terminated_at: None,
            settings: SiteSettings::default(),
            pending: Vec::new(),
            past: Vec::new(),
            months: Vec::new(),
            closed_through: Some(month),
        };
        let lot = Lot::Sets(SiteMonth { site: site.no, month });
        let ends_at = crate::engine::calendar::span(&site, month).unwrap().to;
        let keys = vec![KeyId(u64::from(no) + 10)];
        vault.with(|inside| {
            inside.lots.push(LotInfo { lot, site: site.id.clone(), keys, ends_at });
            inside.sites.insert(site.id.clone(), Arc::new(site));
        });
    }
    let settings = crate::ledger::Settings {
        dir: folder.join("ledger"),
        signing_key: folder.join("ledger.key"),
        name: "example.com/ledger".to_owned(),
        second_copy: None,
        marks: Vec::new(),
    };
    let ledger = Arc::new(crate::ledger::Ledger::open(&settings, now).unwrap().0);
    let clock = Arc::new(TestClock::at(now));
    super::Desk::new(Arc::new(vault), ledger, super::Settings::default(), clock).unwrap()
}
