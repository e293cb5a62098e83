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
    let problems = entry.policy.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
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
    let (active, reason, message) = active(entry, clusters, &names, &problems);
    let active = condition(condition::ACTIVE, active, reason, message);
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
        condition(condition::VALID, false, "PolicyInvalid", problems)
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

/// Whether anything of a policy is applied, and what is not. `others` are those that it conflicts with.
fn active(entry: &PolicyEntry, clusters: &[(ClusterKey, Arc<Resolution>)], others: &str, problems: &str) -> (bool, &'static str, String) {
    let held = clusters.iter().filter(|(_, r)| !matches!(r.as_ref(), Resolution::Settings(_)));
    let held: Vec<String> = held.map(|(key, _)| key.to_string()).collect();
    let applied = if clusters.is_empty() {
        entry.policy.is_usable()
    } else {
        held.len() < clusters.len()
    };
    if !applied {
        return if !problems.is_empty() {
            (false, "PolicyInvalid", format!("Policy is not applied: {problems}"))
        } else if !others.is_empty() {
            let message = format!("{} clusters are held because {others} matches them as well", held.len());
            (false, "PolicyConflict", message)
        } else {
            let message = format!("Policy is not applied: the settings of {} do not resolve", held.join(", "));
            (false, "ClustersHeld", message)
        };
    }
    let mut message = format!("Policy is active and monitoring {} clusters", clusters.len());
    if !held.is_empty() {
        message.push_str("; not applied to ");
        message.push_str(&held.join(", "));
    }
    if !problems.is_empty() {
        message.push_str("; not applied in it: ");
        message.push_str(problems);
    }
    let whole = held.is_empty() && problems.is_empty();
    (true, if whole { "PolicyApplied" } else { "PartiallyApplied" }, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test
mod tests {
    use csm_api::{PolicyStatus, Settings, StoragePolicy};
    use csm_core::resolve::{Policy, resolve};
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn policy(name: &str, spec: &Value) -> PolicyEntry {
        let policy = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        let policy: StoragePolicy = serde_json::from_value(policy).unwrap();
        PolicyEntry {
            policy: Arc::new(Policy::from_storage_policy(&policy)),
            uid: None,
            generation: Some(1),
            reset_breaker: false,
            status: PolicyStatus::default(),
        }
    }

    fn cluster(name: &str, policies: &[&PolicyEntry], own: Option<Value>) -> (ClusterKey, Arc<Resolution>) {
        let origin = Origin::postgres_storage("shop", name);
        let own = own.map(|own| serde_json::from_value::<Settings>(own).unwrap());
        let policies: Vec<&Policy> = policies.iter().map(|entry| entry.policy.as_ref()).collect();
        let resolution = resolve(&policies, own.as_ref().map(|own| (&origin, own)), &Settings::default());
        (ClusterKey::new("shop", name), Arc::new(resolution))
    }

    fn told(entry: &PolicyEntry, clusters: &[(ClusterKey, Arc<Resolution>)], type_: &str) -> (ConditionStatus, String, String) {
        let status = status(entry, clusters, Timestamp::UNIX_EPOCH).unwrap();
        let found = status.conditions.into_iter().find(|c| c.type_ == type_).unwrap();
        (found.status, found.reason, found.message)
    }

    /// What is wrong, whether a Cluster overrides it, and what `Active` says with one Cluster and with none.
    #[rstest]
    #[case::nothing(json!({}), None, ("PolicyApplied", true), ("PolicyApplied", true))]
    #[case::a_volume(json!({"storage": {"targetBuffer": 4, "request": "1Gi", "limit": "2Gi"}}), None, ("PartiallyApplied", true), ("PartiallyApplied", true))]
    #[case::what_all_share(json!({"expansion": {"percentage": 0}}), None, ("PolicyInvalid", false), ("PolicyInvalid", false))]
    #[case::and_is_overridden(json!({"expansion": {"percentage": 0}}), Some(json!({"expansion": {"percentage": 20}})), ("PartiallyApplied", true), ("PolicyInvalid", false))]
    fn a_policy_is_active_where_anything_of_it_is_applied(
        #[case] spec: Value,
        #[case] own: Option<Value>,
        #[case] with_one: (&str, bool),
        #[case] with_none: (&str, bool),
    ) {
        let entry = policy("standard", &spec);
        let one = [cluster("orders", &[&entry], own)];
        for (clusters, (reason, active)) in [(&one[..], with_one), (&[][..], with_none)] {
            let found = told(&entry, clusters, condition::ACTIVE);
            assert_eq!((found.0, found.1.as_str()), (ConditionStatus::from(active), reason), "{}", found.2);
            let valid = told(&entry, clusters, condition::VALID);
            assert_eq!(valid.0, ConditionStatus::from(reason == "PolicyApplied"));
            // Both say what is wrong.
            assert!(valid.0 == ConditionStatus::True || found.2.ends_with(&valid.2), "{}", found.2);
        }
    }

    #[test]
    fn a_selector_that_cannot_be_read_selects_nothing() {
        let entry = policy(
            "standard",
            &json!({"selector": {"matchExpressions": [{"key": "tier", "operator": "Like"}]}}),
        );
        let found = told(&entry, &[], condition::ACTIVE);
        assert_eq!((found.0, found.1.as_str()), (ConditionStatus::False, "PolicyInvalid"));
    }

    #[test]
    fn clusters_that_a_policy_is_not_applied_to_are_named() {
        let (entry, other) = (policy("standard", &json!({})), policy("other", &json!({})));
        let shared = cluster("shared", &[&entry, &other], None);
        let wrong = cluster("wrong", &[&entry], Some(json!({"thresholds": {"expansion": 100}})));
        let fine = cluster("orders", &[&entry], None);
        let found = told(&entry, &[shared.clone(), wrong.clone(), fine], condition::ACTIVE);
        assert_eq!((found.0, found.1.as_str()), (ConditionStatus::True, "PartiallyApplied"));
        assert!(found.2.ends_with("; not applied to shop/shared, shop/wrong"), "{}", found.2);
        let found = told(&entry, std::slice::from_ref(&shared), condition::ACTIVE);
        assert_eq!((found.0, found.1.as_str()), (ConditionStatus::False, "PolicyConflict"));
        let found = told(&entry, std::slice::from_ref(&wrong), condition::ACTIVE);
        assert_eq!((found.0, found.1.as_str()), (ConditionStatus::False, "ClustersHeld"));
        assert_eq!(told(&entry, &[shared], condition::CONFLICTING).0, ConditionStatus::True);
    }
}
