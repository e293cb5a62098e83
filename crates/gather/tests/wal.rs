//! What the index makes of what primaries say: whom it wakes, whom it has asked, and what it forgets.

use csm_api::{Settings, StoragePolicy};
use csm_core::world::{ClusterKey, WalHealth};
use csm_gather::index::{Candidate, Index, Primary};
use csm_gather::instance::{WalFigures, parse};
use csm_gather::views::{ClusterView, PodObject, PodView};
use csm_gather::world::{VolumeSettings, world};
use jiff::{SignedDuration, Timestamp};
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

fn cluster(version: u64, primary: &str, archives: bool) -> ClusterView {
    let backup = archives.then(|| json!({"barmanObjectStore": {}}));
    ClusterView::of(&read(json!({
        "metadata": {"name": "my-pg", "namespace": "db", "uid": "c1", "resourceVersion": version.to_string()},
        "spec": {"instances": 2, "storage": {"size": "10Gi"}, "backup": backup},
        "status": {"currentPrimary": primary},
    })))
}

fn pod(name: &str, uid: &str, running: bool) -> PodView {
    let state = if running { json!({"running": {}}) } else { json!({"waiting": {}}) };
    let pod: PodObject = read(json!({
        "metadata": {"name": name, "namespace": "db", "uid": uid, "resourceVersion": "1",
            "labels": {"cnpg.io/cluster": "my-pg", "cnpg.io/instanceName": name}},
        "status": {"podIP": "10.0.0.7", "containerStatuses": [{"state": state}]},
    }));
    PodView::of(&pod).expect("an instance's pod")
}

fn policy(spec: Value) -> StoragePolicy {
    read(json!({"metadata": {"name": "standard", "namespace": "db", "uid": "s1"}, "spec": spec}))
}

/// An index with one Cluster of two instances, under a policy that lets ten files wait, and slots hold back a GiB.
fn index() -> Index {
    let mut index = Index::new(Settings::default());
    index.put_cluster(&key(), Some(cluster(1, "my-pg-1", true)));
    index.put_pod("db", "my-pg-1", pod("my-pg-1", "p1", true));
    index.put_pod("db", "my-pg-2", pod("my-pg-2", "p2", true));
    let safety = json!({"acknowledgeWALRisk": true, "maxPendingWALFiles": 10, "maxSlotRetentionBytes": "1Gi"});
    let resize = json!({"enabled": true, "strategy": {"walSafetyPolicy": safety}});
    index.put_policy(&policy(json!({"storage": {"resize": resize}})));
    assert!(index.primaries_to_ask(at(0)).is_empty(), "nothing is known of its settings yet");
    index.snapshot(&key()).expect("a snapshot");
    index
}

fn figures(instance: &str, pod: &str, seconds: i64, more: &Value) -> WalFigures {
    let mut status = json!({"isPrimary": true, "currentLsn": "2/0", "lastArchivedWALTime": "2026-03-01T11:00:00Z"});
    for (key, value) in more.as_object().into_iter().flatten() {
        status[key] = value.clone();
    }
    WalFigures {
        at: at(seconds),
        instance: instance.into(),
        pod: pod.into(),
        reading: parse(status.to_string().as_bytes()).expect("a status"),
    }
}

/// Whether what the primary says wakes its Cluster.
fn wakes(index: &mut Index, seconds: i64, more: &Value) -> bool {
    !index.put_wal(&key(), figures("my-pg-1", "p1", seconds, more), STALE).is_empty()
}

fn health(index: &mut Index, seconds: i64) -> Option<WalHealth> {
    let snapshot = index.snapshot(&key()).expect("a snapshot");
    world(&snapshot, &VolumeSettings::default(), at(seconds)).cluster.wal
}

