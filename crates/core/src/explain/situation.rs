//! What a volume is like, and what fired.

use csm_api::{Model, Reason};
use csm_units::Percent;

use super::figures::{and, measured, pace, share, span};
use super::settings::own;
use crate::decision::{Decision, Evidence, Filling, Fired, Found, Usage};
use crate::world::VolumeKey;

pub(super) fn volume_name(volume: &VolumeKey) -> String {
    match &volume.tablespace {
        Some(name) => format!("tablespace {name}"),
        None => volume.role.to_string(),
    }
}

fn filled(volume: &VolumeKey, Usage { used, available }: Usage, instance: &str) -> Option<String> {
    let percent = Percent::used(used, available)?.get();
    let share = share(used, used.saturating_add(available));
    Some(format!("{} is {percent} % full ({share}, {instance})", volume_name(volume)))
}

/// "data is 87 % full (8.8 of 10 GiB, orders-1)"; none where nothing fresh is known.
fn worst(decision: &Decision) -> Option<String> {
    filled(&decision.volume, decision.facts.usage?, decision.worst.as_ref()?)
}

/// The same, or only the name of the volume.
pub(super) fn subject(decision: &Decision) -> String {
    worst(decision).unwrap_or_else(|| volume_name(&decision.volume))
}

/// What the volume is like, and what that is more or less than.
pub(super) fn situation(decision: &Decision) -> String {
    let Some(Fired { reason, evidence }) = &decision.facts.fired else {
        return subject(decision);
    };
    let emergency = |name: &str| own(decision, &format!("emergencyGrow.{name}"));
    let trigger = |name: &str| own(decision, &format!("resize.triggers.{name}"));
    match evidence {
        Evidence::Down { instances, findings } => down(decision, instances, findings),
        Evidence::Percent { instance, usage, level } => {
            let filled = filled(&decision.volume, *usage, instance).unwrap_or_else(|| subject(decision));
            // Percent used is rounded down: 80.4 % are shown as 80 %, and are over 80 %.
            let just = if Percent::used(usage.used, usage.available) == Some(*level) {
                "just "
            } else {
                ""
            };
            let level = level.get();
            match (reason, decision.model) {
                (Reason::CriticalThreshold, _) => format!("{filled}, which reaches {level} % ({})", emergency("criticalThreshold")),
                (_, Some(Model::Resize)) => format!("{filled}, which is {just}over {level} % ({})", trigger("usageThreshold")),
                _ => format!("{filled}, which reaches {level} % (thresholds.expansion)"),
            }
        }
        Evidence::Available {
            instance,
            available,
            least,
            default,
        } => {
            let left = format!("{}; {instance} has {} available", subject(decision), measured(*available));
            match (reason, default) {
                (Reason::MinAvailable, _) => format!("{left}, less than {least} ({})", trigger("minAvailable")),
                (_, true) => format!(
                    "{left}, no more than {} ({}, by default 1Gi or 5 %)",
                    measured(*least),
                    emergency("criticalMinimumFree")
                ),
                (_, false) => format!("{left}, no more than {least} ({})", emergency("criticalMinimumFree")),
            }
        }
        Evidence::Inodes {
            instance,
            used,
            total,
            level,
        } => format!(
            "{}; {used} of {total} inodes of {instance} are used, more than {} % ({})",
            subject(decision),
            level.get(),
            trigger("inodeThreshold")
        ),
        Evidence::Forecast { forecast, least } => format!(
            "{} and will be {}, sooner than {} ({})",
            subject(decision),
            pace(forecast),
            span(*least),
            trigger("timeToFull")
        ),
        Evidence::Floor { request } => {
            let subject = worst(decision).map_or_else(|| format!("{} is", volume_name(&decision.volume)), |text| format!("{text} and"));
            format!("{subject} smaller than {request} ({})", own(decision, "request"))
        }
        Evidence::Buffer {
            instance, usage, buffer, ..
        } => {
            let filled = filled(&decision.volume, *usage, instance).unwrap_or_else(|| subject(decision));
            format!(
                "{filled}, which leaves less than {} % free ({})",
                buffer.get(),
                own(decision, "targetBuffer")
            )
        }
        Evidence::Lagging { .. } => subject(decision),
    }
}

fn down(decision: &Decision, instances: &[std::sync::Arc<str>], findings: &[Found]) -> String {
    let verb = match instances {
        [_] => "the instance is",
        _ => "the instances are",
    };
    let known = match findings {
        [] => String::new(),
        [found] if instances.len() == 1 => format!(" ({})", super::findings(&found.findings)),
        _ => format!(" ({})", each(findings)),
    };
    format!(
        "{} of {} is full, and {verb} down because of it{known}",
        volume_name(&decision.volume),
        and(instances)
    )
}

/// "; orders-1 is down, and its data volume may be full (…)"; nothing where no instance is suspected.
pub(super) fn suspected(decision: &Decision) -> String {
    let suspected = &decision.facts.suspected;
    let names: Vec<_> = suspected.iter().map(|found| &*found.instance).collect();
    let (verb, whose) = match names.as_slice() {
        [] => return String::new(),
        [_] => ("is", "its"),
        _ => ("are", "their"),
    };
    let volume = volume_name(&decision.volume);
    format!(
        "; {} {verb} down, perhaps for {whose} {volume} being full ({})",
        and(&names),
        each(suspected)
    )
}

fn each(findings: &[Found]) -> String {
    let each = findings
        .iter()
        .map(|found| format!("{}: {}", found.instance, super::findings(&found.findings)));
    each.collect::<Vec<_>>().join("; ")
}

/// "about to fill (420 MiB left on payments-1, full in 9 min at 3.1 GiB/h)".
pub(super) fn filling(filling: Option<&Filling>) -> String {
    let Some(Filling {
        instance,
        available,
        forecast,
    }) = filling
    else {
        return "about to fill".to_owned();
    };
    let forecast = forecast
        .as_ref()
        .map_or_else(String::new, |forecast| format!(", {}", pace(forecast)));
    format!("about to fill ({} left on {instance}{forecast})", measured(*available))
}
