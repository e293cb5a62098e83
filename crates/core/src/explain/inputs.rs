//! The figures that a decision rests on, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{Model, Reason};
use csm_units::Bytes;

use super::clause::conflicting;
use super::figures::span;
use super::settings::{ceiling_setting, own};
use crate::between::Estimate;
use crate::decision::{Cause, Ceiling, Decision, Evidence, Filling, Fired, Pace, Usage};
use crate::gates::{list, moment};
use crate::resolve::Resolution;

/// The few figures that a decision rests on, by name.
#[must_use]
pub fn inputs(decision: &Decision) -> BTreeMap<String, String> {
    let mut inputs = super::evidence(decision);
    let mut put = |name: &str, value: String| {
        inputs.insert(name.to_owned(), value);
    };
    put("effectiveSize", decision.from.to_string());
    if let (Some(worst), Some(Usage { used, available })) = (&decision.worst, decision.facts.usage) {
        put("instance", worst.to_string());
        put("usedBytes", used.get().to_string());
        put("availableBytes", available.get().to_string());
    }
    if let Some(estimate) = decision.facts.estimate {
        let Estimate {
            at,
            used: _,
            error,
            source,
        } = estimate;
        put("estimatedBy", source.as_str().to_owned());
        put("estimatedAt", at.to_string());
        put("estimateErrorBytes", error.get().to_string());
    }
    if let Some(percent) = decision.percent_used {
        put("percentUsed", percent.get().to_string());
    }
    if let Some(threshold) = decision.facts.threshold {
        put(&threshold_setting(decision), threshold.get().to_string());
    }
    if let Some(Ceiling { size, source }) = decision.ceiling {
        put("ceiling", size.to_string());
        put(
            "ceilingFrom",
            ceiling_setting(decision).unwrap_or_else(|| source.as_str().to_owned()),
        );
    }
    if let Some(setting) = &decision.facts.ceiling {
        put("ceilingSetBy", setting.origin.to_string());
    }
    if let Some(to) = decision.to {
        put("to", to.to_string());
    }
    if let Some(wanted) = decision.wanted {
        put("heldBy", wanted.held_by.to_string());
        if let Some(to) = wanted.to {
            put("wantedSize", to.to_string());
        }
    }
    if !decision.passed.is_empty() {
        put("passed", list(decision.passed.iter().map(|reason| reason.as_str())));
    }
    if let Some(fired) = &decision.facts.fired {
        put("fired", fired.reason.to_string());
        for (name, value) in evidence(fired, decision) {
            put(&name, value);
        }
    }
    if let Some(Filling {
        instance,
        available,
        forecast,
    }) = &decision.facts.filling
    {
        put("fillingInstance", instance.to_string());
        put("leastAvailableBytes", available.get().to_string());
        forecast.iter().flat_map(pace).for_each(|(name, value)| put(name, value));
    }
    if let Some(policy) = &decision.facts.bound {
        put("boundSetBy", policy.to_string());
    }
    for (name, value) in cause(&decision.facts.cause) {
        put(name, value);
    }
    inputs
}

fn threshold_setting(decision: &Decision) -> String {
    match decision.model {
        Some(Model::Resize) => own(decision, "resize.triggers.usageThreshold"),
        Some(Model::Target) => own(decision, "targetBuffer"),
        Some(Model::Thresholds) | None => "thresholds.expansion".to_owned(),
    }
}

