//! Every reason, state and verdict of the API has a world that shows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use csm_api::{Reason, State, Urgency, Verdict};
use csm_core::resolve::{Conflict, Rank, Resolution};
use csm_core::world::{Archiving, Breaker, Fencing, Fleet, Inodes, ProviderLimit, Sample, Slot, WalHealth, World};
use jiff::SignedDuration;

use crate::support::*;

/// A resize volume that is 90 % full, with more settings of its `resize` block.
fn resizes(more: &str) -> World {
    let risk = "strategy: {walSafetyPolicy: {acknowledgeWALRisk: true, maxSlotRetentionBytes: 1Gi}}";
    wants().policy(&format!("storage: {{resize: {{enabled: true, {risk}, {more}}}}}"))
}

/// A request/limit volume that is 90 % full.
fn targets(more: &str) -> World {
    wants().policy(&format!("storage: {{request: 10Gi, limit: 100Gi, {more}}}"))
}

fn wal(change: impl FnOnce(&mut WalHealth)) -> World {
    resizes("").change(|w| {
        let mut health = WalHealth {
            archiving: Some(Archiving::default()),
            slots: Vec::new(),
        };
        change(&mut health);
        w.cluster.wal = Some(health);
    })
}

fn archiving(health: &mut WalHealth) -> &mut Archiving {
    health.archiving.as_mut().unwrap()
}

/// It fills by 1 GiB a minute: the 12 GiB that are available last for 720 s.
fn filling() -> World {
    world(vec![member("orders-1", "100Gi", "88Gi")])
        .policy(
            "storage: {resize: {enabled: true, triggers: {usageThreshold: 95}, \
             strategy: {mode: Predictive, walSafetyPolicy: {acknowledgeWALRisk: true}}}}",
        )
        .member(0, |m| {
            let sample = |minutes: i64| Sample {
                at: at("11:59:30") - SignedDuration::from_mins(minutes),
                used: csm_units::Bytes::gib(88 - u64::try_from(minutes).unwrap()),
            };
            m.history = (1..=12).map(sample).collect();
        })
}

fn worlds() -> Vec<World> {
    vec![
        calm(),
        wants(),
        lags(),
        wants().member(0, |m| m.disk_full = true),
        wants().policy("storage: {emergencyGrow: {criticalThreshold: 90}}"),
        wants().policy("storage: {emergencyGrow: {criticalMinimumFree: 2Gi}}"),
        resizes("triggers: {usageThreshold: 90, minAvailable: 3Gi}"),
        resizes("triggers: {usageThreshold: 90, inodeThreshold: 90}").member(0, |m| {
            m.observation.as_mut().unwrap().inodes = Some(Inodes { total: 1000, used: 901 });
        }),
        filling(),
        calm().policy("storage: {request: 30Gi, limit: 100Gi}"),
        targets(""),
        // 19.8 GiB of 20: about to fill while the growth cools down.
        world(vec![member("orders-1", "20Gi", "20275Mi")]).operation(growth(at("11:59:00"), "13Gi", "20Gi")),
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
        wants().change(|w| w.cluster.breaker = Breaker::Open.into()),
        wants().member(0, |m| m.observation.as_mut().unwrap().at = at("09:00:00")),
        wants().member(0, |m| m.observation = None),
        wants().policy("expansion: {maxSize: 20Gi}"),
        targets("emergencyGrow: {maxActionsPerDay: 1}").operation(growth(at("08:00:00"), "13Gi", "20Gi")),
        targets("emergencyGrow: {maxActionsPerDay: 2}").operation(growth(at("08:00:00"), "13Gi", "20Gi")),
        wants().operation(growth(at("08:00:00"), "13Gi", "20Gi")).member(0, |m| {
            m.class.provider_limit = Some(ProviderLimit {
                max_actions: 1,
                period: SignedDuration::from_hours(6),
            });
        }),
        wants().operation(growth(at("11:59:00"), "13Gi", "20Gi")),
        wants().change(|w| {
            w.fleet = Fleet {
                in_progress: 1,
                ahead: 0,
                limit: Some(1),
            };
        }),
        targets("maintenanceWindow: {}"),
        wants().policy("storage: {resize: {enabled: true}}"),
        wal(|h| archiving(h).last_failed = Some(noon())),
        wal(|h| archiving(h).pending = 101),
        wal(|h| {
            h.slots.push(Slot {
                name: "old".into(),
                active: false,
                retained: size("2Gi"),
            });
        }),
        wants().policy("dryRun: true"),
        calm()
            .policy("expansion: {maxSize: 30Gi}")
            .data(|v| v.members.push(member("orders-2", "40Gi", "1Gi"))),
        calm().data(|v| v.members.push(member("orders-2", "20Gi", "1Gi").unseen())),
        wants().policy("storage: {model: Thresholds, targetBuffer: 30}"),
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
    let urgencies: BTreeSet<Urgency> = decisions.iter().filter_map(|d| d.urgency).collect();
    assert_eq!(urgencies, Urgency::ALL.iter().copied().collect());
}
