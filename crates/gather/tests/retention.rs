//! How long StorageEvents are kept: all for a time, and of very many only those that a decision may rest on.

use std::collections::BTreeSet;

use csm_api::{Settings, StorageEvent};
use csm_gather::index::{Index, Retention};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);
const RETENTION: Retention = Retention {
    keep: MONTH,
    counted: SignedDuration::ZERO,
};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

/// A growth of a volume that ended some hours ago; `patched` where the API server took its patch.
fn growth(volume: &str, name: &str, hours: i64, patched: bool) -> StorageEvent {
    let at = now() - SignedDuration::from_hours(hours);
    let mut pvc = json!({"name": "a-1", "uid": "pvc-a", "phase": "Failed", "originalSize": "10Gi"});
    if patched {
        pvc["patchedAt"] = json!(at);
    }
    let event = json!({
        "metadata": {"name": name, "namespace": "db", "resourceVersion": "1"},
        "spec": {"clusterRef": {"name": "a", "uid": "uid-a"}, "eventType": "expansion", "trigger": "threshold-breach",
            "volume": {"role": volume}, "reason": "UsageThreshold", "message": "",
            "expansion": {"originalSize": "10Gi", "requestedSize": "15Gi", "parallelism": 1, "affectedPVCs": []}},
        "status": {"phase": "Failed", "startTime": at, "completionTime": at, "pvcStatuses": [pvc]},
    });
    serde_json::from_value(event).expect("a StorageEvent")
}

/// Names of those that are to go.
fn dropped(events: impl IntoIterator<Item = StorageEvent>, retention: Retention) -> BTreeSet<String> {
    let mut index = Index::new(Settings::default());
    for event in events {
        index.put_event(event);
    }
    let gone = index.events_to_drop(retention, now());
    gone.into_iter().filter_map(|meta| meta.name).collect()
}

/// Refused every hour for so long.
fn refused(hours: std::ops::Range<i64>) -> impl Iterator<Item = StorageEvent> {
    hours.map(|hours| growth("data", &format!("refused-{hours}"), hours, false))
}

#[test]
fn all_are_kept_for_the_same_time_where_they_are_few() {
    let events = [29, 31].map(|days| growth("data", &format!("{days}-days"), 24 * days, days == 29));
    assert_eq!(dropped(events, RETENTION), BTreeSet::from(["31-days".to_owned()]));
}

#[test]
fn of_very_many_those_go_that_changed_nothing() {
    assert_eq!(dropped(refused(0..200), RETENTION), BTreeSet::new());
    let gone = dropped(refused(0..700), RETENTION);
    assert_eq!(gone.len(), 500);
    assert!(gone.contains("refused-699") && gone.contains("refused-200") && !gone.contains("refused-199"));
    // Even of many, none goes that a day's count may want.
    let at_once = (0..700).map(|n| growth("data", &format!("refused-{n}"), 24, false));
    assert_eq!(dropped(at_once, RETENTION), BTreeSet::new());
}

#[test]
fn what_is_of_no_cluster_goes_after_a_day() {
    let open = |name: &str, hours: i64| {
        let at = now() - SignedDuration::from_hours(hours);
        let mut event = growth("data", name, hours, false);
        event.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
        event.status = None;
        event
    };
    assert_eq!(
        dropped([open("old", 30), open("young", 20)], RETENTION),
        BTreeSet::from(["old".to_owned()])
    );
}

#[test]
fn what_a_decision_may_rest_on_is_kept_longer() {
    let week = growth("data", "grown-this-week", 7 * 24, true);
    let before = growth("data", "grown-before", 9 * 24, true);
    let of_wal = growth("wal", "last-of-wal", 10 * 24, true);
    let younger = || (0..200).map(|n| growth("data", &format!("refused-{n}"), n / 2, false));
    let events = || younger().chain([week.clone(), before.clone(), of_wal.clone()]);
    assert_eq!(dropped(events(), RETENTION), BTreeSet::from(["grown-before".to_owned()]));
    // The storage's own limit counts further back.
    let counted = Retention {
        counted: SignedDuration::from_hours(10 * 24),
        ..RETENTION
    };
    assert_eq!(dropped(events(), counted), BTreeSet::new());
}
