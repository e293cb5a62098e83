//! The loop: gather → plan → check → apply → report, one CNPG Cluster at a time.

mod begin;
mod follow;
mod spec_sizes;
mod tell;
#[cfg(test)]
mod testing;
mod violations;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csm_core::world::ClusterKey;
use csm_core::{alerts, check};
use csm_gather::world::world;
use csm_runtime::Failure;
use csm_runtime::FailureClass;
use csm_runtime::backoff::Backoffs;
use csm_runtime::tasks::{Tasks, caught};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::apply::{Advanced, Writer};
use crate::breaker;
use crate::relief::Reliefs;
use crate::report::{self, ClusterReport, metrics};
use crate::rescue::Rescues;
use crate::shared::{Key, Shared};

/// Clusters that are looked at at a time: most of a look is waiting for the API server.
const WORKERS: usize = 8;
/// A growth under way is looked at at least so often: watches and samples wake it sooner.
const FOLLOW: Duration = Duration::from_secs(10);
/// Every Cluster is looked at so often, whatever happens: a safety net for what no watch tells.
const RESYNC: Duration = Duration::from_mins(10);
/// An object that others write or remove meanwhile is looked at again: nobody is bothered before that has failed for longer. Where
/// the API server is busy, the word of a removal can be a second late.
const OVERTAKEN: Duration = Duration::from_secs(2);
/// How often StorageEvents are looked through for those that are old enough to go.
const RETENTION_EVERY: Duration = Duration::from_mins(10);

/// Drives all Clusters, on the leader.
pub struct Controller {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Writer,
    backoffs: Mutex<Backoffs<Key>>,
    /// When each Cluster's status was last written.
    written: Mutex<HashMap<ClusterKey, Instant>>,
    rescues: Rescues,
    reliefs: Arc<Reliefs>,
    refusals: spec_sizes::Refusals,
    violations: violations::Violations,
    pub(crate) requests: breaker::Requests,
}

