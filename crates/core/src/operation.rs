//! An operation from its record to the verified filesystem: what its status should say now, and what to do next.
//!
//! Pure and memoryless: all of an operation's state is in its StorageEvent and in the PVCs, so a manager that was killed
//! anywhere computes the same next step as the one before it. A PVC counts as patched when it asks for the size, not
//! when we remember asking: a write that was applied but never answered is found again.

mod finish;
mod late;
mod permission;
mod pvc;
mod record;
mod step_back;
mod withdraws;

use csm_api::{Growth, GrowthSpec, Phase, PvcFailure, PvcPhase, Reason, RetryBasis, StorageEventStatus, Trigger};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::nudge::{self, Nudge};
use crate::world::{Volume, World};

pub use finish::retry_after;
pub use late::{is_behind, is_overtaken, overtaken};
pub use permission::permission;
pub(crate) use permission::saves;
pub(crate) use pvc::grown_to;
pub use record::record;
pub(crate) use record::{affected, journal_of};

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
            volume: permission::volume_of(world, growth),
            permission: permission(world, growth, now),
            in_flight_elsewhere: permission::in_flight_elsewhere(world, growth, now),
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

/// A PVC to be written a new version of, so that no patch of this operation counts that was never answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Its name.
    pub pvc: String,
    /// Its UID, a precondition.
    pub uid: String,
    /// The operation, as the PVC is to say it.
    pub operation: String,
}

/// The next step of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What its status should say.
    pub status: StorageEventStatus,
    /// PVCs to patch now, in this order.
    pub patch: Vec<Patch>,
    /// PVCs that are asked nothing more of.
    pub withdraw: Vec<Withdrawal>,
    /// Pods to nudge.
    pub nudge: Vec<Nudge>,
}

impl Progress {
    /// Nothing to do for now.
    pub(crate) fn waits(status: StorageEventStatus) -> Self {
        Self {
            status,
            patch: Vec::new(),
            withdraw: Vec::new(),
            nudge: Vec::new(),
        }
    }

    /// Whether the operation has ended, and how.
    #[must_use]
    pub fn ended(&self) -> Option<Phase> {
        self.status.phase.filter(|phase| phase.is_end())
    }
}

/// What is next for `event`.
#[must_use]
pub fn follow(event: &Growth, context: Context<'_>) -> Progress {
    let mut status = event.status.clone().unwrap_or_default();
    if event.is_done() {
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
            pvc::follow(pvc, expansion.requested_size, before, member, &context)
        })
        .collect();

    let nudge = nudge::due(event, &status, context.volume);
    let count = |wanted: &[PvcPhase]| status.pvc_statuses.iter().filter(|s| wanted.contains(&s.phase)).count();
    let stepping_back = count(&[PvcPhase::SteppingBack]);
    let resizing = count(&[PvcPhase::ControllerResizing, PvcPhase::WaitingForNode]).saturating_add(stepping_back);
    let unfinished = resizing.saturating_add(count(&[PvcPhase::Verifying]));
    let failed = count(&[PvcPhase::Failed]);
    let pending = count(&[PvcPhase::Pending]);
    // Until that has been verified, too: the size has been found infeasible.
    let steps_back = status.pvc_statuses.iter().any(|s| s.recovery.is_some());

    // What has begun to stop does so, also where it might go on by now: who is withdrawn is not asked again.
    let stops = status.pvc_statuses.iter().any(|s| withdraws::is_withdrawn(event, s, &context));

    if pending > 0 && failed == 0 && !steps_back && !stops && context.permission.is_ok() {
        let parallelism = usize::try_from(expansion.parallelism.max(1)).unwrap_or(1);
        let free = parallelism.saturating_sub(resizing.saturating_add(context.in_flight_elsewhere));
        let next = status.pvc_statuses.iter().filter(|s| s.phase == PvcPhase::Pending).take(free);
        let patch = next
            .map(|s| Patch {
                pvc: s.name.clone(),
                uid: s.uid.clone(),
                to: expansion.requested_size,
                instead_of: None,
            })
            .collect();
        return Progress {
            patch,
            nudge,
            ..Progress::waits(status)
        };
    }
    let patch = status.pvc_statuses.iter().filter_map(|s| pvc::lowers(s, &context)).collect();
    let mut withdraw = Vec::new();
    if unfinished == 0 {
        withdraw = withdraws::due(event, &status, &context);
        if withdraw.is_empty() {
            finish::finish(&mut status, &context);
        }
    }
    Progress {
        status,
        patch,
        withdraw,
        nudge,
    }
}

/// The API server refused to raise the request of a PVC: no further PVC is patched.
pub fn refuse(status: &mut StorageEventStatus, uid: &str, error: &str) {
    for pvc in status.pvc_statuses.iter_mut().filter(|pvc| pvc.uid == uid) {
        pvc.phase = PvcPhase::Failed;
        let was_infeasible = pvc.recovery.is_some();
        pvc.failure = Some(if was_infeasible {
            PvcFailure::Infeasible
        } else {
            PvcFailure::Refused
        });
        pvc.error = Some(match (&pvc.recovery, pvc.error.take()) {
            (Some(recovery), Some(words)) => format!("{words}; it cannot ask for {} instead: {error}", recovery.size),
            (_, _) => error.to_owned(),
        });
    }
}
