//! Random worlds: all models, several policies, every gate and every odd figure.

use std::sync::{Arc, LazyLock};

use csm_api::{
    Bounds, EmergencyGrow, Expansion, MaintenanceWindow, Mode, Model, QuantityText, Resize as ResizeSettings, ResizeExpansion,
    ResizeStrategy, ResizeTriggers, Settings, StepText, TablespaceSettings, Thresholds, Urgency, VolumeSettings, WalCleanup,
    WalSafetyPolicy,
};
use csm_core::resolve::{Conflict, Origin, OriginKind, Policy, Resolution, Selector, resolve};
use csm_core::world::{
    Archiving, Breaker, Cluster, Fencing, Fleet, Inodes, Member, Observation, Operation, Pause, ProviderLimit, Resize, ResizeStage, Sample,
    Slot, Volume, VolumeKey, WalHealth, World,
};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::dice;
pub use crate::dice::Dice;
use crate::support::*;

impl Dice<'_> {
    /// A moment up to so many seconds before noon, sometimes after it.
    fn moment(&mut self, seconds: i64) -> Timestamp {
        let back = i64::from(self.roll()) % seconds;
        let back = if self.rarely(16) { -back } else { back };
        noon() - SignedDuration::from_secs(back)
    }

    /// A share of a size, as a text.
    fn share(&mut self, base: u64, percents: &[u128]) -> QuantityText {
        (u128::from(base) * self.pick(percents) / 100).max(1).to_string().into()
    }
}

/// What makes a world.
pub fn numbers() -> impl Strategy<Value = Vec<u32>> {
    dice::numbers(400)
}

/// What random worlds are made from; its policy is parsed once.
static PLAIN: LazyLock<World> = LazyLock::new(calm);

pub const GIB: u64 = 1 << 30;
const SIZES: [u64; 12] = [
    10 * GIB,
    20 * GIB,
    GIB,
    3 * GIB,
    5000 << 20,
    10 * GIB - (1 << 20),
    10 * GIB + 1,
    100 * GIB,
    101 * GIB,
    2048 * GIB,
    i64::MAX as u64,
    0,
];

const SHARES: [u128; 8] = [200, 1000, 300, 130, 101, 100, 90, 160];

fn resize_settings(dice: &mut Dice, base: u64) -> ResizeSettings {
    let triggers = dice.maybe(2, |d| ResizeTriggers {
        usage_threshold: d.maybe(2, |d| d.pick(&[80, 1, 50, 90, 99])),
        min_available: d.maybe(2, |d| d.pick(&["5Gi", "1Mi", "100Gi", "512Mi"]).into()),
        inode_threshold: d.maybe(2, |d| d.pick(&[90, 50, 99, 1])),
        time_to_full: d.maybe(2, |d| d.pick(&["2h", "1m", "24h"]).to_owned()),
    });
    let expansion = dice.maybe(2, |d| ResizeExpansion {
        step: d.maybe(2, |d| {
            StepText::Text(d.pick(&["20%", "10Gi", "1%", "1000%", "3Gi", "1500Mi"]).to_owned())
        }),
        min_step: d.maybe(3, |d| d.pick(&["2Gi", "1Mi", "10Gi", "700Mi"]).into()),
        max_step: d.maybe(3, |d| d.pick(&["500Gi", "1Gi", "900Mi", "2Gi", "1Mi"]).into()),
        limit: d.maybe(3, |d| d.share(base, &SHARES)),
    });
    ResizeSettings {
        enabled: (!dice.rarely(12)).then_some(true),
        triggers,
        expansion,
        strategy: Some(ResizeStrategy {
            mode: dice.maybe(2, |_| Mode::Predictive),
            max_actions_per_day: dice.maybe(2, |d| d.pick(&[3, 0, 1, 2, 50])),
            wal_safety_policy: Some(WalSafetyPolicy {
                acknowledge_wal_risk: (!dice.rarely(4)).then_some(true),
                require_archive_healthy: dice.maybe(8, |_| false),
                max_pending_wal_files: dice.maybe(4, |d| d.pick(&[100, 0, 5])),
                max_slot_retention_bytes: dice.maybe(2, |d| d.pick(&["0", "1Gi", "5Gi"]).into()),
                alert_on_resize: None,
            }),
        }),
    }
}

