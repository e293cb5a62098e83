use csm_core::schedule::Duration;
use jiff::SignedDuration;
use proptest::prelude::*;
use rstest::rstest;

use crate::*;

const SECOND: i64 = 1_000_000_000;

#[rstest]
#[case("2h", 7200 * SECOND, "2h")]
#[case("1h30m", 5400 * SECOND, "1h30m")]
#[case("90m", 5400 * SECOND, "1h30m")]
#[case("1.5h", 5400 * SECOND, "1h30m")]
#[case(".5h", 1800 * SECOND, "30m")]
#[case("1.h", 3600 * SECOND, "1h")]
#[case("+2h", 7200 * SECOND, "2h")]
#[case(" 2h ", 7200 * SECOND, "2h")]
#[case("2h0m0s", 7200 * SECOND, "2h")]
#[case("1m1h1m", 3720 * SECOND, "1h2m")]
#[case("3723s", 3723 * SECOND, "1h2m3s")]
#[case("1500ms", SECOND + SECOND / 2, "1.5s")]
#[case("1s2ms3us4µs5μs6ns", SECOND + 2_012_006, "1.002012006s")]
#[case("1h0.000000001s", 3600 * SECOND + 1, "1h0.000000001s")]
#[case("1.0000000009s", SECOND, "1s")]
#[case("0.333333333333333333333333333333h", 1_199_999_999_999, "19m59.999999999s")]
#[case("1s", SECOND, "1s")]
#[case("8784h", 8784 * 3600 * SECOND, "8784h")]
fn is(#[case] text: &str, #[case] nanos: i64, #[case] shown: &str) {
    let parsed = duration(text);
    assert_eq!(parsed.get(), SignedDuration::from_nanos(nanos));
    assert_eq!(parsed.to_string(), shown);
    assert_eq!(format!("{parsed:>20}").len(), 20);
}

#[rstest]
#[case("", "empty; write a duration such as \"2h\"")]
#[case("  ", "empty; write a duration such as \"2h\"")]
#[case("abc", "\"abc\" is not a duration; write numbers with units, such as \"2h\" or \"1h30m\"")]
#[case("-", "\"-\" is not a duration; write numbers with units, such as \"2h\" or \"1h30m\"")]
#[case(".h", "\".h\" is not a duration; write numbers with units, such as \"2h\" or \"1h30m\"")]
#[case("1.2.3h", "\"1.2.3h\" is not a duration; write numbers with units, such as \"2h\" or \"1h30m\"")]
#[case("--2h", "\"--2h\" is not a duration; write numbers with units, such as \"2h\" or \"1h30m\"")]
#[case(
    "120",
    "\"120\" has a number without a unit; use h, m, s or ms, such as \"1h30m\" (a day is \"24h\")"
)]
#[case(
    "1h0",
    "\"1h0\" has a number without a unit; use h, m, s or ms, such as \"1h30m\" (a day is \"24h\")"
)]
#[case(
    "2 h",
    "\"2 h\" has the unknown unit \" h\"; use h, m, s or ms, such as \"1h30m\" (a day is \"24h\")"
)]
#[case("1H", "\"1H\" has the unknown unit \"H\"; use h, m, s or ms, such as \"1h30m\" (a day is \"24h\")")]
#[case("1d", "\"1d\" has the unknown unit \"d\"; use h, m, s or ms, such as \"1h30m\" (a day is \"24h\")")]
#[case("0", "\"0\" is too short; write at least \"1s\", such as \"2h\"")]
#[case("0h0m", "\"0h0m\" is too short; write at least \"1s\", such as \"2h\"")]
#[case("-2h", "\"-2h\" is too short; write at least \"1s\", such as \"2h\"")]
#[case("999ms", "\"999ms\" is too short; write at least \"1s\", such as \"2h\"")]
#[case("8784h1ns", "\"8784h1ns\" is too long; write at most \"8784h\" (366 days), such as \"2h\"")]
#[case(
    "99999999999999999999999999999999999999999h",
    "\"99999999999999999999999999999999999999999h\" is too long; write at most \"8784h\" (366 days), such as \"2h\""
)]
fn is_no_duration(#[case] text: &str, #[case] message: &str) {
    assert_eq!(text.parse::<Duration>().unwrap_err().to_string(), message);
}

#[test]
fn long_texts_are_not_repeated_in_full() {
    for text in ["1".repeat(100_000), "1x".repeat(100_000), "9h".repeat(100_000), "x".repeat(100_000)] {
        assert!(text.parse::<Duration>().unwrap_err().to_string().len() < 500);
    }
    assert_eq!(duration(&format!("1.{}s", "0".repeat(100_000))), Duration::MIN);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn what_is_shown_reads_back(nanos in SECOND..=8784 * 3600 * SECOND, coarse in prop::sample::select(vec![1, 1000, SECOND, 60 * SECOND, 3600 * SECOND])) {
        let nanos = (nanos / coarse * coarse).max(SECOND);
        let parsed = duration(&format!("{nanos}ns"));
        prop_assert_eq!(parsed.get(), SignedDuration::from_nanos(nanos));
        prop_assert_eq!(duration(&parsed.to_string()), parsed);
        prop_assert!((Duration::MIN..=Duration::MAX).contains(&parsed));
    }

    #[test]
    fn no_text_is_too_strange(text in "[-+.0-9hmsnuµ x]{0,12}|\\PC{0,12}") {
        let _ = text.parse::<Duration>();
        let _ = text.parse::<Schedule>();
    }
}