#[test]
fn a_cluster_is_woken_where_something_is_crossed() {
    let index = &mut index();
    let slots = |restart: &str| json!([{"slotName": "idle", "restartLsn": restart}]);
    assert!(wakes(index, 0, &json!({})), "something is known");
    assert!(
        !wakes(
            index,
            30,
            &json!({"readyWalFiles": 3, "lastArchivedWALTime": "2026-03-01T11:30:00Z"})
        ),
        "within the maximum, and few"
    );
    assert!(wakes(index, 45, &json!({"readyWalFiles": 10})), "no longer few");
    assert!(wakes(index, 60, &json!({"readyWalFiles": 11})));
    assert!(!wakes(index, 90, &json!({"readyWalFiles": 15})), "still over it");
    assert!(wakes(index, 120, &json!({"readyWalFiles": 9})));
    assert!(
        wakes(index, 150, &json!({"lastFailedWALTime": "2026-03-01T11:00:01Z"})),
        "archiving fails"
    );
    assert!(!wakes(index, 180, &json!({"lastFailedWALTime": "2026-03-01T11:00:31Z"})), "still");
    assert!(wakes(index, 210, &json!({})), "it works again");
    assert!(
        wakes(index, 240, &json!({"replicationSlotsInfo": slots("1/E0000000")})),
        "a slot that nobody reads"
    );
    assert!(
        !wakes(index, 270, &json!({"replicationSlotsInfo": slots("1/C0000001")})),
        "it holds back nearly a GiB"
    );
    assert!(wakes(index, 300, &json!({"replicationSlotsInfo": slots("1/BFFFFFFF")})), "and more");
    assert!(wakes(index, 330, &json!({"isPrimary": false})), "nothing is known");
    assert!(!wakes(index, 360, &json!({"isPrimary": false})));
    assert!(wakes(index, 390, &json!({})));
    assert!(wakes(index, 390 + 301, &json!({})), "after a gap");
}

#[test]
fn what_is_old_is_not_known_and_is_told_once() {
    let index = &mut index();
    wakes(index, 0, &json!({}));
    assert!(health(index, 300).is_some());
    assert_eq!(health(index, 301), None);
    assert!(index.forget_old_wal(at(300), STALE).is_empty());
    assert!(index.wal_now(&key()).is_some());
    assert_eq!(index.forget_old_wal(at(301), STALE), [key()].into());
    assert!(index.forget_old_wal(at(302), STALE).is_empty());
    assert_eq!(index.wal_now(&key()), None);
}

#[test]
fn only_the_word_of_the_primary_counts_and_of_the_pod_that_it_has_now() {
    let index = &mut index();
    index.put_wal(&key(), figures("my-pg-2", "p2", 0, &json!({})), STALE);
    assert_eq!(health(index, 1), None, "a replica's");
    wakes(index, 2, &json!({}));
    assert!(health(index, 3).is_some());
    index.put_cluster(&key(), Some(cluster(2, "my-pg-2", true)));
    assert_eq!(health(index, 4), None, "it is no longer primary");
    index.put_cluster(&key(), Some(cluster(3, "my-pg-1", true)));
    assert!(health(index, 5).is_some());
    index.put_pod("db", "my-pg-1", pod("my-pg-1", "p3", true));
    assert_eq!(health(index, 6), None, "its pod was created anew");
    // A Cluster that archives nothing has slots all the same.
    index.put_wal(
        &key(),
        figures("my-pg-1", "p3", 7, &json!({"lastFailedWALTime": "2026-03-01T11:00:01Z"})),
        STALE,
    );
    assert!(
        health(index, 8)
            .and_then(|health| health.archiving)
            .is_some_and(|archiving| archiving.is_failing())
    );
    index.put_cluster(&key(), Some(cluster(4, "my-pg-1", false)));
    assert_eq!(health(index, 9), Some(WalHealth::default()));
}

