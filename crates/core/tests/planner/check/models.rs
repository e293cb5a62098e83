//! The resize model and the request/limit model.

use csm_api::{Reason, Urgency, Verdict};
use csm_core::check::Rule;
use csm_core::world::{Archiving, Slot, VolumeKey, WalHealth, World};
use csm_units::Bytes;

use super::Change::{Plan as P, World as W};
use super::{Case, after, check_cases, grows, set, used};
use crate::support::*;

use Urgency::{Emergency, Planned, Rescue, Runway};

/// Without WAL relief: what is changed here would change that too.
fn resize_policy(more: &str) -> String {
    let resize = format!("enabled: true, strategy: {{walSafetyPolicy: {{{more}}}, maxActionsPerDay: 2}}");
    format!("{{walCleanup: {{enabled: false}}, storage: {{resize: {{{resize}}}}}}}")
}

fn healthy() -> WalHealth {
    WalHealth {
        archiving: Some(Archiving {
            last_archived: Some(at("11:59:00")),
            last_failed: Some(at("11:59:00")),
            pending: 100,
        }),
        slots: ["5Gi", "6Gi"]
            .map(|text| slot(text, false))
            .into_iter()
            .chain([slot("50Gi", true)])
            .collect(),
    }
}

fn slot(retained: &str, active: bool) -> Slot {
    Slot {
        name: retained.into(),
        active,
        retained: size(retained),
    }
}

fn wal(world: World, change: fn(&mut WalHealth)) -> World {
    world.change(|w| change(w.cluster.wal.as_mut().unwrap()))
}

pub const RESIZES: &[Case] = &[
    ("one before", W(|w| after(w, &[(1, Runway)])), &[]),
    ("two before", W(|w| after(w, &[(1, Rescue), (2, Emergency)])), &[Rule::Budget]),
    (
        "catch-ups do not count",
        W(|w| after(w, &[(1, Urgency::CatchUp), (2, Urgency::CatchUp)])),
        &[],
    ),
    (
        "disabled",
        W(|w| w.policy("storage: {resize: {enabled: false, strategy: {walSafetyPolicy: {acknowledgeWALRisk: true}}}}")),
        &[Rule::SwitchedOff],
    ),
    ("risk", W(|w| w.policy(&resize_policy(""))), &[Rule::WalRisk]),
    (
        "risk, but WAL has a volume",
        W(|w| {
            w.policy(&resize_policy(""))
                .change(|w| w.volumes.push(volume(VolumeKey::WAL, Vec::new())))
        }),
        &[],
    ),
    (
        "archiving fails",
        W(|w| wal(w, |h| h.archiving.as_mut().unwrap().last_failed = Some(at("11:59:00") + INSTANT))),
        &[Rule::WalHealth],
    ),
    (
        "never archived",
        W(|w| wal(w, |h| h.archiving.as_mut().unwrap().last_archived = None)),
        &[Rule::WalHealth],
    ),
    (
        "never failed",
        W(|w| wal(w, |h| h.archiving.as_mut().unwrap().last_failed = None)),
        &[],
    ),
    (
        "pending",
        W(|w| wal(w, |h| h.archiving.as_mut().unwrap().pending = 101)),
        &[Rule::WalHealth],
    ),
    (
        "slots",
        W(|w| wal(w, |h| h.slots[0].retained = Bytes::new(size("5Gi").get() + 1))),
        &[Rule::WalHealth],
    ),
    ("an active slot", W(|w| wal(w, |h| h.slots[2].retained = size("500Gi"))), &[]),
    ("unknown", W(|w| w.change(|w| w.cluster.wal = None)), &[]),
    (
        "WAL is elsewhere",
        W(|w| {
            let w = wal(w, |h| h.archiving.as_mut().unwrap().pending = 101);
            w.change(|w| w.volumes.push(volume(VolumeKey::WAL, Vec::new())))
        }),
        &[],
    ),
    ("not over", W(|w| used(w, 0, "16Gi")), &[Rule::NoEvidence]),
    (
        "bound",
        W(|w| w.change(|w| w.volumes[0].learned_ceiling = Some(size("23Gi")))),
        &[Rule::AboveCeiling],
    ),
    ("larger", P(|p| set(p, size("25Gi"))), &[Rule::TooLarge]),
];

#[test]
fn a_resize() {
    let policy = resize_policy("acknowledgeWALRisk: true, maxSlotRetentionBytes: 11Gi");
    let world = grows().policy(&policy).change(|w| w.cluster.wal = Some(healthy()));
    check_cases(&world, Verdict::Grow, RESIZES);
}

const TARGET: &str = "storage: {request: 10Gi, limit: 100Gi, emergencyGrow: {maxActionsPerDay: 3, reservedActionsForEmergency: 1}}";

pub const TARGETS: &[Case] = &[
    ("one before", W(|w| after(w, &[(1, Planned)])), &[]),
    (
        "what is left is reserved",
        W(|w| after(w, &[(1, Planned), (2, Planned)])),
        &[Rule::Budget],
    ),
    (
        "all are used",
        W(|w| after(w, &[(1, Planned), (2, Emergency), (3, Rescue)])),
        &[Rule::Budget],
    ),
    (
        "nothing is reserved",
        W(|w| {
            let settings = "storage: {request: 10Gi, limit: 100Gi, emergencyGrow: {enabled: false, maxActionsPerDay: 3}}";
            after(w.policy(settings), &[(1, Planned), (2, Planned)])
        }),
        &[],
    ),
    (
        "a smaller buffer",
        W(|w| w.policy("storage: {request: 10Gi, limit: 100Gi, targetBuffer: 10}")),
        &[Rule::TooLarge, Rule::NoEvidence],
    ),
    (
        "limit",
        W(|w| w.policy("storage: {request: 10Gi, limit: 22Gi}")),
        &[Rule::AboveCeiling],
    ),
    (
        "a floor that is reached",
        P(|p| p.decisions[0].reason = Reason::RequestFloor),
        &[Rule::NoEvidence],
    ),
    ("larger", P(|p| set(p, size("24Gi"))), &[Rule::TooLarge]),
];

/// 18Gi used, a fifth free: 22.5Gi, up to 23Gi.
#[test]
fn a_target() {
    check_cases(&grows().policy(TARGET), Verdict::Grow, TARGETS);
}
