use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use crate::*;

#[rstest]
#[case::before("2026-03-02T02:59:59.999999999Z", None, "2026-03-02T03:00:00Z")]
#[case::the_start_is_in("2026-03-02T03:00:00Z", Some("2026-03-02T05:00:00Z"), "2026-03-02T03:00:00Z")]
#[case::inside("2026-03-02T03:30:00Z", Some("2026-03-02T05:00:00Z"), "2026-03-02T03:30:00Z")]
#[case::just_inside("2026-03-02T04:59:59.999999999Z", Some("2026-03-02T05:00:00Z"), "2026-03-02T04:59:59.999999999Z")]
#[case::the_end_is_out("2026-03-02T05:00:00Z", None, "2026-03-03T03:00:00Z")]
#[case::noon("2026-03-01T12:00:00Z", None, "2026-03-02T03:00:00Z")]
fn nightly(#[case] now: &str, #[case] until: Option<&str>, #[case] next: &str) {
    let nightly = Window::default();
    assert_eq!(nightly.open(at(now)), until.map(at));
    assert_eq!(nightly.is_open(at(now)), until.is_some());
    assert_eq!(nightly.next_open(at(now)), Some(at(next)));
}

#[test]
fn the_next_firing_is_never_the_present_one() {
    let nightly = Window::default();
    assert_eq!(nightly.next_firing(at("2026-03-02T03:00:00Z")), Some(at("2026-03-03T03:00:00Z")));
    assert_eq!(
        nightly.next_firing(at("2026-03-02T02:59:59.999Z")),
        Some(at("2026-03-02T03:00:00Z"))
    );
    assert_eq!(
        nightly.next_firing(at("2026-03-02T03:00:00.001Z")),
        Some(at("2026-03-03T03:00:00Z"))
    );
}

#[test]
fn openings_that_touch_are_one() {
    // From 22:00 to 04:00, an hour each, then nothing until 22:00.
    let hourly = window("0 22-23,0-3 * * *", "1h", "UTC");
    assert_eq!(hourly.open(at("2026-03-01T22:30:00Z")), Some(at("2026-03-02T04:00:00Z")));
    assert_eq!(hourly.open(at("2026-03-02T04:00:00Z")), None);
    assert_eq!(hourly.next_open(at("2026-03-02T04:00:00Z")), Some(at("2026-03-02T22:00:00Z")));
    // A second less, and each is on its own.
    let shorter = window("0 22-23,0-3 * * *", "59m59s", "UTC");
    assert_eq!(shorter.open(at("2026-03-01T22:30:00Z")), Some(at("2026-03-01T22:59:59Z")));
    // Overlapping ones, across a weekend.
    let weekend = window("0 */6 * * sat,sun", "10h", "UTC");
    assert_eq!(weekend.open(at("2026-03-07T05:00:00Z")), Some(at("2026-03-09T04:00:00Z")));
}

#[test]
fn a_duration_longer_than_the_distance_never_closes() {
    for (schedule, duration) in [
        ("0 3 * * *", "24h"),
        ("0 3 * * *", "8784h"),
        ("* * * * *", "1m"),
        ("* * * * * *", "2h"),
    ] {
        let always = window(schedule, duration, "UTC");
        let now = at("2026-10-25T01:10:30Z");
        let until = always.open(now).unwrap_or_else(|| panic!("{schedule} {duration}"));
        assert!(until > now, "{schedule} {duration}");
        // What is answered is at least so far ahead, and it is open then as well, and so on.
        assert!(
            until.duration_since(now) >= always.duration().get() * 31,
            "{schedule} {duration}: {until}"
        );
        assert!(always.is_open(until));
        assert_eq!(always.next_open(now), Some(now));
    }
    // A day has 25 hours once a year.
    let day = window("0 3 * * *", "24h", "Europe/Berlin");
    assert_eq!(day.open(at("2026-10-24T12:00:00Z")), Some(at("2026-10-25T01:00:00Z")));
    assert_eq!(day.next_open(at("2026-10-25T01:10:30Z")), Some(at("2026-10-25T02:00:00Z")));
    // Every minute but in the hour that is shown again.
    let not_repeated = window("* * * * *", "5m", "Europe/Berlin");
    assert_eq!(not_repeated.open(at("2026-10-25T00:40:00Z")), Some(at("2026-10-25T01:04:00Z")));
    assert_eq!(not_repeated.next_open(at("2026-10-25T01:04:00Z")), Some(at("2026-10-25T02:00:00Z")));
}

#[test]
fn rare_schedules_are_found() {
    let leap = window("0 0 29 2 *", "1h", "UTC");
    assert_eq!(leap.next_firing(at("2024-02-29T00:00:00Z")), Some(at("2028-02-29T00:00:00Z")));
    // 2100 is no leap year, 2000 was one.
    assert_eq!(leap.next_firing(at("2096-02-29T00:00:00Z")), Some(at("2104-02-29T00:00:00Z")));
    assert_eq!(leap.next_firing(at("1896-02-29T23:59:59Z")), Some(at("1904-02-29T00:00:00Z")));
    assert_eq!(
        leap.schedule().last_firing(at("2104-02-28T00:00:00Z"), &zone("UTC")),
        Some(at("2096-02-29T00:00:00Z"))
    );
    assert_eq!(leap.next_firing(at("1996-03-01T00:00:00Z")), Some(at("2000-02-29T00:00:00Z")));
}

#[test]
fn what_never_fires_never_opens() {
    let never = window("0 0 30 2 *", "8784h", "America/New_York");
    let now = at("2026-03-01T00:00:00Z");
    assert_eq!(never.open(now), None);
    assert!(!never.is_open(now));
    assert_eq!(never.next_firing(now), None);
    assert_eq!(never.next_open(now), None);
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    let second = SignedDuration::from_secs(1);
    for name in ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Etc/GMT+12"] {
        for text in [
            "* * * * * *",
            "0 3 * * *",
            "59 59 23 31 12 *",
            "0 0 29 2 *",
            "0 0 30 2 *",
            "0 0 1 1 *",
        ] {
            for duration in ["1s", "2h", "8784h"] {
                let window = window(text, duration, name);
                for now in [Timestamp::MIN, Timestamp::MIN + second, Timestamp::MAX - second, Timestamp::MAX] {
                    let next = window.next_firing(now);
                    assert!(next.is_none_or(|next| next > now));
                    assert!(window.open(now).is_none_or(|end| end > now || now == Timestamp::MAX));
                    assert!(window.next_open(now).is_none_or(|open| open >= now));
                }
            }
        }
    }
    assert_eq!(window("* * * * * *", "1s", "UTC").next_firing(Timestamp::MAX), None);
    assert_eq!(window("0 3 * * *", "1s", "UTC").open(Timestamp::MIN), None);
}

/// A policy's window is kept for each of ten thousand clusters and looked at for each decision.
#[test]
fn a_window_is_small() {
    assert!(size_of::<Window>() <= 80, "{}", size_of::<Window>());
}
