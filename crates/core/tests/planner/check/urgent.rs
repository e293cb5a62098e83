//! Catch-ups, emergencies, rescues and runways.

use csm_api::{Reason, Urgency, Verdict};
use csm_core::check::Rule;
use csm_core::world::World;

use super::Change::{Plan as P, World as W};
use super::{Case, after, bounded, breaker_is_open, check_cases, fenced, fleet_is_full, grows, only, provider, set, used};
use crate::support::*;

use Urgency::{Emergency, Planned, Rescue, Runway};

/// orders-2 is brought from 20Gi to 30Gi.
pub const CATCH_UPS: &[Case] = &[
    ("another size", P(|p| set(p, size("25Gi"))), &[Rule::OddSize]),
    ("beyond the volume", P(|p| set(p, size("31Gi"))), &[Rule::OddSize, Rule::TooLarge]),
    (
        "one that does not lag",
        P(|p| p.decisions[0].members[1].to = Some(size("30Gi"))),
        &[Rule::Shrinks, Rule::NoEvidence],
    ),
    ("others are in flight", W(|w| in_flight(w, "orders-1-uid")), &[]),
    ("itself is in flight", W(|w| in_flight(w, "orders-2-uid")), &[Rule::SecondOperation]),
    ("breaker", W(breaker_is_open), &[Rule::CircuitOpen]),
    ("fleet", W(fleet_is_full), &[Rule::FleetLimit]),
    ("fleet, and it is nearly full", W(|w| fleet_is_full(used(w, 1, "19Gi"))), &[]),
    (
        "fleet, and it is not quite",
        W(|w| fleet_is_full(used(w, 1, "19455Mi"))),
        &[Rule::FleetLimit],
    ),
    ("no cooldown", W(|w| w.operation(growth(at("11:59:00"), "20Gi", "30Gi"))), &[]),
    ("no window", W(|w| w.policy("storage: {maintenanceWindow: {}}")), &[]),
];

fn in_flight(world: World, uid: &str) -> World {
    world.operation(catch_up(unfinished(growth(at("11:59:00"), "20Gi", "30Gi")), &[uid]))
}

#[test]
fn a_catch_up() {
    check_cases(&lags(), Verdict::CatchUp, CATCH_UPS);
}

const SHARED: &str = "storage: {emergencyGrow: {criticalThreshold: 90, maxActionsPerDay: 2}}";

