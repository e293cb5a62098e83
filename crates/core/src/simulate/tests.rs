#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use csm_api::{Expansion, Reason, Settings, Urgency};
use csm_units::Percent;
use proptest::prelude::*;

use super::*;
use crate::resolve::{Origin, OriginKind, Policy, Selector, resolve};
use crate::world::{Circuit, Class, Cluster, Fencing, Fleet, Limits, Member, Observation, Pause, WalHealth};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn settings(yaml: &str) -> Settings {
    serde_saphyr::from_str(yaml).unwrap()
}

/// A Cluster of `instances` with one volume of 10Gi, and a policy.
fn world(settings: Settings, instances: usize) -> World {
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
    let member = |i: usize| Member {
        pvc: format!("orders-{i}").into(),
        uid: format!("uid-{i}").into(),
        instance: format!("orders-{i}").into(),
        node: None,
        request: Bytes::gib(10),
        size: Bytes::gib(10),
        bound: true,
        block: false,
        class: Class {
            name: "standard".into(),
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
            uid: "orders".into(),
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
            members: (1..=instances).map(member).collect(),
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

/// What is used, a sample after the other, `step` apart.
fn run(world: World, step: SignedDuration, used: &[Bytes]) -> Outcome {
    let to = start() + step * i32::try_from(used.len().max(1) - 1).unwrap();
    let mut simulation = Simulation::new(world, Options::new(start(), to));
    let target = simulation.target(&VolumeKey::DATA, None).unwrap();
    for (i, used) in used.iter().enumerate() {
        let at = start() + step * i32::try_from(i).unwrap();
        simulation.observe(at, &[Usage { target, used: *used }]).unwrap();
    }
    simulation.finish().unwrap().remove(0)
}

/// Fills at one MiB a second.
fn filling(minutes: u64) -> Vec<Bytes> {
    (0..=minutes).map(|minute| Bytes::mib(60 * minute)).collect()
}

#[test]
fn a_volume_that_fills_grows_in_time() {
    let outcome = run(world(settings("expansion: {maxSize: 100Gi}"), 3), MINUTE, &filling(360));
    // 85 % of 10Gi are 8704 MiB, which are reached in minute 146; of 15Gi, in 218; of 23Gi, in 334.
    let minutes = |action: &Action| action.at.duration_since(start()).as_mins();
    let log: Vec<_> = outcome.log.iter().map(|a| (minutes(a), a.from, a.to, a.reason)).collect();
    let by = Reason::UsageThreshold;
    assert_eq!(
        log,
        [
            (146, Bytes::gib(10), Bytes::gib(15), by),
            (218, Bytes::gib(15), Bytes::gib(23), by),
            (334, Bytes::gib(23), Bytes::gib(35), by),
        ]
    );
    assert_eq!(
        outcome.log[0].instances.iter().map(|i| &**i).collect::<Vec<_>>(),
        ["orders-2", "orders-3", "orders-1"]
    );
    assert_eq!((outcome.size_before, outcome.size_after), (Bytes::gib(10), Bytes::gib(35)));
    assert_eq!(
        (outcome.outages, outcome.outage, outcome.first_outage),
        (0, SignedDuration::ZERO, None)
    );
    assert_eq!(outcome.peak, Bytes::mib(21_600));
    assert_eq!(outcome.peak_use.map(Percent::get), Some(86), "while the growth was under way");
    // Each of three grows a minute after the other: 3 × (146 × 10 + 72 × 15 + 116 × 23 + 26 × 35) + (1 + 2 + 3) × (10 - 15 + 15 - 23 + 23 - 35)
    // GiB-minutes.
    assert_eq!(outcome.gib_hours_tenths, (3 * (1460 + 1080 + 2668 + 910) - 6 * 25) / 6);
    // The cooldown never held; each growth held the next one for as long as it was under way.
    assert_eq!(outcome.held, [(Reason::ResizeInProgress, MINUTE * 9)].into());
}

#[test]
fn what_does_not_fit_is_an_outage_until_all_have_grown() {
    let jump = [vec![Bytes::gib(2); 10], vec![Bytes::gib(12); 10]].concat();
    let of = |yaml: &str| run(world(settings(yaml), 3), MINUTE, &jump);
    let one_by_one = of("{}");
    assert_eq!((one_by_one.outages, one_by_one.outage), (1, MINUTE * 3));
    assert_eq!(one_by_one.first_outage, Some(start() + MINUTE * 10));
    assert_eq!(one_by_one.log[0].urgency, Urgency::Rescue);
    assert_eq!(one_by_one.log[0].to, Bytes::gib(15));
    assert_eq!(one_by_one.peak, Bytes::gib(12));
    let at_once = of("expansion: {parallelism: 3}");
    assert_eq!(at_once.outage, MINUTE);
    // Nobody may grow it: it is down to the end, from its tenth minute to its nineteenth.
    let never = of("expansion: {maxSize: 10Gi}");
    assert_eq!((never.outages, never.outage, never.count()), (1, MINUTE * 9, 0));
    assert_eq!(never.held.get(&Reason::AtLimit), Some(&(MINUTE * 9)));
    assert_eq!(
        (never.peak, never.peak_use.map(Percent::get)),
        (Bytes::gib(10), Some(100)),
        "clipped"
    );
    assert!(never.course.parts.last().unwrap().unwrap().down);
    // Too large from the first sample on.
    let at_once = run(world(settings("{}"), 1), MINUTE, &[Bytes::gib(11); 3]);
    assert_eq!((at_once.outage, at_once.first_outage), (MINUTE, Some(start())));
}

#[test]
fn a_gap_is_a_time_without_figures() {
    let mut simulation = Simulation::new(world(settings("{}"), 1), Options::new(start(), start() + HOUR * 2));
    let target = simulation.target(&VolumeKey::DATA, None).unwrap();
    let usage = |used| [Usage { target, used }];
    simulation.observe(start(), &usage(Bytes::gib(1))).unwrap();
    simulation.observe(start() + HOUR, &usage(Bytes::gib(2))).unwrap();
    let outcome = simulation.finish().unwrap().remove(0);
    // Figures count for five minutes.
    let stale = outcome.held[&Reason::StaleObservation];
    assert_eq!(stale.as_secs(), 2 * 55 * 60 - 1, "{stale}");
}

#[test]
fn instances_can_have_samples_of_their_own() {
    let mut simulation = Simulation::new(world(settings("{}"), 2), Options::new(start(), start() + MINUTE));
    let of = |name| simulation.target(&VolumeKey::DATA, Some(name));
    let (one, two) = (of("orders-1").unwrap(), of("orders-2").unwrap());
    assert_eq!((of("orders-3"), simulation.target(&VolumeKey::WAL, None)), (None, None));
    let samples = [(one, 9), (two, 1)].map(|(target, gib)| Usage {
        target,
        used: Bytes::gib(gib),
    });
    simulation.observe(start(), &samples).unwrap();
    let outcome = simulation.finish().unwrap().remove(0);
    assert_eq!((outcome.count(), outcome.log[0].percent_used.unwrap().get()), (1, 90));
    assert_eq!(outcome.average_use, Some(PerMille(500)));
}

#[test]
fn the_world_begins_anew() {
    let mut world = world(settings("{}"), 1);
    let member = &mut world.volumes[0].members[0];
    // An ext4 filesystem with reserved blocks, seen tomorrow, and a resize that is under way.
    member.observation = Some(Observation {
        used: Bytes::gib(5),
        available: Bytes::gib(4),
        capacity: Bytes::mib(10_000),
        inodes: None,
        at: start() + HOUR * 24,
    });
    member.request = Bytes::gib(20);
    member.last_resize_at = Some(start() + HOUR);
    world.operations.push(Operation {
        id: "tomorrow".into(),
        volume: VolumeKey::DATA,
        urgency: Urgency::Planned,
        started_at: start() + HOUR * 24,
        from: Bytes::gib(10),
        to: Bytes::gib(20),
        members: None,
        accepted: true,
        done: false,
    });
    let outcome = run(world, MINUTE, &[Bytes::gib(8); 2]);
    assert_eq!(outcome.size_before, Bytes::gib(20));
    assert_eq!(
        outcome.log[0].percent_used.unwrap().get(),
        88,
        "of the 9 GiB that the filesystem has"
    );
}

#[test]
fn the_ledger_and_the_log_stay_small() {
    let settings = Settings {
        expansion: Some(Expansion {
            percentage: Some(1),
            min_increment_gi: Some(1),
            cooldown_minutes: Some(0),
            ..Expansion::default()
        }),
        ..Settings::default()
    };
    let mut options = Options::new(start(), start() + HOUR * 24 * 400);
    options.listed = 5;
    let mut simulation = Simulation::new(world(settings, 1), options);
    let target = simulation.target(&VolumeKey::DATA, None).unwrap();
    let mut most = 0;
    for hour in 0..24 * 400 {
        let used = Bytes::mib(200 * hour);
        let at = start() + HOUR * i32::try_from(hour).unwrap();
        simulation.observe(at, &[Usage { target, used }]).unwrap();
        most = most.max(simulation.world.operations.len());
    }
    let outcome = simulation.finish().unwrap().remove(0);
    assert!(outcome.count() > 200 && outcome.log.len() == 5, "{}", outcome.count());
    assert!(most < 30, "{most} operations were kept");
}

const POLICIES: [&str; 6] = [
    "{}",
    "{expansion: {maxSize: 40Gi, cooldownMinutes: 600}, emergencyRunway: false}",
    "storage: {resize: {enabled: true, triggers: {minAvailable: 1Gi}, expansion: {limit: 60Gi}, strategy: {maxActionsPerDay: 2, walSafetyPolicy: {acknowledgeWALRisk: true}}}}",
    "storage: {resize: {enabled: true, triggers: {timeToFull: 2h}, strategy: {mode: Predictive, walSafetyPolicy: {acknowledgeWALRisk: true}}}}",
    "storage: {request: 10Gi, limit: 200Gi, targetBuffer: 20, maintenanceWindow: {}}",
    "storage: {request: 12Gi, targetBuffer: 10, emergencyGrow: {maxActionsPerDay: 3, reservedActionsForEmergency: 1}}",
];

/// How fast it fills, for how many steps; and how far apart these are.
fn courses() -> impl Strategy<Value = (usize, usize, i64, Vec<(i64, usize)>)> {
    let rates = prop::collection::vec((prop_oneof![9 => -400_i64..900, 1 => -9000_i64..9000], 1_usize..60), 1..8);
    (
        0..POLICIES.len(),
        1_usize..4,
        prop::sample::select(vec![30_i64, 60, 300, 3600]),
        rates,
    )
}

fn course(rates: &[(i64, usize)]) -> Vec<Bytes> {
    let mut used = 4096_i64;
    let steps = rates.iter().flat_map(|(rate, steps)| std::iter::repeat_n(*rate, *steps));
    let mut next = |rate: i64| {
        used = (used + rate).max(0);
        Bytes::mib(used.unsigned_abs())
    };
    steps.map(&mut next).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Never shrinks, keeps its budget in any 24 hours, is down only where something did not fit, and counts all of the time.
    #[test]
    fn outcomes_make_sense((policy, instances, step, rates) in courses()) {
        let used = course(&rates);
        let outcome = run(world(settings(POLICIES[policy]), instances), SignedDuration::from_secs(step), &used);
        let sizes: Vec<Bytes> = outcome.course.parts.iter().flatten().map(|span| span.size).collect();
        prop_assert!(sizes.is_sorted());
        prop_assert!(outcome.size_after >= outcome.size_before);
        for span in outcome.course.parts.iter().flatten() {
            prop_assert!(span.least <= span.last && span.last <= span.most);
            prop_assert!(span.most <= span.size || span.down);
        }
        let most = used.iter().max().copied().unwrap();
        if most <= outcome.size_before {
            prop_assert_eq!((outcome.outages, outcome.outage), (0, SignedDuration::ZERO));
        }
        if most < Bytes::mib(8500) && policy < 2 {
            prop_assert_eq!(outcome.count(), 0, "it is below the threshold all the time");
        }
        let most_a_day = [None, None, Some(2), Some(3), Some(4), Some(3)][policy];
        for action in &outcome.log {
            let day = outcome.log.iter().filter(|a| {
                let counts = !matches!(a.urgency, Urgency::CatchUp | Urgency::Rescue);
                counts && a.at <= action.at && a.at > action.at - HOUR * 24
            });
            let count = day.count();
            prop_assert!(most_a_day.is_none_or(|most| count <= most), "{count}: {:?}", outcome.log);
            prop_assert!(action.to > action.from || action.urgency == Urgency::CatchUp);
        }
        let lasted = outcome.course.to.duration_since(outcome.course.from);
        let held = outcome.held.values().fold(SignedDuration::ZERO, |sum, time| sum + *time);
        prop_assert!(held <= lasted && outcome.outage <= lasted);
        prop_assert_eq!(outcome.count(), u64::try_from(outcome.log.len()).unwrap());
    }
}
