//! Checkpoints: the C2SP signed note (`c2sp.org/signed-note`, `c2sp.org/tlog-checkpoint`), and its
//! verifier key.
//!
//! ```text
//! blindtally.example/ledger        origin, which is also the name of the key
//! 42                               entries
//! base64 of the root hash
//!
//! — blindtally.example/ledger base64 of (key hash (4) ‖ Ed25519 signature (64))
//! ```
//!
//! The signature covers the first three lines with their newlines. The key hash is the first four
//! bytes of SHA-256(name ‖ newline ‖ 0x01 ‖ public key). The verifier key is one line:
//! `name+hex of the key hash+base64 of (0x01 ‖ public key)`.

use std::fmt;

use data_encoding::{BASE64, HEXLOWER};

use super::tree::Hash;
use crate::crypto::{SigningKey, VerifyingKey, sha256};
use crate::keys::vek::LedgerMark;

/// Longest name of a key, bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest checkpoint, bytes: two names, a number of 20 digits, a hash, a signature.
pub const CHECKPOINT_BYTES_MAX: usize = 2 * NAME_BYTES_MAX + 20 + 44 + 92 + 16;
/// What a signature line begins with.
const DASH: &str = "\u{2014} ";
/// Ed25519, in the registry of signed notes.
const ALGORITHM: u8 = 1;

/// Whether a text can be the name of a key and the origin of checkpoints: printable ASCII without
/// space and plus.
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| (b'!'..=b'~').contains(&byte) && byte != b'+';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// The public key of a ledger, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

impl VerifierKey {
    /// The key of this name; `None` when the name cannot be one.
    pub fn new(name: &str, key: VerifyingKey) -> Option<Self> {
        is_name(name).then(|| Self { name: name.to_owned(), key })
    }

    /// The name, which is the origin of its checkpoints.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the line; white space around it is ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        let mut parts = text.splitn(3, '+');
        let (name, _, key) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = BASE64.decode(key.as_bytes()).ok()?;
        let (algorithm, key) = bytes.split_first()?;
        let key = Self::new(name, VerifyingKey(key.try_into().ok()?))?;
        (*algorithm == ALGORITHM && key.to_string() == text).then_some(key)
    }

    fn hash(&self) -> [u8; 4] {
        let digest = sha256(&[self.name.as_bytes(), b"\n", &[ALGORITHM], &self.key.0]);
        std::array::from_fn(|at| digest[at])
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ALGORITHM], self.key.0.as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.hash()), BASE64.encode(&key))
    }
}

/// The private key of a ledger, with its name.
#[derive(Debug)]
pub(super) struct Signer {
    key: SigningKey,
    public: VerifierKey,
}

impl Signer {
    pub(super) fn new(name: &str, key: SigningKey) -> Option<Self> {
        let public = VerifierKey::new(name, key.verifying_key())?;
        Some(Self { key, public })
    }

    pub(super) fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// The checkpoint of a tree, signed; `None` only when there is no memory for it.
    pub(super) fn sign(&self, size: u64, root: Hash) -> Option<Checkpoint> {
        let mut checkpoint = Checkpoint {
            origin: self.public.name.clone(),
            size,
            root,
            key_hash: [0; 4],
            signature: [0; 64],
        };
        checkpoint.key_hash = self.public.hash();
        checkpoint.signature = self.key.sign(checkpoint.body().as_bytes())?;
        Some(checkpoint)
    }
}

/// A signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the ledger and of its key.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
    key_hash: [u8; 4],
    signature: [u8; 64],
}

impl Checkpoint {
    /// Reads a checkpoint in exactly the form that the ledger writes: one signature, by the key
    /// that has the origin's name. Whether it is good is [`Checkpoint::is_by`].
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > CHECKPOINT_BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let mut lines = text.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let (_, signed) = (lines.next()?, lines.next()?);
        let (_, signature) = signed.strip_prefix(DASH)?.split_once(' ')?;
        let signature = BASE64.decode(signature.as_bytes()).ok()?;
        let (key_hash, signature) = signature.split_first_chunk()?;
        let checkpoint = Self {
            origin: origin.to_owned(),
            size: size.parse().ok()?,
            root: BASE64.decode(root.as_bytes()).ok()?.try_into().ok()?,
            key_hash: *key_hash,
            signature: signature.try_into().ok()?,
        };
        (is_name(origin) && checkpoint.to_string() == text).then_some(checkpoint)
    }

    /// Whether the key signed it, under the key's own name.
    pub fn is_by(&self, key: &VerifierKey) -> bool {
        self.origin == key.name
            && self.key_hash == key.hash()
            && key.key.verifies(self.body().as_bytes(), &self.signature)
    }

    /// Size and root, as the keys carry them.
    pub fn mark(&self) -> LedgerMark {
        if self.size == 0 {
            return LedgerMark::default();
        }
        LedgerMark { size: self.size, root: self.root }
    }

    fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(&self.root))
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = [self.key_hash.as_slice(), &self.signature].concat();
        let (body, origin) = (self.body(), &self.origin);
        writeln!(f, "{body}\n{DASH}{origin} {}", BASE64.encode(&signature))
    }
}
