//! Which alerts are due.

#[allow(dead_code, unused_imports)]
#[path = "planner/support.rs"]
mod support;

use std::collections::BTreeSet;

use csm_api::Reason;
use csm_core::alerts::{Alert, AlertId, AlertKind, Severity, due};
use csm_core::resolve::{Conflict, Origin, OriginKind, Rank, Resolution};
use csm_core::world::{Archiving, Breaker, Member, Resize, ResizeStage, Slot, VolumeKey, WalHealth, World};
use jiff::SignedDuration;
use rstest::rstest;
use support::*;

fn alerts(world: &World) -> Vec<Alert> {
    alerts_after(world, &[])
}

fn alerts_after(world: &World, before: &[AlertKind]) -> Vec<Alert> {
    let id = |kind: &AlertKind| AlertId {
        volume: Some(VolumeKey::DATA),
        kind: *kind,
    };
    let active: BTreeSet<AlertId> = before.iter().map(id).collect();
    due(world, &plan_at(world, noon()), &active, noon())
}

fn kinds(alerts: &[Alert]) -> Vec<AlertKind> {
    alerts.iter().map(|a| a.id.kind).collect()
}

/// A 100Gi volume with so many GiB used: a GiB is a percent.
fn used(gib: u64) -> World {
    world(vec![member("orders-1", "100Gi", &format!("{gib}Gi"))]).policy("expansion: {maxSize: 1000Gi}")
}

#[rstest]
#[case::below(69, &[], &[])]
#[case::warning(70, &[], &[AlertKind::StorageWarning])]
#[case::critical_alone(80, &[], &[AlertKind::StorageCritical])]
#[case::emergency_alone(90, &[], &[AlertKind::StorageEmergency])]
#[case::stays(69, &[AlertKind::StorageWarning], &[AlertKind::StorageWarning])]
#[case::clears_two_points_below(68, &[AlertKind::StorageWarning], &[])]
#[case::critical_stays(79, &[AlertKind::StorageCritical], &[AlertKind::StorageCritical])]
#[case::critical_becomes_warning(78, &[AlertKind::StorageCritical], &[AlertKind::StorageWarning])]
#[case::another_kind_keeps_nothing(69, &[AlertKind::AtLimit], &[])]
fn levels(#[case] gib: u64, #[case] before: &[AlertKind], #[case] expected: &[AlertKind]) {
    let found = alerts_after(&used(gib), before);
    assert_eq!(kinds(&found), expected);
    assert!(found.iter().all(|a| a.instance.as_deref() == Some("orders-1")));
    // From 85 % on a growth is decided.
    assert!(found.iter().all(|a| a.remedied == (gib >= 85)));
}

const OLD: SignedDuration = SignedDuration::from_mins(10);

/// A world of so much used, as it was seen ten minutes ago.
fn silent(gib: u64) -> World {
    used(gib).member(0, |m| m.observation.as_mut().unwrap().at = noon() - OLD)
}

/// The same without any figures.
fn unseen() -> World {
    used(1).member(0, |m| m.observation = None)
}

/// The primary is calm, and another instance is so full.
fn beside(other: Member) -> World {
    world(vec![member("orders-0", "100Gi", "5Gi"), other]).policy("expansion: {maxSize: 1000Gi}")
}

/// Absence is never read as zero: figures that stop coming make nothing well.
#[rstest]
#[case::silent(silent(97), &[], Some(AlertKind::StorageEmergency))]
#[case::silent_and_active(silent(97), &[AlertKind::StorageEmergency], Some(AlertKind::StorageEmergency))]
#[case::old_figures_clear_nothing(silent(60), &[AlertKind::StorageCritical], Some(AlertKind::StorageCritical))]
#[case::nor_does_their_lack(unseen(), &[AlertKind::StorageCritical], Some(AlertKind::StorageCritical))]
#[case::nor_do_they_make_one(silent(60), &[], None)]
#[case::a_silent_member(beside(member("orders-1", "100Gi", "97Gi").seen_at(noon() - OLD)), &[], Some(AlertKind::StorageEmergency))]
#[case::a_lagging_member(beside(member("orders-1", "50Gi", "48Gi")), &[], Some(AlertKind::StorageEmergency))]
#[case::fresh_figures_clear_it(beside(member("orders-1", "100Gi", "50Gi").seen_at(noon() - OLD)), &[AlertKind::StorageEmergency], None)]
fn levels_outlast_their_figures(#[case] world: World, #[case] before: &[AlertKind], #[case] expected: Option<AlertKind>) {
    const LEVELS: [AlertKind; 3] = [AlertKind::StorageWarning, AlertKind::StorageCritical, AlertKind::StorageEmergency];
    let mut found = alerts_after(&world, before);
    found.retain(|alert| LEVELS.contains(&alert.id.kind));
    assert_eq!(kinds(&found), Vec::from_iter(expected));
    let seen = world.volumes[0].members.iter().any(|m| m.observation.is_some());
    assert!(
        found.iter().all(|a| a.instance.as_deref() == seen.then_some("orders-1")),
        "{found:?}"
    );
}

