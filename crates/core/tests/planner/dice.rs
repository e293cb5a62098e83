//! Random numbers, read as choices.

use proptest::prelude::*;

/// Zero is the dull choice, so that failures shrink to dull cases.
pub struct Dice<'a>(std::slice::Iter<'a, u32>);

impl<'a> Dice<'a> {
    pub fn new(numbers: &'a [u32]) -> Self {
        Self(numbers.iter())
    }

    pub fn roll(&mut self) -> u32 {
        self.0.next().copied().unwrap_or(0)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        u64::from(self.roll()) % n
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll() as usize % from.len()]
    }

    /// True once in `n` times.
    pub fn rarely(&mut self, n: u32) -> bool {
        self.roll() % n == n - 1
    }

    pub fn maybe<T>(&mut self, n: u32, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.rarely(n).then(|| make(self))
    }

    /// All but once in `n` times.
    pub fn mostly<T>(&mut self, n: u32, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (!self.roll().is_multiple_of(n)).then(|| make(self))
    }

    pub fn is_used_up(&self) -> bool {
        self.0.len() == 0
    }
}

/// Numbers from one seed, since a strategy for each of them takes most of the time. A failure shrinks to the
/// shortest run of them that still fails; what follows is zero, and dull.
pub fn numbers(at_most: usize) -> impl Strategy<Value = Vec<u32>> {
    // Most are of the full length.
    (any::<u64>(), 0..5 * at_most).prop_map(move |(mut seed, length)| {
        let next = || {
            // splitmix64
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()
        };
        std::iter::repeat_with(next).take(length.min(at_most)).collect()
    })
}
