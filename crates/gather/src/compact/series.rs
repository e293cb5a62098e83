use csm_core::world::Sample;
use csm_units::Bytes;
use jiff::Timestamp;

/// Samples of one PVC in the order of their times, in about four bytes each.
///
/// A sample is the difference to the one before it: seconds, and bytes in blocks of 4 KiB where both are whole blocks, as
/// filesystems count them. Times are in whole seconds, as a kubelet gives them.
#[derive(Debug, Default)]
pub struct Series {
    /// Of the oldest sample; all others follow from it.
    oldest: Option<Point>,
    newest: Option<Point>,
    deltas: Vec<u8>,
    /// Where the delta of the second sample begins: what stands before belonged to samples that were dropped.
    start: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: i64,
    used: u64,
}

/// Filesystems count their space in these.
const BLOCK: u64 = 4096;
/// Bytes that may lie unused, before and behind: an hour of samples takes about 250, and doubling would waste as many.
const SLACK: usize = 32;
/// Bytes of a sample that is larger than most.
const LARGE: usize = 8;

impl Series {
    /// Adds a sample. One that is not newer than the newest is none.
    pub fn push(&mut self, sample: Sample) {
        let point = Point {
            at: sample.at.as_second(),
            used: sample.used.get(),
        };
        let Some(newest) = self.newest else {
            self.oldest = Some(point);
            self.newest = Some(point);
            return;
        };
        let Ok(seconds @ 1..) = u64::try_from(point.at.saturating_sub(newest.at)) else {
            return;
        };
        let difference = i128::from(point.used) - i128::from(newest.used);
        let whole = difference % i128::from(BLOCK) == 0;
        let difference = if whole { difference / i128::from(BLOCK) } else { difference };
        // The lowest bit tells the unit, the next one the sign.
        let magnitude = difference.unsigned_abs() << 2 | u128::from(difference < 0) << 1 | u128::from(!whole);
        if self.deltas.capacity().saturating_sub(self.deltas.len()) < LARGE {
            self.deltas.reserve_exact(SLACK);
        }
        put(&mut self.deltas, u128::from(seconds));
        put(&mut self.deltas, magnitude);
        self.newest = Some(point);
    }

    /// Drops what is older than that.
    pub fn drop_before(&mut self, oldest: Timestamp) {
        let oldest = oldest.as_second();
        while let Some(point) = self.oldest.filter(|point| point.at < oldest) {
            match next(point, &self.deltas, self.start) {
                Some((following, end)) => (self.oldest, self.start) = (Some(following), end),
                None => *self = Self::default(),
            }
        }
        if self.start > SLACK {
            self.deltas.drain(..self.start);
            self.deltas.shrink_to(self.deltas.len() + SLACK);
            self.start = 0;
        }
    }

    /// All samples, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Sample> + '_ {
        let mut at = self.start;
        let following = move |point: &Point| {
            let (point, end) = next(*point, &self.deltas, at)?;
            at = end;
            Some(point)
        };
        std::iter::successors(self.oldest, following).filter_map(|point| {
            Some(Sample {
                at: Timestamp::from_second(point.at).ok()?,
                used: Bytes::new(point.used),
            })
        })
    }

    /// The newest sample's time.
    pub fn newest_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.newest?.at).ok()
    }
}

/// The point whose delta begins at `start`, and where that ends.
fn next(point: Point, deltas: &[u8], start: usize) -> Option<(Point, usize)> {
    let (seconds, start) = take(deltas, start)?;
    let (magnitude, end) = take(deltas, start)?;
    let unit = if magnitude & 1 == 0 { i128::from(BLOCK) } else { 1 };
    let difference = i128::try_from(magnitude >> 2).ok()?.checked_mul(unit)?;
    let difference = if magnitude & 2 == 0 { difference } else { -difference };
    let point = Point {
        at: point.at.checked_add(i64::try_from(seconds).ok()?)?,
        used: u64::try_from(i128::from(point.used).checked_add(difference)?).ok()?,
    };
    Some((point, end))
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn put(bytes: &mut Vec<u8>, mut number: u128) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take(bytes: &[u8], start: usize) -> Option<(u128, usize)> {
    let mut number = 0;
    for (i, byte) in bytes.get(start..)?.iter().enumerate() {
        number |= u128::from(byte & 0x7f).checked_shl(u32::try_from(i).ok()?.checked_mul(7)?)?;
        if byte & 0x80 == 0 {
            return Some((number, start + i + 1));
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn sample(at: i64, used: u64) -> Sample {
        Sample {
            at: Timestamp::from_second(at).unwrap(),
            used: Bytes::new(used),
        }
    }

    #[test]
    fn it_is_what_was_put_in() {
        // A simple generator: the same numbers each time.
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut series, mut expected) = (Series::default(), VecDeque::new());
        let (mut at, mut used) = (1_772_000_000_i64, 0_u64);
        for _ in 0..20_000 {
            at += i64::try_from(random(90)).unwrap() - 5;
            used = match random(6) {
                0 => random(1 << 62),
                1 => used,
                2 => used.saturating_sub(random(1 << 20)),
                3 => u64::MAX - random(3),
                _ => used.saturating_add(random(1 << 16) * BLOCK),
            };
            if expected.back().is_none_or(|s: &Sample| s.at.as_second() < at) {
                expected.push_back(sample(at, used));
            }
            series.push(sample(at, used));
            if random(10) == 0 {
                let oldest = Timestamp::from_second(at - 3600).unwrap();
                series.drop_before(oldest);
                while expected.front().is_some_and(|s| s.at < oldest) {
                    expected.pop_front();
                }
            }
            if random(50) == 0 {
                assert!(series.iter().eq(expected.iter().copied()));
                assert_eq!(series.newest_at(), expected.back().map(|s| s.at));
            }
        }
    }

    #[test]
    fn an_hour_of_a_busy_volume_is_small() {
        let mut series = Series::default();
        let minutes = 24 * 60;
        for minute in 0..minutes {
            // 16 MiB a minute: one WAL segment.
            series.push(sample(minute * 60, u64::try_from(minute).unwrap() << 24));
            series.drop_before(Timestamp::from_second((minute - 60) * 60).unwrap());
        }
        assert_eq!(series.iter().count(), 61);
        let (bytes, room) = (series.deltas.len() - series.start, series.deltas.capacity());
        assert!(bytes <= 61 * 4 && room <= bytes + 2 * SLACK, "{bytes} bytes in {room}");
    }

    #[test]
    fn nothing_is_nothing() {
        let mut series = Series::default();
        series.drop_before(Timestamp::MAX);
        assert_eq!((series.iter().count(), series.newest_at()), (0, None));
        series.push(sample(10, 1));
        series.push(sample(10, 2));
        series.push(sample(9, 3));
        assert_eq!(series.iter().collect::<Vec<_>>(), [sample(10, 1)]);
        series.drop_before(Timestamp::from_second(11).unwrap());
        assert_eq!(series.iter().count(), 0);
    }
}
