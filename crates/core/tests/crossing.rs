//! Which new figures can change a decision.

#[allow(dead_code, unused_imports)]
#[path = "planner/support.rs"]
mod support;

use csm_core::crossing::{crosses, wal_crosses, wal_is_well};
use csm_core::resolve::Resolution;
use csm_core::world::{Archiving, Inodes, Observation, Slot, VolumeKey, WalHealth};
use csm_units::Bytes;
use jiff::SignedDuration;
use rstest::rstest;
use support::*;

/// A filesystem of 100 000 MiB with so many MiB used and so many of 1000 inodes, seen at noon and `seconds` later.
fn figures(mib: u64, inodes: u64, seconds: i64) -> Observation {
    Observation {
        used: Bytes::mib(mib),
        available: Bytes::mib(100_000 - mib),
        capacity: Bytes::mib(100_000),
        inodes: Some(Inodes { total: 1000, used: inodes }),
        at: noon() + SignedDuration::from_secs(seconds),
    }
}

const RESIZE: &str = "storage: {resize: {enabled: true, triggers: {usageThreshold: 88, minAvailable: 7000Mi, inodeThreshold: 90}}}";
const PREDICTIVE: &str = "storage: {resize: {enabled: true, strategy: {mode: Predictive}}}";
const TARGET: &str = "storage: {request: 10Gi, limit: 1000Gi, targetBuffer: 34}";

#[rstest]
#[case::warning("dryRun: false", 69_999, 70_000, true)]
#[case::critical("dryRun: false", 79_999, 80_000, true)]
#[case::expansion("dryRun: false", 84_999, 85_000, true)]
#[case::emergency_and_back("dryRun: false", 90_000, 89_999, true)]
#[case::about_to_fill("dryRun: false", 95_000, 95_001, true)]
#[case::between("dryRun: false", 70_000, 79_999, false)]
#[case::resize_is_above("storage: {resize: {enabled: true, triggers: {usageThreshold: 88}}}", 88_000, 88_001, true)]
#[case::resize_at("storage: {resize: {enabled: true, triggers: {usageThreshold: 88}}}", 87_999, 88_000, false)]
#[case::min_available(RESIZE, 93_000, 93_001, true)]
#[case::target(TARGET, 66_000, 66_001, true)]
#[case::target_between(TARGET, 60_000, 66_000, false)]
#[case::critical_threshold("storage: {emergencyGrow: {criticalThreshold: 82}}", 81_999, 82_000, true)]
#[case::critical_minimum_free("storage: {emergencyGrow: {criticalMinimumFree: 6000Mi}}", 93_999, 94_000, true)]
#[case::emergencies_off("storage: {emergencyGrow: {enabled: false, criticalThreshold: 82}}", 81_999, 82_000, false)]
#[case::predictive(PREDICTIVE, 10_000, 10_000, true)]
fn figures_that_cross(#[case] settings: &str, #[case] before: u64, #[case] after: u64, #[case] expected: bool) {
    let resolution = policy(settings);
    let Resolution::Settings(settings) = &*resolution else {
        panic!("{resolution:?}");
    };
    let size = Bytes::mib(100_000);
    let (older, newer) = (figures(before, 1, 0), figures(after, 1, 60));
    assert_eq!(crosses(settings, &VolumeKey::DATA, size, &older, &newer), expected);
    assert!(!crosses(settings, &VolumeKey::DATA, size, &older, &older));
}

#[test]
fn inodes_cross() {
    let resolution = policy(RESIZE);
    let Resolution::Settings(settings) = &*resolution else { panic!() };
    let with = |inodes| figures(10_000, inodes, 0);
    let crosses = |a, b| crosses(settings, &VolumeKey::DATA, Bytes::mib(100_000), &with(a), &with(b));
    assert!(crosses(900, 901));
    assert!(!crosses(899, 900));
}

