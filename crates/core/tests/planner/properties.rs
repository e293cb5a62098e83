//! What holds for every world: properties over random ones.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use csm_api::{Expansion, Reason, Settings, Thresholds, Urgency, Verdict};
use csm_core::check::check;
use csm_core::explain::{gates, inputs, sentence};
use csm_core::plan::{Decision, Plan, plan};
use csm_core::resolve::{Conflict, Origin, OriginKind, Policy, Resolution, Selector, resolve};
use csm_core::world::{Fencing, Member, Observation, Operation, Pause, Resize, ResizeStage, Volume, VolumeKey, World};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::support::*;

/// Worlds that are looked at in every run of the tests.
const CASES: u32 = 100_000;

/// Random numbers, read as choices. Zero is the dull choice, so that failures shrink to dull worlds.
struct Dice<'a>(std::slice::Iter<'a, u32>);

impl Dice<'_> {
    fn roll(&mut self) -> u32 {
        self.0.next().copied().unwrap_or(0)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll() as usize % from.len()]
    }

    /// True once in `n` times.
    fn rarely(&mut self, n: u32) -> bool {
        self.roll() % n == n - 1
    }

    fn maybe<T>(&mut self, n: u32, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.rarely(n).then(|| make(self))
    }

    /// A moment up to so many seconds before noon, sometimes after it.
    fn moment(&mut self, seconds: i64) -> Timestamp {
        let back = i64::from(self.roll()) % seconds;
        let back = if self.rarely(16) { -back } else { back };
        noon() - SignedDuration::from_secs(back)
    }
}

/// What random worlds are made from; its policy is parsed once.
static PLAIN: LazyLock<World> = LazyLock::new(calm);

const GIB: u64 = 1 << 30;
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

fn settings(dice: &mut Dice, base: u64) -> Settings {
    let thresholds = dice.maybe(2, |d| Thresholds {
        warning: None,
        critical: None,
        expansion: Some(d.pick(&[85, 80, 90, 50, 3, 99])),
        emergency: None,
    });
    let share = |d: &mut Dice| d.pick(&[200_u128, 1000, 300, 130, 101, 100, 90, 160]);
    let max_size = dice.maybe(2, |d| (u128::from(base) * share(d) / 100).max(1).to_string().into());
    let expansion = dice.maybe(2, |d| Expansion {
        enabled: d.maybe(20, |_| false),
        percentage: d.maybe(2, |d| d.pick(&[50, 20, 10, 1, 33, 1000])),
        min_increment_gi: d.maybe(2, |d| d.pick(&[5, 1, 2, 100])),
        max_size: None,
        cooldown_minutes: d.maybe(2, |d| d.pick(&[30, 0, 1, 10080])),
        parallelism: None,
    });
    let mut settings = Settings {
        dry_run: dice.maybe(12, |_| true),
        thresholds,
        expansion,
        ..Settings::default()
    };
    if let Some(max_size) = max_size {
        settings.expansion.get_or_insert_default().max_size = Some(max_size);
    }
    settings
}

fn random_member(dice: &mut Dice, i: usize, base: u64) -> Member {
    let mut m = PLAIN.volumes[0].members[0].clone();
    m.instance = format!("orders-{i}").into();
    m.pvc = format!("orders-{i}").into();
    m.uid = format!("uid-{i}").into();
    let size = dice.maybe(4, |d| d.pick(&SIZES)).unwrap_or(base);
    m.size = Bytes::new(size);
    m.request = dice.maybe(8, |d| Bytes::new(d.pick(&SIZES))).unwrap_or(m.size);
    m.bound = !dice.rarely(40);
    m.block = dice.rarely(60);
    m.class.expandable = !dice.rarely(60);
    m.class.shared_filesystem = dice.rarely(100);
    m.twin = dice.rarely(100);
    let filesystem = dice.maybe(12, |d| d.pick(&SIZES)).unwrap_or(size);
    let percent = u128::from(if dice.rarely(3) { 75 + dice.roll() % 26 } else { dice.roll() % 101 });
    let used = u64::try_from(u128::from(filesystem) * percent / 100).unwrap();
    let reserved = if dice.rarely(6) { (filesystem - used) / 5 } else { 0 };
    m.observation = Some(Observation {
        used: Bytes::new(used),
        available: Bytes::new(filesystem - used - reserved),
        capacity: Bytes::new(filesystem),
        inodes: None,
        at: dice.moment(320),
    });
    if dice.rarely(20) {
        m.observation = None;
    }
    m.last_resize_at = dice.maybe(8, |d| d.moment(1000));
    m.resize = dice.maybe(20, |d| Resize {
        since: d.maybe(2, |d| d.moment(1200)),
        stage: d.pick(&[ResizeStage::Controller, ResizeStage::NodePending, ResizeStage::NodeInfeasible]),
        error: None,
    });
    m
}

