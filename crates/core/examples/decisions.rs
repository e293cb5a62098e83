//! Decisions a second on one core: `cargo run --release -p csm-core --example decisions`.
//!
//! A world is a Cluster of three instances with two volumes and ten operations in the ledger.
#![allow(clippy::disallowed_methods)] // measures time

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use csm_api::{Expansion, Settings, Urgency};
use csm_core::check::check;
use csm_core::plan::plan;
use csm_core::resolve::{Origin, OriginKind, Policy, Selector, resolve};
use csm_core::world::{
    Breaker, Class, Cluster, ClusterKey, Fencing, Fleet, Limits, Member, Observation, Operation, Pause, Volume, VolumeKey, World,
};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

/// How long each kind of world is measured.
const MEASURED: Duration = Duration::from_secs(2);

fn main() {
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56);
    for (name, percent) in [("nothing to do", 40), ("grows", 90)] {
        let world = world(now, percent);
        let rate = measure(&world, |world| black_box(plan(world, now)).decisions.len());
        println!("{name:<28} {rate:>10} decisions/s");
        let rate = measure(&world, |world| {
            let plan = plan(world, now);
            assert_eq!(check(world, &plan, now), Ok(()));
            plan.decisions.len()
        });
        println!("{:<28} {rate:>10} decisions/s", format!("{name}, and checked"));
    }
}

fn measure(world: &World, run: impl Fn(&World) -> usize) -> u128 {
    let start = Instant::now();
    let mut decisions: u128 = 0;
    while start.elapsed() < MEASURED {
        for _ in 0..1000 {
            decisions += run(black_box(world)) as u128;
        }
    }
    decisions * 1_000_000 / start.elapsed().as_micros()
}

fn world(now: Timestamp, percent: u64) -> World {
    let settings = Settings {
        expansion: Some(Expansion {
            max_size: Some("1Ti".into()),
            ..Expansion::default()
        }),
        ..Settings::default()
    };
    let policy = Policy {
        origin: Origin::object(OriginKind::StoragePolicy, Some("shop"), "standard"),
        selector: Selector::default(),
        namespace_selector: None,
        exclude: Vec::new(),
        settings: Arc::new(settings),
        bounds: None,
        problems: Vec::new(),
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
            wal: None,
        },
        resolution: Arc::new(resolve(&[&policy], None, &Settings::default())),
        volumes: [VolumeKey::DATA, VolumeKey::WAL].map(|key| volume(key, now, percent)).to_vec(),
        operations: (0..10).map(|i| operation(now, i)).collect(),
        limits: Limits::default(),
        fleet: Fleet::default(),
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
                provider_limit: None,
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
