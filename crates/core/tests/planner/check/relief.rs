//! WAL relief that is due, of a data volume that holds pg_wal and stays as it is.

use csm_api::{Reason, Urgency, Verdict};
use csm_core::check::Rule;
use csm_core::plan::Wanted;
use csm_core::resolve::Resolution;
use csm_core::world::{Pause, VolumeKey, WalHealth, World};

use super::Change::{Plan as P, World as W};
use super::{Case, breaker_is_open, check_cases, fenced, used};
use crate::support::*;

/// What forbids or takes away what the plan says of orders-1, which is 90 % full.
pub const RELIEFS: &[Case] = &[
    ("below the level", W(|w| used(w, 0, "17Gi")), &[Rule::Relief]),
    ("just at the level", W(|w| used(w, 0, "18Gi")), &[]),
    (
        "old figures",
        W(|w| w.member(0, |m| *m = m.clone().seen_at(at("11:54:59")))),
        &[Rule::Relief],
    ),
    (
        "figures from before a growth",
        W(|w| w.member(0, |m| *m = m.clone().resized_at(at("11:59:30")))),
        &[Rule::Relief],
    ),
    ("no figures", W(|w| w.member(0, |m| *m = m.clone().unseen())), &[Rule::Relief]),
    (
        "switched off",
        W(|w| w.policy("{expansion: {enabled: false}, walCleanup: {enabled: false}}")),
        &[Rule::Relief],
    ),
    (
        "dry run",
        W(|w| w.policy("{expansion: {enabled: false}, dryRun: true}")),
        &[Rule::Relief],
    ),
    (
        "a higher level",
        W(|w| w.policy("{expansion: {enabled: false}, thresholds: {emergency: 91}}")),
        &[Rule::Relief],
    ),
    ("invalid settings", W(|w| w.policy("storage: {request: 10Gi}")), &[Rule::Relief]),
    (
        "no policy",
        W(|w| w.change(|w| w.resolution = Resolution::NoPolicy.into())),
        &[Rule::Relief],
    ),
    ("deleting", W(|w| w.change(|w| w.cluster.deleting = true)), &[Rule::Relief]),
    ("hibernated", W(|w| w.change(|w| w.cluster.hibernated = true)), &[Rule::Relief]),
    ("paused", W(|w| w.pause("true", None)), &[Rule::Relief]),
    (
        "paused for a while",
        W(|w| w.pause("true", Some("2026-03-01T12:00:01Z"))),
        &[Rule::Relief],
    ),
    ("paused until now", W(|w| w.pause("true", Some("2026-03-01T12:00:00Z"))), &[]),
    ("no pause", W(|w| w.change(|w| w.cluster.pause = Pause::No)), &[]),
    ("fenced", W(|w| fenced(w, r#"["orders-1"]"#)), &[Rule::Relief]),
    ("all fenced", W(|w| fenced(w, r#"["*"]"#)), &[Rule::Relief]),
    ("fence unreadable", W(|w| fenced(w, "orders-1")), &[Rule::Relief]),
    ("another one is fenced", W(|w| fenced(w, r#"["orders-2"]"#)), &[]),
    ("breaker", W(breaker_is_open), &[Rule::Relief]),
    (
        "breaker of all",
        W(|w| w.change(|w| w.global_breaker = csm_core::world::Breaker::Open.into())),
        &[Rule::Relief],
    ),
    (
        "just relieved",
        W(|w| w.member(0, |m| m.last_relief_at = Some(at("11:45:01")))),
        &[Rule::Relief],
    ),
    (
        "relieved a while ago",
        W(|w| w.member(0, |m| m.last_relief_at = Some(at("11:45:00")))),
        &[],
    ),
    (
        "another one was relieved",
        W(|w| w.member(1, |m| m.last_relief_at = Some(noon()))),
        &[],
    ),
    ("WAL unknown", W(|w| w.change(|w| w.cluster.wal = None)), &[Rule::Relief]),
    (
        "pg_wal elsewhere",
        W(|w| w.change(|w| w.volumes.push(volume(VolumeKey::WAL, Vec::new())))),
        &[Rule::Relief],
    ),
    ("another instance", P(|p| first(p).instance = "orders-2".into()), &[Rule::Relief]),
    ("an unknown instance", P(|p| first(p).instance = "orders-9".into()), &[Rule::Relief]),
    (
        "twice",
        P(|p| {
            let again = first(p).clone();
            p.decisions[0].relief.as_mut().unwrap().instances.push(again);
        }),
        &[Rule::Relief],
    ),
    (
        "for nobody",
        P(|p| p.decisions[0].relief.as_mut().unwrap().instances.clear()),
        &[Rule::Relief],
    ),
    ("none at all", P(|p| p.decisions[0].relief = None), &[]),
];

fn first(plan: &mut csm_core::plan::Plan) -> &mut csm_core::plan::InstanceRelief {
    &mut plan.decisions[0].relief.as_mut().unwrap().instances[0]
}

fn full() -> World {
    world(vec![member("orders-1", "20Gi", "18Gi"), member("orders-2", "20Gi", "2Gi")])
        .policy("expansion: {enabled: false}")
        .change(|w| w.cluster.wal = Some(WalHealth::default()))
}

#[test]
fn relief_by_the_level() {
    check_cases(&full(), Verdict::Hold, RELIEFS);
}

fn wants(plan: &mut csm_core::plan::Plan, urgency: Option<Urgency>) {
    let decision = &mut plan.decisions[0];
    decision.wanted = urgency.map(|urgency| Wanted {
        reason: Reason::DiskFull,
        urgency,
        to: None,
        held_by: Reason::AtLimit,
    });
}

/// For a growth that is held: the plan says which, and the world bears it out.
#[test]
fn relief_for_a_growth_that_is_held() {
    const CASES: &[Case] = &[
        ("a rescue is held", P(|p| wants(p, Some(Urgency::Rescue))), &[]),
        ("nothing is held", P(|p| wants(p, None)), &[Rule::Relief]),
        ("a planned growth is held", P(|p| wants(p, Some(Urgency::Planned))), &[Rule::Relief]),
        ("a catch-up is held", P(|p| wants(p, Some(Urgency::CatchUp))), &[Rule::Relief]),
        (
            "an emergency is held, of one that has no figures",
            P(|p| wants(p, Some(Urgency::Emergency))),
            &[Rule::Relief],
        ),
        ("the disk is not full", W(|w| w.member(0, |m| m.disk_full = false)), &[Rule::Relief]),
        ("fenced", W(|w| fenced(w, r#"["orders-1"]"#)), &[Rule::Relief]),
    ];
    let down = full()
        .policy("expansion: {maxSize: 20Gi}")
        .member(0, |m| *m = m.clone().unseen().change(|m| m.disk_full = true));
    check_cases(&down, Verdict::Hold, CASES);
}
