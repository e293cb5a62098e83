//! Against the slow way, with random schedules and in all time zones.

use std::sync::LazyLock;

use jiff::tz::TimeZoneDatabase;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::reference::Cron;
use crate::*;

/// From 1890 to 2150, sometimes between two seconds.
fn moments() -> impl Strategy<Value = Timestamp> {
    let nanos = prop_oneof![3 => Just(0), 1 => 0..1_000_000_000_i32];
    (-2_524_521_600_i64..5_680_281_600, nanos).prop_map(|(seconds, nanos)| Timestamp::new(seconds, nanos).unwrap())
}

static ZONES: LazyLock<Vec<TimeZone>> = LazyLock::new(|| {
    let names = TimeZoneDatabase::bundled();
    let zones = names.available().map(|name| time_zone(name.as_str()));
    zones
        .map(Result::unwrap)
        .filter(|zone| zone.following(changes_since()).next().is_some())
        .collect()
});

/// From here on, no zone is off by a part of a minute.
fn changes_since() -> Timestamp {
    at("1973-01-01T00:00:00Z")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_next_firing_is_the_first_match(cron in Cron::any(), after in moments()) {
        let schedule = schedule(&cron.text());
        let next = schedule.next_firing(after, &TimeZone::UTC);
        prop_assert_eq!(next, cron.next(after), "{}", cron.text());
        prop_assert_eq!(next.is_some(), schedule.fires());
        if let Some(next) = next {
            prop_assert!(next > after);
            // Back again: at the firing itself, and just before it.
            prop_assert_eq!(schedule.last_firing(next, &TimeZone::UTC), Some(next));
            let before = schedule.last_firing(next - SignedDuration::from_nanos(1), &TimeZone::UTC);
            prop_assert!(before.is_some_and(|before| before <= after), "{} {before:?}", cron.text());
            prop_assert_eq!(before.and_then(|before| cron.next(before)), Some(next));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_window_is_open_where_a_firing_is_recent(cron in Cron::any(), now in moments(), seconds in 1..200_000_i64) {
        let length = SignedDuration::from_secs(seconds);
        let window = Window::new(schedule(&cron.text()), duration(&format!("{seconds}s")), TimeZone::UTC);
        // The first firing that could have opened it, by the slow way.
        let earliest = now - length;
        let opened = cron.next(earliest).filter(|&firing| firing <= now);
        let until = window.open(now);
        prop_assert_eq!(until.is_some(), opened.is_some(), "{}", cron.text());
        prop_assert_eq!(window.is_open(now), opened.is_some());
        if let Some(until) = until {
            prop_assert!(until > now);
            // It has not closed in between, and where it was followed to the end, it is closed at the end.
            let mut firing = opened.unwrap();
            let mut steps = 0;
            while let Some(next) = cron.next(firing).filter(|&next| next <= firing + length) {
                firing = next;
                steps += 1;
                if steps > 32 || firing + length > until {
                    break;
                }
            }
            if steps <= 32 {
                prop_assert_eq!(until, firing + length, "{}", cron.text());
            }
            prop_assert_eq!(window.next_open(now), Some(now));
        } else {
            prop_assert_eq!(window.next_open(now), cron.next(now));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Minute by minute around a change of a clock, in any zone: what fires is what the clock has just passed.
    #[test]
    fn the_clock_may_change(cron in Cron::frequent(), pick in any::<prop::sample::Index>(), skip in 0..120_usize, probe in 0..3600_i64) {
        let zone = pick.get(&ZONES);
        let schedule = schedule(&cron.text());
        let changes = || zone.following(changes_since()).map(|change| change.timestamp());
        let change = changes().nth(skip).or_else(|| changes().last()).unwrap();
        let minute = SignedDuration::from_mins(1);
        let (start, end) = (change - minute * 1800, change + minute * 1800);
        let mut shown = zone.to_datetime(start - minute * 1800);
        let mut expected = Vec::new();
        let mut now = start - minute * 1800;
        while now <= end {
            let local = zone.to_datetime(now);
            let mut fired = false;
            while shown < local {
                shown = shown.checked_add(minute).unwrap();
                fired |= cron.matches(shown);
            }
            if fired && now > start {
                expected.push(now);
            }
            now += minute;
        }
        let next = |t: &Timestamp| schedule.next_firing(*t, zone);
        let found: Vec<Timestamp> = std::iter::successors(next(&start), next).take_while(|t| *t <= end).collect();
        prop_assert_eq!(&found, &expected, "{} in {:?} around {}", cron.text(), zone, change);
        // Anywhere in between, backwards and forwards.
        let probe = start + minute * i32::try_from(probe).unwrap() + SignedDuration::from_millis(500);
        let (past, future): (Vec<Timestamp>, Vec<Timestamp>) = expected.iter().partition(|t| **t <= probe);
        if let Some(last) = past.last() {
            prop_assert_eq!(schedule.last_firing(probe, zone), Some(*last));
        }
        if let Some(first) = future.first() {
            prop_assert_eq!(schedule.next_firing(probe, zone), Some(*first));
        }
    }
}
