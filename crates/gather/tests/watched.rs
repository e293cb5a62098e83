//! Objects that cannot be read: what each holds, and that all others are read.

use csm_api::{ClusterStoragePolicy, PostgresStorage, Settings, StorageEvent, StoragePolicy, Urgency};
use csm_core::resolve::Resolution;
use csm_core::world::{ClusterKey, Operation, VolumeKey};
use csm_gather::index::{Index, Kind, Retention};
use csm_gather::views::ClusterView;
use csm_gather::watched::{Watch, Watched};
use csm_gather::world::{VolumeSettings, world};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::core::{ObjectList, WatchEvent};
use serde_json::{Value, json};

fn key(namespace: &str) -> ClusterKey {
    ClusterKey::new(namespace, "orders")
}

fn watched<K: Watch>(object: &Value) -> Watched<K> {
    Watched::read(&object.to_string())
}

fn object(namespace: &str, name: &str, spec: &Value) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "uid": "u1", "generation": 1, "resourceVersion": "5"}, "spec": spec})
}

/// What cannot be read of an object.
fn why<K: Watch>(object: &Value) -> Vec<String> {
    match watched::<K>(object) {
        Watched::Readable(_) => Vec::new(),
        Watched::Unreadable(object) => object.why,
    }
}

fn put_policy(index: &mut Index, object: &Value) {
    match watched::<StoragePolicy>(object) {
        Watched::Readable(policy) => index.put_policy(&policy),
        Watched::Unreadable(object) => index.put_unreadable(Kind::StoragePolicy, &object),
    };
}

fn put_storage(index: &mut Index, object: &Value) {
    match watched::<PostgresStorage>(object) {
        Watched::Readable(storage) => index.put_storage(storage),
        Watched::Unreadable(object) => index.put_unreadable(Kind::PostgresStorage, &object),
    };
}

/// The Cluster `orders` in two namespaces, each with one PVC, and a policy for the whole fleet.
fn index() -> Index {
    let mut index = Index::new(Settings::default());
    for namespace in ["shop", "other"] {
        let cluster = json!({"metadata": {"namespace": namespace, "name": "orders", "uid": "c1", "labels": {"tier": "prod"}}});
        let Watched::Readable(cluster) = watched(&cluster) else { panic!() };
        index.put_cluster(&key(namespace), Some(ClusterView::of(&cluster)));
        let labels = json!({"cnpg.io/cluster": "orders", "cnpg.io/instanceName": "orders-1", "cnpg.io/pvcRole": "PG_DATA"});
        let pvc = json!({"metadata": {"namespace": namespace, "name": "orders-1", "uid": "p1", "labels": labels}, "spec": {}});
        let Watched::Readable(pvc) = watched::<PersistentVolumeClaim>(&pvc) else {
            panic!()
        };
        index.put_pvc(&pvc, Timestamp::UNIX_EPOCH);
    }
    let Watched::Readable(fleet) = watched::<ClusterStoragePolicy>(&object("", "fleet", &json!({"dryRun": false}))) else {
        panic!()
    };
    index.put_cluster_policy(&fleet);
    index
}