fn emergency_settings(dice: &mut Dice, base: u64) -> EmergencyGrow {
    EmergencyGrow {
        enabled: dice.maybe(8, |_| false),
        critical_threshold: dice.maybe(2, |d| d.pick(&[95, 80, 99, 90])),
        critical_minimum_free: dice.maybe(3, |d| d.share(base, &[1, 5, 20, 100])),
        exceed_limit_on_emergency: dice.maybe(2, |_| true),
        max_actions_per_day: dice.maybe(2, |d| d.pick(&[4, 0, 1, 2, 50])),
        reserved_actions_for_emergency: dice.maybe(3, |d| d.pick(&[1, 0, 2, 50])),
    }
}

fn window_settings(dice: &mut Dice) -> MaintenanceWindow {
    // At noon: closed, open since now, closed since now, open, open in another zone, every minute.
    let schedules = [
        "0 3 * * *",
        "0 12 * * *",
        "0 10 * * *",
        "30 11 * * *",
        "15 12 * * 1-5",
        "* * * * *",
        "0 0 30 2 *",
    ];
    let bound = if dice.rarely(20) { 7 } else { 6 };
    MaintenanceWindow {
        schedule: dice.maybe(2, |d| d.pick(&schedules[..bound]).to_owned()),
        duration: dice.maybe(3, |d| d.pick(&["2h", "30m", "10s", "26h"]).to_owned()),
        timezone: dice.maybe(8, |d| d.pick(&["UTC", "Europe/Berlin", "America/St_Johns"]).to_owned()),
    }
}

/// The block of one volume in one object.
fn block(dice: &mut Dice, base: u64) -> VolumeSettings {
    let mut block = VolumeSettings::default();
    match dice.roll() % 8 {
        0..=2 => {}
        3..=5 => block.resize = Some(resize_settings(dice, base)),
        _ => {
            let low = [100, 50, 10, 130];
            let shares = if dice.rarely(20) { &SHARES[..] } else { &low[..] };
            block.request = Some(dice.share(base, shares));
            block.limit = Some(dice.share(base, &[200, 1000, 300, 130, 160]));
            block.target_buffer = dice.maybe(2, |d| d.pick(&[20, 5, 50, 33]));
        }
    }
    block.model = dice.maybe(12, |d| d.pick(&[Model::Thresholds, Model::Resize, Model::Target]));
    block.maintenance_window = dice.maybe(4, window_settings);
    block.emergency_grow = dice.maybe(3, |d| emergency_settings(d, base));
    block
}

/// The settings of one object.
pub fn settings(dice: &mut Dice, base: u64) -> Settings {
    let thresholds = dice.maybe(2, |d| Thresholds {
        warning: None,
        critical: None,
        expansion: Some(d.pick(&[85, 80, 90, 50, 3, 99])),
        emergency: None,
    });
    let expansion = dice.maybe(2, |d| Expansion {
        enabled: d.maybe(20, |_| false),
        percentage: d.maybe(2, |d| d.pick(&[50, 20, 10, 1, 33, 1000])),
        min_increment_gi: d.maybe(2, |d| d.pick(&[5, 1, 2, 100])),
        max_size: d.maybe(3, |d| d.share(base, &SHARES)),
        cooldown_minutes: d.maybe(2, |d| d.pick(&[30, 0, 1, 10080])),
        parallelism: None,
        apply_to: None,
    });
    Settings {
        dry_run: dice.maybe(16, |_| true),
        thresholds,
        expansion,
        wal_cleanup: dice.maybe(4, |d| WalCleanup {
            enabled: d.maybe(2, |d| d.rarely(2)),
            retain_count: None,
            require_archived: None,
            cooldown_minutes: d.maybe(2, |d| d.pick(&[0, 1, 15, 60])),
        }),
        circuit_breaker: None,
        emergency_runway: dice.maybe(8, |d| d.rarely(2)),
        storage: dice.mostly(3, |d| block(d, base)),
        wal_storage: dice.mostly(3, |d| block(d, base)),
        tablespaces: dice.maybe(4, |d| {
            let entry = |name: &str, storage| TablespaceSettings {
                name: name.to_owned(),
                storage,
            };
            let mut entries = vec![entry("*", block(d, base))];
            entries.extend(d.maybe(2, |d| entry("archive", block(d, base))));
            entries
        }),
    }
}

