//! What this desk needs of the engine; a trait, so that its tests need no disk.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use crate::engine::EngineError;
use crate::keys::Victim;
use crate::keys::vek::LedgerMark;
use crate::model::ids::{KeyId, SiteId};
use crate::model::retention::Lot;
use crate::model::site::Site;
use crate::model::time::Timestamp;

/// A living lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotInfo {
    /// Which one.
    pub lot: Lot,
    /// Its site.
    pub site: SiteId,
    /// Its keys.
    pub keys: Vec<KeyId>,
    /// When its epoch ends.
    pub ends_at: Timestamp,
}

/// What was destroyed of a lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotReport {
    /// Which one.
    pub lot: Lot,
    /// Records that it held.
    pub records: u64,
    /// Its keys.
    pub keys: Vec<Victim>,
}

/// What the engine's own verification found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Nothing opens and nothing is left.
    Passed,
    /// A key still opens something.
    KeyStillOpens,
    /// So many files still hold bytes of it.
    BytesLeft(u64),
}

/// What a destruction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestroyReport {
    /// Each lot.
    pub lots: Vec<LotReport>,
    /// The VEK epoch that was destroyed.
    pub old_epoch: u64,
    /// The VEK epoch in force.
    pub new_epoch: u64,
    /// The register's generation.
    pub generation: u64,
    /// Copies of the register that do not have it yet: nothing is destroyed before they do.
    pub waiting_for: Vec<PathBuf>,
    /// None of the keys lived.
    pub nothing: bool,
    /// What verification found.
    pub verification: Verification,
    /// Files that were removed.
    pub files_removed: u64,
    /// Bytes that were reclaimed.
    pub bytes_reclaimed: u64,
    /// Whether a copy of the VEK home from before, with the root key, would open old registers.
    pub home_copy_opens: bool,
}

/// A change of state that is under way.
pub type Change<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'a>>;

/// What this desk needs of the engine.
pub trait Vault: Send + Sync + 'static {
    /// Every living lot.
    fn lots(&self) -> Vec<LotInfo>;
    /// The site of an id.
    fn site(&self, id: &SiteId) -> Option<Arc<Site>>;
    /// The accepted age of records, milliseconds.
    fn age_ms(&self) -> i64;
    /// The commitment of a living key.
    fn commitment(&self, key: KeyId) -> Option<[u8; 32]>;
    /// The VEK epoch in force.
    ///
    /// # Errors
    /// When the keys cannot be used any more.
    fn vek_epoch(&self) -> Result<u64, EngineError>;
    /// Whether keys that lived in a VEK epoch are destroyed now.
    fn is_destroyed(&self, keys: &[KeyId], epoch: u64) -> bool;
    /// Lots whose destruction began and has not ended.
    fn unfinished_destruction(&self) -> Vec<Lot>;
    /// Destroys lots, after the ledger's entry that this is the mark of.
    fn destroy(&self, lots: Vec<Lot>, mark: LedgerMark) -> Change<'_, DestroyReport>;
    /// Ends a site's collection; one that has ended keeps its time.
    fn terminate(&self, site: SiteId, at: Timestamp) -> Change<'_, Arc<Site>>;
    /// The desk's rows whose name begins so, in the order of their names.
    ///
    /// # Errors
    /// When a row cannot be read.
    fn load_rows(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, EngineError>;
    /// Writes a row of the desk; it is durable when this is done.
    fn put_row(&self, name: String, bytes: Vec<u8>) -> Change<'_, ()>;
    /// Removes a row of the desk.
    fn delete_row(&self, name: String) -> Change<'_, ()>;
}
