//! Sizes and percentages: rounding, bounds, text forms.

use csm_units::{Bytes, Percent, PercentError};
use proptest::prelude::*;
use rstest::rstest;

const TEN_GIB: u64 = 10 << 30;

#[rstest]
#[case(Bytes::ZERO, "0")]
#[case(Bytes::new(1), "1")]
#[case(Bytes::new(1023), "1023")]
#[case(Bytes::new(1024), "1Ki")]
#[case(Bytes::mib(1536), "1536Mi")]
#[case(Bytes::gib(15), "15Gi")]
#[case(Bytes::gib(2048), "2Ti")]
#[case(Bytes::new(1 << 60), "1Ei")]
#[case(Bytes::MAX, "9223372036854775807")]
fn shortest_exact_text(#[case] size: Bytes, #[case] text: &str) {
    assert_eq!(size.to_string(), text);
    assert_eq!(format!("{size:>25}"), format!("{text:>25}"));
}

#[test]
fn sizes_saturate() {
    assert_eq!(Bytes::new(u64::MAX), Bytes::MAX);
    assert_eq!(Bytes::mib(u64::MAX), Bytes::MAX);
    assert_eq!(Bytes::gib(u64::MAX), Bytes::MAX);
    assert_eq!(Bytes::saturating_from(-1), Bytes::ZERO);
    assert_eq!(Bytes::saturating_from(i128::MAX), Bytes::MAX);
    assert_eq!(Bytes::saturating_from(7), Bytes::new(7));
    assert_eq!(Bytes::MAX.saturating_add(Bytes::MIB), Bytes::MAX);
    assert_eq!(Bytes::MIB.saturating_sub(Bytes::GIB), Bytes::ZERO);
    assert_eq!(Bytes::MAX.mul_div(1000, 1), Bytes::MAX);
    assert_eq!(Bytes::MAX.mul_div(1, 0), Bytes::ZERO);
    assert!(Bytes::ZERO.is_zero() && !Bytes::MIB.is_zero());
}

#[rstest]
#[case::below_ten_gib(Bytes::new(TEN_GIB - 1), Bytes::MIB)]
#[case::ten_gib(Bytes::new(TEN_GIB), Bytes::GIB)]
#[case::zero(Bytes::ZERO, Bytes::MIB)]
fn unit_at_its_edge(#[case] size: Bytes, #[case] unit: Bytes) {
    assert_eq!(size.unit(), unit);
}

#[rstest]
#[case::multiple_of_mib(Bytes::mib(5), Bytes::mib(5), Bytes::mib(5))]
#[case::one_byte_more(Bytes::new((5 << 20) + 1), Bytes::mib(5), Bytes::mib(6))]
#[case::just_below_ten_gib(Bytes::new(TEN_GIB - 1), Bytes::mib(10_239), Bytes::gib(10))]
#[case::ten_gib(Bytes::gib(10), Bytes::gib(10), Bytes::gib(10))]
#[case::ten_gib_and_a_mib(Bytes::mib(10_241), Bytes::gib(10), Bytes::gib(11))]
#[case::ten_and_a_half(Bytes::mib(10_752), Bytes::gib(10), Bytes::gib(11))]
#[case::largest(Bytes::MAX, Bytes::gib((1 << 33) - 1), Bytes::MAX)]
fn rounds_to_the_unit(#[case] size: Bytes, #[case] down: Bytes, #[case] up: Bytes) {
    assert_eq!(size.round_down(), down);
    assert_eq!(size.round_up(), up);
}

proptest! {
    #[test]
    fn rounding_stays_within_a_unit(bytes in 0u64..(1 << 62)) {
        let size = Bytes::new(bytes);
        let (down, up) = (size.round_down(), size.round_up());
        prop_assert!(down <= size && size <= up);
        prop_assert!(up.get() - down.get() <= size.unit().get());
        prop_assert_eq!(up.get() % size.unit().get(), 0);
        prop_assert_eq!((up.round_up(), down.round_down()), (up, down));
    }

    #[test]
    fn percent_used_is_exact(used in 0u64..=i64::MAX as u64, available in 0u64..=i64::MAX as u64, percent in 0u16..=100) {
        let (u, a) = (u128::from(used), u128::from(available));
        let (used, available) = (Bytes::new(used), Bytes::new(available));
        let expected = u + a > 0 && u * 100 >= u128::from(percent) * (u + a);
        prop_assert_eq!(Percent::of(percent).reached_by(used, available), expected);
        let floor = (u * 100).checked_div(u + a).map(|p| u16::try_from(p).unwrap());
        prop_assert_eq!(Percent::used(used, available).map(Percent::get), floor);
    }
}

#[test]
fn percent_at_its_edges() {
    let (used, available) = (Bytes::mib(8704), Bytes::mib(1536));
    assert!(Percent::of(85).reached_by(used, available));
    assert!(!Percent::of(85).reached_by(Bytes::new(used.get() - 1), Bytes::new(available.get() + 1)));
    assert!(!Percent::of(0).reached_by(Bytes::ZERO, Bytes::ZERO));
    assert_eq!(Percent::used(Bytes::ZERO, Bytes::ZERO), None);
    assert_eq!(Percent::used(Bytes::MIB, Bytes::ZERO), Some(Percent::of(100)));
    assert_eq!(Percent::of(50).share_of(Bytes::new(7)), Bytes::new(3));
    assert_eq!(Percent::of(2000), Percent::of(1000));
    assert_eq!(format!("{:>5}", Percent::of(7)), "   7%");
}

#[rstest]
#[case(0, true)]
#[case(1000, true)]
#[case(1001, false)]
#[case(-1, false)]
#[case(i64::MAX, false)]
fn percent_from_a_number(#[case] number: i64, #[case] valid: bool) {
    match Percent::try_from(number) {
        Ok(percent) => assert!(valid && i64::from(percent) == number),
        Err(error) => assert!(!valid && error == PercentError(number) && error.to_string().contains(&number.to_string())),
    }
    assert_eq!(serde_json::from_str::<Percent>(&number.to_string()).is_ok(), valid);
}

#[test]
fn json_forms() {
    assert_eq!(serde_json::to_string(&Bytes::gib(15)).unwrap(), "\"15Gi\"");
    assert_eq!(serde_json::to_string(&Percent::of(85)).unwrap(), "85");
    assert_eq!(serde_json::from_str::<Bytes>("\"1.5Gi\"").unwrap(), Bytes::mib(1536));
    assert_eq!(serde_json::from_str::<Bytes>("1048576").unwrap(), Bytes::MIB);
    for wrong in ["-1", "1.5", "\"ten\"", "null", "[]", "true"] {
        assert!(serde_json::from_str::<Bytes>(wrong).is_err(), "{wrong}");
    }
    let message = serde_json::from_str::<Bytes>("-1").unwrap_err().to_string();
    assert!(message.contains("cannot be negative"), "{message}");
    let message = serde_json::from_str::<Bytes>("[]").unwrap_err().to_string();
    assert!(message.contains("a quantity such as"), "{message}");
}
