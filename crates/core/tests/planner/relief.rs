//! WAL relief: when it is wanted, for whom, and what holds it.

use csm_api::{Reason, Urgency, Verdict};
use csm_core::explain;
use csm_core::plan::{Occasion, Relief, ReliefHold};
use csm_core::resolve::Resolution;
use csm_core::world::{Breaker, Circuit, Fencing, Opened, VolumeKey, WalHealth, World};
use rstest::rstest;

use crate::support::*;

/// Growth is switched off: what is said of relief is said of relief alone.
const STILL: &str = "expansion: {enabled: false}";

/// A wal volume of 10Gi in three instances, the primary's as full as this, beside a calm data volume; WAL is healthy, and growth
/// is switched off.
fn wal(used: &str) -> World {
    let member = |i: u32, used: &str| member(&format!("orders-{i}"), "10Gi", used);
    let members = vec![member(1, used), member(2, "1Gi"), member(3, "1Gi")];
    let data = (1..=3).map(|i| self::member(&format!("orders-{i}"), "20Gi", "4Gi")).collect();
    world(data)
        .change(|w| {
            w.volumes.insert(0, volume(VolumeKey::WAL, members));
            w.cluster.wal = Some(WalHealth::default());
        })
        .policy(STILL)
}

fn full() -> World {
    wal("9500Mi")
}

fn relief(world: &World) -> Option<Relief> {
    decide(world).relief
}

/// Each instance for which it is wanted, with what holds it.
fn wanted(world: &World) -> Vec<(String, Option<Reason>)> {
    let relief = relief(world);
    let instances = relief.iter().flat_map(|relief| &relief.instances);
    instances.map(|r| (r.instance.to_string(), r.held_by())).collect()
}

fn due_for(instances: &[&str]) -> Vec<(String, Option<Reason>)> {
    instances.iter().map(|i| ((*i).to_owned(), None)).collect()
}

fn held_by(reason: Reason) -> Vec<(String, Option<Reason>)> {
    vec![("orders-1".to_owned(), Some(reason))]
}

#[rstest]
#[case::just_below("9215Mi", false)]
#[case::at_the_level("9216Mi", true)]
#[case::above("10Gi", true)]
fn it_is_wanted_from_the_level_of_emergency_on(#[case] used: &str, #[case] due: bool) {
    let world = wal(used);
    assert_eq!(wanted(&world), due_for(if due { &["orders-1"] } else { &[] }));
    // Of the other volume nothing is wanted, whatever is on it.
    let data = plan_at(&world, noon()).decisions.into_iter().find(|d| d.volume == VolumeKey::DATA);
    assert_eq!(data.unwrap().relief, None);
}

#[rstest]
#[case::thresholds("{}")]
#[case::resize("walStorage: {resize: {enabled: true}}")]
#[case::target("walStorage: {request: 10Gi, limit: 100Gi}")]
#[case::resize_switched_off("walStorage: {resize: {enabled: false}}")]
#[case::expansion_switched_off(STILL)]
fn it_is_wanted_in_every_model_and_beside_every_growth(#[case] settings: &str) {
    assert_eq!(wanted(&full().policy(settings)), due_for(&["orders-1"]));
}

#[test]
fn the_level_is_that_of_the_policy() {
    let ninety_five = full().policy("{expansion: {enabled: false}, thresholds: {emergency: 95}}");
    assert_eq!(relief(&ninety_five), None);
    let on_a_lower_one = wal("8Gi").policy("{expansion: {enabled: false}, thresholds: {expansion: 70, emergency: 80}}");
    assert_eq!(wanted(&on_a_lower_one), due_for(&["orders-1"]));
}

#[test]
fn pg_wal_is_where_it_is() {
    let data = world(vec![member("orders-1", "10Gi", "9500Mi")]).change(|w| w.cluster.wal = Some(WalHealth::default()));
    assert_eq!(wanted(&data.clone().policy(STILL)), due_for(&["orders-1"]));
    let beside_wal = data.change(|w| w.volumes.push(volume(VolumeKey::WAL, vec![member("orders-1", "10Gi", "1Gi")])));
    assert_eq!(relief(&beside_wal.clone().policy(STILL)), None);
    let tablespace = beside_wal.change(|w| w.volumes[0].key = VolumeKey::tablespace("archive"));
    assert_eq!(relief(&tablespace), None);
}

