//! Keys of the access log: one for each month of UTC, of all sites.

use std::sync::{Arc, PoisonError};

use super::ring::KeyRing;
use super::slot::KeyName;
use super::{KeyKind, KeysError};
use crate::crypto::SealKey;
use crate::model::time::Month;

impl KeyRing {
    /// The key of a month of the access log, made if there is none.
    ///
    /// # Errors
    /// When it is destroyed, or the register cannot be written.
    pub fn access(&self, month: Month) -> Result<Arc<SealKey>, KeysError> {
        self.usable()?;
        if let Some(key) = self.cached_access(month) {
            return Ok(key);
        }
        let mut core = self.core()?;
        let key = self.seal_by_name(&mut core, KeyName::plain(KeyKind::Access, month.0))?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.access.insert(month, Arc::clone(&key));
        Ok(key)
    }

    /// The key of a month of the access log, if it lives.
    ///
    /// # Errors
    /// When the register cannot be used.
    pub fn access_existing(&self, month: Month) -> Result<Option<Arc<SealKey>>, KeysError> {
        self.usable()?;
        if let Some(key) = self.cached_access(month) {
            return Ok(Some(key));
        }
        let mut core = self.core()?;
        let name = KeyName::plain(KeyKind::Access, month.0);
        if !core.by_name.contains_key(&name) {
            return Ok(None);
        }
        let key = self.seal_by_name(&mut core, name)?;
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.access.insert(month, Arc::clone(&key));
        Ok(Some(key))
    }

    fn cached_access(&self, month: Month) -> Option<Arc<SealKey>> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        cache.access.get(&month).cloned()
    }
}
