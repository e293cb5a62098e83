//! What holds for every world: the planner's answer passes the second check, can be explained, and does not change.

use csm_core::check::check;
use csm_core::explain::{gates, sentence, warnings};
use csm_core::plan::plan;
use csm_core::world::World;
use jiff::Timestamp;

/// Now, and at the moment at which the planner wants to look again.
pub(crate) fn holds(world: &World, now: Timestamp) {
    if let Some(later) = at(world, now) {
        assert!(later > now, "to look again at {later}, which is not after {now}");
        at(world, later);
    }
}

fn at(world: &World, now: Timestamp) -> Option<Timestamp> {
    let decided = plan(world, now);
    assert_eq!(decided, plan(world, now), "the same world twice");
    if let Err(violations) = check(world, &decided, now) {
        panic!("the check does not accept the plan at {now}: {violations:?}\n{decided:#?}");
    }
    assert_eq!(decided.decisions.len(), world.volumes.len());
    for decision in &decided.decisions {
        let text = sentence(decision);
        assert!(!text.trim().is_empty(), "no sentence for {decision:#?}");
        for warning in warnings(decision) {
            assert!(!warning.trim().is_empty(), "an empty warning for {decision:#?}");
        }
        let gates = gates(world, now, &decision.volume);
        assert!(gates.is_some_and(|gates| !gates.is_empty()), "no gates of {}", decision.volume);
    }
    decided.look_again_at
}
