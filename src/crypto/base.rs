//! The base key of a site's month, and what makes base pseudonyms of it: HMAC-SHA-256, or the keyed
//! hash of BLAKE3. Which of the two is the site's word, so a base key makes nothing until it is
//! asked for [`under`](BaseKey::under) an algorithm.

use std::fmt;

use zeroize::Zeroize;

use super::{HmacKey, Secret};
use crate::model::pseudonym::Algorithm;

/// The base key of one site and month, which makes base pseudonyms and nothing else. They are never
/// stored; destroying this key cuts every use off.
pub struct BaseKey {
    hmac: HmacKey,
    blake3: Blake3Key,
}

impl BaseKey {
    /// The base key made of a secret of the key register.
    pub fn new(secret: &Secret) -> Self {
        // By reference: a copy on the way would be left behind.
        let mut blake3 = Blake3Key([0; 32]);
        blake3.0.copy_from_slice(secret.expose());
        Self { hmac: HmacKey::new(secret), blake3 }
    }

    /// What makes HMAC-SHA-256, for tests that compare keys.
    #[cfg(test)]
    pub const fn mac_key(&self) -> &HmacKey {
        &self.hmac
    }

    /// The key as its site uses it.
    #[inline]
    pub const fn under(&self, algorithm: Algorithm) -> Base<'_> {
        match algorithm {
            Algorithm::HmacSha256 => Base::Hmac(&self.hmac),
            Algorithm::Blake3 => Base::Blake3(&self.blake3),
        }
    }
}

impl fmt::Debug for BaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BaseKey(…)")
    }
}

/// A base key under the algorithm of its site, for `identity` alone.
#[derive(Clone, Copy)]
pub enum Base<'k> {
    /// HMAC-SHA-256 (FIPS 198-1).
    Hmac(&'k HmacKey),
    /// The keyed hash of BLAKE3.
    Blake3(&'k Blake3Key),
}

impl fmt::Debug for Base<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Base(…)")
    }
}

/// A key of BLAKE3's keyed hash.
pub struct Blake3Key([u8; 32]);

impl Blake3Key {
    /// The first 16 bytes of the keyed hash of a message given in parts. What the hash keeps of the
    /// message on its way is wiped.
    pub fn short(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut state = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            state.update(part);
        }
        let mut short = [0; 16];
        // Not `finalize`: what it takes the hash from holds the message, and nobody could wipe it.
        let mut end = state.finalize_xof();
        end.fill(&mut short);
        end.zeroize();
        state.zeroize();
        short
    }
}

impl Drop for Blake3Key {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The official test vectors of BLAKE3 (test_vectors.json): the key, and inputs that count up
    /// to 250 and begin again.
    #[test]
    fn official_vectors_of_the_keyed_hash() {
        let key = Blake3Key(*b"whats the Elvish word for friend");
        for (length, hash) in [
            (0, "92b2b75604ed3c761f9d6f62392c8a92"),
            (1, "6d7878dfff2f485635d39013278ae14f"),
            (1_023, "c951ecdf03288d0fcc96ee3413563d8a"),
            (1_024, "75c46f6f3d9eb4f55ecaaee480db732e"),
            (1_025, "357dc55de0c7e382c900fd6e320acc04"),
        ] {
            let input: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let (left, right) = input.split_at(length / 3);
            let found = data_encoding::HEXLOWER.encode(&key.short(&[left, right]));
            assert_eq!(found, hash, "{length} bytes");
        }
    }

    #[test]
    fn a_secret_makes_another_base_under_each_algorithm() {
        let key = BaseKey::new(&Secret::take(&mut [7; 32]).unwrap());
        let Base::Hmac(hmac) = key.under(Algorithm::HmacSha256) else { panic!("not HMAC") };
        let Base::Blake3(blake3) = key.under(Algorithm::Blake3) else { panic!("not BLAKE3") };
        assert_eq!(hmac.mac(b"id"), HmacKey::new(&Secret::take(&mut [7; 32]).unwrap()).mac(b"id"));
        assert_eq!(
            blake3.short(&[b"id"])[..],
            blake3::keyed_hash(&[7; 32], b"id").as_bytes()[..16]
        );
        assert_ne!(hmac.mac(b"id")[..16], blake3.short(&[b"id"]));
        assert_eq!(format!("{key:?}"), "BaseKey(…)");
    }
}