fn pace(Pace { time_to_full, per_hour }: &Pace) -> [(&'static str, String); 2] {
    [
        ("timeToFullSeconds", time_to_full.as_secs().to_string()),
        ("bytesPerHour", per_hour.get().to_string()),
    ]
}

/// What the rule saw that fired, beyond the figures of the worst member.
fn evidence(Fired { reason, evidence }: &Fired, decision: &Decision) -> Vec<(String, String)> {
    let of = |instance: &Arc<str>| ("firedInstance".to_owned(), instance.to_string());
    let bytes = |size: &Bytes| size.get().to_string();
    // Those of the worst member are there already.
    let figures = |instance: &Arc<str>, usage: &Usage| {
        let other = [
            of(instance),
            ("firedUsedBytes".to_owned(), bytes(&usage.used)),
            ("firedAvailableBytes".to_owned(), bytes(&usage.available)),
        ];
        if decision.worst.as_ref() == Some(instance) {
            Vec::new()
        } else {
            other.to_vec()
        }
    };
    match evidence {
        Evidence::Down { instances, findings: _ } => vec![("instancesDown".to_owned(), list(instances))],
        Evidence::Percent { instance, usage, level } => {
            let mut inputs = figures(instance, usage);
            if *reason == Reason::CriticalThreshold {
                inputs.push((own(decision, "emergencyGrow.criticalThreshold"), level.get().to_string()));
            }
            inputs
        }
        Evidence::Available {
            instance,
            available,
            least,
            default: _,
        } => {
            let setting = match reason {
                Reason::MinAvailable => "resize.triggers.minAvailable",
                _ => "emergencyGrow.criticalMinimumFree",
            };
            vec![
                of(instance),
                ("firedAvailableBytes".to_owned(), bytes(available)),
                (own(decision, setting), least.to_string()),
            ]
        }
        Evidence::Inodes {
            instance,
            used,
            total,
            level,
        } => vec![
            of(instance),
            ("inodesUsed".to_owned(), used.to_string()),
            ("inodesTotal".to_owned(), total.to_string()),
            (own(decision, "resize.triggers.inodeThreshold"), level.get().to_string()),
        ],
        Evidence::Forecast { forecast, least } => {
            let mut inputs: Vec<_> = pace(forecast).map(|(name, value)| (name.to_owned(), value)).into();
            inputs.push((own(decision, "resize.triggers.timeToFull"), span(*least)));
            inputs
        }
        Evidence::Floor { request } => vec![(own(decision, "request"), request.to_string())],
        Evidence::Buffer {
            instance,
            usage,
            buffer: _,
            ahead,
        } => {
            let mut inputs = figures(instance, usage);
            inputs.push(("providesUntilNextWindow".to_owned(), ahead.to_string()));
            inputs
        }
        Evidence::Lagging { instances } => vec![("lagging".to_owned(), list(instances))],
    }
}

fn cause(cause: &Cause) -> Vec<(&'static str, String)> {
    let text = |t: &Arc<str>| t.to_string();
    match cause {
        Cause::None => Vec::new(),
        Cause::Settings(resolution) => match &**resolution {
            Resolution::NoPolicy | Resolution::Settings(_) => Vec::new(),
            Resolution::Conflict(conflicts) => vec![("conflicting", conflicting(conflicts, ", "))],
            Resolution::Invalid(problems) => vec![("problems", list(problems.iter().map(ToString::to_string)))],
        },
        Cause::Pause { until } => vec![("pausedUntil", moment(*until, "none"))],
        Cause::FencedAll { unreadable } => {
            vec![("fencedInstances", unreadable.as_ref().map_or_else(|| "*".to_owned(), text))]
        }
        Cause::Member { instance, pvc } => vec![("heldInstance", text(instance)), ("heldPvc", text(pvc))],
        Cause::Class { class, instance } => vec![("storageClass", text(class)), ("heldInstance", text(instance))],
        Cause::Filesystem {
            instance,
            filesystem,
            size,
            class,
        } => vec![
            ("heldInstance", text(instance)),
            ("filesystemBytes", filesystem.get().to_string()),
            ("pvcSize", size.to_string()),
            ("storageClass", text(class)),
        ],
        Cause::Resize {
            since,
            operation,
            instance,
            stage,
            error,
        } => {
            let mut inputs = vec![("resizingSince", moment(*since, "unknown"))];
            inputs.extend(operation.as_ref().map(|o| ("operation", text(o))));
            inputs.extend(instance.as_ref().map(|i| ("resizingInstance", text(i))));
            inputs.extend(stage.map(|s| ("stage", s.as_str().to_owned())));
            inputs.extend(error.as_ref().map(|e| ("error", text(e))));
            inputs
        }
        Cause::Figures { newest, limit } => vec![
            ("newestFigures", moment(newest.as_ref().map(|(at, _)| *at), "never")),
            ("figuresMaxAge", format!("{limit:#}")),
        ],
        Cause::Until { at } => vec![("opensAt", at.to_string())],
        Cause::Cooldown { last, at } => vec![("lastGrowth", last.to_string()), ("opensAt", at.to_string())],
        Cause::Invalid(problems) => vec![("problems", list(problems.iter().map(ToString::to_string)))],
        Cause::Breaker {
            global,
            half_open: _,
            circuit,
        } => {
            let mut inputs = vec![("circuitBreaker", if *global { "global" } else { "of the Cluster" }.to_owned())];
            inputs.extend((circuit.failures > 0).then(|| ("failuresInARow", circuit.failures.to_string())));
            inputs.extend(circuit.resets_at().map(|at| ("opensAt", at.to_string())));
            inputs
        }
        Cause::Budget {
            actions,
            max,
            reserved,
            at,
        } => vec![
            ("actionsLast24h", actions.to_string()),
            ("maxActionsPerDay", max.to_string()),
            ("reservedForEmergency", reserved.to_string()),
            ("opensAt", moment(*at, "never")),
        ],
        Cause::Provider { pvc, limit, at } => vec![
            ("heldPvc", text(pvc)),
            ("providerLimit", format!("{} in {:#}", limit.max_actions, limit.period)),
            ("opensAt", moment(*at, "unknown")),
        ],
        Cause::Fleet { fleet, limit, class } => {
            let mut inputs = vec![
                ("resizesInProgress", fleet.in_progress.to_string()),
                ("fleetLimit", limit.to_string()),
            ];
            inputs.extend((fleet.ahead > 0).then(|| ("clustersAhead", fleet.ahead.to_string())));
            inputs.extend(class.as_ref().map(|class| ("storageClass", text(class))));
            inputs
        }
        Cause::Window { at } => vec![("opensAt", moment(*at, "never"))],
        Cause::Archive {
            last_archived,
            last_failed,
        } => vec![
            ("lastArchived", moment(*last_archived, "never")),
            ("lastFailed", moment(*last_failed, "never")),
        ],
        Cause::Pending { files, max } => vec![("pendingFiles", files.to_string()), ("maxPendingWALFiles", max.to_string())],
        Cause::Slots { slots, retained, max } => vec![
            (
                "inactiveSlots",
                list(slots.iter().map(|(name, retained)| format!("{name}: {retained}"))),
            ),
            ("retained", retained.to_string()),
            ("maxSlotRetentionBytes", max.to_string()),
        ],
    }
}
