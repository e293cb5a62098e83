//! From sizes and times to places, and the round values that stand at the axes.

use jiff::{SignedDuration, Timestamp};

use super::Plot;

/// Bytes from zero to a little more than the most there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Height {
    pub most: f64,
}

const UNITS: [(f64, &str); 5] = [
    (1_125_899_906_842_624.0, "Pi"),
    (1_099_511_627_776.0, "Ti"),
    (1_073_741_824.0, "Gi"),
    (1_048_576.0, "Mi"),
    (1024.0, "Ki"),
];

impl Height {
    pub fn of(plot: &Plot) -> Self {
        let values = plot.lines.iter().flat_map(|l| &l.parts).flatten().map(|(_, most)| *most);
        let most = values.fold(0.0, f64::max);
        Self {
            most: if most > 0.0 { most * 1.05 } else { 1.0 },
        }
    }

    /// Round values, at most so many, each with its text.
    pub fn ticks(self, count: usize) -> Vec<(f64, String)> {
        let (unit, name) = UNITS.into_iter().find(|(unit, _)| self.most >= 2.0 * unit).unwrap_or((1.0, ""));
        let room = self.most / unit;
        let mut step = 1.0;
        for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
            if room / step <= real(count.max(1)) {
                break;
            }
            step *= factor;
        }
        let mut ticks = Vec::new();
        let mut value = 0.0;
        while value <= room && ticks.len() <= count {
            let text = if value == 0.0 {
                "0".to_owned()
            } else {
                format!("{value:.0}{name}")
            };
            ticks.push((value * unit, text));
            value += step;
        }
        ticks
    }
}

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// What people count time in.
const STEPS: [i64; 19] = [
    1,
    5,
    15,
    MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    30 * DAY,
    90 * DAY,
    365 * DAY,
];

/// From when to when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Width {
    from: Timestamp,
    lasts: SignedDuration,
}

impl Width {
    pub fn of(plot: &Plot) -> Self {
        Self {
            from: plot.from,
            lasts: plot.to.duration_since(plot.from),
        }
    }

    /// The share of the time that has passed at a moment, from 0 to 1.
    pub fn share(self, at: Timestamp) -> f64 {
        let lasts = self.lasts.as_secs_f64();
        let passed = at.duration_since(self.from).as_secs_f64();
        if lasts > 0.0 { (passed / lasts).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Round moments in UTC, at most so many, each with its text.
    pub fn ticks(self, count: usize) -> Vec<(Timestamp, String)> {
        let lasts = self.lasts.as_secs();
        let most = i64::try_from(count.max(1)).unwrap_or(1);
        let step = STEPS.into_iter().find(|step| lasts / step <= most).unwrap_or(lasts.max(1));
        let format = match step {
            s if s < MINUTE => "%H:%M:%S",
            s if s < DAY && lasts <= 2 * DAY => "%H:%M",
            s if s < DAY => "%d %Hh",
            _ if lasts <= 300 * DAY => "%b %-d",
            _ => "%Y-%m-%d",
        };
        let first = self.from.as_second().div_euclid(step) * step;
        let moments = (0..).map(|i| first + i * step).skip_while(|s| *s < self.from.as_second());
        let end = self.from.as_second() + lasts;
        let moments = moments.take_while(|s| *s <= end).take(count + 1);
        let at = moments.filter_map(|s| Timestamp::from_second(s).ok());
        at.map(|at| (at, at.strftime(format).to_string())).collect()
    }
}

/// The place of a share (0 to 1) among so many.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0 and count, which is small"
)]
pub(super) fn place(share: f64, count: usize) -> usize {
    let last = count.saturating_sub(1);
    ((share * real(last)).round().max(0.0) as usize).min(last)
}

#[expect(clippy::cast_precision_loss, reason = "columns, rows and parts are few")]
pub(super) fn real(count: usize) -> f64 {
    count as f64
}
