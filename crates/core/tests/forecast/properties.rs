//! Against the definition, and what cannot matter.

use std::cmp::Ordering;

use csm_core::forecast::{Forecast, HOUR, Sample, Scratch};
use csm_units::Bytes;
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::*;

/// Samples of about two hours, in any order, some twice, some at one moment, with values from a few bytes to all there are.
fn histories(most: usize) -> impl Strategy<Value = Vec<Sample>> {
    let used = prop_oneof![
        4 => 0..1_000_u64,
        4 => 0..1_u64 << 40,
        1 => prop::sample::select(vec![0, 1, i64::MAX as u64, u64::MAX]),
    ];
    // Coarse times, so that some are equal; sometimes between two seconds.
    let ago = prop_oneof![3 => (-10..4_000_i64).prop_map(|s| s * 1000), 1 => 0..4_000_000_i64, 1 => (0..40_i64).prop_map(|s| s * 100_000)];
    let rising = any::<bool>();
    prop::collection::vec((ago, used, rising), 0..most).prop_map(|samples| {
        let of = |(ago, used, rising): (i64, u64, bool)| Sample {
            at: now() - SignedDuration::from_millis(ago),
            used: if rising {
                Bytes::new((1 << 40) - ago.unsigned_abs().min(1 << 39) * 1000 + used % 100_000)
            } else {
                Bytes::new(used)
            },
        };
        samples.into_iter().map(of).collect()
    })
}

fn of(history: &[Sample], present: Sample, resized: Option<i64>) -> Option<Forecast> {
    Forecast::of(history, present, resized.map(ago), now(), HOUR, &mut Scratch::default())
}

/// The definition, word by word: with a full sort.
fn by_definition(history: &[Sample], present: Sample, resized: Option<i64>) -> Option<(i128, i128)> {
    let end = resized.map(ago);
    let counts = |s: &Sample| s.at >= ago(3600) && end.is_none_or(|end| s.at > end);
    let mut samples: Vec<Sample> = history.iter().copied().filter(|s| counts(s) && s.at < present.at).collect();
    samples.sort();
    samples.dedup();
    samples.push(present);
    if !counts(&present) || samples.len() < 10 || present.at.duration_since(samples[0].at) < seconds(300) {
        return None;
    }
    let count = samples.len();
    let kth = count.div_ceil(120);
    let kept: Vec<Sample> = (0..count)
        .filter(|i| (count - 1 - i).is_multiple_of(kth))
        .map(|i| samples[i])
        .collect();
    assert!(kept.len() <= 120);
    let mut slopes = Vec::new();
    for i in 0..kept.len() {
        for j in 0..i {
            let rise = kept[i].used.wide() - kept[j].used.wide();
            let run = i128::from(kept[i].at.as_millisecond() - kept[j].at.as_millisecond());
            if run > 0 {
                slopes.push((rise, run));
            }
        }
    }
    slopes.sort_by(|a, b| compare(*a, *b));
    let middle = slopes.len() / 2;
    let (a, b) = *slopes.get(middle)?;
    let (c, d) = if slopes.len().is_multiple_of(2) {
        slopes[middle - 1]
    } else {
        (a, b)
    };
    let mean = ((a * d + c * b) * 1000, 2 * b * d);
    (mean.0 > 0).then_some(mean)
}

fn compare(a: (i128, i128), b: (i128, i128)) -> Ordering {
    (a.0 * b.1).cmp(&(b.0 * a.1))
}

