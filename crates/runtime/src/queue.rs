//! The queue of keys to look at: each key at most once, at the earliest moment that anyone asked for, never two
//! workers on one key at a time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A queue of keys. It is bounded by the number of keys that exist: a key is in it once.
#[derive(Debug)]
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<K> {
    due: BTreeSet<(Instant, K)>,
    when: HashMap<K, Instant>,
    working: HashSet<K>,
}

impl<K: Clone + Eq + Hash + Ord> Default for Queue<K> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                due: BTreeSet::new(),
                when: HashMap::new(),
                working: HashSet::new(),
            }),
            changed: Notify::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// Asks for a look at `key` at once.
    pub fn add(&self, key: K) {
        self.add_at(key, Instant::now());
    }

    /// Asks for a look at `key` after `delay`; an earlier request stands.
    pub fn add_after(&self, key: K, delay: Duration) {
        self.add_at(key, Instant::now() + delay);
    }

    fn add_at(&self, key: K, at: Instant) {
        {
            let mut state = self.lock();
            if let Some(before) = state.when.get(&key).copied() {
                if before <= at {
                    return;
                }
                state.due.remove(&(before, key.clone()));
            }
            state.when.insert(key.clone(), at);
            state.due.insert((at, key));
        }
        self.changed.notify_one();
    }

    /// Keys that wait.
    pub fn len(&self) -> usize {
        self.lock().when.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next key that is due and that nobody works on. Call [`done`](Self::done) afterwards.
    pub async fn next(&self) -> K {
        loop {
            let changed = self.changed.notified();
            let wait_until = {
                let mut state = self.lock();
                let now = Instant::now();
                let free = state.due.iter().find(|(_, key)| !state.working.contains(key)).cloned();
                match free {
                    Some((at, key)) if at <= now => {
                        state.due.remove(&(at, key.clone()));
                        state.when.remove(&key);
                        state.working.insert(key.clone());
                        // Another worker may have been waiting for the same notification.
                        self.changed.notify_one();
                        return key;
                    }
                    Some((at, _)) => Some(at),
                    None => None,
                }
            };
            match wait_until {
                Some(at) => {
                    tokio::select! { () = changed => {}, () = tokio::time::sleep_until(at) => {} }
                }
                None => changed.await,
            }
        }
    }

    /// Work on `key` has ended; what was asked for meanwhile can start.
    pub fn done(&self, key: &K) {
        self.lock().working.remove(key);
        self.changed.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_earliest_request_stands_and_a_key_is_once_in_it() {
        let queue = Queue::default();
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(20));
        let start = Instant::now();
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed().as_secs(), 5);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_not_worked_on_twice_at_a_time() {
        let queue = Queue::default();
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        queue.add_after("b", Duration::from_secs(1));
        assert_eq!(queue.next().await, "b");
        queue.done(&"a");
        assert_eq!(queue.next().await, "a");
    }
}
