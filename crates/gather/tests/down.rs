//! An instance that is down: from its pod's status to the planner's world.

use std::sync::Arc;

use csm_api::{Settings, StoragePolicy, StoragePolicySpec};
use csm_core::disk_full::{Log, NoSpace, Place};
use csm_core::world::{ClusterKey, Member, Observation, VolumeKey};
use csm_gather::down::{LogWanted, logs_wanted};
use csm_gather::index::{Index, Sample};
use csm_gather::views::{ClusterView, PodObject, PodView};
use csm_gather::world::{VolumeSettings, world};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

const NOON: &str = "2026-03-01T12:00:00Z";

fn noon() -> Timestamp {
    NOON.parse().expect("a time")
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn key() -> ClusterKey {
    ClusterKey::new("db", "pg")
}

fn cluster(version: u64, phase: &str) -> ClusterView {
    ClusterView::of(&read(json!({
        "metadata": {"name": "pg", "namespace": "db", "uid": "c1", "resourceVersion": version.to_string()},
        "spec": {"instances": 1, "storage": {"size": "10Gi"}},
        "status": {"currentPrimary": "pg-1", "phase": phase},
    })))
}

fn pvc(name: &str, role: &str, version: u64, capacity: &str) -> PersistentVolumeClaim {
    read(json!({
        "metadata": {"name": name, "namespace": "db", "uid": format!("u-{name}"), "resourceVersion": version.to_string(),
            "labels": {"cnpg.io/cluster": "pg", "cnpg.io/instanceName": "pg-1", "cnpg.io/pvcRole": role}},
        "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": capacity}}},
        "status": {"phase": "Bound", "capacity": {"storage": capacity}},
    }))
}

/// A pod whose containers are in these states; the first is PostgreSQL's.
fn pod(version: u64, containers: &Value) -> PodView {
    let pod: PodObject = read(json!({
        "metadata": {"name": "pg-1", "namespace": "db", "uid": "p1", "resourceVersion": version.to_string(),
            "annotations": {"storage.cnpg.supporttools.io/resize-requested": "pg-expansion-1"},
            "labels": {"cnpg.io/cluster": "pg", "cnpg.io/instanceName": "pg-1"}},
        "spec": {"nodeName": "node-a"},
        "status": {"containerStatuses": containers},
    }));
    PodView::of(&pod).expect("an instance's pod")
}

fn terminated(code: i32) -> Value {
    json!({"terminated": {"exitCode": code, "reason": "Error", "startedAt": "2026-03-01T11:00:00Z", "finishedAt": NOON, "containerID": "containerd://c7"}})
}

/// PostgreSQL's container in a state, after it ended with this code.
fn postgres(state: &Value, code: i32, ready: bool) -> Value {
    json!([{"name": "postgres", "ready": ready, "restartCount": 3, "state": state, "lastState": terminated(code)}])
}

fn waiting(code: i32) -> Value {
    let message = "back-off 1m20s restarting failed container=postgres pod=pg-1_db(p1)";
    postgres(&json!({"waiting": {"reason": "CrashLoopBackOff", "message": message}}), code, false)
}

/// A Cluster of one instance with a policy; with a WAL volume where `wal` says so.
fn index(wal: bool) -> Index {
    let mut index = Index::new(Settings::default());
    index.put_cluster(&key(), Some(cluster(1, "Cluster in healthy state")));
    index.put_pvc(&pvc("pg-1", "PG_DATA", 1, "10Gi"), noon());
    if wal {
        index.put_pvc(&pvc("pg-1-wal", "PG_WAL", 1, "4Gi"), noon());
    }
    let mut policy = StoragePolicy::new("p", StoragePolicySpec::default());
    policy.metadata.namespace = Some("db".to_owned());
    index.put_policy(&policy);
    index.put_pod(
        "db",
        "pg-1",
        pod(1, &json!([{"name": "postgres", "ready": true, "state": {"running": {}}}])),
    );
    index
}

fn settings(pod_logs: bool) -> VolumeSettings {
    VolumeSettings {
        pod_logs,
        ..VolumeSettings::default()
    }
}

fn member(index: &mut Index, volume: &VolumeKey) -> Member {
    let snapshot = index.snapshot(&key()).expect("a snapshot");
    let world = world(&snapshot, &settings(false), noon());
    let volume = world.volumes.into_iter().find(|v| v.key == *volume).expect("the volume");
    volume.members.into_iter().next().expect("a member")
}

fn wal() -> VolumeKey {
    VolumeKey {
        role: csm_api::Role::Wal,
        tablespace: None,
    }
}

