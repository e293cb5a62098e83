//! Decisions in words: one sentence for people, the figures by name, and every gate with what it looks at.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use csm_api::{Reason, State, Verdict};
use csm_units::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::decision::{Cause, Ceiling, CeilingSource, Decision, Usage};
use crate::gates;
use crate::plan::{GATES, fired};
use crate::resolve::{Conflict, Resolution};
use crate::size;
use crate::view::{View, Want};
use crate::world::{VolumeKey, World};

/// One gate, and what it says of a volume now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GateReport {
    /// Its name: the first of its reasons.
    pub gate: &'static str,
    /// The reason with which it holds what is wanted; where nothing is, what a planned growth would meet.
    pub holds: Option<Reason>,
    /// What it looks at, by name.
    pub inputs: BTreeMap<String, String>,
}

/// Every gate of one volume, in the order in which they are asked. None where there is no such volume.
#[must_use]
pub fn gates(world: &World, now: Timestamp, volume: &VolumeKey) -> Option<Vec<GateReport>> {
    let volume = world.volumes.iter().find(|v| v.key == *volume)?;
    let mut scratch = Vec::new();
    let view = View::new(world, volume, now, &mut scratch);
    let want = fired(&view);
    let supposed = want.or_else(|| supposed(&view));
    let report = |gate: &gates::Gate| {
        // A gate that answers always is asked as it is; another one about what is, or could be, wanted.
        let asked = if gate.always { want } else { supposed };
        GateReport {
            gate: gate.name.as_str(),
            holds: gate.ask(&view, asked.as_ref()).map(|held| held.reason),
            inputs: (gate.inputs)(&view)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    };
    Some(GATES.iter().map(report).collect())
}

/// The growth that would be wanted, were the threshold reached.
fn supposed(view: &View) -> Option<Want> {
    let to = size::thresholds(view.effective, &view.settings?.expansion);
    Some(size::growth(view, Reason::UsageThreshold, csm_api::Urgency::Planned, to))
}

/// The few figures that a decision rests on, by name.
#[must_use]
pub fn inputs(decision: &Decision) -> BTreeMap<String, String> {
    let mut inputs = BTreeMap::new();
    let mut put = |name: &str, value: String| {
        inputs.insert(name.to_owned(), value);
    };
    put("effectiveSize", decision.from.to_string());
    if let (Some(worst), Some(Usage { used, available })) = (&decision.worst, decision.facts.usage) {
        put("instance", worst.to_string());
        put("usedBytes", used.get().to_string());
        put("availableBytes", available.get().to_string());
    }
    if let Some(percent) = decision.percent_used {
        put("percentUsed", percent.get().to_string());
    }
    if let Some(threshold) = decision.facts.threshold {
        put("thresholds.expansion", threshold.get().to_string());
    }
    if let Some(Ceiling { size, source }) = decision.ceiling {
        put("ceiling", size.to_string());
        put("ceilingFrom", source.as_str().to_owned());
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
    for (name, value) in cause_inputs(&decision.facts.cause) {
        put(name, value);
    }
    inputs
}

fn cause_inputs(cause: &Cause) -> Vec<(&'static str, String)> {
    let text = |t: &std::sync::Arc<str>| t.to_string();
    match cause {
        Cause::None => Vec::new(),
        Cause::Settings(resolution) => match &**resolution {
            Resolution::NoPolicy | Resolution::Settings(_) => Vec::new(),
            Resolution::Conflict(conflicts) => vec![("conflicting", conflicting(conflicts, ", "))],
            Resolution::Invalid(problems) => {
                vec![("problems", gates::list(problems.iter().map(ToString::to_string)))]
            }
        },
        Cause::Pause { until } => vec![("pausedUntil", gates::moment(*until, "none"))],
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
            let mut inputs = vec![("resizingSince", gates::moment(*since, "unknown"))];
            inputs.extend(operation.as_ref().map(|o| ("operation", text(o))));
            inputs.extend(instance.as_ref().map(|i| ("resizingInstance", text(i))));
            inputs.extend(stage.map(|s| ("stage", s.as_str().to_owned())));
            inputs.extend(error.as_ref().map(|e| ("error", text(e))));
            inputs
        }
        Cause::Figures { newest, limit } => vec![
            ("newestFigures", gates::moment(newest.as_ref().map(|(at, _)| *at), "never")),
            ("figuresMaxAge", format!("{limit:#}")),
        ],
        Cause::Until { at } => vec![("opensAt", at.to_string())],
        Cause::Invalid(problems) => vec![("problems", gates::list(problems.iter().map(ToString::to_string)))],
        Cause::Breaker { global } => vec![("circuitBreaker", if *global { "global" } else { "of the Cluster" }.to_owned())],
        Cause::Budget {
            actions,
            max,
            reserved,
            at,
        } => vec![
            ("actionsLast24h", actions.to_string()),
            ("maxActionsPerDay", max.to_string()),
            ("reservedForEmergency", reserved.to_string()),
            ("opensAt", gates::moment(*at, "never")),
        ],
        Cause::Provider { pvc, limit, at } => vec![
            ("heldPvc", text(pvc)),
            ("providerLimit", format!("{} in {:#}", limit.max_actions, limit.period)),
            ("opensAt", gates::moment(*at, "unknown")),
        ],
        Cause::Fleet { in_progress, limit } => vec![
            ("resizesInProgress", in_progress.to_string()),
            ("fleetLimit", limit.to_string()),
        ],
        Cause::Window { at } => vec![("opensAt", gates::moment(*at, "never"))],
        Cause::Archive {
            last_archived,
            last_failed,
        } => vec![
            ("lastArchived", gates::moment(*last_archived, "never")),
            ("lastFailed", gates::moment(*last_failed, "never")),
        ],
        Cause::Pending { files, max } => vec![("pendingFiles", files.to_string()), ("maxPendingWALFiles", max.to_string())],
        Cause::Slots { names, retained, max } => vec![
            ("inactiveSlots", gates::list(names)),
            ("retained", retained.to_string()),
            ("maxSlotRetentionBytes", max.to_string()),
        ],
    }
}

/// One sentence for people: what is done and why; or what is wanted, what holds it, until when, and what a
/// person can do.
#[must_use]
pub fn sentence(decision: &Decision) -> String {
    let subject = subject(decision);
    let name = volume_name(&decision.volume);
    match decision.verdict {
        Verdict::Balanced => {
            let threshold = decision
                .facts
                .threshold
                .map_or_else(String::new, |t| format!(" below {} %", t.get()));
            let mut text = format!("{subject}: nothing to do{threshold}");
            match decision.state {
                State::WaitingForDiskStatus => text.push_str(", but the primary has no fresh figures"),
                State::Resizing => text.push_str("; a resize is under way"),
                State::Blocked => text.push_str(", but a resize is stuck; see kubectl describe pvc"),
                State::Paused => text.push_str("; the Cluster is paused"),
                _ => {}
            }
            text
        }
        Verdict::Grow | Verdict::Rescue => format!(
            "{subject}: grows from {} to {}{}",
            decision.from,
            size_of(decision.to),
            limited(decision)
        ),
        Verdict::CatchUp => {
            let caught_up: Vec<&str> = decision.members.iter().filter(|m| m.to.is_some()).map(|m| &*m.instance).collect();
            let mut text = format!(
                "{name} of {} is smaller than the volume ({}): grows to {}",
                and(&caught_up),
                decision.from,
                size_of(decision.to)
            );
            if let Some(wanted) = decision.wanted {
                let held = clause(wanted.held_by, decision);
                let _ = write!(text, "; {subject} and should grow to {}, but {held}", size_of(wanted.to));
            }
            text
        }
        Verdict::Hold => {
            let held = clause(decision.reason, decision);
            match decision.wanted {
                Some(wanted) if wanted.reason == Reason::MemberBelowEffectiveSize => {
                    format!(
                        "{name} has members that are smaller than {} and should grow to it, but {held}",
                        decision.from
                    )
                }
                Some(wanted) => format!(
                    "{subject}: should grow from {} to {}, but {held}",
                    decision.from,
                    size_of(wanted.to)
                ),
                None => format!("{subject}: {held}"),
            }
        }
    }
}

/// "data is 87 % full (8.8 of 10 GiB, orders-1)", or only the volume where nothing fresh is known.
fn subject(decision: &Decision) -> String {
    let name = volume_name(&decision.volume);
    match (&decision.worst, decision.percent_used, decision.facts.usage) {
        (Some(worst), Some(percent), Some(Usage { used, available })) => {
            let total = used.saturating_add(available);
            format!("{name} is {} % full ({}, {worst})", percent.get(), share(used, total))
        }
        _ => name,
    }
}

fn volume_name(volume: &VolumeKey) -> String {
    match &volume.tablespace {
        Some(name) => format!("tablespace {name}"),
        None => volume.role.to_string(),
    }
}

fn size_of(size: Option<Bytes>) -> String {
    size.map_or_else(|| "an unknown size".to_owned(), |s| s.to_string())
}

/// Why the growth is smaller than it could be.
fn limited(decision: &Decision) -> String {
    match decision.ceiling {
        Some(Ceiling { size, source }) if decision.to == Some(size) => format!(", which is its ceiling ({})", source.as_str()),
        _ => String::new(),
    }
}

/// What holds, until when, and what a person can do.
fn clause(reason: Reason, decision: &Decision) -> String {
    let cause = &decision.facts.cause;
    let text = match (reason, cause) {
        (Reason::NoPolicy, _) => {
            "no policy matches the Cluster, so it is only monitored; create a StoragePolicy in its namespace to have it managed"
        }
        (Reason::PolicyConflict, Cause::Settings(resolution)) => {
            let Resolution::Conflict(conflicts) = &**resolution else {
                return "two policies of the same rank match the Cluster".to_owned();
            };
            return format!(
                "{} match the Cluster with the same rank; change a selector, or name the Cluster in excludeClusters of one",
                conflicting(conflicts, " and ")
            );
        }
        (Reason::PolicyInvalid, Cause::Invalid(problems)) => {
            let problem = problems.first().map(ToString::to_string);
            return format!("its settings are not valid: {}", problem.unwrap_or_default());
        }
        (Reason::ClusterDeleting, _) => "the Cluster is being deleted",
        (Reason::Disabled, _) => "growth is switched off; set expansion.enabled: true to allow it",
        (Reason::Paused, Cause::Pause { until: Some(until) }) => {
            return format!(
                "the Cluster is paused until {until}; remove the annotation {} to go on before",
                csm_api::annotation::PAUSED
            );
        }
        (Reason::Paused, _) => {
            return format!(
                "the Cluster is paused; remove the annotation {} to go on",
                csm_api::annotation::PAUSED
            );
        }
        (Reason::Hibernated, _) => "the Cluster is hibernated; it is looked at again when its pods are back",
        (Reason::Fenced, Cause::Member { instance, .. }) => {
            return format!("instance {instance} is fenced; lift the fence to go on");
        }
        (Reason::Fenced, Cause::FencedAll { unreadable: Some(text) }) => {
            return format!(
                "the annotation cnpg.io/fencedInstances is no JSON list ({text:?}), which counts as all fenced; correct or remove it"
            );
        }
        (Reason::Fenced, _) => "all instances are fenced; lift the fence to go on",
        (Reason::InUseResizeDisabled, _) => "the Cluster says spec.storage.resizeInUseVolumes: false; set it to true to allow growth",
        (Reason::NotBound, Cause::Member { pvc, .. }) => {
            return format!("PVC {pvc} is not bound to a volume; see kubectl describe pvc {pvc}");
        }
        (Reason::BlockVolume, Cause::Member { pvc, .. }) => {
            return format!("PVC {pvc} is a raw block device, which has no filesystem to grow");
        }
        (Reason::StorageClassNotExpandable, Cause::Class { class, .. }) => {
            return format!(
                "storage class {class} does not allow expansion; set allowVolumeExpansion: true on it where its driver can expand"
            );
        }
        (Reason::SharedFilesystem, cause) => return shared_clause(cause),
        (Reason::ResizeInProgress | Reason::ResizeStuck, cause) => return resize_clause(reason, cause),
        (Reason::RetryLater, Cause::Until { at }) => {
            return format!("the last growth was refused; the next try is at {at}, or when what refused it (such as a quota) changes");
        }
        (Reason::StaleObservation | Reason::NoObservation, cause) => return figures_clause(cause),
        (Reason::AtLimit, _) => return limit_clause(decision),
        (Reason::Cooldown, Cause::Until { at }) => {
            return format!("the last growth is too recent; it goes on at {at} (expansion.cooldownMinutes)");
        }
        (Reason::DryRun, _) => "this is a dry run; set dryRun: false to let it happen",
        (other, _) => return format!("it is held ({other})"),
    };
    text.to_owned()
}

fn conflicting(conflicts: &[Conflict], separator: &str) -> String {
    let names = conflicts.iter().flat_map(|c| &c.policies).map(ToString::to_string);
    names.collect::<Vec<_>>().join(separator)
}

fn shared_clause(cause: &Cause) -> String {
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
            in_unit(*filesystem, scale(*filesystem))
        )
    } else {
        format!("{instance} reports the figures of a filesystem that is not its own")
    };
    format!(
        "{seen}: volumes of storage class {class} share one, so its figures say nothing of this volume; use a class that gives each volume its own"
    )
}

