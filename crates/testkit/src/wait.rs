//! Waiting for a condition, with a deadline: looks again and again, where nothing tells of a change.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// How often a condition is looked at on a cluster: few cores are shared with everything that is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// A deadline, and how often to try before it.
#[derive(Debug)]
pub struct Patience {
    looks: Interval,
    deadline: Instant,
}

impl Patience {
    /// From now on for `patience`.
    #[must_use]
    pub fn new(every: Duration, patience: Duration) -> Self {
        Self {
            looks: looks(every),
            deadline: Instant::now() + patience,
        }
    }

    /// Waits for the next attempt after one that failed.
    ///
    /// # Errors
    /// The error of the attempt, when the patience has ended.
    pub async fn pause<E>(&mut self, error: E) -> Result<(), E> {
        if Instant::now() >= self.deadline {
            return Err(error);
        }
        // From now: an attempt that takes long is followed by a pause, too.
        self.looks.reset();
        self.looks.tick().await;
        Ok(())
    }
}

/// For loops that look on for as long as they live: the first look at once, each later one `every` after the one before began,
/// or as soon as that one has ended.
#[must_use]
pub fn looks(every: Duration) -> Interval {
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// Tries every so often until it succeeds, at most `patience`.
///
/// # Errors
/// The last error, when the patience ends. What is not worth waiting for is a success with an error in it.
pub async fn retry<T, E>(every: Duration, patience: Duration, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> Result<T, E> {
    let mut patience = Patience::new(every, patience);
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => patience.pause(error).await?,
        }
    }
}

/// Looks again and again until `look` gives something, at most `patience`. An error of a look is a look without result: it
/// is told when the patience ends.
///
/// # Errors
/// When the patience ends.
pub async fn within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let mut last = None;
    let found = retry(LOOK, patience, async || match look().await {
        Ok(found) => found.ok_or(()),
        Err(error) => {
            last = Some(error);
            Err(())
        }
    });
    let found = found.await;
    found.map_err(|()| {
        let why = last.map_or_else(String::new, |last| format!("; last error: {last:#}"));
        anyhow!("not within {} s: {what}{why}", patience.as_secs())
    })
}

/// The same for a condition that gives a description of what is, as long as it is not what it should be.
///
/// # Errors
/// When the patience ends.
pub async fn until_it<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    within(patience, what, async || look().await.map(Some)).await
}
