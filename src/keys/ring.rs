//! The key ring: the tree of keys by name. Nobody above it knows files or wrapping.
//!
//! A key is made when it is first asked for, in one register write with the node it needs, and is
//! durable in both copies before anybody sees it. A name is given once: what was retired is not
//! made again in this run ([`KeysError::Retired`]); across restarts the caller remembers, because a
//! zeroed slot remembers nothing. The keys of a site's month are made together, so that some of
//! them without the others always means that the others were retired.
//!
//! Secrets are opened from their wrapped form when first used; every wrapped key was opened once at
//! the start, so that a damaged one stops the start and not a request.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use super::cache::Cache;
use super::destroy::Turning;
use super::home::Lock;
use super::slot::{KeyName, Slot};
use super::tree::{Core, Made, broken};
use super::{HoldNo, KeyKind, KeysError, RegisterError, Settings, VekError};
use crate::crypto::{BaseKey, HmacKey, SealKey, TagKey};
use crate::model::ids::{KeyId, SiteId};
use crate::model::time::{Day, Month};
use crate::model::vocab::Class;

/// The keys of one site's month, in the order in which they are made.
const MONTH_KINDS: [KeyKind; 5] =
    [KeyKind::Base, KeyKind::Tally, KeyKind::Record, KeyKind::Watermark, KeyKind::Sets];

/// The numbers of the keys of a site's month, for retiring them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteMonthIds {
    /// First step of every pseudonym.
    pub base: KeyId,
    /// Tallies.
    pub tally: KeyId,
    /// Records.
    pub record: KeyId,
    /// Payloads, marks, sessions.
    pub watermark: KeyId,
    /// Sealed sets.
    pub sets: KeyId,
}

/// The keys of a site's month.
pub struct SiteMonthKeys {
    /// First step of every pseudonym; its output is never stored.
    pub base: BaseKey,
    /// Second step for the tallies.
    pub tally: TagKey,
    /// Second step for records in blocks.
    pub record: TagKey,
    /// Second step for payloads, marks and sessions.
    pub watermark: TagKey,
    /// Seals the tallies' deltas and snapshots.
    pub sets: Arc<SealKey>,
    /// Their numbers.
    pub ids: SiteMonthIds,
}

/// What is left of a site's month when its tally and record keys may be gone: enough to join a
/// detection to its sessions.
pub struct WatermarkKeys {
    /// First step.
    pub base: BaseKey,
    /// Second step.
    pub watermark: TagKey,
}

/// The keys of a UTC day's duplicates: one random key, so that both live and die together.
pub struct SeenKeys {
    /// Makes the tags.
    pub mac: HmacKey,
    /// Seals the runs.
    pub seal: Arc<SealKey>,
}

/// A key without its secret, for people and for planning a destruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its number.
    pub id: KeyId,
    /// The key that wraps it; zero is the VEK.
    pub parent: KeyId,
    /// Its use.
    pub kind: KeyKind,
    /// The class of a bucket.
    pub class: Option<Class>,
    /// Month, day or serial.
    pub epoch: u32,
    /// Its site.
    pub site: Option<SiteId>,
    /// The hold it is kept for; only in the register of holds.
    pub hold: Option<HoldNo>,
    /// The number it had in the main register, if it was moved from there; of a bucket's key that
    /// an erasure made, the number of the one before it.
    pub origin: Option<KeyId>,
}

/// The keys of a vault.
pub struct KeyRing {
    /// Locked first; then, if need be, one of the next two.
    pub(super) core: Mutex<Core>,
    pub(super) cache: RwLock<Cache>,
    pub(super) turning: Mutex<Turning>,
    /// Shared with the ring of holds: whoever asks one of them hears of both.
    pub(super) failed: Arc<OnceLock<io::ErrorKind>>,
    pub(super) state: Arc<SealKey>,
    pub(super) settings: Settings,
    /// The ring of holds, once it is needed.
    pub(super) hold: Mutex<Option<Arc<Self>>>,
    /// Held for as long as the ring lives.
    pub(super) _lock: Option<Lock>,
}

impl KeyRing {
    /// The keys of a site's month, made if there are none.
    ///
    /// # Errors
    /// When some of them are retired, or the register cannot be written.
    pub fn site_month(&self, site: &SiteId, month: Month) -> Result<Arc<SiteMonthKeys>, KeysError> {
        self.usable()?;
        if let Some(keys) = self.cached_month(site, month) {
            return Ok(keys);
        }
        let mut core = self.core()?;
        // Somebody else may have made them meanwhile.
        if let Some(keys) = self.cached_month(site, month) {
            return Ok(keys);
        }
        let names = MONTH_KINDS.map(|kind| KeyName::of_site(kind, site, month));
        let made = match core.find_all(&names)? {
            Some(ids) => core.open_all(&ids)?,
            None => self.note(core.make(&names))?,
        };
        self.keep_month(site, month, &made)
    }

