//! How fast a volume fills.

mod properties;
mod tables;

use csm_core::forecast::{Forecast, HOUR, Sample, Scratch};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

const NOW: i64 = 1_772_366_400;

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

/// A moment so many seconds before now.
fn ago(secs: i64) -> Timestamp {
    now() - seconds(secs)
}

/// 2026-03-01T12:00:00Z.
fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn sample(secs_ago: i64, used: u64) -> Sample {
    Sample {
        at: ago(secs_ago),
        used: Bytes::new(used),
    }
}

/// Of an hour, without a resize; the last sample is the present one.
fn forecast(samples: &[Sample]) -> Option<Forecast> {
    let (present, history) = samples.split_last()?;
    Forecast::of(history, *present, None, now(), HOUR, &mut Scratch::default())
}

/// Samples a minute apart, the last one now.
fn every_minute(used: &[u64]) -> Vec<Sample> {
    let ago = (0..i64::try_from(used.len()).unwrap()).rev();
    ago.zip(used).map(|(minutes, &used)| sample(minutes * 60, used)).collect()
}

/// The slope as a fraction.
fn slope(forecast: Option<Forecast>) -> Option<(i128, i128)> {
    forecast.map(|f| (f.slope.bytes(), f.slope.seconds()))
}
