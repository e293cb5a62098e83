//! What people are told: metrics, status, annotations and Events, all from the planner's decisions.

pub mod annotations;
mod conditions;
pub mod metrics;
pub mod notes;
pub mod policies;
pub mod relief;
pub mod root_cause;
pub mod status;
mod wal;

pub use self::conditions::why_open;
use csm_api::{Reason, State, Verdict};
use csm_core::alerts::AlertId;
use csm_core::plan::{self, Budget, Decision, Plan};
use csm_core::world::{VolumeKey, World};
use csm_units::Bytes;
use jiff::Timestamp;

/// The decisions on one Cluster, as the metrics show them.
#[derive(Clone, Debug)]
pub struct ClusterReport {
    pub managed: bool,
    /// A circuit breaker of its own holds growth.
    pub circuit_open: bool,
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
    /// What a person should know besides.
    pub warnings: Box<[Reason]>,
    pub state: State,
    pub at_limit: bool,
    /// What holds a growth that is wanted.
    pub blocked: Option<Reason>,
    /// Growths that the budget leaves; none: no limit.
    pub budget_remaining: Option<u32>,
    /// Planned ones of these.
    pub planned_remaining: Option<u32>,
    /// What it leaves for emergencies besides.
    pub emergency_remaining: Option<u32>,
    /// The largest size that a PVC has or asks for.
    pub effective: Bytes,
    /// The size that it grows to, or should; none: nothing is wanted.
    pub target: Option<Bytes>,
    /// Seconds until it is full, where it fills.
    pub time_to_full: Option<u64>,
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

/// Growths that a budget leaves, of whatever urgency; none: no limit.
#[must_use]
pub fn remaining(budget: &Budget) -> Option<u32> {
    let planned = budget.available_for_planned?;
    Some(planned.saturating_add(budget.available_for_emergency.unwrap_or(0)))
}

/// The size that a volume grows to, or should: of the growth under way, else of what is decided or held.
fn target(world: &World, decision: &Decision) -> Option<Bytes> {
    let under_way = world.operations.iter().filter(|o| o.volume == decision.volume && !o.done);
    let under_way = under_way.max_by_key(|o| o.started_at).map(|o| o.to);
    under_way.or(decision.to).or(decision.wanted.as_ref().and_then(|wanted| wanted.to))
}

impl ClusterReport {
    /// From the plan for a world, and the alerts that are due.
    #[must_use]
    pub fn new(world: &World, plan: &Plan, alerts: impl Iterator<Item = AlertId>, now: Timestamp) -> Self {
        let time_to_full = |volume| plan::time_to_full(world, now, volume).map(|time| time.as_secs().max(0).unsigned_abs());
        let volumes = plan.decisions.iter().map(|decision| VolumeReport {
            volume: decision.volume.clone(),
            verdict: decision.verdict,
            reason: decision.reason,
            warnings: decision.warnings.iter().map(|warning| warning.reason).collect(),
            state: decision.state,
            at_limit: decision.at_limit,
            blocked: blocked_by(decision),
            budget_remaining: remaining(&decision.budget),
            planned_remaining: decision.budget.available_for_planned,
            emergency_remaining: decision.budget.available_for_emergency,
            effective: decision.from,
            target: target(world, decision),
            time_to_full: time_to_full(&decision.volume),
        });
        let managed = plan.decisions.iter().any(|d| d.reason != Reason::NoPolicy) && !plan.decisions.is_empty();
        Self {
            managed,
            circuit_open: world.cluster.breaker.holds(now),
            alerts: alerts.collect(),
            volumes: volumes.collect(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test
pub(crate) mod testing {
    use csm_gather::offline::{File, Subject, read};
    use jiff::Timestamp;

    /// Noon.
    pub fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    /// The one Cluster of a Scenario at noon, under a StoragePolicy of these settings.
    pub fn subject(policy: &str, cluster: &str) -> Subject {
        let text = format!(
            "apiVersion: cnpg.supporttools.io/v1alpha1\nkind: StoragePolicy\nmetadata: {{name: standard, namespace: shop}}\nspec: {policy}\n\
             ---\nkind: Scenario\nnow: {}\nclusters: [{{name: orders, namespace: shop, {cluster}}}]\n",
            now()
        );
        let file = File {
            name: "world.yaml".to_owned(),
            text: text.into_bytes(),
            from_folder: false,
        };
        read(&[file], &[], None, now()).unwrap().subjects.remove(0)
    }
}
