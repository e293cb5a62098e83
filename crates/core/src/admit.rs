//! Growths that a person asks for: a StorageEvent with the trigger `manual`, which anybody may have written, with anything in
//! it. Nothing of such a record is believed but the volume and the size: it begins only where the planner's own gates let it,
//! the second opinion of [`check`] agrees, and each PVC is a member by name and UID; sizes are taken from the PVCs.
//!
//! A person's growth goes ahead of what only paces growth, or asks why: [`GOES_AHEAD_OF`].

use csm_api::{
    AffectedPvc, ClusterReference, ExpansionSpec, Growth, GrowthSpec, Outcome, Phase, PvcStatus, Reason, RetryBasis, StorageEventStatus,
    Trigger, Urgency, VolumeReference,
};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use thiserror::Error;

use crate::check;
use crate::explain;
use crate::gates::Gate;
use crate::operation::{Context, Progress, affected, follow, journal_of};
use crate::plan::{self, Decision, GATES};
use crate::resolve::Resolution;
use crate::view::{Kind, Members, View, Want};
use crate::world::{VolumeKey, World};

/// The gates, by name, that a person's growth goes ahead of. It counts in the budget and begins a cooldown all the same.
pub const GOES_AHEAD_OF: [Reason; 8] = [
    Reason::RetryLater,
    Reason::StaleObservation,
    Reason::BudgetExhausted,
    Reason::Cooldown,
    Reason::FleetLimit,
    Reason::MaintenanceWindowClosed,
    Reason::WalRiskNotAcknowledged,
    Reason::ArchiveUnhealthy,
];

/// What stands against a person's growth.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refusal {
    /// The gate's reason, where one holds it.
    pub reason: Option<Reason>,
    /// What stands against it, with what a person can do.
    pub message: String,
}

impl Refusal {
    fn new(message: impl Into<String>) -> Self {
        Self {
            reason: None,
            message: message.into(),
        }
    }
}

/// A growth that may be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its record.
    pub spec: GrowthSpec,
    /// What it comes to: the members in their order, the ceiling.
    pub decision: Decision,
    /// What would hold it, were it not a person's, and goes ahead of; in words.
    pub passed: Vec<(Reason, String)>,
}

/// The record of a growth of all members of a volume to a size.
///
/// # Errors
/// What stands against it: the manager would refuse it for the same.
pub fn request(world: &World, volume: &VolumeKey, to: Bytes, now: Timestamp) -> Result<Request, Refusal> {
    let decision = weigh(world, volume, to, now)?;
    let planner = plan::plan(world, now).decisions.into_iter().find(|d| d.volume == *volume);
    let (reason, said) = planner.map_or((Reason::BelowThresholds, String::new()), |d| (d.reason, explain::sentence(&d)));
    let members = world.volumes.iter().filter(|v| v.key == *volume).flat_map(|v| &v.members);
    let members: Vec<_> = members.collect();
    let patched = decision.members.iter().filter(|plan| plan.to.is_some());
    let affected_pvcs = patched
        .filter_map(|plan| members.iter().find(|m| m.uid == plan.uid))
        .map(|member| affected(member));
    let spec = GrowthSpec {
        cluster_ref: ClusterReference {
            name: world.cluster.key.name.to_string(),
            uid: world.cluster.uid.to_string(),
        },
        rescue: false,
        trigger: Trigger::Manual,
        volume: VolumeReference {
            role: volume.role,
            tablespace: volume.tablespace.as_deref().map(str::to_owned),
        },
        reason,
        message: format!("a person asked for {to}; the planner by itself: {said}"),
        expansion: ExpansionSpec {
            original_size: decision.from,
            requested_size: to,
            parallelism: parallelism(world),
            affected_pvcs: affected_pvcs.collect(),
        },
    };
    let passed = passed(world, volume, to, now);
    Ok(Request { spec, decision, passed })
}

/// The next step of any growth: what a person asked for is admitted, or refused, before it is followed.
#[must_use]
pub fn next(
    world: &World,
    event: &Growth,
    failures_before: i32,
    basis: &RetryBasis,
    stale_after: SignedDuration,
    now: Timestamp,
) -> Progress {
    let follow = |event: &Growth| follow(event, Context::of(world, &event.spec, failures_before, basis, stale_after, now));
    if event.spec.trigger != Trigger::Manual {
        return follow(event);
    }
    if is_admitted(event) {
        return follow(&as_journaled(world, event));
    }
    match admit(world, event, now) {
        Ok(admitted) => follow(&admitted),
        Err(refusal) => Progress::waits(refused(&refusal, now)),
    }
}

