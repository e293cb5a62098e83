//! Waiting for a condition, with a deadline.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::Instant;

/// How often a condition is looked at: few cores are shared with everything that is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Looks again and again until `look` gives something, at most `patience`. An error of a look is a look without result: it
/// is told when the patience ends.
///
/// # Errors
/// When the patience ends.
pub async fn within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut last = None;
    loop {
        match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if start.elapsed() > patience {
            let why = last.map_or_else(String::new, |last| format!("; last error: {last:#}"));
            return Err(anyhow!("not within {} s: {what}{why}", patience.as_secs()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The same for a condition that gives a description of what is, as long as it is not what it should be.
///
/// # Errors
/// When the patience ends.
pub async fn until_it<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    within(patience, what, async || look().await.map(Some)).await
}
