//! Which new figures can change a decision.

#[allow(dead_code, unused_imports)]
#[path = "planner/support.rs"]
mod support;

use csm_core::crossing::crosses;
use csm_core::resolve::Resolution;
use csm_core::world::{Inodes, Observation, VolumeKey};
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
