//! Times and sizes of a trace.

use csm_units::Bytes;
use jiff::Timestamp;

/// What a time looks like.
const EXAMPLE: &str = "write it as 2026-03-01T12:00:00Z, or in seconds since 1970";

/// RFC 3339 with an offset, or seconds since 1970, also with a fraction; to the millisecond.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if number {
        return seconds(text).ok_or_else(|| format!("{text} seconds since 1970 are no time; are these milliseconds? {EXAMPLE}"));
    }
    match text.parse::<Timestamp>() {
        Ok(at) => Ok(at),
        Err(_) if text.is_empty() => Err(format!("the time is missing; {EXAMPLE}")),
        Err(_) => Err(format!("{text:?} is no time; {EXAMPLE}")),
    }
}

/// Seconds since 1970, up to the year 2500: what is later is in milliseconds.
fn seconds(text: &str) -> Option<Timestamp> {
    const LATEST: i64 = 16_725_225_600;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok().filter(|s| *s < LATEST)?;
    if fraction.contains('.') {
        return None;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let millis = digits.fold(0, |millis, b| millis * 10 + i64::from(b.wrapping_sub(b'0')));
    Timestamp::from_millisecond(whole.checked_mul(1000)?.checked_add(millis)?).ok()
}

/// Bytes used: a quantity, or a number.
pub(super) fn used(text: &str) -> Result<Bytes, String> {
    let text = text.trim();
    // Most are plain numbers.
    if let Ok(bytes) = text.parse::<u64>()
        && bytes <= Bytes::MAX.get()
    {
        return Ok(Bytes::new(bytes));
    }
    text.parse().map_err(|error| match error {
        csm_units::QuantityError::Empty => "the bytes used are missing; write them as 8600Mi or 9017753600".to_owned(),
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes() {
        let at = |text: &str| time(text).map(|at| at.to_string());
        for same in [
            "2026-03-01T12:00:00Z",
            "2026-03-01T13:00:00+01:00",
            "1772366400",
            "1772366400.0",
            " 1772366400 ",
        ] {
            assert_eq!(at(same).as_deref(), Ok("2026-03-01T12:00:00Z"), "{same}");
        }
        assert_eq!(at("1772366400.781").as_deref(), Ok("2026-03-01T12:00:00.781Z"));
        assert_eq!(at("1772366400.5").as_deref(), Ok("2026-03-01T12:00:00.5Z"));
        for wrong in ["1772366400000", "2026-03-01 12:00:00", "", "noon", "1.2.3", "99999999999999999999"] {
            let said = at(wrong).expect_err(wrong);
            assert!(said.contains("2026-03-01T12:00:00Z"), "{said}");
        }
        assert!(at("1772366400000").expect_err("milliseconds").contains("milliseconds?"));
        assert_eq!(used("8600Mi"), Ok(Bytes::mib(8600)));
        assert_eq!(used("9017753600"), Ok(Bytes::mib(8600)));
        assert_eq!(used("9.0177536e+09"), Ok(Bytes::mib(8600)));
        for wrong in ["", "-1", "1 GiB", "NaN", "much"] {
            assert!(used(wrong).is_err(), "{wrong}");
        }
    }
}
