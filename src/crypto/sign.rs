//! Signatures: Ed25519 (RFC 8032), for what outsiders check without any secret of ours.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::Secret;

/// Size of a signature, bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// A private key, with its public half.
///
/// The key lives in the memory of AWS-LC, which wipes whatever it frees.
///
/// ```compile_fail
/// fn print(key: blindtally::crypto::SigningKey) { println!("{key}"); }
/// ```
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(pub [u8; 32]);

impl SigningKey {
    /// The key of a seed; `None` only when there is no memory for it.
    pub fn new(seed: &Secret) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).ok()?;
        let public = VerifyingKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, public })
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public
    }

    /// Signs a message; `None` only when there is no memory for it.
    pub fn sign(&self, message: &[u8]) -> Option<[u8; SIGNATURE_BYTES]> {
        self.pair.try_sign(message).ok()?.as_ref().try_into().ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl VerifyingKey {
    /// Whether the signature is that of this message by the private half.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    fn key(seed: &str) -> SigningKey {
        let mut seed = HEXLOWER.decode(seed.as_bytes()).unwrap();
        SigningKey::new(&Secret::take(&mut seed).unwrap()).unwrap()
    }

    /// RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature.
    const VECTORS: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac\
             c61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e\
             458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290\
             ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    #[test]
    fn published_vectors() {
        for [seed, public, message, signature] in VECTORS {
            let key = key(seed);
            let message = HEXLOWER.decode(message.as_bytes()).unwrap();
            assert_eq!(HEXLOWER.encode(&key.verifying_key().0), public);
            let signed = key.sign(&message).unwrap();
            assert_eq!(HEXLOWER.encode(&signed), signature);
            assert!(key.verifying_key().verifies(&message, &signed));
        }
    }

    #[test]
    fn debug_is_redacted() {
        let key = key(VECTORS[0][0]);
        assert_eq!(format!("{key:?}"), "SigningKey(…)");
        assert!(format!("{:?}", key.verifying_key()).contains("d75a98"));
    }

    proptest! {
        #[test]
        fn verifies_only_what_was_signed(
            seed in any::<[u8; 32]>(),
            message in prop::collection::vec(any::<u8>(), 1..60),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let key = SigningKey::new(&Secret::take(&mut { seed }).unwrap()).unwrap();
            let signature = key.sign(&message).unwrap();
            let public = key.verifying_key();
            prop_assert!(public.verifies(&message, &signature));
            let (mut wrong, mut other) = (message.clone(), signature);
            wrong[at.index(message.len())] ^= 1 << bit;
            other[at.index(SIGNATURE_BYTES)] ^= 1 << bit;
            prop_assert!(!public.verifies(&wrong, &signature));
            prop_assert!(!public.verifies(&message, &other));
            prop_assert!(!public.verifies(&message, &signature[..63]));
        }
    }
}
