//! What Clusters have to do with each other: who waits for whom, and the breaker of all.

use std::collections::BTreeSet;
use std::sync::Arc;

use csm_api::{ClusterStoragePolicy, Growth, Settings, StorageEvent};
use csm_core::breaker::{Breaker, Opened, RunawayRules};
use csm_core::world::ClusterKey;
use csm_gather::index::{FleetNow, FleetRules, Index, Kind, Retention, Waiter, Wake};
use csm_gather::views::ClusterView;
use csm_gather::watched::Watched;
use csm_gather::world::circuit;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 60 * minute).expect("a time")
}

fn key(name: &str) -> ClusterKey {
    ClusterKey::new("db", name)
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn classes(names: &[&str]) -> BTreeSet<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn put_cluster(index: &mut Index, name: &str, annotations: &Value) {
    let view = ClusterView::of(&read(json!({
        "metadata": {"name": name, "namespace": "db", "uid": format!("uid-{name}"), "resourceVersion": "1", "annotations": annotations},
        "spec": {"instances": 1, "storage": {"size": "10Gi"}},
        "status": {"currentPrimary": format!("{name}-1")},
    })));
    index.put_cluster(&key(name), Some(view));
    let pvc = json!({
        "metadata": {"name": format!("{name}-1"), "namespace": "db", "uid": format!("pvc-{name}"), "resourceVersion": "1",
            "labels": {"cnpg.io/cluster": name, "cnpg.io/instanceName": format!("{name}-1"), "cnpg.io/pvcRole": "PG_DATA"}},
        "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "10Gi"}}},
        "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
    });
    index.put_pvc(&read(pvc), at(0));
}

/// A fleet under a policy.
fn index(rules: FleetRules, policy: &Value, clusters: &[&str]) -> Index {
    let mut index = Index::new(Settings::default()).with_fleet(FleetRules {
        namespace: Arc::from("manager"),
        ..rules
    });
    let policy = json!({"metadata": {"name": "fleet", "generation": 1}, "spec": policy});
    index.put_cluster_policy(&read::<ClusterStoragePolicy>(policy));
    for name in clusters {
        put_cluster(&mut index, name, &json!({}));
    }
    index
}

fn growth(name: &str, number: u32, begun: i64, ended: Option<(&str, &str)>) -> Growth {
    let condition =
        |reason: &str| json!([{"type": "Complete", "status": "False", "reason": reason, "message": "", "lastTransitionTime": at(begun)}]);
    let mut status = json!({
        "phase": ended.map_or("InProgress", |(phase, _)| phase),
        "startTime": at(begun),
        "completionTime": ended.map(|_| at(begun)),
        "conditions": ended.map(|(_, reason)| condition(reason)),
        "pvcStatuses": [{"name": format!("{name}-1"), "uid": format!("pvc-{name}"), "phase": "ControllerResizing", "originalSize": "10Gi", "patchedAt": at(begun)}],
    });
    if let Some(fields) = status.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    read(json!({
        "metadata": {"name": format!("{name}-expansion-{number}"), "namespace": "db", "resourceVersion": number.to_string()},
        "spec": {"clusterRef": {"name": name, "uid": format!("uid-{name}")}, "eventType": "expansion", "trigger": "threshold-breach",
            "volume": {"role": "data"}, "reason": "UsageThreshold", "message": "",
            "expansion": {"originalSize": "10Gi", "requestedSize": "15Gi", "parallelism": 1,
                "affectedPVCs": [{"name": format!("{name}-1"), "uid": format!("pvc-{name}"), "instance": format!("{name}-1"), "originalSize": "10Gi"}]}},
        "status": status,
    }))
}

fn now(index: &mut Index, name: &str) -> FleetNow {
    index.snapshot_at(&key(name), at(30)).expect("a Cluster").fleet
}

fn waiter(minutes: Option<i64>, percent_used: u16) -> Waiter {
    Waiter {
        time_to_full: minutes.map(SignedDuration::from_mins),
        percent_used,
        classes: classes(&["fast"]),
    }
}

fn wakes(names: &[&str]) -> Wake {
    names.iter().map(|name| key(name)).collect()
}

const FAILED: Option<(&str, &str)> = Some(("Failed", "Refused"));
const SUCCEEDED: Option<(&str, &str)> = Some(("Completed", "Succeeded"));

fn at_most(limit: u32) -> FleetRules {
    FleetRules {
        concurrent: Some(limit),
        ..FleetRules::default()
    }
}

#[test]
fn the_most_endangered_is_next() {
    let mut index = index(at_most(1), &json!({"dryRun": false}), &["a", "b", "c", "d"]);
    index.put_event(growth("a", 1, 1, None));
    assert_eq!(now(&mut index, "b").all.is_full(), Some(1));
    for (name, of) in [("b", waiter(None, 99)), ("c", waiter(Some(5), 86)), ("d", waiter(Some(90), 90))] {
        assert_eq!(index.wait(&key(name), Some(of)), wakes(&[]), "there is no room for {name}");
    }
    let woken = index.put_event(growth("a", 1, 1, SUCCEEDED));
    assert_eq!(woken, wakes(&["a", "c"]), "itself, and who is next");
    let fleet = |index: &mut Index, name: &str| (now(index, name).all.ahead, now(index, name).all.is_full());
    assert_eq!(fleet(&mut index, "c"), (0, None));
    assert_eq!(fleet(&mut index, "b"), (1, Some(1)), "c comes first");
    // Where the next wants nothing any more, the one behind it is woken.
    assert_eq!(index.wait(&key("c"), None), wakes(&["d"]));
    assert_eq!(index.wait(&key("c"), None), wakes(&[]), "nothing new");
    index.put_cluster(&key("d"), None);
    assert_eq!(fleet(&mut index, "b"), (0, None));
}

#[test]
fn a_cluster_that_goes_leaves_its_place_to_the_next() {
    let mut index = index(at_most(1), &json!({"dryRun": false}), &["a", "b"]);
    index.put_event(growth("a", 1, 1, None));
    assert_eq!(index.wait(&key("b"), Some(waiter(Some(5), 86))), wakes(&[]), "there is no room");
    let woken = index.put_cluster(&key("a"), None);
    assert!(woken.contains(&key("b")), "{woken:?}");
    assert_eq!(now(&mut index, "b").all.is_full(), None);
}

#[test]
fn a_cluster_that_is_made_anew_between_two_looks_leaves_its_place_as_well() {
    let mut index = index(at_most(1), &json!({"dryRun": false}), &["a", "b"]);
    index.put_event(growth("a", 1, 1, None));
    assert_eq!(index.wait(&key("b"), Some(waiter(Some(5), 86))), wakes(&[]), "there is no room");
    let anew = json!({"metadata": {"name": "a", "namespace": "db", "uid": "another", "resourceVersion": "9"}, "spec": {}});
    let woken = index.put_cluster(&key("a"), Some(ClusterView::of(&read(anew))));
    assert!(woken.contains(&key("b")), "{woken:?}");
}

#[test]
fn what_a_cluster_has_begun_that_cannot_be_read_keeps_its_place() {
    let mut index = index(at_most(1), &json!({"dryRun": false}), &["a", "b"]);
    index.put_event(growth("a", 1, 1, None));
    assert_eq!(index.wait(&key("b"), Some(waiter(Some(5), 86))), wakes(&[]), "there is no room");
    let wrong = json!({"metadata": {"name": "a", "namespace": "db", "uid": "uid-a"}, "spec": {"instances": "three"}});
    let Watched::Unreadable(wrong) = Watched::<csm_cnpg::Cluster>::read(&wrong.to_string()) else {
        panic!("it can be read")
    };
    let woken = index.put_unreadable(Kind::Cluster, &wrong);
    assert!(!woken.contains(&key("b")), "{woken:?}");
    assert_eq!(now(&mut index, "b").all.is_full(), Some(1));
}

#[test]
fn two_that_decide_at_one_moment_do_not_both_go() {
    let mut index = index(at_most(1), &json!({"dryRun": false}), &["a", "b"]);
    let (seen_by_a, seen_by_b) = (now(&mut index, "a"), now(&mut index, "b"));
    assert!(index.reserve(&key("a"), &seen_by_a, classes(&["fast"]), false));
    assert!(!index.reserve(&key("b"), &seen_by_b, classes(&["fast"]), false));
    // What is urgent was decided although it was full, and goes.
    let seen = now(&mut index, "b");
    assert_eq!(seen.all.is_full(), Some(1));
    assert!(index.reserve(&key("b"), &seen, classes(&["fast"]), false));
    index.release(&key("a"));
    index.release(&key("b"));
    assert_eq!(now(&mut index, "a").all.in_progress, 0);
    // Half open, any other that began since is one too many.
    let seen = now(&mut index, "a");
    index.put_event(growth("b", 1, 1, None));
    assert!(!index.reserve(&key("a"), &seen, classes(&["fast"]), true));
}

#[test]
fn what_hangs_or_has_not_begun_takes_no_place() {
    let rules = FleetRules {
        stuck_after: Some(SignedDuration::from_mins(10)),
        ..at_most(1)
    };
    let mut index = index(rules, &json!({"dryRun": false}), &["a", "b"]);
    let under_way = |index: &mut Index, minute| index.snapshot_at(&key("b"), at(minute)).map(|s| s.fleet.all.in_progress);
    index.put_event(growth("a", 1, 1, None));
    assert_eq!((under_way(&mut index, 10), under_way(&mut index, 11)), (Some(1), Some(0)));
    // A person's, which waits for it.
    let mut asked = growth("a", 2, 20, None);
    asked.spec.trigger = csm_api::Trigger::Manual;
    asked.status = None;
    index.put_event(asked);
    assert_eq!(under_way(&mut index, 20), Some(0));
}

#[test]
fn a_record_of_any_name_is_forgotten_when_it_goes() {
    let mut index = index(at_most(1), &json!({"dryRun": false}), &["a"]);
    let mut event = growth("a", 1, 1, None);
    event.metadata.name = Some("make-room-now".to_owned());
    index.put_event(event);
    assert_eq!(now(&mut index, "a").all.in_progress, 1);
    assert_eq!(index.remove_event("db", "make-room-now"), wakes(&["a"]));
    assert_eq!(now(&mut index, "a").all.in_progress, 0);
}

#[test]
fn a_storage_class_has_a_limit_of_its_own() {
    let rules = FleetRules {
        by_class: [(Arc::from("fast"), 1)].into(),
        ..at_most(10)
    };
    let mut index = index(rules, &json!({"dryRun": false}), &["a", "b"]);
    index.put_event(growth("a", 1, 1, None));
    let seen = now(&mut index, "b");
    assert_eq!((seen.all.in_progress, seen.all.is_full()), (1, None));
    assert_eq!(seen.classes.get("fast").map(|fleet| fleet.is_full()), Some(Some(1)));
    assert_eq!(index.wait(&key("b"), Some(waiter(Some(1), 90))), wakes(&[]));
    assert_eq!(index.put_event(growth("a", 1, 1, SUCCEEDED)), wakes(&["a", "b"]));
    // Of a Cluster that is gone, nothing is under way.
    index.put_event(growth("a", 2, 2, None));
    index.put_cluster(&key("a"), None);
    assert_eq!(now(&mut index, "b").all.in_progress, 0);
}

/// A record of the breaker of all Clusters that a person closed.
fn closed(namespace: &str, minute: i64) -> StorageEvent {
    read(json!({
        "metadata": {"name": "fleet-circuit-breaker-1", "namespace": namespace, "creationTimestamp": at(minute)},
        "spec": {"eventType": "circuit-breaker", "trigger": "manual", "reason": "CircuitOpen", "message": "",
            "circuitBreaker": {"scope": "global", "state": "Closed", "at": at(minute)}},
    }))
}

#[test]
fn too_many_that_grow_within_an_hour_stop_all() {
    let rules = FleetRules {
        runaway: Some(RunawayRules { share: 50, minimum: 2 }),
        ..FleetRules::default()
    };
    let mut index = index(rules, &json!({"dryRun": false}), &["a", "b", "c", "d"]);
    index.put_event(growth("a", 1, 1, SUCCEEDED));
    assert_eq!(now(&mut index, "c").breaker.opened, None);
    index.put_event(growth("b", 1, 9, None));
    let runaway = Opened::Runaway { grown: 2, managed: 4 };
    assert_eq!(now(&mut index, "c").breaker.opened, Some((at(9), runaway)));
    // A record in somebody else's namespace closes nothing.
    index.put_event(closed("db", 20));
    assert!(now(&mut index, "c").breaker.opened.is_some());
    index.put_event(closed("manager", 20));
    assert_eq!(now(&mut index, "c").breaker.opened, None);
    let names = index.names(Kind::StorageEvent);
    assert_eq!(names.iter().filter(|(namespace, _)| &**namespace == "manager").count(), 1);
    let retention = Retention {
        keep: SignedDuration::from_hours(24),
        counted: SignedDuration::ZERO,
    };
    let a_day_later = at(21 + 24 * 60);
    assert_eq!(
        index.events_to_drop(retention, a_day_later).len(),
        2,
        "the growth that ended, and the record"
    );
    index.remove_event("manager", "fleet-circuit-breaker-1");
    assert!(now(&mut index, "c").breaker.opened.is_some());
}

#[test]
fn those_who_share_a_breaker_fail_together() {
    let policy = json!({"circuitBreaker": {"maxFailures": 2, "scope": "global"}});
    let mut index = index(FleetRules::default(), &policy, &["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        now(&mut index, name);
    }
    index.put_event(growth("a", 1, 1, FAILED));
    assert_eq!(now(&mut index, "c").breaker.state(at(30)), Breaker::Closed);
    index.put_event(growth("b", 1, 2, FAILED));
    let shared = now(&mut index, "c").breaker;
    assert_eq!(
        (shared.failures, shared.state(at(30)), shared.state(at(62))),
        (2, Breaker::Open, Breaker::HalfOpen)
    );
    assert!(!shared.holds(at(62)));
    index.put_event(growth("c", 1, 25, None));
    assert!(!now(&mut index, "a").breaker.holds(at(62)), "one from before is no trial");
    index.put_event(growth("b", 2, 62, None));
    assert!(now(&mut index, "a").breaker.holds(at(62)), "one tries, the others wait");
    let seen = now(&mut index, "b");
    index.remove_event("db", "b-expansion-2");
    assert!(index.reserve(&key("b"), &seen, classes(&["fast"]), true));
    assert!(now(&mut index, "a").breaker.holds(at(62)), "also while it is being recorded");
    index.release(&key("b"));
    let snapshot = index.snapshot_at(&key("a"), at(30)).expect("a Cluster");
    assert_eq!(circuit(&snapshot).failures, 0, "none of its own");
    index.put_event(growth("c", 1, 26, SUCCEEDED));
    assert_eq!(now(&mut index, "a").breaker.state(at(30)), Breaker::Closed);
}

#[test]
fn a_breaker_of_its_own_is_read_from_the_ledger() {
    let mut index = index(FleetRules::default(), &json!({"circuitBreaker": {"maxFailures": 2}}), &["a", "b"]);
    index.put_event(growth("a", 1, 1, FAILED));
    index.put_event(growth("b", 1, 1, FAILED));
    index.put_event(growth("a", 2, 2, Some(("Failed", "Interrupted"))));
    let of = |index: &mut Index, name: &str| circuit(&index.snapshot(&key(name)).expect("a Cluster"));
    assert_eq!((of(&mut index, "a").failures, of(&mut index, "a").opened), (1, None));
    index.put_event(growth("a", 3, 3, Some(("Failed", "PartialFailure"))));
    assert_eq!(of(&mut index, "a").state(at(4)), Breaker::Open);
    assert_eq!(of(&mut index, "b").state(at(4)), Breaker::Closed);
    // One tries once its time is over, and others wait; they wait no longer once that has ended, in whatever way.
    let half_open = at(3 + 60);
    index.put_event(growth("a", 4, 64, None));
    assert!(of(&mut index, "a").holds(at(65)), "one tries");
    index.put_event(growth("a", 4, 64, Some(("Failed", "Interrupted"))));
    assert_eq!(of(&mut index, "a").state(half_open), Breaker::HalfOpen);
    assert!(!of(&mut index, "a").holds(at(65)), "nothing tries any more");
    index.remove_event("db", "a-expansion-4");
    // A person closes it; what is recorded of itself says nothing new.
    let record = |trigger: &str, number: u32| -> StorageEvent {
        read(json!({
            "metadata": {"name": format!("a-circuit-breaker-{number}"), "namespace": "db"},
            "spec": {"clusterRef": {"name": "a", "uid": "uid-a"}, "eventType": "circuit-breaker", "trigger": trigger, "reason": "CircuitOpen",
                "message": "", "circuitBreaker": {"scope": "per-cluster", "state": "Closed", "at": at(5)}},
        }))
    };
    index.put_event(record("threshold-breach", 1));
    assert_eq!(of(&mut index, "a").state(at(6)), Breaker::Open);
    index.put_event(record("manual", 2));
    assert_eq!(of(&mut index, "a").state(at(6)), Breaker::Closed);
    let asks = json!({"storage.cnpg.supporttools.io/reset-circuit-breaker": "true"});
    put_cluster(&mut index, "b", &asks);
    assert!(index.snapshot(&key("b")).expect("a Cluster").cluster.reset_breaker);
}
