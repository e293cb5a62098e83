//! What a simulation came to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use csm_api::{Model, Reason, Urgency};
use csm_units::{Bytes, Percent};
use jiff::{SignedDuration, Timestamp};

use crate::world::VolumeKey;

/// What became of one volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The volume.
    pub volume: VolumeKey,
    /// How it is sized, where its settings could be resolved.
    pub model: Option<Model>,
    /// There were samples of it.
    pub seen: bool,
    /// How many PVCs it has.
    pub members: usize,
    /// The largest PVC in the beginning.
    pub size_before: Bytes,
    /// The largest PVC in the end.
    pub size_after: Bytes,
    /// How many growths and catch-ups there were, by urgency.
    pub actions: BTreeMap<Urgency, u64>,
    /// The first of them.
    pub log: Vec<Action>,
    /// How often an instance went down because the volume was full, while none was.
    pub outages: u64,
    /// How long at least one instance was down because the volume was full.
    pub outage: SignedDuration,
    /// When the first outage began.
    pub first_outage: Option<Timestamp>,
    /// How long the planner held the volume, by the reason.
    pub held: BTreeMap<Reason, SignedDuration>,
    /// The most bytes used of one instance, as far as they fitted.
    pub peak: Bytes,
    /// The highest percentage used of one instance, rounded down.
    pub peak_use: Option<Percent>,
    /// Used bytes over the size of filesystems, both over time, of the instances that there are samples of.
    pub average_use: Option<PerMille>,
    /// The sizes of all PVCs over time: tenths of GiB-hours, rounded down.
    pub gib_hours_tenths: u64,
    /// Its course, in equal parts of the time.
    pub course: Course,
}

impl Outcome {
    /// How many growths and catch-ups there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.actions.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// A growth or a catch-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// When it was decided.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// How pressing it was.
    pub urgency: Urgency,
    /// Effective size before.
    pub from: Bytes,
    /// To which size.
    pub to: Bytes,
    /// Percent used of the fullest instance, where figures were fresh.
    pub percent_used: Option<Percent>,
    /// The gates that it passed although they held what was wanted.
    pub passed: Vec<Reason>,
    /// The instances whose PVCs were patched, in that order.
    pub instances: Vec<Arc<str>>,
}

/// Tenths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PerMille(pub u16);

impl fmt::Display for PerMille {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, tenth) = (self.0.checked_div(10).unwrap_or(0), self.0.checked_rem(10).unwrap_or(0));
        f.pad(&format!("{whole}.{tenth}%"))
    }
}

/// What a volume was like over time, in equal parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// When the first part begins.
    pub from: Timestamp,
    /// When the last part ends.
    pub to: Timestamp,
    /// The parts; none of those before the first sample.
    pub parts: Vec<Option<Span>>,
}

/// A part of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The least that the fullest instance used.
    pub least: Bytes,
    /// The most.
    pub most: Bytes,
    /// What it used in the end.
    pub last: Bytes,
    /// The largest PVC, in the end.
    pub size: Bytes,
    /// An instance was down because the volume was full.
    pub down: bool,
}

/// A course that is being recorded.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    from: Timestamp,
    to: Timestamp,
    parts: Vec<Option<Span>>,
}

impl Recorder {
    pub fn new(from: Timestamp, to: Timestamp, parts: usize) -> Self {
        Self {
            from,
            to,
            parts: vec![None; parts.max(1)],
        }
    }

    /// The state of the volume at a moment.
    pub fn record(&mut self, at: Timestamp, used: Bytes, size: Bytes, down: bool) {
        let place = self.place(at);
        let Some(part) = self.parts.get_mut(place) else { return };
        let before = part.unwrap_or(Span {
            least: used,
            most: used,
            last: used,
            size,
            down,
        });
        *part = Some(Span {
            least: before.least.min(used),
            most: before.most.max(used),
            last: used,
            size,
            down: before.down || down,
        });
    }

    /// The part that a moment falls into.
    fn place(&self, at: Timestamp) -> usize {
        let millis = |until: Timestamp| until.as_millisecond().saturating_sub(self.from.as_millisecond()).max(0);
        let count = i128::try_from(self.parts.len()).unwrap_or(1);
        let place = i128::from(millis(at))
            .saturating_mul(count)
            .checked_div(i128::from(millis(self.to)));
        let last = self.parts.len().saturating_sub(1);
        place.and_then(|place| usize::try_from(place).ok()).unwrap_or(0).min(last)
    }

    /// Where nothing happened, all stays as it was.
    pub fn into_course(mut self) -> Course {
        let mut before: Option<Span> = None;
        for part in &mut self.parts {
            if let (None, Some(span)) = (&part, before) {
                *part = Some(Span {
                    least: span.last,
                    most: span.last,
                    ..span
                });
            }
            before = *part;
        }
        Course {
            from: self.from,
            to: self.to,
            parts: self.parts,
        }
    }
}
