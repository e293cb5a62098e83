//! The second pass catches every way in which a plan could be wrong.

use std::sync::Arc;

use csm_api::{Reason, Verdict};
use csm_core::check::{Rule, check};
use csm_core::plan::{Plan, plan};
use csm_core::resolve::Resolution;
use csm_core::world::{Fencing, VolumeKey, World};
use csm_units::Bytes;
use rstest::rstest;

use crate::support::*;

fn broken(world: &World, plan: &Plan) -> Vec<Rule> {
    let mut rules: Vec<Rule> = match check(world, plan, noon()) {
        Ok(()) => Vec::new(),
        Err(violations) => violations.iter().map(|v| v.rule).collect(),
    };
    rules.sort();
    rules.dedup();
    rules
}

/// The plan of a growth, held against a world that it was not made for.
#[rstest]
#[case::no_policy(|w: World| w.change(|w| w.resolution = Arc::new(Resolution::NoPolicy)), &[Rule::Unmanaged, Rule::NoEvidence])]
#[case::conflict(|w: World| w.change(|w| w.resolution = Arc::new(Resolution::Conflict(Vec::new()))), &[Rule::Unmanaged, Rule::NoEvidence])]
#[case::invalid(|w: World| w.change(|w| w.resolution = Arc::new(Resolution::Invalid(Vec::new()))), &[Rule::Unmanaged, Rule::NoEvidence])]
#[case::dry_run(|w: World| w.policy("dryRun: true"), &[Rule::SwitchedOff])]
#[case::disabled(|w: World| w.policy("expansion: {enabled: false}"), &[Rule::SwitchedOff])]
#[case::deleting(|w: World| w.change(|w| w.cluster.deleting = true), &[Rule::Untouchable])]
#[case::hibernated(|w: World| w.change(|w| w.cluster.hibernated = true), &[Rule::Untouchable])]
#[case::paused(|w: World| w.pause("true", None), &[Rule::Untouchable])]
#[case::paused_for_a_second(|w: World| w.pause("true", Some("2026-03-01T12:00:01Z")), &[Rule::Untouchable])]
#[case::pause_is_over(|w: World| w.pause("true", Some("2026-03-01T12:00:00Z")), &[])]
#[case::in_use(|w: World| w.change(|w| w.cluster.resize_in_use_volumes = false), &[Rule::Untouchable])]
#[case::fenced(|w: World| w.change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-2"]"#))), &[Rule::Fenced])]
#[case::all_fenced(|w: World| w.change(|w| w.cluster.fencing = Fencing::All), &[Rule::Fenced])]
#[case::fencing_unreadable(|w: World| w.change(|w| w.cluster.fencing = Fencing::read(Some("?"))), &[Rule::Fenced])]
#[case::another_fenced(|w: World| w.change(|w| w.cluster.fencing = Fencing::read(Some(r#"["orders-3"]"#))), &[])]
#[case::not_bound(|w: World| w.member(1, |m| m.bound = false), &[Rule::CannotGrow])]
#[case::block(|w: World| w.member(1, |m| m.block = true), &[Rule::CannotGrow])]
#[case::class(|w: World| w.member(1, |m| m.class.expandable = false), &[Rule::CannotGrow])]
#[case::twin(|w: World| w.member(1, |m| m.twin = true), &[Rule::SharedFilesystem])]
#[case::shared_class(|w: World| w.member(1, |m| m.class.shared_filesystem = true), &[Rule::SharedFilesystem])]
#[case::large_filesystem(|w: World| w.member(1, |m| m.observation.as_mut().unwrap().available = size("30Gi")), &[Rule::SharedFilesystem])]
#[case::already_larger(|w: World| w.member(1, |m| m.request = size("30Gi")), &[Rule::Shrinks])]
#[case::has_more(|w: World| w.member(1, |m| m.size = size("31Gi")), &[Rule::Shrinks])]
#[case::ceiling(|w: World| w.policy("expansion: {maxSize: 29Gi}"), &[Rule::AboveCeiling])]
#[case::learned(|w: World| w.data(|v| v.learned_ceiling = Some(size("29Gi"))), &[Rule::AboveCeiling])]
#[case::fallback(|w: World| w.policy("{}").data(|v| v.fallback_ceiling = Some(size("29Gi"))), &[Rule::AboveCeiling])]
#[case::in_flight(|w: World| w.operation(unfinished(growth(at("11:59:00"), "13Gi", "20Gi"))), &[Rule::SecondOperation])]
#[case::in_flight_elsewhere(|w: World| w.operation(catch_up(unfinished(growth(at("11:59:00"), "13Gi", "20Gi")), &["gone"])), &[Rule::SecondOperation])]
#[case::finished(|w: World| w.operation(growth(at("01:00:00"), "13Gi", "20Gi")), &[])]
#[case::another_volume(|w: World| w.data(|v| v.key = VolumeKey::WAL), &[Rule::Volume])]
#[case::two_of_a_name(|w: World| w.change(|w| w.volumes.push(w.volumes[0].clone())), &[Rule::Volume])]
#[case::another_pvc(|w: World| w.member(1, |m| m.uid = "new".into()), &[Rule::Member])]
#[case::stale(|w: World| w.member(0, |m| m.observation.as_mut().unwrap().at = at("11:54:59")), &[Rule::NoEvidence])]
#[case::unseen(|w: World| w.member(0, |m| m.observation = None), &[Rule::NoEvidence])]
#[case::before_the_resize(|w: World| w.member(0, |m| m.last_resize_at = Some(at("11:59:30"))), &[Rule::NoEvidence])]
#[case::below_the_threshold(|w: World| w.policy("{thresholds: {expansion: 91}, expansion: {maxSize: 200Gi}}"), &[Rule::NoEvidence])]
fn a_plan_for_another_world(#[case] change: fn(World) -> World, #[case] expected: &[Rule]) {
    let planned_for = world(vec![member("orders-1", "20Gi", "18Gi"), member("orders-2", "20Gi", "2Gi")]);
    let plan = plan(&planned_for, noon());
    assert_eq!(plan.decisions[0].verdict, Verdict::Grow);
    assert_eq!(broken(&planned_for, &plan), []);
    assert_eq!(broken(&change(planned_for), &plan), expected);
}

