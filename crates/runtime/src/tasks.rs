//! Tasks that run for as long as the process does, and panics.
//!
//! A task that ends takes its work with it and says nothing: its panic is seen by whoever joins it. So whoever starts tasks
//! waits for the first to end, and names it. A panic over one of many objects is caught where that object is looked at: it
//! must not stop all others, however often it comes again.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use thiserror::Error;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// A task that ended before it was told to.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the task \"{name}\" {how}")]
pub struct Ended {
    name: String,
    how: How,
}

#[derive(Debug, PartialEq, Eq, Error)]
enum How {
    #[error("ended, though nobody told it to")]
    Unasked,
    #[error(transparent)]
    Panicked(#[from] Panicked),
    #[error("was aborted")]
    Aborted,
}

/// A panic, with what it said.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("panicked: {0}")]
pub struct Panicked(String);

impl Panicked {
    fn of(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self(text.unwrap_or("without words").to_owned())
    }
}

/// Runs a future; what it shares with others must be whole whenever it may panic, or mended afterwards.
///
/// # Errors
/// Its panic. The panic hook has told where it was.
pub async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let ended = AssertUnwindSafe(future).catch_unwind().await;
    ended.map_err(|payload| Panicked::of(&*payload))
}

/// Tasks by name. Dropped, it aborts them.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Tasks {
    /// Starts one.
    pub fn spawn(&mut self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name.into());
    }

    /// Waits for one to end before `stop`; for ever where none does. May be dropped and called again.
    pub async fn fault(&mut self, stop: &CancellationToken) -> Ended {
        match self.next().await {
            Some(ended) if !stop.is_cancelled() => ended,
            Some(ended) => {
                ended.log();
                std::future::pending().await
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until all have ended, which were told to, for so long at most; those that have not are named, and aborted.
    pub async fn end(mut self, within: Duration) {
        let all = async {
            while let Some(ended) = self.next().await {
                ended.log();
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            let mut left: Vec<_> = self.names.into_values().collect();
            left.sort();
            tracing::warn!(tasks = left.join(", "), ?within, "did not end in time, and are left");
        }
    }

    async fn next(&mut self) -> Option<Ended> {
        let (id, how) = match self.set.join_next_with_id().await? {
            Ok((id, ())) => (id, How::Unasked),
            Err(error) => {
                let id = error.id();
                let how = error
                    .try_into_panic()
                    .map_or(How::Aborted, |payload| How::Panicked(Panicked::of(&*payload)));
                (id, how)
            }
        };
        let name = self.names.remove(&id).unwrap_or_default();
        Some(Ended { name, how })
    }
}

impl Ended {
    /// One that was told to end.
    fn log(&self) {
        if self.how != How::Unasked {
            tracing::error!(error = %self, "a task ended badly");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_with_its_words() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let said = caught(async { panic!("a size of {}", 3) }).await;
        assert_eq!(said, Err::<(), _>(Panicked("a size of 3".to_owned())));
    }

    #[tokio::test]
    async fn the_first_that_ends_unasked_is_named() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::default();
        tasks.spawn("good", stop.clone().cancelled_owned());
        tasks.spawn("bad", async { panic!("no such thing") });
        let fault = tasks.fault(&stop).await;
        assert_eq!(fault.to_string(), "the task \"bad\" panicked: no such thing");
        tasks.spawn("short", async {});
        let fault = tasks.fault(&stop).await;
        assert_eq!(fault.to_string(), "the task \"short\" ended, though nobody told it to");
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_when_told_is_no_fault_and_what_does_not_is_left() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::default();
        tasks.spawn("good", stop.clone().cancelled_owned());
        tasks.spawn("stuck", std::future::pending());
        stop.cancel();
        let fault = tokio::time::timeout(Duration::from_mins(1), tasks.fault(&stop)).await;
        assert!(fault.is_err(), "{fault:?}");
        let start = tokio::time::Instant::now();
        tasks.end(Duration::from_secs(5)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }
}
