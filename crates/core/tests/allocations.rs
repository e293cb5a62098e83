//! What a decision allocates where nothing changed: nothing.

#[allow(dead_code)] // other tests need more of it
#[path = "planner/support.rs"]
mod support;
#[allow(dead_code)]
#[path = "../examples/decisions/worlds.rs"]
mod worlds;

use std::hint::black_box;

use csm_api::Verdict;
use csm_core::plan::{Plan, plan, plan_into};

use support::noon;
use worlds::{TARGET, THRESHOLDS, cluster, resize};

/// In the memory of the plan before it.
#[test]
fn a_balanced_plan_allocates_nothing() {
    let now = noon();
    for settings in [THRESHOLDS, TARGET, &resize("Standard", false)] {
        let world = cluster(40, settings);
        let mut decided = Plan::default();
        plan_into(&world, now, &mut decided);
        assert!(decided.decisions.iter().all(|d| d.verdict == Verdict::Balanced), "{decided:#?}");
        let info = allocation_counter::measure(|| {
            plan_into(black_box(&world), now, &mut decided);
        });
        assert_eq!((info.count_total, info.count_current), (0, 0), "{settings}");
        assert_eq!(decided, plan(&world, now));
    }
}

/// The list of decisions, and of each the list of its members.
#[test]
fn a_first_plan_allocates_its_answer_alone() {
    let (world, now) = (cluster(40, THRESHOLDS), noon());
    let info = allocation_counter::measure(|| drop(black_box(plan(black_box(&world), now))));
    assert_eq!((info.count_total, info.count_current), (1 + 2, 0));
}

/// What was in it does not show: whatever it was a plan for.
#[test]
fn memory_of_another_plan_changes_nothing() {
    let calm = cluster(40, THRESHOLDS);
    let grows = cluster(90, &resize("Standard", false));
    let mut smaller = grows.clone();
    smaller.volumes.truncate(1);
    let mut decided = Plan::default();
    for world in [&calm, &grows, &smaller, &calm, &smaller, &grows] {
        plan_into(world, noon(), &mut decided);
        assert_eq!(decided, plan(world, noon()));
    }
}
