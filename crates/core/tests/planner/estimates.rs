//! What an estimate between two samples may do, and what it may not.

use csm_api::{Reason, Urgency, Verdict};
use csm_core::between::{Estimate, Source};
use csm_core::explain::inputs;
use csm_core::plan::{Decision, time_to_full};
use csm_core::world::{Member, Sample, VolumeKey, World};
use csm_units::Bytes;
use jiff::SignedDuration;
use proptest::prelude::*;
use rstest::rstest;

use crate::support::*;
use crate::worlds::{numbers, random_world};

fn estimate(time: &str, used: &str) -> Estimate {
    Estimate {
        at: at(time),
        used: size(used),
        error: Bytes::mib(16),
        source: Source::Segments,
    }
}

/// A member of 100Gi of which a kubelet saw 40Gi used at 11:59:30.
fn with(time: &str, used: &str) -> World {
    world(vec![
        member("orders-1", "100Gi", "40Gi").change(|m| m.estimate = Some(estimate(time, used))),
    ])
}

const WAL_RISK: &str = "strategy: {walSafetyPolicy: {acknowledgeWALRisk: true}}";

/// Each rule on usage.
#[rstest]
#[case::thresholds("{}", "85Gi", Reason::UsageThreshold)]
#[case::resize("storage: {resize: {enabled: true, RISK}}", "81Gi", Reason::UsageThreshold)]
#[case::free_space(
    "storage: {resize: {enabled: true, triggers: {minAvailable: 30Gi}, RISK}}",
    "71Gi",
    Reason::MinAvailable
)]
#[case::target("storage: {request: 100Gi, limit: 900Gi}", "81Gi", Reason::TargetBuffer)]
#[case::critical("storage: {emergencyGrow: {}}", "95Gi", Reason::CriticalThreshold)]
#[case::minimum_free(
    "storage: {emergencyGrow: {criticalThreshold: 99, criticalMinimumFree: 8Gi}}",
    "92Gi",
    Reason::CriticalMinimumFree
)]
fn it_fires(#[case] settings: &str, #[case] used: &str, #[case] reason: Reason) {
    let settings = settings.replace("RISK", WAL_RISK);
    let fired = |world: World| decide(&world.policy(&settings)).reason;
    assert_eq!(fired(with("12:00:00", used)), reason);
    assert_eq!(fired(with("11:59:30", used)), Reason::BelowThresholds, "as old as the sample");
    assert_eq!(fired(with("11:59:00", used)), Reason::BelowThresholds, "older than the sample");
    assert_eq!(fired(with("12:00:00", "40Gi")), Reason::BelowThresholds);
}

/// The volume that is about to fill is not left to wait for its window.
#[test]
fn it_makes_a_runway() {
    let settings = "storage: {request: 100Gi, limit: 900Gi, emergencyGrow: {enabled: false}, maintenanceWindow: {}}";
    let held = decide(&with("12:00:00", "90Gi").policy(settings));
    assert_eq!((held.verdict, held.reason), (Verdict::Hold, Reason::MaintenanceWindowClosed));
    let decision = decide(&with("12:00:00", "96Gi").policy(settings));
    assert_eq!((decision.verdict, decision.urgency), (Verdict::Grow, Some(Urgency::Runway)));
}

/// Twelve samples that rise by 1 GiB a minute, the last one at 11:59:30.
fn rising() -> Member {
    let sample = |i: u64| Sample {
        at: at("11:59:30") - SignedDuration::from_mins(i.cast_signed()),
        used: Bytes::gib(40 - i),
    };
    member("orders-1", "100Gi", "40Gi").change(|m| m.history = (1..=11).map(sample).collect())
}

/// 60 GiB are left at the sample, and 58 by the estimate.
#[test]
fn it_feeds_the_forecast() {
    let full = |member: Member| time_to_full(&world(vec![member]), noon(), &VolumeKey::DATA);
    assert_eq!(full(rising()), Some(SignedDuration::from_mins(60)));
    let fuller = full(rising().change(|m| m.estimate = Some(estimate("12:00:00", "42Gi")))).unwrap();
    assert!(fuller <= SignedDuration::from_mins(58), "{fuller:#}");
}

