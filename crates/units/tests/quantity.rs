//! The quantity parser against the grammar of Kubernetes' `resource.Quantity`.

use csm_units::{Bytes, QuantityError, parse_quantity};
use proptest::prelude::*;
use rstest::rstest;

const KI: u64 = 1 << 10;
const MI: u64 = 1 << 20;
const GI: u64 = 1 << 30;
const TI: u64 = 1 << 40;
const PI: u64 = 1 << 50;
const EI: u64 = 1 << 60;

#[rstest]
#[case::zero("0", 0)]
#[case::zero_with_unit("0Gi", 0)]
#[case::zero_with_large_exponent("0e99", 0)]
#[case::minus_zero("-0", 0)]
#[case::plain("1500", 1500)]
#[case::plus("+5Gi", 5 * GI)]
#[case::leading_zeros("0010Mi", 10 * MI)]
#[case::kibi("3Ki", 3 * KI)]
#[case::mebi("7Mi", 7 * MI)]
#[case::gibi("10Gi", 10 * GI)]
#[case::tebi("2Ti", 2 * TI)]
#[case::pebi("5Pi", 5 * PI)]
#[case::exbi("7Ei", 7 * EI)]
#[case::kilo("3k", 3_000)]
#[case::mega("7M", 7_000_000)]
#[case::giga("10G", 10_000_000_000)]
#[case::tera("2T", 2_000_000_000_000)]
#[case::peta("5P", 5_000_000_000_000_000)]
#[case::exa("9E", 9_000_000_000_000_000_000)]
#[case::half_gibi("1.5Gi", 3 * GI / 2)]
#[case::quarter("0.25Ki", 256)]
#[case::no_whole_part(".5Gi", GI / 2)]
#[case::no_fraction("5.Gi", 5 * GI)]
#[case::trailing_zeros("1.50000000000000000000000000000000000000Gi", 3 * GI / 2)]
#[case::tenth("0.1", 1)]
#[case::tenth_of_kibi("0.1Ki", 103)] // 102.4
#[case::milli("100m", 1)]
#[case::milli_exact("2000m", 2)]
#[case::milli_up("2001m", 3)]
#[case::micro("1500000u", 2)]
#[case::nano("1n", 1)]
#[case::nano_exact("3000000000n", 3)]
#[case::exponent("1e3", 1_000)]
#[case::upper_exponent("12E6", 12_000_000)]
#[case::plus_exponent("1e+3", 1_000)]
#[case::minus_exponent("1500E-3", 2)]
#[case::fraction_and_exponent("1.25e3", 1_250)]
#[case::long_with_minus_exponent("15000000000000000000000000000000e-22", 1_500_000_000)]
#[case::tiny("1e-400", 1)]
#[case::tiny_fraction("0.00000000000000000000000000000000000000001Ei", 1)]
#[case::a_little_over("1.000000000000000000000000000000000000000000000000000001Gi", GI + 1)]
#[case::largest("9223372036854775807", 9_223_372_036_854_775_807)]
#[case::almost_eight_exbi("7.999999999999999999Ei", 9_223_372_036_854_775_807)]
fn reads(#[case] text: &str, #[case] bytes: u64) {
    assert_eq!(parse_quantity(text), Ok(Bytes::new(bytes)));
}

