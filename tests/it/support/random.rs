//! Random numbers from a printed seed, so that a failure can be run again.

/// splitmix64 (Steele, Lea, Flood 2014): small, fast, and good enough for tests.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// Another generator that has nothing to do with this one any more.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// The seed of a test: `BLINDTALLY_TEST_SEED`, or a fresh one; printed, so that it shows when the
/// test fails.
pub fn seed() -> u64 {
    let given = std::env::var("BLINDTALLY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |now| now.as_nanos() as u64)
    });
    println!("BLINDTALLY_TEST_SEED={seed}");
    seed
}
