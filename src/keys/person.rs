//! What erasing one person asks of the keys: those that make the pseudonyms in records, and a
//! bucket's key in the place of another. Until the one before is destroyed a bucket has both:
//! values name the key that sealed them, and only the newest seals.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use super::cache::Lease;
use super::slot::KeyName;
use super::tree::{Core, Made, broken};
use super::{KeyKind, KeyRing, KeysError};
use crate::crypto::{BaseKey, HmacKey, SealKey, Secret, TagKey};
use crate::model::ids::{KeyId, SiteId};
use crate::model::time::Month;
use crate::model::vocab::Class;

/// The key of a site's suppressed persons knows no month; this stands for one.
const NO_MONTH: Month = Month(0);

/// What makes the tag that a person has in every month of a site: for persons who were erased at
/// the site's request, and for nobody else (P3).
pub struct SuppressionKeys {
    /// First step.
    pub base: BaseKey,
    /// Second step.
    pub tag: TagKey,
    /// While it is here, the ring knows that somebody has them.
    _lease: Arc<Lease>,
}

/// What makes the pseudonyms in the records of a site's month; it outlives the month's sets.
pub struct RecordKeys {
    /// First step.
    pub base: BaseKey,
    /// Second step.
    pub record: TagKey,
    /// While it is here, the ring knows that somebody has them.
    _lease: Arc<Lease>,
}

/// The months of a site whose records can be searched, with the ids of what is needed for that.
fn searchable(core: &Core, site: &SiteId) -> Vec<(Month, Vec<KeyId>)> {
    let of_site = |name: &&KeyName| {
        (name.kind, name.hold) == (KeyKind::Record, 0) && name.owner.as_ref() == Some(site)
    };
    let months: BTreeSet<u32> =
        core.by_name.keys().filter(of_site).map(|name| name.epoch).collect();
    let ids = |month: Month| {
        let names =
            [KeyKind::Base, KeyKind::Record].map(|kind| KeyName::of_site(kind, site, month));
        names.iter().map(|name| core.living(name)).collect::<Option<Vec<_>>>()
    };
    months.into_iter().map(Month).filter_map(|month| Some((month, ids(month)?))).collect()
}

impl KeyRing {
    /// The months of a site whose records can be searched for somebody, the oldest first.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn record_months(&self, site: &SiteId) -> Result<Vec<Month>, KeysError> {
        self.usable()?;
        let core = self.core()?;
        Ok(searchable(&core, site).into_iter().map(|(month, _)| month).collect())
    }

    /// The months of a site whose records can be searched for somebody, the oldest first, each with
    /// its keys. They are opened for the caller alone and wiped with what it gets;
    /// while it has them, [`KeyRing::held`] counts them once they are destroyed.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn record_keys(&self, site: &SiteId) -> Result<Vec<(Month, RecordKeys)>, KeysError> {
        self.usable()?;
        let core = self.core()?;
        let months = searchable(&core, site);
        let mut found = Vec::with_capacity(months.len());
        for (month, ids) in months {
            let made = self.note(core.open_all(&ids))?;
            let [base, record] = made.as_slice() else { return Err(broken()) };
            let (base, record) = (BaseKey::new(&base.secret), TagKey::new(&record.secret));
            found.push((month, RecordKeys { base, record, _lease: self.lease(&ids) }));
        }
        Ok(found)
    }

    /// The keys of a site's suppressed persons, made if there are none. They live as long as the
    /// site.
    ///
    /// # Errors
    /// When the register cannot be written.
    pub fn suppression(&self, site: &SiteId) -> Result<SuppressionKeys, KeysError> {
        self.usable()?;
        let mut core = self.core()?;
        let name = KeyName::of_site(KeyKind::Suppression, site, NO_MONTH);
        if core.living(&name).is_none() {
            self.note(core.make(std::slice::from_ref(&name)))?;
        }
        self.suppression_of(&core, &name)
    }

    /// The same, where they live.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    pub fn suppression_existing(
        &self,
        site: &SiteId,
    ) -> Result<Option<SuppressionKeys>, KeysError> {
        self.usable()?;
        let core = self.core()?;
        let name = KeyName::of_site(KeyKind::Suppression, site, NO_MONTH);
        core.living(&name).map(|_| self.suppression_of(&core, &name)).transpose()
    }

    /// Called with the core locked, so that nothing is destroyed between the keys and their lease.
    fn lease(&self, ids: &[KeyId]) -> Arc<Lease> {
        self.cache.write().unwrap_or_else(PoisonError::into_inner).lease(ids)
    }

    fn suppression_of(&self, core: &Core, name: &KeyName) -> Result<SuppressionKeys, KeysError> {
        let id = core.living(name).ok_or_else(broken)?;
        let mac = HmacKey::new(&core.secret(id)?);
        // One key, two uses that have nothing in common.
        let part = |label: &[u8]| Secret::take(&mut mac.mac(label)).ok_or_else(broken);
        Ok(SuppressionKeys {
            base: BaseKey::new(&part(b"blindtally/suppress/base/1")?),
            tag: TagKey::new(&part(b"blindtally/suppress/tag/1")?),
            _lease: self.lease(&[id]),
        })
    }

    /// A fresh key for a bucket in the place of the one that it has, from which on everything new
    /// is sealed under it. The ones before live until they are destroyed.
    ///
    /// # Errors
    /// When the bucket has no living key, or the register cannot be written.
    pub fn succeed_bucket(
        &self,
        site: &SiteId,
        class: Class,
        epoch: u32,
    ) -> Result<Arc<SealKey>, KeysError> {
        self.usable()?;
        let mut core = self.core()?;
        let first = KeyName::bucket(site, class, epoch);
        let retired = KeysError::Retired { kind: KeyKind::Bucket };
        let before = core.living(&first).ok_or(retired)?;
        let made = self.note(core.make(&[KeyName { origin: before.0, ..first }]))?;
        let key = made.first().map(Made::seal_key).ok_or_else(broken)?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        let key = cache.seal(key);
        let sites = cache.buckets.entry((class, epoch)).or_default();
        sites.insert(site.clone(), Arc::clone(&key));
        Ok(key)
    }
}
