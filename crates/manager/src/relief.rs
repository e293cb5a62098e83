//! WAL relief: each that is due is recorded and run, and each that was not ended is taken up.
//!
//! A look at a Cluster asks for them and goes on: no growth waits for a relief. Each runs as a task of its own, one for an instance
//! at most and four in all. Its journal is its StorageEvent; a task that is dropped (the manager stops, or has lost its
//! lease) is taken up from there, by whoever leads then.

mod climb;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use csm_api::{
    ClusterReference, EventType, Outcome, StorageEvent, StorageEventSpec, StorageEventStatus, Trigger, VolumeReference, WalCleanupSpec,
};
use csm_core::explain;
use csm_core::plan::{Decision, InstanceRelief, Occasion, Plan};
use csm_core::resolve::Resolution;
use csm_core::world::{ClusterKey, World};
use csm_core::{admit, relief};
use csm_gather::index::Snapshot;
use csm_gather::relief::{instance_of, is_done, is_dry_run, needs_permission, tried_at};
use csm_runtime::backoff::Backoffs;
use csm_runtime::exec::KubeExec;
use csm_runtime::tasks::caught;
use csm_runtime::{Failure, LeaseLost};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::climb::Climb;
use crate::apply::{BegunRelief, Note, ReliefStatus, Writer};
use crate::report;
use crate::report::metrics;
use crate::shared::{Key, Shared};

/// Reliefs that run at a time: each holds a WebSocket through the API server and a kubelet, for minutes where a checkpoint is large.
const AT_A_TIME: usize = 4;

/// A relief that freed nothing is not made again before: what it found does not change at once, and each leaves a record.
const REST: SignedDuration = SignedDuration::from_mins(5);

/// An instance of a Cluster, by the Cluster's UID.
type Place = (Arc<str>, Arc<str>);

/// Runs reliefs.
pub struct Reliefs {
    shared: Arc<Shared>,
    writer: Writer,
    exec: KubeExec,
    /// The record that is run, by instance.
    under_way: Arc<Mutex<HashMap<Place, String>>>,
    backoffs: Arc<Mutex<Backoffs<Place>>>,
    turns: Arc<Semaphore>,
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
}

/// What a look at a Cluster came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// There are records that were not known: look again at once.
    pub outdated: bool,
    /// One that waits for its turn may be begun then.
    pub look_at: Option<Timestamp>,
}

impl Reliefs {
    /// Writes through `writer`, and runs commands by its client.
    #[must_use]
    pub fn new(shared: Arc<Shared>, writer: Writer) -> Arc<Self> {
        Arc::new(Self {
            exec: KubeExec::new(writer.client()),
            shared,
            writer,
            under_way: Arc::default(),
            backoffs: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            tasks: Mutex::default(),
            stop: CancellationToken::new(),
        })
    }

