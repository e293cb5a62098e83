//! One PVC of an operation, from its patched request to its verified filesystem.

use csm_api::{AffectedPvc, PvcFailure, PvcPhase, PvcStatus, Reason, Recovery, VerifiedBy};
use csm_units::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::record::journal_of;
use super::{Context, Patch, step_back};
use crate::world::{Member, ResizeStage};

/// A filesystem counts as grown when it is larger by this share of what was asked: filesystems keep some for themselves.
const GROWN_PERCENT: u64 = 90;

/// The size from which on the filesystem of a PVC has grown; none where it is not known how large it was.
pub(crate) fn grown_to(pvc: &AffectedPvc, requested: Bytes) -> Option<Bytes> {
    let before = pvc.filesystem_bytes.and_then(|b| u64::try_from(b).ok())?;
    let asked = requested.saturating_sub(pvc.original_size);
    Some(Bytes::new(before).saturating_add(asked.mul_div(GROWN_PERCENT, 100)))
}

/// What the journal of a PVC should say now; `before` is what it says, `member` the PVC where it is still there.
pub(super) fn follow(
    pvc: &AffectedPvc,
    requested: Bytes,
    before: Option<PvcStatus>,
    member: Option<&Member>,
    context: &Context<'_>,
) -> PvcStatus {
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
    if member.request < target {
        if status.patched_at.is_some() {
            let lowered = format!("its request was lowered to {} while it grew to {target}", member.request);
            // What steps back had been found infeasible before.
            if let Some(words) = status.error.take().filter(|_| status.recovery.is_some()) {
                fails(&mut status, PvcFailure::Infeasible);
                status.error = Some(format!("{words}; {lowered}"));
            } else {
                fails(&mut status, PvcFailure::Changed);
                status.error = Some(lowered);
            }
        }
        return status;
    }
    status.patched_at.get_or_insert_with(now);
    status.new_size = Some(member.size);
    if status.recovery.as_ref().is_some_and(|recovery| member.request > recovery.size) {
        is_to_step_back(&mut status, member, context);
        return status;
    }
    let stepping_back = status.recovery.is_some();
    if let Some(recovery) = &mut status.recovery {
        recovery.asked_at.get_or_insert_with(now);
    } else {
        status.error = member.resize.as_ref().and_then(|r| r.error.as_deref()).map(str::to_owned);
    }
    let stage = member.resize.as_ref().map(|r| r.stage);
    if member.size < target {
        if let Some(stage) = step_back::is_infeasible(member, stepping_back) {
            infeasible(&mut status, stage, target, member, context);
        } else if matches!(stage, Some(ResizeStage::NodePending | ResizeStage::Node)) {
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
        Some(by) => grown(&mut status, by, target, context),
        // Some drivers leave FileSystemResizePending behind; what counts is the filesystem.
        None if stage.is_some() => status.phase = PvcPhase::WaitingForNode,
        None => status.phase = PvcPhase::Verifying,
    }
    status
}

fn fails(status: &mut PvcStatus, why: PvcFailure) {
    status.phase = PvcPhase::Failed;
    status.failure = Some(why);
}

/// A PVC that is to step back still asks for more than that: it goes on doing so until it is patched, unless a person asks
/// for something else meanwhile, or does not want it to.
fn is_to_step_back(status: &mut PvcStatus, member: &Member, context: &Context<'_>) {
    let words = status.error.take().unwrap_or_default();
    // Where it has the smaller size, somebody has asked for the larger one again since we asked for that.
    let as_we_left_it = |r: &Recovery| member.request == r.infeasible && r.asked_at.is_none() && member.size < r.size;
    if !status.recovery.as_ref().is_some_and(as_we_left_it) {
        status.error = Some(format!("{words}; its request was changed to {} meanwhile", member.request));
        fails(status, PvcFailure::Infeasible);
        return;
    }
    status.error = Some(words);
    if !may_step_back(context) {
        fails(status, PvcFailure::Infeasible);
    }
}

/// The storage or the node says that a PVC cannot have the size. Where it is the storage, a smaller one may do.
fn infeasible(status: &mut PvcStatus, stage: ResizeStage, target: Bytes, member: &Member, context: &Context<'_>) {
    status
        .error
        .get_or_insert_with(|| format!("the storage says that it cannot grow to {target}"));
    fails(status, PvcFailure::Infeasible);
    if stage == ResizeStage::ControllerInfeasible {
        status.learned_ceiling = Some(member.size);
        let next = step_back::next(member.size, target, status.recovery.as_ref());
        if let Some(next) = next.filter(|_| may_step_back(context)) {
            status.phase = PvcPhase::SteppingBack;
            status.failure = None;
            status.recovery = Some(next);
        }
    }
}

/// The filesystem of a PVC has grown to `target`.
fn grown(status: &mut PvcStatus, by: VerifiedBy, target: Bytes, context: &Context<'_>) {
    status.verified_by = Some(by);
    status.filesystem_resized = Some(Time(context.now));
    if status.recovery.is_some() {
        // It has grown, but not to what was asked for: that is no success.
        let words = status.error.take().unwrap_or_default();
        status.error = Some(format!("{words}; it stepped back to {target}, which it has"));
        status.learned_ceiling = Some(target);
        fails(status, PvcFailure::Infeasible);
    } else {
        status.error = None;
        status.phase = PvcPhase::Completed;
    }
}

/// The patch of a PVC that is to step back, and has not yet.
pub(super) fn lowers(status: &PvcStatus, context: &Context<'_>) -> Option<Patch> {
    let recovery = status.recovery.as_ref().filter(|_| status.phase == PvcPhase::SteppingBack)?;
    let member = context.volume?.members.iter().find(|m| *m.uid == *status.uid)?;
    (member.request == recovery.infeasible && recovery.asked_at.is_none()).then(|| Patch {
        pvc: status.name.clone(),
        uid: status.uid.clone(),
        to: recovery.size,
        instead_of: Some(recovery.infeasible),
    })
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
