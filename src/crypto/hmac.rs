//! HMAC-SHA-256 (FIPS 198-1) with the two pad states computed once a key, and a queue that hashes
//! many short messages side by side.
//!
//! One message at a time is bound by latency (two dependent compressions); two side by side hide it
//! (`lanes`, measured by `benches/stages.rs`).

use std::slice::from_ref;

use sha2::block_api::compress256;
use zeroize::Zeroize;

use super::{Base, Secret, lanes};

/// SHA-256 initial state (FIPS 180-4 §5.3.3).
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
const BLOCK: usize = 64;
/// Messages hashed in one go; their states and blocks stay in the nearest cache.
const SIDE_BY_SIDE: usize = 16;
/// Longest message whose padded form is one block: 64 less the end mark and the length.
const ONE_BLOCK_MAX: usize = BLOCK - 9;
/// Longest message of two blocks.
const TWO_BLOCKS_MAX: usize = 2 * BLOCK - 9;

/// An HMAC key as its two pad states.
pub struct HmacKey {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl HmacKey {
    /// The pad states of a secret.
    pub fn new(secret: &Secret) -> Self {
        Self::from_bytes(secret.expose())
    }

    fn from_bytes(secret: &[u8; 32]) -> Self {
        let mut key = Self { inner: START, outer: START };
        for (state, pad) in [(&mut key.inner, 0x36), (&mut key.outer, 0x5c)] {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(secret).for_each(|(b, k)| *b ^= k);
            // By reference: `&[block]` would be a copy that nobody wipes.
            compress256(state, from_ref(&block));
            block.as_mut_slice().zeroize();
        }
        key
    }

    /// A key for a narrower purpose, which lives and dies with this one.
    pub fn subkey(&self, label: &[u8]) -> Self {
        let mut bytes = self.mac(label);
        let key = Self::from_bytes(&bytes);
        bytes.as_mut_slice().zeroize();
        key
    }

    /// The MAC of one message.
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        let mut state = self.inner;
        let whole = message.len() / BLOCK * BLOCK;
        for block in message[..whole].chunks_exact(BLOCK) {
            let mut copy = [0; BLOCK];
            copy.copy_from_slice(block);
            compress256(&mut state, from_ref(&copy));
            copy.as_mut_slice().zeroize();
        }
        let mut tail = [[0; BLOCK]; 2];
        let blocks = pad(&mut tail, &message[whole..], message.len());
        compress256(&mut state, &tail[..blocks]);
        tail.as_flattened_mut().zeroize();
        self.finish(&mut state)
    }

    fn finish(&self, inner: &mut [u32; 8]) -> [u8; 32] {
        let mut block = outer_block(inner);
        let mut state = self.outer;
        compress256(&mut state, from_ref(&block));
        block.as_mut_slice().zeroize();
        inner.as_mut_slice().zeroize();
        let mut mac = [0; 32];
        for (bytes, word) in mac.chunks_exact_mut(4).zip(state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        mac
    }
}

impl Drop for HmacKey {
    fn drop(&mut self) {
        self.inner.as_mut_slice().zeroize();
        self.outer.as_mut_slice().zeroize();
    }
}

/// Pads the end of a message of `total` bytes (after a key block of 64) into one block or two;
/// answers how many.
fn pad(tail: &mut [[u8; BLOCK]; 2], rest: &[u8], total: usize) -> usize {
    let blocks = if rest.len() <= ONE_BLOCK_MAX { 1 } else { 2 };
    let flat = tail.as_flattened_mut();
    flat[..rest.len()].copy_from_slice(rest);
    flat[rest.len()] = 0x80;
    let bits = (BLOCK + total) as u64 * 8;
    flat[blocks * BLOCK - 8..blocks * BLOCK].copy_from_slice(&bits.to_be_bytes());
    blocks
}

/// The one block of the outer hash: the inner digest, padded.
fn outer_block(inner: &[u32; 8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    for (bytes, word) in block.chunks_exact_mut(4).zip(inner) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    block[32] = 0x80;
    block[56..].copy_from_slice(&((BLOCK + 32) as u64 * 8).to_be_bytes());
    block
}

/// Messages waiting to be hashed side by side; each answer is the first 16 bytes of the MAC, in the
/// order of the pushes. The copies of the messages are wiped after [`HmacQueue::run`].
#[derive(Default)]
pub struct HmacQueue {
    /// The pad states of the keys; neighbors mostly share one.
    keys: Vec<[[u32; 8]; 2]>,
    one: Lane<1>,
    two: Lane<2>,
    done: Vec<[u8; 16]>,
}

/// Messages of the same number of blocks.
struct Lane<const N: usize> {
    /// The first blocks of all messages, then the second ones.
    blocks: [Vec<[u8; BLOCK]>; N],
    /// Where the key of each message is, and where its answer goes.
    of: Vec<(u32, u32)>,
}

/// Adds to a list of secrets; where the list must grow, the place it leaves is wiped, because freed
/// memory is handed out again as it is.
fn push_wiping<T: Copy + Zeroize>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        let mut wider = Vec::with_capacity((list.len() * 2).max(16));
        wider.extend_from_slice(list);
        list.zeroize();
        *list = wider;
    }
    list.push(item);
}

