//! What the index keeps to show why volumes fill, of which Clusters, and what that shows.

use csm_api::{CauseKind, Settings, StoragePolicy};
use csm_core::plan::plan;
use csm_core::root_cause::Cause;
use csm_core::world::{ClusterKey, Observation, VolumeKey};
use csm_gather::causes::{self, RootCauses};
use csm_gather::exporter::Scrape;
use csm_gather::index::{ExporterFigures, Index, Sample};
use csm_gather::instance::{WalFigures, parse};
use csm_gather::views::{ClusterView, PodObject, PodView};
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

fn cluster(version: u64, uid: &str, primary: &str, parameters: &Value) -> ClusterView {
    ClusterView::of(&read(json!({
        "metadata": {"name": "my-pg", "namespace": "db", "uid": uid, "resourceVersion": version.to_string()},
        "spec": {"instances": 2, "storage": {"size": "2Gi"}, "walStorage": {"size": "2Gi"}, "backup": {"barmanObjectStore": {}},
            "postgresql": {"parameters": parameters}},
        "status": {"currentPrimary": primary},
    })))
}

fn pod(instance: &str, uid: &str) -> PodView {
    let pod: PodObject = read(json!({
        "metadata": {"name": instance, "namespace": "db", "uid": uid, "resourceVersion": "1",
            "labels": {"cnpg.io/cluster": "my-pg", "cnpg.io/instanceName": instance}},
        "status": {"podIP": "10.0.0.7", "containerStatuses": [{"state": {"running": {}}}]},
    }));
    PodView::of(&pod).expect("an instance's pod")
}

fn pvc(instance: &str, name: &str, role: &str) -> PersistentVolumeClaim {
    read(json!({
        "metadata": {"name": name, "namespace": "db", "uid": name, "resourceVersion": "1",
            "labels": {"cnpg.io/cluster": "my-pg", "cnpg.io/instanceName": instance, "cnpg.io/pvcRole": role}},
        "spec": {"resources": {"requests": {"storage": "2Gi"}}, "storageClassName": "fast"},
        "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}},
    }))
}

/// Two instances with WAL volumes, under a policy; the first one is primary.
fn index_of(parameters: &Value) -> Index {
    let mut index = Index::new(Settings::default());
    index.put_cluster(&key(), Some(cluster(1, "c1", "my-pg-1", parameters)));
    for (instance, uid) in [("my-pg-1", "p1"), ("my-pg-2", "p2")] {
        index.put_pod("db", instance, pod(instance, uid));
        index.put_pvc(&pvc(instance, instance, "PG_DATA"), at(0));
        index.put_pvc(&pvc(instance, &format!("{instance}-wal"), "PG_WAL"), at(0));
    }
    let policy: StoragePolicy = read(json!({
        "metadata": {"name": "standard", "namespace": "db", "uid": "s1"}, "spec": {"expansion": {"maxSize": "9Gi"}},
    }));
    index.put_policy(&policy);
    index.snapshot(&key()).expect("a snapshot");
    index
}

fn index() -> Index {
    index_of(&json!({}))
}

/// A kubelet's figures of a volume of 2000 MiB.
fn sample(index: &mut Index, pvc: &str, seconds: i64, used: u64) {
    let observation = Observation {
        used: Bytes::mib(used),
        available: Bytes::mib(2000 - used),
        capacity: Bytes::mib(2000),
        inodes: None,
        at: at(seconds),
    };
    let sample = Sample { observation, twin: false };
    index.put_samples([(("db", pvc), sample)].into_iter(), STALE);
}

/// What an instance says; a MiB of WAL was written in each second since.
fn said(index: &mut Index, instance: &str, pod: &str, seconds: i64, more: &Value) {
    let lsn = format!("5/{:X}", seconds << 20);
    let mut status = json!({"isPrimary": true, "currentLsn": lsn, "timeLineID": 1, "lastArchivedWAL": "000000010000000500000000",
        "lastArchivedWALTime": at(seconds).to_string()});
    for (key, value) in more.as_object().into_iter().flatten() {
        status[key] = value.clone();
    }
    let figures = WalFigures {
        at: at(seconds),
        instance: instance.into(),
        pod: pod.into(),
        reading: parse(status.to_string().as_bytes()).expect("a status"),
    };
    index.put_wal(&key(), figures, STALE);
}

/// Whether what the primary says wakes its Cluster.
fn wakes(index: &mut Index, seconds: i64, more: &Value) -> bool {
    let mut status = json!({"isPrimary": true, "currentLsn": "5/0", "timeLineID": 1});
    for (key, value) in more.as_object().into_iter().flatten() {
        status[key] = value.clone();
    }
    let figures = WalFigures {
        at: at(seconds),
        instance: "my-pg-1".into(),
        pod: "p1".into(),
        reading: parse(status.to_string().as_bytes()).expect("a status"),
    };
    !index.put_wal(&key(), figures, STALE).is_empty()
}

