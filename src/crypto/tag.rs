//! The second step of a pseudonym: one AES-256 block under the key of its use.

use aes::Aes256Enc;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};

use super::Secret;
use crate::model::ids::Tag;

/// The key of one use of a pseudonym (tally, record, watermark). A permutation of 128-bit blocks
/// (FIPS 197): different base pseudonyms stay different, and destroying the key cuts this use off
/// from every other one.
pub struct TagKey(Aes256Enc);

impl TagKey {
    /// The permutation under a secret.
    pub fn new(secret: &Secret) -> Self {
        Self(Aes256Enc::new(secret.expose().into()))
    }

    /// The stored tag of a base pseudonym.
    pub fn tag(&self, base: &[u8; 16]) -> Tag {
        let mut block = Block::<Aes256Enc>::from(*base);
        self.0.encrypt_block(&mut block);
        Tag(block.into())
    }

    /// Turns many base pseudonyms into tags, in place; one by one each would wait for the one
    /// before.
    pub fn tags(&self, bases: &mut [[u8; 16]]) {
        self.0.encrypt_blocks(Block::<Aes256Enc>::cast_slice_from_core_mut(bases));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197, appendix C.3.
    #[test]
    fn published_vector() {
        let mut key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let plain: [u8; 16] = std::array::from_fn(|i| (i * 0x11) as u8);
        let tag = TagKey::new(&Secret::take(&mut key).unwrap()).tag(&plain);
        assert_eq!(data_encoding::HEXLOWER.encode(&tag.0), "8ea2b7ca516745bfeafc49904b496089");
    }

    #[test]
    fn many_at_once_are_those_one_by_one() {
        let key = TagKey::new(&Secret::random());
        let bases: Vec<[u8; 16]> = (0..77).map(|n| [n; 16]).collect();
        let mut tags = bases.clone();
        key.tags(&mut tags);
        assert!(bases.iter().zip(&tags).all(|(base, tag)| key.tag(base).0 == *tag));
    }
}
