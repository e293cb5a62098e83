//! What the index answers on objects that somebody wants to write, without a cluster.

use csm_api::{ClusterStoragePolicy, PostgresStorage, Settings, StoragePolicy};
use csm_gather::index::{Candidate, Index, Raise};
use csm_gather::views::{ClassView, ClusterView, cluster_key};
use csm_gather::world::VolumeSettings;
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time")
}

fn pvc(name: &str, role: &str, class: &str, size: &str) -> PersistentVolumeClaim {
    let instance = name.trim_end_matches("-wal");
    read(json!({
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "1",
            "labels": {"cnpg.io/cluster": "orders", "cnpg.io/instanceName": instance, "cnpg.io/pvcRole": role},
            "ownerReferences": [{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "orders", "uid": "orders-uid"}]},
        "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}},
        "status": {"phase": "Bound", "capacity": {"storage": size}},
    }))
}

/// `shop/orders`, with data volumes of these sizes and a WAL volume in its spec.
fn index(annotations: &Value, sizes: &[&str]) -> Index {
    let mut index = Index::new(Settings::default());
    let cluster = read(json!({
        "metadata": {"name": "orders", "namespace": "shop", "uid": "orders-uid", "resourceVersion": "1", "annotations": annotations},
        "spec": {"instances": 3, "storage": {"size": "10Gi"}, "walStorage": {"size": "2Gi"}},
    }));
    index.put_cluster(&cluster_key("shop", "orders"), Some(ClusterView::of(&cluster)));
    for (i, size) in sizes.iter().enumerate() {
        index.put_pvc(&pvc(&format!("orders-{}", i + 1), "PG_DATA", "fast", size), now());
    }
    for (name, provisioner) in [("fast", "csi.example.com"), ("shared", "rancher.io/local-path")] {
        let class = ClassView {
            provisioner: provisioner.into(),
            expandable: name == "fast",
        };
        index.put_class(name, Some(class));
    }
    index
}

fn policy(name: &str, spec: Value) -> StoragePolicy {
    read(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec}))
}

fn raise(index: &mut Index, pvc: &PersistentVolumeClaim) -> Option<Bytes> {
    let raised = index.raise("shop", pvc, &VolumeSettings::default(), now());
    raised.map(|Raise { from, to }| {
        assert!(to > from, "{from} to {to}");
        to
    })
}

/// (settings of the policy, annotations of the Cluster, sizes of the members, class and size asked for, raised to)
#[test]
fn a_newborn_gets_what_the_others_have() {
    let thresholds = json!({"expansion": {"maxSize": "50Gi"}});
    let target = json!({"storage": {"request": "20Gi", "limit": "60Gi"}});
    let low = json!({"expansion": {"maxSize": "12Gi"}});
    let none = json!({});
    #[allow(clippy::type_complexity)] // a table
    let cases: Vec<(&str, Value, Value, &[&str], &str, Option<u64>)> = vec![
        (
            "as large as the largest",
            thresholds.clone(),
            none.clone(),
            &["10Gi", "15Gi"],
            "10Gi",
            Some(15),
        ),
        ("it asks for as much", thresholds.clone(), none.clone(), &["15Gi"], "15Gi", None),
        ("it asks for more", thresholds.clone(), none.clone(), &["15Gi"], "16Gi", None),
        (
            "nobody is there, and nothing is asked for",
            thresholds.clone(),
            none.clone(),
            &[],
            "10Gi",
            None,
        ),
        ("nobody is there: request", target.clone(), none.clone(), &[], "10Gi", Some(20)),
        (
            "others are there: request is the planner's",
            target.clone(),
            none.clone(),
            &["12Gi"],
            "10Gi",
            Some(12),
        ),
        (
            "a pause",
            thresholds.clone(),
            json!({"storage.cnpg.supporttools.io/paused": "true"}),
            &["15Gi"],
            "10Gi",
            Some(15),
        ),
        (
            "growth is off",
            json!({"expansion": {"enabled": false}}),
            none.clone(),
            &["15Gi"],
            "10Gi",
            Some(15),
        ),
        ("a dry run", json!({"dryRun": true}), none.clone(), &["15Gi"], "10Gi", None),
        (
            "all are above the ceiling",
            low.clone(),
            none.clone(),
            &["15Gi", "15Gi"],
            "10Gi",
            Some(15),
        ),
        (
            "one is above the ceiling, not by our doing",
            low.clone(),
            none.clone(),
            &["11Gi", "40Gi"],
            "10Gi",
            Some(11),
        ),
        (
            "settings that do not validate",
            json!({"thresholds": {"warning": 99}}),
            none.clone(),
            &["15Gi"],
            "10Gi",
            None,
        ),
    ];
    for (what, settings, annotations, sizes, asked, expected) in cases {
        let mut index = index(&annotations, sizes);
        index.put_policy(&policy("default", settings));
        let born = pvc("orders-9", "PG_DATA", "fast", asked);
        assert_eq!(raise(&mut index, &born), expected.map(Bytes::gib), "{what}");
    }
}