#[rstest]
#[case::empty("", QuantityError::Empty)]
#[case::white("  ", QuantityError::Empty)]
#[case::leading_space(" 1Gi", QuantityError::Malformed(" 1Gi".into()))]
#[case::dot(".", QuantityError::Malformed(".".into()))]
#[case::dot_unit(".Gi", QuantityError::Malformed(".Gi".into()))]
#[case::no_number("Gi", QuantityError::Malformed("Gi".into()))]
#[case::sign_only("-", QuantityError::Malformed("-".into()))]
#[case::two_signs("+-1", QuantityError::Malformed("+-1".into()))]
#[case::two_dots("1.2.3", QuantityError::Malformed("1.2.3".into()))]
#[case::unit_kilo("1K", QuantityError::UnknownUnit("1K".into()))]
#[case::lower("1gi", QuantityError::UnknownUnit("1gi".into()))]
#[case::gb("1GB", QuantityError::UnknownUnit("1GB".into()))]
#[case::space("1 Gi", QuantityError::UnknownUnit("1 Gi".into()))]
#[case::trailing_space("1Gi ", QuantityError::UnknownUnit("1Gi ".into()))]
#[case::bare_exponent("1e", QuantityError::UnknownUnit("1e".into()))]
#[case::exponent_and_unit("1e3Ki", QuantityError::UnknownUnit("1e3Ki".into()))]
#[case::percent("20%", QuantityError::UnknownUnit("20%".into()))]
#[case::exponent_beyond("1e99999999999999999999", QuantityError::UnknownUnit("1e99999999999999999999".into()))]
#[case::other_digits("١Gi", QuantityError::Malformed("١Gi".into()))]
#[case::negative("-1Gi", QuantityError::Negative("-1Gi".into()))]
#[case::barely_negative("-1n", QuantityError::Negative("-1n".into()))]
#[case::eight_exbi("8Ei", QuantityError::TooLarge("8Ei".into()))]
#[case::one_more("9223372036854775808", QuantityError::TooLarge("9223372036854775808".into()))]
#[case::rounded_over("9223372036854775807.1", QuantityError::TooLarge("9223372036854775807.1".into()))]
#[case::eight_exbi_but_a_tenth("7.9999999999999999999Ei", QuantityError::TooLarge("7.9999999999999999999Ei".into()))]
#[case::exa("10E", QuantityError::TooLarge("10E".into()))]
#[case::huge_exponent("1e400", QuantityError::TooLarge("1e400".into()))]
#[case::huge("100000000000000000000Ei", QuantityError::TooLarge("100000000000000000000Ei".into()))]
fn refuses(#[case] text: &str, #[case] error: QuantityError) {
    assert_eq!(parse_quantity(text), Err(error.clone()));
    assert!(error == QuantityError::Empty || error.to_string().contains(&format!("{text:?}")));
}

#[test]
fn an_absurdly_long_text_is_refused_without_work() {
    let error = parse_quantity(&"9".repeat(100_000)).unwrap_err();
    assert!(matches!(&error, QuantityError::Malformed(text) if text.len() == 256));
}

/// Units as (text, numerator, denominator).
const UNITS: [(&str, u128, u128); 16] = [
    ("", 1, 1),
    ("n", 1, 1_000_000_000),
    ("u", 1, 1_000_000),
    ("m", 1, 1_000),
    ("k", 1_000, 1),
    ("M", 1_000_000, 1),
    ("G", 1_000_000_000, 1),
    ("T", 1_000_000_000_000, 1),
    ("Ki", 1 << 10, 1),
    ("Mi", 1 << 20, 1),
    ("Gi", 1 << 30, 1),
    ("Ti", 1 << 40, 1),
    ("e2", 100, 1),
    ("E-2", 1, 100),
    ("e+0", 1, 1),
    ("e-7", 1, 10_000_000),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Exact against 128-bit rational arithmetic.
    #[test]
    fn agrees_with_rational_arithmetic(whole in 0u128..4_000_000, fraction in 0u128..1_000_000_000, width in 1usize..=9, unit in 0usize..UNITS.len()) {
        let scale = 10u128.pow(u32::try_from(width).unwrap());
        let fraction = fraction % scale;
        let (suffix, numerator, denominator) = UNITS[unit];
        let text = format!("{whole}.{fraction:0width$}{suffix}");
        let expected = ((whole * scale + fraction) * numerator).div_ceil(scale * denominator);
        prop_assert_eq!(parse_quantity(&text), Ok(Bytes::new(u64::try_from(expected).unwrap())), "{}", text);
    }

    /// The text form of a size is the size.
    #[test]
    fn display_and_parse_are_inverse(bytes in any::<u64>(), shift in 0u32..64) {
        let size = Bytes::new((bytes >> shift) << (shift / 2));
        prop_assert_eq!(size.to_string().parse::<Bytes>(), Ok(size));
    }

    /// No text makes it panic.
    #[test]
    fn total(text in "\\PC{0,40}") {
        let _ = parse_quantity(&text);
    }

    /// Near misses of the grammar do not make it panic either.
    #[test]
    fn total_near_the_grammar(text in "[-+]{0,2}[0-9.]{0,30}[eEkMGTPKiunm]{0,2}[-+]?[0-9]{0,25}") {
        let _ = parse_quantity(&text);
    }
}
