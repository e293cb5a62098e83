//! Gates 13, 16, 17 and 19 to 22 at their edges, and who is left out.

use csm_api::{Reason, State, Urgency, Verdict};
use csm_core::plan::Budget;
use csm_core::world::{Archiving, Breaker, Fencing, Fleet, Operation, ProviderLimit, Slot, VolumeKey, WalHealth, World};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use crate::support::*;

/// A growth of the data volume, of this urgency, so many minutes before noon.
fn done(minutes: i64, urgency: Urgency) -> Operation {
    Operation {
        urgency,
        id: format!("{urgency}-{minutes}").into(),
        ..growth(noon() - SignedDuration::from_mins(minutes), "13Gi", "20Gi")
    }
}

fn after(world: World, operations: &[(i64, Urgency)]) -> World {
    operations
        .iter()
        .fold(world, |w, (minutes, urgency)| w.operation(done(*minutes, *urgency)))
}

use Urgency::{CatchUp, Emergency, Planned, Rescue, Runway};

fn resizes(strategy: &str) -> World {
    let risk = "walSafetyPolicy: {acknowledgeWALRisk: true}";
    wants().policy(&format!("storage: {{resize: {{enabled: true, strategy: {{{risk}, {strategy}}}}}}}"))
}

fn targets(emergency: &str) -> World {
    wants().policy(&format!("storage: {{request: 10Gi, limit: 100Gi, emergencyGrow: {{{emergency}}}}}"))
}

const A_DAY: i64 = 24 * 60;

/// Resize: what counts is accepted and no catch-up, of whatever urgency, and younger than a day.
#[rstest]
#[case::two_of_three(&[(60, Planned), (120, Planned)], None)]
#[case::three(&[(60, Planned), (120, Runway), (A_DAY - 1, Rescue)], Some("12:01:00"))]
#[case::three_and_emergencies(&[(60, Emergency), (120, Emergency), (180, Planned)], Some("09:00:00"))]
#[case::one_is_a_day_old(&[(60, Planned), (120, Planned), (A_DAY, Planned)], None)]
#[case::catch_ups(&[(60, CatchUp), (120, CatchUp), (180, CatchUp)], None)]
#[case::more_than_allowed(&[(60, Planned), (120, Planned), (180, Planned), (240, Planned)], Some("09:00:00"))]
fn budget_of_the_resize_model(#[case] operations: &[(i64, Urgency)], #[case] opens: Option<&str>) {
    let decision = decide(&after(resizes(""), operations));
    assert_eq!(decision.reason == Reason::BudgetExhausted, opens.is_some());
    // 12:01 is today, where the oldest is a day old in a minute.
    let day = |text: &str| {
        if text == "12:01:00" {
            at(text)
        } else {
            at(text) + SignedDuration::from_hours(24)
        }
    };
    assert_eq!(decision.next_action_at, opens.map(day));
    if opens.is_none() {
        return;
    }
    assert_eq!(decision.budget.available_for_planned, Some(0));
    assert_eq!(decide(&after(resizes("maxActionsPerDay: 0"), operations)).verdict, Verdict::Grow);
}

