//! A vault in memory that can be cut anywhere, and a clock that tests move.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::vault::{Change, DestroyReport, HeldInfo, LotInfo, LotReport, Vault, Verification};
use crate::crypto::sha256;
use crate::engine::EngineError;
use crate::keys::vek::LedgerMark;
use crate::keys::{KeyInfo, KeyKind, Victim};
use crate::model::ids::{HoldNo, KeyId, SiteId};
use crate::model::limits;
use crate::model::retention::{Doom, Lot};
use crate::model::site::Site;
use crate::model::time::{Clock, Timestamp};

/// A clock that tests move.
pub struct TestClock(pub AtomicI64);

impl TestClock {
    /// Sets it.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.0, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
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

/// How a destruction misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A copy off the host cannot be reached.
    Waiting,
    /// It says that it found nothing, and does nothing.
    Nothing,
    /// It says that a key still opens.
    StillOpens,
    /// It says that all is well, and does nothing.
    Lies,
    /// The keys go, and then the process ends, before the lots are done.
    HalfWay,
    /// The keys go, and no hold gets its copy.
    KeepsNothing,
}

/// What a vault is made of.
#[derive(Default)]
pub struct Inside {
    /// The sites.
    pub sites: BTreeMap<SiteId, Arc<Site>>,
    /// Living lots.
    pub lots: Vec<LotInfo>,
    /// Rows.
    pub rows: BTreeMap<String, Vec<u8>>,
    /// Keys that were destroyed.
    pub gone: BTreeSet<KeyId>,
    /// VEK epoch.
    pub epoch: u64,
    /// Lots whose keys are gone and whose bytes are not.
    pub unfinished: Vec<Doom>,
    /// Copies in hold storage.
    pub held: Vec<HeldInfo>,
    /// Keys of holds that were destroyed.
    pub held_gone: BTreeSet<KeyId>,
    /// VEK epoch of the vault of the holds.
    pub held_epoch: u64,
    /// The next destruction misbehaves.
    pub fault: Option<Fault>,
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
        lots,
        old_epoch,
        new_epoch: inside.epoch,
        generation: 40 + inside.epoch,
        waiting_for: Vec::new(),
        verification: Verification::Passed,
        files_removed: 3,
        bytes_reclaimed: 4_096,
        home_copy_opens: true,
    }
}

/// A name of what is destroyed: a hold for a copy, and the lot.
type Name = (Option<HoldNo>, Lot);

