//! A proof that stands alone: an entry, its place, and the signed checkpoint that it is under.
//! Whoever has the ledger's public key can check it without the ledger.

use serde::{Deserialize, Serialize};

use super::entry::{LINE_BYTES_MAX, Recorded};
use super::note::{Checkpoint, VerifierKey};
use super::tree::{self, PROOF_HASHES_MAX};
use super::words::Digest;
use super::{Ledger, LedgerError};

/// Longest proof, bytes: a line whose every byte is escaped, and the rest.
pub const PROOF_BYTES_MAX: usize = 2 * LINE_BYTES_MAX + (64 << 10);

/// An entry with the proof that it is in the ledger. It is written as one JSON object, alone or as
/// part of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The entry's line, without its newline.
    pub entry: String,
    /// The entry's number.
    pub index: u64,
    /// Entries under the checkpoint.
    pub size: u64,
    /// The proof of RFC 6962, from the leaf upward.
    pub hashes: Vec<Digest>,
    /// The checkpoint, a signed note.
    pub checkpoint: String,
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not in the form of a proof.
    #[error("the proof is not a JSON object of the ledger's own form; get it anew")]
    Form,
    /// The checkpoint is no signed note.
    #[error("the checkpoint in the proof is not a signed note; get the proof anew")]
    Checkpoint,
    /// Another key, another name, or a changed checkpoint.
    #[error("the checkpoint in the proof is not signed by this ledger's key")]
    Signature,
    /// The entry is not the ledger's form of one, or of another number than the proof.
    #[error("the entry in the proof is not an entry of that number")]
    Entry,
    /// The hashes do not lead from the entry to the root.
    #[error("the hashes do not lead from the entry to the checkpoint: something was changed")]
    Path,
}

impl Proof {
    /// One line of JSON.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn to_json(&self) -> Result<String, ProofError> {
        serde_json::to_string(self).map_err(|_| ProofError::Form)
    }

    /// Reads it, in exactly the form that [`Proof::to_json`] writes.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(text: &[u8]) -> Result<Self, ProofError> {
        if text.len() > PROOF_BYTES_MAX {
            return Err(ProofError::Form);
        }
        let proof: Self = serde_json::from_slice(text).map_err(|_| ProofError::Form)?;
        let same = proof.to_json()?.as_bytes() == text;
        if same && proof.hashes.len() <= PROOF_HASHES_MAX {
            Ok(proof)
        } else {
            Err(ProofError::Form)
        }
    }
}

impl Ledger {
    /// The proof of an entry under an earlier checkpoint than the last one. The checkpoint is not
    /// in it: whoever asks has it.
    ///
    /// # Errors
    /// As [`Ledger::proof`]; also when there are fewer entries.
    pub fn proof_under(&self, index: u64, size: u64) -> Result<Proof, LedgerError> {
        let hashes = self.inclusion(index, size)?.into_iter().map(Digest).collect();
        let entry = self.read(index, 1)?.pop();
        let entry = entry.ok_or(LedgerError::Beyond { asked: index, size })?;
        Ok(Proof { entry, index, size, hashes, checkpoint: String::new() })
    }
}

/// Checks a proof against the ledger's public key; the entry that it proves.
///
/// # Errors
/// When it proves nothing.
pub fn verify_proof(proof: &Proof, key: &VerifierKey) -> Result<Recorded, ProofError> {
    let checkpoint =
        Checkpoint::parse(proof.checkpoint.as_bytes()).ok_or(ProofError::Checkpoint)?;
    if !checkpoint.is_by(key) {
        return Err(ProofError::Signature);
    }
    let entry = Recorded::decode(proof.entry.as_bytes()).map_err(|_| ProofError::Entry)?;
    if entry.number != proof.index {
        return Err(ProofError::Entry);
    }
    let hashes: Vec<_> = proof.hashes.iter().map(|hash| hash.0).collect();
    let leaf = tree::leaf(proof.entry.as_bytes());
    let root = tree::root_of_inclusion(leaf, proof.index, proof.size, &hashes);
    let leads = root == Some(checkpoint.root) && proof.size == checkpoint.size;
    if leads { Ok(entry) } else { Err(ProofError::Path) }
}
