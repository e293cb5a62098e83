//! `expand`: a growth that a person asks for, as the manager would weigh it.

use csm_api::{GrowthSpec, Phase, Reason};
use csm_core::admit::{self, Refusal, Request};
use csm_core::explain::ceiling_setting;
use csm_core::plan::Decision;
use csm_core::resolve::Resolution;
use csm_core::world::VolumeKey;
use csm_units::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::thought::Thought;

/// A growth that may be asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// The Cluster, as NAMESPACE/NAME.
    pub cluster: String,
    /// The volume.
    pub volume: String,
    /// Its effective size.
    pub from: Bytes,
    /// The size that it grows to.
    pub to: Bytes,
    /// The size that was asked for, before rounding.
    pub asked_for: Bytes,
    /// The PVCs that are patched, in this order.
    pub members: Vec<Member>,
    /// The size that the volume may not pass, and what says so.
    pub ceiling: Option<String>,
    /// What would hold a growth of the planner's own, and does not hold this one.
    pub passed: Vec<Passed>,
    /// Its record.
    #[serde(skip)]
    pub spec: GrowthSpec,
}

/// A PVC that is patched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The instance.
    pub instance: String,
    /// The PVC.
    pub pvc: String,
    /// What it asks for.
    pub request: Bytes,
    /// Whether it is the primary's.
    pub primary: bool,
}

/// A gate that a person's growth goes ahead of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Passed {
    /// Its reason.
    pub reason: Reason,
    /// What it says.
    pub text: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expansion {
    /// What was asked for.
    #[serde(flatten)]
    pub asked: Asked,
    /// The StorageEvent that records it.
    pub event: Option<String>,
    /// Whether it was only tried: "client" or "server".
    pub dry_run: Option<&'static str>,
    /// How far it had come when it was last looked at.
    pub phase: Option<Phase>,
    /// What came of it, in words.
    pub message: Option<String>,
    /// How to follow it.
    pub follow: Option<String>,
}

/// What a growth to `asked_for`, rounded up to a size that volumes are given, comes to.
///
/// # Errors
/// What stands against it, as far as it can be seen from here.
pub fn ask(thought: &Thought, volume: &VolumeKey, asked_for: Bytes, now: Timestamp) -> Result<Asked, Refusal> {
    let to = asked_for.round_up();
    let Request { spec, decision, passed } = admit::request(&thought.world, volume, to, now)?;
    let primary = thought.world.cluster.primary.as_ref();
    let members = decision.members.iter().filter(|m| m.to.is_some()).map(|m| Member {
        instance: m.instance.to_string(),
        pvc: m.pvc.to_string(),
        request: m.request,
        primary: primary == Some(&m.instance),
    });
    Ok(Asked {
        cluster: thought.world.cluster.key.to_string(),
        volume: volume.to_string(),
        from: decision.from,
        to,
        asked_for,
        members: members.collect(),
        ceiling: ceiling(thought, &decision),
        passed: passed.into_iter().map(|(reason, text)| Passed { reason, text }).collect(),
        spec,
    })
}

/// "100Gi (expansion.maxSize, StoragePolicy shop/default)".
fn ceiling(thought: &Thought, decision: &Decision) -> Option<String> {
    let size = decision.ceiling?.size;
    let Some(name) = ceiling_setting(decision) else {
        return Some(size.to_string());
    };
    let fields = match &*thought.world.resolution {
        Resolution::Settings(resolved) => resolved.fields_of(&decision.volume),
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => Vec::new(),
    };
    Some(match fields.iter().find(|(field, ..)| *field == name) {
        Some((.., origin)) => format!("{size} ({name}, {origin})"),
        None => format!("{size} ({name})"),
    })
}
