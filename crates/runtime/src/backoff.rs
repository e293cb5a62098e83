//! Back-off for each key: it grows with failures in a row and ends with the first success.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// The first delay.
pub const FIRST: Duration = Duration::from_millis(500);
/// The longest delay: within it a healed cluster is seen, and a broken one costs 2 tries a minute.
pub const LONGEST: Duration = Duration::from_secs(30);

/// Failures in a row, by key.
#[derive(Debug)]
pub struct Backoffs<K> {
    failures: HashMap<K, u32>,
}

impl<K: Hash + Eq> Default for Backoffs<K> {
    fn default() -> Self {
        Self { failures: HashMap::new() }
    }
}

impl<K: Hash + Eq> Backoffs<K> {
    /// Counts a failure; returns how long to wait: [`FIRST`], doubled for each failure in a row, at most [`LONGEST`].
    pub fn failed(&mut self, key: K) -> Duration {
        let count = self.failures.entry(key).or_insert(0);
        let delay = FIRST
            .saturating_mul(1u32.checked_shl((*count).min(16)).unwrap_or(u32::MAX))
            .min(LONGEST);
        *count = count.saturating_add(1);
        delay
    }

    /// A success: the next failure starts from the beginning.
    pub fn succeeded(&mut self, key: &K) {
        self.failures.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_and_starts_again_after_a_success() {
        let mut backoffs = Backoffs::default();
        let delays: Vec<_> = (0..9).map(|_| backoffs.failed("a").as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        assert_eq!(backoffs.failed("b").as_millis(), 500);
        backoffs.succeeded(&"a");
        assert_eq!(backoffs.failed("a").as_millis(), 500);
    }
}
