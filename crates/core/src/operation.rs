//! An operation from its record to the verified filesystem: what its status should say now, and what to do next.
//!
//! Pure and memoryless: all of an operation's state is in its StorageEvent and in the PVCs, so a manager that was killed
//! anywhere computes the same next step as the one before it. A PVC counts as patched when it asks for the size, not
//! when we remember asking: a write that was applied but never answered is found again.

mod late;
mod step_back;

use csm_api::{
    AffectedPvc, ClusterReference, Condition, ConditionStatus, ExpansionSpec, Growth, GrowthSpec, Phase, PvcPhase, PvcStatus, Reason,
    RetryBasis, StorageEventStatus, Trigger, Urgency, Verdict, VerifiedBy, VolumeReference, condition,
};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::nudge::{self, Nudge};
pub use late::{NOTHING_TO_DO, is_behind, is_overtaken, overtaken};

use crate::plan::Decision;
use crate::resolve::{Resolution, Resolved, Sizing, VolumeRules};
use crate::world::{Member, ResizeStage, Volume, World};

/// How long after a refused or infeasible growth the next one is tried: planner.md, gate 12a.
const RETRY_AFTER: [SignedDuration; 3] = [
    SignedDuration::from_mins(1),
    SignedDuration::from_mins(5),
    SignedDuration::from_mins(15),
];

/// A filesystem counts as grown when it is larger by this share of what was asked: filesystems keep some for themselves.
const GROWN_PERCENT: u64 = 90;

/// The size from which on the filesystem of a PVC has grown; none where it is not known how large it was.
pub(crate) fn grown_to(pvc: &AffectedPvc, requested: Bytes) -> Option<Bytes> {
    let before = pvc.filesystem_bytes.and_then(|b| u64::try_from(b).ok())?;
    let asked = requested.saturating_sub(pvc.original_size);
    Some(Bytes::new(before).saturating_add(asked.mul_div(GROWN_PERCENT, 100)))
}

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
        rescue: decision.urgency == Some(Urgency::Rescue),
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
        recovery: None,
        learned_ceiling: None,
    }
}

/// What an operation rests on, beside its own record.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The volume as it is now; none where the Cluster has no such volume any more.
    pub volume: Option<&'a Volume>,
    /// Whether further PVCs may be patched, or what stands against it: a person's newest intent wins over an old decision.
    pub permission: Result<(), Reason>,
    /// PVCs of the Cluster's other volumes that are being resized, as far as this operation waits for them.
    pub in_flight_elsewhere: usize,
    /// Operations of this volume that failed in a row just before.
    pub failures_before: i32,
    /// What a growth that is refused or infeasible now rests on.
    pub basis: &'a RetryBasis,
    /// Figures older than this are not waited for any longer.
    pub stale_after: SignedDuration,
    /// The time.
    pub now: Timestamp,
}

impl<'a> Context<'a> {
    /// What an operation rests on in this world.
    #[must_use]
    pub fn of(
        world: &'a World,
        growth: &GrowthSpec,
        failures_before: i32,
        basis: &'a RetryBasis,
        stale_after: SignedDuration,
        now: Timestamp,
    ) -> Self {
        Self {
            volume: volume_of(world, growth),
            permission: permission(world, growth, now),
            in_flight_elsewhere: in_flight_elsewhere(world, growth, now),
            failures_before,
            basis,
            stale_after,
            now,
        }
    }
}

/// A PVC to patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Its name.
    pub pvc: String,
    /// Its UID, a precondition.
    pub uid: String,
    /// The size to ask for.
    pub to: Bytes,
    /// The larger size that it asks for in vain, and must still be asking for.
    pub instead_of: Option<Bytes>,
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

/// Whether growth is switched on for a volume of this model.
fn is_enabled(settings: &Resolved, rules: &VolumeRules) -> bool {
    match &rules.sizing {
        Sizing::Thresholds => settings.expansion.enabled.value,
        Sizing::Resize(resize) => resize.enabled.value,
        Sizing::Target(_) => true,
    }
}

