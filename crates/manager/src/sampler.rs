//! Collects the figures of all volumes, one kubelet at a time each, on the leader only.
//!
//! A node is asked once an interval, a little early at random so that the fleet does not fall into step; a node that
//! runs a member of a growth under way more often. One bad node costs only its own volumes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::kubelet::{KubeletError, Kubelets};
use crate::rounds::{self, Asker, Places, Rounds, Trouble as _};
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
    kubelets: Kubelets,
    interval: Duration,
    places: Places,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl Sampler {
    /// Asks `concurrency` kubelets at a time.
    #[must_use]
    pub fn new(shared: Arc<Shared>, kubelets: Kubelets, interval: Duration, concurrency: usize) -> Self {
        Self {
            shared,
            kubelets,
            interval,
            places: Places::for_all(concurrency),
            buffers: Mutex::default(),
        }
    }

    /// Samples until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        rounds::ask_around(self, stop).await;
    }

    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asker for Sampler {
    /// The name of a node.
    type Key = Arc<str>;
    type Asked = Option<NodeView>;
    type Error = KubeletError;

    const LOOK: Duration = LOOK;

    fn wanted(&self, _: &Rounds<Arc<str>>) -> BTreeMap<Arc<str>, (Option<NodeView>, Duration)> {
        let nodes = self.shared.index().nodes_to_sample().into_iter();
        let often = FOLLOW.min(self.interval);
        let wanted = nodes.map(|(node, (view, followed))| (node, (view, if followed { often } else { self.interval })));
        wanted.collect()
    }

    fn places(&self) -> &Places {
        &self.places
    }

    async fn ask(&self, _: &Arc<str>, view: &Option<NodeView>) -> Result<(), KubeletError> {
        let mut buffer = self.buffers().pop().unwrap_or_default();
        let empty = NodeView {
            addresses: Vec::new(),
            port: None,
        };
        let result = match self.kubelets.summary(view.as_ref().unwrap_or(&empty), &mut buffer).await {
            Ok(url) => match summary::parse(&buffer) {
                Ok(figures) => {
                    put(&self.shared, &figures);
                    Ok(())
                }
                Err(error) => Err(KubeletError::Garbage {
                    url,
                    reason: error.to_string(),
                }),
            },
            Err(error) => Err(error),
        };
        let mut kept = self.buffers();
        if buffer.capacity() <= KEEP_BUFFER && kept.len() < KEEP_BUFFERS {
            kept.push(buffer);
        }
        result
    }

    fn tell(&self, node: &Arc<str>, _: &Option<NodeView>, result: Result<(), KubeletError>, news: bool) {
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