/// Whether a person's growth has begun, or ended: only the manager writes the status.
#[must_use]
pub fn is_admitted(event: &Growth) -> bool {
    let phase = event.status.as_ref().and_then(|status| status.phase);
    phase.is_some_and(|phase| phase != Phase::Pending)
}

/// Admits the growth that a person's record asks for: the same record with nothing in it that is not so, and its journal
/// begun.
///
/// # Errors
/// What stands against it. Nothing of it may be done then.
pub fn admit(world: &World, event: &Growth, now: Timestamp) -> Result<Growth, Refusal> {
    let GrowthSpec {
        cluster_ref,
        rescue,
        trigger,
        volume: VolumeReference { role, tablespace },
        reason: _,
        message: _,
        expansion,
    } = &event.spec;
    if *cluster_ref.uid != *world.cluster.uid || *cluster_ref.name != *world.cluster.key.name {
        return Err(Refusal::new(format!(
            "it is for another Cluster than {}, of the UID {}",
            world.cluster.key, world.cluster.uid
        )));
    }
    if *trigger != Trigger::Manual || *rescue {
        return Err(Refusal::new("what a person asks for is an expansion with the trigger manual"));
    }
    let key = VolumeKey {
        role: *role,
        tablespace: tablespace.as_deref().map(Into::into),
    };
    // It is in the ledger itself, and stands not in its own way.
    let mut world = world.clone();
    let name = event.metadata.name.as_deref().unwrap_or_default();
    world.operations.retain(|operation| *operation.id != *name);
    let mut decision = weigh(&world, &key, expansion.requested_size, now)?;

    if expansion.original_size != decision.from {
        return Err(Refusal::new(format!(
            "it was asked for when {key} had {}, and it has, or asks for, {} now; look again, and ask again",
            expansion.original_size, decision.from
        )));
    }
    let lists = |pvc: &str, uid: &str| expansion.affected_pvcs.iter().any(|p| p.name == pvc && p.uid == uid);
    for member in &mut decision.members {
        member.to = member.to.filter(|_| lists(&member.pvc, &member.uid));
    }
    let members = world.volumes.iter().filter(|v| v.key == key).flat_map(|v| &v.members);
    // In the order in which we would patch them, whatever the record says.
    let planned = decision.members.iter().filter(|plan| plan.to.is_some());
    let journal: Vec<PvcStatus> = planned
        .filter_map(|plan| members.clone().find(|m| m.uid == plan.uid))
        .map(|member| {
            let pvc = affected(member);
            // Of this record only what is in its journal is believed.
            PvcStatus {
                filesystem_bytes: pvc.filesystem_bytes,
                ..journal_of(&pvc)
            }
        })
        .collect();
    if journal.is_empty() {
        return Err(Refusal::new(format!(
            "none of the PVCs that it lists is one of {key}, by name and UID; ask again with kubectl cnpg storage expand"
        )));
    }
    check::check_asked(&world, &decision, now).map_err(|violations| {
        let found: Vec<String> = violations.iter().map(ToString::to_string).collect();
        Refusal::new(format!("this is a bug of ours, please report it: {}", found.join("; ")))
    })?;
    let status = StorageEventStatus {
        phase: Some(Phase::InProgress),
        start_time: Some(Time(now)),
        pvc_statuses: journal,
        ..StorageEventStatus::default()
    };
    let admitted = Growth {
        status: Some(status),
        ..event.clone()
    };
    Ok(as_journaled(&world, &admitted))
}

