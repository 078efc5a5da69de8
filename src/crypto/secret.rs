//! Key material in memory: no Clone, no Display, no Serialize, redacted Debug, wiped on drop.

use std::fmt;
use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

/// 256 bits of key material.
///
/// ```compile_fail
/// fn print(secret: blindtally::crypto::Secret) { println!("{secret}"); }
/// ```
/// ```compile_fail
/// fn copy(secret: &blindtally::crypto::Secret) -> blindtally::crypto::Secret { secret.clone() }
/// ```
pub struct Secret(Box<[u8; 32]>);

impl Secret {
    /// Fresh random key material from the operating system.
    pub fn random() -> Self {
        let mut bytes = Box::new([0; 32]);
        fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// Takes the bytes and wipes the place they came from; `None` unless there are 32.
    pub fn take(bytes: &mut [u8]) -> Option<Self> {
        let mut own = Box::new([0; 32]);
        let fits = bytes.len() == own.len();
        if fits {
            own.copy_from_slice(bytes);
        }
        bytes.zeroize();
        fits.then_some(Self(own))
    }

    /// The bytes, for a cipher or for wrapping; each use of this is worth a look.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Bytes that may hold raw ids, wiped on drop with what their memory held before. `Zeroizing` would
/// wipe them one by one: of a request's body that was some hundredths of the server's whole work.
#[derive(Default)]
pub struct WipedVec(Vec<u8>);

impl From<Vec<u8>> for WipedVec {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for WipedVec {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for WipedVec {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for WipedVec {
    fn drop(&mut self) {
        self.0.clear();
        self.0.spare_capacity_mut().zeroize();
    }
}

impl fmt::Debug for WipedVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WipedVec(…)")
    }
}

/// Random bytes from the operating system, for ids, salts and tokens.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// A machine without randomness must not go on: keys would repeat.
fn fill(bytes: &mut [u8]) {
    if ask_system(bytes).is_err() {
        std::process::abort();
    }
}

#[cfg(not(test))]
use getrandom::fill as ask_system;

#[cfg(test)]
use no_randomness::ask_system;

/// A system whose randomness ends, for tests.
#[cfg(test)]
pub mod no_randomness {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// How often it is still there, in this process.
    static LEFT: AtomicU64 = AtomicU64::new(u64::MAX);

    /// It is there so many times more, and then no more.
    pub fn after(times: u64) {
        LEFT.store(times, Ordering::SeqCst);
    }

    pub(super) fn ask_system(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
        match LEFT.load(Ordering::SeqCst) {
            u64::MAX => getrandom::fill(bytes),
            0 => Err(getrandom::Error::UNSUPPORTED),
            left => {
                LEFT.store(left - 1, Ordering::SeqCst);
                getrandom::fill(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tenth where nothing is optimized.
    const KEYS: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

    #[test]
    fn check_28_no_two_keys_are_equal() {
        let mut seen = std::collections::HashSet::new();
        let mut ones = 0_u64;
        for _ in 0..KEYS {
            let secret = Secret::random();
            let head: [u8; 16] = std::array::from_fn(|at| secret.expose()[at]);
            ones += u64::from(u128::from_be_bytes(head).count_ones());
            assert!(seen.insert(head));
        }
        // Half of the bits, within six standard deviations, each half the root of their number.
        let bits = KEYS * 128;
        assert!(ones.abs_diff(bits / 2) < 3 * bits.isqrt(), "{ones}");
    }
}
