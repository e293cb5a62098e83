//! How fast a volume fills, and when it will be full.
//!
//! The slope is the median of the slopes between all pairs of samples (Theil–Sen): a quarter of the
//! samples may be nonsense, and it still says what the others say, which a least-squares line does not. All of it
//! is exact: slopes are fractions and are compared by cross-multiplication in 128 bits.

use std::cmp::Ordering;

use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::freshness::{DAY, before};

/// How far a forecast looks back for [`Forecast::time_to_full`]. Longer, and a bulk load would be averaged away;
/// shorter, and a checkpoint would look like one.
pub const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// Fewer samples say nothing.
pub const MIN_SAMPLES: usize = 10;
/// A shorter time says nothing.
pub const MIN_SPAN: SignedDuration = SignedDuration::from_mins(5);
/// More samples than this are thinned: 120 make 7140 pairs, and a day of samples would make four million.
pub const MAX_SAMPLES: usize = 120;

/// The used bytes of a member's filesystem at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// How much.
    pub used: Bytes,
}

/// A positive fraction of bytes a second, in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    bytes: i128,
    seconds: i128,
}

impl Rate {
    /// So many bytes in so many seconds; none where that is not growth.
    fn new(bytes: i128, seconds: i128) -> Option<Self> {
        let positive = bytes > 0 && seconds > 0;
        let divisor = greatest_common_divisor(bytes, seconds);
        positive.then_some(Self {
            bytes: bytes.checked_div(divisor)?,
            seconds: seconds.checked_div(divisor)?,
        })
    }

    /// From one sample to a later one; none where that is not growth.
    pub(crate) fn between(from: &Sample, to: &Sample) -> Option<Self> {
        let bytes = to.used.wide().saturating_sub(from.used.wide());
        Self::new(bytes, i128::from(to.at.duration_since(from.at).as_secs()))
    }

    /// Numerator: bytes. At most 2^101.
    #[must_use]
    pub const fn bytes(self) -> i128 {
        self.bytes
    }

    /// Denominator: in so many seconds. At most 2^55.
    #[must_use]
    pub const fn seconds(self) -> i128 {
        self.seconds
    }

    /// Bytes a second, rounded down.
    #[must_use]
    pub fn per_second(self) -> Bytes {
        self.over(SignedDuration::from_secs(1))
    }

    /// How many bytes in that time, rounded down. Parts of a second do not count; a negative time has none.
    #[must_use]
    pub fn over(self, time: SignedDuration) -> Bytes {
        // Where the product does not fit, the quotient is above 2^127 / 2^55, and that is more than any volume.
        let product = self.bytes.saturating_mul(i128::from(time.as_secs()));
        Bytes::saturating_from(product.checked_div(self.seconds).unwrap_or(0))
    }
}

/// How fast a volume fills. There is none for one that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// The growth; positive.
    pub slope: Rate,
    /// From the first of its samples to the present observation.
    pub span: SignedDuration,
    /// How many samples, the present observation included, before they were thinned.
    pub samples: usize,
}

impl Forecast {
    /// What the samples of a member's history and its present observation foretell.
    ///
    /// Of the history those count that are at most `look_back` old (a day at most), taken after (not at) the end
    /// of the last resize and before the present observation; that one is the last sample. From the future, it
    /// counts as taken now. The order of the history does not matter.
    ///
    /// The same figure of the same moment counts once, however often it is in the history. Two figures of one
    /// moment both count, for neither can be told to be the wrong one, but have no slope between them. Times are
    /// taken in whole milliseconds for slopes, so that 128 bits suffice (a kubelet gives whole seconds).
    ///
    /// None where there are too few samples, over too short a time, or where the median does not rise.
    #[must_use]
    pub fn of(
        history: &[Sample],
        present: Sample,
        last_resize: Option<Timestamp>,
        now: Timestamp,
        look_back: SignedDuration,
        scratch: &mut Scratch,
    ) -> Option<Self> {
        let present = Sample {
            at: present.at.min(now),
            ..present
        };
        let oldest = before(now, look_back.clamp(SignedDuration::ZERO, DAY));
        let counts = |at: Timestamp| at >= oldest && last_resize.is_none_or(|end| at > end);
        if !counts(present.at) {
            return None;
        }
        let Scratch { samples, points, slopes } = scratch;
        samples.clear();
        samples.extend(history.iter().filter(|s| s.at < present.at && counts(s.at)));
        // A history is in order as a rule, and then this is one pass over it.
        samples.sort_unstable();
        samples.dedup();
        samples.push(present);
        let count = samples.len();
        let span = present.at.duration_since(samples.first()?.at);
        if count < MIN_SAMPLES || span < MIN_SPAN {
            return None;
        }
        // Every k-th, counted back from the newest.
        let step = count.div_ceil(MAX_SAMPLES);
        points.clear();
        points.extend(samples.iter().rev().step_by(step).map(Point::of));
        slopes.clear();
        let mut newest_first = points.iter();
        while let Some(newer) = newest_first.next() {
            slopes.extend(newest_first.clone().filter_map(|older| Slope::between(older, newer)));
        }
        Some(Self {
            slope: median(slopes)?,
            span,
            samples: count,
        })
    }