/// What lives of what is to be destroyed, with its site, its keys and its end.
fn living(inside: &Inside, dooms: &[Doom]) -> Vec<(Doom, LotInfo)> {
    let of = |doom: &Doom| match doom.hold {
        None => inside.lots.iter().find(|info| info.lot == doom.lot).cloned(),
        Some(hold) => {
            let copy = inside.held.iter().find(|held| (held.hold, held.lot) == (hold, doom.lot));
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

fn take(inside: &mut Inside, living: &[(Doom, LotInfo)]) {
    for (doom, info) in living {
        for hold in &doom.heirs {
            if inside.held.iter().any(|held| (held.hold, held.lot) == (*hold, doom.lot)) {
                continue;
            }
            inside.held_epoch = inside.held_epoch.max(1);
            let (lot, site, ends_at) = (info.lot, info.site.clone(), info.ends_at);
            let keys = info.keys.iter().map(|key| held_key(*hold, *key)).collect();
            inside.held.push(HeldInfo { hold: *hold, lot, site, keys, records: 100, ends_at });
        }
    }
    let keys = || living.iter().flat_map(|(_, info)| info.keys.iter().copied());
    let names: BTreeSet<Name> = living.iter().map(|(doom, _)| (doom.hold, doom.lot)).collect();
    if living.iter().any(|(doom, _)| doom.hold.is_some()) {
        inside.held_epoch += 1;
        inside.held_gone.extend(keys());
        inside.held.retain(|held| !names.contains(&(Some(held.hold), held.lot)));
    } else {
        inside.epoch += 1;
        inside.gone.extend(keys());
        inside.lots.retain(|info| !names.contains(&(None, info.lot)));
    }
}

fn destroy(inside: &mut Inside, lots: &[Doom]) -> Result<DestroyReport, EngineError> {
    let of_holds = lots.iter().any(|doom| doom.hold.is_some());
    let old_epoch = if of_holds { inside.held_epoch } else { inside.epoch };
    let living = living(inside, lots);
    let done = living.iter().map(|(doom, info)| LotReport {
        lot: info.lot,
        hold: doom.hold,
        heirs: doom.heirs.clone(),
        records: 100,
        keys: info.keys.iter().copied().map(victim).collect(),
    });
    let done: Vec<LotReport> = done.collect();
    let fault = inside.fault.take();
    match fault {
        Some(Fault::Nothing) => return Ok(report(inside, Vec::new(), old_epoch)),
        // It did not even begin.
        Some(Fault::Lies) => return Ok(report(inside, done, old_epoch)),
        Some(Fault::Waiting) => {
            let waiting_for = vec![PathBuf::from("elsewhere")];
            return Ok(DestroyReport { waiting_for, ..report(inside, Vec::new(), old_epoch) });
        }
        Some(Fault::StillOpens) => {
            inside.unfinished = lots.to_vec();
            let verification = Verification::KeyStillOpens;
            return Ok(DestroyReport { verification, ..report(inside, done, old_epoch) });
        }
        Some(Fault::HalfWay | Fault::KeepsNothing) | None => {}
    }
    let was_unfinished = !inside.unfinished.is_empty();
    inside.unfinished.clear();
    if !living.is_empty() {
        take(inside, &living);
    }
    if fault == Some(Fault::KeepsNothing) {
        inside.held.clear();
    }
    if fault == Some(Fault::HalfWay) {
        inside.unfinished = lots.to_vec();
        return Err(EngineError::Stopped);
    }
    let again = || {
        lots.iter().map(|doom| LotReport {
            lot: doom.lot,
            hold: doom.hold,
            heirs: doom.heirs.clone(),
            records: 0,
            keys: Vec::new(),
        })
    };
    let done = if was_unfinished { again().collect() } else { done };
    let new_epoch = if of_holds { inside.held_epoch } else { inside.epoch };
    Ok(DestroyReport { new_epoch, ..report(inside, done, old_epoch) })
}

impl Vault for Memory {
    fn lots(&self) -> Vec<LotInfo> {
        self.with(|inside| inside.lots.clone())
    }

    fn site(&self, id: &SiteId) -> Option<Arc<Site>> {
        self.with(|inside| inside.sites.get(id).cloned())
    }

    fn age_ms(&self) -> i64 {
        limits::AGE_MS_MAX
    }

    fn commitment(&self, key: KeyId) -> Option<[u8; 32]> {
        self.with(|inside| (!inside.gone.contains(&key)).then(|| commitment(key)))
    }

    fn vek_epoch(&self) -> Result<u64, EngineError> {
        Ok(self.with(|inside| inside.epoch))
    }

    fn is_destroyed(&self, keys: &[KeyId], epoch: u64) -> bool {
        self.with(|inside| {
            let all = keys.iter().all(|key| inside.gone.contains(key));
            !keys.is_empty() && all && inside.epoch > epoch
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
            let all = keys.iter().all(|key| inside.held_gone.contains(key));
            !keys.is_empty() && all && inside.held_epoch > epoch
        })
    }

    fn unfinished_destruction(&self) -> Vec<Doom> {
        self.with(|inside| inside.unfinished.clone())
    }

    fn destroy(&self, lots: Vec<Doom>, _mark: LedgerMark) -> Change<'_, DestroyReport> {
        self.change(|inside| destroy(inside, &lots))
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
            own.map(|(name, row)| (name.clone(), row.clone())).collect()
        };
        Ok(self.with(rows))
    }

    fn put_row(&self, name: String, bytes: Vec<u8>) -> Change<'_, ()> {
        self.change(|inside| {
            inside.rows.insert(name, bytes);
            Ok(())
        })
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
    use crate::model::time::Month;
    let vault = Memory::default();
    let month = Month::parse(b"2026-01").unwrap();
    for (no, id) in (1..).zip(sites) {
        let site = Site {
            id: SiteId::parse(id.as_bytes()).unwrap(),
            no: SiteNo(no),
            created_at: Timestamp(0),
            terminated_at: None,
            settings: SiteSettings::default(),
            pending: None,
            past: Vec::new(),
            months: Vec::new(),
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
    let clock = Arc::new(TestClock(AtomicI64::new(now.0)));
    super::Desk::new(Arc::new(vault), ledger, super::Settings::default(), clock).unwrap()
}
