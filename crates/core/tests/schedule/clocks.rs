//! Clocks that are put forward and back.

use rstest::rstest;

use crate::*;

/// The zone, the schedule, a moment, and the firings that follow.
#[rstest]
// Berlin, 29 March 2026: from 02:00 to 03:00 at 01:00 UTC. 25 October 2026: from 03:00 to 02:00 at 01:00 UTC.
#[case::skipped("Europe/Berlin", "30 2 * * *", "2026-03-28T00:00:00Z", &["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"])]
#[case::start_of_the_gap("Europe/Berlin", "0 2 * * *", "2026-03-29T00:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"])]
#[case::end_of_the_gap("Europe/Berlin", "0 3 * * *", "2026-03-29T00:00:00Z", &["2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"])]
#[case::several_in_the_gap_are_one("Europe/Berlin", "*/20 1-3 * * *", "2026-03-29T00:10:00Z", &["2026-03-29T00:20:00Z", "2026-03-29T00:40:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:20:00Z"])]
#[case::repeated("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"])]
#[case::asked_while_repeated("Europe/Berlin", "30 2 * * *", "2026-10-25T01:10:00Z", &["2026-10-26T01:30:00Z"])]
#[case::every_ten_minutes_only_the_first_time("Europe/Berlin", "*/10 * * * *", "2026-10-25T00:45:00Z", &["2026-10-25T00:50:00Z", "2026-10-25T02:00:00Z", "2026-10-25T02:10:00Z"])]
#[case::every_ten_minutes_asked_while_repeated("Europe/Berlin", "*/10 * * * *", "2026-10-25T01:00:00Z", &["2026-10-25T02:00:00Z"])]
#[case::end_of_the_repetition("Europe/Berlin", "0 3 * * *", "2026-10-25T00:00:00Z", &["2026-10-25T02:00:00Z"])]
#[case::last_second_before_the_repetition("Europe/Berlin", "59 59 2 * * *", "2026-10-25T00:00:00Z", &["2026-10-25T00:59:59Z", "2026-10-26T01:59:59Z"])]
// New York, 8 March 2026: from 02:00 to 03:00 at 07:00 UTC. 1 November 2026: from 02:00 to 01:00 at 06:00 UTC.
#[case::skipped_in_new_york("America/New_York", "15 2 * * sun", "2026-03-07T00:00:00Z", &["2026-03-08T07:00:00Z", "2026-03-15T06:15:00Z"])]
#[case::repeated_in_new_york("America/New_York", "0 1 * * *", "2026-11-01T00:00:00Z", &["2026-11-01T05:00:00Z", "2026-11-02T06:00:00Z"])]
#[case::hourly_in_new_york("America/New_York", "0 * * * *", "2026-11-01T04:30:00Z", &["2026-11-01T05:00:00Z", "2026-11-01T07:00:00Z"])]
// Lord Howe, half an hour. 4 October 2026: from 02:00 to 02:30 at 15:30 UTC the day before. 5 April 2026: from 02:00 to 01:30 at 15:00 UTC the day before.
#[case::skipped_half_hour("Australia/Lord_Howe", "10 2 * * *", "2026-10-03T00:00:00Z", &["2026-10-03T15:30:00Z", "2026-10-04T15:10:00Z"])]
#[case::after_the_half_hour("Australia/Lord_Howe", "40 2 * * *", "2026-10-03T00:00:00Z", &["2026-10-03T15:40:00Z"])]
#[case::before_the_half_hour_again("Australia/Lord_Howe", "20 1 * * *", "2026-04-04T12:00:00Z", &["2026-04-04T14:20:00Z", "2026-04-05T14:50:00Z"])]
#[case::repeated_half_hour("Australia/Lord_Howe", "40 1 * * *", "2026-04-04T12:00:00Z", &["2026-04-04T14:40:00Z", "2026-04-05T15:10:00Z"])]
// Kolkata has a half-hour offset and no summer time: the days on which others change are days like others.
#[case::no_summer_time("Asia/Kolkata", "30 2 * * *", "2026-03-28T00:00:00Z", &["2026-03-28T21:00:00Z", "2026-03-29T21:00:00Z", "2026-03-30T21:00:00Z"])]
#[case::half_an_hour_off("Asia/Kolkata", "0 0 * * *", "2026-10-24T12:00:00Z", &["2026-10-24T18:30:00Z", "2026-10-25T18:30:00Z"])]
// Apia went over the date line: after 29 December 2011 came the 31st, at 10:00 UTC.
#[case::skipped_day("Pacific/Apia", "0 12 30 12 *", "2011-01-01T00:00:00Z", &["2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"])]
#[case::around_the_skipped_day("Pacific/Apia", "0 12 * * *", "2011-12-29T00:00:00Z", &["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"])]
#[case::a_weekday_that_was_skipped("Pacific/Apia", "0 12 * * fri", "2011-12-25T00:00:00Z", &["2011-12-30T10:00:00Z", "2012-01-05T22:00:00Z"])]
// Midnight does not exist in Cairo on 24 April 2026: from 00:00 to 01:00 at 22:00 UTC the day before.
#[case::no_midnight("Africa/Cairo", "0 0 24 4 *", "2026-04-01T00:00:00Z", &["2026-04-23T22:00:00Z"])]
fn fires(#[case] name: &str, #[case] text: &str, #[case] after: &str, #[case] expected: &[&str]) {
    let (schedule, zone) = (schedule(text), zone(name));
    assert_eq!(firings(&schedule, &zone, after, expected.len()), expected);
    // The same, looked at backwards: at each firing and until just before the next.
    for pair in expected.windows(2) {
        let (this, next) = (at(pair[0]), at(pair[1]));
        assert_eq!(schedule.last_firing(this, &zone), Some(this));
        let just_before = next - jiff::SignedDuration::from_nanos(1);
        assert_eq!(schedule.last_firing(just_before, &zone), Some(this), "before {next}");
        assert_eq!(schedule.next_firing(just_before, &zone), Some(next), "before {next}");
    }
}

#[test]
fn a_window_lasts_its_elapsed_time() {
    // Opens at 01:30, before the clock is put forward, and lasts two hours: until 04:30 by the clock.
    let forward = window("30 1 * * *", "2h", "Europe/Berlin");
    assert_eq!(forward.open(at("2026-03-29T00:30:00Z")), Some(at("2026-03-29T02:30:00Z")));
    // Until 02:30 by the clock, the second time.
    let back = window("30 1 * * *", "2h", "Europe/Berlin");
    assert_eq!(back.open(at("2026-10-25T01:29:59.999Z")), Some(at("2026-10-25T01:30:00Z")));
    assert_eq!(back.open(at("2026-10-25T01:30:00Z")), None);
    // A skipped opening is at the end of the gap.
    let skipped = window("30 2 * * *", "1h", "Europe/Berlin");
    assert_eq!(skipped.open(at("2026-03-29T00:59:59Z")), None);
    assert_eq!(skipped.open(at("2026-03-29T01:00:00Z")), Some(at("2026-03-29T02:00:00Z")));
    // A repeated one is not repeated.
    assert!(skipped.is_open(at("2026-10-25T00:30:00Z")));
    assert!(!skipped.is_open(at("2026-10-25T01:30:00Z")));
}
