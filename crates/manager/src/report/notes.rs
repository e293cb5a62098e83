//! Kubernetes Events, made where a decision or an operation changes; never twice for the same.

use csm_api::{
    Condition, EventReason, Growth, LastDecision, Outcome, Phase, PostgresStorageStatus, Reason, Role, RootCause, State, Urgency, Verdict,
    condition,
};
use csm_core::explain;
use csm_core::plan::Decision;
use csm_core::resolve::{Resolution, Sizing};
use csm_core::world::World;
use jiff::Timestamp;
use kube::ResourceExt;

use super::conditions::METRICS_LOST;
use super::root_cause;
use crate::apply::{Note, Severity};
use csm_gather::views::{ClusterView, volume_of};

/// The Event of a decision that differs from the one that was told last; most decisions have none.
#[must_use]
pub fn of_decision(decision: &Decision, told: Option<&LastDecision>, cause: Option<&RootCause>) -> Option<Note> {
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
        message: root_cause::appended(explain::sentence(decision), decision.reason, cause),
    })
}

/// The Events of what a status says anew that is no decision on a volume: a pause, and figures that no longer come.
pub fn of_status(
    old: &PostgresStorageStatus,
    new: &PostgresStorageStatus,
    cluster: &ClusterView,
    now: Timestamp,
) -> impl Iterator<Item = Note> {
    [of_pause(old, new, cluster, now), of_figures(old, new, cluster)]
        .into_iter()
        .flatten()
}

fn of_pause(old: &PostgresStorageStatus, new: &PostgresStorageStatus, cluster: &ClusterView, now: Timestamp) -> Option<Note> {
    let is_paused = |status: &PostgresStorageStatus| {
        let sizing = status.storage_sizing.iter();
        let mut volumes = sizing.flat_map(|s| s.data.iter().chain(&s.wal).chain(s.tablespaces.values()));
        volumes.any(|volume| volume.state == State::Paused)
    };
    let in_force = cluster.pause.in_force(now);
    let why = cluster.pause_reason.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let (reason, message) = match (is_paused(old), is_paused(new)) {
        (false, true) if in_force => {
            let until = match cluster.pause.until() {
                Some(until) => format!("until {until}"),
                None => "until somebody resumes it".to_owned(),
            };
            let message = format!("Paused {until}{why}: nothing of it is grown, emergencies and rescues included");
            (EventReason::StoragePaused, message)
        }
        (true, false) if !in_force => {
            let how = match cluster.pause.until() {
                Some(until) => format!("The pause has ended, at {until}{why}"),
                None => "A person has ended the pause".to_owned(),
            };
            (EventReason::StorageResumed, format!("{how}: its volumes are decided on again"))
        }
        _ => return None,
    };
    Some(Note {
        severity: Severity::Normal,
        reason,
        message,
    })
}

fn of_figures(old: &PostgresStorageStatus, new: &PostgresStorageStatus, cluster: &ClusterView) -> Option<Note> {
    fn lost(status: &PostgresStorageStatus) -> Option<&Condition> {
        let mut conditions = status.conditions.iter();
        conditions.find(|c| c.type_ == condition::METRICS_FRESH && c.reason == METRICS_LOST)
    }
    // Of one that sleeps, or goes, no figures come.
    let expected = cluster.hibernated || cluster.deleting;
    let lost = lost(new).filter(|_| !expected && lost(old).is_none())?;
    Some(Note {
        severity: Severity::Warning,
        reason: EventReason::StorageMetricsLost,
        message: format!("Figures no longer come: {}", lost.message),
    })
}

