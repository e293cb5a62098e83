use csm_core::schedule::{Schedule, ScheduleError, TimeZoneError, Window, WindowError, time_zone};
use rstest::rstest;

use crate::*;

#[rstest]
#[case::seconds_are_zero("0 3 * * *", "0 0 3 * * *")]
#[case::seconds("*/20 0 3 * * *", "0,20,40 0 3 * * *")]
#[case::step("*/15 * * * *", "0,15,30,45 * * * *")]
#[case::step_of_days_starts_at_one("0 0 */10 * *", "0 0 1,11,21,31 * *")]
#[case::step_of_months_starts_at_one("0 0 1 */5 *", "0 0 1 1,6,11 *")]
#[case::step_in_a_range("0-30/10 * * * *", "0,10,20,30 * * * *")]
#[case::step_without_an_end("50/4 * * * *", "50,54,58 * * * *")]
#[case::step_beyond_the_field("*/90 * * * *", "0 * * * *")]
#[case::list_of_all_kinds("1,5-7,40-50/5,58/1 * * * *", "1,5,6,7,40,45,50,58,59 * * * *")]
#[case::overlaps("1-5,3-8,4 * * * *", "1-8 * * * *")]
#[case::one_value_as_a_range("5-5 * * * *", "5 * * * *")]
#[case::leading_zeros("00 03 01 01 *", "0 3 1 1 *")]
#[case::white_space(" \t0  3\t* * *\n", "0 3 * * *")]
#[case::question_marks("0 3 ? * ?", "0 3 * * *")]
#[case::question_mark_anywhere("? ? * ? ?", "* * * * *")]
#[case::question_mark_with_a_step("?/15 * * * *", "*/15 * * * *")]
#[case::months("0 0 1 JAN,mar-May,dec *", "0 0 1 1,3-5,12 *")]
#[case::days("0 0 * * Mon-FRI", "0 0 * * 1-5")]
#[case::seven_is_sunday("0 0 * * 7", "0 0 * * 0")]
#[case::seven_in_a_range("0 0 * * 5-7", "0 0 * * 0,5,6")]
#[case::seven_with_a_step("0 0 * * 7/2", "0 0 * * 0")]
#[case::step_over_the_week("0 0 * * 1/3", "0 0 * * 1,4")]
#[case::the_week_may_end_with_sunday("0 0 * * fri-sun", "0 0 * * 5-7")]
#[case::the_week_may_start_with_sunday("0 0 * * sun-tue", "0 0 * * 0-2")]
#[case::only_sunday("0 0 * * sun-sun", "0 0 * * sun")]
#[case::a_step_of_one_is_none("0 0 */1 * mon", "0 0 * * mon")]
#[case::a_star_in_a_list_is_a_star("0 0 5,* * mon", "0 0 * * mon")]
fn is_the_same_as(#[case] text: &str, #[case] same: &str) {
    assert_eq!(schedule(text), schedule(same));
}

/// Both fields for days: in March 2026, a Sunday is the 1st.
#[rstest]
#[case::neither("0 0 * 3 *", &["01", "02", "03", "04"])]
#[case::only_days("0 0 13,20 3 *", &["13", "20"])]
#[case::only_weekdays("0 0 ? 3 fri", &["06", "13", "20", "27"])]
#[case::either("0 0 13,19 3 fri", &["06", "13", "19", "20", "27"])]
#[case::a_step_restricts("0 0 */15 3 fri", &["01", "06", "13", "16"])]
#[case::so_does_a_full_range("0 0 1-31 3 fri", &["01", "02", "03", "04"])]
#[case::and_a_full_week("0 0 13 3 0-6", &["01", "02", "03", "04"])]
fn days_of_march(#[case] text: &str, #[case] days: &[&str]) {
    let expected: Vec<String> = days.iter().map(|day| format!("2026-03-{day}T00:00:00Z")).collect();
    let found = firings(&schedule(text), &zone("UTC"), "2026-02-28T23:59:59Z", days.len());
    assert_eq!(found, expected);
}

