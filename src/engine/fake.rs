//! An engine without a site, for the tests of desks that need one.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use super::{Engine, Settings};
use crate::keys::{self, KeyRing};
use crate::model::time::Clock;
use crate::store::{self, Store};

/// A running engine that ends with this: its threads, memory and files would else stay until the
/// last test has ended.
pub struct Running(Engine);

impl Running {
    /// Opens it in a directory.
    pub fn open(directory: &Path, clock: Arc<dyn Clock>) -> Self {
        let data = directory.join("engine");
        let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 }).unwrap();
        let keys = keys::Settings::in_dir(directory.join("engine-keys"));
        let (ring, _) = KeyRing::open(&keys).unwrap();
        Self(Engine::open(store, ring, Settings::default(), clock).unwrap())
    }
}

impl Deref for Running {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.stop();
    }
}
