//! Our annotations on the CNPG Cluster. A write to a Cluster makes CloudNativePG reconcile, so they are written when
//! something changed, or when usage moved by five points; never at rest, never in a dry run.

use csm_api::{Growth, Phase, Reason, annotation};
use csm_core::plan::Plan;
use csm_core::resolve::{Resolution, Resolved, Sizing};
use csm_units::Percent;
use jiff::Timestamp;

use crate::apply::Annotations;
use csm_gather::index::Snapshot;
use csm_gather::relief::removed_at;
use csm_gather::views::{started_at, volume_of};

/// Usage that moved by fewer points is no news.
const USAGE_STEP: i32 = 5;

/// What our annotations should be, where they are to be written.
#[must_use]
pub fn due(snapshot: &Snapshot, plan: &Plan, now: Timestamp) -> Option<Annotations> {
    let written = &snapshot.cluster.written;
    let settings = match &*snapshot.resolution {
        Resolution::Settings(settings) if !snapshot.cluster.deleting => settings,
        // No policy manages it any more: nothing of ours stays behind.
        Resolution::NoPolicy if !written.is_empty() && !snapshot.cluster.deleting => return Some(Annotations::new()),
        _ => return None,
    };
    if settings.dry_run.value {
        return None;
    }
    let mut wanted = Annotations::from([(annotation::MANAGED, "true".to_owned())]);
    let mut events: Vec<_> = snapshot.growths().filter(|e| !e.was_turned_down()).collect();
    events.sort_by_key(|event| started_at(event));
    if let Some(newest) = events.iter().rev().find(|event| event.spec.trigger != csm_api::Trigger::CatchUp) {
        wanted.insert(
            annotation::EXPANSION_REQUESTED,
            started_at(newest).strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        );
        wanted.insert(annotation::EXPANSION_REASON, reason(newest, threshold_of(settings, newest)));
    }
    let growing: Vec<_> = events.iter().filter(|event| !event.is_done()).collect();
    let volumes = plan.decisions.len();
    let targets: Vec<String> = growing
        .iter()
        .map(|event| {
            let size = event.spec.expansion.requested_size;
            if volumes > 1 {
                format!("{}={size}", volume_of(event))
            } else {
                size.to_string()
            }
        })
        .collect();
    if !targets.is_empty() {
        wanted.insert(annotation::TARGET_SIZE, targets.join(","));
    }
    let changed = [
        annotation::MANAGED,
        annotation::TARGET_SIZE,
        annotation::EXPANSION_REQUESTED,
        annotation::EXPANSION_REASON,
    ]
    .iter()
    .any(|name| written.get(name) != wanted.get(name));
    let usage = plan
        .decisions
        .iter()
        .filter_map(|d| d.percent_used)
        .max()
        .map(|p| i32::from(p.get()));
    let told = written
        .get(annotation::CURRENT_USAGE_PERCENT)
        .and_then(|text| text.parse::<i32>().ok());
    let moved = match (usage, told) {
        (Some(usage), Some(told)) => usage.abs_diff(told) >= USAGE_STEP.unsigned_abs(),
        (Some(_), None) => true,
        (None, _) => false,
    };
    if !changed && !moved {
        return None;
    }
    if let Some(usage) = usage.or(told) {
        wanted.insert(annotation::CURRENT_USAGE_PERCENT, usage.to_string());
    }
    if let Some(last) = snapshot.reliefs().filter_map(|event| removed_at(event)).max() {
        wanted.insert(annotation::WAL_CLEANUP_LAST, last.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    wanted.insert(annotation::LAST_CHECK, now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    Some(wanted)
}

/// The threshold whose passing an operation is recorded with.
fn threshold_of(settings: &Resolved, event: &Growth) -> Option<Percent> {
    if event.spec.reason != Reason::UsageThreshold {
        return None;
    }
    let resize = settings.volumes.of(&volume_of(event)).ok().and_then(|rules| match &rules.sizing {
        Sizing::Resize(resize) => Some(resize.usage_threshold.value),
        Sizing::Thresholds | Sizing::Target(_) => None,
    });
    Some(resize.unwrap_or(settings.thresholds.expansion.value))
}

/// Such as `threshold-breach-85`; of one that failed, `threshold-breach-85-failed`.
fn reason(event: &Growth, threshold: Option<Percent>) -> String {
    let failed = event.status.as_ref().and_then(|s| s.phase) == Some(Phase::Failed);
    let threshold = threshold.map_or_else(String::new, |percent| format!("-{}", percent.get()));
    format!("{}{threshold}{}", event.spec.trigger, if failed { "-failed" } else { "" })
}