/// Request/limit: `left = max(0, 4 − n)`; planned growth needs more than what is reserved.
#[rstest]
#[case::none("", &[], None, 3, 1)]
#[case::two("", &[(60, Planned), (120, Emergency)], None, 1, 1)]
#[case::three("", &[(60, Planned), (120, Planned), (180, Planned)], Some(Reason::BudgetReservedForEmergency), 0, 1)]
#[case::four("", &[(60, Planned), (120, Planned), (180, Planned), (240, Rescue)], Some(Reason::BudgetExhausted), 0, 0)]
#[case::more_reserved("reservedActionsForEmergency: 3", &[(60, Planned)], Some(Reason::BudgetReservedForEmergency), 0, 3)]
#[case::all_reserved("reservedActionsForEmergency: 4", &[], Some(Reason::BudgetReservedForEmergency), 0, 4)]
#[case::nothing_reserved("reservedActionsForEmergency: 0", &[(60, Planned), (120, Planned), (180, Planned)], None, 1, 0)]
#[case::switched_off("enabled: false", &[(60, Planned), (120, Planned), (180, Planned)], None, 1, 0)]
fn budget_of_the_target_model(
    #[case] emergency: &str,
    #[case] operations: &[(i64, Urgency)],
    #[case] held: Option<Reason>,
    #[case] planned: u32,
    #[case] kept: u32,
) {
    let decision = decide(&after(targets(emergency), operations));
    assert_eq!(decision.reason, held.unwrap_or(Reason::TargetBuffer));
    let Budget {
        actions_last_24h,
        available_for_planned,
        available_for_emergency,
        resets_at,
    } = decision.budget;
    assert_eq!((available_for_planned, available_for_emergency), (Some(planned), Some(kept)));
    assert_eq!(actions_last_24h as usize, operations.len());
    let oldest = operations
        .iter()
        .map(|(minutes, _)| noon() - SignedDuration::from_mins(*minutes))
        .min();
    assert_eq!(resets_at, oldest.map(|o| o + SignedDuration::from_hours(24)));
    assert_eq!(decide(&after(targets("maxActionsPerDay: 0"), operations)).verdict, Verdict::Grow);
}

/// An emergency uses what is reserved, and no more than there is.
#[rstest]
#[case::the_last_one(&[(60, Planned), (120, Planned), (180, Planned)], Verdict::Grow)]
#[case::none_is_left(&[(60, Planned), (120, Planned), (180, Planned), (240, Planned)], Verdict::Hold)]
fn emergencies_use_the_reserve(#[case] operations: &[(i64, Urgency)], #[case] verdict: Verdict) {
    let world = targets("criticalThreshold: 90").operation(done(-1, Planned));
    let decision = decide(&after(world, operations));
    assert_eq!((decision.verdict, decision.urgency), (verdict, Some(Emergency)));
}

/// Thresholds: emergencies by themselves, planned growth by the bound alone.
#[test]
fn budget_of_the_thresholds_model() {
    let settings = "storage: {emergencyGrow: {criticalThreshold: 90, maxActionsPerDay: 2}}";
    let emergency = |operations: &[(i64, Urgency)]| decide(&after(wants().policy(settings), operations)).reason;
    let planned = [(60, Planned), (61, Planned), (62, Planned), (63, Rescue), (64, Emergency)];
    assert_eq!(emergency(&planned), Reason::CriticalThreshold);
    assert_eq!(emergency(&[(60, Emergency), (90, Emergency)]), Reason::BudgetExhausted);
    assert_eq!(emergency(&[(60, Emergency), (A_DAY, Emergency)]), Reason::CriticalThreshold);
    let many: Vec<(i64, Urgency)> = (31..80).map(|minutes| (minutes, Planned)).collect();
    assert_eq!(decide(&after(wants(), &many)).verdict, Verdict::Grow);
}

/// Three rescues a day, and no other bound; then nothing until the first is a day old.
#[test]
fn budget_of_rescues() {
    let world = |operations: &[(i64, Urgency)]| after(resizes("maxActionsPerDay: 1").member(0, |m| m.disk_full = true), operations);
    let others = [(60, Planned), (61, Planned), (62, Emergency), (63, Rescue), (64, Rescue)];
    assert_eq!(decide(&world(&others)).verdict, Verdict::Rescue);
    let decision = decide(&world(&[(60, Rescue), (61, Rescue), (90, Rescue)]));
    assert_eq!(
        (decision.verdict, decision.reason, decision.state),
        (Verdict::Hold, Reason::BudgetExhausted, State::Emergency)
    );
    assert_eq!(decision.next_action_at, Some(at("10:30:00") + SignedDuration::from_hours(24)));
    let decision = decide(&world(&[(60, Rescue), (61, Rescue), (A_DAY, Rescue)]));
    assert_eq!(decision.verdict, Verdict::Rescue);
}

