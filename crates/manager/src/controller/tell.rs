//! What a look at a Cluster came to, for people: status, Events and annotations.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use csm_api::{LastDecision, PostgresStorage, RootCause};
use csm_core::explain;
use csm_core::plan::{Decision, Plan};
use csm_core::resolve::Resolution;
use csm_core::world::World;
use csm_gather::index::Snapshot;
use csm_gather::views::ClusterView;
use csm_runtime::{Failure, FailureClass};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Controller;
use crate::apply::Note;
use crate::report;
use crate::settings::CreatePostgresStorage;
use crate::shared::Key;

/// Live figures in a status are written at most so often.
const STATUS_FIGURES: Duration = Duration::from_mins(1);

impl Controller {
    /// Events, status and annotations. None of them holds a growth up: the first failure is returned at the end.
    pub(super) async fn report(&self, snapshot: &Snapshot, world: &World, plan: &Plan, now: Timestamp) -> Result<(), Failure> {
        let status = self.report_status(snapshot, world, plan, now).await;
        let annotated = match report::annotations::due(snapshot, plan, now) {
            Some(annotations) => match self.writer.annotate(&snapshot.key, &snapshot.cluster.uid, &annotations).await {
                Ok(cluster) => {
                    let view = ClusterView::of(&cluster);
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
        let Some(storage) = self.storage_of(snapshot).await? else {
            return Ok(());
        };
        let mut snapshot = snapshot.clone();
        snapshot.storage = Some(storage.clone());
        let old = storage.status.clone().unwrap_or_default();
        let new = report::status::status(&snapshot, world, plan, &self.refusals.of(key), now);
        if !report::status::news(&old, &new) {
            if !report::status::moved(&old, &new) {
                return Ok(());
            }
            let last = self.written.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
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
            let sizing = old.storage_sizing.as_ref();
            let told = sizing.and_then(|s| report::status::sizing_of(s, &decision.volume));
            let sizing = new.storage_sizing.as_ref();
            let cause = sizing.and_then(|s| report::status::sizing_of(s, &decision.volume)?.root_cause.as_ref());
            self.tell(&snapshot, decision, told.map(|s| &s.last_decision), cause, now).await;
        }
        Ok(())
    }

    /// The Cluster's PostgresStorage, created where the settings want one and there is none.
    async fn storage_of(&self, snapshot: &Snapshot) -> Result<Option<Arc<PostgresStorage>>, Failure> {
        if let Some(storage) = &snapshot.storage {
            return Ok(Some(storage.clone()));
        }
        let wanted = match self.shared.settings.create_postgres_storage {
            CreatePostgresStorage::Never => false,
            CreatePostgresStorage::All => true,
            CreatePostgresStorage::Managed => !matches!(&*snapshot.resolution, Resolution::NoPolicy),
        };
        if !wanted || snapshot.cluster.deleting {
            return Ok(None);
        }
        let created = self.writer.create_storage(&snapshot.key, &snapshot.cluster.uid).await?;
        self.shared.index().put_storage(created.clone());
        Ok(Some(Arc::new(created)))
    }

    /// Tells of a decision that is another than the one that was told last.
    async fn tell(&self, snapshot: &Snapshot, decision: &Decision, told: Option<&LastDecision>, cause: Option<&RootCause>, now: Timestamp) {
        if told.is_none_or(|t| t.verdict != decision.verdict || t.reason != decision.reason || t.urgency != decision.urgency) {
            let key = &snapshot.key;
            tracing::info!(namespace = %key.namespace, cluster = %key.name, volume = %decision.volume, reason = %decision.reason, verdict = %decision.verdict, state = %decision.state, "{}", explain::sentence(decision));
        }
        if let Some(note) = report::notes::of_decision(decision, told, cause) {
            self.note(snapshot, &note, now).await;
        }
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
}