#[test]
fn every_instance_is_looked_at_by_itself() {
    // The second lags behind, the third is set aside for being larger than the ceiling: their WAL is theirs.
    let world = full()
        .policy("expansion: {maxSize: 10Gi}")
        .member(1, |m| *m = member("orders-2", "9Gi", "8500Mi"))
        .member(2, |m| *m = member("orders-3", "12Gi", "11500Mi"));
    assert_eq!(wanted(&world), due_for(&["orders-1", "orders-2", "orders-3"]));
    let fenced = world.change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-2"]"#)));
    let held = relief(&fenced).unwrap();
    assert_eq!(held.due().map(|r| &*r.instance).collect::<Vec<_>>(), ["orders-1", "orders-3"]);
    assert_eq!(held.instances[1].held_by(), Some(Reason::Fenced));
    assert_eq!(held.held_by(), None);
}

#[test]
fn figures_that_do_not_count_want_nothing() {
    let unseen = full().member(0, |m| *m = m.clone().unseen());
    let stale = full().member(0, |m| *m = m.clone().seen_at(at("11:54:59")));
    for world in [unseen, stale] {
        assert_eq!(relief(&world), None);
    }
}

/// A growth that was verified and left the volume that full: by figures from after it.
#[test]
fn a_growth_that_did_not_help_enough() {
    let before = full().member(0, |m| *m = m.clone().resized_at(at("11:59:30")));
    assert_eq!(relief(&before), None);
    let after = full().member(0, |m| *m = m.clone().resized_at(at("11:59:29")));
    assert_eq!(wanted(&after), due_for(&["orders-1"]));
}

/// Below the level, for a growth that would help at once and may not be.
#[rstest]
#[case::emergency(
    wal("8800Mi").policy("{expansion: {maxSize: 10Gi}, walStorage: {emergencyGrow: {criticalThreshold: 85}}}"),
    Urgency::Emergency,
    Reason::AtLimit
)]
#[case::too_little_left(
    wal("8800Mi").policy("{expansion: {maxSize: 10Gi}, walStorage: {emergencyGrow: {criticalMinimumFree: 2Gi}}}"),
    Urgency::Emergency,
    Reason::AtLimit
)]
#[case::rescue(
    wal("1Gi").policy("expansion: {maxSize: 10Gi}").member(0, |m| *m = m.clone().unseen().change(|m| m.disk_full = true)),
    Urgency::Rescue,
    Reason::AtLimit
)]
fn a_growth_that_is_held(#[case] world: World, #[case] urgency: Urgency, #[case] gate: Reason) {
    let decision = decide(&world);
    assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, gate));
    let relief = decision.relief.unwrap();
    assert_eq!(relief.instances.len(), 1);
    assert_eq!(&*relief.instances[0].instance, "orders-1");
    assert_eq!(relief.instances[0].occasion, Occasion::Held { urgency, gate });
    assert_eq!(relief.held_by(), None);
}

/// What a runway stands in for is planned; the runway itself is urgent, and held here.
#[test]
fn a_runway_that_is_held() {
    let settings = "{dryRun: true, thresholds: {expansion: 80, emergency: 99}, walStorage: {maintenanceWindow: {}}}";
    let world = wal("9900Mi").policy(settings);
    let decision = decide(&world);
    assert_eq!(decision.urgency, Some(Urgency::Runway));
    let relief = decision.relief.unwrap();
    let expected = Occasion::Held {
        urgency: Urgency::Runway,
        gate: Reason::DryRun,
    };
    assert_eq!(relief.instances[0].occasion, expected);
    assert_eq!(relief.held_by(), Some(Reason::DryRun));
}

