//! Moments and ages for people.

use jiff::{SignedDuration, Timestamp, Unit};

fn both(big: i64, big_name: &str, small: i64, small_name: &str) -> String {
    match small {
        0 => format!("{big}{big_name}"),
        small => format!("{big}{big_name}{small}{small_name}"),
    }
}

/// How long, as kubectl says it: "95s", "5m12s", "72m", "3h12m", "31h", "3d4h", "12d".
#[must_use]
pub fn age(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => both(minutes, "m", seconds % 60, "s"),
        () if hours < 3 => format!("{minutes}m"),
        () if hours < 8 => both(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if days < 8 => both(days, "d", hours % 24, "h"),
        () => format!("{days}d"),
    }
}

/// How long exactly enough to tell two moments of a day apart: "95s", "72m", "8h30m", "3d4h".
pub(super) fn elapsed(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if hours < 2 => both(minutes, "m", seconds % 60, "s"),
        () if hours < 48 => both(hours, "h", minutes % 60, "m"),
        () => both(hours / 24, "d", hours % 24, "h"),
    }
}

/// "12s ago"; a moment in the future, by a clock that differs, is now.
#[must_use]
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    format!("{} ago", age(now.duration_since(then)))
}

/// "in 14h", or "due" once it has come.
pub(super) fn until(then: Timestamp, now: Timestamp) -> String {
    if then <= now {
        "due".to_owned()
    } else {
        format!("in {}", age(then.duration_since(now)))
    }
}

/// RFC 3339 in UTC, to the second.
pub(super) fn moment(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

/// "2026-02-09T03:00:00Z (in 14h)", "… (3d4h ago)".
pub(crate) fn moment_and_age(at: Timestamp, now: Timestamp) -> String {
    let relative = if at > now { until(at, now) } else { ago(at, now) };
    format!("{} ({relative})", moment(at))
}

/// A text that is a moment, with its age; any other as it is.
pub(super) fn with_age(text: &str, now: Timestamp) -> String {
    text.parse::<Timestamp>()
        .map_or_else(|_| text.to_owned(), |at| moment_and_age(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_has_them() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (312, "5m12s"),
            (600, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600 + 720, "3h12m"),
            (8 * 3600 + 59, "8h"),
            (47 * 3600, "47h"),
            (76 * 3600, "3d4h"),
            (30 * 86400, "30d"),
            (-5, "0s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(age(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn moments_of_a_day_can_be_told_apart() {
        let cases = [
            (-1, "0s"),
            (95, "95s"),
            (150, "2m30s"),
            (8 * 3600 + 1800, "8h30m"),
            (76 * 3600, "3d4h"),
            (96 * 3600, "4d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(elapsed(SignedDuration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn moments_are_in_utc_to_the_second() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-02-08T13:00:00.4Z");
        assert_eq!(moment_and_age(at("2026-02-09T03:00:00.123Z"), now), "2026-02-09T03:00:00Z (in 13h)");
        assert_eq!(with_age("2026-02-08T12:00:00Z", now), "2026-02-08T12:00:00Z (60m ago)");
        assert_eq!(with_age("none", now), "none");
        assert_eq!(until(now, now), "due");
    }
}