/// What holds the Cluster of a namespace; empty: nothing.
fn held(index: &mut Index, namespace: &str) -> String {
    match &*index.snapshot(&key(namespace)).expect("a Cluster").resolution {
        Resolution::Invalid(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        Resolution::Settings(_) => String::new(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_object_that_cannot_be_read_costs_only_itself() {
    let wrong = object("shop", "wrong", &json!({"expansion": {"percentage": "fifty"}}));
    let right = object("shop", "right", &json!({"expansion": {"percentage": 50}}));
    let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "7"}, "items": [wrong, right]});
    let list: ObjectList<Watched<StoragePolicy>> = serde_json::from_str(&list.to_string()).expect("a list");
    let names: Vec<_> = list
        .items
        .iter()
        .map(|o| (o.name_any(), matches!(o, Watched::Readable(_))))
        .collect();
    assert_eq!(names, [("wrong".to_owned(), false), ("right".to_owned(), true)]);
    // As the API server writes it: the type first.
    let event = format!(r#"{{"type":"MODIFIED","object":{wrong}}}"#);
    let event: WatchEvent<Watched<StoragePolicy>> = serde_json::from_str(&event).expect("an event");
    let WatchEvent::Modified(Watched::Unreadable(unreadable)) = event else {
        panic!()
    };
    assert_eq!(unreadable.why, ["spec.expansion.percentage: \"fifty\" is not a whole number"]);
    assert_eq!(unreadable.metadata.resource_version.as_deref(), Some("5"));
}

#[test]
fn what_cannot_be_read_is_named() {
    let of = |spec: Value| why::<StoragePolicy>(&object("shop", "p", &spec)).join("; ");
    assert_eq!(of(json!({"thresholds": [70, 80]})), "spec.thresholds: a list is not a map");
    assert_eq!(
        of(json!({"expansion": {"percentage": 9_999_999_999_i64}})),
        "spec.expansion.percentage: 9999999999 is not a whole number of 32 bits"
    );
    let model = of(json!({"storage": {"model": "Magic"}}));
    assert!(model.starts_with("spec.storage.model: \"Magic\" is not one of "), "{model}");
    assert_eq!(of(json!("all of it")), "spec: \"all of it\" is not a map");
    let event = why::<StorageEvent>(&object("shop", "e", &json!({"clusterRef": {"name": "orders", "uid": 5}})));
    assert!(event.join("; ").starts_with("spec.clusterRef.uid: "), "{event:?}");
}

#[test]
fn what_is_missing_or_unknown_or_ours_is_read() {
    for spec in [
        json!({}),
        json!({"excludeClusters": null, "storage": null, "expansion": {"maxSize": 5}}),
        json!({"fromTheFuture": {"a": 1}}),
    ] {
        assert_eq!(why::<StoragePolicy>(&object("shop", "p", &spec)), [] as [&str; 0], "{spec}");
    }
    // A status of a newer version is written anew.
    let mut storage = object("shop", "orders", &json!({"dryRun": true}));
    storage["status"] = json!({"state": "Levitating"});
    let Watched::Readable(storage) = watched::<PostgresStorage>(&storage) else {
        panic!()
    };
    assert_eq!((storage.spec.settings.dry_run, storage.status), (Some(true), None));
    // Odd metadata still says which object it is.
    let odd = json!({"metadata": {"namespace": "shop", "name": "p", "resourceVersion": "5", "labels": 7}});
    let Watched::Unreadable(odd) = watched::<StoragePolicy>(&odd) else {
        panic!()
    };
    assert_eq!(
        (odd.metadata.name.as_deref(), odd.metadata.resource_version.as_deref()),
        (Some("p"), Some("5"))
    );
}

#[test]
fn a_policy_that_cannot_be_read_holds_whom_it_would_match_and_no_other_acts_in_its_place() {
    let mut index = index();
    assert_eq!(held(&mut index, "shop"), "");
    let spec = |selector: Value| json!({"selector": selector, "expansion": {"percentage": "fifty"}});
    put_policy(&mut index, &object("shop", "p", &spec(json!({"matchLabels": {"tier": "test"}}))));
    assert_eq!(held(&mut index, "shop"), "", "it selects others");
    let words = "spec.expansion.percentage: \"fifty\" is not a whole number";
    index.remove_policy("shop", "p");
    put_policy(&mut index, &object("shop", "p", &spec(json!({"matchLabels": {"tier": "prod"}}))));
    assert_eq!(held(&mut index, "shop"), format!("{words}, from StoragePolicy shop/p"));
    assert_eq!(held(&mut index, "other"), "");
    let entry = index
        .policies()
        .into_iter()
        .find(|(id, _, _)| &*id.name == "p")
        .expect("the policy")
        .1;
    assert_eq!(entry.policy.problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [words]);

    // Whom it selects cannot be read either: all that it may.
    index.remove_policy("shop", "p");
    for selector in [
        json!("all"),
        json!({"matchLabels": 5}),
        json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}),
    ] {
        put_policy(&mut index, &object("shop", "p", &spec(selector)));
        assert!(held(&mut index, "shop").contains(words));
        assert_eq!(held(&mut index, "other"), "");
        index.remove_policy("shop", "p");
        assert_eq!(held(&mut index, "shop"), "");
    }
    let all = json!({"namespaceSelector": 5, "excludeClusters": "none", "bounds": {"maxSize": true}});
    let Watched::Unreadable(all) = watched::<ClusterStoragePolicy>(&object("", "all", &all)) else {
        panic!()
    };
    index.put_unreadable(Kind::ClusterStoragePolicy, &all);
    assert!(
        held(&mut index, "shop").contains("spec.bounds.maxSize: "),
        "{}",
        held(&mut index, "shop")
    );
    assert!(held(&mut index, "other").contains("from ClusterStoragePolicy all"));
}

