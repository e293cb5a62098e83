//! Sizes of section 3 for the models other than thresholds, emergencies and runways, worked out by hand.

use csm_api::{Reason, Urgency, Verdict};
use csm_core::plan::CeilingSource;
use csm_core::world::{Member, Sample, World};
use csm_units::Bytes;
use jiff::SignedDuration;
use rstest::rstest;

use crate::support::*;

fn full(size_text: &str, settings: &str) -> World {
    world(vec![member("orders-1", size_text, size_text)]).policy(settings)
}

/// A member with so much available; the rest of it is used.
fn left(size_text: &str, available: &str) -> Member {
    let used = size(size_text).saturating_sub(size(available));
    member("orders-1", size_text, &used.to_string())
}

fn grows_to(world: &World, to: &str) {
    let decision = decide(world);
    assert_eq!((decision.verdict, decision.to), (Verdict::Grow, Some(size(to))));
}

fn resize(expansion: &str) -> String {
    let strategy = "strategy: {walSafetyPolicy: {acknowledgeWALRisk: true}}";
    format!("storage: {{resize: {{enabled: true, expansion: {{{expansion}}}, {strategy}}}}}")
}

#[rstest]
#[case::a_fifth("20Gi", "", "24Gi")]
#[case::up_to_the_unit("21Gi", "", "26Gi")] // 25.2
#[case::the_least_step("5Gi", "", "7Gi")] // 1Gi, raised to 2Gi
#[case::another_least_step("5Gi", "minStep: 512Mi", "6Gi")]
#[case::below_ten_gib_by_mebibytes("5001Mi", "minStep: 512Mi", "6002Mi")] // 1000.2, up
#[case::the_largest_step("5000Gi", "", "5500Gi")]
#[case::another_largest_step("100Gi", "maxStep: 5Gi", "105Gi")]
#[case::up_would_be_too_much("10300Mi", "maxStep: 2100Mi", "12Gi")] // 12 360: up 13Gi is 3012, down 12Gi is 1988
#[case::down_would_be_nothing("10Gi", "maxStep: 500Mi", "10740Mi")]
#[case::down_would_be_less("10241Mi", "maxStep: 500Mi", "10741Mi")]
#[case::part_of_a_mebibyte("10Gi", "maxStep: 512500Ki", "10740Mi")] // 500.5 MiB
#[case::least_step_gives_way("20Gi", "maxStep: 1Gi", "21Gi")]
#[case::largest_step_gives_way("20Gi", "minStep: 600Gi", "620Gi")]
#[case::absolute("20Gi", "step: 10Gi", "30Gi")]
#[case::absolute_up_to_the_unit("20Gi", "step: 1500Mi", "22Gi")]
#[case::absolute_below_its_bounds("5Gi", "step: 100Mi, minStep: 3Gi", "5220Mi")]
#[case::absolute_above_its_bounds("20Gi", "step: 40Gi, maxStep: 3Gi", "60Gi")]
#[case::tenfold("2Gi", "step: 1000%", "22Gi")]
fn resize_steps(#[case] from: &str, #[case] expansion: &str, #[case] to: &str) {
    grows_to(&full(from, &resize(expansion)), to);
}

/// A member whose filesystem keeps some for itself.
fn keeps_some(size_text: &str, used: &str, available: &str) -> Member {
    member("orders-1", size_text, used).change(|m| m.observation.as_mut().unwrap().available = size(available))
}

fn seen(size_text: &str, used: &str, available: &str) -> World {
    world(vec![keeps_some(size_text, used, available)])
}

#[rstest]
#[case::a_fifth_free("18Gi", "2Gi", "limit: 100Gi", "23Gi")] // 22.5
#[case::at_least_five_percent("16385Mi", "4095Mi", "limit: 100Gi", "21Gi")] // 20.001, raised to 21
#[case::half_free("15Gi", "5Gi", "limit: 100Gi, targetBuffer: 50", "30Gi")]
#[case::least_buffer("19999Mi", "481Mi", "limit: 100Gi, targetBuffer: 5, emergencyGrow: {enabled: false}", "21Gi")] // 20.56; 21
#[case::the_filesystem_keeps_some("16Gi", "3Gi", "limit: 100Gi", "22Gi")] // 16 × 100 × 20 / (80 × 19) = 21.05
#[case::the_limit("18Gi", "2Gi", "limit: 22Gi", "22Gi")]
#[case::the_request("1Gi", "19Gi", "limit: 100Gi, request: 21Gi", "21Gi")]
#[case::a_request_off_the_unit("1Gi", "19Gi", "limit: 100Gi, request: 22000Mi", "22Gi")]
#[case::a_request_that_is_little_more("1Gi", "19Gi", "limit: 100Gi, request: 20481Mi", "21Gi")]
fn targets(#[case] used: &str, #[case] available: &str, #[case] settings: &str, #[case] to: &str) {
    let request = if settings.contains("request") { "" } else { "request: 10Gi, " };
    grows_to(
        &seen("20Gi", used, available).policy(&format!("storage: {{{request}{settings}}}")),
        to,
    );
}

