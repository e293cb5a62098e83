//! What holds for every world: properties over random ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{Growth, Reason, RetryBasis, Role, State, Urgency, Verdict};
use csm_core::check::check;
use csm_core::explain::{gates, inputs, relief, sentence};
use csm_core::operation::{Context, follow, record};
use csm_core::plan::{Decision, plan};
use csm_core::resolve::{Resolution, Resolved, Sizing, VolumeRules};
use csm_core::world::{Member, Observation, Volume, World};
use csm_units::Bytes;
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::support::*;
use crate::worlds::{GIB, applied, numbers, random_world};

/// Worlds that are looked at in every run of the tests.
const CASES: u32 = 100_000;

/// The settings of a volume, where they could be resolved.
fn rules_of<'a>(world: &'a World, volume: &Volume) -> Option<(&'a Resolved, &'a VolumeRules)> {
    let Resolution::Settings(settings) = &*world.resolution else {
        return None;
    };
    Some((settings, settings.volumes.of(&volume.key).ok()?))
}

/// The ceiling, found by the words of the specification once more.
fn ceiling(world: &World, volume: &Volume, urgency: Option<Urgency>) -> Option<Bytes> {
    let (settings, rules) = rules_of(world, volume)?;
    let urgent = matches!(urgency, Some(Urgency::Emergency | Urgency::Rescue));
    let exceeds = urgent && rules.emergency.as_ref().is_some_and(|e| e.enabled.value && e.exceed_limit.value);
    let own = |size: Bytes| if exceeds { size.mul_div(5, 4) } else { size };
    let max_size = settings.expansion.max_size.as_ref().map(|f| f.value);
    let (max_size, limit) = match &rules.sizing {
        Sizing::Thresholds => (max_size.map(own), None),
        Sizing::Resize(resize) => (max_size, resize.limit.as_ref().map(|f| own(f.value))),
        Sizing::Target(target) => (max_size, Some(own(target.limit.value))),
    };
    let bound = settings.bounds.max_size.as_ref().map(|f| f.value);
    let set = [max_size, limit, bound, volume.learned_ceiling].into_iter().flatten();
    set.min().or(volume.fallback_ceiling)
}

fn sizes_are_right(world: &World, volume: &Volume, d: &Decision) -> Result<(), TestCaseError> {
    prop_assert_eq!(d.members.len(), volume.members.len());
    let ceiling = ceiling(world, volume, d.urgency);
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
    if d.verdict == Verdict::CatchUp {
        prop_assert_eq!(to, ceiling.map_or(d.from, |c| c.min(d.from)));
        return Ok(());
    }
    prop_assert!(to > d.from);
    let on = |unit: u64| to.get().is_multiple_of(unit);
    let unit = if to.get() < 10 * GIB { 1 << 20 } else { GIB };
    // A step that `maxStep` allows no whole unit for is a number of MiB.
    let small = rules_of(world, volume).is_some_and(|(_, r)| matches!(&r.sizing, Sizing::Resize(r) if r.max_step.value < Bytes::GIB));
    prop_assert!(on(unit) || ceiling == Some(to) || (small && on(1 << 20)), "{}", to);
    Ok(())
}

/// What a catch-up may go beside: gates 14 to 22.
const PACES: &[Reason] = &[
    Reason::AtLimit,
    Reason::BudgetExhausted,
    Reason::BudgetReservedForEmergency,
    Reason::ProviderLimit,
    Reason::Cooldown,
    Reason::FleetLimit,
    Reason::MaintenanceWindowClosed,
    Reason::WalRiskNotAcknowledged,
    Reason::ArchiveUnhealthy,
    Reason::TooManyPendingWalFiles,
    Reason::SlotRetention,
];

/// What a runway may pass.
const PASSED: &[Reason] = &[
    Reason::Fenced,
    Reason::NotBound,
    Reason::BlockVolume,
    Reason::StorageClassNotExpandable,
    Reason::ResizeInProgress,
    Reason::ResizeStuck,
    Reason::BudgetReservedForEmergency,
    Reason::ProviderLimit,
    Reason::Cooldown,
    Reason::FleetLimit,
    Reason::MaintenanceWindowClosed,
    Reason::ArchiveUnhealthy,
    Reason::TooManyPendingWalFiles,
    Reason::SlotRetention,
];

