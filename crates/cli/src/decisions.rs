//! What the planner decides on each volume, as `plan -o json` prints it: plain data, sizes in bytes.

use csm_api::{Model, Reason, State, Urgency, Verdict};
use csm_core::explain;
use csm_core::plan::{Decision, Plan, Relief, time_to_full};
use csm_core::resolve::{Origin, Resolution};
use csm_core::validate::Problem;
use csm_core::world::World;
use csm_gather::offline::InvalidSettings;
use csm_units::{Bytes, Percent};
use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What is decided at a moment.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decisions {
    /// The moment.
    pub now: Timestamp,
    /// By namespace and cluster; data, wal, tablespaces by name.
    pub decisions: Vec<VolumeDecision>,
    /// Settings that do not validate, and hold volumes.
    pub problems: Vec<InvalidBlock>,
}

/// What is decided on one volume.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeDecision {
    /// Namespace of the cluster.
    pub namespace: String,
    /// Name of the cluster.
    pub cluster: String,
    /// `data`, `wal` or `tablespace/NAME`.
    pub volume: String,
    /// How it is sized.
    pub model: Option<Model>,
    /// What is to be done.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// How pressing it is; of a Hold, of what is wanted.
    pub urgency: Option<Urgency>,
    /// The state.
    pub state: State,
    /// The effective size.
    #[serde(serialize_with = "bytes")]
    pub from: Bytes,
    /// The size that it grows to.
    #[serde(serialize_with = "maybe_bytes")]
    pub to: Option<Bytes>,
    /// What is wanted, where something is held or passed.
    pub wanted: Option<WantedSize>,
    /// The gates that a runway passed.
    pub passed: Vec<Reason>,
    /// A ceiling is set, and reached.
    pub at_limit: bool,
    /// Its PVCs, in the order in which they are patched.
    pub members: Vec<MemberSize>,
    /// The instance whose filesystem is the fullest.
    pub worst: Option<String>,
    /// Percent used of it, rounded down.
    pub percent_used: Option<u16>,
    /// How long until it is full, where it fills.
    pub time_to_full_seconds: Option<i64>,
    /// When time alone has opened what holds.
    pub next_action_at: Option<Timestamp>,
    /// The actions of the last 24 hours, and what they leave.
    pub budget: BudgetLeft,
    /// What a person should know besides.
    pub warnings: Vec<Caution>,
    /// WAL relief, beside the growth.
    pub relief: ReliefWanted,
    /// In a sentence.
    pub message: String,
    /// Each effective field, by name.
    pub settings: Settings,
}

/// A growth that is wanted and held, or that a runway stands in for.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WantedSize {
    /// Why.
    pub reason: Reason,
    /// How pressing it is.
    pub urgency: Urgency,
    /// To which size.
    #[serde(serialize_with = "maybe_bytes")]
    pub to: Option<Bytes>,
    /// The gate that holds it.
    pub held_by: Reason,
}

/// A PVC.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberSize {
    /// Name of the instance.
    pub name: String,
    /// Name of the PVC.
    pub pvc: String,
    /// What it asks for.
    #[serde(serialize_with = "bytes")]
    pub request: Bytes,
    /// What it is to ask for.
    #[serde(serialize_with = "maybe_bytes")]
    pub to: Option<Bytes>,
}

/// The actions of the last 24 hours, and what they leave.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetLeft {
    /// How many there were.
    #[serde(rename = "actionsLast24h")]
    pub actions_last_24h: u32,
    /// How many planned growths are left; none: no limit.
    pub available_for_planned: Option<u32>,
    /// How many emergencies are left besides; none: no limit.
    pub available_for_emergency: Option<u32>,
    /// When the oldest drops out.
    pub resets_at: Option<Timestamp>,
}

/// Something that a person should know.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Caution {
    /// What.
    pub reason: Reason,
    /// The instances that it is about.
    pub members: Vec<String>,
    /// In a sentence.
    pub message: String,
}

/// Whether WAL relief is wanted, and what holds it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReliefWanted {
    /// For one instance at least.
    pub wanted: bool,
    /// What holds it for all of them; none: it is due for one at least, or not wanted.
    pub held_by: Option<Reason>,
    /// The instances for which it is wanted, by name.
    pub instances: Vec<InstanceReliefWanted>,
    /// In words: a sentence for all instances of which the same is so.
    pub messages: Vec<String>,
}

/// WAL relief of one instance.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceReliefWanted {
    /// Name of the instance.
    pub name: String,
    /// What holds it; none: it is due.
    pub held_by: Option<Reason>,
}

impl ReliefWanted {
    /// Of a decision.
    #[must_use]
    pub fn of(decision: &Decision) -> Self {
        let Some(relief @ Relief { instances }) = &decision.relief else {
            return Self::default();
        };
        let instance = |wanted: &csm_core::plan::InstanceRelief| InstanceReliefWanted {
            name: wanted.instance.to_string(),
            held_by: wanted.held_by(),
        };
        Self {
            wanted: true,
            held_by: relief.held_by(),
            instances: instances.iter().map(instance).collect(),
            messages: explain::relief(decision),
        }
    }
}

