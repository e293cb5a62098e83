//! Collects the figures of all volumes, one kubelet at a time each, on the leader only.
//!
//! A node is asked once an interval, a little early at random so that the fleet does not fall into step; a node that
//! runs a member of a growth under way more often. One bad node costs only its own volumes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csm_runtime::tasks::caught;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::kubelet::{KubeletError, Kubelets};
use crate::rounds::Rounds;
use crate::shared::Shared;
use csm_gather::index::Sample;
use csm_gather::summary::{self, Figure};
use csm_gather::views::NodeView;

/// How often we look which nodes are due: a new node waits no longer, and it costs one walk over the Clusters.
const LOOK: Duration = Duration::from_secs(1);
/// A node that runs a member of a growth under way is asked this often; a kubelet renews its figures about once a minute.
const FOLLOW: Duration = Duration::from_secs(5);
/// A buffer that grew beyond this is not kept.
const KEEP_BUFFER: usize = 1 << 20;
/// More buffers than this are not kept: at rest few kubelets answer at the same time.
const KEEP_BUFFERS: usize = 4;

/// The sampler.
pub struct Sampler {
    shared: Arc<Shared>,
    kubelets: Arc<Kubelets>,
    interval: Duration,
    slots: Arc<Semaphore>,
    buffers: Arc<Mutex<Vec<Vec<u8>>>>,
}

struct Outcome {
    node: Arc<str>,
    result: Result<(), KubeletError>,
}

impl Sampler {
    /// Asks `concurrency` kubelets at a time.
    #[must_use]
    pub fn new(shared: Arc<Shared>, kubelets: Kubelets, interval: Duration, concurrency: usize) -> Self {
        Self {
            shared,
            kubelets: Arc::new(kubelets),
            interval,
            slots: Arc::new(Semaphore::new(concurrency.max(1))),
            buffers: Arc::default(),
        }
    }

    /// Samples until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut rounds: Rounds<Arc<str>> = Rounds::default();
        let mut running: JoinSet<Outcome> = JoinSet::new();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(ended) = running.join_next() => {
                    // It catches its panics, and is not aborted: its node does not stay busy.
                    if let Ok(outcome) = ended {
                        self.tell(&outcome, &mut rounds);
                    }
                }
                _ = look.tick() => {
                    let nodes = self.shared.index().nodes_to_sample();
                    let every = |(_, followed): &(Option<NodeView>, bool)| if *followed { FOLLOW.min(self.interval) } else { self.interval };
                    for node in rounds.due(&nodes, every, Instant::now()) {
                        let view = nodes.get(&node).and_then(|(view, _)| view.clone());
                        running.spawn(self.ask(node, view));
                    }
                }
            }
        }
    }

    /// Asks one node, and puts what it says into the index.
    fn ask(&self, node: Arc<str>, view: Option<NodeView>) -> impl Future<Output = Outcome> + Send + 'static {
        let (shared, kubelets, slots, buffers) = (self.shared.clone(), self.kubelets.clone(), self.slots.clone(), self.buffers.clone());
        outcome(node, async move {
            let Ok(_slot) = slots.acquire_owned().await else {
                return Ok(());
            };
            let mut buffer = buffers.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let empty = NodeView {
                addresses: Vec::new(),
                port: None,
            };
            let result = match kubelets.summary(view.as_ref().unwrap_or(&empty), &mut buffer).await {
                Ok(url) => match summary::parse(&buffer) {
                    Ok(figures) => {
                        put(&shared, &figures);
                        Ok(())
                    }
                    Err(error) => Err(KubeletError::Garbage {
                        url,
                        reason: error.to_string(),
                    }),
                },
                Err(error) => Err(error),
            };
            let mut kept = buffers.lock().unwrap_or_else(PoisonError::into_inner);
            if buffer.capacity() <= KEEP_BUFFER && kept.len() < KEEP_BUFFERS {
                kept.push(buffer);
            }
            drop(kept);
            result
        })
    }

    /// Says once that a node gives no figures, and once that it does again.
    fn tell(&self, outcome: &Outcome, rounds: &mut Rounds<Arc<str>>) {
        let Outcome { node, result } = outcome;
        let news = rounds.ended(node, result.as_ref().err().map(KubeletError::kind));
        match result {
            Ok(()) if news => tracing::info!(%node, "the kubelet gives figures again"),
            Ok(()) => {}
            Err(error) => {
                self.shared.metrics.kubelet_error(error.kind());
                if news {
                    tracing::warn!(%node, kind = error.kind(), %error, "no figures from the kubelet; its volumes keep their last ones, and nothing is done on old figures");
                }
            }
        }
    }
}

/// What came of asking a node, a panic included: one node costs only its own volumes.
async fn outcome(node: Arc<str>, asked: impl Future<Output = Result<(), KubeletError>>) -> Outcome {
    let result = caught(asked).await.unwrap_or_else(|panic| Err(KubeletError::Panic(panic)));
    Outcome { node, result }
}

/// Puts the figures of one node into the index.
fn put(shared: &Shared, figures: &[Figure<'_>]) {
    let stale_after = shared.settings.stale_after();
    let now = Timestamp::now();
    let wake = {
        let mut index = shared.index();
        let sizes: Vec<_> = figures.iter().map(|f| index.pvc_size(&f.namespace, &f.name)).collect();
        let mut same: HashMap<(u64, u64), Vec<usize>> = HashMap::new();
        for (i, figure) in figures.iter().enumerate() {
            same.entry((figure.observation.capacity.get(), figure.observation.available.get()))
                .or_default()
                .push(i);
        }
        let twin = |i: usize, figure: &Figure<'_>| {
            let Some(Some((request, capacity))) = sizes.get(i) else {
                return false;
            };
            let others = same.get(&(figure.observation.capacity.get(), figure.observation.available.get()));
            others
                .into_iter()
                .flatten()
                .filter_map(|other| sizes.get(*other).copied().flatten())
                .any(|(r, c)| r != *request && c != *capacity)
        };
        let twins: Vec<bool> = figures.iter().enumerate().map(|(i, f)| twin(i, f)).collect();
        let samples = figures.iter().zip(twins).map(|(figure, twin)| {
            let mut observation = figure.observation;
            // A clock ahead of ours must not keep figures fresh for ever.
            observation.at = observation.at.min(now);
            ((figure.namespace.as_ref(), figure.name.as_ref()), Sample { observation, twin })
        });
        index.put_samples(
            samples,
            SignedDuration::try_from(stale_after).unwrap_or(SignedDuration::from_mins(5)),
        )
    };
    shared.wake(wake);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_over_the_figures_of_a_node_is_that_nodes_error() {
        let outcome = outcome("node-1".into(), async { panic!("no such volume") }).await;
        assert_eq!(&*outcome.node, "node-1");
        let error = outcome.result.map_err(|error| (error.kind(), error.to_string()));
        assert_eq!(
            error,
            Err(("panic", "BUG: looking at the figures panicked: no such volume".to_owned()))
        );
    }
}