/// Of figures that are too old, and of ones from before the last resize, there is nothing to go by.
#[test]
fn it_does_not_stand_in_for_a_sample() {
    let stale = with("12:00:00", "99Gi").member(0, |m| m.observation.as_mut().unwrap().at = at("11:50:00"));
    assert_eq!(decide(&stale).reason, Reason::StaleObservation);
    let unseen = with("12:00:00", "99Gi").member(0, |m| m.observation = None);
    assert_eq!(decide(&unseen).reason, Reason::NoObservation);
    let resized = with("12:00:00", "99Gi").member(0, |m| m.last_resize_at = Some(at("11:59:45")));
    assert_eq!(decide(&resized).reason, Reason::StaleObservation);
}

#[test]
fn what_it_rests_on_is_shown() {
    let shown = |world: World| {
        let gates = csm_core::explain::gates(&world, noon(), &VolumeKey::DATA).unwrap();
        let figures = gates.into_iter().find(|g| g.gate == "StaleObservation").unwrap();
        figures.inputs.get("estimatedSince").cloned()
    };
    let expected = "orders-1: 85Gi at 2026-03-01T12:00:00Z, give or take 16Mi, by the number of its WAL segments";
    assert_eq!(shown(with("12:00:00", "85Gi")).as_deref(), Some(expected));
    assert_eq!(shown(with("12:00:00", "4Gi")), None, "the sample stands");
    let decision = decide(&with("12:00:00", "85Gi"));
    assert_eq!(decision.percent_used.map(csm_units::Percent::get), Some(85));
    let inputs = inputs(&decision);
    let input = |name: &str| inputs.get(name).map(String::as_str);
    assert_eq!(input("estimatedBy"), Some("the number of its WAL segments"));
    assert_eq!(input("estimatedAt"), Some("2026-03-01T12:00:00Z"));
    assert_eq!(input("estimateErrorBytes"), Some("16777216"));
    assert_eq!(
        self::inputs(&decide(&with("12:00:00", "4Gi"))).get("estimatedBy"),
        None,
        "the sample stands"
    );
}

/// What fires, in this order.
const ORDER: [Reason; 10] = [
    Reason::DiskFull,
    Reason::CriticalThreshold,
    Reason::CriticalMinimumFree,
    Reason::UsageThreshold,
    Reason::MinAvailable,
    Reason::InodeThreshold,
    Reason::TimeToFull,
    Reason::RequestFloor,
    Reason::TargetBuffer,
    Reason::MemberBelowEffectiveSize,
];

/// The place of what fired in that order; after the last one: nothing did.
fn fired(decision: &Decision) -> usize {
    let reason = decision.facts.fired.as_ref().map(|fired| fired.reason);
    ORDER.iter().position(|r| Some(*r) == reason).unwrap_or(ORDER.len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    /// Whatever it says: what fires without it fires with it too, or what comes before; and the plan passes the check. The
    /// forecast may change, as with any new sample.
    #[test]
    fn it_withholds_nothing(made in numbers(), estimates in proptest::collection::vec((-120_i64..120, any::<u64>(), 0_u32..40), 1..6)) {
        let world = random_world(&made);
        let mut estimated = world.clone();
        let members = estimated.volumes.iter_mut().flat_map(|v| v.members.iter_mut());
        for (member, (seconds, used, shift)) in members.zip(estimates.iter().cycle()) {
            member.estimate = Some(Estimate {
                at: noon() + SignedDuration::from_secs(*seconds),
                used: Bytes::new(used >> 1 >> shift),
                error: Bytes::ZERO,
                source: Source::Databases,
            });
        }
        let (before, after) = (plan_at(&world, noon()), plan_at(&estimated, noon()));
        for (without, with) in before.decisions.iter().zip(&after.decisions) {
            let forecast = without.facts.fired.as_ref().is_some_and(|fired| fired.reason == Reason::TimeToFull);
            prop_assert!(forecast || fired(with) <= fired(without), "{without:#?}\n{with:#?}");
        }
    }
}