#[test]
fn a_policy_that_was_made_anew_is_another() {
    let mut index = index();
    let mut policy = object("shop", "p", &json!({"expansion": {"percentage": 20}}));
    put_policy(&mut index, &policy);
    let percentage = |index: &mut Index| match &*index.snapshot(&key("shop")).expect("a Cluster").resolution {
        Resolution::Settings(settings) => settings.expansion.percentage.value.get(),
        other => panic!("{other:?}"),
    };
    assert_eq!(percentage(&mut index), 20);
    policy["spec"]["expansion"]["percentage"] = json!(30);
    policy["metadata"]["uid"] = json!("u2");
    put_policy(&mut index, &policy);
    assert_eq!(percentage(&mut index), 30);
}

#[test]
fn a_storage_that_cannot_be_read_holds_its_cluster_until_it_can() {
    let mut index = index();
    let mut wrong = object("shop", "orders", &json!({"dryRun": "yes"}));
    wrong["status"] = json!({"percentUsed": 7});
    put_storage(&mut index, &wrong);
    let message = "spec.dryRun: \"yes\" is not true or false, from PostgresStorage shop/orders";
    assert_eq!(held(&mut index, "shop"), message);
    assert_eq!(held(&mut index, "other"), "");
    let storage = index.snapshot(&key("shop")).and_then(|s| s.storage).expect("its status is kept");
    assert_eq!(storage.status.as_ref().and_then(|s| s.percent_used), Some(7));
    // Another status is looked at: the answer to a write of ours cannot be read either, so that it is not known before it comes
    // back. The same one is nothing to decide anew.
    wrong["status"] = json!({"percentUsed": 8});
    for (version, looked_at) in [("6", true), ("7", false)] {
        wrong["metadata"]["resourceVersion"] = json!(version);
        let Watched::Unreadable(again) = watched::<PostgresStorage>(&wrong) else {
            panic!()
        };
        let wake = index.put_unreadable(Kind::PostgresStorage, &again);
        assert_eq!(wake.contains(&key("shop")), looked_at, "{version}");
    }
    assert_eq!(held(&mut index, "shop"), message);
    let mut empty = object("shop", "orders", &json!({}));
    empty["metadata"]["resourceVersion"] = json!("8");
    put_storage(&mut index, &empty);
    assert_eq!(held(&mut index, "shop"), "");
    wrong["metadata"]["resourceVersion"] = json!("9");
    put_storage(&mut index, &wrong);
    assert_eq!(held(&mut index, "shop"), message);
    index.remove_storage("shop", "orders");
    assert_eq!(held(&mut index, "shop"), "");
}

/// What a StorageEvent that cannot be read comes to in the ledger.
fn operations(index: &mut Index, event: &Value) -> Vec<Operation> {
    let Watched::Unreadable(event) = watched::<StorageEvent>(event) else {
        panic!()
    };
    index.put_unreadable(Kind::StorageEvent, &event);
    world(
        &index.snapshot(&key("shop")).expect("a Cluster"),
        &VolumeSettings::default(),
        Timestamp::UNIX_EPOCH,
    )
    .operations
}

