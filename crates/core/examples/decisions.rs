//! Decisions a second on one core: `cargo run --release -p csm-core --example decisions`.
//!
//! A world is a Cluster of three instances with two volumes and ten operations in the ledger. The last line is what
//! reading the same figures as JSON costs, for comparison.
#![allow(clippy::disallowed_methods)] // measures time

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use csm_api::{
    Expansion, MaintenanceWindow, Mode, Resize, ResizeExpansion, ResizeStrategy, ResizeTriggers, Settings, Urgency, Verdict,
    VolumeSettings, WalSafetyPolicy,
};
use csm_core::check::check;
use csm_core::plan::plan;
use csm_core::resolve::{Origin, OriginKind, Policy, Selector, resolve};
use csm_core::world::{
    Archiving, Breaker, Class, Cluster, ClusterKey, Fencing, Fleet, Limits, Member, Observation, Operation, Pause, ProviderLimit, Sample,
    Slot, Volume, VolumeKey, WalHealth, World,
};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// How long each kind of world is measured.
const MEASURED: Duration = Duration::from_secs(2);

fn main() {
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56);
    let lines = [
        ("nothing to do", world(now, 40, thresholds()), Verdict::Balanced),
        ("grows", world(now, 90, thresholds()), Verdict::Grow),
        (
            "resize, nothing to do",
            world(now, 40, resize(Mode::Standard, false)),
            Verdict::Balanced,
        ),
        (
            "resize, every gate asked",
            world(now, 90, resize(Mode::Standard, false)),
            Verdict::Grow,
        ),
        (
            "resize, held by the last",
            world(now, 90, resize(Mode::Standard, true)),
            Verdict::Hold,
        ),
        (
            "forecast, 120 samples",
            with_samples(world(now, 40, resize(Mode::Predictive, false)), now),
            Verdict::Balanced,
        ),
    ];
    for (name, world, verdict) in &lines {
        let decided = plan(world, now);
        assert!(decided.decisions.iter().all(|d| d.verdict == *verdict), "{name}: {decided:#?}");
        let rate = measure(world, |world| black_box(plan(world, now)).decisions.len());
        println!("{name:<38} {rate:>10} decisions/s");
        let rate = measure(world, |world| {
            let plan = plan(world, now);
            assert_eq!(check(world, &plan, now), Ok(()));
            plan.decisions.len()
        });
        println!("{:<38} {rate:>10} decisions/s", format!("{name}, and checked"));
    }
    let (_, world, _) = &lines[0];
    let text = as_json(world).to_string();
    let rate = measure(&text, |text| {
        let value: Value = serde_json::from_str(text).unwrap();
        black_box(value);
        world.volumes.len()
    });
    println!(
        "{:<38} {rate:>10} decisions' inputs/s",
        format!("the same figures as JSON, {} bytes", text.len())
    );
}

/// The figures that the decisions of a Cluster rest on, as an API might give them.
fn as_json(world: &World) -> Value {
    let member = |m: &Member| {
        let figures = m.observation.unwrap();
        json!({
            "pvc": m.pvc, "uid": m.uid, "instance": m.instance, "node": m.node, "storageClass": m.class.name,
            "request": m.request.to_string(), "size": m.size.to_string(), "lastResizeAt": m.last_resize_at.map(|t| t.to_string()),
            "usedBytes": figures.used.get(), "availableBytes": figures.available.get(), "capacityBytes": figures.capacity.get(),
            "time": figures.at.to_string(),
        })
    };
    let operation = |o: &Operation| {
        json!({
            "id": o.id, "volume": o.volume.to_string(), "urgency": o.urgency.as_str(), "startedAt": o.started_at.to_string(),
            "from": o.from.to_string(), "to": o.to.to_string(), "accepted": o.accepted, "done": o.done,
        })
    };
    json!({
        "namespace": world.cluster.key.namespace, "name": world.cluster.key.name, "uid": world.cluster.uid,
        "primary": world.cluster.primary,
        "volumes": world.volumes.iter().map(|v| json!({"key": v.key.to_string(), "members": v.members.iter().map(member).collect::<Vec<_>>()})).collect::<Vec<_>>(),
        "operations": world.operations.iter().map(operation).collect::<Vec<_>>(),
    })
}

fn thresholds() -> Settings {
    Settings {
        expansion: Some(Expansion {
            max_size: Some("1Ti".into()),
            ..Expansion::default()
        }),
        ..Settings::default()
    }
}