/// Equal fractions, where the one is in lowest terms.
fn reduced((bytes, secs): (i128, i128)) -> (i128, i128) {
    let (mut a, mut b) = (bytes, secs);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (bytes / a, secs / a)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn it_is_what_the_definition_says(history in histories(300), used in any::<u64>(), age in 0..200_i64, resized in prop::option::of(0..4_000_i64)) {
        let present = sample(age, used >> (used % 30 + 20));
        let found = of(&history, present, resized);
        prop_assert_eq!(slope(found), by_definition(&history, present, resized).map(reduced));
        if let Some(found) = found {
            prop_assert!(found.slope.bytes() > 0 && found.slope.seconds() > 0);
            prop_assert!(found.samples >= 10 && found.span >= seconds(300) && found.span <= seconds(3600));
            // The two questions agree: in the time until so much is used up, no more than that is written.
            let available = Bytes::new(used >> 1);
            let full = found.time_to_full(available);
            prop_assert!(found.grows_in(full) <= available);
            prop_assert!(full.as_secs() == i64::MAX || available == Bytes::MAX || found.grows_in(full + seconds(1)) >= available);
        }
    }

    #[test]
    fn the_order_of_the_history_does_not_matter_nor_does_what_was_asked_before(history in histories(150), shuffled in any::<prop::sample::Index>(), other in histories(150)) {
        let present = sample(20, 1 << 40);
        let mut turned = history.clone();
        if !turned.is_empty() {
            let by = shuffled.index(turned.len());
            turned.rotate_left(by);
            turned.reverse();
        }
        let mut scratch = Scratch::default();
        let _ = Forecast::of(&other, sample(10, 5), None, now(), HOUR, &mut scratch);
        let used_again = Forecast::of(&turned, present, None, now(), HOUR, &mut scratch);
        prop_assert_eq!(used_again, of(&history, present, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// All moved in time, or lifted by the same bytes: the same. All so many times as large: so many times as steep.
    #[test]
    fn it_moves_and_scales(used in prop::collection::vec(0..1_u64 << 40, 10..60), later in -1_000_000_000..1_000_000_000_i64, lift in 0..1_u64 << 60, factor in 1..1000_u64) {
        let samples = every_minute(&used);
        let plain = forecast(&samples);
        let moved: Vec<Sample> = samples.iter().map(|s| Sample { at: s.at + seconds(later), ..*s }).collect();
        let (present, history) = moved.split_last().unwrap();
        let elsewhere = Forecast::of(history, *present, None, now() + seconds(later), HOUR, &mut Scratch::default());
        prop_assert_eq!(elsewhere, plain);
        let lifted: Vec<u64> = used.iter().map(|u| u + lift).collect();
        prop_assert_eq!(forecast(&every_minute(&lifted)), plain);
        let scaled: Vec<u64> = used.iter().map(|u| u * factor).collect();
        let expected = slope(plain).map(|(bytes, secs)| reduced((bytes * i128::from(factor), secs)));
        prop_assert_eq!(slope(forecast(&every_minute(&scaled))), expected);
    }

    /// One sample that is nonsense leaves the slope between the smallest and the largest of the others' slopes, and a steady
    /// growth exactly as it is.
    #[test]
    fn one_outlier_changes_little(rise in 1..1_u64 << 30, noise in prop::collection::vec(0..1_000_u64, 10..60), index in any::<prop::sample::Index>(), wrong in any::<u64>()) {
        let count = noise.len() as u64;
        let steady: Vec<u64> = (0..count).map(|i| i * rise).collect();
        let spoil = |mut used: Vec<u64>| {
            let at = index.index(used.len());
            used[at] = wrong;
            used
        };
        prop_assert_eq!(slope(forecast(&every_minute(&spoil(steady.clone())))), slope(forecast(&every_minute(&steady))));
        // With noise of up to 999 bytes a sample, no pair is off by more than that in a minute.
        let rough: Vec<u64> = steady.iter().zip(&noise).map(|(s, n)| s + n + 1000).collect();
        let found = slope(forecast(&every_minute(&spoil(rough))));
        let (low, high) = (i128::from(rise) - 999, i128::from(rise) + 999);
        match found {
            Some(found) => prop_assert!(compare((low, 60), found).is_le() && compare(found, (high, 60)).is_le(), "{found:?}"),
            None => prop_assert!(low <= 0),
        }
    }
}
