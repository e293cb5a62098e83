//! `expansion.applyTo: ClusterSpec`: the sizes in a Cluster's spec follow those of its volumes, once these are verified.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use csm_api::EventReason;
use csm_core::operation;
use csm_core::spec_size::{Standing, standing};
use csm_core::world::{ClusterKey, Volume, VolumeKey, World};
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

    /// A Cluster has these volumes now, and no others.
    fn retain(&self, key: &ClusterKey, volumes: &[Volume]) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.retain(|(cluster, volume), _| cluster != key || volumes.iter().any(|v| v.key == *volume));
    }

    /// A Cluster is gone.
    pub fn forget(&self, key: &ClusterKey) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.retain(|(cluster, _), _| cluster != key);
    }
}

impl Controller {
    /// Raises the sizes in the Cluster's spec that lag behind those of its volumes. Returns when to try again what was refused.
    /// A volume whose size cannot be written keeps no other from it: the first failure is returned at the end.
    pub(super) async fn raise_spec(&self, snapshot: &Snapshot, world: &World, now: Timestamp) -> Result<Option<Duration>, Failure> {
        self.refusals.retain(&snapshot.key, &world.volumes);
        let mut again = Ok(None);
        for volume in &world.volumes {
            let wait = self.raise_spec_of(volume, snapshot, world, now).await;
            again = again.and_then(|earlier: Option<Duration>| Ok(earlier.into_iter().chain(wait?).min()));
        }
        again
    }

    async fn raise_spec_of(
        &self,
        volume: &Volume,
        snapshot: &Snapshot,
        world: &World,
        now: Timestamp,
    ) -> Result<Option<Duration>, Failure> {
        let key = &snapshot.key;
        let at = (key.clone(), volume.key.clone());
        let spec = snapshot.cluster.spec_sizes.get(&volume.key).copied();
        let Some(Standing::Behind(to)) = spec.map(|spec| standing(world, volume, spec, now)) else {
            self.refusals.settled(&at);
            return Ok(None);
        };
        if let Some(wait) = self.refusals.wait(&at, to) {
            return Ok(Some(wait));
        }
        match self.writer.raise_spec(key, &snapshot.cluster.uid, &volume.key, to).await? {
            SpecRaised::Nothing => Ok(None),
            SpecRaised::Outdated => Ok(Some(Duration::ZERO)),
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
                Ok(None)
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
                Ok(Some(wait))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::Request;
    use axum::http::{Method, StatusCode};
    use axum::response::IntoResponse as _;
    use serde_json::json;

    use super::*;
    use crate::controller::testing::controller;
    use crate::report::testing::{now, subject};

    const BOTH: &str = "volumes: {data: {size: 20Gi, members: {orders-1: {used: 2Gi, available: 18Gi}}}, \
                        wal: {size: 20Gi, members: {orders-1: {used: 2Gi, available: 18Gi}}}}";

    #[tokio::test]
    async fn what_fails_of_one_volume_keeps_no_other_from_it_and_old_refusals_go() {
        let mut subject = subject("{expansion: {maxSize: 200Gi, applyTo: ClusterSpec}}", BOTH);
        let (key, uid) = (subject.snapshot.key.clone(), subject.snapshot.cluster.uid.to_string());
        let mut cluster = ClusterView::clone(&subject.snapshot.cluster);
        let wal = subject
            .world
            .volumes
            .iter()
            .map(|v| v.key.clone())
            .find(|v| *v != VolumeKey::DATA)
            .unwrap();
        cluster.spec_sizes.insert(VolumeKey::DATA, Bytes::gib(10));
        cluster.spec_sizes.insert(wal.clone(), Bytes::gib(10));
        subject.snapshot.cluster = cluster.into();
        let object = json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": {"name": &*key.name, "namespace": &*key.namespace, "uid": uid, "resourceVersion": "1"},
            "spec": {"instances": 1, "storage": {"size": "10Gi"}, "walStorage": {"size": "10Gi"}}});
        // The first read fails, and the first write.
        let requests = Arc::<Mutex<Vec<Method>>>::default();
        let seen = requests.clone();
        let api_server = Router::new().fallback(move |request: Request| {
            let mut seen = seen.lock().unwrap();
            seen.push(request.method().clone());
            let says_no = json!({"kind": "Status", "status": "Failure", "code": 422, "message": "as Git has it"});
            let answer = match (request.method(), seen.len()) {
                (&Method::GET, 1) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                (&Method::GET, _) => object.to_string().into_response(),
                _ => (StatusCode::UNPROCESSABLE_ENTITY, says_no.to_string()).into_response(),
            };
            async move { answer }
        });
        let controller = controller(api_server);
        let result = controller.raise_spec(&subject.snapshot, &subject.world, now()).await;
        assert!(result.is_err(), "the first volume's: {result:?}");
        let refused = controller.refusals.of(&key);
        assert_eq!(
            refused,
            ["could not raise spec.walStorage.size from 10Gi to 20Gi: as Git has it"],
            "{requests:?}"
        );
        // The volume goes; another Cluster's of this name stays.
        let other = (ClusterKey::new("other", "orders"), wal.clone());
        controller
            .refusals
            .refused(other.clone(), "spec.walStorage.size", "1Gi", Bytes::gib(2), "no");
        subject.world.volumes.retain(|v| v.key != wal);
        controller.raise_spec(&subject.snapshot, &subject.world, now()).await.unwrap();
        let left = controller.refusals.of(&key);
        assert!(left.iter().all(|text| !text.contains("walStorage")), "{left:?}");
        assert_eq!(controller.refusals.of(&other.0).len(), 1);
    }
}
