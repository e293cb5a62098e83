//! The loop: gather → plan → check → apply → report, one CNPG Cluster at a time.

mod spec_sizes;
mod violations;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csm_api::{Growth, Phase, Urgency, Verdict};
use csm_core::breaker::{Breaker, Ending};
use csm_core::operation;
use csm_core::plan::{Decision, Plan};
use csm_core::rescue::Times;
use csm_core::resolve::Resolution;
use csm_core::world::{ClusterKey, World};
use csm_core::{admit, alerts, check, explain};
use csm_runtime::Failure;
use csm_runtime::FailureClass;
use csm_runtime::backoff::Backoffs;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::apply::{Advanced, Begun, Note, Writer};
use crate::breaker;
use crate::report::{self, ClusterReport};
use crate::rescue::{self, Rescues, evidence_at};
use crate::settings::CreatePostgresStorage;
use crate::shared::{Key, Shared};
use csm_gather::index::{Snapshot, is_done};
use csm_gather::retry;
use csm_gather::views::volume_of;
use csm_gather::world::{failures_before, world};

/// Clusters that are looked at at a time: most of a look is waiting for the API server.
const WORKERS: usize = 8;
/// Live figures in a status are written at most so often.
const STATUS_FIGURES: Duration = Duration::from_mins(1);
/// A growth under way is looked at at least so often: watches and samples wake it sooner.
const FOLLOW: Duration = Duration::from_secs(10);
/// Every Cluster is looked at so often, whatever happens: a safety net for what no watch tells.
const RESYNC: Duration = Duration::from_mins(10);
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
    refusals: spec_sizes::Refusals,
    violations: violations::Violations,
}

