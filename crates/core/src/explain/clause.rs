//! What holds a growth: with its numbers, until when, and what a person can do.

use csm_api::{Model, Reason, Urgency, annotation};
use csm_units::Bytes;
use jiff::Timestamp;

use super::figures::{and, count, measured, span};
use super::settings::{self, own};
use crate::decision::{Cause, CeilingSource, Decision};
use crate::resolve::{Conflict, Resolution};
use crate::world::{Circuit, Fleet, Opened, ProviderLimit};

/// What holds, until when, and what a person can do.
pub(crate) fn clause(reason: Reason, decision: &Decision) -> String {
    let paused = annotation::PAUSED;
    match (reason, &decision.facts.cause) {
        (Reason::NoPolicy, _) => {
            "no policy matches the Cluster, so it is only monitored; create a StoragePolicy in its namespace to have it managed".to_owned()
        }
        (Reason::PolicyConflict, Cause::Settings(resolution)) => conflict(resolution),
        (Reason::PolicyInvalid, Cause::Invalid(problems)) => {
            let problem = problems.first().map(ToString::to_string).unwrap_or_default();
            let more = match problems.len() {
                0 | 1 => String::new(),
                n => format!(", and {} more", n.saturating_sub(1)),
            };
            format!("its settings are not valid: {problem}{more}; correct that, and it goes on")
        }
        (Reason::ClusterDeleting, _) => "the Cluster is being deleted; its volumes are left alone".to_owned(),
        (Reason::Disabled, _) => {
            let switch = match decision.model {
                Some(Model::Resize) => own(decision, "resize.enabled"),
                _ => "expansion.enabled".to_owned(),
            };
            format!("growth is switched off; set {switch}: true to allow it")
        }
        (Reason::Paused, Cause::Pause { until: Some(until) }) => {
            format!("the Cluster is paused until {until}; remove the annotation {paused} to go on before")
        }
        (Reason::Paused, _) => format!("the Cluster is paused; remove the annotation {paused} to go on"),
        (Reason::Hibernated, _) => {
            "the Cluster is hibernated (cnpg.io/hibernation: on); it is looked at again when its pods are back".to_owned()
        }
        (Reason::Fenced, cause) => fenced(cause),
        (Reason::InUseResizeDisabled, _) => {
            "the Cluster says spec.storage.resizeInUseVolumes: false; set it to true to allow growth".to_owned()
        }
        (Reason::NotBound, Cause::Member { pvc, .. }) => {
            format!("PVC {pvc} is not bound to a volume; see kubectl describe pvc {pvc}")
        }
        (Reason::BlockVolume, Cause::Member { pvc, .. }) => {
            format!(
                "PVC {pvc} is a raw block device, which has no filesystem to grow; it would have to be made anew with volumeMode: Filesystem"
            )
        }
        (Reason::StorageClassNotExpandable, Cause::Class { class, .. }) => {
            format!("storage class {class} does not allow expansion; set allowVolumeExpansion: true on it where its driver can expand")
        }
        (Reason::SharedFilesystem, cause) => shared(cause),
        (Reason::ResizeInProgress | Reason::ResizeStuck, cause) => resize(reason, cause),
        (Reason::RetryLater, Cause::Until { at }) => {
            format!(
                "the last growth was refused (its StorageEvent says why); the next try is at {at}, or when what refused it (such as a quota) changes"
            )
        }
        (
            Reason::CircuitOpen,
            Cause::Breaker {
                global,
                half_open,
                circuit,
            },
        ) => breaker(*global, *half_open, circuit),
        (Reason::StaleObservation | Reason::NoObservation, cause) => figures(cause, decision),
        (Reason::AtLimit, _) => at_limit(decision),
        (Reason::BudgetExhausted | Reason::BudgetReservedForEmergency, cause) => budget(reason, cause, decision),
        (Reason::ProviderLimit, Cause::Provider { pvc, limit, at }) => provider(pvc, limit, *at),
        (Reason::Cooldown, Cause::Cooldown { last, at }) => {
            format!(
                "the last growth is too recent, of {last}; it goes on at {at} (expansion.cooldownMinutes: {})",
                minutes(*last, *at)
            )
        }
        (Reason::FleetLimit, Cause::Fleet { fleet: of, limit, class }) => fleet(*of, *limit, class.as_deref()),
        (Reason::MaintenanceWindowClosed, Cause::Window { at }) => window(*at, decision),
        (Reason::WalRiskNotAcknowledged, _) => format!(
            "PGDATA and WAL share the volume, and growing it can hide that WAL is not archived, or held back by a slot; set {}: true to \
             accept that, or give the Cluster a walStorage",
            own(decision, &wal_safety("acknowledgeWALRisk"))
        ),
        (
            Reason::ArchiveUnhealthy,
            Cause::Archive {
                last_archived,
                last_failed,
            },
        ) => archive(*last_archived, *last_failed, decision),
        (Reason::TooManyPendingWalFiles, Cause::Pending { files, max }) => format!(
            "{} to be archived, more than {max} ({}); repair WAL archiving, or make it faster",
            count(*files, "WAL file waits", "WAL files wait"),
            own(decision, &wal_safety("maxPendingWALFiles"))
        ),
        (Reason::SlotRetention, Cause::Slots { slots, retained, max }) => held_by_slots(slots, *retained, *max, decision),
        (Reason::DryRun, _) => "this is a dry run; set dryRun: false to let it happen".to_owned(),
        (other, _) => format!("it is held ({other})"),
    }
}

