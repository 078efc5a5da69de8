//! A desk without a directory, for tests of other rooms.

use std::path::Path;
use std::sync::Arc;

use super::source::{Source, Work};
use super::{Backups, Settings};
use crate::engine::EngineError;
use crate::engine::backup::DataCopy;
use crate::keys::{LedgerMark, VaultId};
use crate::ledger::Ledger;
use crate::model::time::Clock;

struct Nothing;

impl Source for Nothing {
    fn generation(&self) -> Result<u64, EngineError> {
        Ok(1)
    }

    fn vault(&self) -> Result<VaultId, EngineError> {
        Ok(VaultId([1; 16]))
    }

    fn copy_data(&self, _: u64, _: LedgerMark) -> Work<'_, DataCopy> {
        Box::pin(std::future::ready(Err(EngineError::DiskFull)))
    }

    fn drop_copy(&self) -> Work<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A desk whose backups fail for want of room, in a directory if one is given.
pub fn desk(dir: Option<&Path>, ledger: Arc<Ledger>, clock: Arc<dyn Clock>) -> Backups {
    let settings = Settings { dir: dir.map(Path::to_owned), free_bytes_min: 0 };
    Backups::new(Arc::new(Nothing), ledger, settings, clock, |_| Ok(u64::MAX))
}