static SELECTS: LazyLock<Selector> = LazyLock::new(|| {
    let text = "{metadata: {name: p, namespace: shop}, spec: {selector: {matchLabels: {tier: prod}}}}";
    let policy: serde_json::Value = serde_saphyr::from_str(text).unwrap();
    Policy::from_storage_policy(&serde_json::from_value(policy).unwrap()).selector
});

fn policy_of(kind: OriginKind, selector: Selector, settings: Settings, bounds: Option<Bounds>) -> Policy {
    let namespace = (kind == OriginKind::StoragePolicy).then_some("shop");
    let name = if selector.is_empty() { "default" } else { "selected" };
    Policy {
        origin: Origin::object(kind, namespace, name),
        selector,
        namespace_selector: None,
        exclude: Vec::new(),
        settings: Arc::new(settings),
        bounds,
        problems: Vec::new(),
        unreadable: false,
    }
}

/// Policies of up to five ranks.
pub fn resolution(dice: &mut Dice, base: u64) -> Resolution {
    let origin = Origin::object(OriginKind::StoragePolicy, Some("shop"), "default");
    match dice.roll() % 60 {
        59 => return Resolution::NoPolicy,
        58 => {
            return Resolution::Conflict(vec![Conflict {
                rank: csm_core::resolve::Rank::StoragePolicy,
                policies: vec![origin, Origin::built_in()],
            }]);
        }
        _ => {}
    }
    let mut policies = Vec::new();
    for (kind, selector, one_in) in [
        (OriginKind::StoragePolicy, SELECTS.clone(), 6),
        (OriginKind::StoragePolicy, Selector::default(), 1),
        (OriginKind::ClusterStoragePolicy, SELECTS.clone(), 6),
        (OriginKind::ClusterStoragePolicy, Selector::default(), 3),
    ] {
        if one_in > 1 && !dice.rarely(one_in) {
            continue;
        }
        let settings = settings(dice, base);
        let bounds = (kind == OriginKind::ClusterStoragePolicy).then(|| Bounds {
            max_size: dice.maybe(3, |d| d.share(base, &SHARES)),
            max_actions_per_day: dice.maybe(2, |d| d.pick(&[6, 1, 2, 50])),
        });
        policies.push(policy_of(kind, selector, settings, bounds));
    }
    let own_origin = Origin::postgres_storage("shop", "orders");
    let own = dice.maybe(5, |d| settings(d, base));
    let matching: Vec<&Policy> = policies.iter().collect();
    resolve(&matching, own.as_ref().map(|s| (&own_origin, s)), &Settings::default())
}

/// Samples that lead up to what is used now, with some noise.
fn history(dice: &mut Dice, used: u64, at: Timestamp) -> Arc<[Sample]> {
    let count = dice.pick(&[12, 9, 30, 130]);
    let spacing = dice.pick(&[60, 30, 290, 700]);
    let a_step = i128::from(dice.pick(&[8 << 20, 0, 1 << 30, 100 << 20, 1]));
    let a_step = if dice.rarely(6) { -a_step } else { a_step };
    let sample = |i: i64| {
        let noise = if i % 7 == 3 { a_step * 3 } else { 0 };
        Sample {
            at: at - SignedDuration::from_secs(i * spacing),
            used: Bytes::saturating_from((i128::from(used) - a_step * i128::from(i) + noise).max(0)),
        }
    };
    (1..=count).map(sample).collect()
}

