//! Operations under way: their next steps, their ends, and what comes out after these.

use std::sync::Arc;
use std::time::Duration;

use csm_api::{Growth, Outcome, Phase};
use csm_core::breaker::Ending;
use csm_core::rescue::Times;
use csm_core::world::World;
use csm_core::{admit, operation};
use csm_gather::index::Snapshot;
use csm_gather::retry;
use csm_gather::views::{has_begun, volume_of};
use csm_gather::world::failures_before;
use csm_runtime::Failure;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::Controller;
use crate::apply::Advanced;
use crate::report;
use crate::rescue;

impl Controller {
    /// Goes on with the operations under way. Returns whether anything was written, and whether any is left.
    pub(super) async fn follow(&self, snapshot: &Snapshot, world: &World, now: Timestamp) -> (Result<Advanced, Failure>, bool) {
        // What a person asked for of another Cluster of this name is refused.
        let of_cluster = |event: &&Arc<Growth>| {
            let is_ours = *event.spec.cluster_ref.uid == *snapshot.cluster.uid || !has_begun(event);
            is_ours && !event.is_done()
        };
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
        // Somebody has removed what was to grow: nothing failed.
        let gone = event.outcome() == Some(Outcome::Gone);
        if !event.was_turned_down() && !gone {
            self.shared.metrics.expanded(
                &snapshot.key,
                volume_of(event),
                success,
                bytes,
                took.and_then(|t| Duration::try_from(t).ok()),
            );
        }
        if event.spec.rescues() && !gone {
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
        } else if gone {
            tracing::info!(%namespace, %cluster, %volume, operation, message, "its PVCs are gone");
        } else {
            tracing::warn!(%namespace, %cluster, %volume, operation, reason = %event.spec.reason, to = %event.spec.expansion.requested_size, message, "expansion failed");
        }
        if let Some(note) = report::notes::of_operation(event, world) {
            self.note(snapshot, &note, now).await;
        }
    }

    /// What comes out after an operation has ended: whether filesystems really grew, and when instances are ready again.
    pub(super) async fn settle(&self, snapshot: &Snapshot, world: &World, now: Timestamp) -> Result<(), Failure> {
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
}