/// The Event of a growth that has just been begun; planned ones have none before they end, unless nothing is known of WAL.
#[must_use]
pub fn of_beginning(decision: &Decision, cause: Option<&RootCause>) -> Option<Note> {
    let reason = match decision.urgency? {
        Urgency::Rescue => EventReason::StorageRescue,
        Urgency::Emergency | Urgency::Runway => EventReason::StorageEmergency,
        Urgency::Planned if decision.warnings.iter().any(|w| w.reason == Reason::WalHealthUnknown) => {
            EventReason::AutoResizeWALHealthUnavailable
        }
        Urgency::Planned | Urgency::CatchUp => return None,
    };
    let mut message = explain::sentence(decision);
    // That nothing is known is why a planned growth is told at all, and of another one a person should know it too.
    for warning in explain::warnings(decision) {
        message = format!("{message}. Besides, {warning}");
    }
    Some(Note {
        severity: Severity::Warning,
        reason,
        message: root_cause::appended(message, decision.reason, cause),
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
        // Somebody has removed what was to grow: there is nothing to see to.
        Phase::Failed if status.outcome() == Some(Outcome::Gone) => None,
        Phase::Failed => Some(Note {
            severity: Severity::Warning,
            reason: if status.outcome() == Some(Outcome::Infeasible) {
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
    use crate::report::testing::{now, subject};

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

    /// What a status of a Cluster with these annotations says, once it said something else, or nothing.
    fn told(
        annotations: &str,
        member: &str,
        old: &PostgresStorageStatus,
        at: Timestamp,
    ) -> (PostgresStorageStatus, Vec<(EventReason, String)>) {
        let subject = subject(
            "{expansion: {maxSize: 20Gi}}",
            &format!(
                "annotations: {{{annotations}}}, volumes: {{data: {{size: 10Gi, members: {{orders-1: {{used: 1Gi, available: 9Gi, {member}}}}}}}}}"
            ),
        );
        let plan = csm_core::plan::plan(&subject.world, at);
        let new = crate::report::status::status(&subject.snapshot, &subject.world, &plan, &[], at);
        let notes = of_status(old, &new, &subject.snapshot.cluster, at);
        let notes = notes.map(|note| (note.reason, note.message)).collect();
        (new, notes)
    }

    #[test]
    fn a_pause_is_told_when_it_begins_and_when_it_ends() {
        const UNTIL: &str = "storage.cnpg.supporttools.io/paused: 'true', storage.cnpg.supporttools.io/pause-until: '2026-03-01T12:01:00Z', \
                             storage.cnpg.supporttools.io/pause-reason: a move";
        let seen = "observedAt: 2026-03-01T11:59:50Z";
        let later = now() + jiff::SignedDuration::from_secs(90);
        let (calm, notes) = told("", seen, &PostgresStorageStatus::default(), now());
        assert_eq!(notes, []);
        let (paused, notes) = told(UNTIL, seen, &calm, now());
        let message = "Paused until 2026-03-01T12:01:00Z (a move): nothing of it is grown, emergencies and rescues included";
        assert_eq!(notes, [(EventReason::StoragePaused, message.to_owned())]);
        assert_eq!(told(UNTIL, seen, &paused, now()).1, [], "told once");
        let message = "The pause has ended, at 2026-03-01T12:01:00Z (a move): its volumes are decided on again";
        assert_eq!(
            told(UNTIL, seen, &paused, later).1,
            [(EventReason::StorageResumed, message.to_owned())]
        );
        let resumed = told("", seen, &paused, now()).1;
        assert_eq!(
            resumed.iter().map(|(reason, _)| *reason).collect::<Vec<_>>(),
            [EventReason::StorageResumed]
        );
        // Who finds it paused at the first look says so.
        let first = told(UNTIL, seen, &PostgresStorageStatus::default(), now()).1;
        assert_eq!(first.first().map(|(reason, _)| *reason), Some(EventReason::StoragePaused));
    }

    #[test]
    fn figures_that_no_longer_come_are_told_once_and_those_that_never_came_are_not() {
        let (seen, old, never) = (
            "observedAt: 2026-03-01T11:59:50Z",
            "observedAt: 2026-03-01T11:50:00Z",
            "observedAt: null",
        );
        let (calm, _) = told("", seen, &PostgresStorageStatus::default(), now());
        let (lost, notes) = told("", old, &calm, now());
        let message = "Figures no longer come: without fresh figures: data (orders-1); nothing is done on old ones";
        assert_eq!(notes, [(EventReason::StorageMetricsLost, message.to_owned())]);
        assert_eq!(told("", old, &lost, now()).1, [], "told once");
        assert_eq!(told("", never, &calm, now()).1, [], "such as after a start of the manager");
        assert_eq!(told("cnpg.io/hibernation: 'on'", old, &calm, now()).1, [], "it sleeps");
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