fn wal_safety(name: &str) -> String {
    format!("resize.strategy.walSafetyPolicy.{name}")
}

fn conflict(resolution: &Resolution) -> String {
    let Resolution::Conflict(conflicts) = resolution else {
        return "two policies of the same rank match the Cluster".to_owned();
    };
    format!(
        "{} match the Cluster with the same rank; change a selector, or name the Cluster in excludeClusters of one",
        conflicting(conflicts, " and ")
    )
}

/// All policies of all conflicts.
pub(super) fn conflicting(conflicts: &[Conflict], separator: &str) -> String {
    let names = conflicts.iter().flat_map(|c| &c.policies).map(ToString::to_string);
    names.collect::<Vec<_>>().join(separator)
}

fn fenced(cause: &Cause) -> String {
    match cause {
        Cause::Member { instance, .. } => format!("instance {instance} is fenced; lift the fence to go on"),
        Cause::FencedAll { unreadable: Some(text) } => {
            format!("the annotation cnpg.io/fencedInstances is no JSON list ({text:?}), which counts as all fenced; correct or remove it")
        }
        _ => "all instances are fenced; lift the fence to go on".to_owned(),
    }
}

fn shared(cause: &Cause) -> String {
    let Cause::Filesystem {
        instance,
        filesystem,
        size,
        class,
    } = cause
    else {
        return "many volumes share one filesystem".to_owned();
    };
    let seen = if *filesystem > *size {
        format!(
            "the filesystem of {instance} ({}) is larger than its PVC ({size})",
            measured(*filesystem)
        )
    } else {
        format!("{instance} reports the figures of a filesystem that is not its own")
    };
    format!(
        "{seen}: volumes of storage class {class} share one, so its figures say nothing of this volume; use a class that gives each volume its own"
    )
}

fn resize(reason: Reason, cause: &Cause) -> String {
    let Cause::Resize {
        since,
        operation,
        instance,
        stage,
        error,
    } = cause
    else {
        return "a resize is under way".to_owned();
    };
    let since = since.map_or_else(String::new, |at| format!(" since {at}"));
    let mut details: Vec<String> = Vec::new();
    details.extend(instance.as_ref().map(ToString::to_string));
    details.extend(stage.map(|s| s.as_str().to_owned()));
    details.extend(error.as_ref().map(ToString::to_string));
    if details.is_empty() {
        details.extend(operation.as_ref().map(|o| format!("StorageEvent {o}")));
    }
    let details = if details.is_empty() {
        String::new()
    } else {
        format!(" ({})", details.join(": "))
    };
    match reason {
        Reason::ResizeStuck => {
            format!("a resize has made no progress{since}{details}; see kubectl describe pvc, and the log of the storage driver")
        }
        _ => format!("a resize is under way{since}{details}; nothing else is begun before it ends"),
    }
}

