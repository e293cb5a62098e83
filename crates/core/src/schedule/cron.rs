use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::bits::Bits;
use super::field::{Field, FieldProblem, Values};
use super::{clock, quoted};

/// A cron schedule: five fields (minute, hour, day of month, month, day of week), or six with seconds in front.
///
/// Lists, ranges, steps (`*/5`, `0-30/10`, `5/10`), names of months and days in any case, 7 for Sunday, `?` for
/// `*`. Where both fields for days are restricted, either one suffices. The dialect of CNPG's ScheduledBackup
/// and of Kubernetes' CronJob (github.com/robfig/cron), without its nicknames.
///
/// Equal where the fields are, however they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    seconds: Bits,
    minutes: Bits,
    hours: Bits,
    days: Bits,
    months: Bits,
    weekdays: Bits,
    /// Both fields for days are restricted.
    either_day: bool,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Nothing, or only white space.
    #[error("empty; write a cron schedule such as \"0 3 * * *\"")]
    Empty,
    /// `@daily` and the like.
    #[error("{text:?}: nicknames are not supported; write five fields, such as {instead:?}")]
    Nickname {
        /// What was written.
        text: String,
        /// The same in five fields, or an example.
        instead: &'static str,
    },
    /// `TZ=…` or `CRON_TZ=…` in front.
    #[error("{0:?}: a time zone does not belong here but into its own field; write the schedule alone, such as \"0 3 * * *\"")]
    TimeZone(String),
    /// Too few or too many fields.
    #[error(
        "{text:?} has {count} fields; write 5 (minute, hour, day of month, month, day of week) or 6 (with seconds in front), such as \"0 3 * * *\""
    )]
    FieldCount {
        /// What was written.
        text: String,
        /// How many fields.
        count: usize,
    },
    /// Something in one field.
    #[error("{field} {item:?} {problem}; for example {:?}", .field.example())]
    Field {
        /// Which one.
        field: Field,
        /// What was written there.
        item: String,
        /// What is wrong with it.
        problem: FieldProblem,
    },
}

/// Nicknames, and what they stand for.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// How many months are looked through for a day that matches. The longest wait is for 29 February, where a
/// century has no leap year: 8 years (1896 to 1904).
const MONTHS_AHEAD: u32 = 8 * 12 + 1;

const DAYS: u64 = 0xffff_fffe;
const MONTHS: u64 = 0x1ffe;
const WEEKDAYS: u64 = 0x7f;

impl Schedule {
    /// `0 3 * * *`: at three o'clock, every night.
    pub const NIGHTLY: Self = Self {
        seconds: Bits::of(1),
        minutes: Bits::of(1),
        hours: Bits::of(1 << 3),
        days: Bits::of(DAYS),
        months: Bits::of(MONTHS),
        weekdays: Bits::of(WEEKDAYS),
        either_day: false,
    };

    /// Whether it ever fires: `0 0 30 2 *` does not.
    #[must_use]
    pub fn fires(&self) -> bool {
        let longest = |month| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let mut months = (1..=12).filter(|&m| self.months.contains(m));
        self.either_day || months.any(|m| self.days.at_or_before(longest(m)).is_some())
    }

    /// The first firing after (not at) a moment, in a time zone. None where it never fires again before the end
    /// of time (year 9999).
    #[must_use]
    pub fn next_firing(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let shown = clock::latest_shown(after, zone);
        let next = shown.checked_add(SignedDuration::from_secs(1)).ok()?;
        clock::first_shown(self.at_or_after(next)?, zone)
    }

    /// The last firing before or at a moment, in a time zone. None where it never fired since the beginning of
    /// time.
    #[must_use]
    pub fn last_firing(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        clock::first_shown(self.at_or_before(clock::latest_shown(at, zone))?, zone)
    }

    /// The first local time that matches, not before the given one; fractions of a second do not count.
    fn at_or_after(&self, local: DateTime) -> Option<DateTime> {
        let (date, time) = (local.date(), local.time());
        if self.matches_day(date)
            && let Some(time) = self.time_at_or_after(time)
        {
            return Some(date.to_datetime(time));
        }
        let time = self.time_at_or_after(Time::midnight())?;
        Some(self.day_at_or_after(date.tomorrow().ok()?)?.to_datetime(time))
    }

    /// The last local time that matches, not after the given one; fractions of a second do not count.
    fn at_or_before(&self, local: DateTime) -> Option<DateTime> {
        let (date, time) = (local.date(), local.time());
        if self.matches_day(date)
            && let Some(time) = self.time_at_or_before(time)
        {
            return Some(date.to_datetime(time));
        }
        let time = self.time_at_or_before(Time::MAX)?;
        Some(self.day_at_or_before(date.yesterday().ok()?)?.to_datetime(time))
    }

