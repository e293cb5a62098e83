//! Kubernetes Events, made where a decision or an operation changes; never twice for the same.

use csm_api::{EventReason, Growth, LastDecision, Phase, Reason, Role, State, Urgency, Verdict};
use csm_core::explain;
use csm_core::plan::Decision;
use csm_core::resolve::{Resolution, Sizing};
use csm_core::world::World;
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
        Reason::AtLimit => EventReason::AutoResizeAtLimit,
        Reason::BudgetExhausted | Reason::BudgetReservedForEmergency | Reason::ProviderLimit => EventReason::AutoResizeRateLimited,
        Reason::ResizeStuck => EventReason::AutoResizeStuck,
        Reason::PolicyConflict => EventReason::StoragePolicyConflict,
        Reason::SharedFilesystem | Reason::StorageClassNotExpandable | Reason::BlockVolume => EventReason::StorageUnsupported,
        // These say nothing that a person did not ask for, or that an Event of the operation does not say better.
        Reason::NoPolicy | Reason::ResizeInProgress | Reason::ClusterDeleting | Reason::Hibernated => return None,
        Reason::StaleObservation | Reason::NoObservation if decision.state == State::WaitingForDiskStatus => return None,
        _ if decision.wanted.is_some() || decision.reason == Reason::PolicyInvalid => EventReason::AutoResizeBlocked,
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
        Urgency::Rescue => EventReason::StorageRescue,
        Urgency::Emergency | Urgency::Runway => EventReason::StorageEmergency,
        Urgency::Planned if decision.warnings.iter().any(|w| w.reason == Reason::WalHealthUnknown) => {
            EventReason::AutoResizeWALHealthUnavailable
        }
        Urgency::Planned | Urgency::CatchUp => return None,
    };
    Some(Note {
        severity: Severity::Warning,
        reason,
        message: explain::sentence(decision),
    })
}

/// The Event of an operation of this Cluster that has just ended.
#[must_use]
pub fn of_operation(event: &Growth, world: &World) -> Option<Note> {
    let status = event.status.as_ref()?;
    let condition = status.conditions.first()?;
    let expansion = &event.spec.expansion;
    if event.was_turned_down() {
        // What a person wrote beside the volume and the size may be anything.
        let (volume, to, name) = (volume_of(event), expansion.requested_size, event.name_any());
        return Some(Note {
            severity: Severity::Warning,
            reason: EventReason::AutoResizeBlocked,
            message: format!(
                "The growth of {volume} to {to} that a person asked for ({name}) is {}",
                condition.message
            ),
        });
    }
    let growth = format!(
        "{} from {} to {} ({})",
        volume_of(event),
        expansion.original_size,
        expansion.requested_size,
        event.name_any()
    );
    match status.phase? {
        Phase::Completed if is_alerting(event, world) => Some(Note {
            severity: Severity::Warning,
            reason: EventReason::AutoResizeSuccess,
            message: format!(
                "Expanded {growth}: {}. A volume that holds WAL grew: see what holds WAL back (a failing archiver, a replication slot that nobody reads, a standby that is behind)",
                condition.message
            ),
        }),
        Phase::Completed => Some(Note {
            severity: Severity::Normal,
            reason: EventReason::AutoResizeSuccess,
            message: format!("Expanded {growth}: {}", condition.message),
        }),
        Phase::Failed => Some(Note {
            severity: Severity::Warning,
            reason: if condition.reason == "Infeasible" {
                EventReason::AutoResizeInfeasible
            } else {
                EventReason::AutoResizeFailed
            },
            message: format!("Could not expand {growth}: {}", condition.message),
        }),
        Phase::Pending | Phase::InProgress => None,
    }
}

/// Whether a growth that went well is a warning all the same: of a volume that holds WAL, where `alertOnResize` says so. A
/// member that is caught up is no growth of its volume.
fn is_alerting(event: &Growth, world: &World) -> bool {
    let volume = volume_of(event);
    let holds_wal = match volume.role {
        Role::Wal => true,
        Role::Data => !world.volumes.iter().any(|v| v.key.role == Role::Wal),
        Role::Tablespace => false,
    };
    let Resolution::Settings(settings) = &*world.resolution else {
        return false;
    };
    let alerts = settings
        .volumes
        .of(&volume)
        .is_ok_and(|rules| matches!(&rules.sizing, Sizing::Resize(resize) if resize.wal_safety.alert_on_resize.value));
    holds_wal && alerts && event.spec.urgency() != Urgency::CatchUp
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::report::testing::subject;

    fn completed(role: &str, trigger: &str) -> Growth {
        serde_json::from_value(json!({
            "metadata": {"name": "orders-expansion-1", "namespace": "shop"},
            "spec": {
                "clusterRef": {"name": "orders", "uid": "u"}, "eventType": "expansion", "trigger": trigger, "volume": {"role": role},
                "reason": "UsageThreshold", "message": "full",
                "expansion": {"originalSize": "10Gi", "requestedSize": "12Gi", "parallelism": 1, "affectedPVCs": []},
            },
            "status": {"phase": "Completed", "conditions": [{"type": "Complete", "status": "True", "reason": "Succeeded",
                "message": "1/1 PVCs expanded successfully", "lastTransitionTime": "2026-03-01T12:00:00Z"}]},
        }))
        .unwrap()
    }

    const DATA: &str = "data: {size: 10Gi, members: {orders-1: {used: 1Gi, available: 9Gi}}}";
    const WAL: &str = "wal: {size: 10Gi, members: {orders-1: {used: 1Gi, available: 9Gi}}}";
    const QUIET: &str = "{resize: {enabled: true, strategy: {walSafetyPolicy: {alertOnResize: false}}}}";
    const LOUD: &str = "{resize: {enabled: true}}";

    #[rstest]
    #[case::wal("wal", "threshold-breach", LOUD, true, Severity::Warning)]
    #[case::wal_quietly("wal", "threshold-breach", QUIET, true, Severity::Normal)]
    #[case::wal_of_another_model("wal", "threshold-breach", "{model: Thresholds}", true, Severity::Normal)]
    #[case::a_new_replica("wal", "catch-up", LOUD, true, Severity::Normal)]
    #[case::data_beside_wal("data", "threshold-breach", LOUD, true, Severity::Normal)]
    #[case::data_with_wal("data", "emergency", LOUD, false, Severity::Warning)]
    #[case::data_with_wal_quietly("data", "emergency", QUIET, false, Severity::Normal)]
    fn a_volume_that_holds_wal_grows_with_a_warning(
        #[case] role: &str,
        #[case] trigger: &str,
        #[case] block: &str,
        #[case] wal_volume: bool,
        #[case] severity: Severity,
    ) {
        let volumes = if wal_volume { format!("{DATA}, {WAL}") } else { DATA.to_owned() };
        let policy = format!("{{storage: {block}, walStorage: {block}}}");
        let subject = subject(&policy, &format!("volumes: {{{volumes}}}"));
        let note = of_operation(&completed(role, trigger), &subject.world).unwrap();
        assert_eq!((note.reason, note.severity), (EventReason::AutoResizeSuccess, severity));
        assert_eq!(
            note.message.contains("see what holds WAL back"),
            severity == Severity::Warning,
            "{}",
            note.message
        );
    }
}
