//! Cron schedules and maintenance windows.

mod clocks;
mod durations;
mod parse;
mod properties;
mod reference;
mod windows;

use csm_core::schedule::{Duration, Schedule, Window, time_zone};
use jiff::Timestamp;
use jiff::tz::TimeZone;

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn duration(text: &str) -> Duration {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn zone(name: &str) -> TimeZone {
    time_zone(name).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn window(schedule: &str, duration: &str, zone: &str) -> Window {
    Window::parse(Some(schedule), Some(duration), Some(zone)).unwrap_or_else(|e| panic!("{schedule} {duration} {zone}: {e}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The firings after a moment, as many as asked for, in UTC.
fn firings(schedule: &Schedule, zone: &TimeZone, after: &str, count: usize) -> Vec<String> {
    let next = |t: &Timestamp| schedule.next_firing(*t, zone);
    std::iter::successors(next(&at(after)), next)
        .take(count)
        .map(|t| t.to_string())
        .collect()
}