#[test]
fn the_running_primaries_of_managed_clusters_are_asked() {
    let index = &mut index();
    let asked = |index: &mut Index| -> Vec<(String, String, bool)> {
        let all = index.primaries_to_ask(at(0)).into_iter();
        all.map(
            |Primary {
                 cluster,
                 instance,
                 pod,
                 ip,
                 is_well,
             }| {
                assert_eq!((cluster, ip.to_string()), (key(), "10.0.0.7".to_owned()));
                (instance.to_string(), pod.to_string(), is_well)
            },
        )
        .collect()
    };
    let one = |instance: &str, pod: &str, is_well| vec![(instance.to_owned(), pod.to_owned(), is_well)];
    assert_eq!(asked(index), one("my-pg-1", "p1", false), "nobody knows how it is");
    wakes(index, 0, &json!({}));
    assert_eq!(asked(index), one("my-pg-1", "p1", true));
    wakes(index, 1, &json!({"readyWalFiles": 11}));
    assert_eq!(asked(index), one("my-pg-1", "p1", false), "a growth is held for it");
    index.put_cluster(&key(), Some(cluster(2, "my-pg-2", true)));
    assert_eq!(asked(index), one("my-pg-2", "p2", false));
    index.put_pod("db", "my-pg-2", pod("my-pg-2", "p4", false));
    assert_eq!(asked(index), [], "it does not run");
    index.put_pod("db", "my-pg-2", pod("my-pg-2", "p5", true));
    assert_eq!(asked(index), one("my-pg-2", "p5", false));
    index.remove_policy("db", "standard");
    index.snapshot(&key());
    assert_eq!(asked(index), [], "nobody manages it");
}

#[test]
fn a_policy_that_requires_a_healthy_archive_says_where_there_is_none() {
    let mut index = index();
    let safety = json!({"acknowledgeWALRisk": true, "requireArchiveHealthy": true});
    let spec = json!({"storage": {"resize": {"enabled": true, "expansion": {"limit": "100Gi"}, "strategy": {"walSafetyPolicy": safety}}}});
    let warned = |index: &Index| -> bool {
        let candidate = Candidate::StoragePolicy(Box::new(policy(spec.clone())));
        let verdict = index.judge(&candidate, None, &VolumeSettings::default());
        assert_eq!(verdict.problems, []);
        verdict
            .warnings
            .iter()
            .any(|w| w.to_string().contains("requireArchiveHealthy has nothing to check on db/my-pg"))
    };
    assert!(!warned(&index));
    index.put_cluster(&key(), Some(cluster(2, "my-pg-1", false)));
    assert!(warned(&index));
}

#[test]
fn the_first_word_of_a_primary_is_waited_for_but_not_for_ever() {
    let mut index = index();
    let awaits = |index: &mut Index, seconds| index.snapshot_at(&key(), at(seconds)).expect("a snapshot").awaits_wal;
    assert!(!awaits(&mut index, 0), "nobody asks");
    index.asks_primaries();
    assert!(awaits(&mut index, 0), "somebody will");
    index.primaries_to_ask(at(0));
    assert!(awaits(&mut index, 15) && !awaits(&mut index, 16), "it is asked too late");
    assert!(wakes(&mut index, 1, &json!({})));
    assert!(!awaits(&mut index, 2));
    // Another primary has its own first word; that it is of no use ends the waiting.
    index.put_cluster(&key(), Some(cluster(2, "my-pg-2", true)));
    assert!(awaits(&mut index, 100));
    index.primaries_to_ask(at(100));
    assert!(index.wal_failed(&key(), "p1", at(101)).is_empty(), "the word of the old one");
    assert_eq!(index.wal_failed(&key(), "p2", at(101)), [key()].into());
    assert!(index.wal_failed(&key(), "p2", at(131)).is_empty(), "nobody waits any more");
    assert!(!awaits(&mut index, 101));
    index.put_pod("db", "my-pg-2", pod("my-pg-2", "p4", false));
    assert!(!awaits(&mut index, 101), "it does not run");
}