fn random_volume(dice: &mut Dice, key: VolumeKey, base: u64) -> Volume {
    let count = if dice.rarely(50) { 0 } else { 1 + dice.roll() as usize % 4 };
    let bytes = |d: &mut Dice| Bytes::new(d.pick(&SIZES));
    Volume {
        key,
        members: (1..=count).map(|i| random_member(dice, i, base)).collect(),
        learned_ceiling: dice.maybe(8, bytes),
        fallback_ceiling: dice.maybe(4, bytes),
        retry_after: dice.maybe(16, |d| d.moment(60)),
    }
}

fn random_operation(dice: &mut Dice, i: usize, base: u64) -> Operation {
    Operation {
        id: format!("operation-{i}").into(),
        volume: if dice.rarely(3) { VolumeKey::WAL } else { VolumeKey::DATA },
        urgency: if dice.rarely(4) { Urgency::CatchUp } else { Urgency::Planned },
        started_at: {
            let within = dice.pick(&[3_000, 100_000]);
            dice.moment(within)
        },
        from: Bytes::new(base / 2),
        to: Bytes::new(dice.pick(&[base, base / 2, base.saturating_mul(2), base + 1])),
        members: dice.maybe(3, |d| vec![d.pick(&["uid-1", "uid-2", "uid-3", "gone"]).into()]),
        accepted: !dice.rarely(6),
        done: !dice.rarely(5),
    }
}

fn random_world(numbers: &[u32]) -> World {
    let dice = &mut Dice(numbers.iter());
    let odd = dice.rarely(3);
    let base = dice.pick(if odd { &SIZES } else { &SIZES[..10] });
    let mut world = PLAIN.clone();
    let policy = Policy {
        origin: Origin::object(OriginKind::StoragePolicy, Some("shop"), "standard"),
        selector: Selector::default(),
        namespace_selector: None,
        exclude: Vec::new(),
        settings: Arc::new(settings(dice, base)),
        bounds: None,
        problems: Vec::new(),
    };
    world.resolution = Arc::new(match dice.roll() % 40 {
        39 => Resolution::NoPolicy,
        38 => Resolution::Conflict(vec![Conflict {
            rank: policy.rank(),
            policies: vec![policy.origin.clone(), Origin::built_in()],
        }]),
        _ => resolve(&[&policy], None, &Settings::default()),
    });
    world.volumes = vec![random_volume(dice, VolumeKey::DATA, base)];
    if dice.rarely(3) {
        world.volumes.push(random_volume(dice, VolumeKey::WAL, base));
    }
    world.operations = (0..dice.roll() as usize % 5).map(|i| random_operation(dice, i, base)).collect();
    let cluster = &mut world.cluster;
    cluster.deleting = dice.rarely(40);
    cluster.hibernated = dice.rarely(40);
    cluster.resize_in_use_volumes = !dice.rarely(40);
    cluster.primary = (!dice.rarely(12)).then(|| dice.pick(&["orders-1", "orders-2", "orders-3"]).into());
    cluster.fencing = match dice.roll() % 24 {
        23 => Fencing::All,
        22 => Fencing::Unreadable("?".into()),
        21 | 20 => Fencing::Instances(vec![dice.pick(&["orders-2", "orders-1", "orders-3"]).into()]),
        _ => Fencing::None,
    };
    if dice.rarely(16) {
        cluster.pause = Pause::Paused {
            until: dice.maybe(2, |d| d.moment(600)),
            unreadable: dice.maybe(3, |_| "yes".into()),
        };
    }
    world
}

