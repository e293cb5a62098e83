//! Segments: the files that the WAL is written in, and their names.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use csm_units::Bytes;
use thiserror::Error;

use super::lsn::Lsn;

/// A name has its position in two parts: segments of 4 GiB (`XLogSegmentsPerXLogId`, src/include/access/xlog_internal.h).
const PER_ID: u64 = 1 << 32;

/// A timeline: one line of the WAL's history. A promotion, and the end of a recovery to a point in time, begin a new one.
///
/// Text form: its number, `2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(NonZeroU32);

impl Timeline {
    /// What a cluster begins with.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// None for 0, which no timeline has.
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        match NonZeroU32::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How large the segments of a cluster are (`wal_segment_size`, set by initdb): a power of two, 1 MiB to 1 GiB
/// (`IsValidWalSegSize`, src/include/access/xlog_internal.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSize(NonZeroU64);

/// A size that no segment has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} bytes is no size of WAL segments; wal_segment_size is a power of two from 1 MiB to 1 GiB, 16 MiB by default")]
pub struct SegmentSizeError(u64);

impl SegmentSize {
    /// 16 MiB.
    pub const DEFAULT: Self = match NonZeroU64::new(16 << 20) {
        Some(bytes) => Self(bytes),
        None => panic!("16 MiB is not zero"), // at compile time
    };

    /// Of so many bytes.
    ///
    /// # Errors
    /// It is no power of two, or is below 1 MiB or above 1 GiB.
    pub fn new(bytes: u64) -> Result<Self, SegmentSizeError> {
        let valid = bytes.is_power_of_two() && (Bytes::MIB.get()..=Bytes::GIB.get()).contains(&bytes);
        let bytes = NonZeroU64::new(bytes).filter(|_| valid).ok_or(SegmentSizeError(bytes))?;
        Ok(Self(bytes))
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> Bytes {
        Bytes::new(self.0.get())
    }

    /// The number of the segment that has the byte at this position.
    #[must_use]
    pub fn number_at(self, lsn: Lsn) -> u64 {
        lsn.get() / self.0
    }

    /// Whether a segment begins at this position: all before it is complete, and its own may have no file yet.
    #[must_use]
    pub fn begins_at(self, lsn: Lsn) -> bool {
        lsn.get() % self.0 == 0
    }

    /// How many segments so many bytes are, begun ones counted.
    #[must_use]
    pub fn count(self, bytes: Bytes) -> u64 {
        bytes.get().div_ceil(self.0.get())
    }

    /// The largest number that a segment of this size has.
    fn last_number(self) -> u64 {
        u64::MAX / self.0
    }

    /// How many segments share the upper part of their position.
    fn per_id(self) -> NonZeroU64 {
        NonZeroU64::new(PER_ID / self.0).unwrap_or(NonZeroU64::MIN)
    }
}

/// A segment of the WAL. Ordered by position, and by timeline at one position.
///
/// Text form: its file name, 24 upper-case hexadecimal digits: timeline, and the two parts of its position
/// (`XLogFileName`, src/include/access/xlog_internal.h), `000000010000000000000002`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    number: u64,
    timeline: Timeline,
    size: SegmentSize,
}

/// A name is no segment's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// It is not 24 upper-case hexadecimal digits.
    #[error("{0:?} is no WAL segment; its name is 24 upper-case hexadecimal digits")]
    Name(String),
    /// It has the timeline 0.
    #[error("{0} is of timeline 0, which there is not")]
    Timeline(String),
    /// Its last part is larger than segments of this size have.
    #[error("{name} is no segment of {size}: its last eight digits are {last:X} at most; look at wal_segment_size")]
    Part {
        /// The name.
        name: String,
        /// The size of segments that it was read with.
        size: Bytes,
        /// The largest last part with segments of that size.
        last: u64,
    },
}

impl Segment {
    /// By its number: how many segments of its size come before it. None where no position is so far.
    #[must_use]
    pub fn new(timeline: Timeline, number: u64, size: SegmentSize) -> Option<Self> {
        let exists = number <= size.last_number();
        exists.then_some(Self { number, timeline, size })
    }

    /// The one that has the byte at this position.
    #[must_use]
    pub fn at(lsn: Lsn, timeline: Timeline, size: SegmentSize) -> Self {
        Self {
            number: size.number_at(lsn),
            timeline,
            size,
        }
    }

    /// By the name of its file.
    ///
    /// # Errors
    /// It is no name of a segment of this size.
    pub fn parse(name: &str, size: SegmentSize) -> Result<Self, SegmentError> {
        let part = |range| name.get(range).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let (Some(timeline), Some(id), Some(rest), true) = (part(0..8), part(8..16), part(16..24), is_segment_name(name)) else {
            return Err(SegmentError::Name(name.chars().take(80).collect()));
        };
        let timeline = Timeline::new(timeline).ok_or_else(|| SegmentError::Timeline(name.to_owned()))?;
        let per_id = size.per_id().get();
        // The last number fits into 44 bits.
        let number = u64::from(id).saturating_mul(per_id).saturating_add(u64::from(rest));
        if u64::from(rest) >= per_id {
            return Err(SegmentError::Part {
                name: name.to_owned(),
                size: size.bytes(),
                last: per_id.saturating_sub(1),
            });
        }
        Ok(Self { number, timeline, size })
    }

    /// How many segments come before it, on any timeline.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.number
    }

    /// Its timeline.
    #[must_use]
    pub const fn timeline(self) -> Timeline {
        self.timeline
    }

    /// How large it is.
    #[must_use]
    pub const fn size(self) -> SegmentSize {
        self.size
    }

    /// Where it begins.
    #[must_use]
    pub const fn first_lsn(self) -> Lsn {
        // Exact: no number is so large.
        Lsn::new(self.number.saturating_mul(self.size.0.get()))
    }

    /// The one of the same timeline that so many come before: never further than where it stands.
    pub(super) fn down_to(self, number: u64) -> Self {
        Self {
            number: number.min(self.number),
            ..self
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_id = self.size.per_id();
        f.pad(&format!(
            "{:08X}{:08X}{:08X}",
            self.timeline.get(),
            self.number / per_id,
            self.number % per_id
        ))
    }
}

/// 24 upper-case hexadecimal digits, as `IsXLogFileName` asks (src/include/access/xlog_internal.h).
pub(super) fn is_segment_name(name: &str) -> bool {
    name.len() == 24 && is_hex(name)
}

/// Upper-case hexadecimal digits alone.
pub(super) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
}