/// Whether a growth that was decided may go on to its next PVC, or what stands against it. The same is asked before it is
/// recorded: what would be stopped at once is not begun.
///
/// # Errors
/// The reason that stands against it.
pub fn permission(world: &World, growth: &GrowthSpec, now: Timestamp) -> Result<(), Reason> {
    let Some(volume) = volume_of(world, growth) else { return Ok(()) };
    let to = growth.expansion.requested_size;
    let settings = match &*world.resolution {
        Resolution::NoPolicy => return Err(Reason::NoPolicy),
        Resolution::Conflict(_) => return Err(Reason::PolicyConflict),
        Resolution::Invalid(_) => return Err(Reason::PolicyInvalid),
        Resolution::Settings(settings) => settings,
    };
    let rules = settings.volumes.of(&volume.key).map_err(|_| Reason::PolicyInvalid)?;
    let ceiling = crate::view::ceiling_of(settings, rules, volume, saves(growth));
    // Members that are fenced were left out, and what is patched already goes on by itself.
    let mut waiting = volume.members.iter().filter(|m| m.request < to && lists(growth, m));
    let checks = [
        (world.cluster.deleting, Reason::ClusterDeleting),
        (!is_enabled(settings, rules), Reason::Disabled),
        (world.cluster.pause.in_force(now), Reason::Paused),
        (world.cluster.hibernated, Reason::Hibernated),
        (waiting.any(|m| world.cluster.fencing.covers(&m.instance)), Reason::Fenced),
        (!world.cluster.resize_in_use_volumes, Reason::InUseResizeDisabled),
        (ceiling.is_some_and(|ceiling| to > ceiling), Reason::AtLimit),
        (settings.dry_run.value, Reason::DryRun),
    ];
    checks
        .into_iter()
        .find(|(stands, _)| *stands)
        .map_or(Ok(()), |(_, reason)| Err(reason))
}

/// The volume that a growth is of; none where the Cluster has it no more.
fn volume_of<'a>(world: &'a World, growth: &GrowthSpec) -> Option<&'a Volume> {
    let VolumeReference { role, tablespace } = &growth.volume;
    let mut volumes = world.volumes.iter();
    volumes.find(|v| v.key.role == *role && v.key.tablespace.as_deref() == tablespace.as_deref())
}

/// Whether it is an emergency or a rescue. A catch-up that brings a full disk back is recorded as a catch-up.
pub(crate) fn saves(growth: &GrowthSpec) -> bool {
    // A person may write any reason.
    let disk_full = growth.reason == Reason::DiskFull && growth.trigger != Trigger::Manual;
    disk_full || matches!(growth.urgency(), Urgency::Emergency | Urgency::Rescue)
}

fn lists(growth: &GrowthSpec, member: &Member) -> bool {
    growth.expansion.affected_pvcs.iter().any(|pvc| *pvc.uid == *member.uid)
}

/// PVCs of the Cluster's other volumes that count against `parallelism`. What is urgent waits for none of them, and nothing
/// waits for a resize that does not get on.
fn in_flight_elsewhere(world: &World, growth: &GrowthSpec, now: Timestamp) -> usize {
    if saves(growth) || growth.urgency() == Urgency::Runway {
        return 0;
    }
    let own = volume_of(world, growth);
    let others = world.volumes.iter().filter(|v| own.is_none_or(|own| own.key != v.key));
    others.flat_map(|v| v.members.iter().filter(|m| gets_on(world, v, m, now))).count()
}

/// Whether a PVC asks for more than it has, and may soon have it. One that is not bound has nothing yet.
fn gets_on(world: &World, volume: &Volume, member: &Member, now: Timestamp) -> bool {
    let stage = member.resize.as_ref().map(|resize| resize.stage);
    let infeasible = matches!(stage, Some(ResizeStage::ControllerInfeasible | ResizeStage::NodeInfeasible));
    let operations = world.operations.iter().filter(|o| o.volume == volume.key && !o.done);
    let begun = operations.filter(|o| o.concerns(&member.uid)).map(|o| o.started_at);
    let since = begun.chain(member.resize.as_ref().and_then(|resize| resize.since)).max();
    let stuck = since.is_some_and(|since| now.duration_since(since) >= world.limits.stuck_after);
    !member.size.is_zero() && member.request > member.size && !infeasible && !stuck
}