fn fleet(fleet: Fleet, limit: u32, class: Option<&str>) -> String {
    let (place, setting) = match class {
        None => ("the fleet".to_owned(), "fleet.concurrentResizes".to_owned()),
        Some(class) => (
            format!("the storage class {class}"),
            format!("storageClasses.{class}.concurrentResizes"),
        ),
    };
    let (ahead, next) = match fleet.ahead {
        0 => (String::new(), "it goes on when one ends"),
        ahead => {
            let clusters = count(ahead, "Cluster waits that is", "Clusters wait that are");
            (format!(", {clusters} full sooner"), "it goes on after those")
        }
    };
    format!(
        "{} under way in {place}{ahead}, and there may be {limit} at a time ({setting} of the manager); {next}",
        count(fleet.in_progress, "resize is", "resizes are")
    )
}

fn breaker(global: bool, half_open: bool, circuit: &Circuit) -> String {
    let reset = annotation::RESET_CIRCUIT_BREAKER;
    let (whose, place) = if global {
        ("the circuit breaker of the whole fleet", "any ClusterStoragePolicy")
    } else {
        ("the circuit breaker of the Cluster", "the Cluster")
    };
    if half_open {
        return format!("{whose} is half open, and one growth is tried; the others go on when that one has succeeded");
    }
    if let Some((_, Opened::Runaway { grown, managed })) = circuit.opened {
        let grew = match managed {
            // Not every reader counts the fleet.
            0 => "too large a share of all".to_owned(),
            _ => format!("{grown} of {managed}"),
        };
        return format!(
            "{whose} is open, since {grew} managed Clusters grew within an hour (fleet.runawayShare of the manager); see \
             what fills them, then set the annotation {reset}: \"true\" on {place} to go on at once"
        );
    }
    let failed = match circuit.failures {
        0 => "too many growths failed in a row".to_owned(),
        failures => format!("{} in a row", count(failures, "growth failed", "growths failed")),
    };
    let again = match circuit.resets_at() {
        Some(at) => format!("one is tried again at {at}"),
        None => "one is tried again after circuitBreaker.resetMinutes".to_owned(),
    };
    format!(
        "{whose} is open, since {failed}; {again}; see what failed in the StorageEvents, then set the annotation {reset}: \"true\" on \
         {place} to go on at once"
    )
}

fn figures(cause: &Cause, decision: &Decision) -> String {
    let remedy = "see whether its pod runs and its node answers";
    if let Cause::Figures {
        newest: Some((at, instance)),
        ..
    } = cause
    {
        return format!("there are no fresh figures of its filesystems, the newest are of {at} ({instance}); {remedy}");
    }
    let instances: Vec<&str> = decision.members.iter().map(|m| &*m.instance).collect();
    format!("there are no figures of its filesystems yet ({}); {remedy}", and(&instances))
}

fn at_limit(decision: &Decision) -> String {
    let Some(ceiling) = decision.ceiling else {
        return "it has reached the largest size that Kubernetes can express; free space".to_owned();
    };
    let setting = settings::ceiling_setting(decision).unwrap_or_default();
    let remedy = match ceiling.source {
        CeilingSource::MaxSize | CeilingSource::Limit => format!("raise {setting}, or free space"),
        CeilingSource::Bound => "raise it there, or free space".to_owned(),
        CeilingSource::Learned => "free space, or give the storage more room".to_owned(),
        CeilingSource::Fallback => format!("set {} to allow more, or free space", settings::limit(decision)),
    };
    // Who is down for it cannot be asked to delete anything.
    let urgency = decision.wanted.map(|wanted| wanted.urgency);
    let down = match urgency {
        Some(Urgency::Rescue) => "; the instance cannot start before there is room",
        _ => "",
    };
    format!("its ceiling of {} leaves no room; {remedy}{down}", settings::ceiling(decision))
}