/// Numbers from one seed, since a strategy for each of them takes most of the time. A failure shrinks to the
/// shortest run of them that still fails; what follows is zero, and dull.
fn numbers() -> impl Strategy<Value = Vec<u32>> {
    (any::<u64>(), 0..1000_usize).prop_map(|(mut seed, length)| {
        let next = || {
            // splitmix64
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()
        };
        std::iter::repeat_with(next).take(length.min(200)).collect()
    })
}

/// The ceiling, found by the words of the specification once more.
fn ceiling(world: &World, volume: &Volume) -> Option<Bytes> {
    let Resolution::Settings(settings) = &*world.resolution else {
        return None;
    };
    let max_size = settings.expansion.max_size.as_ref().map(|f| f.value);
    let set: Vec<Bytes> = [max_size, volume.learned_ceiling].into_iter().flatten().collect();
    set.iter().min().copied().or(volume.fallback_ceiling)
}

fn sizes_are_right(world: &World, volume: &Volume, d: &Decision) -> Result<(), TestCaseError> {
    prop_assert_eq!(d.members.len(), volume.members.len());
    let ceiling = ceiling(world, volume);
    prop_assert_eq!(d.ceiling.map(|c| c.size), ceiling);
    let sized = d.members.iter().filter(|m| m.to.is_some()).count();
    prop_assert_eq!(d.to.is_some(), d.acts());
    prop_assert_eq!(sized > 0, d.acts());
    for plan in d.members.iter().filter(|m| m.to.is_some()) {
        let member = volume.members.iter().find(|m| m.uid == plan.uid).unwrap();
        prop_assert_eq!(plan.to, d.to);
        prop_assert!(plan.to > Some(member.bytes()));
    }
    let Some(to) = d.to else { return Ok(()) };
    prop_assert!(ceiling.is_none_or(|c| to <= c));
    if d.verdict == Verdict::Grow {
        prop_assert!(to > d.from);
        let unit = if to.get() < 10 * GIB { 1 << 20 } else { GIB };
        prop_assert!(to.get().is_multiple_of(unit) || ceiling == Some(to));
    } else {
        prop_assert_eq!(to, ceiling.map_or(d.from, |c| c.min(d.from)));
    }
    Ok(())
}

fn is_consistent(d: &Decision) -> Result<(), TestCaseError> {
    let held = d.wanted.map(|w| w.held_by);
    match d.verdict {
        Verdict::Hold => prop_assert!(held.is_none_or(|h| h == d.reason)),
        Verdict::CatchUp => prop_assert!(matches!(held, None | Some(Reason::AtLimit | Reason::Cooldown))),
        // A runway goes where a planned growth is held.
        Verdict::Grow => prop_assert_eq!(held.is_some(), d.urgency == Some(Urgency::Runway)),
        Verdict::Rescue | Verdict::Balanced => prop_assert_eq!(held, None),
    }
    prop_assert_eq!(d.urgency.is_none(), d.wanted.is_none() && !d.acts());
    prop_assert_eq!(d.worst.is_some(), d.percent_used.is_some());
    let is_runway = d.urgency == Some(Urgency::Runway);
    prop_assert_eq!(
        is_runway,
        d.reason == Reason::Runway || d.wanted.is_some_and(|w| w.reason == Reason::Runway)
    );
    prop_assert_eq!(is_runway, !d.passed.is_empty());
    if d.verdict == Verdict::Grow {
        prop_assert_eq!(d.passed.first().copied(), held);
    }
    Ok(())
}

/// Each volume's members, volumes and operations in another order.
fn shuffled(world: &World) -> World {
    let mut world = world.clone();
    world.volumes.reverse();
    world.operations.reverse();
    for volume in &mut world.volumes {
        volume.members.reverse();
        if volume.members.len() > 2 {
            volume.members.rotate_left(1);
        }
    }
    world
}

