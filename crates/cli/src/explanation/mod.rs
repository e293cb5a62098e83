//! One cluster as `explain` shows it: plain data, which `-o json` prints as it is. `status CLUSTER` shows parts of it.

mod build;
mod spec_sizes;

use std::collections::BTreeMap;

use csm_api::{LastDecision, Model, Phase, PvcPhase, Reason, RootCause, State, Urgency, Verdict, VerifiedBy};
use csm_units::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::decisions::ReliefWanted;
use crate::figures::Trust;
use crate::read::Manager;

pub use build::explain;
pub use spec_sizes::{SpecSize, SpecSizes};

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub cluster: String,
    /// Number of instances that its spec asks for.
    pub instances: Option<i32>,
    /// Its primary.
    pub primary: Option<String>,
    /// What CloudNativePG says of it.
    pub phase: Option<String>,
    /// Whether its volumes grow.
    pub dynamic_sizing: DynamicSizing,
    /// The policies that manage it, most specific first.
    pub policies: Vec<String>,
    /// Whether the manager runs.
    pub manager: Manager,
    /// Whether the manager has ever reported on it.
    pub reported: bool,
    /// When the newest figures were taken.
    pub observed_at: Option<Timestamp>,
    /// Whether old figures are taken as current, since the manager would have written others.
    pub figures_taken_as_current: bool,
    /// Each effective setting that all its volumes share.
    pub settings: Vec<Setting>,
    /// Its volumes: data, wal, tablespaces by name.
    pub volumes: Vec<VolumeExplanation>,
    /// Sizes in the Cluster's own spec that lag behind those of its volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec_sizes: Option<SpecSizes>,
}

/// Whether a cluster's volumes grow, and why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DynamicSizing {
    /// They do.
    pub enabled: bool,
    /// In words.
    pub text: String,
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// Its name.
    pub field: String,
    /// Its value.
    pub value: String,
    /// The object that it comes from.
    pub from: String,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeExplanation {
    /// Its name.
    pub volume: String,
    /// How it is sized; none where its settings could not be resolved.
    pub model: Option<Model>,
    /// Each effective setting of its own.
    pub settings: Vec<Setting>,
    /// The growths of the last 24 hours, and what they leave.
    pub budget: BudgetExplanation,
    /// Its maintenance window, where it has one.
    pub window: Option<WindowExplanation>,
    /// How long until it is full, as the manager wrote it, such as "85m"; none where it does not fill.
    pub time_to_full: Option<String>,
    /// What the planner would do.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// How pressing it is.
    pub urgency: Option<Urgency>,
    /// The state.
    pub state: State,
    /// In a sentence.
    pub message: String,
    /// The largest size that a member has or asks for.
    pub effective_size: Bytes,
    /// The size that members would grow to.
    pub to: Option<Bytes>,
    /// What is wanted and held.
    pub wanted: Option<WantedGrowth>,
    /// The size that it may not pass.
    pub limit: Option<Bytes>,
    /// Where that comes from: the setting, and the object that sets it.
    pub limit_from: Option<String>,
    /// When what is wanted can go, where time alone opens it.
    pub next_action_at: Option<Timestamp>,
    /// What a person should know besides.
    pub warnings: Vec<String>,
    /// WAL relief, beside the growth.
    pub relief: ReliefWanted,
    /// The figures that the verdict rests on.
    pub inputs: BTreeMap<String, String>,
    /// Why it fills, as the manager last wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_cause: Option<RootCause>,
    /// What the manager itself last decided.
    pub last_decision: Option<LastDecision>,
    /// Whether that is something else.
    pub differs: bool,
    /// Its members, in the order in which they are patched.
    pub members: Vec<MemberExplanation>,
    /// The newest operation.
    pub operation: Option<OperationReport>,
    /// Every gate, in the order in which they are asked.
    pub gates: Vec<GateExplanation>,
}

/// The growths of a volume in the last 24 hours, and what they leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetExplanation {
    /// The most there may be; none: no limit.
    pub max_actions_per_day: Option<u32>,
    /// How many there were, catch-ups aside.
    pub actions_last_24h: u32,
    /// How many planned ones may follow; none: no limit.
    pub available_for_planned: Option<u32>,
    /// How many more are kept for emergencies.
    pub available_for_emergency: Option<u32>,
    /// When the oldest of them no longer counts.
    pub resets_at: Option<Timestamp>,
}

/// A maintenance window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowExplanation {
    /// When it closes, where it is open.
    pub open_until: Option<Timestamp>,
    /// When it opens next.
    pub next: Option<Timestamp>,
}

/// A growth that is wanted and held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WantedGrowth {
    /// Why it is wanted.
    pub reason: Reason,
    /// How pressing it is.
    pub urgency: Urgency,
    /// To which size.
    pub to: Option<Bytes>,
    /// What holds it.
    pub held_by: Reason,
}

/// One PVC.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberExplanation {
    /// The instance.
    pub instance: String,
    /// Whether it is the primary.
    pub primary: bool,
    /// The PVC.
    pub pvc: String,
    /// Its storage class.
    pub storage_class: String,
    /// The node of its pod.
    pub node: Option<String>,
    /// Whether its pod runs.
    pub running: bool,
    /// What it has.
    pub size: Bytes,
    /// What it asks for.
    pub request: Bytes,
    /// What it would ask for.
    pub to: Option<Bytes>,
    /// Bytes used.
    pub used_bytes: Option<i64>,
    /// Bytes available.
    pub available_bytes: Option<i64>,
    /// used / (used + available), rounded down.
    pub percent_used: Option<i32>,
    /// When the figures were taken.
    pub observed_at: Option<Timestamp>,
    /// How far they can be relied on.
    pub figures: Option<Trust>,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationReport {
    /// The volume.
    pub volume: String,
    /// Name of the StorageEvent.
    pub event: String,
    /// How far it has come.
    pub phase: Phase,
    /// Size before.
    pub from: Bytes,
    /// Size asked for.
    pub to: Bytes,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What came of it, in words.
    pub message: Option<String>,
    /// Each PVC, in the order in which they are patched.
    pub pvcs: Vec<PvcReport>,
}

impl OperationReport {
    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase.is_end()
    }
}

/// One PVC of an operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PvcReport {
    /// Its name.
    pub pvc: String,
    /// The instance.
    pub instance: String,
    /// How far it has come.
    pub phase: PvcPhase,
    /// The size that it has.
    pub size: Bytes,
    /// When the API server accepted the new request.
    pub patched_at: Option<Timestamp>,
    /// What showed that it has grown.
    pub verified_by: Option<VerifiedBy>,
    /// What went wrong.
    pub error: Option<String>,
}

/// One gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GateExplanation {
    /// Its name.
    pub gate: &'static str,
    /// What it says.
    pub answer: Answer,
    /// The reason with which it holds, or would.
    pub reason: Option<Reason>,
    /// What it looks at, by name.
    pub inputs: BTreeMap<String, String>,
}

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It lets pass.
    Open,
    /// It is the first that holds: its reason is the decision's.
    Holds,
    /// It holds as well, behind another.
    HoldsToo,
    /// Settings could not be resolved: there is nothing that it could hold.
    NotAsked,
    /// Nothing is wanted; it would hold a planned growth.
    WouldHold,
}
