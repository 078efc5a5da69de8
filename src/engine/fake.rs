//! An engine without a site, for the tests of desks that need one.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use super::{Engine, Settings};
use crate::keys::{self, KeyRing};
use crate::model::ids::SiteId;
use crate::model::rules::RuleSet;
use crate::model::site::Site;
use crate::model::time::Clock;
use crate::store::{self, Store};

/// Closes all months of a site as a program with such rules would have left them.
pub fn closed_under(engine: &Engine, id: &SiteId, rules: RuleSet) {
    let mut site = Site::clone(&engine.site(id).unwrap());
    site.months.iter_mut().for_each(|span| span.rule_set = rules);
    site.closed_through = site.months.last().map(|span| span.month);
    engine.shared.directory.put_site(&engine.shared.store, site).unwrap();
}

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