#[test]
fn a_newborn_does_not_ask_for_what_was_found_infeasible() {
    let mut index = index(&json!({}), &["10Gi"]);
    index.put_policy(&policy("default", json!({"expansion": {"maxSize": "50Gi"}})));
    let mut infeasible = serde_json::to_value(pvc("orders-2", "PG_DATA", "fast", "20Gi")).expect("JSON");
    infeasible["status"] = json!({"phase": "Bound", "capacity": {"storage": "12Gi"}, "allocatedResources": {"storage": "20Gi"},
        "allocatedResourceStatuses": {"storage": "ControllerResizeInfeasible"}});
    index.put_pvc(&read(infeasible), now());
    let born = pvc("orders-9", "PG_DATA", "fast", "10Gi");
    assert_eq!(
        raise(&mut index, &born),
        Some(Bytes::gib(12)),
        "what the others have, not what they ask for"
    );
}

#[test]
fn request_stays_below_every_ceiling() {
    let mut index = index(&json!({}), &[]);
    index.put_policy(&policy(
        "default",
        json!({"storage": {"request": "20Gi", "limit": "60Gi"}, "expansion": {"maxSize": "14Gi"}}),
    ));
    assert_eq!(raise(&mut index, &pvc("orders-1", "PG_DATA", "fast", "10Gi")), Some(Bytes::gib(14)));
    assert_eq!(
        raise(&mut index, &pvc("orders-1", "PG_DATA", "fast", "30Gi")),
        None,
        "it asks for more than that itself"
    );
}

#[test]
fn whom_it_is_not_about_is_left_alone() {
    let mut index = index(&json!({}), &["15Gi"]);
    let born = pvc("orders-9", "PG_DATA", "fast", "10Gi");
    assert_eq!(raise(&mut index, &born), None, "nobody manages it");
    index.put_policy(&policy("default", json!({"expansion": {"maxSize": "50Gi"}})));
    assert_eq!(raise(&mut index, &born), Some(Bytes::gib(15)));
    assert_eq!(
        raise(&mut index, &pvc("orders-9", "PG_DATA", "shared", "10Gi")),
        None,
        "a shared filesystem"
    );
    assert_eq!(
        raise(&mut index, &pvc("orders-9-wal", "PG_WAL", "fast", "1Gi")),
        None,
        "another volume"
    );
    let change = |change: fn(&mut Value)| {
        let mut changed = serde_json::to_value(&born).expect("JSON");
        change(&mut changed);
        read::<PersistentVolumeClaim>(changed)
    };
    let left = [
        ("of another namespace", "stock", born.clone()),
        ("without an owner", "shop", change(|p| p["metadata"]["ownerReferences"] = json!([]))),
        (
            "of another Cluster of this name",
            "shop",
            change(|p| p["metadata"]["ownerReferences"][0]["uid"] = json!("before")),
        ),
        (
            "owned by another kind",
            "shop",
            change(|p| p["metadata"]["ownerReferences"][0]["kind"] = json!("Backup")),
        ),
        (
            "of no role",
            "shop",
            change(|p| p["metadata"]["labels"]["cnpg.io/pvcRole"] = json!("PG_OTHER")),
        ),
        ("that asks for nothing", "shop", change(|p| p["spec"]["resources"] = json!({}))),
        (
            "that may not be larger",
            "shop",
            change(|p| p["spec"]["resources"]["limits"] = json!({"storage": "10Gi"})),
        ),
        (
            "whose limit cannot be read",
            "shop",
            change(|p| p["spec"]["resources"]["limits"] = json!({"storage": "ten"})),
        ),
    ];
    for (what, namespace, pvc) in left {
        assert_eq!(
            index.raise(namespace, &pvc, &VolumeSettings::default(), now()),
            None,
            "a PVC {what}"
        );
    }
    index.put_policy(&policy("another", json!({"expansion": {"maxSize": "60Gi"}})));
    assert_eq!(raise(&mut index, &born), None, "two policies conflict");
}

fn judged(index: &Index, candidate: &Candidate, before: Option<&Candidate>) -> (Vec<String>, Vec<String>) {
    let verdict = index.judge(candidate, before, &VolumeSettings::default());
    let texts = |all: Vec<csm_core::validate::Problem>| all.iter().map(ToString::to_string).collect();
    (texts(verdict.problems), texts(verdict.warnings))
}

fn candidate(name: &str, spec: Value) -> Candidate {
    Candidate::StoragePolicy(Box::new(policy(name, spec)))
}