impl<const N: usize> Default for Lane<N> {
    fn default() -> Self {
        Self { blocks: std::array::from_fn(|_| Vec::new()), of: Vec::new() }
    }
}

impl HmacQueue {
    /// Room for this many messages without another allocation.
    pub fn with_capacity(messages: usize) -> Self {
        let mut queue = Self::default();
        queue.one.blocks[0].reserve(messages);
        queue.one.of.reserve(messages);
        queue.done.reserve(messages);
        queue
    }

    /// Adds a message given in parts; answers its place among the answers.
    pub fn push(&mut self, key: &HmacKey, parts: &[&[u8]]) -> usize {
        let place = self.done.len();
        let total: usize = parts.iter().map(|part| part.len()).sum();
        push_wiping(&mut self.done, [0; 16]);
        if total > TWO_BLOCKS_MAX {
            let mut whole = parts.concat();
            self.done[place].copy_from_slice(&key.mac(&whole)[..16]);
            whole.zeroize();
            return place;
        }
        let of = (self.key(key), u32::try_from(place).unwrap_or(u32::MAX));
        if total <= ONE_BLOCK_MAX {
            write_padded(self.one.push(of)[0], parts, total);
        } else {
            let mut blocks = [[0; BLOCK]; 2];
            write_padded(blocks.as_flattened_mut(), parts, total);
            let [first, second] = self.two.push(of);
            (*first, *second) = (blocks[0], blocks[1]);
            blocks.as_flattened_mut().zeroize();
        }
        place
    }

    /// Adds a message under a base key: one of HMAC waits for its neighbors, one of BLAKE3 is
    /// hashed at once. Answers its place among the answers.
    #[inline]
    pub fn push_base(&mut self, base: Base<'_>, parts: &[&[u8]]) -> usize {
        match base {
            Base::Hmac(key) => self.push(key, parts),
            Base::Blake3(key) => {
                push_wiping(&mut self.done, key.short(parts));
                self.done.len() - 1
            }
        }
    }

    /// The place of a key among the keys.
    fn key(&mut self, key: &HmacKey) -> u32 {
        let states = [key.inner, key.outer];
        // Side by side; as an array it would be a call for each message.
        let is_last = self.keys.last().is_some_and(|last| {
            let pairs = last.as_flattened().iter().zip(states.as_flattened());
            pairs.fold(0, |all, (mine, other)| all | (mine ^ other)) == 0
        });
        if !is_last {
            push_wiping(&mut self.keys, states);
        }
        u32::try_from(self.keys.len() - 1).unwrap_or(u32::MAX)
    }

    /// Hashes everything that was pushed and wipes the messages.
    pub fn run(&mut self) -> &[[u8; 16]] {
        self.one.run(&self.keys, &mut self.done);
        self.two.run(&self.keys, &mut self.done);
        self.wipe();
        &self.done
    }

    /// The answers in the order of the pushes; those of messages pushed after the last run are not
    /// computed yet.
    pub fn answers(&self) -> &[[u8; 16]] {
        &self.done
    }