#[test]
fn an_operation_that_cannot_be_read_counts() {
    let mut index = index();
    let mut event = object("shop", "orders-expansion-20260301-100000-abcde", &json!({"from": "the future"}));
    event["metadata"]["creationTimestamp"] = json!("2026-03-01T10:00:00Z");
    let found = operations(&mut index, &event);
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (one.volume.clone(), one.urgency, one.done),
        (VolumeKey::DATA, Urgency::Emergency, false)
    );
    assert!(one.counts() && one.concerns("p1"));
    assert_eq!(one.started_at.to_string(), "2026-03-01T10:00:00Z");
    assert_eq!(index.names(Kind::StorageEvent).len(), 1);
    // What it does say counts.
    event["spec"] = json!({"clusterRef": {"name": "orders", "uid": "c1"}, "volume": {"role": "data"}, "trigger": "threshold-breach",
        "expansion": {"requestedSize": "15Gi"}});
    event["status"] = json!({"phase": "Completed", "startTime": "2026-03-01T10:00:07Z"});
    event["metadata"]["resourceVersion"] = json!("6");
    let found = operations(&mut index, &event);
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.urgency, one.to, one.done), (Urgency::Planned, Bytes::gib(15), true));
    assert_eq!(one.started_at.to_string(), "2026-03-01T10:00:07Z");
    // That of another volume, or of another Cluster of this name, does not.
    for (field, value) in [
        ("volume", json!({"role": "wal"})),
        ("clusterRef", json!({"name": "orders", "uid": "c0"})),
    ] {
        let mut other = event.clone();
        other["spec"][field] = value;
        assert_eq!(operations(&mut index, &other), [], "{field}");
    }
    index.remove_event("shop", "orders-expansion-20260301-100000-abcde");
    assert_eq!(index.names(Kind::StorageEvent), []);
}

#[test]
fn a_cluster_that_cannot_be_read_is_not_managed() {
    let mut index = index();
    let number = json!({"metadata": {"name": "orders"}, "spec": {"storage": {"pvcTemplate": {"resources": {"requests": {"storage": 5}}}}}});
    assert_eq!(why::<csm_cnpg::Cluster>(&number), [] as [&str; 0]);
    let wrong = json!({"metadata": {"namespace": "shop", "name": "orders"}, "spec": {"instances": "three"}});
    let Watched::Unreadable(wrong) = watched::<csm_cnpg::Cluster>(&wrong) else {
        panic!()
    };
    index.put_unreadable(Kind::Cluster, &wrong);
    assert!(index.snapshot(&key("shop")).is_none());
    assert!(index.snapshot(&key("other")).is_some());

    // What is under way goes on once it can be read again: its record is kept, until the Cluster is gone.
    let mut growth = object(
        "shop",
        "orders-expansion-20260301-100000-abcde",
        &json!({
            "clusterRef": {"name": "orders", "uid": "c1"}, "eventType": "expansion", "trigger": "threshold-breach",
            "volume": {"role": "data"}, "reason": "UsageThreshold", "message": "",
            "expansion": {"originalSize": "10Gi", "requestedSize": "15Gi", "parallelism": 1, "affectedPVCs": []},
        }),
    );
    growth["metadata"]["creationTimestamp"] = json!("2026-03-01T10:00:00Z");
    index.put_event(serde_json::from_value::<StorageEvent>(growth).expect("a StorageEvent"));
    let month = SignedDuration::from_hours(30 * 24);
    let retention = Retention {
        keep: month,
        counted: month,
    };
    let two_days_later: Timestamp = "2026-03-03T10:00:00Z".parse().expect("a time");
    assert_eq!(index.events_to_drop(retention, two_days_later), []);
    assert!(
        index.names(Kind::Cluster).iter().any(|(namespace, _)| &**namespace == "shop"),
        "it is there"
    );
    index.put_cluster(&key("shop"), None);
    assert_eq!(index.events_to_drop(retention, two_days_later).len(), 1);
}