    /// Resolves once told to stop and all have been dropped: what they have begun stands in their journals.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        stop.cancelled().await;
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }

    /// Takes up what is recorded and has not ended, and begins what is due by a plan that was checked.
    ///
    /// # Errors
    /// The first failure; all others are asked for nevertheless.
    pub async fn ask(&self, snapshot: &Snapshot, world: &World, plan: Option<&Plan>, now: Timestamp) -> Result<Asked, Failure> {
        let mut result = Ok(());
        if !self.shared.settings.wal_relief {
            // One that was begun is left for when it is on again.
            for event in snapshot.reliefs().filter(|event| !is_done(event) && needs_permission(event)) {
                let refused = self.refuse(
                    snapshot,
                    event,
                    "WAL relief is switched off; set walRelief to true in the manager's settings (--wal-relief), and kubectl apply -f deploy/wal-cleanup.yaml",
                    now,
                );
                result = result.and(refused.await);
            }
            return result.map(|()| Asked::default());
        }
        for event in snapshot.reliefs().filter(|event| !is_done(event)) {
            result = result.and(self.take_up(snapshot, world, event, now).await);
        }
        let mut asked = Asked::default();
        for decision in plan.iter().flat_map(|plan| &plan.decisions) {
            for due in decision.relief.iter().flat_map(csm_core::plan::Relief::due) {
                match self.begin(snapshot, world, decision, due, now).await {
                    Ok(one) => {
                        asked.outdated |= one.outdated;
                        asked.look_at = asked.look_at.into_iter().chain(one.look_at).min();
                    }
                    Err(failure) => result = result.and(Err(failure)),
                }
                if asked.outdated {
                    return Ok(asked);
                }
            }
        }
        result.map(|()| asked)
    }

    /// One that has not ended.
    async fn take_up(&self, snapshot: &Snapshot, world: &World, event: &Arc<StorageEvent>, now: Timestamp) -> Result<(), Failure> {
        let Some(instance) = instance_of(event) else { return Ok(()) };
        let place: Place = (snapshot.cluster.uid.clone(), Arc::from(instance));
        let other = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned();
        if other.as_ref().is_some_and(|name| *name == event.name_any()) {
            return Ok(());
        }
        if !needs_permission(event) {
            if other.is_none() {
                self.start(snapshot, event, place);
            }
            return Ok(());
        }
        let begun = |other: &&Arc<StorageEvent>| {
            let is_another = other.name_any() != event.name_any() && instance_of(other) == Some(instance);
            is_another && !is_done(other) && !needs_permission(other)
        };
        let other = other.or_else(|| snapshot.reliefs().find(begun).map(|other| other.name_any()));
        let refused = match other {
            Some(other) => Some(format!(
                "a relief of {instance} is under way ({other}); see what it comes to, then ask again"
            )),
            None => relief::permission(world, instance, is_dry_run(event), now)
                .err()
                .map(|refusal: admit::Refusal| refusal.message),
        };
        if let Some(why) = refused {
            return self.refuse(snapshot, event, &why, now).await;
        }
        self.start(snapshot, event, place);
        Ok(())
    }

    async fn refuse(&self, snapshot: &Snapshot, event: &StorageEvent, why: &str, now: Timestamp) -> Result<(), Failure> {
        let message = format!("not begun, nothing was changed: {why}");
        let status = StorageEventStatus::ended(Outcome::Refused, message, Time(now));
        match self.writer.relief_status(event, &status).await? {
            ReliefStatus::Written(written) => {
                tracing::info!(namespace = %snapshot.key.namespace, cluster = %snapshot.key.name, operation = event.name_any(), why, "a relief of WAL that a person asked for is refused");
                let note = report::relief::refused(event, why);
                self.shared.index().put_event(*written);
                note_on(&self.shared, &self.writer, &snapshot.key, &snapshot.cluster.uid, &note, now).await;
                Ok(())
            }
            ReliefStatus::Unwritten(_, failure) => Err(failure),
            // The watch brings what is there.
            ReliefStatus::Overtaken => Ok(()),
        }
    }

    /// One that is due.
    async fn begin(
        &self,
        snapshot: &Snapshot,
        world: &World,
        decision: &Decision,
        due: &InstanceRelief,
        now: Timestamp,
    ) -> Result<Asked, Failure> {
        let Resolution::Settings(settings) = &*world.resolution else {
            return Ok(Asked::default());
        };
        let place = (snapshot.cluster.uid.clone(), due.instance.clone());
        let of_instance = || snapshot.reliefs().filter(|event| instance_of(event) == Some(&*due.instance));
        let is_taken = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&place);
        if is_taken || of_instance().any(|event| !is_done(event)) {
            return Ok(Asked::default());
        }
        // One that freed nothing is not made again at once either: what it found will not have changed.
        let last = of_instance().filter_map(|event| tried_at(event)).max();
        let rests_until = last.and_then(|last| last.checked_add(settings.wal_cleanup.cooldown.value.max(REST)).ok());
        if let Some(until) = rests_until.filter(|until| *until > now) {
            return Ok(Asked {
                look_at: Some(until),
                ..Asked::default()
            });
        }
        let rules = settings.wal_cleanup.rules();
        let volume = VolumeReference {
            role: decision.volume.role,
            tablespace: None,
        };
        let spec = StorageEventSpec {
            cluster_ref: Some(ClusterReference {
                name: snapshot.key.name.to_string(),
                uid: snapshot.cluster.uid.to_string(),
            }),
            event_type: EventType::WalCleanup,
            trigger: Trigger::Emergency,
            volume: Some(volume.clone()),
            reason: match due.occasion {
                Occasion::Level { .. } => csm_api::Reason::UsageThreshold,
                Occasion::Held { gate, .. } => gate,
            },
            message: explain::relief(decision).join("; "),
            expansion: None,
            wal_cleanup: Some(WalCleanupSpec {
                instance: due.instance.to_string(),
                dry_run: None,
                retain_count: i32::try_from(rules.retain_count).unwrap_or(i32::MAX),
                require_archived: Some(rules.require_archived),
                goal_bytes: None,
            }),
            circuit_breaker: None,
        };
        let known = |name: &str| snapshot.knows(name);
        let uid = &snapshot.cluster.uid;
        match self.writer.begin_relief(&snapshot.key, uid, &volume, spec, &known, now).await? {
            BegunRelief::Recorded(event) => {
                self.shared.index().put_event(event.as_ref().clone());
                self.start(snapshot, &event, place);
                Ok(Asked::default())
            }
            BegunRelief::Outdated(events) => {
                let mut index = self.shared.index();
                for event in events {
                    index.put_event(event);
                }
                Ok(Asked {
                    outdated: true,
                    ..Asked::default()
                })
            }
        }
    }

    /// Has a relief run, unless one of this instance does.
    fn start(&self, snapshot: &Snapshot, event: &StorageEvent, place: Place) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.contains_key(&place) || self.stop.is_cancelled() {
            return;
        }
        under_way.insert(place.clone(), event.name_any());
        drop(under_way);
        let key = snapshot.key.clone();
        tracing::info!(namespace = %key.namespace, cluster = %key.name, instance = %place.1, operation = event.name_any(), "relieves WAL");
        let climb = Climb::new(
            self.shared.clone(),
            self.writer.clone(),
            self.exec.clone(),
            key.clone(),
            place.clone(),
            event.clone(),
        );
        let (shared, under_way, backoffs) = (self.shared.clone(), self.under_way.clone(), self.backoffs.clone());
        let (turns, stop) = (self.turns.clone(), self.stop.clone());
        let task = async move {
            // It is never closed.
            let turn = turns.acquire().await;
            let ended = caught(Box::pin(climb.climb())).await;
            drop(turn);
            let delay = {
                let mut backoffs = backoffs.lock().unwrap_or_else(PoisonError::into_inner);
                match &ended {
                    Ok(Ok(true)) => {
                        backoffs.succeeded(&place);
                        None
                    }
                    // Whoever leads now goes on.
                    Ok(Err(LeaseLost)) => return,
                    Ok(Ok(false)) | Err(_) => Some(backoffs.failed(place.clone())),
                }
            };
            if let Err(panic) = &ended {
                shared.metrics.error(&key, metrics::PANIC);
                tracing::error!(namespace = %key.namespace, cluster = %key.name, instance = %place.1, error = %panic, retry_in = ?delay, "BUG: a relief of WAL panicked; it is taken up again");
            }
            if let Some(delay) = delay {
                tokio::time::sleep(delay).await;
            }
            under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
            shared.queue.add(Key::Cluster(key));
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }
}

/// An Event that cannot be recorded is not worth a second try: the StorageEvent says the same.
async fn note_on(shared: &Shared, writer: &Writer, key: &ClusterKey, uid: &str, note: &Note, now: Timestamp) {
    if let Err(failure) = writer.note(key, uid, note, now).await {
        tracing::warn!(namespace = %key.namespace, cluster = %key.name, event = %note.reason, error = failure.message(), "could not record an Event");
        shared.metrics.error(key, failure.class().as_str());
    }
}
