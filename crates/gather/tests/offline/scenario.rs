use csm_api::Urgency;
use csm_core::resolve::Resolution;
use csm_core::world::{Breaker, Fleet, Inodes, Observation, Pause, Sample, VolumeKey};
use csm_units::Bytes;
use jiff::SignedDuration;

use super::{at, good};

/// Every key, with a value of its own that is not the default.
const FULL: &str = r#"
kind: Scenario
now: "2026-03-01T12:00:00Z"
interval: 45s
storageClasses:
  - {name: gp3, provisioner: ebs.csi.aws.com, allowVolumeExpansion: false}
  - {name: slow}
providerLimits: [{provisioner: ebs.csi.aws.com, maxActions: 4, period: 23h}]
fleet: {inProgress: 2, limit: 7}
globalBreaker: HalfOpen
clusters:
  - name: orders
    namespace: db
    labels: {tier: prod}
    annotations: {storage.cnpg.supporttools.io/paused: "true", cnpg.io/hibernation: "on", cnpg.io/fencedInstances: '["orders-2"]'}
    namespaceLabels: {team: blue}
    deleting: true
    resizeInUseVolumes: false
    primary: orders-2
    storageClass: gp3
    diskFull: [orders-1, {instance: orders-2, volume: data}]
    archiving: {configured: true, lastArchived: "2026-03-01T11:59:00Z", lastFailed: null, pending: 3}
    slots: [{name: old, active: true, retained: 5Gi}]
    breaker: Open
    volumes:
      data:
        size: 10Gi
        volumeMode: Block
        storageClass: slow
        learnedCeiling: 64Gi
        retryAfter: "2026-03-01T12:05:00Z"
        bound: false
        members:
          orders-1: {used: 8600Mi, available: 1640Mi, size: 11Gi, request: 12Gi, capacity: 10241Mi, bound: true, inodes: 100, inodesUsed: 9, node: n1, observedAt: "2026-03-01T11:58:00Z", lastResizeAt: "2026-03-01T03:01:00Z", resizingSince: "2026-03-01T11:57:00Z"}
          orders-2: {used: 8500Mi, available: 1740Mi, observedAt: null}
        history: [["2026-03-01T11:00:00Z", 8000Mi], ["2026-03-01T11:30:00Z", 8300Mi]]
      wal: {size: 4Gi, members: {orders-1: {used: 1Gi, available: 3Gi}}}
      tablespaces: {archive: {size: 20Gi, members: {orders-1: {used: 2Gi}}}}
    operations:
      - {volume: tablespace/archive, type: rescue, at: "2026-03-01T03:00:00Z", from: 8Gi, to: 10Gi, accepted: false, done: false, members: [orders-1]}
      - {volume: wal, at: "2026-03-01T02:00:00Z", from: 3Gi, to: 4Gi, urgency: emergency, members: all}
      - {volume: wal, type: wal-cleanup, at: "2026-03-01T01:00:00Z"}
      - {volume: wal, type: wal-cleanup, at: "2026-03-01T00:30:00Z"}
      - {volume: wal, type: wal-cleanup, at: "2026-03-01T01:10:00Z", accepted: false}
      - {volume: wal, type: wal-cleanup, at: "2026-03-01T01:20:00Z", members: [orders-2]}
expect: [{cluster: db/orders, volume: data}]
---
apiVersion: cnpg.supporttools.io/v1alpha1
kind: ClusterStoragePolicy
metadata: {name: blue}
spec: {namespaceSelector: {matchLabels: {team: blue}}, dryRun: null}
"#;