/// The member with the most used bytes counts, not the one with the highest percentage.
#[test]
fn the_most_used_bytes() {
    let small = keeps_some("20Gi", "16Gi", "1229Mi");
    let large = member("orders-2", "20Gi", "17Gi");
    let decision = decide(&world(vec![small, large]).policy("storage: {request: 10Gi, limit: 100Gi}"));
    assert_eq!(decision.worst.as_deref(), Some("orders-1"));
    assert_eq!(decision.to, Some(size("22Gi"))); // 17 / 0.8 = 21.25
}

#[rstest]
#[case::a_quarter("40Gi", "expansion: {percentage: 10}", "50Gi")]
#[case::a_gib_at_least("2Gi", "expansion: {percentage: 10, minIncrementGi: 1}", "3Gi")]
#[case::the_models_own_where_it_is_more("40Gi", "expansion: {percentage: 50}", "60Gi")]
#[case::up_to_the_unit("41Gi", "expansion: {percentage: 10}", "52Gi")] // 51.25
#[case::of_the_ceiling("40Gi", "expansion: {maxSize: 45Gi}", "45Gi")]
fn emergencies(#[case] from: &str, #[case] settings: &str, #[case] to: &str) {
    let settings = format!("{{{settings}, storage: {{emergencyGrow: {{}}}}}}");
    let decision = decide(&full(from, &settings));
    assert_eq!(
        (decision.reason, decision.urgency),
        (Reason::CriticalThreshold, Some(Urgency::Emergency))
    );
    assert_eq!(decision.to, Some(size(to)));
    // A rescue is of the same size.
    let decision = decide(&full(from, &settings).member(0, |m| m.disk_full = true));
    assert_eq!((decision.verdict, decision.to), (Verdict::Rescue, Some(size(to))));
}

/// Where no member is fresh, the target is the request.
#[test]
fn a_rescue_without_figures() {
    let blind = |request: &str| {
        let settings = format!("storage: {{request: {request}, limit: 100Gi}}");
        decide(&full("20Gi", &settings).member(0, |m| (m.observation, m.disk_full) = (None, true)))
    };
    assert_eq!(blind("10Gi").to, Some(size("25Gi")));
    assert_eq!(blind("30Gi").to, Some(size("30Gi")));
}

/// The model's own limit may be passed by a quarter; no other ceiling.
#[rstest]
#[case::thresholds("40Gi", "", "50Gi", CeilingSource::MaxSize)]
#[case::resize(
    "90Gi",
    "resize: {enabled: true, expansion: {limit: 40Gi}, strategy: {walSafetyPolicy: {acknowledgeWALRisk: true}}}, ",
    "50Gi",
    CeilingSource::Limit
)]
#[case::target("90Gi", "request: 1Gi, limit: 40Gi, ", "50Gi", CeilingSource::Limit)]
#[case::max_size_of_another_model("42Gi", "request: 1Gi, limit: 40Gi, ", "42Gi", CeilingSource::MaxSize)]
fn exceeding_the_limit(#[case] max_size: &str, #[case] block: &str, #[case] to: &str, #[case] source: CeilingSource) {
    let with = |exceeds: bool| {
        let emergency = format!("emergencyGrow: {{exceedLimitOnEmergency: {exceeds}}}");
        format!("{{expansion: {{maxSize: {max_size}}}, storage: {{{block}{emergency}}}}}")
    };
    let world = full("40Gi", &with(true));
    grows_to(&world, to);
    assert_eq!(decide(&world).ceiling.unwrap().source, source);
    let decision = decide(&full("40Gi", &with(false)));
    assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, Reason::AtLimit));
    assert_eq!(decision.wanted.unwrap().urgency, Urgency::Emergency);
}

/// A member of 100Gi that is about to fill, during the cooldown.
fn runs_out(available: &str, settings: &str) -> World {
    world(vec![left("100Gi", available)])
        .policy(settings)
        .operation(growth(at("11:59:00"), "90Gi", "100Gi"))
}

