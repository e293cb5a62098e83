//! Whether a relief of WAL that a person asks for may begin, and any other may go on.

use std::sync::Arc;

use csm_api::Reason;
use csm_core::relief::permission;
use csm_core::resolve::Resolution;
use csm_core::wal::Rules;
use csm_core::world::{Breaker, Fencing, VolumeKey, WalHealth, World};
use rstest::rstest;

use crate::support::*;

/// Two instances with data and wal volumes, far from full: what is asked for needs no occasion.
fn asked() -> World {
    let members = |size: &str| (1..=2).map(|i| member(&format!("orders-{i}"), size, "1Gi")).collect();
    world(members("20Gi")).change(|w| {
        w.volumes.push(volume(VolumeKey::WAL, members("10Gi")));
        w.cluster.wal = Some(WalHealth::default());
    })
}

const fn rules(retain_count: u32, require_archived: bool) -> Rules {
    Rules {
        retain_count,
        require_archived,
    }
}

fn refusal(world: &World, instance: &str, dry_run: bool) -> (Option<Reason>, String) {
    let refusal = permission(world, instance, dry_run, noon()).expect_err("something stands against it");
    (refusal.reason, refusal.message)
}

#[rstest]
#[case::defaults("{}", rules(10, true))]
#[case::of_the_policy("walCleanup: {retainCount: 3, requireArchived: false}", rules(3, false))]
fn it_goes_by_the_rules_of_the_policy(#[case] settings: &str, #[case] rules: Rules) {
    let world = asked().policy(settings);
    for dry_run in [false, true] {
        assert_eq!(permission(&world, "orders-2", dry_run, noon()), Ok((rules, VolumeKey::WAL)));
    }
}

#[test]
fn pg_wal_is_where_it_is() {
    let on_data = asked().change(|w| w.volumes.retain(|v| v.key == VolumeKey::DATA));
    assert_eq!(
        permission(&on_data, "orders-1", false, noon()).map(|(_, volume)| volume),
        Ok(VolumeKey::DATA)
    );
    let without = asked().change(|w| w.volumes.clear());
    assert!(refusal(&without, "orders-1", false).1.contains("those that it has: none"));
}

#[test]
fn where_no_policy_manages_the_cluster_the_defaults_hold() {
    let world = asked().change(|w| w.resolution = Arc::new(Resolution::NoPolicy));
    assert_eq!(permission(&world, "orders-1", false, noon()), Ok((rules(10, true), VolumeKey::WAL)));
}

#[test]
fn an_instance_that_is_not_there_is_named_with_those_that_are() {
    for dry_run in [false, true] {
        let (reason, message) = refusal(&asked(), "orders-9", dry_run);
        assert_eq!(
            (reason, message.as_str()),
            (None, "the Cluster has no instance orders-9; those that it has: orders-1, orders-2")
        );
    }
    // One that has a data volume and no wal volume is none of these.
    let half = asked().change(|w| w.volumes[1].members.truncate(1));
    assert!(refusal(&half, "orders-2", false).1.contains("those that it has: orders-1"));
}

#[test]
fn what_is_switched_off_is_not_even_listed() {
    let world = asked().policy("walCleanup: {enabled: false}");
    for dry_run in [false, true] {
        let (reason, message) = refusal(&world, "orders-1", dry_run);
        assert!(
            reason.is_none() && message.contains("walCleanup.enabled is false"),
            "{reason:?} {message}"
        );
    }
}

/// All that holds it, a dry run as well.
#[rstest]
#[case::invalid(asked().change(|w| w.resolution = Arc::new(Resolution::Invalid(Vec::new()))), Reason::PolicyInvalid)]
#[case::conflict(asked().change(|w| w.resolution = Arc::new(Resolution::Conflict(Vec::new()))), Reason::PolicyInvalid)]
#[case::deleting(asked().change(|w| w.cluster.deleting = true), Reason::ClusterDeleting)]
#[case::paused(asked().pause("true", None), Reason::Paused)]
#[case::hibernated(asked().change(|w| w.cluster.hibernated = true), Reason::Hibernated)]
#[case::fenced(asked().change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-1"]"#))), Reason::Fenced)]
#[case::fence_unreadable(asked().change(|w| w.cluster.fencing = Fencing::read(Some("orders-2"))), Reason::Fenced)]
#[case::breaker(asked().change(|w| w.cluster.breaker = Breaker::Open.into()), Reason::CircuitOpen)]
#[case::breaker_of_all(asked().change(|w| w.global_breaker = Breaker::Open.into()), Reason::CircuitOpen)]
fn what_holds_it(#[case] world: World, #[case] held_by: Reason) {
    for dry_run in [false, true] {
        let (reason, message) = refusal(&world, "orders-1", dry_run);
        assert_eq!(reason, Some(held_by));
        assert!(!message.is_empty());
    }
}

/// The rest says when the manager begins by itself.
#[rstest]
#[case::cooldown(asked().change(|w| w.volumes[1].members[0].last_relief_at = Some(at("11:59:59"))))]
#[case::health_unknown(asked().change(|w| w.cluster.wal = None))]
#[case::another_is_fenced(asked().change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-2"]"#))))]
#[case::half_open(asked().change(|w| w.cluster.breaker = Breaker::HalfOpen.into()))]
#[case::paused_until_now(asked().pause("true", Some("2026-03-01T12:00:00Z")))]
fn what_does_not_hold_it(#[case] world: World) {
    assert_eq!(permission(&world, "orders-1", false, noon()), Ok((rules(10, true), VolumeKey::WAL)));
}

#[test]
fn under_a_policy_of_dry_run_only_a_dry_run_goes() {
    let world = asked().policy("dryRun: true");
    assert_eq!(refusal(&world, "orders-1", false).0, Some(Reason::DryRun));
    assert_eq!(permission(&world, "orders-1", true, noon()), Ok((rules(10, true), VolumeKey::WAL)));
}

/// All at once, and one taken away after the other: the first that is left is told.
#[test]
fn the_first_that_holds_is_told() {
    let mut world = asked().policy("dryRun: true").pause("true", None).change(|w| {
        w.cluster.deleting = true;
        w.cluster.hibernated = true;
        w.cluster.fencing = Fencing::read(Some(r#"["*"]"#));
        w.cluster.breaker = Breaker::Open.into();
    });
    let mut told = Vec::new();
    let lifts: [fn(World) -> World; 5] = [
        |w| w.change(|w| w.cluster.deleting = false),
        |w| w.pause("false", None),
        |w| w.change(|w| w.cluster.hibernated = false),
        |w| w.change(|w| w.cluster.fencing = Fencing::None),
        |w| w.change(|w| w.cluster.breaker = Breaker::Closed.into()),
    ];
    for lift in lifts {
        told.push(refusal(&world, "orders-1", false).0);
        world = lift(world);
    }
    told.push(refusal(&world, "orders-1", false).0);
    let reasons = [
        Reason::ClusterDeleting,
        Reason::Paused,
        Reason::Hibernated,
        Reason::Fenced,
        Reason::CircuitOpen,
        Reason::DryRun,
    ];
    assert_eq!(told, reasons.map(Some));
}