    /// The keys of a site's month, if all of them live.
    pub fn site_month_existing(&self, site: &SiteId, month: Month) -> Option<Arc<SiteMonthKeys>> {
        if let Some(keys) = self.cached_month(site, month) {
            return Some(keys);
        }
        let core = self.core().ok()?;
        let names = MONTH_KINDS.map(|kind| KeyName::of_site(kind, site, month));
        let ids = core.find_all(&names).ok()??;
        let made = self.note(core.open_all(&ids)).ok()?;
        self.keep_month(site, month, &made).ok()
    }

    /// The key of a site-month's sets, while it lives, whatever became of the month's other keys.
    pub fn sets_existing(&self, site: &SiteId, month: Month) -> Option<Arc<SealKey>> {
        let name = KeyName::of_site(KeyKind::Sets, site, month);
        let id = self.core().ok()?.by_name.get(&name).copied()?;
        self.by_id(id)
    }

    /// The months of a site whose watermark key lives, the oldest first.
    pub fn watermark_months(&self, site: &SiteId) -> Vec<Month> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        cache.marks.get(site).map_or(Vec::new(), |months| months.keys().copied().collect())
    }

    /// The base and watermark keys of a site's month, while both live; they outlive the others.
    pub fn watermark(&self, site: &SiteId, month: Month) -> Option<Arc<WatermarkKeys>> {
        let cached = {
            let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
            cache.marks.get(site)?.get(&month)?.clone()
        };
        if cached.is_some() {
            return cached;
        }
        let core = self.core().ok()?;
        let names = [KeyKind::Base, KeyKind::Watermark].map(|k| KeyName::of_site(k, site, month));
        let ids: Option<Vec<KeyId>> = names.iter().map(|n| core.by_name.get(n).copied()).collect();
        let made = self.note(core.open_all(&ids?)).ok()?;
        let [base, watermark] = made.as_slice() else { return None };
        let keys = Arc::new(WatermarkKeys {
            base: BaseKey::new(&base.secret),
            watermark: TagKey::new(&watermark.secret),
        });
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.marks.get_mut(site)?.insert(month, Some(Arc::clone(&keys)));
        Some(keys)
    }

    /// The key of a bucket, made if there is none. The epoch is the caller's number for a month or
    /// a day; the two must not overlap within a class.
    ///
    /// # Errors
    /// When it is retired, or the register cannot be written.
    pub fn bucket(
        &self,
        site: &SiteId,
        class: Class,
        epoch: u32,
    ) -> Result<Arc<SealKey>, KeysError> {
        self.usable()?;
        let cached = || {
            let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
            cache.buckets.get(&(class, epoch))?.get(site).cloned()
        };
        if let Some(key) = cached() {
            return Ok(key);
        }
        let mut core = self.core()?;
        if let Some(key) = cached() {
            return Ok(key);
        }
        let name = KeyName::bucket(site, class, epoch);
        let key = self.seal_by_name(&mut core, name)?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        let sites = cache.buckets.entry((class, epoch)).or_default();
        sites.insert(site.clone(), Arc::clone(&key));
        Ok(key)
    }

    /// Makes the keys of buckets where there are none, all in one write of the register. A bucket
    /// is named as in [`KeyRing::bucket`]; one that is named twice gets one key.
    ///
    /// # Errors
    /// When one of them is retired, or the register cannot be written.
    pub fn make_buckets(&self, buckets: &[(SiteId, Class, u32)]) -> Result<(), KeysError> {
        self.usable()?;
        let mut core = self.core()?;
        let mut names = Vec::new();
        let mut seen = HashSet::new();
        for (site, class, epoch) in buckets {
            let name = [KeyName::bucket(site, *class, *epoch)];
            // Two keys of one name would be a vault that never opens again.
            if core.find_all(&name)?.is_none() && seen.insert(name[0].clone()) {
                names.extend(name);
            }
        }
        names.sort_unstable_by_key(|name| (name.class.map(Class::code), name.epoch));
        if names.is_empty() { Ok(()) } else { self.note(core.make(&names)).map(drop) }
    }

    /// The keys of a day's duplicates, made if there are none.
    ///
    /// # Errors
    /// When they are retired, or the register cannot be written.
    pub fn seen(&self, day: Day) -> Result<Arc<SeenKeys>, KeysError> {
        self.usable()?;
        if let Some(keys) = self.cached_seen(day) {
            return Ok(keys);
        }
        let mut core = self.core()?;
        if let Some(keys) = self.cached_seen(day) {
            return Ok(keys);
        }
        let name = KeyName::plain(KeyKind::Seen, day.0);
        let made = match core.find_all(std::slice::from_ref(&name))? {
            Some(ids) => core.open_all(&ids)?,
            None => self.note(core.make(&[name]))?,
        };
        self.keep_seen(day, &made)
    }

    /// The keys of a day's duplicates, if they live.
    ///
    /// # Errors
    /// When the register cannot be used.
    pub fn seen_existing(&self, day: Day) -> Result<Option<Arc<SeenKeys>>, KeysError> {
        self.usable()?;
        if let Some(keys) = self.cached_seen(day) {
            return Ok(Some(keys));
        }
        let core = self.core()?;
        let name = KeyName::plain(KeyKind::Seen, day.0);
        let Some(id) = core.by_name.get(&name).copied() else { return Ok(None) };
        let made = core.open_all(&[id])?;
        self.keep_seen(day, &made).map(Some)
    }

    /// Called with the core locked.
    fn keep_seen(&self, day: Day, made: &[Made]) -> Result<Arc<SeenKeys>, KeysError> {
        let made = made.first().ok_or_else(broken)?;
        let mac = HmacKey::new(&made.secret).subkey(b"blindtally/seen/1");
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        let keys = Arc::new(SeenKeys { mac, seal: cache.seal(made.seal_key()) });
        cache.seen.insert(day, Arc::clone(&keys));
        Ok(keys)
    }

    /// The days whose seen keys live, the earliest first.
    pub fn seen_days(&self) -> Vec<Day> {
        let infos = self.list().into_iter().filter(|info| info.kind == KeyKind::Seen);
        let mut days: Vec<Day> = infos.map(|info| Day(info.epoch)).collect();
        days.sort_unstable();
        days
    }

    /// A fresh key for a journal segment; never the same twice.
    ///
    /// # Errors
    /// When the register cannot be written.
    pub fn journal(&self) -> Result<Arc<SealKey>, KeysError> {
        self.fresh(KeyKind::Journal)
    }

    /// A fresh key for the records of a backfill; never the same twice.
    ///
    /// # Errors
    /// When the register cannot be written.
    pub fn backfill(&self) -> Result<Arc<SealKey>, KeysError> {
        self.fresh(KeyKind::Backfill)
    }

    fn fresh(&self, kind: KeyKind) -> Result<Arc<SealKey>, KeysError> {
        self.usable()?;
        let mut core = self.core()?;
        // The low half of the key's number serves as the serial: it names, the number identifies.
        let serial = core.register.next_key() & u64::from(u32::MAX);
        let name = KeyName::plain(kind, u32::try_from(serial).unwrap_or(0));
        let made = self.note(core.make(&[name]))?;
        let key = made.first().map(Made::seal_key).ok_or_else(broken)?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        Ok(cache.seal(key))
    }

    /// The key of a sealed value, by the number in its head; `None` when it is retired, never was,
    /// or is no sealing key.
    pub fn by_id(&self, id: KeyId) -> Option<Arc<SealKey>> {
        {
            let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(key) = cache.sealing(id) {
                return Some(key);
            }
        }
        let core = self.core().ok()?;
        if !core.by_id.get(&id)?.slot.name.kind.seals() {
            return None;
        }
        let key = self.note(core.seal_key(id)).ok()?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        Some(cache.seal(key))
    }

    /// The key for long-lived state: tokens, sites, answers kept for a repeated request.
    pub fn state_key(&self) -> Arc<SealKey> {
        Arc::clone(&self.state)
    }

    /// Retires keys: their slots are zeros in both copies, synced, and the ring has forgotten them,
    /// when this returns. Numbers that are not there are skipped, so that a retirement cut short
    /// can be repeated. A node without keys under it goes with the last of them.
    ///
    /// This alone destroys nothing: an older copy of the register still opens until the nodes above
    /// are refreshed and the VEK turned over.
    ///
    /// # Errors
    /// When one of them is a node or the state key, or the register cannot be written.
    pub fn retire(&self, ids: &[KeyId]) -> Result<(), KeysError> {
        self.usable()?;
        let mut core = self.core()?;
        let gone = self.note(core.retire(ids))?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        gone.iter().for_each(|slot| cache.forget(slot));
        Ok(())
    }

    /// Every living key without its secret, by number.
    pub fn list(&self) -> Vec<KeyInfo> {
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let mut infos: Vec<KeyInfo> = core.by_id.values().map(|entry| entry.slot.info()).collect();
        infos.sort_unstable_by_key(|info| info.id);
        infos
    }

    /// The secrets of all living keys, for tests that search files for them.
    #[cfg(test)]
    #[doc(hidden)]
    pub fn secrets_for_scan(&self) -> Vec<[u8; 32]> {
        self.secrets().into_values().collect()
    }

    /// As after a failed sync of the register.
    #[cfg(test)]
    pub fn break_writes(&self) {
        let _ = self.failed.set(io::ErrorKind::Other);
    }

    /// The secrets of all living keys by number, for tests that search for them.
    #[cfg(test)]
    #[doc(hidden)]
    pub fn secrets(&self) -> std::collections::BTreeMap<KeyId, [u8; 32]> {
        let core = self.core().unwrap();
        core.by_id.keys().map(|id| (*id, *core.secret(*id).unwrap().expose())).collect()
    }

    /// Whether the register can be written.
    ///
    /// # Errors
    /// After a failed write of it; the process must end and open it anew.
    pub fn usable(&self) -> Result<(), KeysError> {
        self.failed.get().map_or(Ok(()), |kind| Err(KeysError::Failed(*kind)))
    }

    /// A thread that panicked while it held the lock may have left half a change.
    pub(super) fn core(&self) -> Result<MutexGuard<'_, Core>, KeysError> {
        let half = |_| KeysError::Failed(*self.failed.get_or_init(|| io::ErrorKind::Other));
        self.core.lock().map_err(half)
    }

    /// After a failed write nothing is written again in this process.
    pub(super) fn note<T>(&self, result: Result<T, KeysError>) -> Result<T, KeysError> {
        result.map_err(|error| match error {
            KeysError::Register(RegisterError::Failed(kind)) => {
                KeysError::Failed(*self.failed.get_or_init(|| kind))
            }
            KeysError::Vek(VekError::Io(error)) => {
                KeysError::Failed(*self.failed.get_or_init(|| error.kind()))
            }
            error @ (KeysError::Register(RegisterError::NotKept { .. })
            | KeysError::Vek(VekError::NotKept | VekError::NotZeroed)) => {
                self.failed.get_or_init(|| io::ErrorKind::InvalidData);
                error
            }
            error => error,
        })
    }

    fn cached_month(&self, site: &SiteId, month: Month) -> Option<Arc<SiteMonthKeys>> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        cache.months.get(&month)?.get(site).cloned()
    }

    fn cached_seen(&self, day: Day) -> Option<Arc<SeenKeys>> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        cache.seen.get(&day).cloned()
    }

    /// Called with the core locked, so that a retirement comes before or after as a whole.
    fn keep_month(
        &self,
        site: &SiteId,
        month: Month,
        made: &[Made],
    ) -> Result<Arc<SiteMonthKeys>, KeysError> {
        let [base, tally, record, watermark, sets] = made else { return Err(broken()) };
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        let keys = Arc::new(SiteMonthKeys {
            base: BaseKey::new(&base.secret),
            tally: TagKey::new(&tally.secret),
            record: TagKey::new(&record.secret),
            watermark: TagKey::new(&watermark.secret),
            sets: cache.seal(sets.seal_key()),
            ids: SiteMonthIds {
                base: base.id,
                tally: tally.id,
                record: record.id,
                watermark: watermark.id,
                sets: sets.id,
            },
        });
        cache.mark(&KeyName::of_site(KeyKind::Watermark, site, month));
        cache.months.entry(month).or_default().insert(site.clone(), Arc::clone(&keys));
        Ok(keys)
    }

    pub(super) fn seal_by_name(
        &self,
        core: &mut Core,
        name: KeyName,
    ) -> Result<Arc<SealKey>, KeysError> {
        let key = match core.find_all(std::slice::from_ref(&name))?.as_deref() {
            Some([id, ..]) => core.seal_key(*id)?,
            _ => self.note(core.make(&[name]))?.first().map(Made::seal_key).ok_or_else(broken)?,
        };
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        Ok(cache.seal(key))
    }
}

impl Slot {
    pub(super) fn info(&self) -> KeyInfo {
        KeyInfo {
            id: self.id,
            parent: self.parent,
            kind: self.name.kind,
            class: self.name.class,
            epoch: self.name.epoch,
            site: self.name.owner.clone(),
            hold: (self.name.hold != 0).then_some(HoldNo(self.name.hold)),
            origin: (self.name.origin != 0).then_some(KeyId(self.name.origin)),
        }
    }
}