fn provided(max: u32, minutes: i64) -> World {
    wants().operation(done(minutes, Rescue)).member(0, |m| {
        m.class.provider_limit = Some(ProviderLimit {
            max_actions: max,
            period: SignedDuration::from_hours(6),
        });
    })
}

/// Six hours from the start on, the end not included; catch-ups count.
#[rstest]
#[case::just_within(provided(1, 359), Some("12:01:00"))]
#[case::at_its_end(provided(1, 360), None)]
#[case::one_of_two(provided(2, 90), None)]
#[case::two_of_two(provided(2, 90).operation(done(200, CatchUp)), Some("14:40:00"))]
#[case::refused(provided(2, 90).operation(Operation { accepted: false, ..done(200, Planned) }), None)]
#[case::another_pvc(provided(2, 90).operation(catch_up(done(200, Planned), &["gone"])), None)]
fn provider_limit(#[case] world: World, #[case] opens: Option<&str>) {
    let decision = decide(&world);
    assert_eq!(decision.reason == Reason::ProviderLimit, opens.is_some());
    assert_eq!(decision.next_action_at, opens.map(at));
}

#[rstest]
#[case::room(1, Some(2), false)]
#[case::none(2, Some(2), true)]
#[case::more_than_may_be(3, Some(2), true)]
#[case::no_limit(100, None, false)]
#[case::nothing_may(0, Some(0), true)]
fn fleet_limit(#[case] in_progress: u32, #[case] limit: Option<u32>, #[case] holds: bool) {
    let fleet = Fleet {
        in_progress,
        ahead: 0,
        limit,
    };
    assert_eq!(decide(&wants().change(|w| w.fleet = fleet)).reason == Reason::FleetLimit, holds);
    assert_eq!(decide(&lags().change(|w| w.fleet = fleet)).reason == Reason::FleetLimit, holds);
    // Neither emergencies nor rescues wait.
    let emergency = wants().policy("storage: {emergencyGrow: {criticalThreshold: 90}}");
    assert_eq!(decide(&emergency.change(|w| w.fleet = fleet)).verdict, Verdict::Grow);
    let rescue = wants().member(0, |m| m.disk_full = true);
    assert_eq!(decide(&rescue.change(|w| w.fleet = fleet)).verdict, Verdict::Rescue);
}

/// A catch-up does not wait where a lagging member is at least 95 percent used, by fresh figures.
#[rstest]
#[case::at("19Gi", "11:59:30", Verdict::CatchUp)]
#[case::below("19455Mi", "11:59:30", Verdict::Hold)]
#[case::stale("20Gi", "11:00:00", Verdict::Hold)]
fn a_lagging_member_that_is_nearly_full(#[case] used: &str, #[case] seen: &str, #[case] verdict: Verdict) {
    let world = lags().member(1, |m| *m = member("orders-2", "20Gi", used).seen_at(at(seen)));
    let fleet = Fleet {
        in_progress: 1,
        ahead: 0,
        limit: Some(1),
    };
    assert_eq!(decide(&world.change(|w| w.fleet = fleet)).verdict, verdict);
}

#[rstest]
#[case::closed(Breaker::Closed, Breaker::Closed, false)]
#[case::its_own(Breaker::Open, Breaker::Closed, true)]
#[case::of_all(Breaker::Closed, Breaker::Open, true)]
#[case::half_open(Breaker::HalfOpen, Breaker::HalfOpen, false)]
fn circuit(#[case] own: Breaker, #[case] global: Breaker, #[case] holds: bool) {
    let of = |world: World| decide(&world.change(|w| (w.cluster.breaker, w.global_breaker) = (own.into(), global.into())));
    assert_eq!(of(wants()).reason == Reason::CircuitOpen, holds);
    assert_eq!(of(lags()).reason == Reason::CircuitOpen, holds);
    assert_eq!(
        of(wants().policy("storage: {emergencyGrow: {criticalThreshold: 90}}")).reason == Reason::CircuitOpen,
        holds
    );
    assert_eq!(of(wants().member(0, |m| m.disk_full = true)).verdict, Verdict::Rescue);
}

