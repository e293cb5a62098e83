//! What the parts of the manager share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csm_core::world::ClusterKey;
use csm_runtime::queue::Queue;

use crate::report::metrics::Metrics;
use crate::settings::Settings;
use csm_gather::index::{Index, Wake};

/// A thing to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// One Cluster.
    Cluster(ClusterKey),
    /// The status of all policies.
    Policies,
    /// The circuit breaker of all Clusters.
    Fleet,
    /// StorageEvents that are older than they are kept.
    Retention,
}

/// Shared state. No lock is held across an await: `index()` is for short, synchronous work.
pub struct Shared {
    /// Behind [`index()`](Self::index); the metrics read it too.
    pub index: Arc<Mutex<Index>>,
    /// What is to be looked at.
    pub queue: Queue<Key>,
    /// The metrics.
    pub metrics: Metrics,
    /// The settings.
    pub settings: Settings,
}

impl Shared {
    /// With an empty index.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let index = Arc::new(Mutex::new(Index::new(settings.defaults.clone()).with_fleet(settings.fleet.clone())));
        Self {
            index,
            queue: Queue::default(),
            metrics: Metrics::default(),
            settings,
        }
    }

    /// The index.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a look at these Clusters.
    pub fn wake(&self, clusters: Wake) {
        for key in clusters {
            self.queue.add(Key::Cluster(key));
        }
    }
}
