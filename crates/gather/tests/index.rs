//! The index, without a cluster: what it keeps, what it forgets, and whom it wakes.

use std::sync::Arc;

use csm_api::{
    Expansion, PolicyStatus, PostgresStorage, PostgresStorageSpec, PostgresStorageStatus, Settings, State, StoragePolicy, StoragePolicySpec,
};
use csm_core::resolve::Resolution;
use csm_core::world::{ClusterKey, Observation, ProviderLimit, VolumeKey, World};
use csm_gather::index::{Index, Kind, PolicyId, Sample, Wake};
use csm_gather::views::{ClassView, ClusterView, NodeView, PodObject, PodView};
use csm_gather::world::{VolumeSettings, world};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

const STALE: SignedDuration = SignedDuration::from_mins(5);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
}

fn key() -> ClusterKey {
    ClusterKey::new("db", "my-pg")
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn cluster(version: u64, labels: &Value) -> ClusterView {
    ClusterView::of(&read(json!({
        "metadata": {"name": "my-pg", "namespace": "db", "uid": "c1", "resourceVersion": version.to_string(), "labels": labels},
        "spec": {"instances": 1, "storage": {"size": "10Gi"}},
        "status": {"currentPrimary": "my-pg-1"},
    })))
}

fn pvc(uid: &str, version: u64, request: &str, capacity: &str) -> PersistentVolumeClaim {
    read(json!({
        "metadata": {"name": "my-pg-1", "namespace": "db", "uid": uid, "resourceVersion": version.to_string(),
            "labels": {"cnpg.io/cluster": "my-pg", "cnpg.io/instanceName": "my-pg-1", "cnpg.io/pvcRole": "PG_DATA"}},
        "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": request}}},
        "status": {"phase": "Bound", "capacity": {"storage": capacity}},
    }))
}

fn pod(version: u64, running: bool) -> PodView {
    let state = if running { json!({"running": {}}) } else { json!({"waiting": {}}) };
    let pod: PodObject = read(json!({
        "metadata": {"name": "my-pg-1", "namespace": "db", "uid": "p1", "resourceVersion": version.to_string(),
            "labels": {"cnpg.io/cluster": "my-pg", "cnpg.io/instanceName": "my-pg-1"}},
        "spec": {"nodeName": "node-a"},
        "status": {"containerStatuses": [{"state": state}]},
    }));
    PodView::of(&pod).expect("an instance's pod")
}

fn sample(used: u64, seconds: i64) -> Sample {
    let observation = Observation {
        used: Bytes::mib(used),
        available: Bytes::mib(10_000 - used),
        capacity: Bytes::mib(10_000),
        inodes: None,
        at: at(seconds),
    };
    Sample { observation, twin: false }
}

/// An index with one Cluster of one instance.
fn index() -> Index {
    let mut index = Index::new(Settings::default());
    index.put_cluster(&key(), Some(cluster(1, &json!({}))));
    index.put_pvc(&pvc("u1", 1, "10Gi", "10Gi"), at(0));
    index.put_pod("db", "my-pg-1", pod(1, true));
    index.put_class(
        "fast",
        Some(ClassView {
            provisioner: Arc::from("csi.example.com"),
            expandable: true,
        }),
    );
    index
}

fn sampled(index: &mut Index, sample: Sample) -> bool {
    !index.put_samples(std::iter::once((("db", "my-pg-1"), sample)), STALE).is_empty()
}

#[test]
fn an_older_version_never_replaces_a_newer_one() {
    let mut index = index();
    assert!(!index.put_pvc(&pvc("u1", 7, "15Gi", "10Gi"), at(1)).is_empty());
    assert!(index.put_pvc(&pvc("u1", 6, "10Gi", "10Gi"), at(2)).is_empty());
    let snapshot = index.snapshot(&key()).expect("a snapshot");
    assert_eq!(snapshot.pvcs.first().map(|p| p.view.request), Some(Bytes::gib(15)));
    // Another PVC of the same name starts anew, whatever its version.
    assert!(!index.put_pvc(&pvc("u2", 3, "10Gi", "10Gi"), at(3)).is_empty());
    assert!(index.put_cluster(&key(), Some(cluster(0, &json!({})))).is_empty());
}

