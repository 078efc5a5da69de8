//! Small deterministic random numbers. Every record is a pure function of the seed and of its
//! number, so that any thread can make any record, and a record can be sent again without having
//! been kept.

/// The increment of SplitMix64 (Steele, Lea and Flood, 2014): 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes the bits of a number; a bijection (the finalizer of SplitMix64).
#[inline]
pub(super) const fn mix(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that depends on all bits of three.
#[inline]
pub(super) const fn mix3(seed: u64, stream: u64, number: u64) -> u64 {
    let inner = mix(stream.wrapping_mul(STEP) ^ seed);
    mix(inner.wrapping_add(number.wrapping_add(1).wrapping_mul(STEP)))
}

/// A stream of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The stream for a seed, a purpose and a number.
    #[inline]
    pub(super) fn new(seed: u64, stream: u64, number: u64) -> Self {
        Self(mix3(seed, stream, number))
    }

    /// The next 64 bits.
    #[inline]
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// Whether something of this probability happens.
    #[inline]
    pub(super) fn chance(&mut self, rate: Rate) -> bool {
        rate.takes(self.next())
    }

    /// A fraction in `0.0..1.0` with 53 bits.
    #[inline]
    pub(super) fn fraction(&mut self) -> f64 {
        const UNIT: f64 = 1.0 / 9_007_199_254_740_992.0;
        (self.next() >> 11) as f64 * UNIT
    }
}

/// Scales 64 random bits down to a number below the bound; the bias is of no matter here.
#[inline]
pub(super) const fn scale(bits: u64, bound: u64) -> u64 {
    ((bits as u128 * bound as u128) >> 64) as u64
}

/// A probability, as a threshold of 32 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate(u64);

impl Rate {
    /// The rate for a fraction; what lies outside of 0..=1 is clamped.
    pub(super) fn new(fraction: f64) -> Self {
        Self((fraction.clamp(0.0, 1.0) * 4_294_967_296.0) as u64)
    }

    /// Whether these random bits are among those that the rate takes.
    #[inline]
    pub(super) const fn takes(self, bits: u64) -> bool {
        bits >> 32 < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_distinct() {
        let take = |stream, number| Random::new(7, stream, number).next();
        assert_eq!(take(1, 2), take(1, 2));
        assert_ne!(take(1, 2), take(2, 1));
        assert_ne!(take(1, 2), take(1, 3));
        assert_eq!(mix(0), 0);
        assert_eq!(Random(0).next(), 0xe220_a839_7b1d_cdaf, "SplitMix64's known first output");
    }

    #[test]
    fn rates_and_bounds_hold() {
        let mut random = Random::new(1, 2, 3);
        let rate = Rate::new(0.03);
        let hits = (0..100_000).filter(|_| random.chance(rate)).count();
        assert!((2_700..3_300).contains(&hits), "{hits}");
        assert!((0..1_000).all(|_| scale(random.next(), 7) < 7));
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&random.fraction())));
        assert!((0..1_000).all(|_| random.chance(Rate::new(1.0))));
        assert!(!(0..1_000).any(|_| random.chance(Rate::new(0.0))));
    }
}
