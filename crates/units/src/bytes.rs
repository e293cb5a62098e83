use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::quantity::{QuantityError, parse_quantity};

/// A size in whole bytes, 0 to 2^63 − 1 (what Kubernetes' `resource.Quantity` can hold).
///
/// Text form: the shortest exact binary quantity (`15Gi`, `1536Mi`, `1500`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);
    /// The largest size that a Kubernetes quantity can hold, 2^63 − 1.
    pub const MAX: Self = Self(i64::MAX as u64);
    /// One MiB.
    pub const MIB: Self = Self(1 << 20);
    /// One GiB.
    pub const GIB: Self = Self(1 << 30);

    /// From a number of bytes; larger than [`Bytes::MAX`] becomes that.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        if bytes > Self::MAX.0 { Self::MAX } else { Self(bytes) }
    }

    /// From a 128-bit intermediate result: negative becomes zero, too large becomes [`Bytes::MAX`].
    #[must_use]
    pub fn saturating_from(value: i128) -> Self {
        Self::new(u64::try_from(value.max(0)).unwrap_or(u64::MAX))
    }

    /// So many MiB.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self::new(n.saturating_mul(Self::MIB.0))
    }

    /// So many GiB.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self::new(n.saturating_mul(Self::GIB.0))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes, for 128-bit arithmetic.
    #[must_use]
    pub fn wide(self) -> i128 {
        i128::from(self.0)
    }

    /// Whether it is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Sum, at most [`Bytes::MAX`].
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::new(self.0.saturating_add(other.0))
    }

    /// Difference, at least zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self × numerator / denominator` in 128 bits, rounded down; a zero denominator gives zero.
    #[must_use]
    pub fn mul_div(self, numerator: u64, denominator: u64) -> Self {
        let product = u128::from(self.0).saturating_mul(u128::from(numerator));
        let quotient = product.checked_div(u128::from(denominator)).unwrap_or(0);
        Self::new(u64::try_from(quotient).unwrap_or(u64::MAX))
    }

    /// The step in which a volume of this size is sized: 1 MiB below 10 GiB, 1 GiB from there on.
    ///
    /// Storage drivers round to whole GiB; a delta below that costs a provider's modification for nothing.
    #[must_use]
    pub const fn unit(self) -> Self {
        if self.0 < 10 * Self::GIB.0 { Self::MIB } else { Self::GIB }
    }

    /// Rounded up to a multiple of its own [`unit`](Self::unit); a multiple stays.
    #[must_use]
    pub fn round_up(self) -> Self {
        let unit = self.unit().0;
        Self::new(self.0.div_ceil(unit).saturating_mul(unit))
    }

    /// Rounded down to a multiple of its own [`unit`](Self::unit); a multiple stays.
    #[must_use]
    pub fn round_down(self) -> Self {
        let unit = self.unit().0;
        Self(self.0.saturating_sub(self.0.checked_rem(unit).unwrap_or(0)))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 6] = [(60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
        if self.0 != 0 {
            for (shift, suffix) in UNITS {
                if self.0.trailing_zeros() >= shift {
                    return f.pad(&format!("{}{suffix}", self.0 >> shift));
                }
            }
        }
        f.pad(&self.0.to_string())
    }
}

impl FromStr for Bytes {
    type Err = QuantityError;

    /// Parses a Kubernetes quantity; a fraction of a byte is rounded up, as Kubernetes does.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_quantity(text)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as \"10Gi\", or a number of bytes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Bytes, E> {
                Ok(Bytes::new(bytes))
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Bytes, E> {
                u64::try_from(bytes)
                    .map(Bytes::new)
                    .map_err(|_| E::custom("a size cannot be negative"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
