use std::fmt::{self, Write};
use std::str::FromStr;

use jiff::SignedDuration;
use thiserror::Error;

use super::quoted;

/// A length of time in Go's notation, as Kubernetes writes it: `2h`, `1h30m`, `90m`, `1.5h`; a second to 366
/// days, in nanoseconds.
///
/// Text form: the fewest units that are exact, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(SignedDuration);

/// Why a text is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Nothing, or only white space.
    #[error("empty; write a duration such as \"2h\"")]
    Empty,
    /// No number, or more than one dot in it.
    #[error("{0:?} is not a duration; write numbers with units, such as \"2h\" or \"1h30m\"")]
    Malformed(String),
    /// A number without a unit, or one that Go does not know.
    #[error("{text:?} has {}; use h, m, s or ms, such as \"1h30m\" (a day is \"24h\")", unit_or_none(.unit))]
    Unit {
        /// What was written.
        text: String,
        /// The unit, empty where there is none.
        unit: String,
    },
    /// Zero, negative, or under a second.
    #[error("{0:?} is too short; write at least \"1s\", such as \"2h\"")]
    TooShort(String),
    /// More than 366 days.
    #[error("{0:?} is too long; write at most \"8784h\" (366 days), such as \"2h\"")]
    TooLong(String),
}

fn unit_or_none(unit: &str) -> String {
    if unit.is_empty() {
        "a number without a unit".to_owned()
    } else {
        format!("the unknown unit {unit:?}")
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;
/// Go's units, in nanoseconds. Two letters look like µ.
const UNITS: [(&str, u128); 8] = [
    ("h", 3600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", 1_000_000),
    ("us", 1000),
    ("\u{b5}s", 1000),
    ("\u{3bc}s", 1000),
    ("ns", 1),
];

/// Nobody writes more digits; ten to this power times an hour fits into 128 bits.
const MAX_DIGITS: usize = 20;

impl Duration {
    /// The shortest one. Nothing that lasts less can be noticed by a planner that looks every few seconds.
    pub const MIN: Self = Self(SignedDuration::from_secs(1));
    /// The longest one, a year.
    pub const MAX: Self = Self(SignedDuration::from_hours(366 * 24));
    /// Two hours.
    pub const TWO_HOURS: Self = Self(SignedDuration::from_hours(2));

    /// The elapsed time; positive.
    #[must_use]
    pub const fn get(self) -> SignedDuration {
        self.0
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    /// Grammar: `time.ParseDuration` of Go. A fraction of a nanosecond is dropped, as Go does.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Err(DurationError::Empty);
        }
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if rest.is_empty() {
            return Err(DurationError::Malformed(quoted(text)));
        }
        if rest == "0" {
            // The one number that needs no unit.
            return Err(DurationError::TooShort(quoted(text)));
        }
        let mut nanos: u128 = 0;
        while !rest.is_empty() {
            let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
            let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
            let wrong = || DurationError::Malformed(quoted(text));
            if number.is_empty() {
                return Err(wrong());
            }
            let (_, each) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| DurationError::Unit {
                text: quoted(text),
                unit: quoted(unit),
            })?;
            nanos = nanos.saturating_add(amount(number, *each).ok_or_else(wrong)?);
            rest = after;
        }
        let duration = i64::try_from(nanos).map_or(SignedDuration::MAX, SignedDuration::from_nanos);
        if negative || duration < Self::MIN.0 {
            Err(DurationError::TooShort(quoted(text)))
        } else if duration > Self::MAX.0 {
            Err(DurationError::TooLong(quoted(text)))
        } else {
            Ok(Self(duration))
        }
    }
}

/// The text up to the first character that does not belong, and the rest.
fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// A decimal number of a unit, rounded down. Too many digits in front are more than any duration has.
fn amount(number: &str, each: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let digits = |text: &str| text.parse::<u128>().unwrap_or(u128::MAX);
    let whole = if whole.is_empty() { 0 } else { digits(whole).saturating_mul(each) };
    // Digits after these are less than a nanosecond of any unit.
    let fraction = fraction.get(..fraction.len().min(MAX_DIGITS)).unwrap_or_default();
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = if fraction.is_empty() { 0 } else { digits(fraction) };
    Some(whole.saturating_add(part.saturating_mul(each).checked_div(scale)?))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos().unsigned_abs();
        let mut text = String::new();
        for (name, each) in [("h", 3600 * NANOS_PER_SECOND), ("m", 60 * NANOS_PER_SECOND)] {
            let count = rest.checked_div(each).unwrap_or(0);
            rest = rest.checked_rem(each).unwrap_or(0);
            if count > 0 {
                write!(text, "{count}{name}")?;
            }
        }
        let seconds = rest.checked_div(NANOS_PER_SECOND).unwrap_or(0);
        let fraction = rest.checked_rem(NANOS_PER_SECOND).unwrap_or(0);
        if fraction > 0 {
            let digits = format!("{fraction:09}");
            write!(text, "{seconds}.{}s", digits.trim_end_matches('0'))?;
        } else if seconds > 0 {
            write!(text, "{seconds}s")?;
        }
        f.pad(&text)
    }
}
