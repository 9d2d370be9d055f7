//! How many rounds, and numbers that are the same again for the same seed.

/// A number from the environment.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How many rounds of something: the environment's number in the long mode, which `make faults` asks for.
pub fn rounds(name: &str, short: usize) -> usize {
    number(name).map_or(short, |n| n as usize)
}

/// Numbers that are the same again for the same seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// Seeded by FAULTS_SEED, else 1; `stream` keeps stories apart.
    pub fn new(stream: u64) -> Dice {
        Dice(number("FAULTS_SEED").unwrap_or(1).wrapping_mul(1_000_003) ^ stream)
    }

    /// Less than `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}
