//! The second step of a pseudonym: one AES-256 block under the key of its use.

use aes::Aes256Enc;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};

use super::Secret;

/// The key of one use of a pseudonym (tally, record, watermark). A permutation of 128-bit blocks
/// (FIPS 197): different base pseudonyms stay different, and destroying the key cuts this use off
/// from every other one.
pub struct TagKey(Aes256Enc);

impl TagKey {
    /// The permutation under a secret.
    pub fn new(secret: &Secret) -> Self {
        Self(Aes256Enc::new(secret.expose().into()))
    }

    /// Turns base pseudonyms into the tags that are stored, in place: many at once, since one by
    /// one each would wait for the one before.
    pub fn tags(&self, bases: &mut [[u8; 16]]) {
        self.0.encrypt_blocks(Block::<Aes256Enc>::cast_slice_from_core_mut(bases));
    }

    #[cfg(test)]
    pub(crate) fn tag(&self, base: [u8; 16]) -> [u8; 16] {
        let mut tags = [base];
        self.tags(&mut tags);
        tags[0]
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
        let mut tags = [plain; 77];
        TagKey::new(&Secret::take(&mut key).unwrap()).tags(&mut tags);
        for tag in tags {
            assert_eq!(data_encoding::HEXLOWER.encode(&tag), "8ea2b7ca516745bfeafc49904b496089");
        }
    }
}
