//! The status of policies.

use std::sync::Arc;

use csm_api::{Condition, ConditionStatus, PolicyStatus, condition, merge_conditions};
use csm_core::resolve::{Origin, Resolution};
use csm_core::world::ClusterKey;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use csm_gather::index::PolicyEntry;

/// The status that a policy should have; none where it has it already.
#[must_use]
pub fn status(entry: &PolicyEntry, clusters: &[(ClusterKey, Arc<Resolution>)], now: Timestamp) -> Option<PolicyStatus> {
    let origin = &entry.policy.origin;
    let mut others: Vec<&Origin> = Vec::new();
    let mut held: Vec<String> = Vec::new();
    for (key, resolution) in clusters {
        let Resolution::Conflict(conflicts) = resolution.as_ref() else {
            continue;
        };
        for conflict in conflicts.iter().filter(|c| c.policies.contains(origin)) {
            others.extend(conflict.policies.iter().filter(|p| *p != origin));
            held.push(key.to_string());
        }
    }
    others.sort();
    others.dedup();
    held.dedup();
    let problems: Vec<String> = entry.policy.problems.iter().map(ToString::to_string).collect();
    let conflicting = !others.is_empty();
    let valid = problems.is_empty();
    let condition = |type_: &str, holds: bool, reason: &str, message: String| Condition {
        type_: type_.to_owned(),
        status: ConditionStatus::from(holds),
        reason: reason.to_owned(),
        message,
        last_transition_time: Time(now),
        observed_generation: entry.generation,
    };
    let names = others.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let active = match (valid, conflicting) {
        (false, _) => condition(
            condition::ACTIVE,
            false,
            "PolicyInvalid",
            format!("Policy is not applied: {}", problems.join("; ")),
        ),
        (true, true) => condition(
            condition::ACTIVE,
            false,
            "PolicyConflict",
            format!("{} clusters are held because {names} matches them as well", held.len()),
        ),
        (true, false) => condition(
            condition::ACTIVE,
            true,
            "PolicyApplied",
            format!("Policy is active and monitoring {} clusters", clusters.len()),
        ),
    };
    let conflict = if conflicting {
        condition(
            condition::CONFLICTING,
            true,
            "PolicyConflict",
            format!("{names} has the same rank and matches {}", held.join(", ")),
        )
    } else {
        condition(
            condition::CONFLICTING,
            false,
            "NoConflict",
            "no other policy of its rank matches its clusters".to_owned(),
        )
    };
    let valid = if valid {
        condition(condition::VALID, true, "Valid", "the settings are valid".to_owned())
    } else {
        condition(condition::VALID, false, "PolicyInvalid", problems.join("; "))
    };
    let new = PolicyStatus {
        conditions: merge_conditions(&entry.status.conditions, vec![active, valid, conflict]),
        managed_clusters: Some(i32::try_from(clusters.len()).unwrap_or(i32::MAX)),
        last_evaluated: entry.status.last_evaluated.clone(),
        observed_generation: entry.generation,
    };
    if new == entry.status {
        None
    } else {
        Some(PolicyStatus {
            last_evaluated: Some(Time(now)),
            ..new
        })
    }
}
