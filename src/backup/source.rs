//! What this desk needs of the engine; a trait, so that others can be tested without a disk.

use std::pin::Pin;

use crate::engine::backup::DataCopy;
use crate::engine::{Engine, EngineError};
use crate::keys::{LedgerMark, VaultId};

/// Something of the engine that is under way.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'a>>;

/// What this desk needs of the engine.
pub trait Source: Send + Sync + 'static {
    /// The generation of the key register.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    fn generation(&self) -> Result<u64, EngineError>;
    /// The vault of the keys.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    fn vault(&self) -> Result<VaultId, EngineError>;
    /// Copies the data beside itself, for the backup of this intent and with the ledger's mark.
    fn copy_data(&self, operation: u64, known: LedgerMark) -> Work<'_, DataCopy>;
    /// Removes that copy.
    fn drop_copy(&self) -> Work<'_, ()>;
}

impl Source for Engine {
    fn generation(&self) -> Result<u64, EngineError> {
        Ok(self.ring().generation()?)
    }

    fn vault(&self) -> Result<VaultId, EngineError> {
        Ok(self.ring().vault()?)
    }

    fn copy_data(&self, operation: u64, known: LedgerMark) -> Work<'_, DataCopy> {
        Box::pin(Self::copy_data(self, operation, known))
    }

    fn drop_copy(&self) -> Work<'_, ()> {
        Box::pin(Self::drop_copy(self))
    }
}
