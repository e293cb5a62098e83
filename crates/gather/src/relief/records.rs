//! StorageEvents that record reliefs of WAL.

use std::sync::Arc;

use csm_api::{EventType, Phase, Rung, StorageEvent, Trigger};
use jiff::Timestamp;

use crate::index::Snapshot;

impl Snapshot {
    /// The reliefs of WAL of this very Cluster.
    pub fn reliefs(&self) -> impl Iterator<Item = &Arc<StorageEvent>> {
        let uid = &*self.cluster.uid;
        let is_ours = move |event: &&Arc<StorageEvent>| {
            let of_cluster = event.spec.cluster_ref.as_ref().is_some_and(|of| *of.uid == *uid);
            of_cluster && event.spec.event_type == EventType::WalCleanup
        };
        self.records.iter().filter(is_ours)
    }
}

fn phase(event: &StorageEvent) -> Option<Phase> {
    event.status.as_ref().and_then(|status| status.phase)
}

/// The instance whose WAL a relief is about.
#[must_use]
pub fn instance_of(event: &StorageEvent) -> Option<&str> {
    Some(event.spec.wal_cleanup.as_ref()?.instance.as_str())
}

/// Whether it changes nothing.
#[must_use]
pub fn is_dry_run(event: &StorageEvent) -> bool {
    event.spec.wal_cleanup.as_ref().is_some_and(|asked| asked.dry_run == Some(true))
}

/// Whether it has ended.
#[must_use]
pub fn is_done(event: &StorageEvent) -> bool {
    phase(event).is_some_and(Phase::is_end)
}

/// Whether it has ended badly: something failed, or there was no proof.
#[must_use]
pub fn has_failed(event: &StorageEvent) -> bool {
    phase(event) == Some(Phase::Failed)
}

/// Whether a person asks for it, and it has not begun: only the manager writes its status.
#[must_use]
pub fn needs_permission(event: &StorageEvent) -> bool {
    event.spec.trigger == Trigger::Manual && phase(event).is_none_or(|phase| phase == Phase::Pending)
}

/// When it was begun, by its status, or else recorded.
#[must_use]
pub fn started_at(event: &StorageEvent) -> Option<Timestamp> {
    let begun = event.status.as_ref().and_then(|status| status.start_time.as_ref());
    begun.or(event.metadata.creation_timestamp.as_ref()).map(|at| at.0)
}

/// When it ended, where it was tried: not where a person's was turned down, and not a dry run.
#[must_use]
pub fn tried_at(event: &StorageEvent) -> Option<Timestamp> {
    let status = event.status.as_ref().filter(|_| is_done(event) && !is_dry_run(event))?;
    status.wal_cleanup.as_ref()?;
    status.completion_time.as_ref().map(|at| at.0)
}

/// When WAL was removed by it: from the moment on at which the removal was begun, however it goes on; by its end, where nothing
/// was, it was not.
#[must_use]
pub fn removed_at(event: &StorageEvent) -> Option<Timestamp> {
    let status = event.status.as_ref()?;
    let found = status.wal_cleanup.as_ref()?;
    let removal = found.rungs.iter().find(|rung| rung.rung == Rung::Removal)?;
    if found.files_removed.map_or(is_done(event), |removed| removed <= 0) {
        return None;
    }
    let at = removal.ended_at.as_ref().unwrap_or(&removal.started_at);
    Some(at.0)
}
