//! Planned growth of the thresholds model.

use std::sync::Arc;

use csm_api::{Reason, Urgency, Verdict};
use csm_core::check::Rule;
use csm_core::resolve::Resolution;
use csm_core::world::{Breaker, Fencing, Operation, VolumeKey};
use csm_units::Bytes;
use jiff::SignedDuration;

use super::Change::{Plan as P, World as W};
use super::{Case, after, bounded, breaker_is_open, check_cases, fenced, fleet, fleet_is_full, grows, only, provider, set};
use crate::support::*;

pub const WORLDS: &[Case] = &[
    (
        "no policy",
        W(|w| w.change(|w| w.resolution = Arc::new(Resolution::NoPolicy))),
        &[Rule::Unmanaged],
    ),
    (
        "conflict",
        W(|w| w.change(|w| w.resolution = Arc::new(Resolution::Conflict(Vec::new())))),
        &[Rule::Unmanaged],
    ),
    (
        "invalid",
        W(|w| w.change(|w| w.resolution = Arc::new(Resolution::Invalid(Vec::new())))),
        &[Rule::Unmanaged],
    ),
    ("invalid block", W(|w| w.policy("storage: {request: 1Gi}")), &[Rule::Unmanaged]),
    ("dry run", W(|w| w.policy("dryRun: true")), &[Rule::SwitchedOff]),
    ("disabled", W(|w| w.policy("expansion: {enabled: false}")), &[Rule::SwitchedOff]),
    ("deleting", W(|w| w.change(|w| w.cluster.deleting = true)), &[Rule::Untouchable]),
    ("hibernated", W(|w| w.change(|w| w.cluster.hibernated = true)), &[Rule::Untouchable]),
    ("paused", W(|w| w.pause("true", None)), &[Rule::Untouchable]),
    (
        "paused for a second",
        W(|w| w.pause("true", Some("2026-03-01T12:00:01Z"))),
        &[Rule::Untouchable],
    ),
    ("pause is over", W(|w| w.pause("true", Some("2026-03-01T12:00:00Z"))), &[]),
    (
        "in use",
        W(|w| w.change(|w| w.cluster.resize_in_use_volumes = false)),
        &[Rule::Untouchable],
    ),
    ("fenced", W(|w| fenced(w, r#"["orders-2"]"#)), &[Rule::Fenced]),
    ("all fenced", W(|w| w.change(|w| w.cluster.fencing = Fencing::All)), &[Rule::Fenced]),
    ("fencing unreadable", W(|w| fenced(w, "?")), &[Rule::Fenced]),
    ("another fenced", W(|w| fenced(w, r#"["orders-3"]"#)), &[]),
    ("not bound", W(|w| w.member(1, |m| m.bound = false)), &[Rule::CannotGrow]),
    ("block", W(|w| w.member(1, |m| m.block = true)), &[Rule::CannotGrow]),
    ("class", W(|w| w.member(1, |m| m.class.expandable = false)), &[Rule::CannotGrow]),
    ("twin", W(|w| w.member(1, |m| m.twin = true)), &[Rule::SharedFilesystem]),
    (
        "shared class",
        W(|w| w.member(1, |m| m.class.shared_filesystem = true)),
        &[Rule::SharedFilesystem],
    ),
    (
        "large filesystem",
        W(|w| w.member(1, |m| m.observation.as_mut().unwrap().available = size("21Gi"))),
        &[Rule::SharedFilesystem],
    ),
    (
        "a tenth larger",
        W(|w| w.member(1, |m| m.observation.as_mut().unwrap().available = size("20Gi"))),
        &[],
    ),
    ("retry", W(|w| w.data(|v| v.retry_after = Some(noon() + INSTANT))), &[Rule::TooSoon]),
    ("retry now", W(|w| w.data(|v| v.retry_after = Some(noon()))), &[]),
    ("breaker", W(breaker_is_open), &[Rule::CircuitOpen]),
    (
        "global breaker",
        W(|w| w.change(|w| w.global_breaker = Breaker::Open.into())),
        &[Rule::CircuitOpen],
    ),
    ("half open", W(|w| w.change(|w| w.global_breaker = Breaker::HalfOpen.into())), &[]),
    // The volume is larger than was thought, one of its members is being resized, and the other lags.
    (
        "already larger",
        W(|w| w.member(1, |m| m.request = size("30Gi"))),
        &[Rule::Shrinks, Rule::Inconsistent, Rule::SecondOperation, Rule::NoEvidence],
    ),
    (
        "has more",
        W(|w| w.member(1, |m| m.size = size("31Gi"))),
        &[Rule::Shrinks, Rule::Inconsistent, Rule::NoEvidence],
    ),
    ("ceiling", W(|w| w.policy("expansion: {maxSize: 29Gi}")), &[Rule::AboveCeiling]),
    (
        "learned",
        W(|w| w.data(|v| v.learned_ceiling = Some(size("29Gi")))),
        &[Rule::AboveCeiling],
    ),
    (
        "fallback",
        W(|w| w.policy("{}").data(|v| v.fallback_ceiling = Some(size("29Gi")))),
        &[Rule::AboveCeiling],
    ),
    ("smaller steps", W(|w| w.policy("expansion: {percentage: 10}")), &[Rule::TooLarge]),
    (
        "in flight",
        W(|w| {
            w.operation(Operation {
                accepted: false,
                ..unfinished(growth(at("11:59:00"), "13Gi", "20Gi"))
            })
        }),
        &[Rule::SecondOperation],
    ),
    (
        "in flight elsewhere",
        W(|w| w.operation(catch_up(unfinished(growth(at("11:59:00"), "13Gi", "20Gi")), &["gone"]))),
        &[Rule::SecondOperation],
    ),
    (
        "shows a resize",
        W(|w| w.data(|v| v.members[1] = v.members[1].clone().resizing_since(None))),
        &[Rule::SecondOperation],
    ),
    ("finished", W(|w| w.operation(growth(at("01:00:00"), "13Gi", "20Gi"))), &[]),
    (
        "cools down",
        W(|w| w.operation(growth(at("11:30:00") + INSTANT, "13Gi", "20Gi"))),
        &[Rule::Cooldown],
    ),
    ("has cooled down", W(|w| w.operation(growth(at("11:30:00"), "13Gi", "20Gi"))), &[]),
    (
        "a catch-up does not cool",
        W(|w| w.operation(catch_up(growth(at("11:59:00"), "13Gi", "20Gi"), &["orders-2-uid"]))),
        &[],
    ),
    ("provider", W(|w| provider(w, "orders-2-uid", INSTANT)), &[Rule::ProviderLimit]),
    ("provider of another", W(|w| provider(w, "orders-1-uid", INSTANT)), &[]),
    (
        "provider before its period",
        W(|w| provider(w, "orders-2-uid", SignedDuration::ZERO)),
        &[],
    ),
    ("fleet", W(fleet_is_full), &[Rule::FleetLimit]),
    ("room in the fleet", W(|w| fleet(w, 1)), &[]),
    (
        "window",
        W(|w| w.policy("storage: {maintenanceWindow: {schedule: 0 10 * * *, duration: 2h}}")),
        &[Rule::WindowClosed],
    ),
    (
        "window is open",
        W(|w| w.policy("storage: {maintenanceWindow: {schedule: 0 12 * * *, duration: 1m}}")),
        &[],
    ),
    ("another volume", W(|w| w.data(|v| v.key = VolumeKey::WAL)), &[Rule::Volume]),
    (
        "two of a name",
        W(|w| w.change(|w| w.volumes.push(w.volumes[0].clone()))),
        &[Rule::Volume],
    ),
    (
        "another PVC",
        W(|w| w.member(1, |m| m.uid = "new".into())),
        &[Rule::Member, Rule::LeftOut],
    ),
    (
        "stale",
        W(|w| w.member(0, |m| m.observation.as_mut().unwrap().at = at("11:55:00") - INSTANT)),
        &[Rule::NoEvidence],
    ),
    (
        "just fresh",
        W(|w| w.member(0, |m| m.observation.as_mut().unwrap().at = at("11:55:00"))),
        &[],
    ),
    ("unseen", W(|w| w.member(0, |m| m.observation = None)), &[Rule::NoEvidence]),
    (
        "before the resize",
        W(|w| w.member(0, |m| m.last_resize_at = Some(at("11:59:30")))),
        &[Rule::NoEvidence],
    ),
    (
        "below the threshold",
        W(|w| w.policy("{thresholds: {expansion: 91}, expansion: {maxSize: 200Gi}}")),
        &[Rule::NoEvidence],
    ),
];

pub const PLANS: &[Case] = &[
    (
        "above the ceiling",
        P(|p| set(p, size("201Gi"))),
        &[Rule::AboveCeiling, Rule::TooLarge],
    ),
    ("too large", P(|p| set(p, size("31Gi"))), &[Rule::TooLarge]),
    ("a smaller step", P(|p| set(p, size("29Gi"))), &[]),
    ("smaller", P(|p| set(p, size("10Gi"))), &[Rule::Shrinks]),
    ("the same", P(|p| set(p, size("20Gi"))), &[Rule::Shrinks]),
    ("odd", P(|p| set(p, size("30719Mi"))), &[Rule::OddSize]),
    ("a byte", P(|p| set(p, Bytes::new(size("30Gi").get() - 1))), &[Rule::OddSize]),
    (
        "members differ",
        P(|p| p.decisions[0].members[0].to = Some(size("29Gi"))),
        &[Rule::Inconsistent],
    ),
    ("no size", P(|p| p.decisions[0].to = None), &[Rule::Inconsistent]),
    ("no members", P(|p| only(p, &[])), &[Rule::LeftOut, Rule::Inconsistent]),
    ("not for all", P(|p| only(p, &["orders-1"])), &[Rule::LeftOut]),
    (
        "twice",
        P(|p| {
            let m = p.decisions[0].members[0].clone();
            p.decisions[0].members.push(m);
        }),
        &[Rule::Member],
    ),
    (
        "unknown member",
        P(|p| p.decisions[0].members[0].uid = "other".into()),
        &[Rule::Member, Rule::LeftOut],
    ),
    (
        "uid of another name",
        P(|p| p.decisions[0].members[0].pvc = "other".into()),
        &[Rule::Member],
    ),
    (
        "second decision",
        P(|p| {
            let d = p.decisions[0].clone();
            p.decisions.push(d);
        }),
        &[Rule::Volume],
    ),
    (
        "unknown volume",
        P(|p| p.decisions[0].volume = VolumeKey::tablespace("x")),
        &[Rule::Volume],
    ),
    (
        "hold with a size",
        P(|p| p.decisions[0].verdict = Verdict::Hold),
        &[Rule::Inconsistent],
    ),
    (
        "balanced with a size",
        P(|p| p.decisions[0].verdict = Verdict::Balanced),
        &[Rule::Inconsistent],
    ),
    (
        "another verdict",
        P(|p| p.decisions[0].verdict = Verdict::Rescue),
        &[Rule::Inconsistent],
    ),
    ("no urgency", P(|p| p.decisions[0].urgency = None), &[Rule::Inconsistent]),
    (
        "another urgency",
        P(|p| p.decisions[0].urgency = Some(Urgency::Emergency)),
        &[Rule::Inconsistent],
    ),
    (
        "another reason",
        P(|p| p.decisions[0].reason = Reason::MinAvailable),
        &[Rule::NoEvidence],
    ),
    (
        "a reason of another urgency",
        P(|p| p.decisions[0].reason = Reason::CriticalThreshold),
        &[Rule::Inconsistent, Rule::NoEvidence],
    ),
    (
        "another size before",
        P(|p| p.decisions[0].from = size("19Gi")),
        &[Rule::Inconsistent],
    ),
    (
        "a catch-up",
        P(|p| p.decisions[0].verdict = Verdict::CatchUp),
        &[Rule::OddSize, Rule::TooLarge, Rule::Inconsistent, Rule::NoEvidence],
    ),
    (
        "a runway",
        P(|p| (p.decisions[0].urgency, p.decisions[0].reason) = (Some(Urgency::Runway), Reason::Runway)),
        &[Rule::TooLarge, Rule::NoEvidence, Rule::NoRunway],
    ),
    ("nothing", P(|p| p.decisions.clear()), &[]),
];

#[test]
fn a_planned_growth() {
    check_cases(&grows(), Verdict::Grow, WORLDS);
    check_cases(&grows(), Verdict::Grow, PLANS);
}

/// From 9Gi by at most 500Mi: no whole GiB fits from 10Gi on.
#[test]
fn a_step_that_is_smaller_than_the_unit() {
    let world = world(vec![member("orders-1", "10Gi", "9Gi")])
        .policy("storage: {resize: {enabled: true, expansion: {maxStep: 500Mi}, strategy: {walSafetyPolicy: {acknowledgeWALRisk: true}}}}");
    check_cases(
        &world,
        Verdict::Grow,
        &[
            ("less", P(|p| set(p, size("10739Mi"))), &[]),
            ("more", P(|p| set(p, size("10741Mi"))), &[Rule::OddSize, Rule::TooLarge]),
            ("odd", P(|p| set(p, Bytes::new(size("10740Mi").get() - 1))), &[Rule::OddSize]),
        ],
    );
}

#[test]
fn bounds() {
    let cases: &[Case] = &[
        (
            "size",
            W(|w| w.change(|w| w.resolution = bounded("maxSize: 29Gi"))),
            &[Rule::AboveCeiling],
        ),
        (
            "actions",
            W(|w| {
                after(
                    w.change(|w| w.resolution = bounded("maxActionsPerDay: 1")),
                    &[(1, Urgency::Planned)],
                )
            }),
            &[Rule::Budget],
        ),
        (
            "one is left",
            W(|w| {
                after(
                    w.change(|w| w.resolution = bounded("maxActionsPerDay: 2")),
                    &[(1, Urgency::Planned)],
                )
            }),
            &[],
        ),
    ];
    check_cases(&grows(), Verdict::Grow, cases);
}

pub const SET_ASIDE: &[Case] = &[
    ("patched", P(|p| only(p, &["a-1", "a-2"])), &[Rule::SetAside, Rule::Shrinks]),
    ("its figures do not count", W(|w| w.member(1, |m| m.twin = true)), &[]),
];

/// a-2 was made larger than the ceiling by hand.
#[test]
fn what_is_set_aside_is_not_patched() {
    let world = world(vec![member("a-1", "80Gi", "72Gi"), member("a-2", "120Gi", "1Gi")]).policy("expansion: {maxSize: 100Gi}");
    check_cases(&world, Verdict::Grow, SET_ASIDE);
}