/// Open from the start on, for two hours, the end not included.
#[rstest]
#[case::before("12:00:01", Some("12:00:01"))]
#[case::at_its_start("12:00:00", None)]
#[case::just_within("10:00:01", None)]
#[case::at_its_end("10:00:00", Some("10:00:00"))]
fn window(#[case] opens: &str, #[case] next: Option<&str>) {
    let [hour, minute, second] = [0, 3, 6].map(|i| opens[i..i + 2].trim_start_matches('0'));
    let number = |text: &str| if text.is_empty() { "0".to_owned() } else { text.to_owned() };
    let schedule = format!("{} {} {} * * *", number(second), number(minute), number(hour));
    for model in ["", "request: 10Gi, limit: 100Gi, "] {
        let world = wants().policy(&format!("storage: {{{model}maintenanceWindow: {{schedule: {schedule}}}}}"));
        let decision = decide(&world);
        assert_eq!(decision.verdict == Verdict::Grow, next.is_none());
        let day = SignedDuration::from_hours(if opens < "12:00:00" { 24 } else { 0 });
        let expected: Option<Timestamp> = next.map(|text| at(text) + day);
        assert_eq!(decision.next_action_at, expected);
        if next.is_some() {
            assert_eq!(
                (decision.reason, decision.state),
                (Reason::MaintenanceWindowClosed, State::PendingGrowth)
            );
        }
        // Neither a rescue nor a catch-up waits.
        assert_eq!(decide(&world.member(0, |m| m.disk_full = true)).verdict, Verdict::Rescue);
    }
}

/// The cooldown is over while the window is closed: the next one counts.
#[test]
fn the_window_after_the_cooldown() {
    let world = wants()
        .policy("{expansion: {cooldownMinutes: 120}, storage: {maintenanceWindow: {schedule: 30 12 * * *, duration: 1h}}}")
        .operation(growth(at("11:45:00"), "13Gi", "20Gi"));
    let decision = decide(&world);
    assert_eq!(decision.reason, Reason::Cooldown);
    assert_eq!(decision.next_action_at, Some("2026-03-02T12:30:00Z".parse().unwrap()));
}

fn wal(policy: &str, change: impl FnOnce(&mut WalHealth)) -> World {
    let world = wants().policy(&format!(
        "storage: {{resize: {{enabled: true, strategy: {{walSafetyPolicy: {{acknowledgeWALRisk: true, {policy}}}}}}}}}"
    ));
    world.change(|w| {
        let archiving = Archiving {
            last_archived: Some(at("11:58:00")),
            last_failed: Some(at("11:57:00")),
            pending: 3,
        };
        let mut health = WalHealth {
            archiving: Some(archiving),
            slots: Vec::new(),
        };
        change(&mut health);
        w.cluster.wal = Some(health);
    })
}

fn times(archived: Option<&str>, failed: Option<&str>) -> impl FnOnce(&mut WalHealth) {
    let (archived, failed) = (archived.map(at), failed.map(at));
    move |h| {
        let archiving = h.archiving.as_mut().unwrap();
        (archiving.last_archived, archiving.last_failed) = (archived, failed);
    }
}

fn slots(retained: &[(&str, bool)]) -> impl FnOnce(&mut WalHealth) {
    let slots: Vec<Slot> = retained
        .iter()
        .map(|(text, active)| Slot {
            name: (*text).into(),
            active: *active,
            retained: size(text),
        })
        .collect();
    move |h| h.slots = slots
}

