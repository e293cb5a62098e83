//! How fast a policy is tried: `cargo run --release -p csm-core --example year`. `make bench` runs it.
#![allow(clippy::disallowed_methods)] // measures time

#[allow(dead_code)] // the tests need more of it
#[path = "../tests/planner/support.rs"]
mod support;

use std::time::Instant;

use csm_core::simulate::{Options, Outcome, Simulation, Usage};
use csm_core::world::VolumeKey;
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use support::{WorldExt as _, unobserved};

/// The minutes of a year.
const MINUTES: i64 = 365 * 24 * 60;

fn main() {
    line("one simulated year of one volume at one-minute steps", "expansion: {maxSize: 10Ti}");
    line(
        "the same, with a forecast at each step",
        "{expansion: {maxSize: 10Ti}, storage: {resize: {enabled: true, strategy: \
         {mode: Predictive, maxActionsPerDay: 3, walSafetyPolicy: {acknowledgeWALRisk: true}}}}}",
    );
}

fn line(name: &str, settings: &str) {
    let start = Instant::now();
    let outcome = year(settings);
    let took = start.elapsed();
    println!(
        "{name}: {:.2} s ({} growths, {} -> {})",
        took.as_secs_f64(),
        outcome.count(),
        outcome.size_before,
        outcome.size_after
    );
}

/// Three instances fill by 3 MiB a minute, and are cleaned up by half of that each hour.
fn year(settings: &str) -> Outcome {
    let from = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56);
    let to = from + SignedDuration::from_mins(MINUTES);
    let mut simulation = Simulation::new(unobserved(3, "100Gi").policy(settings), Options::new(from, to));
    let target = simulation.target(&VolumeKey::DATA, None).expect("it is there");
    for minute in 0..=MINUTES.unsigned_abs() {
        let (hours, minutes) = (minute / 60, minute % 60);
        let used = Bytes::mib(20_000 + hours * 90 + minutes * 3);
        let at = from + SignedDuration::from_mins(minute.cast_signed());
        simulation.observe(at, &[Usage { target, used }]).expect("plans pass their check");
    }
    simulation.finish().expect("plans pass their check").remove(0)
}