fn set(plan: &mut Plan, to: Bytes) {
    let decision = &mut plan.decisions[0];
    decision.to = Some(to);
    decision.members.iter_mut().filter(|m| m.to.is_some()).for_each(|m| m.to = Some(to));
}

/// The plan of a growth from 20Gi to 30Gi, changed.
#[rstest]
#[case::above_the_ceiling(|p: &mut Plan| set(p, size("201Gi")), &[Rule::AboveCeiling])]
#[case::exactly_the_ceiling(|p: &mut Plan| set(p, size("200Gi")), &[])]
#[case::smaller(|p: &mut Plan| set(p, size("10Gi")), &[Rule::Shrinks])]
#[case::the_same(|p: &mut Plan| set(p, size("20Gi")), &[Rule::Shrinks])]
#[case::odd(|p: &mut Plan| set(p, size("30721Mi")), &[Rule::OddSize])]
#[case::a_byte(|p: &mut Plan| set(p, Bytes::new(size("30Gi").get() + 1)), &[Rule::OddSize])]
#[case::a_whole_mib_below_ten_gib(|p: &mut Plan| set(p, size("9Gi")), &[Rule::Shrinks])]
#[case::members_differ(|p: &mut Plan| p.decisions[0].members[0].to = Some(size("40Gi")), &[Rule::Inconsistent])]
#[case::no_size(|p: &mut Plan| p.decisions[0].to = None, &[Rule::Inconsistent])]
#[case::no_members(|p: &mut Plan| p.decisions[0].members.iter_mut().for_each(|m| m.to = None), &[Rule::Inconsistent])]
#[case::twice(|p: &mut Plan| { let m = p.decisions[0].members[0].clone(); p.decisions[0].members.push(m); }, &[Rule::Member])]
#[case::unknown_member(|p: &mut Plan| p.decisions[0].members[0].uid = "other".into(), &[Rule::Member])]
#[case::uid_of_another_name(|p: &mut Plan| p.decisions[0].members[0].pvc = "other".into(), &[Rule::Member])]
#[case::second_decision(|p: &mut Plan| { let d = p.decisions[0].clone(); p.decisions.push(d); }, &[Rule::Volume])]
#[case::unknown_volume(|p: &mut Plan| p.decisions[0].volume = VolumeKey::tablespace("x"), &[Rule::Volume])]
#[case::hold_with_a_size(|p: &mut Plan| p.decisions[0].verdict = Verdict::Hold, &[Rule::Inconsistent])]
#[case::balanced_with_a_size(|p: &mut Plan| p.decisions[0].verdict = Verdict::Balanced, &[Rule::Inconsistent])]
#[case::a_catch_up_to_no_size(|p: &mut Plan| p.decisions[0].verdict = Verdict::CatchUp, &[Rule::OddSize])]
#[case::nothing(|p: &mut Plan| p.decisions.clear(), &[])]
fn a_plan_that_was_changed(#[case] change: fn(&mut Plan), #[case] expected: &[Rule]) {
    let world = world(vec![member("orders-1", "20Gi", "18Gi"), member("orders-2", "20Gi", "2Gi")]);
    let mut plan = plan(&world, noon());
    change(&mut plan);
    assert_eq!(broken(&world, &plan), expected);
}

#[rstest]
#[case::another_size(|p: &mut Plan| set(p, size("25Gi")), &[Rule::OddSize])]
#[case::beyond_the_volume(|p: &mut Plan| set(p, size("31Gi")), &[Rule::OddSize])]
#[case::one_that_does_not_lag(|p: &mut Plan| p.decisions[0].members[1].to = Some(size("30Gi")), &[Rule::Shrinks])]
fn a_catch_up_that_was_changed(#[case] change: fn(&mut Plan), #[case] expected: &[Rule]) {
    let world = lags();
    let mut plan = plan(&world, noon());
    assert_eq!((plan.decisions[0].verdict, broken(&world, &plan)), (Verdict::CatchUp, Vec::new()));
    change(&mut plan);
    assert_eq!(broken(&world, &plan), expected);
}

#[test]
fn a_catch_up_beside_an_operation_on_others() {
    let of = |uid: &str| lags().operation(catch_up(unfinished(growth(at("11:59:00"), "20Gi", "30Gi")), &[uid]));
    let plan = plan(&lags(), noon());
    assert_eq!(broken(&of("orders-1-uid"), &plan), []);
    assert_eq!(broken(&of("orders-2-uid"), &plan), [Rule::SecondOperation]);
}

#[test]
fn rules_have_names_of_their_own() {
    assert!(Rule::ALL.is_sorted());
    for rule in Rule::ALL {
        assert_eq!(rule.as_str(), format!("{rule:?}"));
    }
}

#[test]
fn a_violation_in_words() {
    let world = wants();
    let mut plan = plan(&world, noon());
    set(&mut plan, size("201Gi"));
    let violations = check(&world, &plan, noon()).unwrap_err();
    assert_eq!(violations.len(), 1);
    let text = violations[0].to_string();
    assert!(text.starts_with("data: AboveCeiling: PVC orders-1-pvc to 201Gi"), "{text}");
    assert_eq!(plan.decisions[0].reason, Reason::UsageThreshold);
}
