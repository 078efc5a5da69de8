//! A root provider that destroys: one wrapping key for each epoch, as an HSM keeps them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::crypto::{Aad, SealKey, Secret};
use crate::keys::{RootError, RootProvider, VaultId, VekId};
use crate::model::ids::KeyId;

/// The device; clones share it.
#[derive(Clone, Default)]
pub(in crate::keys) struct Hsm(Arc<Mutex<BTreeMap<VekId, SealKey>>>);

impl Hsm {
    /// The living epochs of a vault.
    pub(in crate::keys) fn epochs(&self, vault: VaultId) -> Vec<u64> {
        let keys = self.0.lock().unwrap();
        keys.keys().filter(|vek| vek.vault == vault).map(|vek| vek.epoch).collect()
    }

    /// Takes a key away, as by another name.
    pub(in crate::keys) fn take(&self, vek: VekId) -> SealKey {
        self.0.lock().unwrap().remove(&vek).unwrap()
    }

    /// Puts it back.
    pub(in crate::keys) fn put(&self, vek: VekId, key: SealKey) {
        self.0.lock().unwrap().insert(vek, key);
    }

    fn refused(&self) -> RootError {
        RootError::Ended(self.name().into())
    }
}

impl RootProvider for Hsm {
    fn name(&self) -> &'static str {
        "test device"
    }

    fn begin_epoch(&self, vek: VekId) -> Result<(), RootError> {
        let fresh = || SealKey::new(KeyId(0), &Secret::random());
        self.0.lock().unwrap().entry(vek).or_insert_with(fresh);
        Ok(())
    }

    fn end_epoch(&self, vek: VekId) -> Result<(), RootError> {
        self.0.lock().unwrap().remove(&vek);
        Ok(())
    }

    fn ends_epochs(&self) -> bool {
        true
    }

    fn wrap(&self, vek: VekId, aad: &Aad, plain: &[u8; 32]) -> Result<Vec<u8>, RootError> {
        let keys = self.0.lock().unwrap();
        Ok(keys.get(&vek).ok_or_else(|| self.refused())?.seal(aad, plain))
    }

    fn unwrap(&self, vek: VekId, aad: &Aad, wrapped: &[u8]) -> Result<Secret, RootError> {
        let keys = self.0.lock().unwrap();
        let key = keys.get(&vek).ok_or_else(|| self.refused())?;
        let other = |_| RootError::Other(self.name().into());
        let mut plain = key.open(aad, wrapped).map_err(other)?;
        Ok(Secret::take(&mut plain).unwrap())
    }
}

/// A root provider with one key for all epochs, as a key file has.
pub(in crate::keys) struct OneKey;

impl OneKey {
    fn key() -> SealKey {
        SealKey::new(KeyId(0), &Secret::take(&mut [0x5a; 32]).unwrap())
    }
}

impl RootProvider for OneKey {
    fn name(&self) -> &'static str {
        "test key"
    }

    fn wrap(&self, _: VekId, aad: &Aad, plain: &[u8; 32]) -> Result<Vec<u8>, RootError> {
        Ok(Self::key().seal(aad, plain))
    }

    fn unwrap(&self, _: VekId, aad: &Aad, wrapped: &[u8]) -> Result<Secret, RootError> {
        let opened = Self::key().open(aad, wrapped);
        let mut plain = opened.map_err(|_| RootError::Other(self.name().into()))?;
        Ok(Secret::take(&mut plain).unwrap())
    }
}