impl Controller {
    /// Writes through `writer`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, writer: Writer) -> Arc<Self> {
        Arc::new(Self {
            rescues: Rescues::new(shared.clone(), writer.client()),
            shared,
            writer,
            backoffs: Mutex::new(Backoffs::default()),
            written: Mutex::default(),
            refusals: spec_sizes::Refusals::default(),
            violations: violations::Violations::default(),
        })
    }

    /// Works until told to stop; a look that has begun is ended first.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let clusters = self.shared.index().clusters();
        self.shared.wake(clusters.into_iter().collect());
        self.shared.queue.add(Key::Policies);
        self.shared.queue.add(Key::Fleet);
        self.shared.queue.add(Key::Retention);
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (controller, stop) = (self.clone(), stop.clone());
                tokio::spawn(async move { controller.work(stop).await })
            })
            .collect();
        for worker in workers {
            if let Err(error) = worker.await {
                tracing::error!(%error, "a worker ended badly");
            }
        }
    }

    async fn work(&self, stop: CancellationToken) {
        loop {
            let key = tokio::select! {
                () = stop.cancelled() => return,
                key = self.shared.queue.next() => key,
            };
            let start = Instant::now();
            let (controller, result) = match &key {
                Key::Cluster(cluster) => ("cluster", self.cluster(cluster).await),
                Key::Policies => ("policies", self.policies().await),
                Key::Fleet => ("fleet", self.fleet().await),
                Key::Retention => ("retention", self.retention().await),
            };
            self.shared.metrics.reconciled(controller, result.is_ok(), start.elapsed());
            let again = match result {
                Ok(again) => {
                    self.backoffs.lock().unwrap_or_else(PoisonError::into_inner).succeeded(&key);
                    again
                }
                Err(failure) => {
                    let delay = self.backoffs.lock().unwrap_or_else(PoisonError::into_inner).failed(key.clone());
                    if failure.class() == FailureClass::NamespaceTerminating {
                        tracing::debug!(?key, "its namespace is being deleted");
                    } else if let Key::Cluster(cluster) = &key {
                        self.shared.metrics.error(cluster, failure.class().as_str());
                        tracing::warn!(namespace = %cluster.namespace, cluster = %cluster.name, class = failure.class().as_str(), error = failure.message(), retry_in = ?delay, "could not finish the look at a cluster");
                    } else {
                        tracing::warn!(what = controller, error = failure.message(), retry_in = ?delay, "failed; trying again");
                    }
                    Some(delay)
                }
            };
            self.shared.queue.done(&key);
            if let Some(delay) = again {
                self.shared.queue.add_after(key, delay);
            }
        }
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
            return Ok(None);
        };
        let mut reset = Ok(());
        if snapshot.cluster.reset_breaker {
            reset = self.reset_breaker(&snapshot, now).await;
            if reset.is_ok() {
                return Ok(Some(Duration::ZERO));
            }
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
        let wake = self.shared.index().wait(key, breaker::waiter(&world, &plan, now));
        self.shared.wake(wake);
        let checked = check::check(&world, &plan, now);
        let violations = checked.as_ref().err().map_or(&[][..], Vec::as_slice);
        if let Some(note) = self.violations.news(key, violations) {
            self.note(&snapshot, &note, now).await;
        }
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
        if matches!(begun, Ok(true)) {
            return Ok(Some(Duration::ZERO));
        }
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
        let look = plan
            .look_again_at
            .map(|at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO));
        let look = look.into_iter().chain(raised).min().map_or(RESYNC, |look| look.min(RESYNC));
        // A moment later, so that what ends at that moment has ended.
        let look = look.saturating_add(Duration::from_millis(50));
        Ok(Some(if following { look.min(FOLLOW) } else { look }))
    }

    /// Goes on with the operations under way. Returns whether anything was written, and whether any is left.
    async fn follow(&self, snapshot: &Snapshot, world: &World, now: Timestamp) -> (Result<Advanced, Failure>, bool) {
        let of_cluster = |event: &&Arc<Growth>| *event.spec.cluster_ref.uid == *snapshot.cluster.uid && !is_done(event);
        let mut result = Ok(Advanced::Waiting);
        let mut following = false;
        for event in snapshot.events.iter().filter(of_cluster) {
            following = true;
            if snapshot
                .events
                .iter()
                .filter(of_cluster)
                .any(|other| operation::is_behind(event, other))
            {
                continue;
            }
            let failures_before = failures_before(snapshot, &volume_of(event));
            let stale_after = SignedDuration::try_from(self.shared.settings.stale_after()).unwrap_or(SignedDuration::from_mins(5));
            let basis = retry::basis(snapshot, &volume_of(event));
            let overtaken = operation::is_overtaken(event, snapshot.events.iter().map(Arc::as_ref));
            let mut progress = if overtaken {
                tracing::info!(namespace = %snapshot.key.namespace, cluster = %snapshot.key.name, operation = event.name_any(), "recorded late, and done by another operation already");
                operation::overtaken(now)
            } else {
                admit::next(world, event, failures_before, &basis, stale_after, now)
            };
            if !self.shared.settings.nudge {
                progress.nudge.clear();
            }
            let ended = (!overtaken && progress.ended().is_some()).then(|| Growth {
                status: Some(progress.status.clone()),
                ..Growth::clone(event)
            });
            match self.writer.advance(&self.shared, &snapshot.key, event, progress).await {
                Ok(advanced) => {
                    if let Some(ended) = ended {
                        self.ended(snapshot, world, &ended, now).await;
                    }
                    // One step at a time: the next operation is looked at with what this one changed.
                    if advanced == Advanced::Again {
                        return (Ok(Advanced::Again), true);
                    }
                }
                Err(failure) => result = Err(failure),
            }
        }
        (result, following)
    }

    /// Tells of an operation that has ended.
    async fn ended(&self, snapshot: &Snapshot, world: &World, event: &Growth, now: Timestamp) {
        let Some(status) = &event.status else { return };
        let success = status.phase == Some(Phase::Completed);
        if matches!(Ending::of(event), Some((_, Ending::Failed))) {
            self.shared.metrics.breaker_failure(&snapshot.key);
        }
        let grown = |s: &csm_api::PvcStatus| s.new_size.map_or(0, |size| size.saturating_sub(s.original_size).get());
        let bytes = status.pvc_statuses.iter().map(grown).fold(0, u64::saturating_add);
        let took = status
            .start_time
            .as_ref()
            .zip(status.completion_time.as_ref())
            .map(|(start, end)| end.0.duration_since(start.0));
        if !event.was_turned_down() {
            self.shared.metrics.expanded(
                &snapshot.key,
                volume_of(event),
                success,
                bytes,
                took.and_then(|t| Duration::try_from(t).ok()),
            );
        }
        if event.spec.urgency() == Urgency::Rescue {
            let times = if success {
                Times::of(event, rescue::recorded_evidence(event))
            } else {
                Times::default()
            };
            self.shared.metrics.rescued(&snapshot.key, success, times);
        }
        let message = status.conditions.first().map(|c| c.message.clone()).unwrap_or_default();
        let (namespace, cluster) = (&snapshot.key.namespace, &snapshot.key.name);
        let (volume, operation) = (volume_of(event), event.name_any());
        if success {
            tracing::info!(%namespace, %cluster, %volume, operation, reason = %event.spec.reason, to = %event.spec.expansion.requested_size, message, "expanded and verified");
        } else {
            tracing::warn!(%namespace, %cluster, %volume, operation, reason = %event.spec.reason, to = %event.spec.expansion.requested_size, message, "expansion failed");
        }
        if let Some(note) = report::notes::of_operation(event, world) {
            self.note(snapshot, &note, now).await;
        }
    }

    /// What comes out after an operation has ended: whether filesystems really grew, and when instances are ready again.
    async fn settle(&self, snapshot: &Snapshot, world: &World, now: Timestamp) -> Result<(), Failure> {
        for settled in rescue::settled(snapshot, world, now) {
            let event = self.writer.complete(&self.shared, &settled.event, settled.status.clone()).await?;
            if !settled.not_grown.is_empty() {
                self.shared.metrics.error(&snapshot.key, "not-grown");
            }
            if let Some(times) = settled.recovered {
                self.shared.metrics.recovered(&snapshot.key, times);
            }
            if let Some(note) = rescue::tell(&event, &settled, snapshot) {
                self.note(snapshot, &note, now).await;
            }
        }
        Ok(())
    }

    /// Begins the growths of a plan: records each; the next look patches. Returns whether to look again at once.
    async fn begin(&self, snapshot: &Snapshot, world: &World, plan: &Plan, now: Timestamp) -> Result<bool, Failure> {
        let Resolution::Settings(settings) = &*world.resolution else {
            return Ok(false);
        };
        let mut begun = false;
        let one_tries = breaker::lets_one_try(world, now);
        let first = breaker::most_urgent(world, plan, now).filter(|_| one_tries);
        let goes = |d: &&Decision| d.acts() && (d.verdict == Verdict::Rescue || first.is_none_or(|first| first.volume == d.volume));
        for decision in plan.decisions.iter().filter(goes) {
            let parallelism = i32::from(settings.expansion.parallelism.value);
            let Some(spec) = operation::record(world, decision, parallelism, explain::sentence(decision)) else {
                continue;
            };
            if let Err(stands) = operation::permission(world, &spec, now) {
                let key = &world.cluster.key;
                tracing::error!(namespace = %key.namespace, cluster = %key.name, volume = %decision.volume, reason = %stands, "BUG: a growth was decided that would be stopped at once; it is not begun");
                self.shared.metrics.error(key, "invariant");
                continue;
            }
            let known = |name: &str| snapshot.knows(name);
            // Eight look at a time: what was free when this was decided may be taken.
            let alone = world.global_breaker.state(now) == Breaker::HalfOpen && decision.verdict != Verdict::Rescue;
            let classes = breaker::classes_of(world, &decision.volume);
            if !self.shared.index().reserve(&snapshot.key, &snapshot.fleet, classes, alone) {
                return Ok(true);
            }
            let recorded = self.writer.begin(&snapshot.key, spec, evidence_at(decision), &known, now).await;
            let wake = {
                let mut index = self.shared.index();
                if let Ok(Begun::Recorded(event)) = &recorded {
                    index.put_event(event.as_ref().clone());
                }
                index.release(&snapshot.key)
            };
            self.shared.wake(wake);
            match recorded? {
                Begun::Recorded(event) => {
                    Self::log(decision, world, event.name_any());
                    if let Some(note) = report::notes::of_beginning(decision) {
                        self.note(snapshot, &note, now).await;
                    }
                }
                Begun::Outdated(events) => {
                    let mut index = self.shared.index();
                    for event in events {
                        index.put_event(event);
                    }
                    return Ok(true);
                }
            }
            begun = true;
        }
        Ok(begun)
    }

    fn log(decision: &Decision, world: &World, operation: String) {
        let key = &world.cluster.key;
        tracing::info!(namespace = %key.namespace, cluster = %key.name, volume = %decision.volume, reason = %decision.reason, verdict = %decision.verdict, from = %decision.from, to = decision.to.map(|t| t.to_string()), operation, "{}", explain::sentence(decision));
    }

    /// Events, status and annotations. None of them holds a growth up: the first failure is returned at the end.
    async fn report(&self, snapshot: &Snapshot, world: &World, plan: &Plan, now: Timestamp) -> Result<(), Failure> {
        let status = self.report_status(snapshot, world, plan, now).await;
        let annotated = match report::annotations::due(snapshot, plan, now) {
            Some(annotations) => match self.writer.annotate(&snapshot.key, &snapshot.cluster.uid, &annotations).await {
                Ok(cluster) => {
                    let view = csm_gather::views::ClusterView::of(&cluster);
                    self.shared.index().put_cluster(&snapshot.key, Some(view));
                    Ok(())
                }
                Err(failure) => Err(failure),
            },
            None => Ok(()),
        };
        status.and(annotated)
    }

    async fn report_status(&self, snapshot: &Snapshot, world: &World, plan: &Plan, now: Timestamp) -> Result<(), Failure> {
        let key = &snapshot.key;
        let mut snapshot = snapshot.clone();
        if snapshot.storage.is_none() {
            let wanted = match self.shared.settings.create_postgres_storage {
                CreatePostgresStorage::Never => false,
                CreatePostgresStorage::All => true,
                CreatePostgresStorage::Managed => !matches!(&*snapshot.resolution, Resolution::NoPolicy),
            };
            if !wanted || snapshot.cluster.deleting {
                return Ok(());
            }
            let created = self.writer.create_storage(key, &snapshot.cluster.uid).await?;
            snapshot.storage = Some(Arc::new(created.clone()));
            self.shared.index().put_storage(created);
        }
        let Some(storage) = snapshot.storage.clone() else { return Ok(()) };
        let old = storage.status.clone().unwrap_or_default();
        let new = report::status::status(&snapshot, world, plan, &self.refusals.of(key), now);
        let news = report::status::news(&old, &new);
        if !news {
            let last = self.written.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
            if !report::status::moved(&old, &new) {
                return Ok(());
            }
            let wait = last.map_or(Duration::ZERO, |at| STATUS_FIGURES.saturating_sub(at.elapsed()));
            if !wait.is_zero() {
                self.shared.queue.add_after(Key::Cluster(key.clone()), wait);
                return Ok(());
            }
        }
        // Written first: an Event that is made after it is made once, even where this process is killed in between.
        match self.writer.storage_status(key, storage.metadata.uid.as_deref(), &new).await {
            Ok(written) => {
                self.shared.index().put_storage(written);
            }
            // Its spec cannot be read; its status is written, and comes back with the watch.
            Err(failure) if failure.is_unreadable_answer() => {}
            Err(failure) => return Err(failure),
        }
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone(), Instant::now());
        for note in report::notes::of_status(&old, &new, &snapshot.cluster, now) {
            self.note(&snapshot, &note, now).await;
        }
        for decision in &plan.decisions {
            let told = old
                .storage_sizing
                .as_ref()
                .and_then(|s| report::status::sizing_of(s, &decision.volume))
                .map(|s| &s.last_decision);
            if told.is_none_or(|t| t.verdict != decision.verdict || t.reason != decision.reason || t.urgency != decision.urgency) {
                tracing::info!(namespace = %key.namespace, cluster = %key.name, volume = %decision.volume, reason = %decision.reason, verdict = %decision.verdict, state = %decision.state, "{}", explain::sentence(decision));
            }
            if let Some(note) = report::notes::of_decision(decision, told) {
                self.note(&snapshot, &note, now).await;
            }
        }
        Ok(())
    }

    /// An Event that cannot be recorded is not worth a second try: status and StorageEvents say the same.
    pub(crate) async fn note(&self, snapshot: &Snapshot, note: &Note, now: Timestamp) {
        if let Err(failure) = self.writer.note(&snapshot.key, &snapshot.cluster.uid, note, now).await {
            tracing::warn!(namespace = %snapshot.key.namespace, cluster = %snapshot.key.name, event = %note.reason, error = failure.message(), "could not record an Event");
            if failure.class() != FailureClass::NamespaceTerminating {
                self.shared.metrics.error(&snapshot.key, failure.class().as_str());
            }
        }
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
            if let Some(status) = status
                && let Err(failure) = self.writer.policy_status(&id, &status).await
                && failure.class() != FailureClass::NotFound
                // One that cannot be read; its status is written.
                && !failure.is_unreadable_answer()
            {
                result = Err(failure);
            }
        }
        self.shared.metrics.policies(active);
        result
    }

    /// Drops StorageEvents that were kept long enough.
    async fn retention(&self) -> Result<Option<Duration>, Failure> {
        let keep = self.shared.settings.keep_storage_events;
        let now = Timestamp::now();
        let Ok(before) = now.checked_sub(keep) else {
            return Ok(Some(RETENTION_EVERY));
        };
        let ended = self.shared.index().events_ended_before(before);
        for event in ended {
            self.writer.drop_event(&event).await?;
        }
        Ok(Some(RETENTION_EVERY))
    }
}