/// A growth that failed is told of for as long as one is wanted, or nobody knows.
#[rstest]
#[case::wanted(wants(), true)]
#[case::no_longer(calm(), false)]
#[case::nobody_knows(unseen(), true)]
fn a_failed_growth_that_nobody_wants_any_more_is_over(#[case] world: World, #[case] due: bool) {
    for minutes in [-60, 1] {
        let world = world
            .clone()
            .data(|v| v.retry_after = Some(noon() + SignedDuration::from_mins(minutes)));
        assert_eq!(kinds(&alerts(&world)).contains(&AlertKind::ExpansionFailed), due);
    }
}

#[rstest]
#[case::far("126Gi", &[])]
#[case::at_eighty_percent("125Gi", &[AlertKind::ApproachingLimit])]
#[case::just_below("101Gi", &[AlertKind::ApproachingLimit])]
#[case::reached("100Gi", &[AlertKind::AtLimit])]
fn ceilings(#[case] max_size: &str, #[case] expected: &[AlertKind]) {
    let world = used(20).policy(&format!("expansion: {{maxSize: {max_size}}}"));
    assert_eq!(kinds(&alerts(&world)), expected);
}

fn stage(stage: ResizeStage, minutes: i64) -> World {
    let since = Some(noon() - SignedDuration::from_mins(minutes));
    calm().member(0, |m| {
        m.resize = Some(Resize {
            since,
            stage,
            error: None,
            allocated: None,
        });
    })
}

fn wal(last_failed: i64, retained: &str) -> WalHealth {
    WalHealth {
        archiving: Some(Archiving {
            last_archived: Some(noon() - SignedDuration::from_mins(5)),
            last_failed: Some(noon() - SignedDuration::from_mins(last_failed)),
            pending: 0,
        }),
        slots: vec![Slot {
            name: "old".into(),
            active: false,
            retained: size(retained),
        }],
    }
}

fn wants_relief() -> World {
    used(95).policy("{expansion: {maxSize: 1000Gi}, walCleanup: {enabled: true}}")
}

/// It is over when relief is wanted no more, or was not the last one.
#[test]
fn a_relief_that_failed_is_told_of_while_one_is_wanted() {
    let due = |world: &World| kinds(&alerts(world)).contains(&AlertKind::WalCleanupFailed);
    let failed = |world: World| world.member(0, |m| m.relief_failed = true);
    assert!(due(&failed(wants_relief())));
    assert!(!due(&wants_relief()), "it did what it could");
    assert!(!due(&failed(used(89).policy("walCleanup: {enabled: true}"))), "below the level");
    assert!(!due(&failed(used(95).policy("walCleanup: {enabled: false}"))), "nobody wants it");
    // Another instance's does not count for this one.
    let other = member("orders-2", "100Gi", "10Gi");
    let both = world(vec![member("orders-1", "100Gi", "95Gi"), other]).policy("walCleanup: {enabled: true}");
    assert!(!due(&both.member(1, |m| m.relief_failed = true)));
}

const SLOTS: &str = "storage: {resize: {enabled: true, expansion: {limit: 200Gi}, strategy: {walSafetyPolicy: {acknowledgeWALRisk: true, maxSlotRetentionBytes: 1Gi}}}}";
const ONE_A_DAY: &str = "storage: {resize: {enabled: true, expansion: {limit: 200Gi}, strategy: {maxActionsPerDay: 1, walSafetyPolicy: {acknowledgeWALRisk: true}}}}";