#[rstest]
#[case::planned_and_held("{thresholds: {expansion: 80}, walStorage: {maintenanceWindow: {}}}", Verdict::Hold)]
#[case::planned("thresholds: {expansion: 80}", Verdict::Grow)]
#[case::urgent_and_on_its_way("walStorage: {emergencyGrow: {criticalThreshold: 85}}", Verdict::Grow)]
fn below_the_level_no_other_growth_wants_it(#[case] settings: &str, #[case] verdict: Verdict) {
    let decision = decide(&wal("8800Mi").policy(settings));
    assert_eq!((decision.verdict, decision.relief), (verdict, None));
}

fn open() -> Circuit {
    Breaker::Open.into()
}

/// Every reason that holds it, alone.
#[rstest]
#[case::invalid(full().policy("{expansion: {enabled: false}, walStorage: {request: 10Gi}}"), Reason::PolicyInvalid)]
#[case::deleting(full().change(|w| w.cluster.deleting = true), Reason::ClusterDeleting)]
#[case::paused(full().pause("true", None), Reason::Paused)]
#[case::hibernated(full().change(|w| w.cluster.hibernated = true), Reason::Hibernated)]
#[case::fenced(full().change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-1"]"#))), Reason::Fenced)]
#[case::fence_unreadable(full().change(|w| w.cluster.fencing = Fencing::read(Some("orders-2"))), Reason::Fenced)]
#[case::breaker(full().change(|w| w.cluster.breaker = open()), Reason::CircuitOpen)]
#[case::breaker_of_all(full().change(|w| w.global_breaker = open()), Reason::CircuitOpen)]
#[case::cooldown(full().member(0, |m| m.last_relief_at = Some(at("11:45:01"))), Reason::Cooldown)]
#[case::health_unknown(full().change(|w| w.cluster.wal = None), Reason::WalHealthUnknown)]
#[case::dry_run(full().policy("{dryRun: true, expansion: {enabled: false}}"), Reason::DryRun)]
fn what_holds_it(#[case] world: World, #[case] reason: Reason) {
    assert_eq!(wanted(&world), held_by(reason));
    let relief = relief(&world).unwrap();
    assert_eq!(relief.held_by(), Some(reason));
    assert_eq!(relief.due().count(), 0);
    assert_eq!(relief.instances[0].only_reports(), reason == Reason::WalHealthUnknown);
}

/// What holds growth for other reasons does not hold it.
#[rstest]
#[case::at_limit(full().policy("expansion: {maxSize: 10Gi}"))]
#[case::resize_forbidden(full().change(|w| w.cluster.resize_in_use_volumes = false))]
#[case::no_expansion(full().member(0, |m| m.class.expandable = false))]
#[case::a_resize_under_way(full().member(0, |m| *m = m.clone().asks_for("15Gi").resizing_since(None)))]
#[case::refused(full().data(|v| v.retry_after = Some(at("12:10:00"))))]
#[case::another_is_fenced(full().change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-2"]"#))))]
#[case::another_was_relieved(full().member(1, |m| m.last_relief_at = Some(noon())))]
#[case::half_open(full().change(|w| w.cluster.breaker = Breaker::HalfOpen.into()))]
#[case::paused_until_now(full().pause("true", Some("2026-03-01T12:00:00Z")))]
#[case::cooldown_is_over(full().member(0, |m| m.last_relief_at = Some(at("11:45:00"))))]
fn what_does_not_hold_it(#[case] world: World) {
    assert_eq!(wanted(&world), due_for(&["orders-1"]));
}

