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

/// The last hour in full; the last day thinly, for volumes whose growth waits for windows.
#[derive(Debug, Default)]
pub(super) struct History {
    hour: Series,
    day: Option<Box<Series>>,
}

impl History {
    /// Adds figures; `windowed`: the day is wanted.
    pub fn push(&mut self, figures: &Observation, windowed: bool) {
        let sample = Sample {
            at: figures.at,
            used: figures.used,
        };
        let ago = |time| sample.at.saturating_sub(time).unwrap_or(Timestamp::MIN);
        self.hour.push(sample);
        self.hour.drop_before(ago(HOUR));
        if !windowed {
            self.day = None;
            return;
        }
        let day = self.day.get_or_insert_default();
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
            history.push(&figures, true);
            // Figures that a kubelet gives twice count once.
            history.push(&figures, true);
        }
        let samples = history.samples();
        let age = |minutes: i64| start + SignedDuration::from_mins(2999 - minutes);
        assert!(samples.is_sorted_by(|a, b| a.at < b.at));
        assert_eq!(samples.iter().filter(|s| s.at >= age(60)).count(), 61);
        assert_eq!(samples.iter().filter(|s| s.at < age(60)).count(), 138);
        assert!(samples.iter().all(|s| s.at >= age(24 * 60)));
        history.push(
            &Observation {
                used: Bytes::ZERO,
                available: Bytes::ZERO,
                capacity: Bytes::ZERO,
                inodes: None,
                at: age(-1),
            },
            false,
        );
        assert_eq!(history.samples().len(), 61);
    }
}