fn member_of(dice: &mut Dice, i: usize, base: u64, hot: bool) -> Member {
    let mut m = PLAIN.volumes[0].members[0].clone();
    m.instance = format!("orders-{i}").into();
    m.pvc = format!("orders-{i}").into();
    m.uid = format!("uid-{i}").into();
    m.node = None;
    let size = dice.maybe(4, |d| d.pick(&SIZES)).unwrap_or(base);
    m.size = Bytes::new(size);
    m.request = dice.maybe(10, |d| Bytes::new(d.pick(&SIZES))).unwrap_or(m.size);
    m.bound = !dice.rarely(50);
    m.block = dice.rarely(80);
    m.class.expandable = !dice.rarely(80);
    m.class.shared_filesystem = dice.rarely(150);
    m.class.provider_limit = dice.maybe(8, |d| ProviderLimit {
        max_actions: d.pick(&[1, 2, 4]),
        period: SignedDuration::from_hours(d.pick(&[24, 1, 6])),
    });
    m.twin = dice.rarely(150);
    let filesystem = dice.maybe(14, |d| d.pick(&SIZES)).unwrap_or(size);
    let percent = u128::from(if hot { 75 + dice.roll() % 26 } else { dice.roll() % 101 });
    let mut used = u64::try_from(u128::from(filesystem) * percent / 100).unwrap();
    if hot && let Some(left) = dice.maybe(6, |d| d.pick(&[0, (32 << 20) - 1, 32 << 20, GIB, GIB - 1, 10 * GIB])) {
        used = filesystem.saturating_sub(left);
    }
    let reserved = if dice.rarely(6) { (filesystem - used) / 5 } else { 0 };
    m.observation = Some(Observation {
        used: Bytes::new(used),
        available: Bytes::new(filesystem - used - reserved),
        capacity: Bytes::new(filesystem),
        inodes: dice.maybe(3, |d| Inodes {
            total: d.pick(&[1000, 0, 1_000_000]),
            used: d.pick(&[10, 899, 900, 901, 1000]),
        }),
        at: dice.moment(320),
    });
    if dice.rarely(3) {
        m.history = history(dice, used, m.observation.unwrap().at);
    }
    if dice.rarely(20) {
        m.observation = None;
    }
    m.disk_full = dice.rarely(if hot { 10 } else { 60 });
    m.last_resize_at = dice.maybe(8, |d| d.moment(5000));
    m.resize = dice.maybe(24, |d| Resize {
        since: d.maybe(2, |d| d.moment(1200)),
        stage: d.pick(&[ResizeStage::Controller, ResizeStage::NodePending, ResizeStage::NodeInfeasible]),
        error: None,
        allocated: None,
    });
    m.last_relief_at = dice.maybe(4, |d| d.moment(2000));
    m
}

fn volume_of(dice: &mut Dice, key: VolumeKey, base: u64) -> Volume {
    let count = if dice.rarely(50) { 0 } else { 1 + dice.roll() as usize % 4 };
    let hot = dice.rarely(2);
    let bytes = |d: &mut Dice| Bytes::new(d.pick(&SIZES));
    Volume {
        key,
        members: (1..=count).map(|i| member_of(dice, i, base, hot)).collect(),
        learned_ceiling: dice.maybe(12, bytes),
        fallback_ceiling: dice.maybe(4, bytes),
        retry_after: dice.maybe(24, |d| d.moment(60)),
    }
}

fn operation_of(dice: &mut Dice, i: usize, base: u64) -> Operation {
    let all = [
        Urgency::Planned,
        Urgency::CatchUp,
        Urgency::Emergency,
        Urgency::Runway,
        Urgency::Rescue,
    ];
    Operation {
        id: format!("operation-{i}").into(),
        volume: if dice.rarely(3) { VolumeKey::WAL } else { VolumeKey::DATA },
        urgency: if dice.rarely(2) { dice.pick(&all) } else { Urgency::Planned },
        started_at: {
            let within = dice.pick(&[3_000, 100_000, 86_400]);
            dice.moment(within)
        },
        from: Bytes::new(base / 2),
        to: Bytes::new(dice.pick(&[base, base / 2, base.saturating_mul(2), base + 1])),
        members: dice.maybe(3, |d| vec![d.pick(&["uid-1", "uid-2", "uid-3", "gone"]).into()]),
        accepted: !dice.rarely(6),
        done: !dice.rarely(10),
    }
}

fn wal_health(dice: &mut Dice) -> WalHealth {
    let archiving = dice.mostly(4, |d| Archiving {
        last_archived: d.mostly(3, |d| d.moment(600)),
        last_failed: d.maybe(2, |d| d.moment(600)),
        pending: d.pick(&[0, 5, 6, 100, 101, u32::MAX]),
    });
    let slot = |d: &mut Dice| Slot {
        name: "old".into(),
        active: d.rarely(2),
        retained: Bytes::new(d.pick(&[GIB, GIB / 2, GIB + 1, 5 * GIB, i64::MAX as u64])),
    };
    WalHealth {
        archiving,
        slots: (0..dice.roll() % 3).map(|_| slot(dice)).collect(),
    }
}

fn breaker(dice: &mut Dice) -> Breaker {
    dice.maybe(24, |d| d.pick(&[Breaker::Open, Breaker::HalfOpen])).unwrap_or_default()
}

