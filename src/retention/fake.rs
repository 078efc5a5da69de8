//! A vault in memory that can be cut anywhere, and a clock that tests move.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::vault::{Change, DestroyReport, LotInfo, LotReport, Vault, Verification};
use crate::crypto::sha256;
use crate::engine::EngineError;
use crate::keys::vek::LedgerMark;
use crate::keys::{KeyInfo, KeyKind, Victim};
use crate::model::ids::{KeyId, SiteId};
use crate::model::limits;
use crate::model::retention::Lot;
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
    pub unfinished: Vec<Lot>,
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

fn destroy(inside: &mut Inside, lots: &[Lot]) -> Result<DestroyReport, EngineError> {
    let old_epoch = inside.epoch;
    let living: Vec<LotInfo> =
        inside.lots.iter().filter(|info| lots.contains(&info.lot)).cloned().collect();
    let done = living.iter().map(|info| LotReport {
        lot: info.lot,
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
        Some(Fault::HalfWay) | None => {}
    }
    let was_unfinished = !inside.unfinished.is_empty();
    inside.unfinished.clear();
    if !living.is_empty() {
        inside.epoch += 1;
        inside.gone.extend(living.iter().flat_map(|info| &info.keys).copied());
        inside.lots.retain(|info| !lots.contains(&info.lot));
    }
    if fault == Some(Fault::HalfWay) {
        inside.unfinished = lots.to_vec();
        return Err(EngineError::Stopped);
    }
    let again = || lots.iter().map(|lot| LotReport { lot: *lot, records: 0, keys: Vec::new() });
    let done = if was_unfinished { again().collect() } else { done };
    Ok(report(inside, done, old_epoch))
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

    fn unfinished_destruction(&self) -> Vec<Lot> {
        self.with(|inside| inside.unfinished.clone())
    }

    fn destroy(&self, lots: Vec<Lot>, _mark: LedgerMark) -> Change<'_, DestroyReport> {
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
    let clock = Arc::new(TestClock(AtomicI64::new(now.0)));
    super::Desk::new(Arc::new(vault), ledger, super::Settings::default(), clock).unwrap()
}
