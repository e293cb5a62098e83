//! How fast a policy is tried: `cargo run --release -p csm-core --example year`. `make bench` runs it.
#![allow(clippy::disallowed_methods)] // measures time

use std::sync::Arc;
use std::time::Instant;

use csm_api::{Expansion, Mode, Resize, ResizeStrategy, Settings, VolumeSettings, WalSafetyPolicy};
use csm_core::resolve::{Origin, OriginKind, Policy, Selector, resolve};
use csm_core::simulate::{Options, Outcome, Simulation, Usage};
use csm_core::world::{Circuit, Class, Cluster, ClusterKey, Fencing, Fleet, Limits, Member, Pause, Volume, VolumeKey, WalHealth, World};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

/// The minutes of a year.
const MINUTES: i64 = 365 * 24 * 60;

fn main() {
    let expansion = Expansion {
        max_size: Some("10Ti".into()),
        ..Expansion::default()
    };
    let thresholds = Settings {
        expansion: Some(expansion),
        ..Settings::default()
    };
    line("one simulated year of one volume at one-minute steps", thresholds.clone());
    let predictive = Settings {
        storage: Some(VolumeSettings {
            resize: Some(Resize {
                enabled: Some(true),
                strategy: Some(ResizeStrategy {
                    mode: Some(Mode::Predictive),
                    max_actions_per_day: Some(3),
                    wal_safety_policy: Some(WalSafetyPolicy {
                        acknowledge_wal_risk: Some(true),
                        ..WalSafetyPolicy::default()
                    }),
                }),
                ..Resize::default()
            }),
            ..VolumeSettings::default()
        }),
        ..thresholds
    };
    line("the same, with a forecast at each step", predictive);
}

fn line(name: &str, settings: Settings) {
    let start = Instant::now();
    let outcome = year(settings);
    let took = start.elapsed();
    println!(
        "{name}: {:.2} s ({} growths, {} -> {})",
        took.as_secs_f64(),
        outcome.count(),
        outcome.size_before,
        outcome.size_after
    );
}

/// Three instances fill by 3 MiB a minute, and are cleaned up by half of that each hour.
fn year(settings: Settings) -> Outcome {
    let from = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56);
    let to = from + SignedDuration::from_mins(MINUTES);
    let mut simulation = Simulation::new(world(settings), Options::new(from, to));
    let target = simulation.target(&VolumeKey::DATA, None).expect("it is there");
    for minute in 0..=MINUTES.unsigned_abs() {
        let (hours, minutes) = (minute / 60, minute % 60);
        let used = Bytes::mib(20_000 + hours * 90 + minutes * 3);
        let at = from + SignedDuration::from_mins(minute.cast_signed());
        simulation.observe(at, &[Usage { target, used }]).expect("plans pass their check");
    }
    simulation.finish().expect("plans pass their check").remove(0)
}

fn world(settings: Settings) -> World {
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
    let member = |i: u32| Member {
        pvc: format!("orders-{i}").into(),
        uid: format!("uid-{i}").into(),
        instance: format!("orders-{i}").into(),
        node: Some(format!("node-{i}").into()),
        request: Bytes::gib(100),
        size: Bytes::gib(100),
        bound: true,
        block: false,
        class: Class {
            name: "fast".into(),
            expandable: true,
            shared_filesystem: false,
            provider_limit: None,
            fleet: Fleet::default(),
        },
        observation: None,
        last_resize_at: None,
        resize: None,
        twin: false,
        pod_running: true,
        disk_full: false,
        history: Arc::default(),
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
            breaker: Circuit::default(),
            wal: Some(WalHealth::default()),
        },
        resolution: Arc::new(resolve(&[&policy], None, &Settings::default())),
        volumes: vec![Volume {
            key: VolumeKey::DATA,
            members: (1..=3).map(member).collect(),
            learned_ceiling: None,
            fallback_ceiling: None,
            retry_after: None,
        }],
        operations: Vec::new(),
        limits: Limits::default(),
        fleet: Fleet::default(),
        global_breaker: Circuit::default(),
    }
}