/// Effective fields in the order of a policy: an object of `NAME: {value, from}` for programs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(pub Vec<(String, String, Origin)>);

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Setting<'a> {
            value: &'a str,
            from: String,
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (field, value, origin) in &self.0 {
            let from = origin.to_string();
            map.serialize_entry(field, &Setting { value, from })?;
        }
        map.end()
    }
}

/// A block of settings that does not validate: that of a volume, or what the volumes of a cluster share.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InvalidBlock {
    /// Namespace of the cluster.
    pub namespace: String,
    /// Name of the cluster.
    pub cluster: String,
    /// The volume; none: all.
    pub volume: Option<String>,
    /// All in a sentence.
    pub message: String,
    /// The fields.
    pub fields: Vec<InvalidField>,
}

/// A wrong value.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InvalidField {
    /// The field.
    pub field: String,
    /// What it says.
    pub value: String,
    /// What is wrong with that.
    pub reason: String,
    /// What could stand there.
    pub example: String,
    /// The objects that it comes from.
    pub from: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde gives a reference to the field
pub(crate) fn bytes<S: Serializer>(size: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(size.get())
}

#[allow(clippy::ref_option)] // serde gives a reference to the field
pub(crate) fn maybe_bytes<S: Serializer>(size: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
    size.map(Bytes::get).serialize(serializer)
}

/// The decisions of a plan.
#[must_use]
pub fn of_plan(world: &World, plan: &Plan, now: Timestamp) -> Vec<VolumeDecision> {
    plan.decisions.iter().map(|decision| of_volume(world, decision, now)).collect()
}

fn of_volume(world: &World, decision: &Decision, now: Timestamp) -> VolumeDecision {
    let Decision {
        volume,
        model,
        verdict,
        reason,
        urgency,
        state,
        from,
        to,
        wanted,
        passed,
        at_limit,
        ceiling: _,
        members,
        worst,
        percent_used,
        next_action_at,
        budget,
        warnings,
        relief: _,
        facts: _,
    } = decision;
    let key = &world.cluster.key;
    let settings = match &*world.resolution {
        Resolution::Settings(resolved) => resolved.fields_of(volume),
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => Vec::new(),
    };
    VolumeDecision {
        namespace: key.namespace.to_string(),
        cluster: key.name.to_string(),
        volume: volume.to_string(),
        model: *model,
        verdict: *verdict,
        reason: *reason,
        urgency: *urgency,
        state: *state,
        from: *from,
        to: *to,
        wanted: wanted.map(|w| WantedSize {
            reason: w.reason,
            urgency: w.urgency,
            to: w.to,
            held_by: w.held_by,
        }),
        passed: passed.clone(),
        at_limit: *at_limit,
        members: members
            .iter()
            .map(|m| MemberSize {
                name: m.instance.to_string(),
                pvc: m.pvc.to_string(),
                request: m.request,
                to: m.to,
            })
            .collect(),
        worst: worst.as_deref().map(str::to_owned),
        percent_used: percent_used.map(Percent::get),
        time_to_full_seconds: time_to_full(world, now, volume).map(|t| t.as_secs()),
        next_action_at: *next_action_at,
        budget: BudgetLeft {
            actions_last_24h: budget.actions_last_24h,
            available_for_planned: budget.available_for_planned,
            available_for_emergency: budget.available_for_emergency,
            resets_at: budget.resets_at,
        },
        warnings: warnings
            .iter()
            .zip(explain::warnings(decision))
            .map(|(w, message)| Caution {
                reason: w.reason,
                members: w.members.iter().map(ToString::to_string).collect(),
                message,
            })
            .collect(),
        relief: ReliefWanted::of(decision),
        message: explain::sentence(decision),
        settings: Settings(settings),
    }
}

impl InvalidBlock {
    /// The block of an [`InvalidSettings`].
    #[must_use]
    pub fn of(invalid: &InvalidSettings) -> Self {
        let InvalidSettings { cluster, volume, problems } = invalid;
        let field = |problem: &Problem| InvalidField {
            field: problem.field.to_string(),
            value: problem.value.clone(),
            reason: problem.reason.clone(),
            example: problem.example.clone(),
            from: problem.origins.iter().map(ToString::to_string).collect(),
        };
        Self {
            namespace: cluster.namespace.to_string(),
            cluster: cluster.name.to_string(),
            volume: volume.as_ref().map(ToString::to_string),
            message: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            fields: problems.iter().map(field).collect(),
        }
    }

    /// On one line, with what it is about.
    #[must_use]
    pub fn line(&self) -> String {
        let volume = self.volume.as_deref().map_or_else(String::new, |v| format!(", {v}"));
        format!("{}/{}{volume}: {}", self.namespace, self.cluster, self.message)
    }
}