#[test]
fn every_key_has_its_place_in_the_world() {
    let offline = good(FULL);
    assert_eq!(offline.now, at("2026-03-01T12:00:00Z"));
    assert_eq!(offline.expect.len(), 1);
    let [subject] = offline.subjects.as_slice() else {
        panic!("{:?}", offline.subjects)
    };
    let world = &subject.world;
    let cluster = &world.cluster;
    assert_eq!(cluster.key.to_string(), "db/orders");
    assert!(cluster.deleting && cluster.hibernated && !cluster.resize_in_use_volumes);
    assert!(cluster.fencing.covers("orders-2") && !cluster.fencing.covers("orders-1"));
    assert!(matches!(
        cluster.pause,
        Pause::Paused {
            until: None,
            unreadable: None
        }
    ));
    assert_eq!(cluster.primary.as_deref(), Some("orders-2"));
    assert_eq!(
        (cluster.breaker, world.global_breaker),
        (Breaker::Open.into(), Breaker::HalfOpen.into())
    );
    assert_eq!(
        world.fleet,
        Fleet {
            in_progress: 2,
            ahead: 0,
            limit: Some(7)
        }
    );
    assert_eq!(world.limits.interval, SignedDuration::from_secs(45));
    let wal = cluster.wal.as_ref().expect("health");
    let archiving = wal.archiving.expect("archiving");
    assert_eq!(
        (archiving.last_archived, archiving.last_failed, archiving.pending),
        (Some(at("2026-03-01T11:59:00Z")), None, 3)
    );
    assert_eq!(
        wal.slots.iter().map(|s| (&*s.name, s.active, s.retained)).collect::<Vec<_>>(),
        [("old", true, Bytes::gib(5))]
    );
    let Resolution::Settings(resolved) = &*world.resolution else {
        panic!("{:?}", world.resolution)
    };
    assert_eq!(
        resolved.policies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["ClusterStoragePolicy blue"]
    );

    let volume = |key: &VolumeKey| world.volumes.iter().find(|v| v.key == *key).expect("a volume");
    let data = volume(&VolumeKey::DATA);
    assert_eq!(
        (data.learned_ceiling, data.retry_after),
        (Some(Bytes::gib(64)), Some(at("2026-03-01T12:05:00Z")))
    );
    let [first, second] = data.members.as_slice() else {
        panic!("{:?}", data.members)
    };
    assert_eq!(
        (&*first.instance, &*first.pvc, first.node.as_deref()),
        ("orders-1", "orders-1", Some("n1"))
    );
    assert_eq!(
        (first.size, first.request, first.bound, first.block),
        (Bytes::gib(11), Bytes::gib(12), true, true)
    );
    assert_eq!(
        (&*first.class.name, first.class.expandable, first.class.provider_limit),
        ("slow", true, None)
    );
    let observation = Observation {
        used: Bytes::mib(8600),
        available: Bytes::mib(1640),
        capacity: Bytes::mib(10241),
        inodes: Some(Inodes { total: 100, used: 9 }),
        at: at("2026-03-01T11:58:00Z"),
    };
    assert_eq!(first.observation, Some(observation));
    assert_eq!(first.last_resize_at, Some(at("2026-03-01T03:01:00Z")));
    assert_eq!(first.resize.as_ref().and_then(|r| r.since), Some(at("2026-03-01T11:57:00Z")));
    let sample = |time, used| Sample {
        at: at(time),
        used: Bytes::mib(used),
    };
    assert_eq!(
        *first.history,
        [sample("2026-03-01T11:00:00Z", 8000), sample("2026-03-01T11:30:00Z", 8300)]
    );
    assert_eq!(
        (second.observation, second.size, second.request, second.bound),
        (None, Bytes::gib(10), Bytes::gib(10), false)
    );
    assert_eq!((first.disk_full, second.disk_full), (false, true));

    let wal = volume(&VolumeKey::WAL).members.first().expect("a member");
    assert_eq!((&*wal.pvc, wal.disk_full, wal.class.expandable), ("orders-1-wal", true, false));
    assert_eq!(
        (wal.last_relief_at, first.last_relief_at),
        (Some(at("2026-03-01T01:00:00Z")), None),
        "the newest that removed something of it"
    );
    let limit = wal.class.provider_limit.expect("a limit");
    assert_eq!((limit.max_actions, limit.period), (4, SignedDuration::from_hours(23)));
    assert_eq!(wal.observation.map(|o| o.at), Some(at("2026-03-01T11:59:30Z")));
    let archive = volume(&VolumeKey::tablespace("archive")).members.first().expect("a member");
    assert_eq!(archive.observation, None, "a figure is missing");

    let [rescue, emergency] = world.operations.as_slice() else {
        panic!("{:?}", world.operations)
    };
    assert_eq!((rescue.urgency, rescue.accepted, rescue.done), (Urgency::Rescue, false, false));
    assert!(rescue.concerns(&archive.uid) && !rescue.concerns(&first.uid));
    assert_eq!(
        (emergency.urgency, emergency.accepted, emergency.done),
        (Urgency::Emergency, true, true)
    );
    assert_eq!((emergency.from, emergency.to), (Bytes::gib(3), Bytes::gib(4)));
    assert!(emergency.members.is_none());
}

#[test]
fn what_is_left_out_has_the_default_of_the_format() {
    let offline = good(
        "kind: Scenario\nnow: 2026-03-01T12:00:00Z\nclusters:\n  - name: orders\n    volumes: {data: {size: 10Gi, members: {orders-7: {used: 3Gi, available: 7Gi}, orders-1: {}}}}\n",
    );
    let world = &offline.subjects.first().expect("a cluster").world;
    assert_eq!(world.cluster.key.to_string(), "default/orders");
    assert_eq!(world.cluster.primary.as_deref(), Some("orders-7"), "the first of the file");
    assert!(!world.cluster.deleting && world.cluster.resize_in_use_volumes);
    assert_eq!((world.fleet, world.global_breaker), (Fleet::default(), Breaker::Closed.into()));
    assert_eq!(world.limits.interval, SignedDuration::from_secs(30));
    let wal = world.cluster.wal.as_ref().expect("health is known");
    assert!(wal.archiving.is_none() && wal.slots.is_empty());
    let member = world.volumes.first().and_then(|v| v.members.first()).expect("a member");
    assert!(member.bound && !member.block && member.class.expandable && member.class.provider_limit.is_none());
    assert_eq!((member.request, member.size), (Bytes::gib(10), Bytes::gib(10)));
    assert_eq!(member.observation.map(|o| o.capacity), Some(Bytes::gib(10)));
    assert!(matches!(&*world.resolution, Resolution::NoPolicy));
    assert!(offline.notes.is_empty() && offline.expect.is_empty());
}

#[test]
fn the_labels_of_a_namespace_are_those_of_each_cluster() {
    let text = FULL.replace(
        "expect: ",
        "  - {name: plain, namespace: db, volumes: {data: {size: 9Gi, storageClass: slow, members: {}}}}\nexpect: ",
    );
    let offline = good(&text);
    let managed: Vec<bool> = offline
        .subjects
        .iter()
        .map(|s| matches!(&*s.world.resolution, Resolution::Settings(_)))
        .collect();
    assert_eq!(managed, [true, false]);
}