#[rstest]
#[case::healthy(wal("", |_| ()), None)]
#[case::failed_since(wal("", times(Some("11:58:00"), Some("11:58:01"))), Some(Reason::ArchiveUnhealthy))]
#[case::both_at_once(wal("", times(Some("11:58:00"), Some("11:58:00"))), None)]
#[case::never_archived(wal("", times(None, Some("01:00:00"))), Some(Reason::ArchiveUnhealthy))]
#[case::neither(wal("", times(None, None)), None)]
#[case::not_required(wal("requireArchiveHealthy: false", times(None, Some("01:00:00"))), None)]
#[case::not_configured(wal("maxPendingWALFiles: 1", |h| h.archiving = None), None)]
#[case::as_many_as_may(wal("maxPendingWALFiles: 3", |_| ()), None)]
#[case::one_more(wal("maxPendingWALFiles: 2", |_| ()), Some(Reason::TooManyPendingWalFiles))]
#[case::no_check(wal("maxPendingWALFiles: 0", |_| ()), None)]
#[case::a_hundred_by_default(wal("", |h| h.archiving.as_mut().unwrap().pending = 101), Some(Reason::TooManyPendingWalFiles))]
#[case::slots_unchecked(wal("", slots(&[("900Gi", false)])), None)]
#[case::slots_at_the_maximum(wal("maxSlotRetentionBytes: 5Gi", slots(&[("2Gi", false), ("3Gi", false), ("9Gi", true)])), None)]
#[case::slots_above_it(wal("maxSlotRetentionBytes: 5Gi", slots(&[("2Gi", false), ("3073Mi", false)])), Some(Reason::SlotRetention))]
fn wal_health(#[case] world: World, #[case] held: Option<Reason>) {
    let decision = decide(&world);
    assert_eq!(decision.reason, held.unwrap_or(Reason::UsageThreshold));
    // It does not hold an emergency, and not where WAL is elsewhere.
    let elsewhere = world.clone().change(|w| w.volumes.push(volume(VolumeKey::WAL, Vec::new())));
    assert_eq!(decide(&elsewhere).verdict, Verdict::Grow);
    assert_eq!(decide(&world.member(0, |m| m.disk_full = true)).verdict, Verdict::Rescue);
    assert!(decision.warnings.is_empty());
}

#[test]
fn unknown_wal_health_warns() {
    let decision = decide(&wal("", |_| ()).change(|w| w.cluster.wal = None));
    assert_eq!(
        (decision.verdict, decision.warnings[0].reason),
        (Verdict::Grow, Reason::WalHealthUnknown)
    );
}

/// Gate 21 holds planned growth and emergencies, and no runway goes where it holds; a rescue does.
#[test]
fn wal_risk() {
    let risky = |emergency: &str| wants().policy(&format!("storage: {{{emergency}resize: {{enabled: true}}}}"));
    assert_eq!(decide(&risky("")).reason, Reason::WalRiskNotAcknowledged);
    let emergency = decide(&risky("emergencyGrow: {criticalThreshold: 90}, "));
    assert_eq!(
        (emergency.reason, emergency.urgency),
        (Reason::WalRiskNotAcknowledged, Some(Emergency))
    );
    let full = risky("").member(0, |m| m.observation.as_mut().unwrap().available = Bytes::ZERO);
    assert_eq!(decide(&full).reason, Reason::WalRiskNotAcknowledged);
    assert_eq!(decide(&full.member(0, |m| m.disk_full = true)).verdict, Verdict::Rescue);
}