/// All at once, and one taken away after the other: the first that is left is told.
#[test]
fn the_first_that_holds_is_told() {
    type Change = fn(World) -> World;
    let remove: [(Reason, Change); 9] = [
        (Reason::PolicyInvalid, |w| w.policy("{dryRun: true, expansion: {enabled: false}}")),
        (Reason::ClusterDeleting, |w| w.change(|w| w.cluster.deleting = false)),
        (Reason::Paused, |w| w.pause("false", None)),
        (Reason::Hibernated, |w| w.change(|w| w.cluster.hibernated = false)),
        (Reason::Fenced, |w| w.change(|w| w.cluster.fencing = Fencing::None)),
        (Reason::CircuitOpen, |w| w.change(|w| w.cluster.breaker = Circuit::default())),
        (Reason::Cooldown, |w| w.member(0, |m| m.last_relief_at = None)),
        (Reason::WalHealthUnknown, |w| {
            w.change(|w| w.cluster.wal = Some(WalHealth::default()))
        }),
        (Reason::DryRun, |w| w.policy(STILL)),
    ];
    let mut world = full()
        .policy("{dryRun: true, expansion: {enabled: false}, walStorage: {request: 10Gi}}")
        .pause("true", None)
        .member(0, |m| m.last_relief_at = Some(at("11:59:00")))
        .change(|w| {
            w.cluster.deleting = true;
            w.cluster.hibernated = true;
            w.cluster.fencing = Fencing::All;
            w.cluster.breaker = open();
            w.cluster.wal = None;
        });
    for (reason, remove) in remove {
        assert_eq!(wanted(&world), held_by(reason));
        world = remove(world);
    }
    assert_eq!(wanted(&world), due_for(&["orders-1"]));
}

#[rstest]
#[case::no_policy(Resolution::NoPolicy)]
#[case::conflict(Resolution::Conflict(Vec::new()))]
#[case::invalid(Resolution::Invalid(Vec::new()))]
fn without_settings_nothing_is_wanted(#[case] resolution: Resolution) {
    assert_eq!(relief(&full().change(|w| w.resolution = resolution.into())), None);
}

#[test]
fn switched_off_nothing_is_wanted() {
    let off = "{expansion: {enabled: false}, walCleanup: {enabled: false}}";
    assert_eq!(relief(&full().policy(off)), None);
}

#[test]
fn a_cooldown_ends_by_itself() {
    let settings = "{expansion: {enabled: false}, walCleanup: {cooldownMinutes: 3}}";
    let world = full().policy(settings).member(0, |m| m.last_relief_at = Some(at("11:58:00")));
    let planned = plan_at(&world, noon());
    assert_eq!(planned.look_again_at, Some(at("12:01:00")));
    let hold = ReliefHold::Cooldown {
        last: at("11:58:00"),
        until: at("12:01:00"),
    };
    assert_eq!(relief(&world).unwrap().instances[0].hold, Some(hold));
    let before = decide_at(&world, at("12:01:00") - INSTANT).relief.unwrap();
    assert_eq!(before.held_by(), Some(Reason::Cooldown));
    assert_eq!(decide_at(&world, at("12:01:00")).relief.unwrap().held_by(), None);
    // Of the future, as another clock may have it.
    let ahead = world.member(0, |m| m.last_relief_at = Some(at("12:00:30")));
    assert_eq!(wanted(&ahead), held_by(Reason::Cooldown));
}

/// A growth asked for by a person says nothing of relief.
#[test]
fn it_is_no_part_of_a_growth_by_hand() {
    let world = full();
    let request = csm_core::admit::request(&world.policy("{}"), &VolumeKey::WAL, size("12Gi"), noon()).unwrap();
    assert_eq!(request.decision.relief, None);
}

