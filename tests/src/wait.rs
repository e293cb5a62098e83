//! Waiting for a condition, with a deadline.

use std::time::Duration;

use anyhow::anyhow;
use csm_testkit::wait::Patience;

/// How long anything in a simulated world may take: many sampling intervals of the manager, on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(4);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Looks again and again until `look` gives something.
pub async fn until<T, F>(what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let mut patience = Patience::new(LOOK, PATIENCE);
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        let late = patience.pause(()).await;
        late.map_err(|()| anyhow!("not within {} s: {what}", PATIENCE.as_secs()))?;
    }
}
