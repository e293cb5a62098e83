//! Every reason, state and verdict of the API has a world that shows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use csm_api::{Reason, State, Verdict};
use csm_core::resolve::{Conflict, Rank, Resolution};
use csm_core::world::{Fencing, World};

use crate::support::*;

fn worlds() -> Vec<World> {
    vec![
        calm(),
        wants(),
        lags(),
        wants().change(|w| w.resolution = Arc::new(Resolution::NoPolicy)),
        wants().change(|w| {
            w.resolution = Arc::new(Resolution::Conflict(vec![Conflict {
                rank: Rank::StoragePolicy,
                policies: Vec::new(),
            }]));
        }),
        wants().policy("thresholds: {warning: 0}"),
        wants().change(|w| w.cluster.deleting = true),
        wants().policy("expansion: {enabled: false}"),
        wants().pause("please", None),
        wants().change(|w| w.cluster.hibernated = true),
        wants().change(|w| w.cluster.fencing = Fencing::All),
        wants().change(|w| w.cluster.resize_in_use_volumes = false),
        wants().member(0, |m| m.bound = false),
        wants().member(0, |m| m.block = true),
        wants().member(0, |m| m.class.expandable = false),
        wants().member(0, |m| m.twin = true),
        wants().operation(unfinished(growth(at("11:59:00"), "13Gi", "20Gi"))),
        wants().operation(unfinished(growth(at("11:00:00"), "13Gi", "20Gi"))),
        wants().data(|v| v.retry_after = Some(at("12:00:01"))),
        wants().member(0, |m| m.observation.as_mut().unwrap().at = at("09:00:00")),
        wants().member(0, |m| m.observation = None),
        wants().policy("expansion: {maxSize: 20Gi}"),
        wants().operation(growth(at("11:59:00"), "13Gi", "20Gi")),
        wants().policy("dryRun: true"),
        calm()
            .policy("expansion: {maxSize: 30Gi}")
            .data(|v| v.members.push(member("orders-2", "40Gi", "1Gi"))),
        calm().data(|v| v.members.push(member("orders-2", "20Gi", "1Gi").unseen())),
    ]
}

#[test]
fn every_reason_can_be_given() {
    let decisions: Vec<_> = worlds().iter().map(decide).collect();
    let reasons: BTreeSet<Reason> = decisions
        .iter()
        .flat_map(|d| d.warnings.iter().map(|w| w.reason).chain([d.reason]))
        .collect();
    assert_eq!(reasons, Reason::ALL.iter().copied().collect());
    let states: BTreeSet<State> = decisions.iter().map(|d| d.state).collect();
    assert_eq!(states, State::ALL.iter().copied().collect());
    let verdicts: BTreeSet<Verdict> = decisions.iter().map(|d| d.verdict).collect();
    assert_eq!(verdicts, Verdict::ALL.iter().copied().collect());
}