#[test]
fn samples_wake_only_where_something_is_crossed() {
    let mut index = index();
    assert!(sampled(&mut index, sample(5000, 0)), "the first figures");
    assert!(!sampled(&mut index, sample(5040, 30)), "within the percentage point");
    assert!(sampled(&mut index, sample(5100, 60)), "another percentage point");
    assert!(sampled(&mut index, sample(5100, 60 + 301)), "figures after a gap");
    let larger = Sample {
        observation: Observation {
            capacity: Bytes::mib(20_000),
            ..sample(5100, 400).observation
        },
        twin: false,
    };
    assert!(sampled(&mut index, larger), "another size of the filesystem");
    assert!(sampled(&mut index, Sample { twin: true, ..larger }), "a twin");
    assert!(
        index
            .put_samples(std::iter::once((("db", "stranger-1"), sample(1, 0))), STALE)
            .is_empty()
    );
}

#[test]
fn figures_from_before_a_resize_are_replaced_by_the_next_ones() {
    let mut index = index();
    assert!(sampled(&mut index, sample(5000, 0)));
    index.put_pvc(&pvc("u1", 2, "15Gi", "15Gi"), at(10));
    let last = world(&index.snapshot(&key()).expect("a snapshot"), &settings(), at(0))
        .volumes
        .remove(0)
        .members
        .remove(0);
    assert_eq!(last.last_resize_at, Some(at(10)));
    assert!(
        sampled(&mut index, sample(5000, 20)),
        "the same percentage, but the first after the resize"
    );
    assert!(!sampled(&mut index, sample(5000, 30)));
}

#[test]
fn a_resize_that_is_seen_follows_every_sample() {
    let mut index = index();
    let mut growing = pvc("u1", 2, "15Gi", "10Gi");
    growing.status.as_mut().expect("a status").conditions = Some(vec![read(json!({"type": "Resizing", "status": "True"}))]);
    assert!(sampled(&mut index, sample(5000, 0)));
    index.put_pvc(&growing, at(1));
    assert!(sampled(&mut index, sample(5000, 5)));
    assert!(sampled(&mut index, sample(5000, 10)));
}

#[test]
fn a_resize_that_is_tried_again_and_again_began_with_its_first_try() {
    let mut index = index();
    let begun = |index: &mut Index| {
        let snapshot = index.snapshot(&key()).expect("a snapshot");
        let pvc = snapshot.pvcs.into_iter().find(|pvc| &*pvc.name == "my-pg-1").expect("the PVC");
        pvc.view.resize.expect("a resize").since
    };
    let tried = |version, request, stage: &str, seconds| {
        let mut pvc = pvc("u1", version, request, "10Gi");
        let status = pvc.status.as_mut().expect("a status");
        let tried = json!({"type": "Resizing", "status": "True", "lastTransitionTime": at(seconds).to_string()});
        status.conditions = Some(vec![read(tried)]);
        status.allocated_resource_statuses = Some(read(json!({"storage": stage})));
        (pvc, at(seconds))
    };
    for (version, request, stage, seconds, since) in [
        (2, "15Gi", "ControllerResizeInProgress", 100, 100),
        (3, "15Gi", "ControllerResizeInProgress", 400, 100),
        (4, "15Gi", "ControllerResizeInProgress", 700, 100),
        (5, "15Gi", "NodeResizeInProgress", 800, 800),
        (6, "20Gi", "NodeResizeInProgress", 900, 900),
    ] {
        let (pvc, now) = tried(version, request, stage, seconds);
        index.put_pvc(&pvc, now);
        assert_eq!(begun(&mut index), Some(at(since)), "{request}, {stage} at {seconds}");
    }
}