fn budget(reason: Reason, cause: &Cause, decision: &Decision) -> String {
    let Cause::Budget {
        actions,
        max,
        reserved,
        at,
    } = cause
    else {
        return "its budget is used up".to_owned();
    };
    let goes_on = at.map_or_else(
        || "none is ever possible".to_owned(),
        |at| format!("the next one is possible at {at}"),
    );
    let urgency = decision.wanted.map(|wanted| wanted.urgency);
    if urgency == Some(Urgency::Rescue) {
        return format!("{actions} of {max} rescues in 24 h have not helped; {goes_on}; free space by hand, or find what fills the volume");
    }
    let setting = settings::max_actions(decision);
    let whose = match &decision.facts.bound {
        Some(policy) => format!("bounds.maxActionsPerDay of {policy}"),
        None => setting.clone(),
    };
    if reason == Reason::BudgetReservedForEmergency {
        let reserve = own(decision, "emergencyGrow.reservedActionsForEmergency");
        return format!(
            "{actions} of {max} growths in 24 h are used ({whose}), and what is left is kept for emergencies ({reserve}: {reserved}); \
             {goes_on}; lower the reserve, or raise the maximum"
        );
    }
    format!("{actions} of {max} growths in 24 h are used ({whose}); {goes_on}; raise that to allow more")
}

fn provider(pvc: &str, limit: &ProviderLimit, at: Option<Timestamp>) -> String {
    let ProviderLimit { max_actions, period } = limit;
    let goes_on = at.map_or_else(String::new, |at| format!("; it goes on at {at}"));
    format!(
        "its storage provider lets a volume be changed {} in {}, and PVC {pvc} was (providerLimits, or the storage class, in the settings of the manager){goes_on}",
        count(*max_actions, "time", "times"),
        span(*period)
    )
}

/// Minutes from one moment to the other.
pub(super) fn minutes(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_mins()
}

fn window(at: Option<Timestamp>, decision: &Decision) -> String {
    let setting = own(decision, "maintenanceWindow");
    match at {
        Some(at) => format!("the maintenance window is closed and opens at {at}; widen {setting} to let it go before"),
        None => format!("the maintenance window never opens; correct {setting}.schedule"),
    }
}

fn archive(last_archived: Option<Timestamp>, last_failed: Option<Timestamp>, decision: &Decision) -> String {
    let failed = last_failed.map_or_else(String::new, |at| format!(" (last at {at})"));
    let archived = last_archived.map_or_else(
        || "no file was ever archived".to_owned(),
        |at| format!("no file was archived since {at}"),
    );
    format!(
        "WAL archiving fails{failed}: {archived}, and WAL stays on the volume until one is; repair archiving, or set {}: false to grow all the same",
        own(decision, &wal_safety("requireArchiveHealthy"))
    )
}

/// More slots than these make no readable sentence.
const SLOTS_NAMED: usize = 5;

fn held_by_slots(slots: &[(std::sync::Arc<str>, Bytes)], retained: Bytes, max: Bytes, decision: &Decision) -> String {
    let mut named: Vec<String> = slots
        .iter()
        .take(SLOTS_NAMED)
        .map(|(name, retained)| format!("{name}: {}", measured(*retained)))
        .collect();
    let more = slots.len().saturating_sub(SLOTS_NAMED);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    let setting = own(decision, &wal_safety("maxSlotRetentionBytes"));
    format!(
        "inactive replication slots hold back {} of WAL ({}), more than {max} ({setting}); start what reads from them, or drop them with \
         pg_drop_replication_slot",
        measured(retained),
        and(&named)
    )
}
