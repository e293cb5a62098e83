//! The samples of a PVC that a forecast is made of.

use std::sync::Arc;

use csm_core::world::{Observation, Sample};
use jiff::{SignedDuration, Timestamp};

use crate::compact::Series;

/// How far back a forecast looks.
const HOUR: SignedDuration = SignedDuration::from_mins(60);
/// How far back one looks that is to last until the next maintenance window.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// What is older than an hour is kept at this distance: 120 samples in 24 hours are all that a forecast takes.
const APART: SignedDuration = SignedDuration::from_mins(10);

/// How much is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// The last hour.
    Hour,
    /// The last hour, and the last day thinly.
    Day,
    /// A day if it was a day, else an hour.
    AsBefore,
}

/// The last hour in full; the last day thinly, for volumes whose growth waits for windows.
#[derive(Debug, Default)]
pub(super) struct History {
    hour: Series,
    day: Option<Box<Series>>,
}

impl History {
    /// Adds figures, and drops what is older than `span`.
    pub fn push(&mut self, figures: &Observation, span: Span) {
        let sample = Sample {
            at: figures.at,
            used: figures.used,
        };
        let ago = |time| sample.at.saturating_sub(time).unwrap_or(Timestamp::MIN);
        self.hour.push(sample);
        self.hour.drop_before(ago(HOUR));
        let day = match (span, &mut self.day) {
            (Span::Hour, day) => {
                *day = None;
                return;
            }
            (Span::AsBefore, None) => return,
            (Span::AsBefore, Some(day)) => day,
            (Span::Day, day) => day.get_or_insert_default(),
        };
        if day.newest_at().is_none_or(|newest| newest <= ago(APART)) {
            day.push(sample);
        }
        day.drop_before(ago(DAY));
    }

    /// All samples, oldest first: each once.
    pub fn samples(&self) -> Arc<[Sample]> {
        let first = self.hour.iter().next().map(|sample| sample.at);
        let older = self.day.iter().flat_map(|day| day.iter()).filter(|sample| Some(sample.at) < first);
        older.chain(self.hour.iter()).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test
mod tests {
    use csm_units::Bytes;

    use super::*;

    #[test]
    fn an_hour_in_full_and_a_day_thinly() {
        let mut history = History::default();
        let start = Timestamp::from_second(1_772_000_000).unwrap();
        for minute in 0..3000_u64 {
            let figures = Observation {
                used: Bytes::mib(minute),
                available: Bytes::gib(10),
                capacity: Bytes::gib(13),
                inodes: None,
                at: start + SignedDuration::from_mins(i64::try_from(minute).unwrap()),
            };
            history.push(&figures, Span::Day);
            // Figures that a kubelet gives twice count once.
            history.push(&figures, Span::Day);
        }
        let samples = history.samples();
        let age = |minutes: i64| start + SignedDuration::from_mins(2999 - minutes);
        assert!(samples.is_sorted_by(|a, b| a.at < b.at));
        assert_eq!(samples.iter().filter(|s| s.at >= age(60)).count(), 61);
        assert_eq!(samples.iter().filter(|s| s.at < age(60)).count(), 138);
        assert!(samples.iter().all(|s| s.at >= age(24 * 60)));
        let later = |minutes: i64| Observation {
            used: Bytes::ZERO,
            available: Bytes::ZERO,
            capacity: Bytes::ZERO,
            inodes: None,
            at: age(-minutes),
        };
        history.push(&later(1), Span::AsBefore);
        assert!(history.samples().len() > 190);
        history.push(&later(2), Span::Hour);
        assert_eq!(history.samples().len(), 61);
        history.push(&later(3), Span::AsBefore);
        assert_eq!(history.samples().len(), 61);
    }
}