#[test]
fn the_end_of_a_container_wakes_its_cluster_and_fills_its_volume() {
    let mut index = index(false);
    assert!(!member(&mut index, &VolumeKey::DATA).disk_full);
    // At once, before the kubelet has made anything of it.
    let just_ended = json!([{"name": "postgres", "ready": false, "restartCount": 0, "state": terminated(4)}]);
    assert!(!index.put_pod("db", "pg-1", pod(2, &just_ended)).is_empty());
    assert!(member(&mut index, &VolumeKey::DATA).disk_full);
    // Again in the back-off, with the kubelet's own word for how long.
    assert!(!index.put_pod("db", "pg-1", pod(3, &waiting(4))).is_empty());
    assert!(index.put_pod("db", "pg-1", pod(4, &waiting(4))).is_empty(), "nothing new");
    let full = member(&mut index, &VolumeKey::DATA);
    let found = full.findings.expect("findings");
    assert!(full.disk_full && found.full);
    assert_eq!(found.back_at, Some(noon() + SignedDuration::from_secs(80)));
    assert_eq!((found.restarts, full.nudged.as_deref()), (3, Some("pg-expansion-1")));
    // Started, and not ready yet: as CloudNativePG's operator has it.
    index.put_pod("db", "pg-1", pod(5, &postgres(&json!({"running": {}}), 4, false)));
    assert!(member(&mut index, &VolumeKey::DATA).disk_full);
    // Ready: what was, was.
    assert!(
        !index
            .put_pod("db", "pg-1", pod(6, &postgres(&json!({"running": {}}), 4, true)))
            .is_empty()
    );
    let ready = member(&mut index, &VolumeKey::DATA);
    assert!(!ready.disk_full && ready.findings.is_none() && ready.pod_running);
}

#[test]
fn a_growth_that_was_seen_outdates_it() {
    let mut index = index(true);
    index.put_pod("db", "pg-1", pod(2, &waiting(4)));
    assert!(member(&mut index, &wal()).disk_full && !member(&mut index, &VolumeKey::DATA).disk_full);
    let later = noon() + SignedDuration::from_secs(2);
    index.put_pvc(&pvc("pg-1-wal", "PG_WAL", 2, "5Gi"), later);
    let grown = member(&mut index, &wal());
    assert!(!grown.disk_full && grown.findings.is_none());
}

#[test]
fn another_container_says_nothing_and_the_phase_says_a_little() {
    let mut index = index(false);
    let sidecar = json!([
        {"name": "postgres", "ready": true, "state": {"running": {}}},
        {"name": "plugin", "ready": false, "state": {"waiting": {}}, "lastState": terminated(4)},
    ]);
    index.put_pod("db", "pg-1", pod(2, &sidecar));
    assert!(member(&mut index, &VolumeKey::DATA).findings.is_none());
    index.put_pod("db", "pg-1", pod(3, &waiting(1)));
    assert!(member(&mut index, &VolumeKey::DATA).findings.is_none());
    assert!(!index.put_cluster(&key(), Some(cluster(2, "Not enough disk space"))).is_empty());
    let suspected = member(&mut index, &VolumeKey::DATA);
    assert!(!suspected.disk_full && suspected.findings.is_some_and(|found| found.signs.len() == 1));
    // With figures that left no room, it is enough.
    let observation = Observation {
        used: Bytes::gib(10),
        available: Bytes::mib(3),
        capacity: Bytes::gib(10),
        inodes: None,
        at: noon() - SignedDuration::from_secs(30),
    };
    let sample = Sample { observation, twin: false };
    index.put_samples(std::iter::once((("db", "pg-1"), sample)), SignedDuration::from_mins(5));
    assert!(member(&mut index, &VolumeKey::DATA).disk_full);
}

#[test]
fn a_log_is_wanted_once_for_an_end_where_nothing_else_decides() {
    let mut index = index(true);
    let wanted = |index: &mut Index, pod_logs| {
        let snapshot = index.snapshot(&key()).expect("a snapshot");
        let settings = settings(pod_logs);
        logs_wanted(&snapshot, &world(&snapshot, &settings, noon()).volumes, &settings)
    };
    assert!(wanted(&mut index, true).is_empty(), "it runs");
    index.put_pod("db", "pg-1", pod(2, &waiting(0)));
    assert!(wanted(&mut index, false).is_empty(), "not set to");
    let LogWanted {
        namespace,
        pod: name,
        uid,
        container,
        previous,
    } = wanted(&mut index, true).pop().expect("a log");
    assert_eq!(
        (&*namespace, &*name, &*uid, &*container, previous),
        ("db", "pg-1", "p1", "containerd://c7", true)
    );
    let said = Log::NoSpace(NoSpace {
        at: None,
        place: Place::Data,
        text: Arc::from("No space left on device"),
    });
    assert!(
        index.put_log("db", "pg-1", "p0", &container, said.clone()).is_empty(),
        "another pod of that name"
    );
    assert!(!index.put_log("db", "pg-1", "p1", &container, said).is_empty());
    assert!(wanted(&mut index, true).is_empty(), "it is there");
    assert!(member(&mut index, &VolumeKey::DATA).disk_full && !member(&mut index, &wal()).disk_full);
    // It stays with the pod, and says nothing of the next end.
    index.put_pod("db", "pg-1", pod(3, &waiting(0)));
    assert!(member(&mut index, &VolumeKey::DATA).disk_full);
    let mut next = waiting(0);
    next[0]["lastState"]["terminated"]["containerID"] = json!("containerd://c8");
    index.put_pod("db", "pg-1", pod(4, &next));
    assert!(!member(&mut index, &VolumeKey::DATA).disk_full);
    assert_eq!(wanted(&mut index, true).len(), 1);
    // What needs no log does not read it.
    index.put_pod("db", "pg-1", pod(5, &waiting(4)));
    assert!(wanted(&mut index, true).is_empty());
}
