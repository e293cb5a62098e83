//! Waiting for a condition on a real cluster.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::Instant;

/// How often a condition is looked at: two cores are shared with everything that is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Looks again and again until `look` gives something, at most `patience`. An error of a look is a look without result: it
/// is told when the patience ends.
pub async fn within<T>(patience: Duration, what: &str, look: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut last = None;
    loop {
        match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if start.elapsed() > patience {
            let error = anyhow!("not within {} s: {what}", patience.as_secs());
            return Err(last.map_or(error, |last| {
                anyhow!("not within {} s: {what}; last error: {last:#}", patience.as_secs())
            }));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The same for a condition that gives a description of what is, as long as it is not what it should be.
pub async fn until_it<T>(patience: Duration, what: &str, look: impl AsyncFn() -> Result<T>) -> Result<T> {
    within(patience, what, async || look().await.map(Some)).await
}
