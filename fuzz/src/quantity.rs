//! Quantities: what is printed is read again as the same size; and a size is the text's exact value, rounded up.

use csm_units::{Bytes, QuantityError, parse_quantity};

/// More digits, or larger exponents, leave 128 bits.
const EXACT: usize = 18;

/// Each line is a quantity.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut known: Vec<(Exact, Result<Bytes, QuantityError>)> = Vec::new();
    for line in text.split('\n') {
        let parsed = parse_quantity(line);
        match &parsed {
            Ok(size) => {
                assert!(*size <= Bytes::MAX, "{line:?} is larger than a quantity can be");
                assert_eq!(size.to_string().parse(), Ok(*size), "{line:?} is printed as {size}");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        let Some(exact) = Exact::of(line) else { continue };
        let rounded = exact.numerator.div_ceil(exact.denominator);
        match &parsed {
            Ok(size) => assert_eq!(u128::from(size.get()), rounded, "{line:?}"),
            Err(QuantityError::TooLarge(_)) => assert!(rounded > u128::from(Bytes::MAX.get()), "{line:?} is refused as too large"),
            Err(error) => panic!("{line:?} is a quantity, and refused: {error}"),
        }
        known.push((exact, parsed));
    }
    for (a, size_a) in &known {
        for (b, size_b) in &known {
            if let (Ok(size_a), Ok(size_b)) = (size_a, size_b)
                && size_a < size_b
            {
                assert!(a.is_below(b), "{size_a} is below {size_b}, and the texts are not");
            }
        }
    }
}

/// `numerator / denominator`, as the grammar of `resource.Quantity` says it: found in another way than the parser's.
struct Exact {
    numerator: u128,
    denominator: u128,
}

impl Exact {
    /// Of a text that is a positive quantity of few digits; none for all others.
    fn of(text: &str) -> Option<Self> {
        let text = text.strip_prefix('+').unwrap_or(text);
        let number = text.trim_end_matches(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, power, base) = match (text.get(number.len()..)?, number.split_once(['e', 'E'])) {
            ("", Some((number, exponent))) => (number, exponent.parse::<i32>().ok()?, 10_u128),
            (unit, None) => {
                let decimal = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"].iter().position(|u| *u == unit);
                let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].iter().position(|u| *u == unit);
                match (decimal, binary) {
                    (Some(n), _) => (number, i32::try_from(n).ok()? * 3 - 9, 10),
                    (_, Some(n)) => (number, i32::try_from(n).ok()? * 10 + 10, 2),
                    (None, None) => return None,
                }
            }
            (_, Some(_)) => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits: String = [whole, fraction].concat();
        if digits.len() > EXACT || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = digits.parse::<u128>().ok()?;
        let fraction = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        let factor = base.checked_pow(power.unsigned_abs()).filter(|f| *f <= 1 << 60)?;
        Some(if power < 0 {
            Self {
                numerator: digits,
                denominator: fraction.checked_mul(factor)?,
            }
        } else {
            Self {
                numerator: digits * factor,
                denominator: fraction,
            }
        })
    }

    /// Compares products only where they fit; where they do not, nothing is claimed.
    fn is_below(&self, other: &Self) -> bool {
        let sides = (
            self.numerator.checked_mul(other.denominator),
            other.numerator.checked_mul(self.denominator),
        );
        !matches!(sides, (Some(a), Some(b)) if a >= b)
    }
}
