//! Random numbers that follow from a seed, by splitmix64.

use std::ops::Range;

use surehook::Millis;

/// A generator of random numbers.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Creates the generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number in `[0, 1)`.
    pub fn share(&mut self) -> f64 {
        f64::from(u32::try_from(self.bits() >> 32).unwrap()) / 2_f64.powi(32)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % u64::try_from(end).unwrap()).unwrap()
    }

    /// Returns a time or span within a range.
    pub fn within(&mut self, range: Range<Millis>) -> Millis {
        range.start + self.bits().cast_signed().rem_euclid(range.end - range.start)
    }

    /// Returns the span until the next of events that come `mean` apart on average, independently of each other.
    pub fn gap(&mut self, mean: Millis) -> Millis {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "spans are far below 2^52")]
        let gap = (-(1.0 - self.share()).ln() * mean as f64) as Millis;
        gap
    }

    /// Returns so many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.bits().to_le_bytes()[0]).collect()
    }

    /// Returns one of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