/// A person's record, with the PVCs and sizes of its journal in the place of its own.
fn as_journaled(world: &World, event: &Growth) -> Growth {
    let mut event = event.clone();
    let journal = event.status.iter().flat_map(|status| &status.pvc_statuses);
    let expansion = &event.spec.expansion;
    let member = |uid: &str| world.volumes.iter().flat_map(|v| &v.members).find(|m| *m.uid == *uid);
    let affected_pvcs = journal
        .map(|pvc| AffectedPvc {
            name: pvc.name.clone(),
            uid: pvc.uid.clone(),
            instance: expansion
                .affected_pvcs
                .iter()
                .find(|listed| listed.uid == pvc.uid)
                .map_or_else(String::new, |listed| listed.instance.clone()),
            node: None,
            storage_class: member(&pvc.uid).map(|m| m.class.name.to_string()),
            original_size: pvc.original_size,
            filesystem_bytes: pvc.filesystem_bytes,
        })
        .collect();
    let parallelism = expansion.parallelism.clamp(1, parallelism(world));
    event.spec.expansion.affected_pvcs = affected_pvcs;
    event.spec.expansion.parallelism = parallelism;
    event
}

/// `expansion.parallelism`, at least one.
fn parallelism(world: &World) -> i32 {
    match &*world.resolution {
        Resolution::Settings(settings) => i32::from(settings.expansion.parallelism.value).max(1),
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => 1,
    }
}

/// The journal of what is refused: it ended without having begun. There is no next try, and nothing failed that a circuit
/// breaker counts.
fn refused(refusal: &Refusal, now: Timestamp) -> StorageEventStatus {
    let message = format!("not begun, nothing was changed: {refusal}");
    StorageEventStatus::ended(Outcome::Refused, message, Time(now))
}

/// What a growth of all members to `to` comes to.
fn weigh(world: &World, key: &VolumeKey, to: Bytes, now: Timestamp) -> Result<Decision, Refusal> {
    let mut volumes = world.volumes.iter().filter(|v| v.key == *key);
    let (Some(volume), None) = (volumes.next(), volumes.next()) else {
        let there: Vec<String> = world.volumes.iter().map(|v| v.key.to_string()).collect();
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        return Err(Refusal::new(format!("the Cluster has no volume {key}; those that it has: {there}")));
    };
    let mut scratch = Members::new();
    let view = View::new(world, volume, now, &mut scratch);
    let want = wanted(&view, to);
    let held = GATES
        .iter()
        .filter(|gate| !goes_ahead_of(gate))
        .find_map(|gate| gate.ask(&view, Some(&want)));
    if let Some(held) = held {
        let decision = plan::asked(&view, want, Some(held));
        return Err(Refusal {
            reason: Some(decision.reason),
            message: explain::clause(decision.reason, &decision),
        });
    }
    let effective = view.effective;
    if to <= effective {
        return Err(Refusal::new(format!(
            "{key} has, or asks for, {effective} already, and volumes never shrink; ask for more than that"
        )));
    }
    // Not by rounding up: that ends at the largest quantity, which is no whole GiB.
    if to != to.round_down() && view.ceiling.is_none_or(|ceiling| ceiling.size != to) {
        return Err(Refusal::new(format!(
            "{to} is no size that volumes are given: a whole MiB, from 10Gi on a whole GiB; ask for {}",
            to.round_up()
        )));
    }
    Ok(plan::asked(&view, want, None))
}

/// What holds it, were it not a person's.
fn passed(world: &World, key: &VolumeKey, to: Bytes, now: Timestamp) -> Vec<(Reason, String)> {
    let Some(volume) = world.volumes.iter().find(|v| v.key == *key) else {
        return Vec::new();
    };
    let mut scratch = Members::new();
    let view = View::new(world, volume, now, &mut scratch);
    let want = wanted(&view, to);
    let holding = GATES
        .iter()
        .filter(|gate| goes_ahead_of(gate))
        .filter_map(|gate| gate.ask(&view, Some(&want)));
    holding
        .map(|held| {
            let decision = plan::asked(&view, want, Some(held));
            (decision.reason, explain::clause(decision.reason, &decision))
        })
        .collect()
}

fn goes_ahead_of(gate: &Gate) -> bool {
    GOES_AHEAD_OF.contains(&gate.name)
}

/// A planned growth of all members. What a person asks for is a floor, as `request` is.
fn wanted(view: &View, to: Bytes) -> Want {
    Want {
        reason: Reason::RequestFloor,
        urgency: Urgency::Planned,
        kind: Kind::Growth,
        unbounded: to,
        to,
        at_limit: view.ceiling.is_some_and(|ceiling| to > ceiling.size),
    }
}
