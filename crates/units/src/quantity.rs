use std::str::FromStr;

use thiserror::Error;

use crate::Bytes;

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Nothing, or only white space.
    #[error("empty; write a quantity such as \"10Gi\"")]
    Empty,
    /// No number in front, or more than one dot, or absurdly long.
    #[error("{0:?} is not a quantity; write a number with a unit, such as \"10Gi\"")]
    Malformed(String),
    /// A suffix that Kubernetes does not know.
    #[error("{0:?} has an unknown unit; use Ki, Mi, Gi, Ti, Pi or Ei (powers of 1024), or k, M, G, T, P or E (powers of 1000)")]
    UnknownUnit(String),
    /// Below zero.
    #[error("{0:?} is negative; write a positive quantity such as \"10Gi\"")]
    Negative(String),
    /// Above 2^63 − 1 bytes.
    #[error("{0:?} is larger than a Kubernetes quantity can be (8Ei)")]
    TooLarge(String),
}

/// No quantity that a person or a program writes is longer; our own fields allow 64.
const MAX_LEN: usize = 256;

/// Parses a Kubernetes quantity into whole bytes, exactly.
///
/// Grammar: `resource.Quantity` of apimachinery: a decimal number, then a binary unit (`Ki` to `Ei`), a
/// decimal unit (`n`, `u`, `m`, none, `k` to `E`), or an exponent (`e3`, `E-3`). A fraction of a byte is
/// rounded up (away from zero), as Kubernetes does. What Kubernetes would silently cap at 2^63 − 1 is an error.
///
/// # Errors
/// [`QuantityError`] names the text and what to write instead.
pub fn parse_quantity(text: &str) -> Result<Bytes, QuantityError> {
    let malformed = || QuantityError::Malformed(text.chars().take(MAX_LEN).collect());
    if text.trim().is_empty() {
        return Err(QuantityError::Empty);
    }
    if text.len() > MAX_LEN {
        return Err(malformed());
    }
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(malformed());
    }
    let unit = Unit::parse(suffix).ok_or_else(|| QuantityError::UnknownUnit(text.to_owned()))?;
    match Decimal::new(whole, fraction, unit.power_of_ten) {
        None => Ok(Bytes::ZERO),
        Some(_) if negative => Err(QuantityError::Negative(text.to_owned())),
        Some(value) => value
            .shifted_up(unit.power_of_two)
            .map(Bytes::new)
            .ok_or_else(|| QuantityError::TooLarge(text.to_owned())),
    }
}

struct Unit {
    power_of_two: u32,
    power_of_ten: i64,
}

impl Unit {
    fn parse(suffix: &str) -> Option<Self> {
        let (power_of_two, power_of_ten) = match suffix {
            "" => (0, 0),
            "Ki" => (10, 0),
            "Mi" => (20, 0),
            "Gi" => (30, 0),
            "Ti" => (40, 0),
            "Pi" => (50, 0),
            "Ei" => (60, 0),
            "n" => (0, -9),
            "u" => (0, -6),
            "m" => (0, -3),
            "k" => (0, 3),
            "M" => (0, 6),
            "G" => (0, 9),
            "T" => (0, 12),
            "P" => (0, 15),
            "E" => (0, 18),
            _ => (0, i64::from_str(suffix.strip_prefix(['e', 'E'])?).ok()?),
        };
        Some(Self {
            power_of_two,
            power_of_ten,
        })
    }
}

/// A positive decimal number: digits, the first of them not zero, of which `point` stand before the point
/// (a negative `point` means so many zeros after it).
struct Decimal {
    digits: Vec<u8>,
    point: i64,
}

/// 10^20 is larger than 2^63: no number with more digits before the point can be a size.
const MAX_POINT: i64 = 20;

impl Decimal {
    /// `whole.fraction × 10^exponent`; none where that is zero.
    fn new(whole: &str, fraction: &str, exponent: i64) -> Option<Self> {
        let all = whole.bytes().chain(fraction.bytes()).map(|digit| digit.wrapping_sub(b'0'));
        let mut point = i64::try_from(whole.len()).ok()?.saturating_add(exponent);
        let mut digits = Vec::with_capacity(whole.len().saturating_add(fraction.len()));
        for digit in all {
            if digit == 0 && digits.is_empty() {
                point = point.saturating_sub(1);
            } else {
                digits.push(digit);
            }
        }
        (!digits.is_empty()).then_some(Self { digits, point })
    }

    /// The number times `2^shift`, rounded up; none where that is above 2^63 − 1. `shift` is at most 60.
    fn shifted_up(self, shift: u32) -> Option<u64> {
        if self.point > MAX_POINT {
            return None;
        }
        if self.point < -MAX_POINT {
            // Below 10^-20, and 2^60 is below 10^19: less than a byte, rounded up.
            return Some(1);
        }
        let before = usize::try_from(self.point.max(0)).ok()?;
        let zeros = usize::try_from(self.point.min(0).saturating_neg()).ok()?;
        let mut digits = self.digits.into_iter();
        let mut value: u128 = 0;
        for digit in digits.by_ref().chain(std::iter::repeat(0)).take(before) {
            value = value.checked_mul(10)?.checked_add(u128::from(digit))?;
        }
        let mut fraction: Vec<u8> = std::iter::repeat_n(0, zeros).chain(digits).collect();
        for _ in 0..shift {
            value = value.checked_mul(2)?.checked_add(u128::from(double(&mut fraction)))?;
        }
        let rest = fraction.iter().any(|digit| *digit != 0);
        let rounded = value.checked_add(u128::from(rest))?;
        u64::try_from(rounded).ok().filter(|bytes| *bytes <= Bytes::MAX.get())
    }
}

/// Doubles the digits after a decimal point and returns what is carried over it.
fn double(fraction: &mut [u8]) -> u8 {
    let mut carry = 0;
    for digit in fraction.iter_mut().rev() {
        let doubled = digit.wrapping_mul(2).wrapping_add(carry);
        carry = doubled / 10;
        *digit = doubled % 10;
    }
    carry
}