#[rstest]
#[case::nothing("", "empty; write a cron schedule such as \"0 3 * * *\"")]
#[case::white_space(" \n ", "empty; write a cron schedule such as \"0 3 * * *\"")]
#[case::nickname("@daily", "\"@daily\": nicknames are not supported; write five fields, such as \"0 0 * * *\"")]
#[case::nickname_in_capitals("@Hourly", "\"@Hourly\": nicknames are not supported; write five fields, such as \"0 * * * *\"")]
#[case::every(
    "@every 2h",
    "\"@every 2h\": nicknames are not supported; write five fields, such as \"0 3 * * *\""
)]
#[case::time_zone(
    "TZ=Asia/Tokyo 0 3 * * *",
    "\"TZ=Asia/Tokyo 0 3 * * *\": a time zone does not belong here but into its own field; write the schedule alone, such as \"0 3 * * *\""
)]
#[case::four_fields(
    "0 3 * *",
    "\"0 3 * *\" has 4 fields; write 5 (minute, hour, day of month, month, day of week) or 6 (with seconds in front), such as \"0 3 * * *\""
)]
#[case::years(
    "0 0 3 * * * 2030",
    "\"0 0 3 * * * 2030\" has 7 fields; write 5 (minute, hour, day of month, month, day of week) or 6 (with seconds in front), such as \"0 3 * * *\""
)]
#[case::second("60 0 3 * * *", "second \"60\" is out of range; write 0 to 59; for example \"30 0 3 * * *\"")]
#[case::minute("61 3 * * *", "minute \"61\" is out of range; write 0 to 59; for example \"30 3 * * *\"")]
#[case::hour("0 24 * * *", "hour \"24\" is out of range; write 0 to 23; for example \"0 3,15 * * *\"")]
#[case::day_zero("0 3 0 * *", "day of month \"0\" is out of range; write 1 to 31; for example \"0 3 1,15 * *\"")]
#[case::day("0 3 1,32 * *", "day of month \"32\" is out of range; write 1 to 31; for example \"0 3 1,15 * *\"")]
#[case::month(
    "0 3 1 13 *",
    "month \"13\" is out of range; write 1 to 12 or jan to dec; for example \"0 3 1 jan,jul *\""
)]
#[case::day_of_week(
    "0 3 * * 8",
    "day of week \"8\" is out of range; write 0 to 7 or sun to sat; for example \"0 3 * * sat,sun\""
)]
#[case::huge(
    "99999999999999999999 3 * * *",
    "minute \"99999999999999999999\" is out of range; write 0 to 59; for example \"30 3 * * *\""
)]
#[case::signed(
    "0 +3 * * *",
    "hour \"+3\" is neither *, a number nor a range; write 0 to 23; for example \"0 3,15 * * *\""
)]
#[case::negative(
    "0 -3 * * *",
    "hour \"-3\" is neither *, a number nor a range; write 0 to 23; for example \"0 3,15 * * *\""
)]
#[case::fraction(
    "0 1.5 * * *",
    "hour \"1.5\" is neither *, a number nor a range; write 0 to 23; for example \"0 3,15 * * *\""
)]
#[case::other_digits(
    "0 ٣ * * *",
    "hour \"٣\" is neither *, a number nor a range; write 0 to 23; for example \"0 3,15 * * *\""
)]
#[case::full_name(
    "0 3 * * monday",
    "day of week \"monday\" is neither *, a number nor a range; write 0 to 7 or sun to sat; for example \"0 3 * * sat,sun\""
)]
#[case::a_month_is_no_day(
    "0 3 * * jan",
    "day of week \"jan\" is neither *, a number nor a range; write 0 to 7 or sun to sat; for example \"0 3 * * sat,sun\""
)]
#[case::two_ranges(
    "1-2-3 3 * * *",
    "minute \"1-2-3\" is neither *, a number nor a range; write 0 to 59; for example \"30 3 * * *\""
)]
#[case::star_in_a_range(
    "*-5 3 * * *",
    "minute \"*-5\" is neither *, a number nor a range; write 0 to 59; for example \"30 3 * * *\""
)]
#[case::only_a_step(
    "/5 3 * * *",
    "minute \"/5\" is neither *, a number nor a range; write 0 to 59; for example \"30 3 * * *\""
)]
#[case::backwards("0 22-2 * * *", "hour \"22-2\" runs backwards; write \"22-23,0-2\"; for example \"0 3,15 * * *\"")]
#[case::backwards_with_a_step("0 22-6/3 * * *", "hour \"22-6/3\" runs backwards; write \"22,1,4\"; for example \"0 3,15 * * *\"")]
#[case::backwards_days(
    "0 3 25-5 * *",
    "day of month \"25-5\" runs backwards; write \"25-31,1-5\"; for example \"0 3 1,15 * *\""
)]
#[case::backwards_week(
    "0 3 * * fri-mon",
    "day of week \"fri-mon\" runs backwards; write \"5-6,0-1\"; for example \"0 3 * * sat,sun\""
)]
#[case::no_step(
    "*/0 3 * * *",
    "minute \"*/0\" has a step that is no positive number; write \"*/5\" for every fifth; for example \"30 3 * * *\""
)]
#[case::empty_step(
    "*/ 3 * * *",
    "minute \"*/\" has a step that is no positive number; write \"*/5\" for every fifth; for example \"30 3 * * *\""
)]
#[case::two_steps(
    "*/5/2 3 * * *",
    "minute \"*/5/2\" has a step that is no positive number; write \"*/5\" for every fifth; for example \"30 3 * * *\""
)]
#[case::comma("1,,2 3 * * *", "minute \"1,,2\" has nothing before or after a comma; for example \"30 3 * * *\"")]
#[case::last_day(
    "0 3 L * *",
    "day of month \"L\" uses L, W or #, which are not supported; list the days; for example \"0 3 1,15 * *\""
)]
#[case::near_weekday(
    "0 3 15W * *",
    "day of month \"15W\" uses L, W or #, which are not supported; list the days; for example \"0 3 1,15 * *\""
)]
#[case::last_weekday(
    "0 3 lw * *",
    "day of month \"lw\" uses L, W or #, which are not supported; list the days; for example \"0 3 1,15 * *\""
)]
#[case::last_friday(
    "0 3 * * 5L",
    "day of week \"5L\" uses L, W or #, which are not supported; list the days; for example \"0 3 * * sat,sun\""
)]
#[case::last_named(
    "0 3 * * friL",
    "day of week \"friL\" uses L, W or #, which are not supported; list the days; for example \"0 3 * * sat,sun\""
)]
#[case::second_friday(
    "0 3 * * fri#2",
    "day of week \"fri#2\" uses L, W or #, which are not supported; list the days; for example \"0 3 * * sat,sun\""
)]
#[case::the_first_wrong_field_is_named("60 3 32 * *", "minute \"60\" is out of range; write 0 to 59; for example \"30 3 * * *\"")]
fn is_no_schedule(#[case] text: &str, #[case] message: &str) {
    assert_eq!(text.parse::<Schedule>().unwrap_err().to_string(), message);
}

