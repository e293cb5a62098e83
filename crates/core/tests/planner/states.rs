//! The state of a volume: the first that applies.

use std::sync::Arc;

use csm_api::{Reason, State, Verdict};
use csm_core::resolve::Resolution;
use csm_core::world::World;
use rstest::rstest;

use crate::support::*;

fn resizing(world: World) -> World {
    world.operation(unfinished(growth(at("11:58:00"), "13Gi", "20Gi")))
}

fn stuck(world: World) -> World {
    world.operation(unfinished(growth(at("11:30:00"), "13Gi", "20Gi")))
}

fn no_policy(world: World) -> World {
    world.change(|w| w.resolution = Arc::new(Resolution::NoPolicy))
}

fn paused(world: World) -> World {
    world.pause("true", None)
}

fn dry(world: World) -> World {
    world.policy("{dryRun: true, expansion: {maxSize: 200Gi}}")
}

fn blind(world: World) -> World {
    world
        .data(|v| v.members.push(member("orders-2", "20Gi", "1Gi")))
        .member(0, |m| m.observation = None)
}

#[rstest]
#[case::unmanaged(no_policy(paused(resizing(wants()))), State::Unmanaged)]
#[case::paused_before_resizing(paused(resizing(wants())), State::Paused)]
#[case::paused_and_calm(paused(calm()), State::Paused)]
#[case::paused_and_invalid(paused(wants().policy("expansion: {percentage: 0}")), State::Paused)]
#[case::resizing(resizing(wants()), State::Resizing)]
#[case::resizing_and_calm(resizing(calm()), State::Resizing)]
#[case::resizing_in_a_dry_run(dry(resizing(wants())), State::Resizing)]
#[case::dry_run(dry(wants()), State::DryRun)]
#[case::dry_run_of_nothing(dry(calm()), State::Balanced)]
#[case::at_limit(wants().policy("expansion: {maxSize: 20Gi}"), State::AtLimit)]
#[case::never_seen(wants().member(0, |m| m.observation = None), State::WaitingForDiskStatus)]
#[case::stale(wants().member(0, |m| m.observation.as_mut().unwrap().at = at("09:00:00")), State::WaitingForDiskStatus)]
#[case::blind_primary(blind(calm()), State::WaitingForDiskStatus)]
#[case::blind_primary_and_stuck(blind(stuck(calm())), State::WaitingForDiskStatus)]
#[case::blind_primary_but_wanted(blind(wants()).member(1, |m| *m = member("orders-2", "20Gi", "18Gi")), State::NeedsGrow)]
#[case::no_primary(blind(calm()).change(|w| w.cluster.primary = None), State::Balanced)]
#[case::unseen_replica(calm().data(|v| v.members.push(member("orders-2", "20Gi", "1Gi").unseen())), State::Balanced)]
#[case::held(wants().change(|w| w.cluster.resize_in_use_volumes = false), State::Blocked)]
#[case::stuck(stuck(wants()), State::Blocked)]
#[case::stuck_and_calm(stuck(calm()), State::Blocked)]
#[case::cooldown(wants().operation(growth(at("11:59:00"), "13Gi", "20Gi")), State::Blocked)]
#[case::grow(wants(), State::NeedsGrow)]
#[case::catch_up(lags(), State::NeedsGrow)]
#[case::balanced(calm(), State::Balanced)]
fn states(#[case] world: World, #[case] state: State) {
    assert_eq!(decide(&world).state, state);
}

#[test]
fn a_primary_that_is_outsize_is_seen() {
    let world = world(vec![member("a-1", "150Gi", "10Gi"), member("a-2", "80Gi", "10Gi")]).policy("expansion: {maxSize: 100Gi}");
    assert_eq!(decide(&world).state, State::Balanced);
    assert_eq!(
        decide(&world.member(0, |m| m.observation = None)).state,
        State::WaitingForDiskStatus
    );
}

#[test]
fn a_primary_without_a_pvc_is_not_seen() {
    let decision = decide(&calm().change(|w| w.cluster.primary = Some("orders-7".into())));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Balanced, Reason::BelowThresholds));
    assert_eq!(decision.state, State::WaitingForDiskStatus);
}
