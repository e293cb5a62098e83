//! The samples that a forecast is made of, as the manager keeps them: the last hour in full, the last day thinly.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::forecast::{HOUR, Sample};
use crate::freshness::{DAY, before};

/// What is older than an hour is kept at this distance: 120 samples are all that a forecast takes.
const APART: SignedDuration = SignedDuration::from_mins(10);
/// No manager looks more often; so much bounds what is kept of a very fine trace.
const LEAST: SignedDuration = SignedDuration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct History {
    hour: VecDeque<Sample>,
    day: VecDeque<Sample>,
}

impl History {
    /// Adds a sample, the newest. `windowed`: a day is wanted.
    pub fn push(&mut self, sample: Sample, windowed: bool) {
        push(&mut self.hour, sample, LEAST, HOUR);
        if windowed {
            push(&mut self.day, sample, APART, DAY);
        }
    }

    /// All of them, the oldest first.
    pub fn samples(&self) -> Arc<[Sample]> {
        let first = self.hour.front().map_or(Timestamp::MAX, |sample| sample.at);
        let older = self.day.iter().filter(|sample| sample.at < first);
        older.chain(&self.hour).copied().collect()
    }
}

fn push(kept: &mut VecDeque<Sample>, sample: Sample, apart: SignedDuration, most: SignedDuration) {
    if kept.back().is_none_or(|newest| newest.at <= before(sample.at, apart)) {
        kept.push_back(sample);
    }
    let oldest = before(sample.at, most);
    while kept.front().is_some_and(|first| first.at < oldest) {
        kept.pop_front();
    }
}
