//! Positions in the WAL.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A position in the WAL: so many bytes from its beginning (PostgreSQL documentation, pg_lsn type).
///
/// Text form: the upper and the lower 32 bits in hexadecimal, `16/B374D848`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

/// A text is no position in the WAL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no WAL position; it is written as two hexadecimal numbers of up to 8 digits, such as \"16/B374D848\"")]
pub struct LsnError(String);

impl Lsn {
    /// The position after so many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many bytes from the beginning.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(position) = *self;
        f.pad(&format!("{:X}/{:X}", position >> 32, position & u64::from(u32::MAX)))
    }
}

impl FromStr for Lsn {
    type Err = LsnError;

    /// As the server reads it (`pg_lsn_in_internal`, src/backend/utils/adt/pg_lsn.c): one to eight digits on each side, in
    /// either case, and nothing else.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let half = |digits: &str| {
            let well_formed = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            well_formed.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let halves = text.split_once('/').and_then(|(high, low)| Some((half(high)?, half(low)?)));
        let (high, low) = halves.ok_or_else(|| LsnError(text.chars().take(40).collect()))?;
        Ok(Self((high << 32) | low))
    }
}
