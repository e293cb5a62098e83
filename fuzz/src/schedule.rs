//! Maintenance windows: firings lie where they are looked for, match the schedule, and none is passed over.

use csm_core::schedule::{Duration, Schedule, Window, time_zone};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Looked at between a moment and the next firing.
const BETWEEN: i64 = 64;

/// A schedule, the moment in seconds, a time zone and a duration, a line each.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (cron, moment, zone, duration) = (line(), line(), line(), line());
    if let Ok(duration) = duration.parse::<Duration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration), "printed as {duration}");
    }
    let Ok(schedule) = cron.parse::<Schedule>() else { return };
    let now = moment.trim().parse().ok().and_then(|s| Timestamp::from_second(s).ok());
    let now = now.unwrap_or(Timestamp::UNIX_EPOCH);

    in_any_zone(&schedule, now, &time_zone(zone).unwrap_or(TimeZone::UTC));
    let next = in_any_zone(&schedule, now, &TimeZone::UTC);
    in_utc(cron, now, next);
    if let Ok(window) = Window::parse(Some(cron), Some(duration), Some(zone)) {
        open(&window, now);
    }
}

fn in_any_zone(schedule: &Schedule, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let next = schedule.next_firing(now, zone);
    if let Some(next) = next {
        assert!(schedule.fires() && next > now, "{next} is not after {now}");
        assert_eq!(schedule.last_firing(next, zone), Some(next), "{next} is no firing, looking back");
        // From anywhere before it, the same one is the next.
        let before = next - SignedDuration::from_nanos(1);
        assert_eq!(schedule.next_firing(before.max(now), zone), Some(next));
    }
    if let Some(last) = schedule.last_firing(now, zone) {
        assert!(schedule.fires() && last <= now, "{last} is after {now}");
        if let Ok(before) = last.checked_sub(SignedDuration::from_nanos(1)) {
            assert_eq!(schedule.next_firing(before, zone), Some(last), "{last} is no firing, looking ahead");
        }
    }
    next
}

/// By another reading of the schedule's text.
fn in_utc(cron: &str, now: Timestamp, next: Option<Timestamp>) {
    if let Some(next) = next {
        assert!(matches(cron, next), "{next} does not match {cron:?}");
        let length = next.as_second() - now.as_second();
        for i in 1..BETWEEN {
            let between = now.as_second() + length * i / BETWEEN;
            let Ok(between) = Timestamp::from_second(between) else { continue };
            if between > now && between < next {
                assert!(!matches(cron, between), "{between} matches {cron:?}, and {next} is the next one");
            }
        }
    }
}

/// Whether a schedule that parses fires at a moment, UTC.
fn matches(cron: &str, at: Timestamp) -> bool {
    let at = at.to_zoned(TimeZone::UTC);
    let mut fields: Vec<&str> = cron.split_whitespace().collect();
    if fields.len() == 5 {
        fields.insert(0, "0");
    }
    let [second, minute, hour, day, month, weekday] = fields.as_slice() else {
        panic!("{cron:?} has {} fields", fields.len())
    };
    let every_value = |item: &str| {
        let (values, step) = item.split_once('/').unwrap_or((item, "1"));
        matches!(values, "*" | "?") && step.parse() == Ok(1)
    };
    let unrestricted = |field: &str| field.split(',').any(every_value);
    let in_month = field(day, at.day(), 1, 31, &[]);
    let sunday = at.weekday().to_sunday_zero_offset();
    let in_week = field(weekday, sunday, 0, 7, &WEEKDAYS) || (sunday == 0 && field(weekday, 7, 0, 7, &WEEKDAYS));
    let on_day = if unrestricted(day) || unrestricted(weekday) {
        in_month && in_week
    } else {
        in_month || in_week
    };
    on_day
        && field(second, at.second(), 0, 59, &[])
        && field(minute, at.minute(), 0, 59, &[])
        && field(hour, at.hour(), 0, 23, &[])
        && field(month, at.month(), 1, 12, &MONTHS)
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

fn field(text: &str, value: i8, min: i8, max: i8, names: &[&str]) -> bool {
    let number = |text: &str| -> i64 {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        named.map_or_else(
            // A step may be larger than any number: then the first value is the only one.
            || text.parse().unwrap_or(i64::MAX),
            |n| i64::try_from(n).unwrap_or_default() + i64::from(min),
        )
    };
    text.split(',').any(|item| {
        let (range, step) = item
            .split_once('/')
            .map_or((item, None), |(range, step)| (range, Some(number(step))));
        // 7 is another name for Sunday, and no day after Saturday: a star, and a step without an end, stop before it.
        let last = i64::from(if max == 7 { 6 } else { max });
        let (low, high) = match (range, range.split_once('-')) {
            ("*" | "?", _) => (i64::from(min), last),
            (_, Some((low, high))) => (number(low), number(high)),
            (one, None) if step.is_some() => (number(one), last.max(number(one))),
            (one, None) => (number(one), number(one)),
        };
        let value = i64::from(value);
        low <= value && value <= high && (value - low) % step.unwrap_or(1) == 0
    })
}

fn open(window: &Window, now: Timestamp) {
    let until = window.open(now);
    assert_eq!(until.is_some(), window.is_open(now));
    let next = window.next_open(now);
    match until {
        Some(until) => {
            assert!(
                until > now || until == Timestamp::MAX,
                "open until {until}, which is not after {now}"
            );
            assert_eq!(next, Some(now));
        }
        None => assert!(next.is_none_or(|next| next > now && window.is_open(next)), "{next:?} is no opening"),
    }
}
