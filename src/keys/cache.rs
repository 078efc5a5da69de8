//! What the key ring has opened before.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::KeyKind;
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
    pub(super) marks: HashMap<SiteId, BTreeMap<Month, Option<Arc<WatermarkKeys>>>>,
    pub(super) buckets: HashMap<(Class, u32), HashMap<SiteId, Arc<SealKey>>>,
    pub(super) seen: HashMap<Day, Arc<SeenKeys>>,
    pub(super) seals: HashMap<KeyId, Arc<SealKey>>,
}

impl Cache {
    /// Notes that a site has a watermark key of a month.
    pub(super) fn mark(&mut self, name: &KeyName) {
        if let Some(site) = &name.owner {
            let months = self.marks.entry(site.clone()).or_default();
            months.entry(Month(name.epoch)).or_insert(None);
        }
    }

    /// Forgets a key that was retired.
    pub(super) fn forget(&mut self, slot: &Slot) {
        self.seals.remove(&slot.id);
        let name = &slot.name;
        match (name.kind, &name.owner) {
            (KeyKind::Bucket, Some(site)) => {
                let place = name.class.map(|class| (class, name.epoch));
                place.and_then(|place| self.buckets.get_mut(&place)?.remove(site));
            }
            (KeyKind::Seen, _) => drop(self.seen.remove(&Day(name.epoch))),
            (kind, Some(site)) => {
                let month = Month(name.epoch);
                self.months.get_mut(&month).and_then(|sites| sites.remove(site));
                let marks = self.marks.get_mut(site);
                match (kind, marks) {
                    (KeyKind::Watermark, Some(months)) => drop(months.remove(&month)),
                    (KeyKind::Base, Some(months)) => {
                        months.entry(month).and_modify(|keys| *keys = None);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}