    /// How long until so many bytes are used up, in whole seconds, rounded down.
    #[must_use]
    pub fn time_to_full(&self, available: Bytes) -> SignedDuration {
        // 2^63 × 2^55 fits.
        let product = available.wide().saturating_mul(self.slope.seconds);
        let seconds = product.checked_div(self.slope.bytes).unwrap_or(i128::MAX);
        SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    /// How many bytes will be written in that time, rounded down.
    #[must_use]
    pub fn grows_in(&self, time: SignedDuration) -> Bytes {
        self.slope.over(time)
    }
}

/// Memory that forecasts work in; with the same one each time, they allocate nothing. It carries nothing from
/// one to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    samples: Vec<Sample>,
    points: Vec<Point>,
    slopes: Vec<Slope>,
}

/// A sample as arithmetic wants it: milliseconds, and bytes below 2^63.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: i64,
    used: i64,
}

impl Point {
    fn of(sample: &Sample) -> Self {
        Self {
            at: sample.at.as_millisecond(),
            used: sample.used.get().cast_signed(),
        }
    }
}

/// The slope between two samples: bytes in milliseconds. The second is above zero and, as all samples are of one
/// day, below 2^27.
#[derive(Clone, Copy, Debug)]
struct Slope {
    rise: i64,
    run: i64,
}

const MILLIS_PER_SECOND: i128 = 1000;

impl Slope {
    /// None where both are of the same millisecond.
    fn between(older: &Point, newer: &Point) -> Option<Self> {
        let run = newer.at.saturating_sub(older.at);
        let rise = newer.used.saturating_sub(older.used);
        (run > 0).then_some(Self { rise, run })
    }

    /// By steepness: `a/b < c/d` where `a × d < c × b`. 2^63 × 2^27 fits.
    fn compare(&self, other: &Self) -> Ordering {
        let this = i128::from(self.rise).saturating_mul(i128::from(other.run));
        let that = i128::from(other.rise).saturating_mul(i128::from(self.run));
        this.cmp(&that)
    }

    /// The mean of two: `(a × d + c × b) / (2 × b × d)`, and that a thousand times, for seconds: 2^101 and 2^55 fit.
    fn mean(self, other: Self) -> Option<Rate> {
        let [a, b, c, d] = [self.rise, self.run, other.rise, other.run].map(i128::from);
        let sum = a.saturating_mul(d).saturating_add(c.saturating_mul(b));
        let bytes = sum.saturating_mul(MILLIS_PER_SECOND);
        Rate::new(bytes, b.saturating_mul(d).saturating_mul(2))
    }
}

/// The slope in the middle, or the mean of the two there; none where that does not rise.
fn median(slopes: &mut [Slope]) -> Option<Rate> {
    let middle = slopes.len().checked_div(2)?;
    if slopes.is_empty() {
        return None;
    }
    let even = slopes.len().is_multiple_of(2);
    let (below, upper, _) = slopes.select_nth_unstable_by(middle, Slope::compare);
    let lower = if even { below.iter().max_by(|a, b| a.compare(b)) } else { None };
    upper.mean(*lower.unwrap_or(upper))
}

/// Euclid's. Never zero.
fn greatest_common_divisor(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    i128::try_from(a).unwrap_or(1).max(1)
}