/// One situation a kind that is no level and no ceiling, and the cause that it names.
#[rstest]
#[case(AlertKind::ExpansionFailed, Reason::RetryLater, wants().data(|v| v.retry_after = Some(noon() + SignedDuration::from_mins(1))))]
#[case(AlertKind::ResizeStuck, Reason::ResizeStuck, stage(ResizeStage::Node, 11))]
#[case(AlertKind::ResizeInfeasible, Reason::ResizeInProgress, stage(ResizeStage::ControllerInfeasible, 1))]
#[case(AlertKind::WalArchiveFailing, Reason::ArchiveUnhealthy, calm().change(|w| w.cluster.wal = Some(wal(4, "0"))))]
#[case(AlertKind::WalSlots, Reason::SlotRetention, used(81).policy(SLOTS).change(|w| w.cluster.wal = Some(wal(6, "2Gi"))))]
#[case(AlertKind::WalCleanupFailed, Reason::UsageThreshold, wants_relief().member(0, |m| m.relief_failed = true))]
#[case(AlertKind::MetricsLost, Reason::NoObservation, calm().member(0, |m| m.observation = None))]
#[case(AlertKind::MetricsLost, Reason::MemberNotObserved, world(vec![member("orders-1", "20Gi", "4Gi"), member("orders-2", "20Gi", "4Gi")]).member(1, |m| m.observation = None))]
#[case(AlertKind::Rescue, Reason::DiskFull, calm().member(0, |m| m.disk_full = true))]
#[case(AlertKind::CircuitOpen, Reason::CircuitOpen, calm().change(|w| w.cluster.breaker = Breaker::Open.into()))]
#[case(AlertKind::CircuitOpen, Reason::CircuitOpen, calm().change(|w| w.global_breaker = Breaker::Open.into()))]
#[case(AlertKind::UnsupportedStorage, Reason::StorageClassNotExpandable, calm().member(0, |m| m.class.expandable = false))]
#[case(AlertKind::UnsupportedStorage, Reason::BlockVolume, calm().member(0, |m| m.block = true))]
#[case(AlertKind::UnsupportedStorage, Reason::SharedFilesystem, calm().member(0, |m| m.twin = true))]
#[case(AlertKind::BudgetExhausted, Reason::BudgetExhausted, used(81).policy(ONE_A_DAY).operation(growth(noon() - SignedDuration::from_hours(1), "80Gi", "100Gi")))]
fn situations(#[case] kind: AlertKind, #[case] cause: Reason, #[case] world: World) {
    let found = alerts(&world);
    let alert = found.iter().find(|a| a.id.kind == kind);
    assert_eq!(alert.map(|a| a.cause), Some(cause), "{found:#?}");
    // And not without it.
    assert!(!kinds(&alerts(&calm())).contains(&kind));
}

#[test]
fn a_conflict_is_the_clusters_and_nothing_else_is_due() {
    let conflict = Conflict {
        rank: Rank::StoragePolicy,
        policies: vec![Origin::object(OriginKind::StoragePolicy, Some("shop"), "a")],
    };
    let world = used(95).change(|w| w.resolution = Resolution::Conflict(vec![conflict]).into());
    let found = alerts(&world);
    assert_eq!(kinds(&found), [AlertKind::PolicyConflict]);
    assert_eq!(found[0].id.volume, None);
    let nobody = used(95).change(|w| w.resolution = Resolution::NoPolicy.into());
    assert_eq!(alerts(&nobody), []);
}

#[test]
fn names_and_severities() {
    let critical = AlertKind::ALL.iter().filter(|k| k.severity() == Severity::Critical);
    let critical: Vec<&str> = critical.map(|k| k.as_str()).collect();
    let expected = [
        "storage-critical",
        "storage-emergency",
        "at-limit",
        "expansion-failed",
        "resize-stuck",
        "resize-infeasible",
        "wal-archive-failing",
        "rescue",
        "circuit-open",
    ];
    assert_eq!(critical, expected);
    let names: BTreeSet<&str> = AlertKind::ALL.iter().map(|k| k.as_str()).collect();
    assert_eq!(names.len(), AlertKind::ALL.len());
    assert_eq!([Severity::Warning.as_str(), Severity::Critical.as_str()], ["warning", "critical"]);
    assert_eq!(AlertKind::Rescue.to_string(), "rescue");
}