#[test]
fn settings_are_resolved_anew_when_what_they_rest_on_changes() {
    let mut index = index();
    let resolved = |index: &mut Index| index.snapshot(&key()).expect("a snapshot").resolution;
    assert_eq!(*resolved(&mut index), Resolution::NoPolicy);
    index.take_matches_changed();
    let mut policy = StoragePolicy::new(
        "prod",
        StoragePolicySpec {
            selector: Some(read(json!({"matchLabels": {"tier": "prod"}}))),
            settings: Settings {
                expansion: Some(Expansion {
                    percentage: Some(30),
                    ..Expansion::default()
                }),
                ..Settings::default()
            },
            ..StoragePolicySpec::default()
        },
    );
    policy.metadata.namespace = Some("db".into());
    policy.metadata.generation = Some(1);
    assert_eq!(index.put_policy(&policy).into_iter().collect::<Vec<_>>(), [key()]);
    assert!(index.take_matches_changed());
    assert_eq!(*resolved(&mut index), Resolution::NoPolicy, "its label is missing");
    index.put_cluster(&key(), Some(cluster(2, &json!({"tier": "prod"}))));
    assert!(index.take_matches_changed());
    assert!(matches!(&*resolved(&mut index), Resolution::Settings(s) if s.expansion.percentage.value.get() == 30));
    // Our own status comes back with the same generation: nothing is decided anew.
    assert!(index.put_policy(&policy).is_empty());
    assert!(!index.take_matches_changed());
    let written = PolicyStatus {
        managed_clusters: Some(1),
        ..PolicyStatus::default()
    };
    let id = PolicyId {
        namespace: "db".into(),
        name: "prod".into(),
    };
    index.put_policy_status(&id, written.clone());
    policy.status = Some(written);
    assert!(index.put_policy(&policy).is_empty());
    assert!(!index.take_matches_changed());
    // A write that was given up comes late.
    policy.status = Some(PolicyStatus::default());
    assert!(index.put_policy(&policy).is_empty(), "the settings are what they were");
    assert!(index.take_matches_changed(), "the status is to be written again");
    index.remove_policy("db", "prod");
    assert_eq!(*resolved(&mut index), Resolution::NoPolicy);
}

#[test]
fn a_status_that_another_one_overwrites_is_looked_at() {
    let mut index = index();
    let storage = |version: u64, state: Option<State>| -> PostgresStorage {
        let mut storage = PostgresStorage::new("my-pg", PostgresStorageSpec::default());
        storage.metadata.namespace = Some("db".into());
        storage.metadata.uid = Some("s1".into());
        storage.metadata.resource_version = Some(version.to_string());
        storage.status = state.map(|state| PostgresStorageStatus {
            state: Some(state),
            ..PostgresStorageStatus::default()
        });
        storage
    };
    let looked_at = |wake: Wake| wake.into_iter().collect::<Vec<_>>() == [key()];
    assert!(looked_at(index.put_storage(storage(1, None))));
    // The answer to a write of ours, and what the watch then says of it.
    index.put_storage(storage(2, Some(State::Balanced)));
    assert!(!looked_at(index.put_storage(storage(2, Some(State::Balanced)))));
    // One that was given up, and comes late.
    assert!(looked_at(index.put_storage(storage(3, Some(State::WaitingForDiskStatus)))));
    assert!(!looked_at(index.put_storage(storage(2, Some(State::Balanced)))), "that is older");
}

/// How many samples a forecast gets.
fn history(index: &mut Index) -> usize {
    let snapshot = index.snapshot(&key()).expect("a snapshot");
    snapshot.pvcs.first().expect("the PVC").history.len()
}

#[test]
fn a_day_of_samples_outlives_a_change_of_the_settings() {
    let mut index = index();
    let windows = StoragePolicySpec {
        settings: read(json!({"storage": {"request": "10Gi", "limit": "100Gi", "maintenanceWindow": {}}})),
        ..StoragePolicySpec::default()
    };
    let mut policy = StoragePolicy::new("windows", windows);
    policy.metadata.namespace = Some("db".into());
    policy.metadata.generation = Some(1);
    index.put_policy(&policy);
    assert_eq!(history(&mut index), 0);
    for minute in 0..600 {
        sampled(&mut index, sample(5000, minute * 60));
    }
    // The last hour in full, and every ten minutes of the nine before.
    assert_eq!(history(&mut index), 61 + 54);
    // Another label: what the settings are is not known until somebody asks.
    index.put_cluster(&key(), Some(cluster(2, &json!({"tier": "prod"}))));
    sampled(&mut index, sample(5000, 600 * 60));
    assert_eq!(history(&mut index), 61 + 54);
    // Settings that cannot be used say nothing about how much is wanted.
    policy.spec.settings = read(json!({"storage": {"request": "10Gi", "limit": "1Gi", "maintenanceWindow": {}}}));
    policy.metadata.generation = Some(2);
    index.put_policy(&policy);
    assert!(matches!(
        &*index.snapshot(&key()).expect("a snapshot").resolution,
        Resolution::Settings(settings) if settings.volumes.of(&VolumeKey::DATA).is_err()
    ));
    sampled(&mut index, sample(5000, 601 * 60));
    assert_eq!(history(&mut index), 61 + 55);
    // Without windows, an hour is all that a forecast looks at.
    index.remove_policy("db", "windows");
    assert!(history(&mut index) > 61);
    sampled(&mut index, sample(5000, 602 * 60));
    assert_eq!(history(&mut index), 61);
}