#[test]
fn an_overlap_is_with_another_policy_of_the_same_rank() {
    let mut index = index(&json!({}), &["15Gi"]);
    index.put_policy(&policy("there", json!({"expansion": {"maxSize": "50Gi"}})));
    let spec = json!({"expansion": {"maxSize": "60Gi"}});
    let overlaps = "both match shop/orders, which is held for it";
    let (problems, _) = judged(&index, &candidate("aaa", spec.clone()), None);
    assert!(
        problems.len() == 1 && problems[0].contains(overlaps) && problems[0].contains("StoragePolicy shop/there"),
        "{problems:?}"
    );
    // What it says of itself is in the way of nobody.
    assert_eq!(judged(&index, &candidate("there", spec.clone()), None).0, Vec::<String>::new());
    let selecting = json!({"selector": {"matchLabels": {"cnpg.io/cluster": "orders"}}, "expansion": {"maxSize": "60Gi"}});
    assert_eq!(
        judged(&index, &candidate("aaa", selecting.clone()), None).0,
        Vec::<String>::new(),
        "of another rank"
    );
    let everywhere: ClusterStoragePolicy = read(json!({"metadata": {"name": "all"}, "spec": {"expansion": {"maxSize": "60Gi"}}}));
    let everywhere = Candidate::ClusterStoragePolicy(Box::new(everywhere));
    assert_eq!(judged(&index, &everywhere, None).0, Vec::<String>::new(), "of another kind");
    // It overlaps already: a change is not refused for that, one that comes to overlap is.
    let before = candidate("aaa", json!({"expansion": {"maxSize": "70Gi"}}));
    assert_eq!(
        judged(&index, &candidate("aaa", spec.clone()), Some(&before)).0,
        Vec::<String>::new()
    );
    assert_eq!(
        judged(&index, &candidate("aaa", spec), Some(&candidate("aaa", selecting))).0.len(),
        1
    );
    // Others that are at odds with each other are nothing that a third is to blame for.
    index.put_policy(&policy("too", json!({"expansion": {"maxSize": "50Gi"}})));
    assert_eq!(judged(&index, &everywhere, None).0, Vec::<String>::new());
}

#[test]
fn what_others_have_a_part_in_names_them() {
    let mut index = index(&json!({}), &["15Gi"]);
    index.put_policy(&policy("there", json!({"storage": {"request": "20Gi", "limit": "60Gi"}})));
    let storage = |spec: Value| -> Candidate {
        let storage: PostgresStorage = read(json!({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec}));
        Candidate::PostgresStorage(Box::new(storage))
    };
    let (problems, _) = judged(&index, &storage(json!({"storage": {"limit": "10Gi"}})), None);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].contains("StoragePolicy shop/there") && problems[0].contains("PostgresStorage shop/orders"),
        "{problems:?}"
    );
    let (problems, warnings) = judged(&index, &storage(json!({"storage": {"limit": "30.5Gi"}})), None);
    assert_eq!(problems, Vec::<String>::new());
    assert!(
        warnings.iter().any(|w| w.contains("storage.limit is not on a whole GiB")),
        "{warnings:?}"
    );
    // What was wrong before in the same words is but a warning.
    let wrong = |percent: i32| storage(json!({"thresholds": {"critical": 99, "warning": percent}}));
    assert!(!judged(&index, &wrong(40), None).0.is_empty());
    let (problems, warnings) = judged(&index, &wrong(40), Some(&wrong(50)));
    assert_eq!(problems, Vec::<String>::new());
    assert!(warnings.iter().any(|w| w.contains("thresholds must rise")), "{warnings:?}");
}

#[test]
fn what_is_wrong_by_itself_is_said_once() {
    let mut index = index(&json!({}), &["15Gi"]);
    index.put_policy(&policy("there", json!({"selector": {}, "expansion": {"maxSize": "50Gi"}})));
    let window = json!({"timezone": "Europe/Atlantis"});
    let spec = json!({"selector": {"matchLabels": {"cnpg.io/cluster": "orders"}}, "storage": {"request": "1Gi", "limit": "20Gi", "maintenanceWindow": window}});
    let (problems, _) = judged(&index, &candidate("new", spec), None);
    assert!(problems.len() == 1 && problems[0].contains("Europe/Atlantis"), "{problems:?}");
    // What is wrong in others is not this one's fault.
    index.put_policy(&policy("there", json!({"thresholds": {"warning": 99}})));
    let fine = json!({"selector": {"matchLabels": {"cnpg.io/cluster": "orders"}}, "expansion": {"maxSize": "60Gi"}});
    assert_eq!(judged(&index, &candidate("new", fine), None).0, Vec::<String>::new());
}

#[test]
fn a_limit_from_elsewhere_is_a_limit() {
    let mut index = index(&json!({}), &["15Gi"]);
    let open = candidate("new", json!({"thresholds": {"expansion": 80}}));
    let unbounded = |index: &Index| {
        judged(index, &open, None)
            .1
            .iter()
            .any(|w| w.contains("expansion.maxSize is not set"))
    };
    assert!(unbounded(&index));
    let bound: ClusterStoragePolicy = read(json!({"metadata": {"name": "all"}, "spec": {"bounds": {"maxSize": "60Gi"}}}));
    index.put_cluster_policy(&bound);
    assert!(!unbounded(&index));
}
