use std::fmt;

use thiserror::Error;

use super::bits::Bits;
use super::quoted;

/// A field of a cron schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// 0 to 59; only where there are six fields.
    Second,
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    DayOfMonth,
    /// 1 to 12, or jan to dec.
    Month,
    /// 0 to 7, or sun to sat; 0 and 7 are Sunday.
    DayOfWeek,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What is wrong in a field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldProblem {
    /// Neither a number nor a name.
    #[error("is neither *, a number nor a range; write {values}")]
    Malformed {
        /// What may stand there.
        values: &'static str,
    },
    /// A number that the field cannot have.
    #[error("is out of range; write {values}")]
    OutOfRange {
        /// What may stand there.
        values: &'static str,
    },
    /// A range whose end is before its start.
    #[error("runs backwards; write {0:?}")]
    Backwards(
        /// The same, written as a list.
        String,
    ),
    /// A step that is no positive number.
    #[error("has a step that is no positive number; write \"*/5\" for every fifth")]
    Step,
    /// Nothing between two commas.
    #[error("has nothing before or after a comma")]
    EmptyItem,
    /// `L`, `W` or `#`.
    #[error("uses L, W or #, which are not supported; list the days")]
    Extension,
}

/// The values of a field, and whether it restricts anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Values {
    pub bits: Bits,
    /// No item is a plain `*` or `?`. A step restricts, and so does a range even where it names all values: as
    /// in Kubernetes' CronJob.
    pub restricted: bool,
}

impl Field {
    /// What the field may hold, in words.
    const fn values(self) -> &'static str {
        match self {
            Self::Second | Self::Minute => "0 to 59",
            Self::Hour => "0 to 23",
            Self::DayOfMonth => "1 to 31",
            Self::Month => "1 to 12 or jan to dec",
            Self::DayOfWeek => "0 to 7 or sun to sat",
        }
    }

    /// A schedule that uses the field.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Second => "30 0 3 * * *",
            Self::Minute => "30 3 * * *",
            Self::Hour => "0 3,15 * * *",
            Self::DayOfMonth => "0 3 1,15 * *",
            Self::Month => "0 3 1 jan,jul *",
            Self::DayOfWeek => "0 3 * * sat,sun",
        }
    }

    /// The first value, the last one, and the last one that may be written.
    const fn bounds(self) -> (u8, u8, u8) {
        match self {
            Self::Second | Self::Minute => (0, 59, 59),
            Self::Hour => (0, 23, 23),
            Self::DayOfMonth => (1, 31, 31),
            Self::Month => (1, 12, 12),
            Self::DayOfWeek => (0, 6, 7),
        }
    }

    /// The names of its values, the first value's first.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &MONTHS,
            Self::DayOfWeek => &WEEKDAYS,
            Self::Second | Self::Minute | Self::Hour | Self::DayOfMonth => &[],
        }
    }

    /// Parses the field's text: a list of items.
    pub(super) fn parse(self, text: &str) -> Result<Values, (String, FieldProblem)> {
        let mut values = Values {
            bits: Bits::default(),
            restricted: true,
        };
        for item in text.split(',') {
            if item.is_empty() {
                return Err((quoted(text), FieldProblem::EmptyItem));
            }
            let parsed = self.item(item).map_err(|problem| (quoted(item), problem))?;
            values.bits = values.bits.union(parsed.bits);
            values.restricted &= parsed.restricted;
        }
        if self == Self::DayOfWeek && values.bits.contains(7) {
            values.bits = values.bits.with(0).intersection(Bits::range(0, 6, 1));
        }
        Ok(values)
    }

    /// `*`, `?`, `N`, `N-M`, each with or without `/STEP`; `N/STEP` goes on to the field's end.
    fn item(self, item: &str) -> Result<Values, FieldProblem> {
        let (min, max, _) = self.bounds();
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(number(step).filter(|&n| n > 0).ok_or(FieldProblem::Step)?)),
            None => (item, None),
        };
        let every = step.unwrap_or(1);
        if matches!(range, "*" | "?") {
            return Ok(Values {
                bits: Bits::range(min, max, every),
                restricted: every > 1,
            });
        }
        let (first, last) = match (range.split_once('-'), step) {
            (Some((first, last)), _) => (self.value(first)?, self.range_end(first, last)?),
            (None, Some(_)) => (self.value(range)?, self.value(range)?.max(max)),
            (None, None) => (self.value(range)?, self.value(range)?),
        };
        if first > last {
            return Err(self.backwards(first, last, step));
        }
        Ok(Values {
            bits: Bits::range(first, last, every),
            restricted: true,
        })
    }

    /// The end of a range. A week may end with `sun`, as in `fri-sun`.
    fn range_end(self, first: &str, last: &str) -> Result<u8, FieldProblem> {
        let sunday = self == Self::DayOfWeek && last.eq_ignore_ascii_case("sun") && self.value(first)? > 0;
        if sunday { Ok(7) } else { self.value(last) }
    }

    fn value(self, text: &str) -> Result<u8, FieldProblem> {
        let (min, _, max) = self.bounds();
        let values = self.values();
        if let Some(named) = self.named(text) {
            return Ok(named);
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(if self.is_extension(text) {
                FieldProblem::Extension
            } else {
                FieldProblem::Malformed { values }
            });
        }
        number(text)
            .filter(|n| (min..=max).contains(n))
            .ok_or(FieldProblem::OutOfRange { values })
    }

    fn named(self, text: &str) -> Option<u8> {
        let (min, ..) = self.bounds();
        let place = self.names().iter().position(|name| name.eq_ignore_ascii_case(text))?;
        u8::try_from(place).ok()?.checked_add(min)
    }

    /// `L`, `LW`, `15W`, `5L`, `friL`, `fri#2`: what other cron dialects have in the fields for days.
    fn is_extension(self, text: &str) -> bool {
        if !matches!(self, Self::DayOfMonth | Self::DayOfWeek) {
            return false;
        }
        let letters = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let last_of = text.strip_suffix(['L', 'l']).is_some_and(|day| self.named(day).is_some());
        text.contains('#') || last_of || ["L", "W", "LW"].iter().any(|e| e.eq_ignore_ascii_case(letters))
    }

    /// A range over the field's end, and how to write it.
    fn backwards(self, first: u8, last: u8, step: Option<u8>) -> FieldProblem {
        let (min, max, _) = self.bounds();
        let bits = match step {
            None => return FieldProblem::Backwards(format!("{first}-{max},{min}-{last}")),
            Some(step) => Bits::range(first, max.saturating_add(last).saturating_sub(min).saturating_add(1), step),
        };
        let wrap = |n: u8| {
            if n > max {
                n.saturating_sub(max).saturating_sub(1).saturating_add(min)
            } else {
                n
            }
        };
        let list: Vec<String> = (0..64).filter(|&n| bits.contains(n)).map(|n| wrap(n).to_string()).collect();
        FieldProblem::Backwards(list.join(","))
    }
}

/// Digits, and nothing else. What does not fit is larger than any value.
fn number(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u8::MAX))
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
        })
    }
}
