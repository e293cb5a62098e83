//! Who is to be asked next: each once a period, a little early at random so that they do not fall into step, and never again
//! before it has answered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// How much earlier than a period after the last time one may be asked, in 2560ths of the period and up to 255: a tenth.
const EARLY: f64 = 2560.0;

/// When each was asked, which have not answered yet, and what was wrong with each last.
#[derive(Debug)]
pub struct Rounds<K> {
    asked: HashMap<K, (Instant, f64)>,
    busy: HashSet<K>,
    errors: HashMap<K, &'static str>,
}

impl<K> Default for Rounds<K> {
    fn default() -> Self {
        Self {
            asked: HashMap::new(),
            busy: HashSet::new(),
            errors: HashMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Rounds<K> {
    /// Those of `wanted` that are due, `every` so often each; they count as asked now. Who is not wanted is forgotten.
    pub fn due<V>(&mut self, wanted: &BTreeMap<K, V>, every: impl Fn(&V) -> Duration, now: Instant) -> Vec<K> {
        self.asked.retain(|key, _| wanted.contains_key(key));
        self.errors.retain(|key, _| wanted.contains_key(key));
        let is_due = |key: &K, value: &V| {
            let asked = self.asked.get(key);
            let waits = |(at, share): &(Instant, f64)| now.duration_since(*at) < every(value).mul_f64(*share);
            !self.busy.contains(key) && !asked.is_some_and(waits)
        };
        let due = wanted.iter().filter(|(key, value)| is_due(key, value));
        let due: Vec<K> = due.map(|(key, _)| key.clone()).collect();
        for key in &due {
            let share = 1.0 - f64::from(rand::random::<u8>()) / EARLY;
            self.asked.insert(key.clone(), (now, share));
            self.busy.insert(key.clone());
        }
        due
    }

    /// One has answered, or failed with this kind of error. Whether that is news.
    pub fn ended(&mut self, key: &K, error: Option<&'static str>) -> bool {
        self.busy.remove(key);
        match error {
            Some(kind) => self.errors.insert(key.clone(), kind) != Some(kind),
            None => self.errors.remove(key).is_some(),
        }
    }

    /// Whether it failed when it was asked last.
    pub fn has_failed(&self, key: &K) -> bool {
        self.errors.contains_key(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(30);

    fn wanted(names: &[&'static str]) -> BTreeMap<&'static str, Duration> {
        names.iter().map(|name| (*name, PERIOD)).collect()
    }

    #[test]
    fn each_is_asked_once_a_period_and_never_twice_at_a_time() {
        let (mut rounds, start) = (Rounds::default(), Instant::now());
        let due = |rounds: &mut Rounds<_>, names: &[&'static str], seconds| {
            rounds.due(&wanted(names), |every| *every, start + Duration::from_secs(seconds))
        };
        assert_eq!(due(&mut rounds, &["a", "b"], 0), ["a", "b"]);
        assert!(!rounds.ended(&"a", None));
        assert!(due(&mut rounds, &["a", "b"], 26).is_empty(), "a has answered a moment ago");
        assert_eq!(due(&mut rounds, &["a", "b"], 30), ["a"], "b has not answered yet");
        rounds.ended(&"b", None);
        assert_eq!(due(&mut rounds, &["a", "b"], 31), ["b"]);
        rounds.ended(&"a", None);
        rounds.ended(&"b", None);
        // One that was away is new.
        assert!(due(&mut rounds, &["b"], 32).is_empty());
        assert_eq!(due(&mut rounds, &["a", "b"], 33), ["a"]);
    }

    #[test]
    fn what_is_wrong_is_news_once() {
        let mut rounds = Rounds::default();
        let told: Vec<bool> = [Some("timeout"), Some("timeout"), Some("garbage"), None, None]
            .into_iter()
            .map(|error| rounds.ended(&"a", error))
            .collect();
        assert_eq!(told, [true, false, true, true, false]);
        rounds.ended(&"a", Some("timeout"));
        assert!(rounds.has_failed(&"a"));
        rounds.due(&wanted(&[]), |every| *every, Instant::now());
        assert!(!rounds.has_failed(&"a"), "one that is gone is forgotten");
    }
}