/// The next step of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What its status should say.
    pub status: StorageEventStatus,
    /// PVCs to patch now, in this order.
    pub patch: Vec<Patch>,
    /// Pods to nudge.
    pub nudge: Vec<Nudge>,
}

impl Progress {
    /// Nothing to do for now.
    pub(crate) fn waits(status: StorageEventStatus) -> Self {
        Self {
            status,
            patch: Vec::new(),
            nudge: Vec::new(),
        }
    }

    /// Whether the operation has ended, and how.
    #[must_use]
    pub fn ended(&self) -> Option<Phase> {
        self.status.phase.filter(|p| matches!(p, Phase::Completed | Phase::Failed))
    }
}

/// What is next for `event`.
#[must_use]
pub fn follow(event: &Growth, context: Context<'_>) -> Progress {
    let mut status = event.status.clone().unwrap_or_default();
    if matches!(status.phase, Some(Phase::Completed | Phase::Failed)) {
        return Progress::waits(status);
    }
    // What a person asks for begins with a journal, which `admit` makes.
    if event.spec.trigger == Trigger::Manual && status.pvc_statuses.is_empty() {
        return Progress::waits(status);
    }
    let expansion = &event.spec.expansion;
    status.phase = Some(Phase::InProgress);
    status.start_time.get_or_insert(Time(context.now));
    status.pvc_statuses = expansion
        .affected_pvcs
        .iter()
        .map(|pvc| {
            let before = status.pvc_statuses.iter().find(|s| s.uid == pvc.uid).cloned();
            let member = context.volume.and_then(|v| v.members.iter().find(|m| *m.uid == *pvc.uid));
            follow_pvc(pvc, expansion.requested_size, before, member, &context)
        })
        .collect();

    let nudge = nudge::due(event, &status, context.volume);
    let count = |wanted: &[PvcPhase]| status.pvc_statuses.iter().filter(|s| wanted.contains(&s.phase)).count();
    let stepping_back = count(&[PvcPhase::SteppingBack]);
    let resizing = count(&[PvcPhase::ControllerResizing, PvcPhase::WaitingForNode]).saturating_add(stepping_back);
    let unfinished = resizing.saturating_add(count(&[PvcPhase::Verifying]));
    let failed = count(&[PvcPhase::Failed]);
    let pending = count(&[PvcPhase::Pending]);

    if pending > 0 && failed == 0 && stepping_back == 0 && context.permission.is_ok() {
        let parallelism = usize::try_from(expansion.parallelism.max(1)).unwrap_or(1);
        let free = parallelism.saturating_sub(resizing.saturating_add(context.in_flight_elsewhere));
        let patch = status.pvc_statuses.iter().filter(|s| s.phase == PvcPhase::Pending).take(free);
        let patch = patch
            .map(|s| Patch {
                pvc: s.name.clone(),
                uid: s.uid.clone(),
                to: expansion.requested_size,
                instead_of: None,
            })
            .collect();
        return Progress { status, patch, nudge };
    }
    let patch = status.pvc_statuses.iter().filter_map(|s| lowers(s, &context)).collect();
    if unfinished == 0 {
        finish(&mut status, &context);
    }
    Progress { status, patch, nudge }
}

/// The patch of a PVC that is to step back, and has not yet.
fn lowers(status: &PvcStatus, context: &Context<'_>) -> Option<Patch> {
    let recovery = status.recovery.as_ref().filter(|_| status.phase == PvcPhase::SteppingBack)?;
    let member = context.volume?.members.iter().find(|m| *m.uid == *status.uid)?;
    (member.request == recovery.infeasible && recovery.asked_at.is_none()).then(|| Patch {
        pvc: status.name.clone(),
        uid: status.uid.clone(),
        to: recovery.size,
        instead_of: Some(recovery.infeasible),
    })
}

