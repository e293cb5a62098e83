//! Every rule of section 2, at its edge, by figures worked out by hand.

use csm_api::{Model, Reason, Urgency, Verdict};
use csm_core::world::{Inodes, Member, Sample, VolumeKey, World};
use csm_units::Bytes;
use jiff::SignedDuration;
use rstest::rstest;

use crate::support::*;

/// A member of 100Gi with these figures.
fn figures(used: &str, available: &str) -> Member {
    member("orders-1", "100Gi", used).change(|m| m.observation.as_mut().unwrap().available = size(available))
}

/// The settings of PGDATA's `resize` block, which grows.
fn resize(more: &str) -> String {
    format!("storage: {{resize: {{enabled: true, strategy: {{walSafetyPolicy: {{acknowledgeWALRisk: true}}}}, {more}}}}}")
}

fn fired(member: Member, settings: &str) -> Reason {
    let decision = decide(&world(vec![member]).policy(settings));
    let expected = match decision.reason {
        Reason::BelowThresholds => None,
        Reason::DiskFull => Some(Urgency::Rescue),
        Reason::CriticalThreshold | Reason::CriticalMinimumFree => Some(Urgency::Emergency),
        _ => Some(Urgency::Planned),
    };
    assert_eq!(decision.urgency, expected);
    decision.reason
}

/// Rules 2 and 3: at the threshold, and at the least that is free; in every model where they are given.
#[rstest]
#[case::at_95_percent("95Gi", "5Gi", "{}", Reason::CriticalThreshold)]
#[case::a_byte_below("97279Mi", "5121Mi", "{criticalThreshold: 95}", Reason::BelowThresholds)]
#[case::another_threshold("80Gi", "20Gi", "{criticalThreshold: 80}", Reason::CriticalThreshold)]
#[case::at_the_least_free("70Gi", "2Gi", "{criticalThreshold: 99, criticalMinimumFree: 2Gi}", Reason::CriticalMinimumFree)]
#[case::more_is_free("70Gi", "2049Mi", "{criticalThreshold: 99, criticalMinimumFree: 2Gi}", Reason::BelowThresholds)]
#[case::a_gib_by_default("70Gi", "1Gi", "{criticalThreshold: 99}", Reason::CriticalMinimumFree)]
#[case::more_than_a_gib("70Gi", "1025Mi", "{criticalThreshold: 99}", Reason::BelowThresholds)]
#[case::both("98Gi", "1Gi", "{}", Reason::CriticalThreshold)]
#[case::switched_off("99Gi", "0Gi", "{enabled: false}", Reason::BelowThresholds)]
fn critical(#[case] used: &str, #[case] available: &str, #[case] emergency: &str, #[case] reason: Reason) {
    // 99 percent is planned growth's threshold, and 1 percent below it free.
    let above = |used: Bytes, available: Bytes| used.get() * 100 >= 99 * (used.get() + available.get());
    let quiet = if above(size(used), size(available)) {
        Reason::UsageThreshold
    } else {
        Reason::BelowThresholds
    };
    let expected = |reason| if reason == Reason::BelowThresholds { quiet } else { reason };
    let settings = format!("{{thresholds: {{expansion: 99}}, storage: {{emergencyGrow: {emergency}}}}}");
    assert_eq!(fired(figures(used, available), &settings), expected(reason));
}

/// `min(1 GiB, 5 % of the member's size)`: of 10Gi, 512Mi.
#[rstest]
#[case::at("512Mi", Reason::CriticalMinimumFree)]
#[case::above("513Mi", Reason::BelowThresholds)]
fn the_least_free_of_a_small_volume(#[case] available: &str, #[case] reason: Reason) {
    let small = member("orders-1", "10Gi", "8Gi").change(|m| m.observation.as_mut().unwrap().available = size(available));
    let settings = "{thresholds: {expansion: 99}, storage: {emergencyGrow: {criticalThreshold: 99}}}";
    assert_eq!(fired(small, settings), reason);
}

/// Rules 5 and 6: strictly above, and strictly less.
#[rstest]
#[case::at_80_percent("80Gi", "20Gi", "", Reason::BelowThresholds)]
#[case::a_mebibyte_above("81921Mi", "20479Mi", "", Reason::UsageThreshold)]
#[case::another("50Gi", "50Gi", "triggers: {usageThreshold: 50}", Reason::BelowThresholds)]
#[case::above_another("51201Mi", "51199Mi", "triggers: {usageThreshold: 50}", Reason::UsageThreshold)]
#[case::just_available("60Gi", "30Gi", "triggers: {minAvailable: 30Gi}", Reason::BelowThresholds)]
#[case::less_available("60Gi", "30719Mi", "triggers: {minAvailable: 30Gi}", Reason::MinAvailable)]
#[case::both("90Gi", "1Gi", "triggers: {minAvailable: 30Gi}", Reason::UsageThreshold)]
fn resize_triggers(#[case] used: &str, #[case] available: &str, #[case] more: &str, #[case] reason: Reason) {
    assert_eq!(fired(figures(used, available), &resize(more)), reason);
}