    /// Forgets the answers, so that the queue serves the next batch with the same memory.
    pub fn clear(&mut self) {
        self.done.as_flattened_mut().zeroize();
        self.done.clear();
    }

    fn wipe(&mut self) {
        self.one.wipe();
        self.two.wipe();
        self.keys.as_flattened_mut().as_flattened_mut().zeroize();
        self.keys.clear();
    }
}

impl Drop for HmacQueue {
    fn drop(&mut self) {
        self.wipe();
        self.clear();
    }
}

/// Writes a message and its padding into blocks of zeros.
fn write_padded(blocks: &mut [u8], parts: &[&[u8]], total: usize) {
    let mut at = 0;
    for part in parts {
        blocks[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    blocks[at] = 0x80;
    let bits = (BLOCK + total) as u64 * 8;
    let end = blocks.len();
    blocks[end - 8..].copy_from_slice(&bits.to_be_bytes());
}

impl<const N: usize> Lane<N> {
    /// Adds a message; answers its blocks, zeros as yet.
    fn push(&mut self, of: (u32, u32)) -> [&mut [u8; BLOCK]; N] {
        self.of.push(of);
        self.blocks.each_mut().map(|blocks| {
            push_wiping(blocks, [0; BLOCK]);
            let last = blocks.len() - 1;
            &mut blocks[last]
        })
    }

    fn run(&self, keys: &[[[u32; 8]; 2]], done: &mut [[u8; 16]]) {
        let mut states = [[0; 8]; SIDE_BY_SIDE];
        let mut outer = [[0; BLOCK]; SIDE_BY_SIDE];
        for (turn, of) in self.of.chunks(SIDE_BY_SIDE).enumerate() {
            let (states, outer) = (&mut states[..of.len()], &mut outer[..of.len()]);
            let at = turn * SIDE_BY_SIDE;
            let pad = |states: &mut [[u32; 8]], which: usize| {
                let key_of = |(key, _): &(u32, u32)| keys[*key as usize][which];
                states.iter_mut().zip(of).for_each(|(state, of)| *state = key_of(of));
            };
            pad(states, 0);
            for blocks in &self.blocks {
                lanes::compress(states, &blocks[at..at + of.len()]);
            }
            outer.iter_mut().zip(&*states).for_each(|(block, state)| *block = outer_block(state));
            pad(states, 1);
            lanes::compress(states, outer);
            for (state, (_, place)) in states.iter().zip(of) {
                for (bytes, word) in done[*place as usize].chunks_exact_mut(4).zip(state) {
                    bytes.copy_from_slice(&word.to_be_bytes());
                }
            }
        }
        states.as_flattened_mut().zeroize();
        outer.as_flattened_mut().zeroize();
    }

    fn wipe(&mut self) {
        for blocks in &mut self.blocks {
            blocks.as_flattened_mut().zeroize();
            blocks.clear();
        }
        self.of.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::hmac::{Hmac, KeyInit, Mac};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn theirs(secret: &[u8; 32], message: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    proptest! {
        #[test]
        fn agrees_with_the_published_crate(
            secret in any::<[u8; 32]>(),
            messages in vec(vec(any::<u8>(), 0..200), 0..50),
        ) {
            let key = HmacKey::from_bytes(&secret);
            let mut queue = HmacQueue::default();
            for message in &messages {
                let (left, right) = message.split_at(message.len() / 3);
                queue.push(&key, &[left, right]);
                prop_assert_eq!(key.mac(message), theirs(&secret, message));
            }
            for (short, message) in queue.run().iter().zip(&messages) {
                prop_assert_eq!(&short[..], &theirs(&secret, message)[..16]);
            }
        }
    }

    /// RFC 4231, test case 2 uses a 4-byte key; ours are 32 bytes, so test case 1's data under a
    /// key padded by hand serves.
    #[test]
    fn published_vector() {
        let mut secret = [0; 32];
        secret[..20].fill(0x0b);
        let mac = HmacKey::from_bytes(&secret).mac(b"Hi There");
        let text = data_encoding::HEXLOWER.encode(&mac);
        assert_eq!(text, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }
}
