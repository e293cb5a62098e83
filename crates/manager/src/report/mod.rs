//! What people are told: metrics, status, annotations and Events, all from the planner's decisions.

pub mod annotations;
pub mod metrics;
pub mod notes;
pub mod policies;
pub mod status;

use std::sync::Arc;

use csm_api::{Reason, State, Verdict};
use csm_core::plan::{Decision, Plan};
use csm_core::world::{ClusterKey, Observation, VolumeKey, World};
use csm_units::Bytes;

/// One Cluster, as the metrics show it.
#[derive(Clone, Debug)]
pub struct ClusterReport {
    pub key: ClusterKey,
    pub managed: bool,
    pub volumes: Vec<VolumeReport>,
}

/// One volume, as the metrics show it.
#[derive(Clone, Debug)]
pub struct VolumeReport {
    pub volume: VolumeKey,
    pub verdict: Verdict,
    pub reason: Reason,
    pub state: State,
    pub at_limit: bool,
    /// What holds a growth that is wanted.
    pub blocked: Option<Reason>,
    pub effective: Bytes,
    pub target: Option<Bytes>,
    pub members: Vec<MemberReport>,
}

/// One PVC, as the metrics show it.
#[derive(Clone, Debug)]
pub struct MemberReport {
    pub pvc: Arc<str>,
    pub instance: Arc<str>,
    pub size: Bytes,
    pub observation: Option<Observation>,
}

/// What holds a growth that is wanted; a growth that is under way is not held.
#[must_use]
pub fn blocked_by(decision: &Decision) -> Option<Reason> {
    decision
        .wanted
        .as_ref()
        .map(|wanted| wanted.held_by)
        .filter(|reason| *reason != Reason::ResizeInProgress)
}

impl ClusterReport {
    /// From a plan and the world that it was made for.
    #[must_use]
    pub fn new(world: &World, plan: &Plan) -> Self {
        let volumes = plan.decisions.iter().filter_map(|decision| {
            let volume = world.volumes.iter().find(|v| v.key == decision.volume)?;
            let members = volume.members.iter().map(|member| MemberReport {
                pvc: member.pvc.clone(),
                instance: member.instance.clone(),
                size: member.size,
                observation: member.figures().copied(),
            });
            Some(VolumeReport {
                volume: decision.volume.clone(),
                verdict: decision.verdict,
                reason: decision.reason,
                state: decision.state,
                at_limit: decision.at_limit,
                blocked: blocked_by(decision),
                effective: decision.from,
                target: decision.to.or(decision.wanted.as_ref().and_then(|w| w.to)),
                members: members.collect(),
            })
        });
        let managed = plan.decisions.iter().any(|d| d.reason != Reason::NoPolicy) && !plan.decisions.is_empty();
        Self {
            key: world.cluster.key.clone(),
            managed,
            volumes: volumes.collect(),
        }
    }
}