fn is_consistent(d: &Decision) -> Result<(), TestCaseError> {
    let held = d.wanted.map(|w| w.held_by);
    match d.verdict {
        Verdict::Hold => prop_assert!(held.is_none_or(|h| h == d.reason)),
        Verdict::CatchUp => prop_assert!(held.is_none_or(|h| PACES.contains(&h)), "{:?}", held),
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
    prop_assert!(d.passed.iter().all(|gate| PASSED.contains(gate)), "{:?}", d.passed);
    if d.verdict == Verdict::Grow {
        prop_assert_eq!(d.passed.first().copied(), held);
        if let (true, Some(wanted)) = (is_runway, d.wanted) {
            prop_assert!(wanted.urgency == Urgency::Planned && d.to <= wanted.to);
        }
    }
    Ok(())
}

/// What is decided is not stopped at once when it is carried out; and what is urgent is carried out at once, whatever the
/// Cluster's other volumes do.
fn may_begin(world: &World, d: &Decision) -> Result<(), TestCaseError> {
    let Some(growth) = record(world, d, 1, String::new()) else {
        prop_assert!(!d.acts());
        return Ok(());
    };
    let basis = RetryBasis::default();
    let context = Context::of(world, &growth, 0, &basis, SignedDuration::from_mins(5), noon());
    prop_assert_eq!(context.permission, Ok(()), "{:#?}", d);
    let waits = context.in_flight_elsewhere > 0;
    let begun = follow(&Growth::new("begun", growth), context);
    prop_assert_eq!(begun.ended(), None);
    let urgent = matches!(d.urgency, Some(Urgency::Emergency | Urgency::Rescue | Urgency::Runway));
    prop_assert!(!begun.patch.is_empty() || (waits && !urgent), "{:#?}", d);
    Ok(())
}

/// WAL relief, by the letter of section 8.
fn relief_is_right(world: &World, volume: &Volume, d: &Decision) -> Result<(), TestCaseError> {
    let now = noon();
    let wanted: Vec<&str> = d.relief.iter().flat_map(|r| &r.instances).map(|r| &*r.instance).collect();
    prop_assert!(wanted.is_sorted());
    prop_assert!(d.relief.is_none() || !wanted.is_empty());
    let settings = match &*world.resolution {
        Resolution::Settings(settings) if settings.wal_cleanup.enabled.value => settings,
        _ => {
            prop_assert!(wanted.is_empty());
            return Ok(());
        }
    };
    let separate = world.volumes.iter().any(|v| v.key.role == Role::Wal);
    let holds_wal = volume.key.role == if separate { Role::Wal } else { Role::Data };
    let level = u128::from(settings.thresholds.emergency.value.get());
    let is_over = |m: &Member| {
        m.observation.is_some_and(|o| {
            let at = o.at.min(now);
            let fresh = now.duration_since(at).as_secs() <= 300 && m.last_resize_at.is_none_or(|end| at > end);
            let (used, total) = (u128::from(o.used.get()), u128::from(o.used.get()) + u128::from(o.available.get()));
            fresh && total > 0 && used * 100 >= level * total
        })
    };
    let urgent = |u: Urgency| matches!(u, Urgency::Emergency | Urgency::Rescue | Urgency::Runway);
    let held = d.wanted.is_some_and(|w| urgent(w.urgency));
    prop_assert_eq!(!wanted.is_empty(), holds_wal && (held || volume.members.iter().any(is_over)));
    for member in volume.members.iter().filter(|m| holds_wal && is_over(m)) {
        prop_assert!(wanted.contains(&&*member.instance));
    }
    Ok(())
}

/// Each volume's members, volumes, operations, samples and slots in another order.
fn shuffled(world: &World) -> World {
    let mut world = world.clone();
    world.volumes.reverse();
    world.operations.reverse();
    if let Some(wal) = &mut world.cluster.wal {
        wal.slots.reverse();
    }
    for volume in &mut world.volumes {
        volume.members.reverse();
        if volume.members.len() > 2 {
            volume.members.rotate_left(1);
        }
        for member in volume.members.iter_mut().filter(|m| !m.history.is_empty()) {
            let mut history = member.history.to_vec();
            history.reverse();
            history.rotate_left(member.history.len() / 3);
            member.history = history.into();
        }
    }
    world
}

/// Longer than any cooldown that a random world has.
const A_FORTNIGHT: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Whether what a decision says is so: the figures of some member that has its volume's size are over.
fn is_over(world: &World, d: &Decision) -> bool {
    let volume = world.volumes.iter().find(|v| v.key == d.volume).unwrap();
    let Some((settings, rules)) = rules_of(world, volume) else {
        return false;
    };
    let emergency = rules.emergency.as_ref();
    let resize = match &rules.sizing {
        Sizing::Resize(resize) => Some(resize),
        Sizing::Thresholds | Sizing::Target(_) => None,
    };
    let percent = |o: &Observation| {
        let (used, available) = (u128::from(o.used.get()), u128::from(o.available.get()));
        move |p: u16| (used * 100).cmp(&(u128::from(p) * (used + available)))
    };
    let over = |m: &Member, o: &Observation| match (d.reason, resize) {
        (Reason::UsageThreshold, None) => percent(o)(settings.thresholds.expansion.value.get()).is_ge(),
        (Reason::UsageThreshold, Some(r)) => percent(o)(r.usage_threshold.value.get()).is_gt(),
        (Reason::MinAvailable, Some(r)) => r.min_available.as_ref().is_some_and(|f| o.available < f.value),
        (Reason::InodeThreshold, Some(r)) => o.inodes.is_some_and(|i| {
            let threshold = u128::from(r.inode_threshold.as_ref().unwrap().value.get());
            u128::from(i.used) * 100 > threshold * u128::from(i.total)
        }),
        (Reason::CriticalThreshold, _) => emergency.is_some_and(|e| percent(o)(e.threshold.value.get()).is_ge()),
        (Reason::CriticalMinimumFree, _) => emergency.is_some_and(|e| {
            let default = GIB.min(u64::try_from(u128::from(m.size.get()) * 5 / 100).unwrap());
            o.available.get() <= e.minimum_free.as_ref().map_or(default, |f| f.value.get())
        }),
        // By the letter: less than the buffer is free, of what the filesystem keeps for itself apart.
        (Reason::TargetBuffer, _) => match &rules.sizing {
            Sizing::Target(t) => {
                let kept = 100 - u128::from(t.buffer.value.get());
                let (used, total) = (u128::from(o.used.get()), u128::from(o.used.get()) + u128::from(o.available.get()));
                // Sizes of more than an EiB are beyond 128 bits.
                let needed = (used * 100).checked_mul(u128::from(m.size.get()));
                let kept = (kept * total).checked_mul(u128::from(d.from.get()));
                total > 0 && needed.zip(kept).is_none_or(|(needed, kept)| needed > kept)
            }
            Sizing::Thresholds | Sizing::Resize(_) => false,
        },
        _ => false,
    };
    match d.reason {
        Reason::RequestFloor => matches!(&rules.sizing, Sizing::Target(t) if d.from < t.request.value),
        // The growth that it stands in for is checked where it is decided.
        Reason::Runway => true,
        Reason::DiskFull => volume.members.iter().any(|m| m.disk_full),
        _ => volume.members.iter().any(|m| m.observation.is_some_and(|o| over(m, &o))),
    }
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
        let checked = check(&world, &decided, now);
        prop_assert!(checked.is_ok(), "{:?} {:#?} {:#?}", checked, decided, world);

        // Sizes: above what there is, within the ceiling, on the unit or exactly the ceiling.
        for d in &decided.decisions {
            let volume = world.volumes.iter().find(|v| v.key == d.volume).unwrap();
            sizes_are_right(&world, volume, d)?;
            may_begin(&world, d)?;
            is_consistent(d)?;
            relief_is_right(&world, volume, d)?;
        }

        // Until it is time to look again, nothing changes. Forecasts do: each sample that leaves them changes them.
        if world.volumes.iter().flat_map(|v| &v.members).any(|m| !m.history.is_empty()) {
            // Nothing is promised.
        } else if let Some(again) = decided.look_again_at {
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
            let checked = check(&grown, &again, later);
            prop_assert!(checked.is_ok(), "{:?} {:#?} {:#?}", checked, again, grown);
            for (before, after) in decided.decisions.iter().zip(&again.decisions) {
                prop_assert!(after.from >= before.from);
                if before.acts() {
                    let everyone = before.members.iter().all(|m| m.to.is_some());
                    prop_assert!(!everyone || after.from >= before.to.unwrap());
                    prop_assert!(matches!(after.verdict, Verdict::Balanced | Verdict::CatchUp | Verdict::Hold) || is_over(&grown, after));
                    prop_assert!(is_met(&grown, before, after), "{:#?}", after);
                }
            }
        }
    }
}