/// Once a minute at most, and never for figures.
#[test]
fn a_cluster_is_woken_for_another_cause() {
    let index = &mut index();
    let behind = |name: &str, flushed: &str| json!({"replicationInfo": [{"applicationName": name, "flushLsn": flushed}]});
    assert!(wakes(index, 0, &json!({})), "something is known");
    assert!(wakes(index, 10, &behind("a", "4/F0000000")));
    assert!(!wakes(index, 20, &behind("a", "4/80000000")), "the same, by much more");
    assert!(!wakes(index, 30, &behind("b", "4/80000000")), "too soon");
    assert!(wakes(index, 70, &behind("b", "4/80000000")));
    assert!(wakes(index, 80, &json!({})), "nothing is behind any more");
    assert!(!wakes(index, 90, &json!({})));
}

fn says(index: &mut Index, seconds: i64, more: &Value) {
    said(index, "my-pg-1", "p1", seconds, more);
}

fn found(index: &mut Index, volume: &VolumeKey, seconds: i64) -> Option<RootCauses> {
    let snapshot = index.snapshot(&key()).expect("a snapshot");
    let world = world(&snapshot, &VolumeSettings::default(), at(seconds));
    let plan = plan(&world, at(seconds));
    let decision = plan
        .decisions
        .iter()
        .find(|decision| decision.volume == *volume)
        .expect("a decision");
    causes::of(&snapshot, &world, decision, at(seconds))
}

fn of_wal(index: &mut Index, seconds: i64) -> Vec<Cause> {
    found(index, &VolumeKey::WAL, seconds).map(|found| found.causes).unwrap_or_default()
}

fn kinds(causes: &[Cause]) -> Vec<CauseKind> {
    causes.iter().map(Cause::kind).collect()
}

fn is_tracked(index: &mut Index) -> bool {
    index.snapshot(&key()).expect("a snapshot").tracked.is_some()
}

#[test]
fn only_those_are_tracked_of_which_somebody_may_want_to_know() {
    let index = &mut index();
    says(index, 0, &json!({}));
    sample(index, "my-pg-1-wal", 5, 999);
    sample(index, "my-pg-2-wal", 5, 1900);
    assert!(!is_tracked(index), "the primary's are not half full");
    sample(index, "my-pg-1", 10, 1000);
    assert!(is_tracked(index));
    sample(index, "my-pg-1", 15, 900);
    assert!(is_tracked(index), "nearly so");
    sample(index, "my-pg-1", 20, 899);
    assert!(is_tracked(index), "its WAL volume is");
    sample(index, "my-pg-1-wal", 25, 100);
    assert!(!is_tracked(index));

    says(
        index,
        30,
        &json!({"replicationSlotsInfo": [{"slotName": "cdc", "restartLsn": "5/0"}]}),
    );
    assert!(is_tracked(index), "a slot that nobody reads from");
    says(index, 60, &json!({}));
    assert!(!is_tracked(index));
    for holds in [
        json!({"readyWalFiles": 4}),
        json!({"lastFailedWALTime": at(9000).to_string()}),
        json!({"replicationSlotsInfo": [{"slotName": "cdc", "active": true, "restartLsn": "4/F0000000"}]}),
        json!({"replicationInfo": [{"applicationName": "my-pg-2", "flushLsn": "4/F0000000"}]}),
    ] {
        says(index, 90, &holds);
        assert!(is_tracked(index), "{holds}");
        says(index, 90, &json!({}));
        assert!(!is_tracked(index), "{holds}");
    }

    says(index, 120, &json!({"readyWalFiles": 4}));
    index.put_cluster(&key(), Some(cluster(2, "c2", "my-pg-1", &json!({}))));
    assert!(!is_tracked(index), "another Cluster of its name");
    says(index, 150, &json!({"readyWalFiles": 4}));
    index.forget_old_wal(at(150 + 301), STALE);
    assert!(!is_tracked(index), "nothing is heard of it");
}

#[test]
fn an_archiver_that_fails_and_one_that_is_slow() {
    let index = &mut index();
    says(
        index,
        0,
        &json!({"readyWalFiles": 3, "lastFailedWALTime": at(7).to_string(), "lastFailedWAL": "000000010000000500000001"}),
    );
    let failing = Cause::ArchiverFailing {
        waiting: 3,
        held: Bytes::mib(48),
        last_archived: Some(at(0)),
        last_failed: at(7),
    };
    assert_eq!(of_wal(index, 10), [failing], "whatever is used");

    // 80 segments are written in the time in which one is archived.
    let archived = |name: &str, waiting: u32| json!({"readyWalFiles": waiting, "lastArchivedWAL": name});
    says(index, 20, &archived("000000010000000500000001", 7));
    says(index, 1300, &archived("000000010000000500000002", 87));
    // A rate is of the last ten minutes, and nothing was asked in between.
    assert_eq!(kinds(&of_wal(index, 1300)), [CauseKind::Unknown]);
    says(index, 1600, &archived("000000010000000500000003", 106));
    let slow = Cause::ArchiverSlow {
        waiting: 106,
        held: Bytes::mib(106 * 16),
        written: Bytes::MIB,
        archived: Bytes::new((16 << 20) / 300),
    };
    assert_eq!(of_wal(index, 1600), [slow]);
    says(index, 1660, &archived("000000010000000500000069", 1));
    assert_eq!(kinds(&of_wal(index, 1660)), [], "it has caught up: nobody wants to know");
}

