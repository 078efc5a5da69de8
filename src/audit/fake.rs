//! A desk over a ledger in a directory of its own.

use std::path::Path;
use std::sync::Arc;

use super::Audit;
use crate::ledger::{Ledger, Settings};
use crate::model::time::{Clock, Timestamp};

/// 2026-11-22T04:16:00Z, always.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_320_960_000)
    }
}

/// A desk whose ledger lives as long as the directory.
pub fn audit() -> (tempfile::TempDir, Audit) {
    let dir = tempfile::tempdir().unwrap();
    let audit = open(dir.path());
    (dir, audit)
}

/// A desk over the ledger in a directory, made if there is none.
pub fn open(dir: &Path) -> Audit {
    let settings = Settings {
        dir: dir.join("ledger"),
        signing_key: dir.join("signing.key"),
        name: "blindtally/test".to_owned(),
        second_copy: None,
        marks: Vec::new(),
    };
    let clock = Arc::new(Still);
    let (ledger, _) = Ledger::open(&settings, clock.now()).unwrap();
    Audit::new(Arc::new(ledger), clock)
}