/// Rule 7: strictly above, and only where the filesystem counts them.
#[rstest]
#[case::at(Some((1000, 900)), Reason::BelowThresholds)]
#[case::above(Some((1000, 901)), Reason::InodeThreshold)]
#[case::of_many(Some((u64::MAX, u64::MAX)), Reason::InodeThreshold)]
#[case::none_reported(None, Reason::BelowThresholds)]
#[case::no_total(Some((0, 901)), Reason::BelowThresholds)]
fn inode_threshold(#[case] inodes: Option<(u64, u64)>, #[case] reason: Reason) {
    let of = |(total, used)| Inodes { total, used };
    let member = figures("10Gi", "90Gi").change(|m| m.observation.as_mut().unwrap().inodes = inodes.map(of));
    assert_eq!(fired(member.clone(), &resize("triggers: {inodeThreshold: 90}")), reason);
    assert_eq!(fired(member, &resize("")), Reason::BelowThresholds);
}

/// Twelve samples, a minute apart, that rise by so many MiB a minute.
fn rising(member: Member, mebibytes: u64) -> Member {
    member.change(|m| {
        let used = m.observation.unwrap().used;
        let sample = |i: u64| Sample {
            at: at("11:59:30") - SignedDuration::from_mins(i.cast_signed()),
            used: used.saturating_sub(Bytes::mib(mebibytes * i)),
        };
        m.history = (1..=12).map(sample).collect();
    })
}

/// Rule 8: 30720 MiB are available; at 256 MiB a minute that is 120 minutes, at 257 it is less.
#[rstest]
#[case::exactly(256, "2h", Reason::BelowThresholds)]
#[case::faster(257, "2h", Reason::TimeToFull)]
#[case::a_shorter_time(257, "119m", Reason::BelowThresholds)]
#[case::a_second_more(256, "2h0m1s", Reason::TimeToFull)]
fn time_to_full(#[case] a_minute: u64, #[case] limit: &str, #[case] reason: Reason) {
    let triggers = format!("triggers: {{timeToFull: {limit}}}");
    let member = rising(figures("60Gi", "30Gi"), a_minute);
    let strategy = "strategy: {mode: Predictive, walSafetyPolicy: {acknowledgeWALRisk: true}}";
    let predictive = format!("storage: {{resize: {{enabled: true, {triggers}, {strategy}}}}}");
    assert_eq!(fired(member.clone(), &predictive), reason);
    // Standard: the forecast fires nothing.
    assert_eq!(fired(member, &resize(&triggers)), Reason::BelowThresholds);
}

/// Rules 9 and 10: less than the request; a target above the size, by a byte.
#[rstest]
#[case::at_the_request("100Gi", "10Gi", Reason::BelowThresholds)]
#[case::below_the_request("101Gi", "10Gi", Reason::RequestFloor)]
#[case::just_the_buffer("10Gi", "80Gi", Reason::BelowThresholds)]
#[case::less_than_the_buffer("10Gi", "81921Mi", Reason::TargetBuffer)]
#[case::both("101Gi", "95Gi", Reason::RequestFloor)]
fn targets(#[case] request: &str, #[case] used: &str, #[case] reason: Reason) {
    let member = member("orders-1", "100Gi", used);
    let settings = format!("storage: {{request: {request}, limit: 900Gi, emergencyGrow: {{enabled: false}}}}");
    assert_eq!(fired(member, &settings), reason);
}

/// The order of the rules: what fires first names the decision.
#[test]
fn the_first_that_fires() {
    let everything = |m: Member| {
        rising(m, 10_000).change(|m| {
            m.disk_full = true;
            m.observation.as_mut().unwrap().inodes = Some(Inodes { total: 10, used: 10 });
        })
    };
    let triggers = "triggers: {usageThreshold: 80, minAvailable: 5Gi, inodeThreshold: 90, timeToFull: 2h}";
    let settings = |emergency: &str, triggers: &str| {
        let strategy = "strategy: {mode: Predictive, walSafetyPolicy: {acknowledgeWALRisk: true}}";
        format!("storage: {{emergencyGrow: {emergency}, resize: {{enabled: true, {triggers}, {strategy}}}}}")
    };
    let full = everything(figures("99Gi", "1Gi"));
    assert_eq!(fired(full.clone(), &settings("{}", triggers)), Reason::DiskFull);
    let up = full.change(|m| m.disk_full = false);
    assert_eq!(fired(up.clone(), &settings("{}", triggers)), Reason::CriticalThreshold);
    let free = up.clone().change(|m| m.observation.as_mut().unwrap().used = size("9Gi"));
    assert_eq!(fired(free, &settings("{}", triggers)), Reason::CriticalMinimumFree);
    let off = "{enabled: false}";
    assert_eq!(fired(up.clone(), &settings(off, triggers)), Reason::UsageThreshold);
    let without = |of: &str| settings(off, &triggers.replace(of, "usageThreshold: 99"));
    assert_eq!(fired(up.clone(), &without("usageThreshold: 80")), Reason::MinAvailable);
    let no_free = without("usageThreshold: 80").replace("minAvailable: 5Gi, ", "");
    assert_eq!(fired(up.clone(), &no_free), Reason::InodeThreshold);
    let no_inodes = no_free.replace("inodeThreshold: 90, ", "");
    assert_eq!(fired(up, &no_inodes), Reason::TimeToFull);
}

