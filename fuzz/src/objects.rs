//! Our own kinds, as an API server might hand them out: read, validated, resolved and decided on; and what is written is
//! what was read.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::sync::LazyLock;

use csm_api::{ClusterStoragePolicy, PostgresStorage, Settings, StorageEvent, StoragePolicy};
use csm_core::validate::{Problem, validate_cluster_storage_policy, validate_postgres_storage, validate_storage_policy};
use csm_core::world::{ClusterKey, Observation};
use csm_gather::index::{Index, Sample};
use csm_gather::views::{ClassView, ClusterView, PodObject, PodView};
use csm_gather::world::{VolumeSettings, world};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::decided;

const NOW: Timestamp = Timestamp::constant(1_772_366_400, 0); // 2026-03-01T12:00:00Z

/// One object in JSON, or a list of them; they meet the Cluster `shop/orders`.
pub(crate) fn run(data: &[u8]) {
    let Ok(tree) = serde_json::from_slice::<Value>(data) else { return };
    let objects = match tree {
        Value::Array(objects) => objects,
        object => vec![object],
    };
    let mut index = index();
    for object in &objects {
        match object.get("kind").and_then(Value::as_str) {
            Some("StoragePolicy") => {
                if let Some(policy) = read::<StoragePolicy>(object) {
                    said(&validate_storage_policy(&policy.spec));
                    index.put_policy(&policy);
                }
            }
            Some("ClusterStoragePolicy") => {
                if let Some(policy) = read::<ClusterStoragePolicy>(object) {
                    said(&validate_cluster_storage_policy(&policy.spec));
                    index.put_cluster_policy(&policy);
                }
            }
            Some("PostgresStorage") => {
                if let Some(storage) = read::<PostgresStorage>(object) {
                    said(&validate_postgres_storage(&storage.spec));
                    index.put_storage(storage);
                }
            }
            Some("StorageEvent") => {
                if let Some(event) = read::<StorageEvent>(object) {
                    index.put_event(event);
                }
            }
            _ => {}
        }
    }
    let snapshot = index.snapshot(&key()).expect("the Cluster is there");
    decided::holds(&world(&snapshot, &VolumeSettings::default(), NOW), NOW);
}

/// The object, where it is one; as written, it is the same.
fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(object: &Value) -> Option<T> {
    let read: T = serde_json::from_value(object.clone()).ok()?;
    let written = serde_json::to_value(&read).expect("an object can be written");
    let again: T = serde_json::from_value(written).expect("what was written can be read");
    assert_eq!(read, again);
    Some(read)
}

fn said(problems: &[Problem]) {
    let words = |text: &dyn Display| assert!(!text.to_string().trim().is_empty(), "a problem without words");
    for problem in problems {
        words(&problem.reason);
        words(&problem.example);
    }
}

fn key() -> ClusterKey {
    ClusterKey::new("shop", "orders")
}

fn fixed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of this file")
}

/// A Cluster of two instances with all kinds of volumes, 85 % full.
static CLUSTER: LazyLock<ClusterView> = LazyLock::new(|| {
    ClusterView::of(&fixed(json!({
        "metadata": {"name": "orders", "namespace": "shop", "uid": "c1", "resourceVersion": "1", "labels": {"tier": "prod"}},
        "spec": {
            "instances": 2, "storage": {"size": "10Gi"}, "walStorage": {"size": "10Gi"},
            "tablespaces": [{"name": "archive", "storage": {"size": "10Gi"}}],
        },
        "status": {"currentPrimary": "orders-1"},
    })))
});

const VOLUMES: [(&str, &str, &str); 3] = [
    ("", "PG_DATA", ""),
    ("-wal", "PG_WAL", ""),
    ("-tbs-archive", "PG_TABLESPACE", "archive"),
];

fn index() -> Index {
    let mut index = Index::new(Settings::default());
    index.put_namespace("shop", Some(BTreeMap::default()));
    index.put_cluster(&key(), Some(CLUSTER.clone()));
    let class = ClassView {
        provisioner: "csi.example.com".into(),
        expandable: true,
    };
    index.put_class("fast", Some(class));
    for (number, used) in [("1", 8700), ("2", 8600)] {
        let instance = format!("orders-{number}");
        let pod: PodObject = fixed(json!({
            "metadata": {"name": instance, "namespace": "shop", "uid": format!("p{number}"), "resourceVersion": "1",
                "labels": {"cnpg.io/cluster": "orders", "cnpg.io/instanceName": instance}},
            "spec": {"nodeName": format!("node-{number}")},
            "status": {"containerStatuses": [{"state": {"running": {}}}]},
        }));
        index.put_pod("shop", &instance, PodView::of(&pod).expect("an instance"));
        for (suffix, role, tablespace) in VOLUMES {
            let name = format!("{instance}{suffix}");
            let pvc = fixed(json!({
                "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "1",
                    "labels": {"cnpg.io/cluster": "orders", "cnpg.io/instanceName": instance, "cnpg.io/pvcRole": role,
                        "cnpg.io/tablespaceName": tablespace}},
                "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "10Gi"}}},
                "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
            }));
            index.put_pvc(&pvc, NOW);
            let observation = Observation {
                used: Bytes::mib(used),
                available: Bytes::gib(10).saturating_sub(Bytes::mib(used)),
                capacity: Bytes::gib(10),
                inodes: None,
                at: NOW - SignedDuration::from_secs(20),
            };
            let sample = Sample { observation, twin: false };
            index.put_samples(std::iter::once((("shop", &*name), sample)), SignedDuration::from_mins(5));
        }
    }
    index
}