#[test]
fn what_is_gone_leaves_nothing_behind() {
    let mut index = index();
    sampled(&mut index, sample(5000, 0));
    assert_eq!(index.nodes_to_sample().keys().map(AsRef::as_ref).collect::<Vec<_>>(), ["node-a"]);
    index.put_node(
        "node-a",
        Some(NodeView {
            addresses: Vec::new(),
            port: Some(10250),
        }),
    );
    let known = |index: &Index, kind| index.names(kind).iter().map(|(n, name)| format!("{n}/{name}")).collect::<Vec<_>>();
    assert_eq!(known(&index, Kind::Cluster), ["db/my-pg"]);
    assert_eq!(known(&index, Kind::Pvc), ["db/my-pg-1"]);
    assert_eq!(known(&index, Kind::Pod), ["db/my-pg-1"]);
    assert_eq!(known(&index, Kind::Node), ["/node-a"]);
    assert_eq!(known(&index, Kind::StorageClass), ["/fast"]);
    assert!(known(&index, Kind::PostgresStorage).is_empty());
    index.put_cluster(&key(), None);
    assert!(index.snapshot(&key()).is_none());
    assert!(index.nodes_to_sample().is_empty(), "nobody asks for a Cluster that is gone");
    assert_eq!(index.remove_pvc("db", "my-pg-1").len(), 1);
    assert_eq!(index.remove_pod("db", "my-pg-1").len(), 1);
    assert!(index.remove_pod("db", "my-pg-1").is_empty());
    assert!(index.clusters().is_empty());
}

#[test]
fn the_world_says_what_the_objects_say() {
    let mut index = index();
    sampled(&mut index, sample(5000, 0));
    index.put_pod("db", "my-pg-1", pod(2, false));
    let world = world_of(&mut index);
    let volume = world.volumes.first().expect("a volume");
    assert_eq!(
        volume.fallback_ceiling,
        Some(Bytes::gib(100)),
        "ten times what the Cluster asks for"
    );
    let member = volume.members.first().expect("a member");
    assert_eq!(
        (&*member.pvc, &*member.instance, member.node.as_deref()),
        ("my-pg-1", "my-pg-1", Some("node-a"))
    );
    assert!(member.bound && !member.block && !member.pod_running && member.class.expandable);
    assert_eq!(world.cluster.primary.as_deref(), Some("my-pg-1"));
    let limit = |world: &World| {
        let member = world.volumes.first().and_then(|volume| volume.members.first());
        member.and_then(|m| m.class.provider_limit).map(|limit| limit.max_actions)
    };
    assert_eq!(limit(&world), Some(2), "its provisioner's");
    let slow = ClassView {
        provisioner: Arc::from("csi.example.com"),
        expandable: true,
    };
    index.put_class("slow", Some(slow));
    let mut other = pvc("u2", 9, "10Gi", "10Gi");
    other.spec.get_or_insert_default().storage_class_name = Some("slow".into());
    index.put_pvc(&other, at(1));
    let world = world_of(&mut index);
    assert_eq!(limit(&world), Some(1), "its class's own");
}

fn world_of(index: &mut Index) -> World {
    world(&index.snapshot(&key()).expect("a snapshot"), &settings(), at(0))
}

fn settings() -> VolumeSettings {
    let limit = |max_actions| ProviderLimit {
        max_actions,
        period: SignedDuration::from_hours(6),
    };
    VolumeSettings {
        provider_limits: [("csi.example.com".to_owned(), limit(2))].into(),
        class_limits: [("slow".to_owned(), limit(1))].into(),
        ..VolumeSettings::default()
    }
}
