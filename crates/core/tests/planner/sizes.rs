//! When rule 4 fires, and to which size a volume grows.

use csm_api::{Model, Reason, State, Urgency, Verdict};
use csm_core::plan::{Ceiling, CeilingSource};
use csm_core::world::World;
use csm_units::Bytes;
use rstest::rstest;

use crate::support::*;

#[rstest]
#[case::at_the_threshold("8704Mi", Verdict::Grow)]
#[case::a_mebibyte_below("8703Mi", Verdict::Balanced)]
fn fires_at_the_threshold(#[case] used: &str, #[case] verdict: Verdict) {
    let decision = decide(&world(vec![member("orders-1", "10Gi", used)]));
    assert_eq!(decision.verdict, verdict);
    assert_eq!(decision.model, Some(Model::Thresholds));
}

#[test]
fn one_byte_decides() {
    let exact = member("orders-1", "10Gi", "8704Mi");
    let below = exact.clone().change(|m| {
        let figures = m.observation.as_mut().unwrap();
        figures.used = Bytes::new(figures.used.get() - 1);
        figures.available = Bytes::new(figures.available.get() + 1);
    });
    assert_eq!(decide(&world(vec![exact])).verdict, Verdict::Grow);
    assert_eq!(decide(&world(vec![below])).verdict, Verdict::Balanced);
}

/// Percent used is used / (used + available): reserved blocks count as used.
#[test]
fn reserved_blocks_count() {
    let reserved = |available: &str| {
        world(vec![
            member("orders-1", "10Gi", "8Gi").change(|m| m.observation.as_mut().unwrap().available = size(available)),
        ])
    };
    assert_eq!(decide(&reserved("1536Mi")).percent_used.unwrap().get(), 84);
    assert_eq!(decide(&reserved("1400Mi")).verdict, Verdict::Grow);
}

#[test]
fn any_member_fires_for_all() {
    let decision = decide(&world(vec![
        member("orders-1", "20Gi", "2Gi"),
        member("orders-2", "20Gi", "18Gi"),
        member("orders-3", "20Gi", "3Gi"),
    ]));
    let to = Some("30Gi".to_owned());
    assert_eq!(
        sizes(&decision),
        [("orders-2", to.clone()), ("orders-3", to.clone()), ("orders-1", to)]
    );
    assert_eq!(
        (decision.reason, decision.urgency),
        (Reason::UsageThreshold, Some(Urgency::Planned))
    );
    assert_eq!(
        (decision.from, decision.to, decision.state),
        (size("20Gi"), Some(size("30Gi")), State::NeedsGrow)
    );
    assert_eq!((decision.wanted, decision.passed.len(), decision.next_action_at), (None, 0, None));
}

fn full(size_text: &str, settings: &str) -> World {
    world(vec![member("orders-1", size_text, size_text)]).policy(settings)
}

#[rstest]
#[case::half("20Gi", "{}", "30Gi")]
#[case::least("8Gi", "{}", "13Gi")]
#[case::least_and_half_are_equal("10Gi", "{}", "15Gi")]
#[case::another_share("40Gi", "expansion: {percentage: 10}", "45Gi")]
#[case::share_above_the_least("60Gi", "expansion: {percentage: 10}", "66Gi")]
#[case::rounded_up_to_a_gib("21Gi", "{}", "32Gi")]
#[case::rounded_up_to_a_mib("2500Ki", "expansion: {minIncrementGi: 1}", "1027Mi")]
#[case::whole_mib_below_ten_gib("4097Mi", "expansion: {minIncrementGi: 1}", "6146Mi")] // 4097 + 2048.5, up
#[case::whole_gib_from_ten_gib_on("9Gi", "expansion: {minIncrementGi: 1, percentage: 12}", "11Gi")] // 10 321.9 Mi
#[case::tenfold("3Gi", "expansion: {percentage: 1000, minIncrementGi: 1}", "33Gi")]
#[case::one_percent("200Gi", "expansion: {percentage: 1, minIncrementGi: 1}", "202Gi")]
#[case::an_odd_size_becomes_even("10753Mi", "expansion: {percentage: 1, minIncrementGi: 1}", "12Gi")]
fn grows_to(#[case] from: &str, #[case] settings: &str, #[case] to: &str) {
    let decision = decide(&full(from, settings));
    assert_eq!((decision.verdict, decision.to), (Verdict::Grow, Some(size(to))));
}