fn resize_clause(reason: Reason, cause: &Cause) -> String {
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
    let mut text = match reason {
        Reason::ResizeStuck => format!("a resize has made no progress{since}"),
        _ => format!("a resize is under way{since}"),
    };
    let mut details: Vec<String> = Vec::new();
    details.extend(instance.as_ref().map(ToString::to_string));
    details.extend(stage.map(|s| s.as_str().to_owned()));
    details.extend(error.as_ref().map(ToString::to_string));
    if details.is_empty() {
        details.extend(operation.as_ref().map(|o| format!("StorageEvent {o}")));
    }
    if !details.is_empty() {
        let _ = write!(text, " ({})", details.join(": "));
    }
    if reason == Reason::ResizeStuck {
        text.push_str("; see kubectl describe pvc, and the log of the storage driver");
    }
    text
}

fn figures_clause(cause: &Cause) -> String {
    let remedy = "see whether its pod runs and its node answers";
    match cause {
        Cause::Figures {
            newest: Some((at, instance)),
            ..
        } => format!("there are no fresh figures of its filesystems, the newest are of {at} ({instance}); {remedy}"),
        _ => format!("there are no figures of its filesystems yet; {remedy}"),
    }
}

fn limit_clause(decision: &Decision) -> String {
    let Some(Ceiling { size, source }) = decision.ceiling else {
        return "it has reached the largest size that Kubernetes can express".to_owned();
    };
    let remedy = match source {
        CeilingSource::MaxSize => "raise expansion.maxSize, or free space",
        CeilingSource::Limit => "raise limit, or free space",
        CeilingSource::Bound => "raise bounds.maxSize of the ClusterStoragePolicy, or free space",
        CeilingSource::Learned => "free space, or give the storage more room",
        CeilingSource::Fallback => "set expansion.maxSize to allow more, or free space",
    };
    format!("its ceiling of {size} ({}) leaves no room; {remedy}", source.as_str())
}

/// "a", "a and b", "a, b and c".
fn and(names: &[&str]) -> String {
    match names {
        [] => "a member".to_owned(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// "8.8 of 10 GiB": both in the unit of the larger, to a tenth, rounded down.
fn share(used: Bytes, total: Bytes) -> String {
    let (unit, name) = scale(total);
    format!("{} of {} {name}", tenths(used, unit), tenths(total, unit))
}

fn in_unit(size: Bytes, (unit, name): (u64, &str)) -> String {
    format!("{} {name}", tenths(size, unit))
}

/// The largest unit that `size` has at least one of; MiB at least.
fn scale(size: Bytes) -> (u64, &'static str) {
    const UNITS: [(u64, &str); 4] = [(1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")];
    let fits = UNITS.into_iter().find(|(unit, _)| size.get() >= *unit);
    fits.unwrap_or((1 << 20, "MiB"))
}

fn tenths(size: Bytes, unit: u64) -> String {
    let tenths = size.mul_div(10, unit).get();
    let (whole, rest) = (tenths / 10, tenths % 10);
    if rest == 0 { whole.to_string() } else { format!("{whole}.{rest}") }
}
