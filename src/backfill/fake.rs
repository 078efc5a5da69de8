//! A desk over an engine of its own, without a site, for the tests of others.

use std::path::Path;
use std::sync::Arc;

use super::{Backfills, Settings};
use crate::engine::{self, Engine};
use crate::keys::{self, KeyRing};
use crate::ledger::Ledger;
use crate::model::time::Clock;
use crate::store::{self, Store};

/// Opens it in a directory.
pub fn desk(directory: &Path, ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> Backfills {
    let engine = engine(directory, Arc::clone(&clock));
    Backfills::new(engine, ledger, clock, Settings::default(), || {})
}

/// An engine in a directory.
pub fn engine(directory: &Path, clock: Arc<dyn Clock>) -> Engine {
    let data = directory.join("late");
    let store = Store::open(&store::Settings { data, block_cache_bytes: 1 << 20 }).unwrap();
    let (ring, _) = KeyRing::open(&keys::Settings::in_dir(directory.join("late-keys"))).unwrap();
    Engine::open(store, ring, engine::Settings::default(), clock).unwrap()
}
