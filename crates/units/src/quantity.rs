use std::str::FromStr;

use thiserror::Error;

use crate::Bytes;

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Nothing, or only white space.
    #[error("empty; write a quantity such as \"10Gi\"")]
    Empty,
    /// No number in front, or more than one dot.
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

/// The largest number of digits that can matter: 2^63 has 19; a fraction of more than 27 digits
/// cannot change the byte that it rounds to for any unit that fits.
const MAX_DIGITS: usize = 27;

/// Parses a Kubernetes quantity into whole bytes, exactly.
///
/// Grammar: `resource.Quantity` of apimachinery: a decimal number, then a binary unit (`Ki` to `Ei`), a
/// decimal unit (`n`, `u`, `m`, none, `k` to `E`), or an exponent (`e3`, `E3`). A fraction of a byte is
/// rounded up (away from zero), as Kubernetes does.
///
/// # Errors
/// [`QuantityError`] names the text and what to write instead.
pub fn parse_quantity(text: &str) -> Result<Bytes, QuantityError> {
    let malformed = || QuantityError::Malformed(text.to_owned());
    if text.trim().is_empty() {
        return Err(QuantityError::Empty);
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
    let (binary_shift, decimal_exponent) = unit(suffix).ok_or_else(|| QuantityError::UnknownUnit(text.to_owned()))?;

    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() && fraction.is_empty() {
        return Ok(Bytes::ZERO);
    }
    if negative {
        return Err(QuantityError::Negative(text.to_owned()));
    }
    let too_large = || QuantityError::TooLarge(text.to_owned());
    if whole.len() > MAX_DIGITS {
        return Err(too_large());
    }
    // What lies beyond the digits that matter only says "a little more": rounding up takes care of it.
    let (kept, rest) = fraction.split_at_checked(fraction.len().min(MAX_DIGITS)).unwrap_or((fraction, ""));
    let digits = Digits {
        whole,
        fraction: kept,
        inexact: !rest.is_empty(),
    };
    digits.scaled(binary_shift, decimal_exponent).map(Bytes::new).ok_or_else(too_large)
}

/// A unit as (power of two, power of ten).
fn unit(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
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
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            (0, i32::from_str(exponent).ok().filter(|e| e.abs() <= 30)?)
        }
    })
}

struct Digits<'a> {
    whole: &'a str,
    fraction: &'a str,
    inexact: bool,
}

impl Digits<'_> {
    /// The value times `2^shift × 10^exponent`, rounded up; none where it does not fit 2^63 − 1.
    fn scaled(&self, shift: u32, exponent: i32) -> Option<u64> {
        let exponent = exponent.checked_sub(i32::try_from(self.fraction.len()).ok()?)?;
        // All digits as limbs of 10^9, so that a long fraction stays exact.
        let mut value = Big::default();
        for digit in self.whole.bytes().chain(self.fraction.bytes()) {
            value.mul_add(10, u32::from(digit.wrapping_sub(b'0')));
        }
        value.shl(shift);
        let mut inexact = self.inexact;
        for _ in 0..exponent.max(0) {
            value.mul_add(10, 0);
        }
        for _ in 0..exponent.min(0).unsigned_abs() {
            inexact |= value.div10() != 0;
        }
        let rounded = value.to_u128()?.checked_add(u128::from(inexact))?;
        u64::try_from(rounded).ok().filter(|v| *v <= Bytes::MAX.get())
    }
}

/// Just enough of a big integer for one multiplication chain: little-endian limbs of 32 bits.
#[derive(Default)]
struct Big(Vec<u32>);

impl Big {
    fn mul_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            let wide = u64::from(*limb).wrapping_mul(u64::from(factor)).wrapping_add(carry);
            *limb = (wide & u64::from(u32::MAX)) as u32;
            carry = wide >> 32;
        }
        if carry != 0 {
            self.0.push((carry & u64::from(u32::MAX)) as u32);
        }
    }

    fn shl(&mut self, bits: u32) {
        for _ in 0..bits {
            self.mul_add(2, 0);
        }
    }

    /// Divides by ten, returns the remainder.
    fn div10(&mut self) -> u32 {
        let mut remainder = 0u64;
        for limb in self.0.iter_mut().rev() {
            let wide = (remainder << 32) | u64::from(*limb);
            *limb = ((wide / 10) & u64::from(u32::MAX)) as u32;
            remainder = wide % 10;
        }
        (remainder & u64::from(u32::MAX)) as u32
    }

    fn to_u128(&self) -> Option<u128> {
        let mut value = 0u128;
        for limb in self.0.iter().rev() {
            value = value.checked_mul(1 << 32)?.checked_add(u128::from(*limb))?;
        }
        Some(value)
    }
}