pub const EMERGENCIES: &[Case] = &[
    ("one before", W(|w| after(w, &[(1, Emergency)])), &[]),
    ("two before", W(|w| after(w, &[(1, Emergency), (23, Emergency)])), &[Rule::Budget]),
    ("two, one a day ago", W(|w| after(w, &[(1, Emergency), (24, Emergency)])), &[]),
    (
        "others do not count",
        W(|w| after(w, &[(1, Planned), (2, Planned), (3, Rescue)])),
        &[],
    ),
    ("one fenced", W(|w| fenced(w, r#"["orders-2"]"#)), &[Rule::Fenced]),
    ("not the worst", P(|p| only(p, &["orders-2"])), &[Rule::LeftOut]),
    ("only the worst", P(|p| only(p, &["orders-1"])), &[]),
    (
        "switched off",
        W(|w| w.policy("storage: {emergencyGrow: {enabled: false, criticalThreshold: 90}}")),
        &[Rule::NoEvidence],
    ),
    (
        "not critical",
        W(|w| w.policy("storage: {emergencyGrow: {criticalThreshold: 91}}")),
        &[Rule::NoEvidence],
    ),
    (
        "over the limit",
        W(|w| w.policy("{expansion: {maxSize: 29Gi}, storage: {emergencyGrow: {criticalThreshold: 90}}}")),
        &[Rule::AboveCeiling],
    ),
    (
        "over the limit by a quarter",
        W(|w| w.policy("{expansion: {maxSize: 24Gi}, storage: {emergencyGrow: {criticalThreshold: 90, exceedLimitOnEmergency: true}}}")),
        &[],
    ),
    (
        "over the limit by more",
        W(|w| w.policy("{expansion: {maxSize: 23Gi}, storage: {emergencyGrow: {criticalThreshold: 90, exceedLimitOnEmergency: true}}}")),
        &[Rule::AboveCeiling],
    ),
    (
        "over what was learned",
        W(|w| {
            let settings = "storage: {emergencyGrow: {criticalThreshold: 90, exceedLimitOnEmergency: true}}";
            w.policy(settings).data(|v| v.learned_ceiling = Some(size("29Gi")))
        }),
        &[Rule::AboveCeiling],
    ),
    (
        "no window",
        W(|w| w.policy("storage: {maintenanceWindow: {}, emergencyGrow: {criticalThreshold: 90}}")),
        &[],
    ),
    ("no cooldown", W(|w| after(w, &[(0, Planned)])), &[]),
    ("no fleet", W(fleet_is_full), &[]),
    ("breaker", W(breaker_is_open), &[Rule::CircuitOpen]),
];

#[test]
fn an_emergency() {
    check_cases(&grows().policy(SHARED), Verdict::Grow, EMERGENCIES);
}

pub const RESCUES: &[Case] = &[
    ("two before", W(|w| after(w, &[(1, Rescue), (2, Rescue)])), &[]),
    (
        "three before",
        W(|w| after(w, &[(1, Rescue), (2, Rescue), (23, Rescue)])),
        &[Rule::Budget],
    ),
    (
        "others do not count",
        W(|w| after(w, &[(1, Planned), (2, Emergency), (3, Runway), (4, Planned)])),
        &[],
    ),
    ("breaker", W(breaker_is_open), &[]),
    (
        "nobody is down",
        W(|w| w.member(0, |m| m.disk_full = false)),
        &[Rule::LeftOut, Rule::NoEvidence],
    ),
    ("not the one that is down", P(|p| only(p, &["orders-2"])), &[Rule::LeftOut]),
    ("paused", W(|w| w.pause("true", None)), &[Rule::Untouchable]),
    ("provider", W(|w| provider(w, "orders-2-uid", INSTANT)), &[Rule::ProviderLimit]),
];

#[test]
fn a_rescue() {
    check_cases(&grows().member(0, |m| m.disk_full = true), Verdict::Rescue, RESCUES);
}

/// 800Mi of 20Gi are available, and the growth cools down.
fn runs_out() -> World {
    used(grows(), 0, "19680Mi").operation(growth(at("11:59:00"), "13Gi", "20Gi"))
}

pub const RUNWAYS: &[Case] = &[
    ("not about to fill", W(|w| used(w, 0, "19Gi")), &[Rule::NoRunway]),
    ("not wanted", W(|w| w.policy("emergencyRunway: false")), &[Rule::NoRunway]),
    (
        "no growth is wanted",
        P(|p| p.decisions[0].wanted = None),
        &[Rule::TooLarge, Rule::NoEvidence, Rule::NoRunway],
    ),
    (
        "another growth is wanted",
        P(|p| p.decisions[0].wanted.as_mut().unwrap().reason = Reason::MinAvailable),
        &[Rule::NoEvidence],
    ),
    (
        "above the held growth",
        P(|p| p.decisions[0].wanted.as_mut().unwrap().to = Some(size("20481Mi"))),
        &[Rule::TooLarge],
    ),
    (
        "passes what it must not",
        P(|p| p.decisions[0].passed.push(Reason::WalRiskNotAcknowledged)),
        &[Rule::NoRunway],
    ),
    ("passes nothing", P(|p| p.decisions[0].passed.clear()), &[Rule::NoRunway]),
    ("larger", P(|p| set(p, size("22Gi"))), &[Rule::TooLarge]),
    ("not the worst", P(|p| only(p, &["orders-2"])), &[Rule::LeftOut]),
    (
        "all are used",
        W(|w| w.change(|w| w.resolution = bounded("maxActionsPerDay: 1"))),
        &[Rule::Budget],
    ),
];

#[test]
fn a_runway() {
    check_cases(&runs_out(), Verdict::Grow, RUNWAYS);
}
