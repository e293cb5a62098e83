//! What time alone changes: when an action is possible, when to look again, what a day counts.

use csm_api::{Reason, Urgency, Verdict};
use csm_core::world::{Operation, World};
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use crate::support::*;

fn cooling(world: World) -> World {
    world.operation(growth(at("11:50:00"), "13Gi", "20Gi")) // until 12:20
}

#[rstest]
#[case::nothing_holds(wants(), None)]
#[case::cooldown(cooling(wants()), Some("12:20:00"))]
#[case::pause(wants().pause("true", Some("2026-03-01T14:00:00Z")), Some("14:00:00"))]
#[case::pause_without_end(wants().pause("true", None), None)]
#[case::retry(wants().data(|v| v.retry_after = Some(at("12:03:00"))), Some("12:03:00"))]
#[case::the_last_of_all(cooling(wants()).pause("true", Some("2026-03-01T12:10:00Z")).data(|v| v.retry_after = Some(at("12:05:00"))), Some("12:20:00"))]
#[case::another_gate_is_first(cooling(wants()).change(|w| w.cluster.deleting = true), Some("12:20:00"))]
#[case::beside_a_pause_without_end(cooling(wants()).pause("true", None), Some("12:20:00"))]
#[case::nothing_is_wanted(cooling(calm()).pause("true", Some("2026-03-01T14:00:00Z")), None)]
#[case::a_catch_up_does_not_cool(cooling(lags()).pause("true", Some("2026-03-01T12:10:00Z")), Some("12:10:00"))]
#[case::at_the_limit(wants().policy("expansion: {maxSize: 20Gi}"), None)]
#[case::dry_run(wants().policy("dryRun: true"), None)]
fn next_action(#[case] world: World, #[case] expected: Option<&str>) {
    assert_eq!(decide(&world).next_action_at, expected.map(at));
}

#[rstest]
#[case::figures_grow_old(calm(), Some(at("12:04:30") + INSTANT))]
#[case::figures_are_old(calm().member(0, |m| m.observation.as_mut().unwrap().at = at("11:00:00")), None)]
#[case::no_figures(calm().member(0, |m| m.observation = None), None)]
#[case::cooldown(cooling(wants()).member(0, |m| m.observation.as_mut().unwrap().at = at("13:00:00")), Some(at("12:20:00")))]
#[case::cooldown_of_nothing(cooling(calm()).member(0, |m| m.observation = None), Some("2026-03-02T11:50:00Z".parse().unwrap()))]
#[case::pause(calm().pause("true", Some("2026-03-01T12:01:00Z")), Some(at("12:01:00")))]
#[case::stuck(calm().operation(unfinished(growth(at("11:51:00"), "13Gi", "20Gi"))), Some(at("12:01:00")))]
#[case::retry(wants().data(|v| v.retry_after = Some(at("12:03:00"))), Some(at("12:03:00")))]
#[case::retry_of_nothing(calm().data(|v| v.retry_after = Some(at("12:03:00"))), Some(at("12:04:30") + INSTANT))]
#[case::figures_from_the_future(calm().member(0, |m| m.observation.as_mut().unwrap().at = at("13:00:00")), Some(at("13:05:00") + INSTANT))]
#[case::waits_for_the_end_of_a_resize(
    calm().member(0, |m| {
        m.observation.as_mut().unwrap().at = at("13:00:00");
        m.last_resize_at = Some(at("12:30:00"));
    }),
    Some(at("12:30:00") + INSTANT)
)]
fn look_again(#[case] world: World, #[case] expected: Option<Timestamp>) {
    assert_eq!(plan_at(&world, noon()).look_again_at, expected);
}

/// What keeps the lagging member is stuck at 12:02, the newer resize of the other one at 12:09.
#[test]
fn a_catch_up_gets_stuck_by_its_own_members() {
    let old = catch_up(unfinished(growth(at("11:52:00"), "20Gi", "30Gi")), &["orders-2-uid"]);
    let new = catch_up(unfinished(growth(at("11:59:00"), "20Gi", "30Gi")), &["orders-1-uid"]);
    let world = lags().operation(old).operation(new);
    let plan = plan_at(&world, noon());
    assert_eq!(
        (plan.decisions[0].reason, plan.look_again_at),
        (Reason::ResizeInProgress, Some(at("12:02:00")))
    );
    assert_eq!(decide_at(&world, at("12:02:00")).reason, Reason::ResizeStuck);
}

