//! `expansion.applyTo: ClusterSpec`: the sizes in a Cluster's spec follow those of its volumes, once these are verified.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use csm_api::EventReason;
use csm_core::world::{ClusterKey, VolumeKey, World};
use csm_core::{operation, spec_size};
use csm_gather::index::Snapshot;
use csm_gather::views::ClusterView;
use csm_runtime::Failure;
use csm_units::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use super::Controller;
use crate::apply::{Note, Severity, SpecRaised};

/// What the API server refused, by Cluster and volume. Lost with the process: then it is tried, and told, once more.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<(ClusterKey, VolumeKey), Refusal>>);

struct Refusal {
    path: String,
    from: String,
    to: Bytes,
    message: String,
    times: usize,
    next: Instant,
}

impl Refusals {
    /// How long to wait before a size that was refused is tried again; none where it is to be tried now.
    fn wait(&self, at: &(ClusterKey, VolumeKey), to: Bytes) -> Option<Duration> {
        let refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = refusals.get(at).filter(|refusal| refusal.to == to)?;
        Some(refusal.next.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
    }

    /// Remembers a refusal; returns how long to wait, and whether it is news.
    fn refused(&self, at: (ClusterKey, VolumeKey), path: &str, from: &str, to: Bytes, message: &str) -> (Duration, bool) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = refusals.get(&at).filter(|refusal| refusal.to == to);
        let news = before.is_none_or(|refusal| refusal.message != message);
        let times = before.map_or(0, |refusal| refusal.times);
        // As growths are.
        let wait = operation::retry_after(times).unsigned_abs();
        let refusal = Refusal {
            path: path.to_owned(),
            from: from.to_owned(),
            to,
            message: message.to_owned(),
            times: times.saturating_add(1),
            next: Instant::now() + wait,
        };
        refusals.insert(at, refusal);
        (wait, news)
    }

    /// What stands refused of a Cluster, in sentences, by volume.
    pub fn of(&self, key: &ClusterKey) -> Vec<String> {
        let refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ours: Vec<_> = refusals.iter().filter(|((cluster, _), _)| cluster == key).collect();
        ours.sort_by_key(|((_, volume), _)| volume);
        let sentence = |refusal: &Refusal| {
            let Refusal {
                path, from, to, message, ..
            } = refusal;
            format!("could not raise {path} from {from} to {to}: {message}")
        };
        ours.into_iter().map(|(_, refusal)| sentence(refusal)).collect()
    }

    /// It is as it should be, or nobody asks for it any more.
    fn settled(&self, at: &(ClusterKey, VolumeKey)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(at);
    }

    /// A Cluster is gone.
    pub fn forget(&self, key: &ClusterKey) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.retain(|(cluster, _), _| cluster != key);
    }
}

impl Controller {
    /// Raises the sizes in the Cluster's spec that lag behind those of its volumes. Returns when to try again what was refused.
    pub(super) async fn raise_spec(&self, snapshot: &Snapshot, world: &World, now: Timestamp) -> Result<Option<Duration>, Failure> {
        let key = &snapshot.key;
        let mut again: Option<Duration> = None;
        for volume in &world.volumes {
            let at = (key.clone(), volume.key.clone());
            let spec = snapshot.cluster.spec_sizes.get(&volume.key).copied();
            let Some(to) = spec.and_then(|spec| spec_size::due(world, volume, spec, now)) else {
                self.refusals.settled(&at);
                continue;
            };
            let wait = match self.refusals.wait(&at, to) {
                Some(wait) => wait,
                None => match self.writer.raise_spec(key, &snapshot.cluster.uid, &volume.key, to).await? {
                    SpecRaised::Nothing => continue,
                    SpecRaised::Outdated => Duration::ZERO,
                    SpecRaised::Raised { path, from, cluster } => {
                        self.refusals.settled(&at);
                        self.shared.metrics.spec_size(key, true);
                        self.shared.index().put_cluster(key, Some(ClusterView::of(&cluster)));
                        tracing::info!(namespace = %key.namespace, cluster = %key.name, volume = %volume.key, field = path, from, %to, "raised the Cluster's own size");
                        let note = Note {
                            severity: Severity::Normal,
                            reason: EventReason::AutoResizeSuccess,
                            message: format!(
                                "Raised {path} of the Cluster from {from} to {to}, as its volume has grown (expansion.applyTo: ClusterSpec)"
                            ),
                        };
                        self.note(snapshot, &note, now).await;
                        continue;
                    }
                    SpecRaised::Refused { path, from, message } => {
                        let (wait, news) = self.refusals.refused(at, &path, &from, to, &message);
                        self.shared.metrics.spec_size(key, false);
                        tracing::warn!(namespace = %key.namespace, cluster = %key.name, volume = %volume.key, field = path, from, %to, error = message, retry_in = ?wait, "the API server refused to raise the Cluster's own size");
                        let note = Note {
                            severity: Severity::Warning,
                            reason: EventReason::AutoResizeBlocked,
                            message: format!(
                                "Could not raise {path} of the Cluster from {from} to {to} (expansion.applyTo: ClusterSpec), so new instances begin with {from} and are caught up; the volume itself has grown. The API server says: {message}"
                            ),
                        };
                        if news {
                            self.note(snapshot, &note, now).await;
                        }
                        wait
                    }
                },
            };
            again = Some(again.map_or(wait, |earlier| earlier.min(wait)));
        }
        Ok(again)
    }
}