    fn time_at_or_after(&self, time: Time) -> Option<Time> {
        let (hour, minute, second) = parts(time);
        if self.hours.contains(hour) {
            if self.minutes.contains(minute)
                && let Some(second) = self.seconds.at_or_after(second)
            {
                return time_of(hour, minute, second);
            }
            if let Some(minute) = self.minutes.at_or_after(minute.saturating_add(1)) {
                return time_of(hour, minute, self.seconds.at_or_after(0)?);
            }
        }
        let hour = self.hours.at_or_after(hour.saturating_add(1))?;
        time_of(hour, self.minutes.at_or_after(0)?, self.seconds.at_or_after(0)?)
    }

    fn time_at_or_before(&self, time: Time) -> Option<Time> {
        let (hour, minute, second) = parts(time);
        if self.hours.contains(hour) {
            if self.minutes.contains(minute)
                && let Some(second) = self.seconds.at_or_before(second)
            {
                return time_of(hour, minute, second);
            }
            if let Some(minute) = minute.checked_sub(1).and_then(|m| self.minutes.at_or_before(m)) {
                return time_of(hour, minute, self.seconds.at_or_before(59)?);
            }
        }
        let hour = self.hours.at_or_before(hour.checked_sub(1)?)?;
        time_of(hour, self.minutes.at_or_before(59)?, self.seconds.at_or_before(59)?)
    }

    fn day_at_or_after(&self, date: Date) -> Option<Date> {
        let mut from = date;
        for _ in 0..=MONTHS_AHEAD {
            if let Some(day) = self.days_in_month(from).at_or_after(small(from.day())) {
                return day_of(from, day);
            }
            from = from.last_of_month().tomorrow().ok()?;
        }
        None
    }

    fn day_at_or_before(&self, date: Date) -> Option<Date> {
        let mut from = date;
        for _ in 0..=MONTHS_AHEAD {
            if let Some(day) = self.days_in_month(from).at_or_before(small(from.day())) {
                return day_of(from, day);
            }
            from = from.first_of_month().yesterday().ok()?;
        }
        None
    }

    fn matches_day(&self, date: Date) -> bool {
        self.days_in_month(date).contains(small(date.day()))
    }

    /// The days that match in the month of a date.
    fn days_in_month(&self, date: Date) -> Bits {
        if !self.months.contains(small(date.month())) {
            return Bits::default();
        }
        let first = date.first_of_month().weekday().to_sunday_zero_offset();
        let weekdays = self.weekdays.weekdays_in_month(small(first));
        let days = if self.either_day {
            self.days.union(weekdays)
        } else {
            self.days.intersection(weekdays)
        };
        days.intersection(Bits::range(1, small(date.days_in_month()), 1))
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ScheduleError::Empty);
        }
        if text.starts_with('@') {
            let meant = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            return Err(ScheduleError::Nickname {
                text: quoted(text),
                instead: meant.map_or("0 3 * * *", |(_, schedule)| schedule),
            });
        }
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            return Err(ScheduleError::TimeZone(quoted(text)));
        }
        let mut fields = text.split_whitespace();
        let count = fields.clone().count();
        if !(5..=6).contains(&count) {
            return Err(ScheduleError::FieldCount { text: quoted(text), count });
        }
        let mut parse = |field: Field| -> Result<Values, ScheduleError> {
            let text = fields.next().unwrap_or_default();
            let wrong = |(item, problem)| ScheduleError::Field { field, item, problem };
            field.parse(text).map_err(wrong)
        };
        let seconds = if count == 6 { parse(Field::Second)?.bits } else { Bits::of(1) };
        let minutes = parse(Field::Minute)?.bits;
        let hours = parse(Field::Hour)?.bits;
        let days = parse(Field::DayOfMonth)?;
        let months = parse(Field::Month)?.bits;
        let weekdays = parse(Field::DayOfWeek)?;
        Ok(Self {
            seconds,
            minutes,
            hours,
            days: days.bits,
            months,
            weekdays: weekdays.bits,
            either_day: days.restricted && weekdays.restricted,
        })
    }
}

/// A part of a date or a time; none is negative.
fn small(part: i8) -> u8 {
    part.unsigned_abs()
}

fn parts(time: Time) -> (u8, u8, u8) {
    (small(time.hour()), small(time.minute()), small(time.second()))
}

fn time_of(hour: u8, minute: u8, second: u8) -> Option<Time> {
    let part = |n: u8| i8::try_from(n).ok();
    Time::new(part(hour)?, part(minute)?, part(second)?, 0).ok()
}

/// The day of that number in the month of a date.
fn day_of(date: Date, day: u8) -> Option<Date> {
    Date::new(date.year(), date.month(), i8::try_from(day).ok()?).ok()
}
