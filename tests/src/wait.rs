//! Waiting for a condition, with a deadline.

use std::time::Duration;

use anyhow::bail;
use csm_testkit::wait::retry;

/// How long anything in a simulated world may take: many sampling intervals of the manager, on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(2);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Looks again and again until `look` gives something.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    // An error is not waited for.
    let found = retry(LOOK, PATIENCE, async || match look().await {
        Ok(found) => found.map(Ok).ok_or(()),
        Err(error) => Ok(Err(error)),
    });
    match found.await {
        Ok(found) => found,
        Err(()) => bail!("not within {} s: {what}", PATIENCE.as_secs()),
    }
}