impl Controller {
    /// Writes through `writer`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, writer: Writer) -> Arc<Self> {
        Arc::new(Self {
            rescues: Rescues::new(shared.clone(), writer.client()),
            reliefs: Reliefs::new(shared.clone(), writer.clone()),
            shared,
            writer,
            backoffs: Mutex::new(Backoffs::default()),
            written: Mutex::default(),
            refusals: spec_sizes::Refusals::default(),
            violations: violations::Violations::default(),
            requests: breaker::Requests::default(),
        })
    }

    /// Starts to work, among `tasks`, until told to stop; a look that has begun is ended first.
    pub fn start(self: Arc<Self>, stop: &CancellationToken, tasks: &mut Tasks) {
        let clusters = self.shared.index().clusters();
        self.shared.wake(clusters.into_iter().collect());
        self.shared.queue.add(Key::Policies);
        self.shared.queue.add(Key::Fleet);
        self.shared.queue.add(Key::Retention);
        tasks.spawn("reliefs", self.reliefs.clone().run(stop.clone()));
        for worker in 1..=WORKERS {
            let (controller, stop) = (self.clone(), stop.clone());
            tasks.spawn(format!("worker {worker}"), async move { controller.work(stop).await });
        }
    }

    async fn work(&self, stop: CancellationToken) {
        loop {
            let key = tokio::select! {
                () = stop.cancelled() => return,
                key = self.shared.queue.next() => key,
            };
            let again = self.look(&key).await;
            self.shared.queue.done(&key);
            if let Some(delay) = again {
                self.shared.queue.add_after(key, delay);
            }
        }
    }

    /// One look at one thing, whatever comes of it. Returns when to look again.
    ///
    /// A panic is one more way to fail: what it was about is tried again with a growing pause, and everything else goes on. What
    /// many looks share has no state between two locks that a panic could leave in halves, but the turn that `begin` takes.
    async fn look(&self, key: &Key) -> Option<Duration> {
        let start = Instant::now();
        let (controller, looked) = match key {
            Key::Cluster(cluster) => ("cluster", caught(Box::pin(self.cluster(cluster))).await),
            Key::Policies => ("policies", caught(self.policies()).await),
            Key::Fleet => ("fleet", caught(self.fleet()).await),
            Key::Retention => ("retention", caught(self.retention()).await),
        };
        let success = matches!(looked, Ok(Ok(_)));
        self.shared.metrics.reconciled(controller, success, start.elapsed());
        let mut backoffs = self.backoffs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(Ok(again)) = looked {
            backoffs.succeeded(key);
            return again;
        }
        let delay = backoffs.failed(key.clone());
        drop(backoffs);
        match (looked, key) {
            (Err(panic), Key::Cluster(cluster)) => {
                self.shared.metrics.error(cluster, metrics::PANIC);
                let wake = self.shared.index().release(cluster);
                self.shared.wake(wake);
                tracing::error!(namespace = %cluster.namespace, cluster = %cluster.name, error = %panic, retry_in = ?delay, "BUG: the look panicked; nothing is done for this cluster until one does not");
            }
            (Err(panic), _) => {
                tracing::error!(what = controller, error = %panic, retry_in = ?delay, "BUG: the look panicked; trying again");
            }
            (Ok(Err(failure)), _) if failure.class() == FailureClass::NamespaceTerminating => {
                tracing::debug!(?key, "its namespace is being deleted");
            }
            (Ok(Err(failure)), Key::Cluster(cluster)) => {
                let class = failure.class().as_str();
                self.shared.metrics.error(cluster, class);
                // Somebody wrote the object first, or removed it, and nobody is to be bothered, unless it goes on.
                if matches!(failure.class(), FailureClass::Conflict | FailureClass::NotFound) && delay <= OVERTAKEN {
                    tracing::info!(namespace = %cluster.namespace, cluster = %cluster.name, error = failure.message(), retry_in = ?delay, "an object has changed meanwhile; looking again");
                } else {
                    tracing::warn!(namespace = %cluster.namespace, cluster = %cluster.name, class, error = failure.message(), retry_in = ?delay, "could not finish the look at a cluster");
                }
            }
            (Ok(Err(failure)), _) => {
                tracing::warn!(what = controller, error = failure.message(), retry_in = ?delay, "failed; trying again");
            }
            (Ok(Ok(_)), _) => {}
        }
        Some(delay)
    }

    /// One look at one Cluster. Returns when to look again, whatever happens.
    async fn cluster(&self, key: &ClusterKey) -> Result<Option<Duration>, Failure> {
        let now = Timestamp::now();
        let snapshot = self.shared.index().snapshot_at(key, now);
        let Some(snapshot) = snapshot else {
            self.shared.metrics.forget(key);
            self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            self.refusals.forget(key);
            self.violations.forget(key);
            self.requests.done(&breaker::Asked::Cluster(key.clone()));
            return Ok(None);
        };
        let reset = self.reset_breaker(&snapshot, now).await;
        if matches!(reset, Ok(true)) {
            return Ok(Some(Duration::ZERO));
        }
        let world = world(&snapshot, &self.shared.settings.volumes, now);
        self.rescues.ask(&snapshot, &world);
        let (moved, following) = self.follow(&snapshot, &world, now).await;
        if matches!(moved, Ok(Advanced::Again)) {
            // What was patched, or has ended, counts for all.
            self.shared.queue.add(Key::Fleet);
            return Ok(Some(Duration::ZERO));
        }
        let settled = self.settle(&snapshot, &world, now).await;

        let plan = csm_core::plan::plan(&world, now);
        let alerts = alerts::due(&world, &plan, &self.shared.metrics.active_alerts(key), now);
        let report = ClusterReport::new(&world, &plan, alerts.into_iter().map(|alert| alert.id), now);
        self.shared.metrics.report(snapshot.key.clone(), report);
        let checked = check::check(&world, &plan, now);
        let violations = checked.as_ref().err().map_or(&[][..], Vec::as_slice);
        if let Some(note) = self.violations.news(key, violations) {
            self.note(&snapshot, &note, now).await;
        }
        let sound = checked.is_ok();
        let begun = match checked {
            Ok(()) => self.begin(&snapshot, &world, &plan, now).await,
            Err(violations) => {
                for violation in &violations {
                    tracing::error!(namespace = %key.namespace, cluster = %key.name, %violation, "BUG: the plan violates an invariant; nothing is applied");
                    self.shared.metrics.error(key, "invariant");
                }
                Ok(false)
            }
        };
        // Its turn is given up once its growth is recorded: else the next one would go before it.
        let wake = self.shared.index().wait(key, breaker::waiter(&world, &plan, now));
        self.shared.wake(wake);
        if matches!(begun, Ok(true)) {
            return Ok(Some(Duration::ZERO));
        }
        // After all growths: none waits for it.
        let relieved = self.reliefs.ask(&snapshot, &world, sound.then_some(&plan), now).await;
        let raised = self.raise_spec(&snapshot, &world, now).await;
        let reported = self.report(&snapshot, &world, &plan, now).await;
        let recorded = self.record_breaker(&snapshot, &world, now).await;
        reset?;
        moved?;
        begun?;
        settled?;
        let raised = raised?;
        reported?;
        recorded?;
        let relieved = relieved?;
        if relieved.outdated {
            return Ok(Some(Duration::ZERO));
        }
        let look = plan
            .look_again_at
            .into_iter()
            .chain(relieved.look_at)
            .min()
            .map(|at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO));
        let look = look.into_iter().chain(raised).min().map_or(RESYNC, |look| look.min(RESYNC));
        // A moment later, so that what ends at that moment has ended.
        let look = look.saturating_add(Duration::from_millis(50));
        let awaits = plan.decisions.iter().any(|decision| begin::awaits_wal(&snapshot, decision));
        Ok(Some(if following || awaits { look.min(FOLLOW) } else { look }))
    }

    /// The status of all policies.
    async fn policies(&self) -> Result<Option<Duration>, Failure> {
        let now = Timestamp::now();
        let policies = self.shared.index().policies();
        let mut active: HashMap<String, i64> = HashMap::new();
        let mut result = Ok(None);
        for (id, entry, clusters) in policies {
            let status = report::policies::status(&entry, &clusters, now);
            let shown = status.as_ref().unwrap_or(&entry.status);
            if shown
                .conditions
                .iter()
                .any(|c| c.type_ == csm_api::condition::ACTIVE && c.status == csm_api::ConditionStatus::True)
            {
                *active.entry(id.namespace.to_string()).or_default() += 1;
            }
            let Some(status) = status else { continue };
            match self.writer.policy_status(&id, &status).await {
                // One that cannot be read; its status is written.
                Err(failure) if !failure.is_unreadable_answer() => {
                    if failure.class() != FailureClass::NotFound {
                        result = Err(failure);
                    }
                }
                Ok(()) | Err(_) => self.shared.index().put_policy_status(&id, status),
            }
        }
        self.shared.metrics.policies(active);
        result
    }

    /// Drops StorageEvents that were kept long enough. One that cannot be dropped keeps no other: the first failure is
    /// returned at the end.
    async fn retention(&self) -> Result<Option<Duration>, Failure> {
        let retention = self.shared.settings.retention;
        let ended = self.shared.index().events_to_drop(retention, Timestamp::now());
        let mut result = Ok(Some(RETENTION_EVERY));
        for event in ended {
            if let Err(failure) = self.writer.drop_event(&event).await {
                let (namespace, name) = (event.namespace.as_deref(), event.name.as_deref());
                tracing::debug!(namespace, name, error = failure.message(), "could not drop a StorageEvent");
                // Without the lease none can be dropped.
                let none = failure.class() == FailureClass::NotLeader;
                result = result.and(Err(failure));
                if none {
                    break;
                }
            }
        }
        result
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test
mod tests {
    use axum::Router;
    use axum::extract::Request;
    use axum::http::StatusCode;
    use prometheus_client::registry::Registry;
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::testing::controller;
    use super::*;
    use csm_gather::views::ClusterView;

    #[tokio::test(start_paused = true)]
    async fn a_cluster_over_which_the_look_panics_stops_no_other() {
        let (asks, mut asked) = mpsc::unbounded_channel();
        let api_server = Router::new().fallback(move |request: Request| {
            let path = request.uri().path().to_owned();
            asks.send(path.clone()).unwrap();
            async move {
                assert!(!path.contains("/poison/"), "over the edge");
                StatusCode::SERVICE_UNAVAILABLE
            }
        });
        let controller = controller(api_server);
        let shared = controller.shared.clone();
        let put = |namespace: &str| {
            let cluster = json!({"metadata": {"name": "orders", "namespace": namespace, "uid": namespace}, "spec": {"instances": 1}});
            let view = ClusterView::of(&serde_json::from_value(cluster).unwrap());
            let key = ClusterKey::new(namespace, "orders");
            shared.index().put_cluster(&key, Some(view));
            shared.queue.add(Key::Cluster(key));
        };
        put("poison");
        let (stop, mut tasks) = (CancellationToken::new(), Tasks::default());
        controller.start(&stop, &mut tasks);
        // More often than there are workers.
        let mut times = 0;
        while times <= WORKERS {
            let path = asked.recv().await.unwrap();
            times += usize::from(path.contains("/poison/"));
        }
        put("shop");
        while !asked.recv().await.unwrap().contains("/shop/") {}
        stop.cancel();
        tasks.end(Duration::MAX).await;
        let mut registry = Registry::default();
        shared.metrics.register(&mut registry, shared.index.clone(), false);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let counted = "cnpg_storage_manager_errors_total{type=\"panic\",cluster=\"orders\",namespace=\"poison\"} ";
        assert!(text.contains(counted), "{text}");
    }
}
