//! Which pods to touch so that their kubelets look at once: a kubelet expands a mounted filesystem at its next sync of the
//! pod, up to a minute and more after the volume has grown, and any update of the Pod object is such a sync (lab.md).

use csm_api::{Growth, PvcPhase, StorageEventStatus, Urgency};

use crate::operation::saves;
use crate::world::{Member, ResizeStage, Volume};

/// An annotation to write to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nudge {
    /// Name of the pod: the instance's.
    pub pod: String,
    /// What the annotation is to say.
    pub value: String,
}

/// So many operations are named at a time: no pod has more volumes that grow at once, and more says nothing.
const NAMED: usize = 8;

/// The pods to nudge for an operation: once each, of what is urgent, when the node's turn has come. That it was done stands
/// in the annotation, which names the operations that it was done for.
#[must_use]
pub fn due(event: &Growth, status: &StorageEventStatus, volume: Option<&Volume>) -> Vec<Nudge> {
    let urgent = saves(&event.spec) || event.spec.urgency() == Urgency::Runway;
    let (Some(volume), Some(operation), true) = (volume, event.metadata.name.as_deref(), urgent) else {
        return Vec::new();
    };
    let waits = |m: &&Member| {
        let of_member = |s: &&csm_api::PvcStatus| *s.uid == *m.uid;
        let phase = status.pvc_statuses.iter().find(of_member).map(|s| s.phase);
        let stage = m.resize.as_ref().map(|r| r.stage);
        phase == Some(PvcPhase::WaitingForNode) && stage == Some(ResizeStage::NodePending) && m.node.is_some()
    };
    let nudge = |m: &Member| {
        let mut names: Vec<&str> = split(m.nudged.as_deref()).collect();
        if names.contains(&operation) {
            return None;
        }
        names.push(operation);
        let first = names.len().saturating_sub(NAMED);
        Some(Nudge {
            pod: m.instance.to_string(),
            value: names.get(first..)?.join(","),
        })
    };
    volume.members.iter().filter(waits).filter_map(nudge).collect()
}

/// The operations that an annotation names.
fn split(value: Option<&str>) -> impl Iterator<Item = &str> {
    value.into_iter().flat_map(|names| names.split(',')).filter(|name| !name.is_empty())
}
