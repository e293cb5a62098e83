//! How an operation ended, and when the next one is tried where it failed.

use csm_api::{Outcome, PvcFailure, PvcPhase, PvcStatus, StorageEventStatus, VerifiedBy};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Context;

/// How long after a refused or infeasible growth the next one is tried, by how many failed in a row before it: planner.md,
/// gate 12a.
#[must_use]
pub const fn retry_after(failures_before: usize) -> SignedDuration {
    SignedDuration::from_mins(match failures_before {
        0 => 1,
        1 => 5,
        _ => 15,
    })
}

/// Puts the end of an operation into its status: nothing of it is pending or under way any more.
pub(super) fn finish(status: &mut StorageEventStatus, context: &Context<'_>) {
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
    // A journal of an earlier version does not say why.
    let failure = |s: &PvcStatus| {
        s.failure.unwrap_or_else(|| {
            if s.patched_at.is_some() {
                PvcFailure::Infeasible
            } else {
                PvcFailure::Refused
            }
        })
    };
    let failures = || status.pvc_statuses.iter().filter(|s| s.phase == PvcPhase::Failed).map(failure);
    let outcome = match (&error, context.permission) {
        _ if succeeded => Outcome::Succeeded,
        (Some(error), _) => {
            message = format!("{message}; {error}");
            match failures().min() {
                // Somebody wants it smaller: that says nothing of the storage.
                Some(PvcFailure::Changed) => Outcome::Interrupted,
                _ if completed > 0 => Outcome::PartialFailure,
                _ if failures().any(|failure| failure == PvcFailure::Infeasible) => Outcome::Infeasible,
                _ => Outcome::Refused,
            }
        }
        (None, _) if gone == total => Outcome::Gone,
        (None, Err(reason)) => {
            message = format!("{message}; stopped before the others: {reason}");
            Outcome::Interrupted
        }
        (None, Ok(())) => Outcome::Interrupted,
    };
    status.end(outcome, message, Time(context.now));
    if error.is_some() {
        try_again_later(status, context);
    }
}

/// A growth that was refused, or is infeasible, is put off.
fn try_again_later(status: &mut StorageEventStatus, context: &Context<'_>) {
    let before = context.failures_before.max(0);
    let wait = retry_after(usize::try_from(before).unwrap_or(0));
    status.retry_count = Some(before.saturating_add(1));
    status.next_retry_time = context.now.checked_add(wait).ok().map(Time);
    status.retry_basis = Some(context.basis.clone());
}
