//! What the index makes of what exporters say: whom it has asked, what it estimates, whom it wakes, and what it forgets.

use csm_api::{Settings, StoragePolicy};
use csm_core::between::{Estimate, Source};
use csm_core::world::{ClusterKey, Observation};
use csm_gather::exporter::Scrape;
use csm_gather::index::{ExporterFigures, Index, Sample, WalDirectory};
use csm_gather::views::{ClusterView, PodObject, PodView};
use csm_gather::world::{VolumeSettings, world};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

const STALE: SignedDuration = SignedDuration::from_mins(5);
const SEGMENT: Bytes = Bytes::mib(16);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
}

fn key() -> ClusterKey {
    ClusterKey::new("db", "my-pg")
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn pod(uid: &str, running: bool) -> PodView {
    let state = if running { json!({"running": {}}) } else { json!({"waiting": {}}) };
    let pod: PodObject = read(json!({
        "metadata": {"name": "my-pg-1", "namespace": "db", "uid": uid, "resourceVersion": "1",
            "labels": {"cnpg.io/cluster": "my-pg", "cnpg.io/instanceName": "my-pg-1"}},
        "status": {"podIP": "10.0.0.7", "containerStatuses": [{"state": state}]},
    }));
    PodView::of(&pod).expect("an instance's pod")
}

fn pvc(name: &str, role: &str, uid: &str) -> PersistentVolumeClaim {
    read(json!({
        "metadata": {"name": name, "namespace": "db", "uid": uid, "resourceVersion": "1",
            "labels": {"cnpg.io/cluster": "my-pg", "cnpg.io/instanceName": "my-pg-1", "cnpg.io/pvcRole": role}},
        "spec": {"resources": {"requests": {"storage": "2Gi"}}, "storageClassName": "fast"},
        "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}},
    }))
}

/// One instance with a WAL volume, under a policy.
fn index() -> Index {
    let mut index = Index::new(Settings::default());
    index.put_cluster(
        &key(),
        Some(ClusterView::of(&read(json!({
            "metadata": {"name": "my-pg", "namespace": "db", "uid": "c1", "resourceVersion": "1"},
            "spec": {"instances": 1, "storage": {"size": "2Gi"}, "walStorage": {"size": "2Gi"}, "monitoring": {"tls": {"enabled": true}}},
            "status": {"currentPrimary": "my-pg-1"},
        })))),
    );
    index.put_pod("db", "my-pg-1", pod("p1", true));
    index.put_pvc(&pvc("my-pg-1", "PG_DATA", "u1"), at(0));
    index.put_pvc(&pvc("my-pg-1-wal", "PG_WAL", "u2"), at(0));
    let policy: StoragePolicy = read(json!({
        "metadata": {"name": "standard", "namespace": "db", "uid": "s1"},
        "spec": {"walStorage": {"resize": {"enabled": true}}},
    }));
    index.put_policy(&policy);
    index.snapshot(&key()).expect("a snapshot");
    index
}

/// A kubelet's figures of the WAL volume: whether they wake the Cluster.
fn sample(index: &mut Index, seconds: i64, used: u64, total: u64) -> bool {
    let figures = Sample {
        observation: Observation {
            used: Bytes::mib(used),
            available: Bytes::mib(total - used),
            capacity: Bytes::mib(total),
            inodes: None,
            at: at(seconds),
        },
        twin: false,
    };
    let samples = [(("db", "my-pg-1-wal"), figures)];
    !index.put_samples(samples.into_iter(), STALE).is_empty()
}

/// What the exporter of a pod says: whether it wakes the Cluster.
fn scraped(index: &mut Index, pod: &str, seconds: i64, segments: u64, size: Bytes) -> bool {
    let scrape = Scrape {
        segments: Some(segments),
        segment_bytes: Some(size.mul_div(segments, 1)),
        ..Scrape::default()
    };
    let figures = ExporterFigures {
        at: at(seconds),
        instance: "my-pg-1".into(),
        pod: pod.into(),
        scrape,
    };
    !index.put_scrape(&key(), &figures).is_empty()
}

fn estimate(index: &mut Index) -> Option<Estimate> {
    let snapshot = index.snapshot(&key()).expect("a snapshot");
    let world = world(&snapshot, &VolumeSettings::default(), at(100));
    let mut members = world.volumes.iter().flat_map(|volume| &volume.members);
    members.find_map(|member| member.estimate)
}

/// Asked 5 s before and after a sample of half of 2000 MiB.
fn followed() -> Index {
    let mut index = index();
    sample(&mut index, 0, 1000, 2000);
    scraped(&mut index, "p1", 25, 40, SEGMENT);
    sample(&mut index, 30, 1000, 2000);
    scraped(&mut index, "p1", 35, 40, SEGMENT);
    index
}

#[test]
fn a_cluster_is_woken_where_an_estimate_crosses_something() {
    let index = &mut followed();
    assert!(!scraped(index, "p1", 39, 41, SEGMENT), "51 percent");
    assert!(scraped(index, "p1", 43, 77, SEGMENT), "over 70 percent, the level of a warning");
    assert!(!scraped(index, "p1", 45, 77, SEGMENT), "still over it");
    // 1000 MiB and 37 segments are 79.6 percent, and 38 are 80.4.
    assert!(scraped(index, "p1", 47, 78, SEGMENT));
    let expected = Estimate {
        at: at(47),
        used: Bytes::mib(1608),
        error: SEGMENT,
        source: Source::Segments,
    };
    assert_eq!(estimate(index), Some(expected));
    assert!(!scraped(index, "p1", 51, 79, SEGMENT), "still over it");
    assert!(scraped(index, "p1", 55, 50, SEGMENT), "it is below it again");
}

#[test]
fn a_sample_that_says_less_than_the_estimate_before_it_wakes() {
    let index = &mut followed();
    assert!(scraped(index, "p1", 47, 78, SEGMENT));
    // The same percentage as at the sample before: by samples alone nothing happened.
    assert!(sample(index, 60, 1000, 2000), "what the planner knew is not so any more");
    assert_eq!(estimate(index).map(|e| e.at), Some(at(47)), "older than the sample, and of no use");
}

#[test]
fn what_another_pod_or_volume_or_database_held_is_forgotten() {
    let forgets = |change: &dyn Fn(&mut Index)| {
        let index = &mut followed();
        scraped(index, "p1", 39, 45, SEGMENT);
        assert!(estimate(index).is_some());
        change(index);
        assert_eq!(estimate(index), None);
    };
    forgets(&|index| {
        index.put_pod("db", "my-pg-1", pod("p2", true));
    });
    forgets(&|index| {
        index.put_pod("db", "my-pg-1", pod("p2", true));
        assert!(!scraped(index, "p1", 43, 90, SEGMENT), "the pod of before");
    });
    forgets(&|index| {
        index.put_pvc(&pvc("my-pg-1-wal", "PG_WAL", "u3"), at(43));
        sample(index, 44, 1000, 2000);
    });
    forgets(&|index| {
        scraped(index, "p1", 43, 45, Bytes::mib(64));
    });
}

#[test]
fn an_instance_is_asked_while_a_kubelet_could_be_too_slow() {
    let asked = |index: &mut Index, seconds| {
        let followed = index.instances_to_follow(at(seconds), STALE).into_iter();
        followed.map(|f| (f.pod.to_string(), f.tls, f.every.as_secs())).collect::<Vec<_>>()
    };
    let index = &mut index();
    assert!(asked(index, 0).is_empty(), "without a sample there is nothing to go by");
    sample(index, 0, 1000, 2000);
    assert_eq!(asked(index, 1), [("p1".to_owned(), true, 4)]);
    assert_eq!(asked(index, 300).len(), 1);
    assert!(asked(index, 301).is_empty(), "the figures are too old");
    sample(index, 310, 1000, 9000);
    assert_eq!(
        asked(index, 311),
        [("p1".to_owned(), true, 31)],
        "8000 MiB are full in 125 s at 64 MiB/s"
    );
    sample(index, 320, 1000, 40_000);
    assert!(asked(index, 321).is_empty(), "the kubelet sees this one in time");

    let index = &mut followed();
    assert_eq!(asked(index, 40).len(), 1);
    let expected = WalDirectory {
        instance: "my-pg-1".into(),
        files: 40,
        bytes: Some(Bytes::mib(640)),
    };
    assert_eq!(index.wal_directories(&key()), [expected]);
    sample(index, 60, 1000, 40_000);
    assert!(asked(index, 61).is_empty());
    assert!(index.wal_directories(&key()).is_empty());
    sample(index, 90, 1000, 2000);
    scraped(index, "p1", 95, 44, SEGMENT);
    assert_eq!(estimate(index), None, "what was known of it was dropped");
    index.put_pod("db", "my-pg-1", pod("p1", false));
    assert!(asked(index, 96).is_empty(), "it does not run");
}