/// One growth of the request/limit model is enough, unless the ceiling cut it.
fn is_met(world: &World, before: &Decision, after: &Decision) -> bool {
    let volume = world.volumes.iter().find(|v| v.key == before.volume).unwrap();
    let plain = |m: &Member| m.observation.is_some_and(|o| o.used.saturating_add(o.available) == m.size);
    let one = volume.members.len() == 1 && volume.members.iter().all(plain);
    let cut = before.to == before.ceiling.map(|c| c.size);
    let runway = before.urgency == Some(Urgency::Runway);
    let again = matches!(after.reason, Reason::TargetBuffer | Reason::RequestFloor);
    // One that was not seen could not be provided for.
    let blind = before.worst.is_none();
    !one || cut || runway || blind || !(after.acts() && again)
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
        // Steps that are small by their settings take more of them, and each is one.
        let slow = |d: &Decision| d.to.is_some_and(|to| to > d.from && (to.get() - d.from.get()) * 500 < d.from.get());
        let still = plan(&world, now).decisions;
        if still.iter().all(|d| !d.acts() || slow(d)) {
            return Ok(());
        }
        let still = still.iter().filter(|d| d.acts()).map(|d| (d.reason, d.urgency, d.from, d.to, d.facts.usage));
        prop_assert!(false, "still growing: {:#?}", still.collect::<Vec<_>>());
    }

    /// Relief neither delays nor alters a growth: where it is switched off, all is the same but for it.
    #[test]
    fn relief_changes_no_growth(numbers in numbers()) {
        let world = random_world(&numbers);
        let mut off = world.clone();
        if let Resolution::Settings(settings) = Arc::make_mut(&mut off.resolution) {
            settings.wal_cleanup.enabled.value = false;
        }
        let (with, without) = (plan(&world, noon()), plan(&off, noon()));
        let bare: Vec<Decision> = with.decisions.into_iter().map(|d| Decision { relief: None, ..d }).collect();
        prop_assert_eq!(&bare, &without.decisions);
        // The end of a cooldown of its own is one more moment to look at.
        prop_assert!(without.look_again_at.is_none_or(|at| with.look_again_at.is_some_and(|sooner| sooner <= at)));
    }

    /// Whatever was decided can be explained.
    #[test]
    fn everything_can_be_explained(numbers in numbers()) {
        let world = random_world(&numbers);
        for d in plan(&world, noon()).decisions {
            let text = sentence(&d);
            prop_assert!(text.starts_with(d.volume.role.as_str()) && !text.contains("it is held ("), "{}", text);
            prop_assert!(!inputs(&d).is_empty());
            prop_assert_eq!(relief(&d).is_empty(), d.relief.is_none());
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

/// The worlds above are worth looking at: everything happens in them.
#[test]
fn random_worlds_are_varied() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let total = 20_000;
    for _ in 0..total {
        let world = random_world(&numbers().new_tree(&mut runner).unwrap().current());
        for d in plan(&world, noon()).decisions.iter().take(1) {
            let warnings = d.warnings.iter().map(|w| w.reason.to_string());
            let beside = d.wanted.filter(|_| d.verdict == Verdict::CatchUp).map(|_| "beside".to_owned());
            let cut = (d.to.is_some() && d.to == d.ceiling.map(|c| c.size)).then(|| "at the ceiling".to_owned());
            let left_out = d.verdict != Verdict::CatchUp && d.acts() && d.members.iter().any(|m| m.to.is_none());
            let left_out = left_out.then(|| "left out".to_owned());
            let model = d.model.map(|m| m.to_string());
            let urgency = d.urgency.filter(|_| d.acts()).map(|u| u.to_string());
            let wanted = d.wanted.map(|w| w.reason.to_string());
            let relief = d.relief.iter().flat_map(|r| &r.instances);
            let relief = relief.map(|r| r.held_by().map_or_else(|| "relief".to_owned(), |held| format!("relief {held}")));
            let names = [d.verdict.to_string(), d.reason.to_string(), d.state.to_string()];
            let more = [beside, cut, left_out, model, urgency, wanted].into_iter().flatten();
            let all: std::collections::BTreeSet<String> = names.into_iter().chain(warnings).chain(more).chain(relief).collect();
            for name in all {
                *seen.entry(name).or_default() += 1;
            }
        }
    }
    let at_least = |name: &str, permille: u32| {
        let n = seen.get(name).copied().unwrap_or(0);
        assert!(n * 1000 >= total * permille, "{name}: {n} of {total}; {seen:#?}");
    };
    for (name, permille) in [
        ("Grow", 50),
        ("CatchUp", 30),
        ("Rescue", 10),
        ("Balanced", 50),
        ("Hold", 300),
        ("Thresholds", 200),
        ("Resize", 100),
        ("Target", 50),
        ("planned", 30),
        ("emergency", 5),
        ("runway", 5),
        ("rescue", 10),
        ("at the ceiling", 10),
        ("beside", 2),
        ("left out", 2),
        ("relief", 20),
        ("relief PolicyInvalid", 1),
        ("relief ClusterDeleting", 1),
        ("relief Paused", 1),
        ("relief Hibernated", 1),
        ("relief Fenced", 1),
        ("relief CircuitOpen", 1),
        ("relief Cooldown", 1),
        ("relief WalHealthUnknown", 10),
        ("relief DryRun", 1),
    ] {
        at_least(name, permille);
    }
    for reason in Reason::ALL {
        assert!(seen.contains_key(reason.as_str()), "{reason}; {seen:#?}");
    }
    for state in State::ALL {
        assert!(seen.contains_key(state.as_str()), "{state}; {seen:#?}");
    }
}