#[rstest]
#[case::not_reached("20Gi", "40Gi", Verdict::Grow, Some("30Gi"), false)]
#[case::cut("20Gi", "25Gi", Verdict::Grow, Some("25Gi"), false)]
#[case::cut_to_an_odd_size("20Gi", "25000Mi", Verdict::Grow, Some("25000Mi"), false)]
#[case::one_unit_is_left("20Gi", "21Gi", Verdict::Grow, Some("21Gi"), false)]
#[case::less_than_a_unit("20Gi", "21503Mi", Verdict::Hold, None, false)]
#[case::reached("20Gi", "20Gi", Verdict::Hold, None, true)]
#[case::passed("20Gi", "19Gi", Verdict::Hold, None, true)]
#[case::a_small_unit("9Gi", "9217Mi", Verdict::Grow, Some("9217Mi"), false)]
#[case::exactly_wanted("20Gi", "30Gi", Verdict::Grow, Some("30Gi"), false)]
fn ceiling(#[case] from: &str, #[case] max_size: &str, #[case] verdict: Verdict, #[case] to: Option<&str>, #[case] at_limit: bool) {
    let settings = format!("expansion: {{maxSize: {max_size}}}");
    let decision = decide(&full(from, &settings));
    assert_eq!(
        (decision.verdict, decision.to, decision.at_limit),
        (verdict, to.map(size), at_limit)
    );
    if verdict == Verdict::Hold {
        assert_eq!((decision.reason, decision.state), (Reason::AtLimit, State::AtLimit));
        // What is wanted is the size before the ceiling.
        assert_eq!(decision.wanted.unwrap().to, Some(size("30Gi")));
    }
}

#[test]
fn the_size_before_the_ceiling_is_wanted_whichever_gate_comes_first() {
    let world = full("20Gi", "expansion: {maxSize: 20Gi}").pause("true", None);
    let wanted = decide(&world).wanted.unwrap();
    assert_eq!((wanted.held_by, wanted.to), (Reason::Paused, Some(size("30Gi"))));
    // Where there is room, the ceiling shows.
    let world = full("20Gi", "expansion: {maxSize: 24Gi}").pause("true", None);
    assert_eq!(decide(&world).wanted.unwrap().to, Some(size("24Gi")));
}

#[rstest]
#[case::none(None, None, None, None)]
#[case::max_size(Some("50Gi"), None, None, Some(("50Gi", CeilingSource::MaxSize)))]
#[case::learned(None, Some("40Gi"), None, Some(("40Gi", CeilingSource::Learned)))]
#[case::fallback(None, None, Some("60Gi"), Some(("60Gi", CeilingSource::Fallback)))]
#[case::the_smaller(Some("50Gi"), Some("40Gi"), Some("30Gi"), Some(("40Gi", CeilingSource::Learned)))]
#[case::the_smaller_the_other_way(Some("40Gi"), Some("50Gi"), Some("30Gi"), Some(("40Gi", CeilingSource::MaxSize)))]
#[case::fallback_is_for_none(Some("50Gi"), None, Some("30Gi"), Some(("50Gi", CeilingSource::MaxSize)))]
#[case::learned_is_one(None, Some("50Gi"), Some("30Gi"), Some(("50Gi", CeilingSource::Learned)))]
fn ceilings(
    #[case] max_size: Option<&str>,
    #[case] learned: Option<&str>,
    #[case] fallback: Option<&str>,
    #[case] expected: Option<(&str, CeilingSource)>,
) {
    let settings = max_size.map_or("{}".to_owned(), |s| format!("expansion: {{maxSize: {s}}}"));
    let world = full("30Gi", &settings).data(|v| {
        v.learned_ceiling = learned.map(size);
        v.fallback_ceiling = fallback.map(size);
    });
    let decision = decide(&world);
    let expected = expected.map(|(s, source)| Ceiling { size: size(s), source });
    assert_eq!(decision.ceiling, expected);
    let wanted = size("45Gi");
    assert_eq!(decision.to, Some(expected.map_or(wanted, |c| c.size.min(wanted))));
}

#[test]
fn the_largest_volumes_do_not_wrap() {
    let huge = Bytes::MAX.round_down();
    for size in [huge, Bytes::MAX, Bytes::new(huge.get() - 1)] {
        let text = size.get().to_string();
        let decision = decide(&full(&text, "{}"));
        assert_eq!((decision.verdict, decision.reason), (Verdict::Hold, Reason::AtLimit));
        assert!(!decision.at_limit && decision.ceiling.is_none());
    }
    let decision = decide(&full("7Ei", "{}"));
    assert_eq!((decision.verdict, decision.to), (Verdict::Grow, Some(huge)));
}

#[test]
fn at_limit_is_said_whatever_the_verdict() {
    let world = calm().policy("expansion: {maxSize: 20Gi}");
    let decision = decide(&world);
    assert_eq!(
        (decision.verdict, decision.at_limit, decision.state),
        (Verdict::Balanced, true, State::Balanced)
    );
}
