//! Secrets, the keyed hash, the tag permutation, seal and open, signatures: the only host of the
//! cryptographic crates. It knows keys and bytes, and nothing of what they stand for.
//!
//! Two constructions carry everything:
//! - **pseudonym**: HMAC-SHA-256 (FIPS 198-1) or keyed BLAKE3 of an id under a base key
//!   ([`BaseKey`]), then one AES-256 block under the key of its use ([`TagKey`]): a permutation, so
//!   equality stays exact.
//! - **seal**: AES-256-GCM under a subkey that is used for one value only
//!   ([`SealKey`]): nonce reuse is impossible because no key ever seals twice.

pub mod aad;
pub mod base;
pub mod hmac;
mod lanes;
pub mod seal;
pub mod secret;
pub mod sign;
pub mod tag;

pub use aad::Aad;
pub use base::{Base, BaseKey};
pub use hmac::{HmacKey, HmacQueue};
pub use seal::{KeyDestroyed, OpenError, SealKey};
pub use secret::{Secret, WipedVec, random_bytes};
pub use sign::{SigningKey, VerifyingKey};
pub use tag::TagKey;

/// The unkeyed BLAKE3 hash, for checksums of our own files and for tokens of 256 random bits; never
/// for ids.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// SHA-256 (FIPS 180-4) of the parts in a row, for what outsiders compute again; never for ids.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    use sha2::Digest;
    let mut state = sha2::Sha256::new();
    parts.iter().for_each(|part| state.update(part));
    state.finalize().into()
}

/// SHA-256 of bytes that come piece by piece; never for ids.
#[derive(Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        sha2::Digest::update(&mut self.0, bytes);
    }

    /// The digest of all of them.
    pub fn finish(self) -> [u8; 32] {
        sha2::Digest::finalize(self.0).into()
    }
}

/// Compares two digests in constant time.
pub fn equal(left: &[u8; 32], right: &[u8; 32]) -> bool {
    use subtle::ConstantTimeEq;
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests;
