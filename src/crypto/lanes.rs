//! SHA-256 compression of many messages: two at a time with the SHA instructions, whose latency one
//! message alone cannot hide; where the processor has none, one after another.
//!
//! A named place of `unsafe`: calling functions whose target features were just checked at run
//! time. Nothing in it touches a pointer.
#![allow(unsafe_code, reason = "target-feature dispatch after a run-time check; no pointers")]

use sha2::block_api::compress256;

/// SHA-256 round constants (FIPS 180-4 §4.2.2).
const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// One compression of each state with its block.
pub(super) fn compress(states: &mut [[u32; 8]], blocks: &[[u8; 64]]) {
    #[cfg(target_arch = "x86_64")]
    if states.len() > 1 && is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") {
        // SAFETY: the SHA and SSE4.1 instructions are present, checked on the line above.
        return unsafe { pairs::compress(states, blocks) };
    }
    for (state, block) in states.iter_mut().zip(blocks) {
        compress256(state, std::slice::from_ref(block));
    }
}

#[cfg(target_arch = "x86_64")]
mod pairs {
    use super::K;
    use sha2::block_api::compress256;
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
        _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
        _mm_shuffle_epi32,
    };

    #[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
    pub(super) fn compress(states: &mut [[u32; 8]], blocks: &[[u8; 64]]) {
        let (pairs, odd) = states.as_chunks_mut::<2>();
        let (pair_blocks, odd_block) = blocks.as_chunks::<2>();
        for (states, blocks) in pairs.iter_mut().zip(pair_blocks) {
            two(states, blocks);
        }
        if let (Some(state), Some(_)) = (odd.first_mut(), odd_block.first()) {
            compress256(state, odd_block);
        }
    }

    /// Four message words, big-endian in the block.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
    fn load(block: &[u8; 64], quarter: usize) -> __m128i {
        let (halves, _) = block.as_chunks::<8>();
        let (low, high) = (halves[quarter * 2], halves[quarter * 2 + 1]);
        let each_reversed = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let words = _mm_set_epi64x(i64::from_le_bytes(high), i64::from_le_bytes(low));
        _mm_shuffle_epi8(words, each_reversed)
    }

    /// A state as the instructions want it: (a, b, e, f) and (c, d, g, h), the first word in the
    /// highest lane.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
    fn halves([a, b, c, d, e, f, g, h]: [u32; 8]) -> [__m128i; 2] {
        let abef = _mm_set_epi32(a as i32, b as i32, e as i32, f as i32);
        [abef, _mm_set_epi32(c as i32, d as i32, g as i32, h as i32)]
    }

    /// The words of a state, added to those before.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
    fn finish(start: [__m128i; 2], end: [__m128i; 2]) -> [u32; 8] {
        let (abef, cdgh) = (_mm_add_epi32(start[0], end[0]), _mm_add_epi32(start[1], end[1]));
        [
            _mm_extract_epi32::<3>(abef) as u32,
            _mm_extract_epi32::<2>(abef) as u32,
            _mm_extract_epi32::<3>(cdgh) as u32,
            _mm_extract_epi32::<2>(cdgh) as u32,
            _mm_extract_epi32::<1>(abef) as u32,
            _mm_extract_epi32::<0>(abef) as u32,
            _mm_extract_epi32::<1>(cdgh) as u32,
            _mm_extract_epi32::<0>(cdgh) as u32,
        ]
    }

    /// Four rounds. The number of the step is known to the compiler, so that the message words stay
    /// in registers.
    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
    fn rounds<const STEP: usize>(state: [__m128i; 2], w: &mut [__m128i; 4]) -> [__m128i; 2] {
        if STEP >= 4 {
            let (four, three) = (w[STEP % 4], w[(STEP + 1) % 4]);
            let (two, one) = (w[(STEP + 2) % 4], w[(STEP + 3) % 4]);
            let sum = _mm_sha256msg1_epu32(four, three);
            let sum = _mm_add_epi32(sum, _mm_alignr_epi8::<4>(one, two));
            w[STEP % 4] = _mm_sha256msg2_epu32(sum, one);
        }
        let k = |at: usize| K[STEP * 4 + at] as i32;
        let (k0, k1, k2, k3) = (k(0), k(1), k(2), k(3));
        let message = _mm_add_epi32(w[STEP % 4], _mm_set_epi32(k3, k2, k1, k0));
        let [abef, cdgh] = state;
        let cdgh = _mm_sha256rnds2_epu32(cdgh, abef, message);
        let message = _mm_shuffle_epi32::<0x0e>(message);
        [_mm_sha256rnds2_epu32(abef, cdgh, message), cdgh]
    }

    #[target_feature(enable = "sha,sse4.1,ssse3,sse2")]
    fn two(states: &mut [[u32; 8]; 2], [left_block, right_block]: &[[u8; 64]; 2]) {
        let (left_start, right_start) = (halves(states[0]), halves(states[1]));
        let (mut left, mut right) = (left_start, right_start);
        let mut left_w =
            [load(left_block, 0), load(left_block, 1), load(left_block, 2), load(left_block, 3)];
        let mut right_w = [
            load(right_block, 0),
            load(right_block, 1),
            load(right_block, 2),
            load(right_block, 3),
        ];
        macro_rules! steps {
            ($($step:literal)*) => {$(
                left = rounds::<$step>(left, &mut left_w);
                right = rounds::<$step>(right, &mut right_w);
            )*};
        }
        steps!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        *states = [finish(left_start, left), finish(right_start, right)];
    }
}