/// The API server refused to raise the request of a PVC: no further PVC is patched.
pub fn refuse(status: &mut StorageEventStatus, uid: &str, error: &str) {
    for pvc in status.pvc_statuses.iter_mut().filter(|pvc| pvc.uid == uid) {
        pvc.phase = PvcPhase::Failed;
        pvc.error = Some(match (&pvc.recovery, pvc.error.take()) {
            (Some(recovery), Some(words)) => format!("{words}; it cannot ask for {} instead: {error}", recovery.size),
            (_, _) => error.to_owned(),
        });
    }
}

fn follow_pvc(pvc: &AffectedPvc, requested: Bytes, before: Option<PvcStatus>, member: Option<&Member>, context: &Context<'_>) -> PvcStatus {
    let mut status = before.unwrap_or_else(|| journal_of(pvc));
    if matches!(status.phase, PvcPhase::Completed | PvcPhase::Failed) {
        return status;
    }
    let now = || Time(context.now);
    let Some(member) = member else {
        status.phase = PvcPhase::Completed;
        status.verified_by = Some(VerifiedBy::Gone);
        return status;
    };
    let target = step_back::target(&status, requested);
    let stepping_back = status.recovery.is_some();
    if member.request < target {
        if status.patched_at.is_some() {
            status.phase = PvcPhase::Failed;
            status.error = Some(format!("its request was lowered to {} while it grew to {target}", member.request));
        }
        return status;
    }
    status.patched_at.get_or_insert_with(now);
    status.new_size = Some(member.size);
    if let Some(recovery) = status.recovery.as_ref().filter(|r| member.request > r.size) {
        let words = status.error.take().unwrap_or_default();
        if member.request != recovery.infeasible || recovery.asked_at.is_some() {
            status.error = Some(format!("{words}; its request was changed to {} meanwhile", member.request));
            status.phase = PvcPhase::Failed;
        } else if !may_step_back(context) {
            status.error = Some(words);
            status.phase = PvcPhase::Failed;
        } else {
            status.error = Some(words);
        }
        return status;
    }
    if let Some(recovery) = &mut status.recovery {
        recovery.asked_at.get_or_insert_with(now);
    }
    let stage = member.resize.as_ref().map(|r| r.stage);
    if !stepping_back {
        status.error = member.resize.as_ref().and_then(|r| r.error.as_deref()).map(str::to_owned);
    }
    if let Some(stage) = step_back::is_infeasible(member, stepping_back).filter(|_| member.size < target) {
        status
            .error
            .get_or_insert_with(|| format!("the storage says that it cannot grow to {target}"));
        status.phase = PvcPhase::Failed;
        if stage == ResizeStage::ControllerInfeasible {
            status.learned_ceiling = Some(member.size);
            let next = step_back::next(member.size, target, status.recovery.as_ref());
            if let Some(next) = next.filter(|_| may_step_back(context)) {
                status.phase = PvcPhase::SteppingBack;
                status.recovery = Some(next);
            }
        }
        return status;
    }
    if member.size < target {
        if matches!(stage, Some(ResizeStage::NodePending | ResizeStage::Node)) {
            status.controller_done_at.get_or_insert_with(now);
            status.phase = PvcPhase::WaitingForNode;
        } else if stepping_back {
            status.phase = PvcPhase::SteppingBack;
        } else {
            status.phase = PvcPhase::ControllerResizing;
        }
        return status;
    }
    status.controller_done_at.get_or_insert_with(now);
    match verified(pvc, target, member, &status, context) {
        Some(by) => {
            status.verified_by = Some(by);
            status.filesystem_resized = Some(now());
            if stepping_back {
                // It has grown, but not to what was asked for: that is no success.
                let words = status.error.take().unwrap_or_default();
                status.error = Some(format!("{words}; it stepped back to {target}, which it has"));
                status.learned_ceiling = Some(target);
                status.phase = PvcPhase::Failed;
            } else {
                status.error = None;
                status.phase = PvcPhase::Completed;
            }
        }
        // Some drivers leave FileSystemResizePending behind; what counts is the filesystem.
        None if stage.is_some() => status.phase = PvcPhase::WaitingForNode,
        None => status.phase = PvcPhase::Verifying,
    }
    status
}

