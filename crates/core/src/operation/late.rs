//! Records that come to the API server late, when another operation has done their work.

use csm_api::{AffectedPvc, Growth, Outcome, PvcPhase, PvcStatus, StorageEventStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Progress;

/// Whether an operation waits for another one, which sees to the same PVCs and has begun, or was recorded before. A record may
/// come to the API server long after its manager has given it up, and has made another, or its successor has.
#[must_use]
pub fn is_behind(event: &Growth, other: &Growth) -> bool {
    let lists = |uid: &str| other.spec.expansion.affected_pvcs.iter().any(|pvc| pvc.uid == uid);
    let order = |e: &Growth| (e.metadata.creation_timestamp.clone(), e.metadata.name.clone());
    event.status.is_none()
        && !other.is_done()
        && (other.status.is_some() || order(other) < order(event))
        && event.spec.expansion.affected_pvcs.iter().any(|pvc| lists(&pvc.uid))
}

/// Whether the other operations have grown a PVC of one that has not begun, since the sizes that it was decided on: its
/// record came late, and it ends by [`overtaken`]. What is left to do is decided anew.
#[must_use]
pub fn is_overtaken<'a>(event: &Growth, others: impl Iterator<Item = &'a Growth> + Clone) -> bool {
    let has_grown = |pvc: &AffectedPvc, other: &Growth| {
        let size = other.spec.expansion.requested_size;
        let mut statuses = other.status.iter().flat_map(|s| &s.pvc_statuses);
        let grown = |s: &PvcStatus| s.uid == pvc.uid && s.phase == PvcPhase::Completed && s.patched_at.is_some();
        size > pvc.original_size && statuses.any(grown)
    };
    let pvcs = &event.spec.expansion.affected_pvcs;
    event.status.is_none() && pvcs.iter().any(|pvc| others.clone().any(|other| has_grown(pvc, other)))
}

/// The end of an operation that others have done already: nothing is patched, and it counts for nothing.
#[must_use]
pub fn overtaken(now: Timestamp) -> Progress {
    let message = "it was recorded late: another operation has grown its PVCs since it was decided";
    Progress::waits(StorageEventStatus::ended(Outcome::NothingToDo, message.to_owned(), Time(now)))
}
