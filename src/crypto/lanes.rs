//! SHA-256 compression of sixteen messages side by side, one in each 32-bit lane of AVX-512; where
//! the processor has none, one after another.
//!
//! The one place of `unsafe` in the crate: calling a function whose target features were just
//! checked at run time. Nothing in it touches a pointer.
#![allow(unsafe_code, reason = "target-feature dispatch after a run-time check; no pointers")]

use sha2::block_api::compress256;

/// How many messages are hashed side by side.
pub(super) const LANES: usize = 16;

/// One compression of each state with its block. At most [`LANES`] of them.
pub(super) fn compress(states: &mut [[u32; 8]], blocks: &[[u8; 64]]) {
    #[cfg(target_arch = "x86_64")]
    if states.len() > LANES / 4 && std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512F is present on this processor, checked on the line above.
        return unsafe { wide::compress(states, blocks) };
    }
    for (state, block) in states.iter_mut().zip(blocks) {
        compress256(state, std::slice::from_ref(block));
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::LANES;
    use std::arch::x86_64::{
        __m512i, _mm512_add_epi32, _mm512_ror_epi32, _mm512_set1_epi32, _mm512_setr_epi32,
        _mm512_srli_epi32, _mm512_ternarylogic_epi32,
    };

    /// SHA-256 round constants (FIPS 180-4 §4.2.2).
    const K: [u32; 64] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
        0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
        0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
        0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
        0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
        0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
        0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
        0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2,
    ];

    #[target_feature(enable = "avx512f")]
    fn gather(word: impl Fn(usize) -> u32) -> __m512i {
        let at = |lane: usize| word(lane) as i32;
        _mm512_setr_epi32(
            at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9), at(10), at(11),
            at(12), at(13), at(14), at(15),
        )
    }

    #[target_feature(enable = "avx512f")]
    fn add(left: __m512i, right: __m512i) -> __m512i {
        _mm512_add_epi32(left, right)
    }

    #[target_feature(enable = "avx512f")]
    fn xor(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        _mm512_ternarylogic_epi32::<0x96>(a, b, c)
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn compress(states: &mut [[u32; 8]], blocks: &[[u8; 64]]) {
        let count = states.len().min(LANES).min(blocks.len());
        let start: [__m512i; 8] = std::array::from_fn(|row| {
            gather(|lane| if lane < count { states[lane][row] } else { 0 })
        });
        let mut w: [__m512i; 16] = std::array::from_fn(|row| {
            gather(|lane| {
                if lane >= count {
                    return 0;
                }
                let block = &blocks[lane];
                let at = row * 4;
                u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
            })
        });
        let end = rounds(start, &mut w);
        for (row, (old, new)) in start.into_iter().zip(end).enumerate() {
            let sum: [u32; LANES] = to_words(add(old, new));
            for (state, word) in states.iter_mut().zip(sum).take(count) {
                state[row] = word;
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn rounds(start: [__m512i; 8], w: &mut [__m512i; 16]) -> [__m512i; 8] {
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = start;
        for round in 0..64 {
            if round >= 16 {
                w[round % 16] = schedule(w, round);
            }
            let s1 = xor(
                _mm512_ror_epi32::<6>(e),
                _mm512_ror_epi32::<11>(e),
                _mm512_ror_epi32::<25>(e),
            );
            // 0xca selects f where e is set, g elsewhere; 0xe8 is the majority of three.
            let choose = _mm512_ternarylogic_epi32::<0xca>(e, f, g);
            let constant = _mm512_set1_epi32(K[round] as i32);
            let t1 = add(add(h, s1), add(add(choose, constant), w[round % 16]));
            let s0 = xor(
                _mm512_ror_epi32::<2>(a),
                _mm512_ror_epi32::<13>(a),
                _mm512_ror_epi32::<22>(a),
            );
            let t2 = add(s0, _mm512_ternarylogic_epi32::<0xe8>(a, b, c));
            (h, g, f, e, d, c, b, a) = (g, f, e, add(d, t1), c, b, a, add(t1, t2));
        }
        [a, b, c, d, e, f, g, h]
    }

    #[target_feature(enable = "avx512f")]
    fn schedule(w: &[__m512i; 16], round: usize) -> __m512i {
        let (far, near) = (w[(round + 1) % 16], w[(round + 14) % 16]);
        let s0 = xor(
            _mm512_ror_epi32::<7>(far),
            _mm512_ror_epi32::<18>(far),
            _mm512_srli_epi32::<3>(far),
        );
        let s1 = xor(
            _mm512_ror_epi32::<17>(near),
            _mm512_ror_epi32::<19>(near),
            _mm512_srli_epi32::<10>(near),
        );
        add(add(w[round % 16], s0), add(w[(round + 9) % 16], s1))
    }

    fn to_words(vector: __m512i) -> [u32; LANES] {
        // SAFETY: both types are 64 plain bytes; every bit pattern is valid for either.
        unsafe { std::mem::transmute::<__m512i, [u32; LANES]>(vector) }
    }
}