/// Archiving that failed so many seconds after it last succeeded, with files that wait, and a slot that holds back so much.
fn health(failed: i64, pending: u32, slot: Option<(&str, bool, u64)>) -> WalHealth {
    let archiving = Archiving {
        last_archived: Some(noon()),
        last_failed: Some(noon() + SignedDuration::from_secs(failed)),
        pending,
    };
    let slot = slot.map(|(name, active, mib)| Slot {
        name: name.into(),
        active,
        retained: Bytes::mib(mib),
    });
    WalHealth {
        archiving: Some(archiving),
        slots: slot.into_iter().collect(),
    }
}

const LENIENT: &str = "storage: {resize: {enabled: true, strategy: {walSafetyPolicy: {acknowledgeWALRisk: true, requireArchiveHealthy: false, maxPendingWALFiles: 0}}}}";
const STRICT: &str = "storage: {resize: {enabled: true, strategy: {walSafetyPolicy: {acknowledgeWALRisk: true, maxPendingWALFiles: 5, maxSlotRetentionBytes: 9Mi}}}}";

#[rstest]
#[case::more_files_wait(STRICT, health(-1, 5, None), health(-1, 6, None), true)]
#[case::fewer_than_hold(STRICT, health(-1, 4, None), health(-9, 5, None), false)]
#[case::not_checked(LENIENT, health(-1, 5000, None), health(-1, 8000, None), false)]
#[case::a_file_waits_for_a_moment(LENIENT, health(-1, 0, None), health(-1, 3, None), false)]
#[case::many_wait_and_hold_nothing(LENIENT, health(-1, 3, None), health(-1, 4, None), true)]
#[case::twice_as_many(LENIENT, health(-1, 5000, None), health(-1, 9000, None), true)]
#[case::in_another_model("dryRun: false", health(-1, 5000, None), health(-1, 8000, None), false)]
#[case::a_slot_holds_back_twice_as_much(LENIENT, health(0, 0, Some(("a", false, 64))), health(0, 0, Some(("a", false, 128))), true)]
#[case::it_fails("dryRun: false", health(0, 0, None), health(1, 0, None), true)]
#[case::it_fails_and_holds_nothing(LENIENT, health(0, 0, None), health(1, 0, None), true)]
#[case::nobody_reads("dryRun: false", health(0, 0, Some(("a", true, 1))), health(0, 0, Some(("a", false, 1))), true)]
#[case::another_slot("dryRun: false", health(0, 0, Some(("a", false, 1))), health(0, 0, Some(("b", false, 1))), true)]
#[case::it_holds_back_more(STRICT, health(0, 0, Some(("a", false, 9))), health(0, 0, Some(("a", false, 10))), true)]
#[case::it_holds_back_less_than_it_may(STRICT, health(0, 0, Some(("a", false, 1))), health(0, 0, Some(("a", false, 9))), false)]
#[case::it_is_read(STRICT, health(0, 0, Some(("a", true, 1))), health(0, 0, Some(("a", true, 900))), false)]
fn news_of_wal(#[case] policy: &str, #[case] older: WalHealth, #[case] newer: WalHealth, #[case] expected: bool) {
    let resolution = support::policy(policy);
    let Resolution::Settings(settings) = &*resolution else {
        panic!("{resolution:?}");
    };
    let crosses = |older, newer| wal_crosses(settings, &VolumeKey::DATA, older, newer);
    assert_eq!(crosses(Some(&older), Some(&newer)), expected);
    assert_eq!(crosses(Some(&newer), Some(&older)), expected);
    assert!(crosses(None, Some(&newer)) && crosses(Some(&newer), None));
    assert!(!crosses(None, None) && !crosses(Some(&newer), Some(&newer)));
}

#[rstest]
#[case::well(STRICT, health(0, 5, Some(("a", false, 9))), true)]
#[case::it_fails(LENIENT, health(1, 0, None), false)]
#[case::files_wait(STRICT, health(0, 6, None), false)]
#[case::a_slot_holds_back(STRICT, health(0, 0, Some(("a", false, 10))), false)]
fn where_something_is_wrong_somebody_waits_for_news(#[case] policy: &str, #[case] health: WalHealth, #[case] expected: bool) {
    let resolution = support::policy(policy);
    let Resolution::Settings(settings) = &*resolution else {
        panic!("{resolution:?}");
    };
    assert_eq!(wal_is_well(settings, &VolumeKey::DATA, &health), expected);
}