/// Below 5 percent and below 10 GiB; or below 32 MiB.
#[rstest]
#[case::at_five_percent("100Gi", "5Gi", false)]
#[case::below_five_percent("100Gi", "5119Mi", true)]
#[case::at_ten_gib("1000Gi", "10Gi", false)]
#[case::below_ten_gib("1000Gi", "10239Mi", true)]
#[case::at_32_mib_and_five_percent("640Mi", "32Mi", false)]
#[case::below_32_mib("320Mi", "31Mi", true)]
fn about_to_fill(#[case] of: &str, #[case] available: &str, #[case] is: bool) {
    let world = world(vec![left(of, available)]).policy("{}");
    let world = world.operation(growth(at("11:59:00"), "1Mi", of));
    let decision = decide(&world);
    assert_eq!(decision.reason == Reason::Runway, is, "{}", decision.reason);
    assert_eq!(decision.wanted.unwrap().held_by, Reason::Cooldown);
}

/// Samples of so many minutes that rise by so many MiB a minute.
fn rising(member: &mut Member, minutes: u64, mebibytes: u64) {
    let used = member.observation.unwrap().used;
    let sample = |i: u64| Sample {
        at: at("11:59:30") - SignedDuration::from_mins(i.cast_signed()),
        used: used.saturating_sub(Bytes::mib(mebibytes * i)),
    };
    member.history = (1..=minutes).map(sample).collect();
}

/// Full in 600 s is not soon, in less it is: 12 288 MiB at 1228.8 MiB a minute.
#[rstest]
#[case::in_ten_minutes(1228, false)]
#[case::in_less(1229, true)]
fn full_soon(#[case] a_minute: u64, #[case] is: bool) {
    let world = runs_out("12Gi", "expansion: {maxSize: 200Gi}").member(0, |m| rising(m, 12, a_minute));
    assert_eq!(decide(&world).reason == Reason::Runway, is);
}

#[rstest]
#[case::five_percent("{}", 0, "105Gi")]
#[case::of_half_an_hour("{}", 200, "106Gi")] // 30 × 200 MiB = 5.86 GiB
#[case::never_more_than_what_is_held("expansion: {percentage: 2, minIncrementGi: 1}", 0, "102Gi")]
#[case::never_above_the_ceiling("expansion: {maxSize: 103Gi}", 0, "103Gi")]
fn runways(#[case] settings: &str, #[case] a_minute: u64, #[case] to: &str) {
    let world = runs_out("1Gi", settings).member(0, |m| rising(m, 12, a_minute));
    let decision = decide(&world);
    assert_eq!(
        (decision.verdict, decision.reason, decision.to),
        (Verdict::Grow, Reason::Runway, Some(size(to)))
    );
    assert_eq!(decision.passed, [Reason::Cooldown]);
}

/// Resize with a percentage: the least step. With a size: 5 percent, and a GiB at least.
#[rstest]
#[case::the_least_step("", "102Gi")]
#[case::another_least_step("minStep: 3Gi", "103Gi")]
#[case::an_absolute_step("step: 50Gi", "105Gi")]
fn runways_of_the_resize_model(#[case] expansion: &str, #[case] to: &str) {
    let settings = resize(expansion).replace("storage: {", "storage: {maintenanceWindow: {}, ");
    let decision = decide(&runs_out("1Gi", &settings));
    assert_eq!((decision.reason, decision.to), (Reason::Runway, Some(size(to))));
    assert_eq!(decision.passed, [Reason::MaintenanceWindowClosed]);
}

/// Planned growth of the request/limit model provides for what is written until the next window opens.
///
/// 60 MiB a minute; at noon, in the window from 12:00 on, the next firing is a day away: 84.4 GiB, of which a quarter of
/// the volume counts, 25 GiB. 80Gi used and 25Gi more, and a fifth free: 131.25Gi. The samples must span 2.4 hours.
#[rstest]
#[case::long_enough(145, "132Gi")]
#[case::too_short(143, "105Gi")] // 80.5 / 0.8 = 100.6, raised to 105
fn until_the_next_window(#[case] minutes: u64, #[case] to: &str) {
    let window = "maintenanceWindow: {schedule: 0 12 * * *}";
    let world = seen("100Gi", "82432Mi", "19968Mi")
        .policy(&format!("storage: {{request: 10Gi, limit: 500Gi, {window}}}"))
        .member(0, |m| rising(m, minutes, 60));
    assert_eq!(decide(&world).to, Some(size(to)));
}