/// The dry run shows the catch-up while the growth cools down, and the growth from then on.
#[test]
fn a_dry_run_changes_with_the_growth_behind_it() {
    let world = world(vec![member("a-1", "30Gi", "28Gi"), member("a-2", "20Gi", "4Gi")])
        .policy("{dryRun: true, expansion: {maxSize: 200Gi}}")
        .operation(growth(at("11:32:00"), "20Gi", "30Gi"));
    let wanted = |at| decide_at(&world, at).wanted.unwrap().reason;
    assert_eq!(plan_at(&world, noon()).look_again_at, Some(at("12:02:00")));
    assert_eq!(wanted(noon()), Reason::MemberBelowEffectiveSize);
    assert_eq!(wanted(at("12:02:00")), Reason::UsageThreshold);
}

/// A member that is left out because its provider allows no change is not left out any more from then on.
#[test]
fn those_that_are_left_out_for_a_time() {
    let world = world(vec![
        member("a-1", "30Gi", "4Gi"),
        member("a-2", "20Gi", "4Gi"),
        member("a-3", "20Gi", "4Gi"),
    ]);
    let changed = Operation {
        members: Some(vec!["a-3-uid".into()]),
        urgency: Urgency::CatchUp,
        ..growth(at("11:01:00"), "13Gi", "20Gi")
    };
    let world = world.operation(changed).member(2, |m| {
        m.class.provider_limit = Some(csm_core::world::ProviderLimit {
            max_actions: 1,
            period: SignedDuration::from_hours(1),
        });
    });
    let to = || Some("30Gi".to_owned());
    let plan = plan_at(&world, noon());
    assert_eq!(sizes(&plan.decisions[0]), [("a-2", to()), ("a-3", None), ("a-1", None)]);
    assert_eq!(plan.look_again_at, Some(at("12:01:00")));
    assert_eq!(
        sizes(&decide_at(&world, at("12:01:00"))),
        [("a-2", to()), ("a-3", to()), ("a-1", None)]
    );
}

#[test]
fn looking_again_is_worth_it() {
    let world = cooling(wants()).member(0, |m| m.observation.as_mut().unwrap().at = at("12:18:00"));
    let plan = plan_at(&world, noon());
    let again = plan.look_again_at.unwrap();
    assert_eq!(plan_at(&world, again - INSTANT).decisions, plan.decisions);
    assert_eq!(decide_at(&world, again).verdict, Verdict::Grow);
}

#[rstest]
#[case::now(noon(), 1)]
#[case::in_the_future(noon() + INSTANT, 0)]
#[case::just_within_a_day(noon() - SignedDuration::from_hours(24) + INSTANT, 1)]
#[case::a_day_ago(noon() - SignedDuration::from_hours(24), 0)]
fn actions_of_a_day(#[case] start: Timestamp, #[case] count: u32) {
    assert_eq!(
        decide(&calm().operation(growth(start, "13Gi", "20Gi"))).budget.actions_last_24h,
        count
    );
}

#[test]
fn what_counts_as_an_action() {
    let start = at("08:00:00");
    let counts = |operation: Operation| decide(&calm().operation(operation)).budget.actions_last_24h;
    let one = || growth(start, "13Gi", "20Gi");
    assert_eq!(counts(one()), 1);
    assert_eq!(counts(Operation { accepted: false, ..one() }), 0);
    assert_eq!(counts(unfinished(one())), 1);
    assert_eq!(
        counts(Operation {
            urgency: Urgency::CatchUp,
            ..one()
        }),
        0
    );
    assert_eq!(
        counts(Operation {
            volume: csm_core::world::VolumeKey::WAL,
            ..one()
        }),
        0
    );
    let three = calm()
        .operation(one())
        .operation(growth(at("03:00:00"), "10Gi", "13Gi"))
        .operation(growth(at("11:00:00"), "13Gi", "20Gi"));
    assert_eq!(decide(&three).budget.actions_last_24h, 3);
}

#[test]
fn the_ends_of_time() {
    let mut world = cooling(wants());
    world.operations[0].started_at = Timestamp::MAX;
    world.cluster.pause = csm_core::world::Pause::read(Some("true"), Some("9999-12-30T22:00:00Z"));
    assert_eq!(decide(&world).reason, Reason::Paused);
    world.limits.interval = SignedDuration::MAX;
    for now in [Timestamp::MIN, Timestamp::MAX, Timestamp::UNIX_EPOCH] {
        let plan = plan_at(&world, now);
        assert!(plan.look_again_at.is_none_or(|at| at > now));
    }
}
