//! The record of a growth, written before anything is touched.

use csm_api::{AffectedPvc, ClusterReference, ExpansionSpec, GrowthSpec, PvcPhase, PvcStatus, Trigger, Urgency, Verdict, VolumeReference};

use crate::plan::Decision;
use crate::resolve::Resolution;
use crate::world::{Member, World};

/// The record of a growth that was decided, written before anything is touched. None where the decision is no growth.
#[must_use]
pub fn record(world: &World, decision: &Decision, parallelism: i32, message: String) -> Option<GrowthSpec> {
    let to = decision.to?;
    let volume = world.volumes.iter().find(|v| v.key == decision.volume)?;
    let affected_pvcs: Vec<AffectedPvc> = decision
        .members
        .iter()
        .filter(|plan| plan.to.is_some())
        .filter_map(|plan| volume.members.iter().find(|m| m.uid == plan.uid))
        .map(affected)
        .collect();
    if affected_pvcs.is_empty() {
        return None;
    }
    Some(GrowthSpec {
        cluster_ref: ClusterReference {
            name: world.cluster.key.name.to_string(),
            uid: world.cluster.uid.to_string(),
        },
        rescue: decision.rescues(),
        trigger: trigger(world, decision),
        volume: VolumeReference {
            role: decision.volume.role,
            tablespace: decision.volume.tablespace.as_deref().map(str::to_owned),
        },
        reason: decision.reason,
        message,
        expansion: ExpansionSpec {
            original_size: decision.from,
            requested_size: to,
            parallelism,
            affected_pvcs,
        },
    })
}

/// What a decision is recorded as. A catch-up is recorded as one, also where it brings a full disk back.
fn trigger(world: &World, decision: &Decision) -> Trigger {
    if decision.verdict == Verdict::CatchUp {
        return Trigger::CatchUp;
    }
    let windowed = match &*world.resolution {
        Resolution::Settings(settings) => settings.volumes.of(&decision.volume).is_ok_and(|rules| rules.window.is_some()),
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => false,
    };
    Trigger::of(decision.urgency.unwrap_or(Urgency::Planned), decision.reason, windowed)
}

/// A PVC as it is recorded before it grows.
pub(crate) fn affected(member: &Member) -> AffectedPvc {
    AffectedPvc {
        name: member.pvc.to_string(),
        uid: member.uid.to_string(),
        instance: member.instance.to_string(),
        node: member.node.as_deref().map(str::to_owned),
        storage_class: Some(member.class.name.to_string()).filter(|name| !name.is_empty()),
        original_size: member.bytes(),
        filesystem_bytes: member.figures().and_then(|o| i64::try_from(o.capacity.get()).ok()),
    }
}

/// The journal of a PVC that was not patched yet.
pub(crate) fn journal_of(pvc: &AffectedPvc) -> PvcStatus {
    PvcStatus {
        name: pvc.name.clone(),
        uid: pvc.uid.clone(),
        phase: PvcPhase::Pending,
        original_size: pvc.original_size,
        filesystem_bytes: None,
        new_size: None,
        patched_at: None,
        controller_done_at: None,
        filesystem_resized: None,
        verified_by: None,
        error: None,
        failure: None,
        recovery: None,
        learned_ceiling: None,
    }
}
