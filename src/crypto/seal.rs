//! Seal and open: AES-256-GCM (NIST SP 800-38D) under a subkey used for one value only.
//!
//! Sealed bytes: `version (1) ‖ key id (8) ‖ salt (16) ‖ ciphertext ‖ tag (16)`. The subkey is
//! HMAC-SHA-256(key, "blindtally/seal/1" ‖ salt) with 128 random bits of salt, the nonce is zero:
//! the pair repeats only if the salt does, and there is no counter that a restored backup could
//! roll back. The key id is read before anything is opened; keys are never tried in turn.
//!
//! A key also names what row keys must not say ([`SealKey::name`]): HMAC-SHA-256 under
//! HMAC-SHA-256(key, "blindtally/name/1"), a label of another length than those of subkeys.
//!
//! So the budget of a subkey is [`SUBKEY_BUDGET`], one value: a [`Subkey`] is used up by the seal
//! that it makes, and both are counted, so that it can be seen from outside ([`budget_used`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad as LcAad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use super::{Aad, HmacKey, Secret, random_bytes};
use crate::model::ids::KeyId;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + SALT_BYTES;
const SALT_BYTES: usize = 16;
const GCM_TAG_BYTES: usize = 16;
/// What sealing adds to the length of a value, bytes.
pub const OVERHEAD_BYTES: usize = HEAD_BYTES + GCM_TAG_BYTES;

/// Values that a subkey may seal: its nonce is always the same one.
pub const SUBKEY_BUDGET: u64 = 1;

/// Subkeys that were made to seal with, and values that were sealed, in this process.
static SUBKEYS: AtomicU64 = AtomicU64::new(0);
static VALUES: AtomicU64 = AtomicU64::new(0);

/// How many subkeys this process has made to seal with, and how many values it has sealed under
/// them. With more values than [`SUBKEY_BUDGET`] allows so many subkeys one was used twice.
pub fn budget_used() -> (u64, u64) {
    // In this order: a value is counted after its subkey.
    let values = VALUES.load(Ordering::Acquire);
    (SUBKEYS.load(Ordering::Acquire), values)
}

/// A subkey that has sealed nothing. Sealing takes it, so it cannot seal twice.
struct Subkey([u8; 32]);

impl Subkey {
    fn new(bytes: [u8; 32]) -> Self {
        SUBKEYS.fetch_add(1, Ordering::AcqRel);
        #[cfg(test)]
        counts::SUBKEYS.one_more();
        Self(bytes)
    }
}

/// Sealed bytes did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than an empty seal, or of an unknown version.
    #[error("sealed bytes are of an unknown form")]
    Form,
    /// Sealed under another key.
    #[error("sealed bytes name another key ({0})")]
    OtherKey(KeyId),
    /// Changed, or moved from another place.
    #[error("sealed bytes do not open with their key at this place")]
    Changed,
    /// The key was destroyed while somebody still held it.
    #[error("key {0} was destroyed")]
    Destroyed(KeyId),
}

/// The key was destroyed while somebody still held it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {0} was destroyed")]
pub struct KeyDestroyed(pub KeyId);

/// A key that seals and opens values, with its number in the register. Whoever holds one when it is
/// destroyed holds an empty shell from then on.
pub struct SealKey {
    id: KeyId,
    /// `None` after its destruction. Locked for one short hash of each value.
    mac: RwLock<Option<HmacKey>>,
}

impl SealKey {
    /// The sealing form of a secret.
    pub fn new(id: KeyId, secret: &Secret) -> Self {
        Self { id, mac: RwLock::new(Some(HmacKey::new(secret))) }
    }