/// An emergency leaves out whom a gate is true of, and is held when that is the worst.
#[rstest]
#[case::fenced("a-2", "a-1", Reason::Fenced, |w: World, name: &str| w.change(|w| w.cluster.fencing = Fencing::Instances(vec![name.into()])))]
#[case::not_bound("a-2", "a-1", Reason::NotBound, |w: World, name: &str| of(w, name, |m| m.bound = false))]
#[case::block("a-2", "a-1", Reason::BlockVolume, |w: World, name: &str| of(w, name, |m| m.block = true))]
#[case::class("a-2", "a-1", Reason::StorageClassNotExpandable, |w: World, name: &str| of(w, name, |m| m.class.expandable = false))]
#[case::in_flight("a-2", "a-1", Reason::ResizeInProgress, |w: World, name: &str| {
    let uid = format!("{name}-uid");
    w.operation(catch_up(unfinished(growth(at("11:59:00"), "13Gi", "20Gi")), &[&uid]))
})]
fn left_out(#[case] other: &str, #[case] worst: &str, #[case] reason: Reason, #[case] affect: fn(World, &str) -> World) {
    let two = || vec![member("a-1", "20Gi", "19Gi"), member("a-2", "20Gi", "1Gi")];
    let emergency = || world(two()).policy("storage: {emergencyGrow: {}}");
    let to = || Some("30Gi".to_owned());
    // The primary first: it is the worst.
    let decision = decide(&affect(emergency(), other));
    assert_eq!(
        (decision.verdict, sizes(&decision)),
        (Verdict::Grow, vec![("a-1", to()), ("a-2", None)])
    );
    let held = decide(&affect(emergency(), worst));
    assert_eq!(
        (held.verdict, held.reason, held.state == State::Resizing),
        (Verdict::Hold, reason, reason == Reason::ResizeInProgress)
    );
    // So does a rescue, which is held when it is every disk-full member.
    let rescue = || world(two()).member(0, |m| m.disk_full = true);
    assert_eq!(decide(&affect(rescue(), other)).verdict, Verdict::Rescue);
    let held = decide(&affect(rescue(), worst));
    assert_eq!((held.verdict, held.reason, held.urgency), (Verdict::Hold, reason, Some(Rescue)));
    let both = rescue().member(1, |m| m.disk_full = true);
    assert_eq!(sizes(&decide(&affect(both, worst))), [("a-1", None), ("a-2", to())]);
    // Planned growth is held by any member, unless a runway is needed.
    let planned = world(two()).member(0, |m| m.observation.as_mut().unwrap().used = size("18Gi"));
    let planned = planned.member(0, |m| m.observation.as_mut().unwrap().available = size("2Gi"));
    assert_eq!(decide(&affect(planned, other)).reason, reason);
    let runway = world(two()).member(0, |m| {
        let figures = m.observation.as_mut().unwrap();
        (figures.used, figures.available) = (size("20000Mi"), size("480Mi"));
    });
    let decision = decide(&affect(runway, other));
    assert_eq!((decision.urgency, decision.passed.clone()), (Some(Runway), vec![reason]));
    assert_eq!(sizes(&decision), [("a-1", Some("21Gi".to_owned())), ("a-2", None)]);
}

fn of(world: World, name: &str, change: fn(&mut csm_core::world::Member)) -> World {
    world.data(|v| v.members.iter_mut().filter(|m| *m.instance == *name).for_each(change))
}

/// Several gates at once: all are passed, in their order, where each may be; one that may not holds.
#[test]
fn a_runway_passes_several_gates() {
    let world = world(vec![member("orders-1", "20Gi", "20000Mi")])
        .policy("storage: {maintenanceWindow: {}}")
        .operation(growth(at("11:59:00"), "13Gi", "20Gi"))
        .change(|w| {
            w.fleet = Fleet {
                in_progress: 1,
                ahead: 0,
                limit: Some(1),
            };
        });
    let decision = decide(&world);
    let expected = [Reason::Cooldown, Reason::FleetLimit, Reason::MaintenanceWindowClosed];
    assert_eq!(
        (decision.verdict, decision.reason, decision.state),
        (Verdict::Grow, Reason::Runway, State::Emergency)
    );
    assert_eq!(decision.passed, expected);
    let wanted = decision.wanted.unwrap();
    assert_eq!(
        (wanted.reason, wanted.held_by, wanted.to),
        (Reason::UsageThreshold, Reason::Cooldown, Some(size("30Gi")))
    );
    assert_eq!(decision.next_action_at, Some("2026-03-02T03:00:00Z".parse().unwrap()));
    let broken = world.clone().change(|w| w.cluster.breaker = Breaker::Open.into());
    assert_eq!(decide(&broken).reason, Reason::CircuitOpen);
    let dry = world.clone().policy("{dryRun: true, storage: {maintenanceWindow: {}}}");
    let decision = decide(&dry);
    assert_eq!(
        (decision.reason, decision.urgency, decision.passed),
        (Reason::DryRun, Some(Runway), expected.to_vec())
    );
    let off = world.policy("{emergencyRunway: false, storage: {maintenanceWindow: {}}}");
    assert_eq!(decide(&off).reason, Reason::Cooldown);
}
