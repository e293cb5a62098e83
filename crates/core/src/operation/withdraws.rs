//! What an operation may have asked for without an answer, when it ends.
//!
//! A patch whose connection breaks may be lost, or may be applied whenever it gets there: after a person has paused the
//! Cluster, and after the operation has ended without it. It carries the version of the PVC that it was made for. So that
//! no growth is ever done that no record tells of, each PVC that may have been asked, and does not show it, gets a new version
//! before the operation ends: what comes late is refused as a conflict then.

use csm_api::{Growth, Phase, PvcPhase, PvcStatus, StorageEventStatus};

use super::{Context, Withdrawal};

/// The operation's name, by which a PVC says that it was withdrawn.
fn name_of(event: &Growth) -> &str {
    event.metadata.name.as_deref().unwrap_or_default()
}

/// Whether a PVC says that this operation asks no more for it; none where it is gone.
fn says_so(event: &Growth, pvc: &PvcStatus, context: &Context<'_>) -> Option<bool> {
    let mut members = context.volume?.members.iter();
    let member = members.find(|member| *member.uid == *pvc.uid)?;
    Some(member.withdrawn.as_deref() == Some(name_of(event)))
}

/// Whether the PVC is there, and says that this operation asks no more for it.
pub(super) fn is_withdrawn(event: &Growth, pvc: &PvcStatus, context: &Context<'_>) -> bool {
    says_so(event, pvc, context) == Some(true)
}

/// Whether a PVC may have been asked for something that it does not show: to grow, or to step back.
fn may_have_been_asked(pvc: &PvcStatus) -> bool {
    pvc.phase == PvcPhase::Pending || pvc.recovery.as_ref().is_some_and(|recovery| recovery.asked_at.is_none())
}

/// The PVCs that are to get a new version before the operation ends. Before its record said that it is under way, nothing was
/// asked for.
pub(super) fn due(event: &Growth, status: &StorageEventStatus, context: &Context<'_>) -> Vec<Withdrawal> {
    let begun = event.status.as_ref().and_then(|status| status.phase) == Some(Phase::InProgress);
    let asked = status.pvc_statuses.iter().filter(|s| begun && may_have_been_asked(s));
    let due = asked.filter(|s| says_so(event, s, context) == Some(false));
    due.map(|s| Withdrawal {
        pvc: s.name.clone(),
        uid: s.uid.clone(),
        operation: name_of(event).to_owned(),
    })
    .collect()
}