fn cluster_of(dice: &mut Dice, cluster: &mut Cluster) {
    cluster.deleting = dice.rarely(60);
    cluster.hibernated = dice.rarely(60);
    cluster.resize_in_use_volumes = !dice.rarely(50);
    cluster.primary = (!dice.rarely(12)).then(|| dice.pick(&["orders-1", "orders-2", "orders-3"]).into());
    cluster.breaker = breaker(dice).into();
    cluster.wal = dice.mostly(4, wal_health);
    cluster.fencing = match dice.roll() % 32 {
        31 => Fencing::All,
        30 => Fencing::Unreadable("?".into()),
        27..=29 => Fencing::Instances(vec![dice.pick(&["orders-2", "orders-1", "orders-3"]).into()]),
        _ => Fencing::None,
    };
    if dice.rarely(24) {
        cluster.pause = Pause::Paused {
            until: dice.maybe(2, |d| d.moment(600)),
            unreadable: dice.maybe(3, |_| "yes".into()),
        };
    }
}

/// The size that most volumes of a world have.
pub fn base(dice: &mut Dice) -> u64 {
    let odd = dice.rarely(6);
    dice.pick(if odd { &SIZES } else { &SIZES[..10] })
}

pub fn random_world(numbers: &[u32]) -> World {
    let dice = &mut Dice::new(numbers);
    let base = base(dice);
    let mut world = PLAIN.clone();
    world.resolution = Arc::new(resolution(dice, base));
    world.volumes = vec![volume_of(dice, VolumeKey::DATA, base)];
    if dice.rarely(3) {
        world.volumes.push(volume_of(dice, VolumeKey::WAL, base));
    }
    if dice.rarely(8) {
        world.volumes.push(volume_of(dice, VolumeKey::tablespace("archive"), base));
    }
    world.operations = (0..dice.roll() as usize % 6).map(|i| operation_of(dice, i, base)).collect();
    cluster_of(dice, &mut world.cluster);
    world.global_breaker = breaker(dice).into();
    world.fleet = Fleet {
        in_progress: dice.pick(&[0, 1, 10]),
        ahead: 0,
        limit: dice.maybe(5, |d| d.pick(&[10, 1, 0])),
    };
    world
}

/// The world after a plan was carried out at `now`: PVCs and filesystems have grown, with their inodes, the operations
/// are in the ledger, instances that were down are up, and everything is seen afresh at `later`.
pub fn applied(world: &World, plan: &csm_core::plan::Plan, now: Timestamp, later: Timestamp) -> World {
    let mut world = world.clone();
    for decision in plan.decisions.iter().filter(|d| d.acts()) {
        let volume = world.volumes.iter_mut().find(|v| v.key == decision.volume).unwrap();
        let patched: Vec<_> = decision.members.iter().filter_map(|m| Some((m.uid.clone(), m.to?))).collect();
        for member in &mut volume.members {
            if let Some((_, to)) = patched.iter().find(|(uid, _)| *uid == member.uid) {
                grow(member, *to, now);
            }
        }
        world.operations.push(Operation {
            id: format!("applied-{now}-{}", decision.volume).into(),
            volume: decision.volume.clone(),
            urgency: recorded_as(decision),
            started_at: now,
            from: decision.from,
            to: decision.to.unwrap(),
            members: Some(patched.into_iter().map(|(uid, _)| uid).collect()),
            accepted: true,
            done: true,
        });
    }
    for member in world.volumes.iter_mut().flat_map(|v| &mut v.members) {
        if let Some(figures) = &mut member.observation {
            figures.at = later;
        }
    }
    world
}

/// A catch-up is recorded as one, also where it brings a full disk back.
pub fn recorded_as(decision: &csm_core::plan::Decision) -> Urgency {
    if decision.verdict == csm_api::Verdict::CatchUp {
        return Urgency::CatchUp;
    }
    decision.urgency.unwrap()
}

/// A PVC and its filesystem have grown at `now`.
pub fn grow(member: &mut Member, to: Bytes, now: Timestamp) {
    let before = member.bytes();
    let more = to.saturating_sub(before);
    (member.size, member.request, member.last_resize_at, member.disk_full) = (to, to, Some(now), false);
    if let Some(figures) = &mut member.observation {
        figures.available = figures.available.saturating_add(more);
        figures.capacity = figures.capacity.saturating_add(more);
        if let Some(inodes) = &mut figures.inodes {
            let total = u128::from(inodes.total) * u128::from(to.get()) / u128::from(before.get().max(1));
            inodes.total = u64::try_from(total).unwrap_or(u64::MAX);
        }
    }
}
