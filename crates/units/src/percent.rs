use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Bytes;

/// A whole percentage, 0 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Percent(u16);

/// A percentage outside 0 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is not a percentage from 0 to 1000")]
pub struct PercentError(pub i64);

impl Percent {
    /// A percentage known at compile time; above 1000 it becomes 1000.
    #[must_use]
    pub const fn of(percent: u16) -> Self {
        Self(if percent > 1000 { 1000 } else { percent })
    }

    /// The whole number of percent.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// This share of `size`, rounded down.
    #[must_use]
    pub fn share_of(self, size: Bytes) -> Bytes {
        size.mul_div(u64::from(self.0), 100)
    }

    /// Whether `used` of a filesystem with `available` left is at least this percentage, exactly. A filesystem
    /// of no size at all reaches nothing.
    #[must_use]
    pub fn reached_by(self, used: Bytes, available: Bytes) -> bool {
        let total = used.wide().saturating_add(available.wide());
        total > 0 && used.wide().saturating_mul(100) >= total.saturating_mul(i128::from(self.0))
    }

    /// Whether `used` of a filesystem with `available` left is more than this percentage, exactly.
    #[must_use]
    pub fn exceeded_by(self, used: Bytes, available: Bytes) -> bool {
        let total = used.wide().saturating_add(available.wide());
        used.wide().saturating_mul(100) > total.saturating_mul(i128::from(self.0))
    }

    /// Percent used, as `df` has it: `used / (used + available)`, rounded down; none for an empty filesystem.
    #[must_use]
    pub fn used(used: Bytes, available: Bytes) -> Option<Self> {
        let total = used.wide().saturating_add(available.wide());
        let percent = used.wide().saturating_mul(100).checked_div(total)?;
        u16::try_from(percent).ok().map(Self)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", self.0))
    }
}

impl TryFrom<i64> for Percent {
    type Error = PercentError;
    fn try_from(value: i64) -> Result<Self, PercentError> {
        u16::try_from(value)
            .ok()
            .filter(|p| *p <= 1000)
            .map(Self)
            .ok_or(PercentError(value))
    }
}

impl From<Percent> for i64 {
    fn from(percent: Percent) -> Self {
        Self::from(percent.0)
    }
}
