//! The second pass catches every way in which a plan could be wrong.

mod models;
mod planned;
mod relief;
mod urgent;

use std::collections::BTreeSet;
use std::sync::Arc;

use csm_api::{Urgency, Verdict};
use csm_core::check::{Rule, check};
use csm_core::plan::{Plan, plan};
use csm_core::resolve::Resolution;
use csm_core::world::{Breaker, Fencing, Fleet, Operation, ProviderLimit, World};
use csm_units::Bytes;
use jiff::SignedDuration;

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

/// What happens to a plan, or to the world that it was made for.
enum Change {
    World(fn(World) -> World),
    Plan(fn(&mut Plan)),
}
use Change::{Plan as P, World as W};

/// A name, the change, and the rules that it breaks.
type Case = (&'static str, Change, &'static [Rule]);

/// Plans for `world`, which the check passes, then changes one of the two, and asks it again.
fn check_cases(world: &World, verdict: Verdict, cases: &[Case]) {
    let planned = plan(world, noon());
    assert_eq!(planned.decisions[0].verdict, verdict, "{planned:#?}");
    assert_eq!(broken(world, &planned), []);
    for (name, change, expected) in cases {
        let found = match change {
            W(change) => broken(&change(world.clone()), &planned),
            P(change) => {
                let mut plan = planned.clone();
                change(&mut plan);
                broken(world, &plan)
            }
        };
        assert_eq!(found, *expected, "{name}");
    }
}

fn set(plan: &mut Plan, to: Bytes) {
    let decision = &mut plan.decisions[0];
    decision.to = Some(to);
    decision.members.iter_mut().filter(|m| m.to.is_some()).for_each(|m| m.to = Some(to));
}

/// Nobody but these is patched.
fn only(plan: &mut Plan, instances: &[&str]) {
    let decision = &mut plan.decisions[0];
    let to = decision.to;
    for member in &mut decision.members {
        member.to = to.filter(|_| instances.contains(&&*member.instance));
    }
}

fn used(world: World, index: usize, used: &str) -> World {
    world.member(index, |m| {
        let figures = m.observation.as_mut().unwrap();
        figures.used = size(used);
        figures.available = m.size.saturating_sub(size(used));
    })
}

/// A growth of the thresholds model, from 20Gi to 30Gi.
fn grows() -> World {
    world(vec![member("orders-1", "20Gi", "18Gi"), member("orders-2", "20Gi", "2Gi")])
}

/// The PVC was changed a day ago, less so much; its provisioner allows one change a day.
fn provider(world: World, uid: &str, less: SignedDuration) -> World {
    let start = noon() - SignedDuration::from_hours(24) + less;
    let operation = catch_up(growth(start, "13Gi", "20Gi"), &[uid]);
    world.operation(operation).member(1, |m| {
        m.class.provider_limit = Some(ProviderLimit {
            max_actions: 1,
            period: SignedDuration::from_hours(24),
        });
    })
}

/// So many resizes of the whole fleet are under way; at most two may be.
fn fleet(world: World, in_progress: u32) -> World {
    world.change(|w| {
        w.fleet = Fleet {
            in_progress,
            ahead: 0,
            limit: Some(2),
        };
    })
}

fn fleet_is_full(world: World) -> World {
    fleet(world, 2)
}

fn breaker_is_open(world: World) -> World {
    world.change(|w| w.cluster.breaker = Breaker::Open.into())
}

/// The instances that the annotation names.
fn fenced(world: World, instances: &str) -> World {
    world.change(|w| w.cluster.fencing = Fencing::read(Some(instances)))
}

/// A growth of `urgency` so many hours before noon.
fn done(hours: i64, urgency: Urgency) -> Operation {
    let start = noon() - SignedDuration::from_hours(hours);
    Operation {
        urgency,
        id: format!("{urgency}-{hours}").into(),
        ..growth(start, "13Gi", "20Gi")
    }
}

fn after(world: World, operations: &[(i64, Urgency)]) -> World {
    operations
        .iter()
        .fold(world, |world, (hours, urgency)| world.operation(done(*hours, *urgency)))
}

/// The same settings, with the bounds of a ClusterStoragePolicy.
fn bounded(bounds: &str) -> Arc<Resolution> {
    use csm_core::resolve::{Policy, resolve};
    let text = format!("{{metadata: {{name: fleet}}, spec: {{bounds: {{{bounds}}}, expansion: {{maxSize: 200Gi}}}}}}");
    let policy: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let policy = Policy::from_cluster_storage_policy(&serde_json::from_value(policy).unwrap());
    Arc::new(resolve(&[&policy], None, &csm_api::Settings::default()))
}

#[test]
fn every_rule_is_broken_by_some_change() {
    let planned = [planned::WORLDS, planned::PLANS, planned::SET_ASIDE];
    let urgent = [urgent::CATCH_UPS, urgent::EMERGENCIES, urgent::RESCUES, urgent::RUNWAYS];
    let tables = planned
        .into_iter()
        .chain(urgent)
        .chain([models::RESIZES, models::TARGETS, relief::RELIEFS]);
    let broken: BTreeSet<Rule> = tables.flatten().flat_map(|(_, _, rules)| *rules).copied().collect();
    assert_eq!(broken, Rule::ALL.iter().copied().collect());
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
    set(&mut plan, size("31Gi"));
    let violations = check(&world, &plan, noon()).unwrap_err();
    assert_eq!(violations.len(), 1);
    let text = violations[0].to_string();
    assert!(
        text.starts_with("data: TooLarge: Grow to 31Gi, at most to 32212254720 bytes"),
        "{text}"
    );
}