/// Every way to hold it, in words; each is said at least once.
#[test]
fn in_words() {
    let words = |world: &World| explain::relief(&decide(world));
    let subject = "orders-1 (wal is 92 % full, 9.2 of 10 GiB; thresholds.emergency is 90 %)";
    assert_eq!(words(&full()), [format!("WAL relief is due for {subject}")]);
    assert_eq!(words(&wal("1Gi")), [""; 0]);
    let reset = "set the annotation storage.cnpg.supporttools.io/reset-circuit-breaker: \"true\" on";
    let resets_at = Some(at("12:30:00"));
    let fails = Circuit {
        opened: Some((at("11:30:00"), Opened::Failures { resets_at })),
        ..Circuit::default()
    };
    let held = [
        (
            full().policy("{expansion: {enabled: false}, walStorage: {request: 10Gi}}"),
            "the settings of the volume are not valid; correct them, and it goes on".to_owned(),
        ),
        (
            full().change(|w| w.cluster.deleting = true),
            "the Cluster is being deleted; its volumes are left alone".to_owned(),
        ),
        (
            full().pause("true", None),
            "the Cluster is paused; remove the annotation storage.cnpg.supporttools.io/paused to go on".to_owned(),
        ),
        (
            full().pause("true", Some("2026-03-01T13:00:00Z")),
            "the Cluster is paused until 2026-03-01T13:00:00Z; remove the annotation storage.cnpg.supporttools.io/paused to go on before".to_owned(),
        ),
        (
            full().change(|w| w.cluster.hibernated = true),
            "the Cluster is hibernated (cnpg.io/hibernation: on)".to_owned(),
        ),
        (
            full().change(|w| w.cluster.fencing = Fencing::All),
            "a fence is in the way; lift it (kubectl cnpg fencing off) to go on".to_owned(),
        ),
        (
            full().change(|w| w.cluster.breaker = fails),
            format!(
                "the circuit breaker of the Cluster is open until 2026-03-01T12:30:00Z; see what failed in the StorageEvents, then {reset} \
                 the Cluster to go on at once"
            ),
        ),
        (
            full().change(|w| w.global_breaker = open()),
            format!(
                "the circuit breaker of the whole fleet is open; see what failed in the StorageEvents, then {reset} any \
                 ClusterStoragePolicy to go on at once"
            ),
        ),
        (
            full().member(0, |m| m.last_relief_at = Some(at("11:58:00"))),
            "WAL was removed at 2026-03-01T11:58:00Z, which is too recent; it goes on at 2026-03-01T12:13:00Z (walCleanup.cooldownMinutes: \
             15)"
                .to_owned(),
        ),
        (
            full().change(|w| w.cluster.wal = None),
            "nothing is known of WAL archiving and replication slots, so nothing is removed, and what holds the WAL is only reported; see \
             whether the primary runs and can be asked"
                .to_owned(),
        ),
        (
            full().policy("{dryRun: true, expansion: {enabled: false}}"),
            "this is a dry run; set dryRun: false to let it happen".to_owned(),
        ),
    ];
    for (world, why) in held {
        assert_eq!(words(&world), [format!("WAL relief is wanted for {subject}, but {why}")]);
    }
    // Those of which the same is so share a sentence.
    let several = full()
        .policy("{expansion: {maxSize: 10Gi}, walStorage: {emergencyGrow: {criticalThreshold: 80}}}")
        .member(1, |m| *m = member("orders-2", "10Gi", "9300Mi"))
        .member(2, |m| *m = member("orders-3", "10Gi", "9400Mi"))
        .change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-3"]"#)));
    assert_eq!(
        words(&several),
        [
            format!(
                "WAL relief is due for {subject} and orders-2 (wal is 90 % full, 9 of 10 GiB; thresholds.emergency is 90 %)"
            ),
            "WAL relief is wanted for orders-3 (wal is 91 % full, 9.1 of 10 GiB; thresholds.emergency is 90 %), but a fence is in the way; \
             lift it (kubectl cnpg fencing off) to go on"
                .to_owned(),
        ]
    );
}

#[rstest]
#[case::emergency(
    wal("8800Mi").policy("{expansion: {maxSize: 10Gi}, walStorage: {emergencyGrow: {criticalThreshold: 85}}}"),
    "WAL relief is due for orders-1 (an emergency growth for it is held by AtLimit)"
)]
#[case::rescue(
    wal("1Gi").policy("expansion: {maxSize: 10Gi}").member(0, |m| *m = m.clone().unseen().change(|m| m.disk_full = true)),
    "WAL relief is due for orders-1 (a growth to rescue it is held by AtLimit)"
)]
#[case::runway(
    wal("9900Mi").policy("{dryRun: true, thresholds: {expansion: 80, emergency: 99}, walStorage: {maintenanceWindow: {}}}"),
    "WAL relief is wanted for orders-1 (a small step to give it time is held by DryRun), but this is a dry run; set dryRun: false to let it happen"
)]
fn why_in_words(#[case] world: World, #[case] expected: &str) {
    assert_eq!(explain::relief(&decide(&world)), [expected]);
}
