//! Figures over the last minutes, in bounded memory.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::freshness::before;

/// How far back figures count: an archiver that retries, a checkpoint (5 min by default) and a kubelet's samples fit in.
pub(super) const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// Figures closer together than this are one, the newest: with it they are eight at most, and take 128 bytes.
const APART: SignedDuration = SignedDuration::from_secs(100);
/// Over less than this a flow says nothing.
const SHORTEST: SignedDuration = SignedDuration::from_secs(10);

/// How much came, or went, in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    change: i128,
    over: SignedDuration,
}

impl Flow {
    /// So much in so long; none where that is no time.
    #[must_use]
    pub fn new(change: i128, over: SignedDuration) -> Option<Self> {
        (over >= SHORTEST).then_some(Self { change, over })
    }

    /// In bytes, or in files.
    #[must_use]
    pub const fn change(self) -> i128 {
        self.change
    }

    /// In this time.
    #[must_use]
    pub const fn over(self) -> SignedDuration {
        self.over
    }

    /// So many times as much.
    #[must_use]
    pub const fn times(self, factor: i128) -> Self {
        Self {
            change: self.change.saturating_mul(factor),
            ..self
        }
    }

    /// As much in a time as in this one, rounded towards zero.
    #[must_use]
    pub fn within(self, time: SignedDuration) -> i128 {
        let product = self.change.saturating_mul(time.as_millis());
        product.checked_div(self.over.as_millis()).unwrap_or(0)
    }

    /// In a second, rounded towards zero.
    #[must_use]
    pub fn per_second(self) -> i128 {
        self.within(SignedDuration::from_secs(1))
    }

    /// In an hour, rounded towards zero.
    #[must_use]
    pub fn per_hour(self) -> i128 {
        self.within(SignedDuration::from_hours(1))
    }
}

/// A figure, and what it was before: at so many milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub(super) struct Series(VecDeque<(i64, u64)>);

impl Series {
    /// A figure that only rises. One that is smaller was reset: what it was before says nothing any more.
    pub fn count(&mut self, at: Timestamp, value: Option<u64>) {
        if self.0.back().zip(value).is_some_and(|((_, last), value)| value < *last) {
            self.0.clear();
        }
        self.push(at, value);
    }

    /// A figure that rises and falls. One from before the last one is of a clock that was set back: those of the other
    /// time are forgotten.
    pub fn push(&mut self, at: Timestamp, value: Option<u64>) {
        let Some(value) = value else { return };
        let (at, oldest) = (at.as_millisecond(), before(at, WINDOW).as_millisecond());
        if self.0.back().is_some_and(|(last, _)| at < *last) {
            self.0.clear();
        }
        let mut latest = self.0.iter().rev().map(|(at, _)| *at);
        let last_two = latest.next().zip(latest.next());
        if last_two.is_some_and(|(last, earlier)| i128::from(last.saturating_sub(earlier)) < APART.as_millis()) {
            self.0.pop_back();
        }
        self.0.push_back((at, value));
        while self.0.front().is_some_and(|(at, _)| *at < oldest) {
            self.0.pop_front();
        }
    }

    /// The newest figure, and when it was.
    pub fn newest(&self) -> Option<(Timestamp, u64)> {
        let (at, value) = self.0.back()?;
        Some((Timestamp::from_millisecond(*at).ok()?, *value))
    }

    /// The newest figure, where it is no older than the window before `until`.
    pub fn recent(&self, until: Timestamp) -> Option<u64> {
        let (_, value) = self.newest().filter(|(at, _)| *at >= before(until, WINDOW))?;
        Some(value)
    }

    /// From the oldest figure to the newest; none where that is older than the window before `until`.
    pub fn flow(&self, until: Timestamp) -> Option<Flow> {
        self.recent(until)?;
        let ((from, first), (to, last)) = self.0.front().zip(self.0.back())?;
        let change = i128::from(*last).saturating_sub(i128::from(*first));
        Flow::new(change, SignedDuration::from_millis(to.saturating_sub(*from)))
    }
}
