//! Kubernetes Events, made where a decision or an operation changes; never twice for the same.

use csm_api::{LastDecision, Phase, Reason, State, StorageEvent, Urgency, Verdict};
use csm_core::explain;
use csm_core::plan::Decision;
use kube::ResourceExt;

use crate::apply::{Note, Severity};
use csm_gather::views::volume_of;

/// The Event of a decision that differs from the one that was told last; most decisions have none.
#[must_use]
pub fn of_decision(decision: &Decision, told: Option<&LastDecision>) -> Option<Note> {
    let same = told.is_some_and(|t| t.verdict == decision.verdict && t.reason == decision.reason && t.urgency == decision.urgency);
    if same || decision.verdict != Verdict::Hold {
        return None;
    }
    let reason = match decision.reason {
        Reason::AtLimit => "AutoResizeAtLimit",
        Reason::BudgetExhausted | Reason::BudgetReservedForEmergency | Reason::ProviderLimit => "AutoResizeRateLimited",
        Reason::ResizeStuck => "AutoResizeStuck",
        Reason::PolicyConflict => "StoragePolicyConflict",
        Reason::SharedFilesystem | Reason::StorageClassNotExpandable | Reason::BlockVolume => "StorageUnsupported",
        // These say nothing that a person did not ask for, or that an Event of the operation does not say better.
        Reason::NoPolicy | Reason::ResizeInProgress | Reason::ClusterDeleting | Reason::Hibernated => return None,
        Reason::StaleObservation | Reason::NoObservation if decision.state == State::WaitingForDiskStatus => return None,
        _ if decision.wanted.is_some() || decision.reason == Reason::PolicyInvalid => "AutoResizeBlocked",
        _ => return None,
    };
    Some(Note {
        // To wait for its window is what a growth was asked to do.
        severity: if decision.reason == Reason::MaintenanceWindowClosed {
            Severity::Normal
        } else {
            Severity::Warning
        },
        reason,
        message: explain::sentence(decision),
    })
}

/// The Event of a growth that has just been begun; planned ones have none before they end, unless nothing is known of WAL.
#[must_use]
pub fn of_beginning(decision: &Decision) -> Option<Note> {
    let reason = match decision.urgency? {
        Urgency::Rescue => "StorageRescue",
        Urgency::Emergency | Urgency::Runway => "StorageEmergency",
        Urgency::Planned if decision.warnings.iter().any(|w| w.reason == Reason::WalHealthUnknown) => "AutoResizeWALHealthUnavailable",
        Urgency::Planned | Urgency::CatchUp => return None,
    };
    Some(Note {
        severity: Severity::Warning,
        reason,
        message: explain::sentence(decision),
    })
}

/// The Event of an operation that has just ended.
#[must_use]
pub fn of_operation(event: &StorageEvent) -> Option<Note> {
    let status = event.status.as_ref()?;
    let condition = status.conditions.first()?;
    let expansion = &event.spec.expansion;
    let growth = format!(
        "{} from {} to {} ({})",
        volume_of(event),
        expansion.original_size,
        expansion.requested_size,
        event.name_any()
    );
    match status.phase? {
        Phase::Completed => Some(Note {
            severity: Severity::Normal,
            reason: "AutoResizeSuccess",
            message: format!("Expanded {growth}: {}", condition.message),
        }),
        Phase::Failed => Some(Note {
            severity: Severity::Warning,
            reason: if condition.reason == "Infeasible" {
                "AutoResizeInfeasible"
            } else {
                "AutoResizeFailed"
            },
            message: format!("Could not expand {growth}: {}", condition.message),
        }),
        Phase::Pending | Phase::InProgress => None,
    }
}