#[test]
fn slots_and_standbys() {
    let index = &mut index();
    let slot = |active: bool| json!({"replicationSlotsInfo": [{"slotName": "cdc", "active": active, "restartLsn": "4/F0000000"}]});
    says(index, 0, &slot(true));
    let held = Bytes::mib(256);
    let lagging = |standby: &str| Cause::LaggingStandby {
        standby: standby.into(),
        held,
    };
    assert_eq!(of_wal(index, 0), [lagging("cdc")]);
    let inactive = |since| Cause::InactiveSlot {
        slot: "cdc".into(),
        held,
        since,
    };
    said(index, "my-pg-1", "p1", 0, &slot(false));
    assert_eq!(of_wal(index, 0), [inactive(Some(at(0)))], "it was seen to lose its reader");
    says(
        index,
        1,
        &json!({"replicationInfo": [{"applicationName": "my-pg-2", "flushLsn": "4/F0100000"}]}),
    );
    assert_eq!(of_wal(index, 1), [lagging("my-pg-2")]);

    let index = &mut self::index();
    says(index, 0, &slot(false));
    assert_eq!(of_wal(index, 0), [inactive(None)], "it was never seen with one");

    // Another primary, whose slot has the same name.
    index.put_cluster(&key(), Some(cluster(2, "c1", "my-pg-2", &json!({}))));
    assert_eq!(found(index, &VolumeKey::WAL, 5), None, "nothing was heard of it");
    said(index, "my-pg-2", "p2", 10, &slot(true));
    let found = found(index, &VolumeKey::WAL, 10).expect("causes");
    assert_eq!(
        (&*found.instance, kinds(&found.causes)),
        ("my-pg-2", vec![CauseKind::LaggingStandby])
    );
}

#[test]
fn settings_and_what_nothing_shows() {
    let index = &mut index_of(&json!({"wal_keep_size": "1.5GB"}));
    sample(index, "my-pg-1-wal", 0, 1200);
    says(index, 10, &json!({}));
    let keep = of_wal(index, 10);
    assert_eq!(kinds(&keep), [CauseKind::WalSettingsTooBig]);
    assert_eq!(
        (keep.first().and_then(Cause::subject), keep.first().map(Cause::bytes)),
        (Some("wal_keep_size"), Some(Bytes::mib(1200))),
        "what is used of a volume for WAL alone is WAL"
    );

    let index = &mut index_of(&json!({"wal_keep_size": "64", "max_wal_size": "512MB"}));
    says(index, 0, &json!({}));
    sample(index, "my-pg-1-wal", 10, 1200);
    assert_eq!(found(index, &VolumeKey::WAL, 129), None, "it may be known in a moment");
    says(index, 60, &json!({}));
    says(index, 130, &json!({}));
    // A MiB in a second is 900 in a quarter of an hour: a load.
    assert_eq!(kinds(&of_wal(index, 130)), [CauseKind::DataGrowth]);
    for seconds in [140, 500, 760] {
        says(index, seconds, &json!({"currentLsn": "5/9000000"}));
    }
    assert_eq!(kinds(&of_wal(index, 760)), [CauseKind::Unknown]);
}

#[test]
fn what_databases_and_temporary_files_take_by_the_exporter_of_the_primary() {
    let index = &mut index();
    sample(index, "my-pg-1", 0, 1200);
    let scraped = |index: &mut Index, instance: &str, pod: &str, seconds: i64, databases: u64| {
        let scrape = Scrape {
            databases: Some(Bytes::mib(databases)),
            ..Scrape::default()
        };
        let figures = ExporterFigures {
            at: at(seconds),
            instance: instance.into(),
            pod: pod.into(),
            scrape,
        };
        index.put_scrape(&key(), &figures);
    };
    scraped(index, "my-pg-1", "p1", 1, 1000);
    // An answer that was asked for earlier and comes later is of no other time.
    says(index, 0, &json!({}));
    scraped(index, "my-pg-2", "p2", 30, 9999);
    scraped(index, "my-pg-1", "p1", 61, 1200);
    sample(index, "my-pg-1", 60, 1450);
    let found = found(index, &VolumeKey::DATA, 65).map(|found| found.causes).unwrap_or_default();
    let grown = |mebibytes| Bytes::mib(mebibytes);
    assert_eq!(
        found,
        [Cause::DataGrowth {
            grown: grown(200),
            over: SignedDuration::from_secs(60),
            as_wal: false
        }]
    );
    scraped(index, "my-pg-1", "p1", 90, 1200);
    sample(index, "my-pg-1", 90, 1800);
    let both = self::found(index, &VolumeKey::DATA, 95)
        .map(|found| found.causes)
        .unwrap_or_default();
    assert_eq!(
        kinds(&both),
        [CauseKind::TempFiles, CauseKind::DataGrowth],
        "600 MiB came, and 200 are databases"
    );
}