/// The world after the plan was carried out: PVCs and filesystems have grown, the operations are in the ledger,
/// and everything is seen afresh at `later`.
fn applied(world: &World, plan: &Plan, now: Timestamp, later: Timestamp) -> World {
    let mut world = world.clone();
    for decision in plan.decisions.iter().filter(|d| d.acts()) {
        let volume = world.volumes.iter_mut().find(|v| v.key == decision.volume).unwrap();
        let sizes: BTreeMap<&str, Bytes> = decision.members.iter().filter_map(|m| Some((&*m.uid, m.to?))).collect();
        for member in &mut volume.members {
            let Some(to) = sizes.get(&*member.uid) else { continue };
            let more = to.saturating_sub(member.bytes());
            (member.size, member.request, member.last_resize_at) = (*to, *to, Some(now));
            if let Some(figures) = &mut member.observation {
                figures.available = figures.available.saturating_add(more);
                figures.capacity = figures.capacity.saturating_add(more);
            }
        }
        world.operations.push(Operation {
            id: format!("applied-{now}-{}", decision.volume).into(),
            volume: decision.volume.clone(),
            urgency: decision.urgency.unwrap(),
            started_at: now,
            from: decision.from,
            to: decision.to.unwrap(),
            members: Some(sizes.keys().map(|u| (*u).into()).collect()),
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

/// Longer than any cooldown that a random world has.
const A_FORTNIGHT: SignedDuration = SignedDuration::from_hours(14 * 24);

fn is_over(world: &World, d: &Decision) -> bool {
    let Resolution::Settings(settings) = &*world.resolution else {
        return false;
    };
    let threshold = u128::from(settings.thresholds.expansion.value.get());
    let volume = world.volumes.iter().find(|v| v.key == d.volume).unwrap();
    volume.members.iter().filter_map(|m| m.observation).any(|o| {
        let (used, available) = (u128::from(o.used.get()), u128::from(o.available.get()));
        used * 100 >= threshold * (used + available)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_plan(numbers in numbers()) {
        let world = random_world(&numbers);
        let now = noon();
        let decided = plan(&world, now);

        // The same input gives the same plan, in whatever order it was gathered.
        prop_assert_eq!(&plan(&world, now), &decided);
        prop_assert_eq!(&plan(&shuffled(&world), now), &decided);

        // The second pass agrees.
        prop_assert_eq!(check(&world, &decided, now), Ok(()));

        // Sizes: above what there is, within the ceiling, on the unit or exactly the ceiling.
        for d in &decided.decisions {
            let volume = world.volumes.iter().find(|v| v.key == d.volume).unwrap();
            sizes_are_right(&world, volume, d)?;
            is_consistent(d)?;
        }

        // Until it is time to look again, nothing changes.
        if let Some(again) = decided.look_again_at {
            prop_assert!(again > now);
            let (before, half) = (again - INSTANT, now + (again.duration_since(now) / 2));
            prop_assert_eq!(&plan(&world, before).decisions, &decided.decisions);
            prop_assert_eq!(&plan(&world, half.max(now)).decisions, &decided.decisions);
        } else {
            prop_assert_eq!(&plan(&world, now + A_FORTNIGHT).decisions, &decided.decisions);
        }

        // Carried out, a growth is not wanted again at the same usage, unless that is still over the threshold.
        if decided.decisions.iter().any(Decision::acts) {
            let later = now + A_FORTNIGHT;
            let grown = applied(&world, &decided, now, later);
            let again = plan(&grown, later);
            prop_assert_eq!(check(&grown, &again, later), Ok(()));
            for (before, after) in decided.decisions.iter().zip(&again.decisions) {
                prop_assert!(after.from >= before.from);
                if before.verdict == Verdict::Grow {
                    prop_assert!(after.from >= before.to.unwrap());
                    prop_assert!(after.verdict != Verdict::Grow || is_over(&grown, after));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// Carried out again and again at the same usage, it comes to rest.
    #[test]
    fn it_converges(numbers in numbers()) {
        let mut world = random_world(&numbers);
        let mut now = noon();
        // 1 % a step from 100 % used to below 3 %: ln(100/3) / ln(1.01) steps; catch-ups between them.
        for _ in 0..1000 {
            let decided = plan(&world, now);
            if !decided.decisions.iter().any(Decision::acts) {
                return Ok(());
            }
            let later = now + A_FORTNIGHT;
            world = applied(&world, &decided, now, later);
            now = later;
        }
        prop_assert!(false, "still growing: {:#?}", plan(&world, now));
    }

    /// Whatever was decided can be explained.
    #[test]
    fn everything_can_be_explained(numbers in numbers()) {
        let world = random_world(&numbers);
        for d in plan(&world, noon()).decisions {
            let text = sentence(&d);
            prop_assert!(text.starts_with(d.volume.role.as_str()) && !text.contains("it is held ("), "{}", text);
            prop_assert!(!inputs(&d).is_empty());
            let reports = gates(&world, noon(), &d.volume).unwrap();
            let first = reports.iter().find_map(|r| r.holds);
            match d.verdict {
                // A runway passes the gates that hold the growth.
                Verdict::Grow => prop_assert_eq!(first, d.passed.first().copied()),
                // What is wanted is held by the first gate; where nothing is, a growth might meet another one first.
                Verdict::Hold if d.wanted.is_some_and(|w| w.urgency == Urgency::Planned) => prop_assert_eq!(first, Some(d.reason)),
                Verdict::Hold if d.wanted.is_none() => prop_assert!(reports.iter().any(|r| r.holds == Some(d.reason))),
                _ => {}
            }
        }
    }
}

/// What only volumes of the other models show, and what is too rare.
const OTHER_MODELS: &[Reason] = &[
    Reason::DiskFull,
    Reason::CriticalThreshold,
    Reason::CriticalMinimumFree,
    Reason::MinAvailable,
    Reason::InodeThreshold,
    Reason::TimeToFull,
    Reason::RequestFloor,
    Reason::TargetBuffer,
    Reason::CircuitOpen,
    Reason::BudgetExhausted,
    Reason::BudgetReservedForEmergency,
    Reason::ProviderLimit,
    Reason::FleetLimit,
    Reason::MaintenanceWindowClosed,
    Reason::WalRiskNotAcknowledged,
    Reason::ArchiveUnhealthy,
    Reason::TooManyPendingWalFiles,
    Reason::SlotRetention,
    Reason::WalHealthUnknown,
    Reason::FieldIgnored,
    Reason::BlockVolume,
    Reason::StorageClassNotExpandable,
];

/// The worlds above are worth looking at: everything happens in them.
#[test]
fn random_worlds_are_varied() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let total = 5_000;
    for _ in 0..total {
        let world = random_world(&numbers().new_tree(&mut runner).unwrap().current());
        for d in plan(&world, noon()).decisions.iter().take(1) {
            let warnings = d.warnings.iter().map(|w| w.reason.to_string());
            let beside = d.wanted.filter(|_| d.verdict == Verdict::CatchUp).map(|_| "beside".to_owned());
            let cut = (d.to.is_some() && d.to == d.ceiling.map(|c| c.size)).then(|| "at the ceiling".to_owned());
            let names = [d.verdict.to_string(), d.reason.to_string(), d.state.to_string()];
            for name in names.into_iter().chain(warnings).chain(beside).chain(cut) {
                *seen.entry(name).or_default() += 1;
            }
        }
    }
    let at_least = |name: &str, share: u32| {
        let n = seen.get(name).copied().unwrap_or(0);
        assert!(n * 100 >= total * share, "{name}: {n} of {total}; {seen:#?}");
    };
    for (name, share) in [("Grow", 5), ("CatchUp", 3), ("Balanced", 5), ("Hold", 30), ("at the ceiling", 1)] {
        at_least(name, share);
    }
    for reason in Reason::ALL.iter().filter(|r| !OTHER_MODELS.contains(r)) {
        assert!(seen.contains_key(reason.as_str()), "{reason}; {seen:#?}");
    }
    assert!(seen.contains_key("beside"), "{seen:#?}");
}