/// The resize model on both volumes, with all that holds a growth in use, none of which does; but for the dry run, which
/// is asked last.
fn resize(mode: Mode, dry_run: bool) -> Settings {
    let volume = VolumeSettings {
        resize: Some(Resize {
            enabled: Some(true),
            triggers: Some(ResizeTriggers {
                min_available: Some("5Gi".into()),
                inode_threshold: Some(90),
                time_to_full: Some("10m".into()),
                ..ResizeTriggers::default()
            }),
            expansion: Some(ResizeExpansion {
                limit: Some("500Gi".into()),
                ..ResizeExpansion::default()
            }),
            strategy: Some(ResizeStrategy {
                mode: Some(mode),
                max_actions_per_day: Some(3),
                wal_safety_policy: Some(WalSafetyPolicy {
                    max_slot_retention_bytes: Some("50Gi".into()),
                    ..WalSafetyPolicy::default()
                }),
            }),
        }),
        maintenance_window: Some(MaintenanceWindow {
            schedule: Some("0 0 * * *".to_owned()),
            ..MaintenanceWindow::default()
        }),
        ..VolumeSettings::default()
    };
    Settings {
        dry_run: Some(dry_run),
        storage: Some(volume.clone()),
        wal_storage: Some(volume),
        ..thresholds()
    }
}

/// A sample each half minute for an hour: 120 with the present one.
fn with_samples(mut world: World, now: Timestamp) -> World {
    for member in world.volumes.iter_mut().flat_map(|v| &mut v.members) {
        let sample = |i: i64| Sample {
            at: now - SignedDuration::from_secs(20 + 30 * i),
            used: Bytes::gib(40).saturating_sub(Bytes::mib(i.unsigned_abs() * 3 + i.unsigned_abs() % 7)),
        };
        member.history = (1..120).map(sample).collect();
    }
    world
}

fn measure<T>(input: &T, run: impl Fn(&T) -> usize) -> u128 {
    let start = Instant::now();
    let mut decisions: u128 = 0;
    while start.elapsed() < MEASURED {
        for _ in 0..1000 {
            decisions += run(black_box(input)) as u128;
        }
    }
    decisions * 1_000_000 / start.elapsed().as_micros()
}

fn world(now: Timestamp, percent: u64, settings: Settings) -> World {
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
    World {
        cluster: Cluster {
            key: ClusterKey::new("shop", "orders"),
            uid: "8a4b".into(),
            deleting: false,
            hibernated: false,
            pause: Pause::No,
            fencing: Fencing::None,
            resize_in_use_volumes: true,
            primary: Some("orders-1".into()),
            breaker: Breaker::default(),
            wal: Some(WalHealth {
                archiving: Some(Archiving {
                    last_archived: Some(now - SignedDuration::from_secs(40)),
                    last_failed: None,
                    pending: 2,
                }),
                slots: vec![Slot {
                    name: "old".into(),
                    active: false,
                    retained: Bytes::gib(1),
                }],
            }),
        },
        resolution: Arc::new(resolve(&[&policy], None, &Settings::default())),
        volumes: [VolumeKey::DATA, VolumeKey::WAL].map(|key| volume(key, now, percent)).to_vec(),
        operations: (0..10).map(|i| operation(now, i)).collect(),
        limits: Limits::default(),
        fleet: Fleet {
            in_progress: 3,
            limit: Some(10),
        },
        global_breaker: Breaker::default(),
    }
}

fn volume(key: VolumeKey, now: Timestamp, percent: u64) -> Volume {
    let member = |i: u64| {
        let (size, used) = (Bytes::gib(100), Bytes::gib(percent));
        Member {
            pvc: format!("orders-{i}-{key}").into(),
            uid: format!("uid-{i}-{key}").into(),
            instance: format!("orders-{i}").into(),
            node: Some(format!("node-{i}").into()),
            request: size,
            size,
            bound: true,
            block: false,
            class: Class {
                name: "fast".into(),
                expandable: true,
                shared_filesystem: false,
                provider_limit: Some(ProviderLimit {
                    max_actions: 4,
                    period: SignedDuration::from_hours(24),
                }),
            },
            observation: Some(Observation {
                used,
                available: size.saturating_sub(used),
                capacity: size,
                inodes: None,
                at: now - SignedDuration::from_secs(20),
            }),
            last_resize_at: Some(now - SignedDuration::from_hours(7)),
            resize: None,
            twin: false,
            pod_running: true,
            disk_full: false,
            history: Arc::default(),
        }
    };
    Volume {
        members: (1..=3).map(member).collect(),
        key,
        learned_ceiling: None,
        fallback_ceiling: Some(Bytes::gib(500)),
        retry_after: None,
    }
}

fn operation(now: Timestamp, i: i64) -> Operation {
    Operation {
        id: format!("orders-expansion-{i}").into(),
        volume: if i % 2 == 0 { VolumeKey::DATA } else { VolumeKey::WAL },
        urgency: Urgency::Planned,
        started_at: now - SignedDuration::from_hours(7 * (i + 1)),
        from: Bytes::gib(50),
        to: Bytes::gib(100),
        members: None,
        accepted: true,
        done: true,
    }
}
