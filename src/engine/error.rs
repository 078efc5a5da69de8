//! Why the engine cannot do what was asked.

use super::calendar::NoZone;
use super::fold::FoldError;
use super::journal::JournalError;
use super::runs::RunError;
use crate::keys::KeysError;
use crate::model::site::SiteConflict;
use crate::store::StoreError;

/// The engine cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The queue is full; the same again later.
    #[error("the queue is full")]
    Busy,
    /// The disk is full; nothing was kept.
    #[error("the disk is full")]
    DiskFull,
    /// The engine has stopped, after a failed write or at shutdown; nothing was acknowledged.
    #[error("the engine has stopped")]
    Stopped,
    /// There is no such site.
    #[error("there is no such site")]
    NoSite,
    /// What is asked for of a month (its figures, its access log) was kept as long as it may be,
    /// and has ended.
    #[error("what is asked for of the month is not kept any more")]
    Ended,
    /// A site cannot be changed so; nothing was changed.
    #[error("the site cannot be changed so")]
    Conflict(SiteConflict),
    /// Files with rows that were removed are in use, so the rows are still in them.
    #[error("files with rows that were removed are in use; they are tried again")]
    InUse,
    /// Something stored is missing, changed or does not agree.
    #[error("the data directory is damaged: {0}")]
    Damaged(String),
    /// The disk or the register refused.
    #[error("{0}")]
    Refused(String),
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::DiskFull,
            other => Self::Refused(other.to_string()),
        }
    }
}

impl From<KeysError> for EngineError {
    fn from(error: KeysError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Errors of reading what is stored.
macro_rules! damaged {
    ($($error:ty),+) => {$(
        impl From<$error> for EngineError {
            fn from(error: $error) -> Self {
                Self::Damaged(error.to_string())
            }
        }
    )+};
}
damaged!(JournalError, NoZone, crate::store::codec::Corrupt);

impl From<RunError> for EngineError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Store(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<FoldError> for EngineError {
    fn from(error: FoldError) -> Self {
        match error {
            FoldError::Store(error) => error.into(),
            FoldError::Run(error) => error.into(),
            FoldError::Keys(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}
