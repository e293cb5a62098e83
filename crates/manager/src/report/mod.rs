//! What people are told: metrics, status, annotations and Events, all from the planner's decisions.

pub mod annotations;
pub mod metrics;
pub mod notes;
pub mod policies;
pub mod status;

use csm_api::{Reason, State, Verdict};
use csm_core::alerts::AlertId;
use csm_core::plan::{Decision, Plan};
use csm_core::world::VolumeKey;

/// The decisions on one Cluster, as the metrics show them.
#[derive(Clone, Debug)]
pub struct ClusterReport {
    pub managed: bool,
    /// Alerts that are due.
    pub alerts: Box<[AlertId]>,
    pub volumes: Box<[VolumeReport]>,
}

/// The decision on one volume, as the metrics show it. The figures beside it are the index's.
#[derive(Clone, Debug)]
pub struct VolumeReport {
    pub volume: VolumeKey,
    pub verdict: Verdict,
    pub reason: Reason,
    pub state: State,
    pub at_limit: bool,
    /// What holds a growth that is wanted.
    pub blocked: Option<Reason>,
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
    /// From a plan, and the alerts that are due.
    #[must_use]
    pub fn new(plan: &Plan, alerts: impl Iterator<Item = AlertId>) -> Self {
        let volumes = plan.decisions.iter().map(|decision| VolumeReport {
            volume: decision.volume.clone(),
            verdict: decision.verdict,
            reason: decision.reason,
            state: decision.state,
            at_limit: decision.at_limit,
            blocked: blocked_by(decision),
        });
        let managed = plan.decisions.iter().any(|d| d.reason != Reason::NoPolicy) && !plan.decisions.is_empty();
        Self {
            managed,
            alerts: alerts.collect(),
            volumes: volumes.collect(),
        }
    }
}