/// Whether a PVC may ask for less than before. That the ceiling is lower now does not stand against it.
fn may_step_back(context: &Context<'_>) -> bool {
    matches!(context.permission, Ok(()) | Err(Reason::AtLimit))
}

/// What shows that the filesystem of a PVC has grown, if anything does.
fn verified(pvc: &AffectedPvc, requested: Bytes, member: &Member, status: &PvcStatus, context: &Context<'_>) -> Option<VerifiedBy> {
    let figures = member.figures();
    let grown_to = grown_to(pvc, requested);
    if figures
        .zip(grown_to)
        .is_some_and(|(figures, grown_to)| figures.capacity >= grown_to)
    {
        return Some(VerifiedBy::Filesystem);
    }
    // What is shown of a larger size, which somebody asked for since, says nothing of this one.
    let ours = |allocated: Option<Bytes>| allocated.is_none_or(|allocated| allocated <= requested);
    if member.resize.as_ref().is_some_and(|resize| ours(resize.allocated)) {
        return None;
    }
    // The PVC's status is the node's own word. It stands where there are no figures to check it by: none from before, a
    // pod that does not run, or a kubelet that has gone quiet since.
    let done_at = status.controller_done_at.as_ref().map_or(context.now, |t| t.0);
    let quiet = context.now.duration_since(done_at) > context.stale_after && figures.is_none_or(|f| f.at <= done_at);
    (grown_to.is_none() || !member.pod_running || quiet).then_some(VerifiedBy::PvcStatus)
}

fn finish(status: &mut StorageEventStatus, context: &Context<'_>) {
    let total = status.pvc_statuses.len();
    let ended = status.pvc_statuses.iter().filter(|s| s.phase == PvcPhase::Completed);
    // One that went after it was patched may well have grown.
    let (gone, completed): (Vec<_>, Vec<_>) = ended.partition(|s| s.verified_by == Some(VerifiedBy::Gone) && s.patched_at.is_none());
    let (gone, completed) = (gone.len(), completed.len());
    let error = status.pvc_statuses.iter().find_map(|s| {
        s.error
            .clone()
            .filter(|_| s.phase == PvcPhase::Failed)
            .map(|e| format!("{}: {e}", s.name))
    });
    let succeeded = completed > 0 && completed.saturating_add(gone) == total;
    let mut message = format!("{completed}/{total} PVCs expanded successfully");
    if gone > 0 {
        message = format!("{message}, {gone} gone");
    }
    let reason = match (&error, context.permission) {
        _ if succeeded => "Succeeded",
        (Some(error), _) => {
            message = format!("{message}; {error}");
            if completed > 0 {
                "PartialFailure"
            } else if status.pvc_statuses.iter().any(|s| s.patched_at.is_some()) {
                "Infeasible"
            } else {
                "Refused"
            }
        }
        (None, Err(reason)) => {
            message = format!("{message}; stopped before the others: {reason}");
            "Interrupted"
        }
        (None, Ok(())) => "Interrupted",
    };
    status.phase = Some(if succeeded { Phase::Completed } else { Phase::Failed });
    status.completion_time = Some(Time(context.now));
    status.conditions = vec![Condition {
        type_: condition::COMPLETE.to_owned(),
        status: ConditionStatus::from(succeeded),
        reason: reason.to_owned(),
        message,
        last_transition_time: Time(context.now),
        observed_generation: None,
    }];
    if error.is_some() {
        let failures = context.failures_before.max(0).saturating_add(1);
        let step = usize::try_from(failures.saturating_sub(1))
            .unwrap_or(0)
            .min(RETRY_AFTER.len().saturating_sub(1));
        let wait = RETRY_AFTER.get(step).copied().unwrap_or(SignedDuration::from_mins(15));
        status.retry_count = Some(failures);
        status.next_retry_time = context.now.checked_add(wait).ok().map(Time);
        status.retry_basis = Some(context.basis.clone());
    }
}
