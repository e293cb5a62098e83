//! What a decision allocates where nothing changed: its answer, and nothing on the way to it.

use std::hint::black_box;
use std::sync::Arc;

use csm_api::{Settings, Verdict};
use csm_core::plan::plan;
use csm_core::resolve::{Origin, OriginKind, Policy, Selector, resolve};
use csm_core::world::{
    Breaker, Class, Cluster, ClusterKey, Fencing, Fleet, Limits, Member, Observation, Operation, Pause, Volume, VolumeKey, World,
};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

fn member(i: u64, now: Timestamp) -> Member {
    let (size, used) = (Bytes::gib(100), Bytes::gib(40 + i));
    Member {
        pvc: format!("orders-{i}").into(),
        uid: format!("uid-{i}").into(),
        instance: format!("orders-{i}").into(),
        node: None,
        request: size,
        size,
        bound: true,
        block: false,
        class: Class {
            name: "fast".into(),
            expandable: true,
            shared_filesystem: false,
            provider_limit: None,
        },
        observation: Some(Observation {
            used,
            available: size.saturating_sub(used),
            capacity: size,
            inodes: None,
            at: now - SignedDuration::from_secs(20),
        }),
        last_resize_at: None,
        resize: None,
        twin: false,
        pod_running: true,
        disk_full: false,
        history: Arc::default(),
    }
}

fn volume(key: VolumeKey, now: Timestamp) -> Volume {
    Volume {
        key,
        members: (1..=3).map(|i| member(i, now)).collect(),
        learned_ceiling: None,
        fallback_ceiling: None,
        retry_after: None,
    }
}

fn world(settings: &str, now: Timestamp) -> World {
    let settings: Settings = serde_saphyr::from_str(settings).unwrap();
    let policy = Policy {
        origin: Origin::object(OriginKind::StoragePolicy, Some("shop"), "standard"),
        selector: Selector::default(),
        namespace_selector: None,
        exclude: Vec::new(),
        settings: Arc::new(settings),
        bounds: None,
        problems: Vec::new(),
        unreadable: false,
    };
    let operation = |i: i64| Operation {
        id: format!("operation-{i}").into(),
        volume: VolumeKey::DATA,
        urgency: csm_api::Urgency::Planned,
        started_at: now - SignedDuration::from_hours(i),
        from: Bytes::gib(50),
        to: Bytes::gib(100),
        members: None,
        accepted: true,
        done: true,
    };
    World {
        cluster: Cluster {
            key: ClusterKey::new("shop", "orders"),
            uid: "cluster-uid".into(),
            deleting: false,
            hibernated: false,
            pause: Pause::No,
            fencing: Fencing::None,
            resize_in_use_volumes: true,
            primary: Some("orders-1".into()),
            breaker: Breaker::default(),
            wal: None,
        },
        resolution: Arc::new(resolve(&[&policy], None, &Settings::default())),
        volumes: vec![volume(VolumeKey::DATA, now), volume(VolumeKey::WAL, now)],
        operations: (1..=10).map(operation).collect(),
        limits: Limits::default(),
        fleet: Fleet::default(),
        global_breaker: Breaker::default(),
    }
}

/// The list of decisions, the members that are looked at, and of each decision the list of its members.
#[test]
fn a_balanced_plan_allocates_its_answer_alone() {
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56);
    for settings in [
        "expansion: {maxSize: 1Ti}",
        "{storage: {resize: {enabled: true}}, walStorage: {resize: {enabled: true}}}",
        "{storage: {request: 10Gi, limit: 1Ti, maintenanceWindow: {}}, walStorage: {request: 10Gi, limit: 1Ti}}",
    ] {
        let world = world(settings, now);
        assert!(plan(&world, now).decisions.iter().all(|d| d.verdict == Verdict::Balanced));
        let info = allocation_counter::measure(|| {
            black_box(plan(black_box(&world), now));
        });
        assert_eq!((info.count_total, info.count_current), (2 + 2, 0), "{settings}");
    }
}