#[test]
fn long_texts_are_not_repeated_in_full() {
    for text in ["x".repeat(100_000), "é ".repeat(50_000), format!("{} 3 * * *", "1,".repeat(50_000))] {
        assert!(text.parse::<Schedule>().unwrap_err().to_string().len() < 400);
    }
    let many = format!("{}5 3 * * *", "5,".repeat(100_000));
    assert_eq!(schedule(&many), schedule("5 3 * * *"));
    assert!(time_zone(&"x".repeat(100_000)).unwrap_err().to_string().len() < 400);
}

#[rstest]
#[case("0 0 30 2 *", false)]
#[case("0 0 31 2,4,6,9,11 *", false)]
#[case("0 0 31 4-5 *", true)]
#[case("0 0 29 2 *", true)]
#[case("0 0 30 2 mon", true)]
#[case("0 3 * * *", true)]
fn ever_fires(#[case] text: &str, #[case] fires: bool) {
    let schedule = schedule(text);
    assert_eq!(schedule.fires(), fires);
    assert_eq!(schedule.next_firing(at("2026-03-01T12:00:00Z"), &zone("UTC")).is_some(), fires);
    assert_eq!(schedule.last_firing(at("2026-03-01T12:00:00Z"), &zone("UTC")).is_some(), fires);
}

#[rstest]
#[case("UTC", "UTC")]
#[case("Europe/Berlin", "Europe/Berlin")]
#[case(" europe/BERLIN ", "Europe/Berlin")]
#[case("Etc/GMT-2", "Etc/GMT-2")]
#[case("CET", "CET")]
fn is_a_time_zone(#[case] text: &str, #[case] name: &str) {
    assert_eq!(zone(text).iana_name(), Some(name));
}

#[test]
fn is_no_time_zone() {
    assert_eq!(time_zone(" "), Err(TimeZoneError::Empty));
    assert_eq!(
        time_zone("").unwrap_err().to_string(),
        "empty; write a time zone such as \"Europe/Berlin\", or \"UTC\""
    );
    for text in [
        "Mars/Olympus",
        "Berlin",
        "UTC+2",
        "Local",
        "Etc/Unknown",
        "CET-1CEST",
        "../etc/passwd",
    ] {
        assert_eq!(
            time_zone(text).unwrap_err().to_string(),
            format!("{text:?} is no time zone; write a name of the IANA database such as \"Europe/Berlin\", or \"UTC\"")
        );
    }
}

#[test]
fn a_window_is_the_default_but_for_what_is_said() {
    let default = Window::default();
    assert_eq!(default, window("0 3 * * *", "2h", "UTC"));
    assert_eq!(Window::parse(None, None, None), Ok(default));
    assert_eq!(
        Window::parse(None, Some("30m"), None),
        Ok(Window::new(schedule("0 3 * * *"), duration("30m"), zone("UTC")))
    );
    let tokyo = window("0 4 * * sun", "1h", "Asia/Tokyo");
    assert_eq!(tokyo.schedule(), &schedule("0 4 * * 0"));
    assert_eq!(tokyo.duration(), duration("60m"));
    assert_eq!(tokyo.zone(), &zone("Asia/Tokyo"));
}

#[test]
fn a_window_says_which_field_is_wrong() {
    let wrong = |schedule, duration, zone| {
        let error: WindowError = Window::parse(schedule, duration, zone).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        wrong(Some("0 25 * * *"), Some("2d"), Some("Mars")),
        "schedule: hour \"25\" is out of range; write 0 to 23; for example \"0 3,15 * * *\""
    );
    assert_eq!(
        wrong(Some("0 3 * * *"), Some("2d"), Some("Mars")),
        "duration: \"2d\" has the unknown unit \"d\"; use h, m, s or ms, such as \"1h30m\" (a day is \"24h\")"
    );
    assert_eq!(
        wrong(None, None, Some("Mars")),
        "timezone: \"Mars\" is no time zone; write a name of the IANA database such as \"Europe/Berlin\", or \"UTC\""
    );
    assert!(matches!(
        Window::parse(Some(""), None, None),
        Err(WindowError::Schedule(ScheduleError::Empty))
    ));
}
