//! What a growth that the storage called infeasible teaches of its volume.

use csm_api::{Growth, Settings, StoragePolicy};
use csm_core::world::ClusterKey;
use csm_gather::index::Index;
use csm_gather::views::ClusterView;
use csm_gather::world::{VolumeSettings, world};
use csm_units::Bytes;
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time")
}

/// What is known of a volume whose members have these sizes and storage classes, after one of `class` got no more than this.
fn learned(sizes: &[(&str, &str)], learned: &str, class: &str) -> Option<Bytes> {
    let mut index = Index::new(Settings::default());
    let key = ClusterKey::new("db", "pg");
    index.put_cluster(
        &key,
        Some(ClusterView::of(&read(json!({
            "metadata": {"name": "pg", "namespace": "db", "uid": "c1", "resourceVersion": "1"},
            "spec": {"instances": sizes.len(), "storage": {"size": "10Gi"}},
        })))),
    );
    index.put_policy(&read::<StoragePolicy>(
        json!({"metadata": {"name": "p", "namespace": "db", "generation": 1}, "spec": {}}),
    ));
    for (number, (size, class)) in sizes.iter().enumerate() {
        let instance = format!("pg-{}", number + 1);
        index.put_pvc(
            &read(json!({
                "metadata": {"name": instance, "namespace": "db", "uid": format!("u-{instance}"), "resourceVersion": "1",
                    "labels": {"cnpg.io/cluster": "pg", "cnpg.io/instanceName": instance, "cnpg.io/pvcRole": "PG_DATA"}},
                "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}},
                "status": {"phase": "Bound", "capacity": {"storage": size}},
            })),
            now(),
        );
    }
    let affected = json!([{"name": "pg-9", "uid": "u-9", "instance": "pg-9", "originalSize": "10Gi", "storageClass": class}]);
    index.put_event(read::<Growth>(json!({
        "metadata": {"name": "pg-expansion-1", "namespace": "db", "resourceVersion": "1"},
        "spec": {"clusterRef": {"name": "pg", "uid": "c1"}, "eventType": "expansion", "trigger": "threshold-breach",
            "volume": {"role": "data"}, "reason": "UsageThreshold", "message": "",
            "expansion": {"originalSize": "10Gi", "requestedSize": "20Gi", "parallelism": 1, "affectedPVCs": affected}},
        "status": {"phase": "Failed", "startTime": "2026-03-01T11:00:00Z", "completionTime": "2026-03-01T11:01:00Z", "pvcStatuses": [
            {"name": "pg-9", "uid": "u-9", "phase": "Failed", "originalSize": "10Gi", "learnedCeiling": learned}]},
    })));
    let snapshot = index.snapshot_at(&key, now()).expect("a Cluster");
    world(&snapshot, &VolumeSettings::default(), now())
        .volumes
        .first()
        .and_then(|volume| volume.learned_ceiling)
}

#[rstest]
#[case::none_has_more(&[("10Gi", "fast"), ("12Gi", "fast")], Some(12))]
#[case::the_storage_of_one_replica_is_full(&[("20Gi", "fast"), ("10Gi", "fast")], None)]
#[case::it_got_room_and_grew_by_itself(&[("10Gi", "fast"), ("13Gi", "fast")], None)]
#[case::another_class_may_have_more(&[("10Gi", "fast"), ("20Gi", "slow")], Some(12))]
#[case::no_member_is_of_that_class(&[("10Gi", "slow")], None)]
fn a_learned_ceiling_is_of_what_no_member_has_passed(#[case] sizes: &[(&str, &str)], #[case] expected: Option<u64>) {
    assert_eq!(learned(sizes, "12Gi", "fast"), expected.map(Bytes::gib));
}
