//! A short buffer on the stack that is wiped when it goes.

use zeroize::Zeroize;

/// Up to `N` bytes of an id.
pub(super) struct Wiped<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

impl<const N: usize> Wiped<N> {
    #[inline]
    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], used: 0 }
    }

    /// The bytes in use.
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Wipes what there was and gives room for `len` bytes, `N` at most.
    #[inline]
    pub(super) fn room(&mut self, len: usize) -> &mut [u8] {
        self.clear();
        self.used = len.min(N);
        &mut self.bytes[..self.used]
    }

    /// Takes a copy of the bytes, as far as they fit.
    #[inline]
    pub(super) fn copy(&mut self, from: &[u8]) {
        let room = self.room(from.len());
        let fits = room.len();
        room.copy_from_slice(&from[..fits]);
    }

    /// Takes the bytes except those that `skip` names; false when the rest is longer than `N`.
    pub(super) fn copy_without(&mut self, from: &[u8], skip: impl Fn(u8) -> bool) -> bool {
        self.clear();
        for byte in from.iter().copied().filter(|byte| !skip(*byte)) {
            if self.used == N {
                return false;
            }
            self.bytes[self.used] = byte;
            self.used += 1;
        }
        true
    }

    /// Wipes it.
    #[inline]
    pub(super) fn clear(&mut self) {
        if self.used > 0 {
            // All of it: for a length known to the compiler this is a few wide stores.
            self.bytes.as_mut_slice().zeroize();
            self.used = 0;
        }
    }
}

impl<const N: usize> Drop for Wiped<N> {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}
