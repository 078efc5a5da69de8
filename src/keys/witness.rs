//! Who is told of each write of the register before it happens: the ledger, which lies a floor
//! above. Its mark (size and root) goes into the register's header, so that a ledger that is behind
//! the keys shows at the start.

use super::vek::LedgerMark;
use super::{KeyKind, KeysError, VaultId};
use crate::model::ids::KeyId;

/// A write of the register, before it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterWrite {
    /// The vault: main register and hold register are two.
    pub vault: VaultId,
    /// The generation that the register will have.
    pub generation: u64,
    /// The VEK epoch that it will have.
    pub vek_epoch: u64,
    /// The newest mark so far.
    pub mark: LedgerMark,
    /// Keys that it will have and has not.
    pub made: Vec<(KeyId, KeyKind)>,
    /// Keys that it has and will not have.
    pub gone: Vec<(KeyId, KeyKind)>,
}

/// The ledger did not take an entry; the register was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger did not take the entry of a write of the key register, which was not done")]
pub struct Unwitnessed;

/// What the ledger knows of a vault: keys that are older open what it says is destroyed, and would
/// give numbers a second time. All zero where it knows of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The generation of the newest write of the register that happened for certain.
    pub generation: u64,
    /// The VEK epoch after it.
    pub vek_epoch: u64,
    /// Above every number that was given to a key, also by writes that may not have happened.
    pub next_key: u64,
}

impl Known {
    /// Refuses a register that is older than that.
    ///
    /// # Errors
    /// [`KeysError::Older`].
    pub fn admit(&self, generation: u64, vek_epoch: u64) -> Result<(), KeysError> {
        if generation >= self.generation && vek_epoch >= self.vek_epoch {
            return Ok(());
        }
        let noted = (self.generation, self.vek_epoch);
        Err(KeysError::Older { register: (generation, vek_epoch), noted })
    }
}

/// The ledger, as the register sees it.
pub trait Witness: Send + Sync {
    /// Notes a write, durably, and answers the ledger's mark after the entry. The keys are locked
    /// meanwhile: a witness must not ask the key ring for anything.
    ///
    /// A write may fail or be cut after its entry: an entry says what was about to happen, and the
    /// generation of the register says whether it did.
    ///
    /// # Errors
    /// When the entry cannot be made; then the write does not happen.
    fn note(&self, write: &RegisterWrite) -> Result<LedgerMark, Unwitnessed>;

    /// What is known of a vault from before this process.
    fn known(&self, vault: VaultId) -> Known {
        let _ = vault;
        Known::default()
    }
}

/// Nobody: the mark stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWitness;

impl Witness for NoWitness {
    fn note(&self, write: &RegisterWrite) -> Result<LedgerMark, Unwitnessed> {
        Ok(write.mark)
    }
}
