//! What the key ring has opened before, and who still holds what it has forgotten.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use super::KeyKind;
use super::group::GroupMonthKeys;
use super::ring::{SeenKeys, SiteMonthKeys, WatermarkKeys};
use super::slot::{KeyName, Slot};
use crate::crypto::SealKey;
use crate::model::ids::{KeyId, SiteId};
use crate::model::time::{Day, Month};
use crate::model::vocab::Class;

/// What was opened before.
#[derive(Default)]
pub(super) struct Cache {
    pub(super) months: HashMap<Month, HashMap<SiteId, Arc<SiteMonthKeys>>>,
    pub(super) groups: HashMap<Month, HashMap<SiteId, Arc<GroupMonthKeys>>>,
    pub(super) marks: HashMap<SiteId, BTreeMap<Month, Option<Arc<WatermarkKeys>>>>,
    pub(super) buckets: HashMap<(Class, u32), HashMap<SiteId, Arc<SealKey>>>,
    pub(super) seen: HashMap<Day, Arc<SeenKeys>>,
    pub(super) access: HashMap<Month, Arc<SealKey>>,
    /// Every sealing key that was ever handed out, one object a key.
    seals: HashMap<KeyId, Arc<SealKey>>,
    /// Sealing keys that were retired or destroyed: wiped at the next turn-over.
    graves: Vec<Weak<SealKey>>,
    /// Other keys that were, which go when the last request that holds them ends.
    held: Vec<Weak<dyn Any + Send + Sync>>,
    /// Living keys that were opened for one caller alone, by their numbers.
    leases: HashMap<KeyId, Vec<Weak<Lease>>>,
}

/// Goes with keys that are opened for one caller and not kept here, so that it is known how long
/// the caller has them.
pub(super) struct Lease(());

/// Length of `held` from which on the ends of it are looked for.
const HELD_MANY: usize = 1024;

impl Cache {
    /// Notes that a site has a watermark key of a month.
    pub(super) fn mark(&mut self, name: &KeyName) {
        if let Some(site) = &name.owner {
            let months = self.marks.entry(site.clone()).or_default();
            months.entry(Month(name.epoch)).or_insert(None);
        }
    }

    /// The sealing key of a number, if it was handed out before.
    pub(super) fn sealing(&self, id: KeyId) -> Option<Arc<SealKey>> {
        self.seals.get(&id).cloned()
    }

    /// The one object of a sealing key: this one, or the one from before.
    pub(super) fn seal(&mut self, key: Arc<SealKey>) -> Arc<SealKey> {
        Arc::clone(self.seals.entry(key.id()).or_insert(key))
    }

    /// As `seal`, for a key whose number in the register is not the one that its values name.
    pub(super) fn seal_as(&mut self, id: KeyId, key: SealKey) -> Arc<SealKey> {
        Arc::clone(self.seals.entry(id).or_insert_with(|| Arc::new(key)))
    }

    /// Wipes the sealing keys that were retired or destroyed, whoever holds them.
    pub(super) fn wipe(&mut self) {
        self.graves.drain(..).filter_map(|key| key.upgrade()).for_each(|key| key.destroy());
    }

    /// How many requests still hold keys of pseudonyms that were retired or destroyed.
    pub(super) fn held(&mut self) -> usize {
        self.held.retain(|key| key.strong_count() > 0);
        self.held.iter().map(Weak::strong_count).sum()
    }

    /// Notes that a caller gets keys of these numbers; the caller keeps what this answers beside
    /// them.
    pub(super) fn lease(&mut self, ids: &[KeyId]) -> Arc<Lease> {
        let lease = Arc::new(Lease(()));
        for id in ids {
            let leases = self.leases.entry(*id).or_default();
            leases.retain(|lease| lease.strong_count() > 0);
            leases.push(Arc::downgrade(&lease));
        }
        lease
    }

    fn bury(&mut self, key: Option<Arc<dyn Any + Send + Sync>>) {
        if let Some(key) = key {
            if self.held.len() >= HELD_MANY {
                self.held.retain(|key| key.strong_count() > 0);
            }
            self.held.push(Arc::downgrade(&key));
        }
    }

    /// Forgets a key that was retired or destroyed.
    pub(super) fn forget(&mut self, slot: &Slot) {
        if let Some(key) = self.seals.remove(&slot.id) {
            self.graves.push(Arc::downgrade(&key));
        }
        for lease in self.leases.remove(&slot.id).into_iter().flatten() {
            self.bury(lease.upgrade().map(|lease| lease as _));
        }
        let name = &slot.name;
        match (name.kind, &name.owner) {
            (KeyKind::Bucket, Some(site)) => {
                let place = name.class.map(|class| (class, name.epoch));
                place.and_then(|place| self.buckets.get_mut(&place)?.remove(site));
            }
            (KeyKind::Seen, _) => {
                let gone = self.seen.remove(&Day(name.epoch));
                self.bury(gone.map(|keys| keys as _));
            }
            (KeyKind::Access, _) => {
                self.access.remove(&Month(name.epoch));
            }
            (kind, Some(site)) => {
                let month = Month(name.epoch);
                let gone = self.months.get_mut(&month).and_then(|sites| sites.remove(site));
                self.bury(gone.map(|keys| keys as _));
                let gone = self.groups.get_mut(&month).and_then(|groups| groups.remove(site));
                self.bury(gone.map(|keys| keys as _));
                let marks = self.marks.get_mut(site);
                let gone = match (kind, marks) {
                    (KeyKind::Watermark, Some(months)) => months.remove(&month).flatten(),
                    (KeyKind::Base, Some(months)) => months.get_mut(&month).and_then(Option::take),
                    _ => None,
                };
                self.bury(gone.map(|keys| keys as _));
            }
            _ => {}
        }
    }
}