/// Rules 2 to 10 look at fresh figures of members of the volume's size only.
#[rstest]
#[case::stale(|m: Member| m.seen_at(at("11:54:59")))]
#[case::before_its_resize(|m: Member| m.resized_at(at("11:59:30")))]
#[case::unseen(MemberExt::unseen)]
#[case::lagging(|m: Member| m.change(|m| (m.size, m.request) = (size("99Gi"), size("99Gi"))))]
fn others_fire_nothing(#[case] change: fn(Member) -> Member) {
    let calm = member("orders-2", "100Gi", "1Gi");
    for settings in [
        "storage: {emergencyGrow: {}}",
        &resize("triggers: {minAvailable: 5Gi}"),
        "storage: {request: 10Gi, limit: 900Gi}",
    ] {
        let full = change(figures("98Gi", "1Gi"));
        let decision = decide(&world(vec![calm.clone(), full]).policy(settings));
        let quiet = [Reason::BelowThresholds, Reason::MemberBelowEffectiveSize];
        assert!(quiet.contains(&decision.reason), "{}", decision.reason);
    }
}

/// Where every disk-full member lags, catching them up is enough; it is a rescue in all else.
#[test]
fn a_full_member_that_lags() {
    let world = lags().member(1, |m| m.disk_full = true);
    let decision = decide(&world);
    assert_eq!(
        (decision.verdict, decision.reason, decision.urgency),
        (Verdict::CatchUp, Reason::DiskFull, Some(Urgency::Rescue))
    );
    assert_eq!(decision.to, Some(size("30Gi")));
    // No breaker holds a rescue, and three rescues do not hold a catch-up.
    let broken = world.change(|w| w.cluster.breaker = csm_core::world::Breaker::Open.into());
    assert_eq!(decide(&broken).verdict, Verdict::CatchUp);
}

/// The disk-full member has reached the ceiling, and the other one that lags cannot grow: nobody is left to catch up.
#[test]
fn a_full_member_at_the_ceiling() {
    let members = vec![
        member("a-1", "110Gi", "1Gi"),
        member("a-2", "100Gi", "99Gi"),
        member("a-3", "90Gi", "1Gi"),
    ];
    let world = world(members)
        .policy("expansion: {maxSize: 100Gi}")
        .operation(growth(at("02:00:00"), "80Gi", "110Gi"))
        .member(1, |m| m.disk_full = true);
    let decision = decide(&world);
    assert_eq!((decision.verdict, decision.reason), (Verdict::CatchUp, Reason::DiskFull));
    assert_eq!(sizes(&decision)[1], ("a-3", Some("100Gi".to_owned())));
    let decision = decide(&world.member(2, |m| m.class.expandable = false));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, Reason::AtLimit));
    assert_eq!(decision.urgency, Some(Urgency::Rescue));
}

/// The first gate that can hold a growth that is wanted: what is switched off is still said.
#[rstest]
#[case::thresholds("expansion: {enabled: false}", Model::Thresholds)]
#[case::resize("storage: {resize: {}}", Model::Resize)]
fn switched_off(#[case] settings: &str, #[case] model: Model) {
    let decision = decide(&wants().policy(settings));
    assert_eq!(
        (decision.model, decision.verdict, decision.reason),
        (Some(model), Verdict::Hold, Reason::Disabled)
    );
    assert_eq!(decision.wanted.unwrap().reason, Reason::UsageThreshold);
}

/// A world whose PGDATA and WAL are on one volume, or not.
fn two_volumes(settings: &str) -> World {
    let mut world = wants().policy(settings);
    world.volumes.push(volume(VolumeKey::WAL, vec![member("orders-1", "20Gi", "18Gi")]));
    world
}

#[test]
fn each_volume_by_its_own_block() {
    let world = two_volumes("{storage: {request: 10Gi, limit: 100Gi}, walStorage: {resize: {enabled: true}}}");
    let plan = plan_at(&world, noon());
    let of = |i: usize| (plan.decisions[i].model, plan.decisions[i].reason, plan.decisions[i].to);
    assert_eq!(of(0), (Some(Model::Target), Reason::TargetBuffer, Some(size("23Gi"))));
    assert_eq!(of(1), (Some(Model::Resize), Reason::UsageThreshold, Some(size("24Gi"))));
    // Data without walStorage is at risk; with it, it is not.
    let risky = "storage: {resize: {enabled: true}}";
    assert_eq!(decide(&wants().policy(risky)).reason, Reason::WalRiskNotAcknowledged);
    assert_eq!(decide(&two_volumes(risky)).reason, Reason::UsageThreshold);
}