    /// The key's number.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Wipes the key, for everybody who holds it.
    pub fn destroy(&self) {
        // The states are wiped when they are dropped.
        drop(self.mac.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Whether it was destroyed.
    pub fn is_destroyed(&self) -> bool {
        self.mac.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Seals a value, or says that the key was destroyed.
    ///
    /// # Errors
    /// When the key was destroyed.
    pub fn try_seal(&self, aad: &Aad, plain: &[u8]) -> Result<Vec<u8>, KeyDestroyed> {
        let salt: [u8; SALT_BYTES] = random_bytes();
        let subkey = Subkey::new(self.subkey(&salt).ok_or(KeyDestroyed(self.id))?);
        let mut out = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
        self.seal_under(subkey, &salt, (aad, plain), &mut out);
        Ok(out)
    }

    /// Seals a value. What is sealed after the key's destruction is destroyed with it: it is
    /// sealed under a subkey that nobody has. Who must not lose it asks [`SealKey::try_seal`].
    pub fn seal(&self, aad: &Aad, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(plain.len() + OVERHEAD_BYTES);
        self.seal_into(aad, plain, &mut out);
        out
    }

    /// Seals a value onto the end of `out`.
    pub fn seal_into(&self, aad: &Aad, plain: &[u8], out: &mut Vec<u8>) {
        let salt: [u8; SALT_BYTES] = random_bytes();
        let subkey = Subkey::new(self.subkey(&salt).unwrap_or_else(random_bytes));
        self.seal_under(subkey, &salt, (aad, plain), out);
    }

    fn seal_under(
        &self,
        mut subkey: Subkey,
        salt: &[u8; SALT_BYTES],
        (aad, plain): (&Aad, &[u8]),
        out: &mut Vec<u8>,
    ) {
        out.push(VERSION);
        out.extend_from_slice(&self.id.0.to_be_bytes());
        out.extend_from_slice(salt);
        let at = out.len();
        out.extend_from_slice(plain);
        let body = out.split_at_mut(at).1;
        VALUES.fetch_add(1, Ordering::AcqRel);
        #[cfg(test)]
        counts::VALUES.one_more();
        let tag = cipher(&mut subkey.0).and_then(|cipher| {
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            cipher.seal_in_place_separate_tag(nonce, LcAad::from(aad.as_bytes()), body).ok()
        });
        match tag {
            Some(tag) => out.extend_from_slice(tag.as_ref()),
            // GCM refuses only values over 64 GiB. Nothing in clear may leave here.
            None => {
                out.zeroize();
                std::process::abort()
            }
        }
    }

    /// Opens a value.
    ///
    /// # Errors
    /// When the bytes are not a seal of this key at this place, or the key was destroyed.
    pub fn open(&self, aad: &Aad, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let id = key_id(sealed)?;
        if id != self.id {
            return Err(OpenError::OtherKey(id));
        }
        let (head, body) = sealed.split_at_checked(HEAD_BYTES).ok_or(OpenError::Form)?;
        let mut subkey = self.subkey(&head[9..]).ok_or(OpenError::Destroyed(id))?;
        let cipher = cipher(&mut subkey).ok_or(OpenError::Form)?;
        let mut plain = body.to_vec();
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        #[cfg(test)]
        counts::DECRYPTS.one_more();
        let opened = cipher.open_in_place(nonce, LcAad::from(aad.as_bytes()), &mut plain);
        let length = opened.map_err(|_| OpenError::Changed)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    /// Sixteen bytes that stand for a text in a row key: the same for the same text, and nobody
    /// without this key can tell which. Of a destroyed key they are nobody's.
    pub fn name(&self, text: &[u8]) -> [u8; 16] {
        let mac = self.mac.read().unwrap_or_else(PoisonError::into_inner);
        let whole = mac.as_ref().map(|mac| mac.subkey(b"blindtally/name/1").mac(text));
        let whole = whole.unwrap_or_else(random_bytes);
        whole.first_chunk().copied().unwrap_or_default()
    }

    /// `None` when the key was destroyed.
    fn subkey(&self, salt: &[u8]) -> Option<[u8; 32]> {
        let mut label = *b"blindtally/seal/1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        label[17..].copy_from_slice(salt);
        let mac = self.mac.read().unwrap_or_else(PoisonError::into_inner);
        mac.as_ref().map(|mac| mac.mac(&label))
    }
}

/// The cipher of a subkey, which is wiped.
fn cipher(subkey: &mut [u8; 32]) -> Option<LessSafeKey> {
    let cipher = UnboundKey::new(&AES_256_GCM, &*subkey).ok().map(LessSafeKey::new);
    subkey.zeroize();
    cipher
}

/// The key that sealed these bytes.
///
/// # Errors
/// When the bytes are of an unknown form.
pub fn key_id(sealed: &[u8]) -> Result<KeyId, OpenError> {
    if sealed.len() < OVERHEAD_BYTES || sealed[0] != VERSION {
        return Err(OpenError::Form);
    }
    let mut id = [0; 8];
    id.copy_from_slice(&sealed[1..9]);
    Ok(KeyId(u64::from_be_bytes(id)))
}

/// Counts what this thread had the cipher do, for tests of what is tried and of what a subkey
/// seals.
#[cfg(test)]
pub mod counts {
    use std::cell::Cell;
    use std::thread::LocalKey;

    /// A count of a thread.
    pub struct Count(&'static LocalKey<Cell<u64>>);

    macro_rules! count {
        ($name:ident, $cell:ident) => {
            thread_local! {
                static $cell: Cell<u64> = const { Cell::new(0) };
            }
            /// How often this thread did it.
            pub const $name: Count = Count(&$cell);
        };
    }
    count!(DECRYPTS, OPENED);
    count!(SUBKEYS, DERIVED);
    count!(VALUES, SEALED);

    impl Count {
        pub(super) fn one_more(&self) {
            self.0.with(|count| count.set(count.get() + 1));
        }

        /// What some work answers, and how often it was done.
        pub fn during<T>(&self, work: impl FnOnce() -> T) -> (T, u64) {
            let before = self.0.get();
            let done = work();
            (done, self.0.get() - before)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(id: u64) -> SealKey {
        let secret = Secret::take(&mut [7; 32]).unwrap();
        SealKey::new(KeyId(id), &secret)
    }

    proptest! {
        #[test]
        fn opens_only_unchanged_and_in_place(
            plain in proptest::collection::vec(any::<u8>(), 0..200), flip in any::<u16>(),
        ) {
            let (key, aad) = (key(3), Aad::new("test/1").number(1));
            let mut sealed = key.seal(&aad, &plain);
            prop_assert_eq!(sealed.len(), plain.len() + OVERHEAD_BYTES);
            prop_assert_eq!(key.open(&aad, &sealed), Ok(plain));
            let elsewhere = Aad::new("test/1").number(2);
            prop_assert_eq!(key.open(&elsewhere, &sealed), Err(OpenError::Changed));
            let at = usize::from(flip) % (sealed.len() * 8);
            sealed[at / 8] ^= 1 << (at % 8);
            prop_assert!(key.open(&aad, &sealed).is_err());
            sealed.truncate(sealed.len() / 2);
            prop_assert!(key.open(&aad, &sealed).is_err());
        }
    }

    /// Whose key it is stands in clear, so the cipher is asked once where it is the right one, also
    /// where the bytes were changed, and never where it is another or was destroyed.
    #[test]
    fn check_23_another_key_is_named_not_tried() {
        let (aad, own) = (Aad::new("test/1"), key(4));
        let mut sealed = own.seal(&aad, b"x");
        let open =
            |key: &SealKey, sealed: &[u8]| counts::DECRYPTS.during(|| key.open(&aad, sealed));
        assert_eq!(open(&own, &sealed), (Ok(b"x".to_vec()), 1));
        assert_eq!(open(&key(3), &sealed), (Err(OpenError::OtherKey(KeyId(4))), 0));
        assert_eq!(open(&own, &sealed[..8]), (Err(OpenError::Form), 0));
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        assert_eq!(open(&own, &sealed), (Err(OpenError::Changed), 1));
        own.destroy();
        assert_eq!(open(&own, &sealed), (Err(OpenError::Destroyed(KeyId(4))), 0));
    }

    /// A subkey is its salt, and each seals once under the one nonce. Ten million seals over fifty
    /// starts, and five times what a restore puts back: the same key and the same count of seals
    /// so far.
    #[test]
    fn check_24_no_subkey_comes_twice() {
        // A hundredth where nothing is optimized.
        const SEALS: usize = if cfg!(debug_assertions) { 100_000 } else { 10_000_000 };
        const LIVES: usize = 55;
        let mut salts = vec![0u128; SEALS];
        let lives = salts.chunks_mut(SEALS.div_ceil(LIVES));
        assert_eq!(lives.len(), LIVES);
        for life in lives {
            let (key, aad) = (key(3), Aad::new("test/1"));
            for salt in life {
                let sealed = key.seal(&aad, b"");
                *salt = u128::from_be_bytes(sealed[9..HEAD_BYTES].try_into().unwrap());
            }
        }
        salts.sort_unstable();
        assert!(salts.windows(2).all(|pair| pair[0] != pair[1]));
    }

    /// The budget of a subkey is one value. Whoever seals 1,001, in whatever way, has made as many
    /// subkeys, which is what the metrics count, and each has another salt in its head.
    #[test]
    fn check_25_a_subkey_seals_one_value() {
        const SEALS: u64 = 1_001;
        let (key, aad) = (key(3), Aad::new("test/1"));
        let seal = |at: u64| {
            let mut out = Vec::new();
            match at % 3 {
                0 => out = key.seal(&aad, b"value"),
                1 => out = key.try_seal(&aad, b"value").unwrap(),
                _ => key.seal_into(&aad, b"value", &mut out),
            }
            out[9..HEAD_BYTES].to_vec()
        };
        let all = || (0..SEALS).map(seal).collect::<std::collections::BTreeSet<Vec<u8>>>();
        let before = budget_used();
        let ((salts, subkeys), values) =
            counts::VALUES.during(|| counts::SUBKEYS.during(|| all().len() as u64));
        assert_eq!((salts, subkeys, values), (SEALS, SEALS, SEALS * SUBKEY_BUDGET));
        // Other tests of this process seal as well.
        let after = budget_used();
        assert!(after.0 - before.0 >= SEALS && after.1 - before.1 >= SEALS);
        assert!(after.1 <= after.0 * SUBKEY_BUDGET, "{after:?}");
        // Opening uses none of it.
        let sealed = key.seal(&aad, b"value");
        assert_eq!(counts::SUBKEYS.during(|| key.open(&aad, &sealed).unwrap()).1, 0);
    }

    /// The Galois/Counter Mode of Operation (McGrew, Viega), appendix B, test cases 13 to 16:
    /// AES-256, with the nonce that is used here and with another one.
    #[test]
    fn check_26_published_vectors_of_the_cipher() {
        let unhex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let long = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
        let sealed = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                      8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662";
        let rest = ("1aafd255", "898015ad");
        let key = "feffe9928665731c6d6a8f9467308308".repeat(2);
        let aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
        let (zeros, other) = ("00".repeat(12), "cafebabefacedbaddecaf888".to_owned());
        let cases = [
            (
                "00".repeat(32),
                &zeros,
                String::new(),
                "",
                String::new(),
                "530f8afbc74536b9a963b4f1c4cb738b",
            ),
            (
                "00".repeat(32),
                &zeros,
                "00".repeat(16),
                "",
                "cea7403d4d606b6e074ec5d3baf39d18".to_owned(),
                "d0d1c8a799996bf0265b98b5d48ab919",
            ),
            (
                key.clone(),
                &other,
                format!("{long}{}", rest.0),
                "",
                format!("{sealed}{}", rest.1),
                "b094dac5d93471bdec1a502270e3cc6c",
            ),
            (
                key,
                &other,
                long.to_owned(),
                aad,
                sealed.to_owned(),
                "76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        ];
        for (key, nonce, plain, aad, wanted, tag) in cases {
            let mut key: [u8; 32] = unhex(&key).try_into().unwrap();
            let again = key;
            let nonce = || Nonce::try_assume_unique_for_key(&unhex(nonce)).unwrap();
            let aad = || LcAad::from(unhex(aad));
            let mut bytes = unhex(&plain);
            let cipher = cipher(&mut key).unwrap();
            assert_eq!(key, [0; 32], "it is wiped");
            let made = cipher.seal_in_place_separate_tag(nonce(), aad(), &mut bytes).unwrap();
            assert_eq!((bytes.clone(), made.as_ref().to_vec()), (unhex(&wanted), unhex(tag)));
            let cipher = super::cipher(&mut { again }).unwrap();
            let mut whole = [bytes, made.as_ref().to_vec()].concat();
            assert_eq!(
                cipher.open_in_place(nonce(), aad(), &mut whole.clone()).unwrap(),
                unhex(&plain)
            );
            *whole.last_mut().unwrap() ^= 1;
            assert!(cipher.open_in_place(nonce(), aad(), &mut whole).is_err());
        }
    }

    #[test]
    fn no_two_seals_are_alike() {
        let (key, aad) = (key(3), Aad::new("test/1"));
        assert_ne!(key.seal(&aad, b"same"), key.seal(&aad, b"same"));
    }

    #[test]
    fn a_destroyed_key_is_empty_for_all_who_hold_it() {
        let (held, aad) = (std::sync::Arc::new(key(3)), Aad::new("test/1"));
        let other = std::sync::Arc::clone(&held);
        let sealed = held.seal(&aad, b"x");
        held.destroy();
        held.destroy();
        assert!(other.is_destroyed());
        assert_eq!(other.open(&aad, &sealed), Err(OpenError::Destroyed(KeyId(3))));
        assert_eq!(other.try_seal(&aad, b"x"), Err(KeyDestroyed(KeyId(3))));
        // What is sealed in spite of that opens for nobody, with the same secret neither.
        assert_eq!(key(3).open(&aad, &other.seal(&aad, b"x")), Err(OpenError::Changed));
        assert_eq!(key(3).open(&aad, &sealed).unwrap(), b"x");
    }
}
