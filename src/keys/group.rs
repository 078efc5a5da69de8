//! The keys of a billing group's month: a key scope beside those of its sites, so that one person
//! is one user of the group, and no tag of the group is one of a site.
//!
//! They lie in the register as the keys of a site's month do, under the same nodes, and their kinds
//! are the same; what tells them apart is the owner.

use std::sync::{Arc, PoisonError};

use super::ring::KeyRing;
use super::slot::KeyName;
use super::tree::{Made, broken};
use super::{KeyKind, KeysError};
use crate::crypto::{BaseKey, SealKey, TagKey};
use crate::model::ids::SiteId;
use crate::model::time::Month;

/// The keys of a billing group's month, in the order in which they are made.
const GROUP_KINDS: [KeyKind; 3] = [KeyKind::Base, KeyKind::Tally, KeyKind::Sets];

/// The keys of a billing group's month: nothing but the group's set is made with them.
pub struct GroupMonthKeys {
    /// First step of every pseudonym; its output is never stored.
    pub base: BaseKey,
    /// Second step for the tally.
    pub tally: TagKey,
    /// Seals the tally's deltas and snapshots.
    pub sets: Arc<SealKey>,
}

impl KeyRing {
    /// The keys of the month of a billing group's scope, made if there are none: all of them in one
    /// write, with their nodes, as those of a site.
    ///
    /// # Errors
    /// When some of them are retired, or the register cannot be written.
    pub fn group_month(
        &self,
        scope: &SiteId,
        month: Month,
    ) -> Result<Arc<GroupMonthKeys>, KeysError> {
        self.usable()?;
        let cached = || self.cached_group(scope, month);
        if let Some(keys) = cached() {
            return Ok(keys);
        }
        let mut core = self.core()?;
        if let Some(keys) = cached() {
            return Ok(keys);
        }
        let names = GROUP_KINDS.map(|kind| KeyName::of_site(kind, scope, month));
        let made = match core.find_all(&names)? {
            Some(ids) => core.open_all(&ids)?,
            None => self.note(core.make(&names))?,
        };
        self.keep_group(scope, month, &made)
    }

    /// The keys of the month of a billing group's scope, while all of them live; none is made.
    pub fn group_month_existing(
        &self,
        scope: &SiteId,
        month: Month,
    ) -> Option<Arc<GroupMonthKeys>> {
        if let Some(keys) = self.cached_group(scope, month) {
            return Some(keys);
        }
        let core = self.core().ok()?;
        let names = GROUP_KINDS.map(|kind| KeyName::of_site(kind, scope, month));
        let ids = core.find_all(&names).ok()??;
        let made = self.note(core.open_all(&ids)).ok()?;
        self.keep_group(scope, month, &made).ok()
    }

    fn cached_group(&self, scope: &SiteId, month: Month) -> Option<Arc<GroupMonthKeys>> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        cache.groups.get(&month)?.get(scope).cloned()
    }

    fn keep_group(
        &self,
        scope: &SiteId,
        month: Month,
        made: &[Made],
    ) -> Result<Arc<GroupMonthKeys>, KeysError> {
        let [base, tally, sets] = made else { return Err(broken()) };
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        let keys = Arc::new(GroupMonthKeys {
            base: BaseKey::new(&base.secret),
            tally: TagKey::new(&tally.secret),
            sets: cache.seal(sets.seal_key()),
        });
        cache.groups.entry(month).or_default().insert(scope.clone(), Arc::clone(&keys));
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Settings;
    use crate::model::ids::GroupId;

    #[test]
    fn a_group_has_keys_of_its_own_that_come_back_and_can_go() {
        let dir = tempfile::tempdir().unwrap();
        let open = || KeyRing::open(&Settings::in_dir(dir.path().join("keys"))).unwrap().0;
        let ring = open();
        let month = Month::new(2026, 11).unwrap();
        let site = SiteId::parse(b"A").unwrap();
        // Of the same letters as the site, and as long as an id can be.
        let scopes = ["A", &"g".repeat(64)]
            .map(|group| SiteId::of_group(&GroupId::parse(group.as_bytes()).unwrap()));
        ring.site_month(&site, month).unwrap();
        for scope in &scopes {
            assert!(ring.group_month_existing(scope, month).is_none(), "asking makes none");
            let keys = ring.group_month(scope, month).unwrap();
            assert!(Arc::ptr_eq(&keys, &ring.group_month(scope, month).unwrap()));
        }
        let kinds = |ring: &KeyRing, owner: &SiteId| {
            let own = ring.list().into_iter().filter(|key| key.site.as_ref() == Some(owner));
            own.map(|key| key.kind).collect::<Vec<_>>()
        };
        let secrets = ring.secrets();
        drop(ring);
        let ring = open();
        assert_eq!(ring.secrets(), secrets, "nothing is made twice");
        assert_eq!(kinds(&ring, &site).len(), 5);
        for scope in &scopes {
            assert_eq!(kinds(&ring, scope), GROUP_KINDS);
            let known = ring.group_month_existing(scope, month).unwrap();
            assert!(Arc::ptr_eq(&known, &ring.group_month(scope, month).unwrap()));
            let sets = ring.group_month(scope, month).unwrap().sets.id();
            assert_eq!(ring.sets_existing(scope, month).unwrap().id(), sets);
        }
        let own = ring.list().into_iter().filter(|key| key.site.as_ref() == Some(&scopes[0]));
        let ids: Vec<_> = own.map(|key| key.id).collect();
        ring.retire(&ids).unwrap();
        assert!(ring.group_month(&scopes[0], month).is_err(), "a name is given once");
        assert!(ring.sets_existing(&scopes[0], month).is_none());
        assert!(ring.group_month_existing(&scopes[0], month).is_none());
        assert!(ring.group_month(&scopes[1], month).is_ok());
        assert_eq!(kinds(&ring, &site).len(), 5);
    }
}
