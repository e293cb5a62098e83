use csm_core::forecast::{Forecast, HOUR, Sample, Scratch};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use crate::*;

const MIB: u64 = 1 << 20;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// 1 MiB a second, from 11:49:30 to 11:59:30; 5120 MiB are left.
#[test]
fn a_bulk_load() {
    let samples: Vec<Sample> = (0..=10)
        .map(|i| sample(630 - 60 * i, (14_760 + 60 * i.unsigned_abs()) * MIB))
        .collect();
    let forecast = forecast(&samples).unwrap();
    assert_eq!(slope(Some(forecast)), Some((i128::from(MIB), 1)));
    assert_eq!(forecast.samples, 11);
    assert_eq!(forecast.span, seconds(600));
    assert_eq!(forecast.time_to_full(Bytes::new(5120 * MIB)), seconds(5120));
    assert_eq!(forecast.grows_in(seconds(1800)), Bytes::new(1800 * MIB));
    assert_eq!(forecast.slope.per_second(), Bytes::MIB);
}

/// 225 MiB an hour over ten samples of a day: a window's size looks so far back, the time to full does not.
#[test]
fn a_day_looks_further_back_than_an_hour() {
    let samples: Vec<Sample> = (0..10)
        .map(|i| sample(30 + 3600 * (9 - i), (42_007 + 225 * i.unsigned_abs()) * MIB))
        .collect();
    let (present, history) = samples.split_last().unwrap();
    let of = |look_back| Forecast::of(history, *present, None, now(), look_back, &mut Scratch::default());
    assert_eq!(of(HOUR), None);
    let day = of(DAY).unwrap();
    assert_eq!(slope(Some(day)), Some((65_536, 1)));
    assert_eq!(day.grows_in(seconds(84_600)), Bytes::new(84_600 * 65_536));
    // A tenth of the time to the next firing but one is what a window wants of the span.
    assert_eq!(day.span, seconds(9 * 3600));
    // Nothing looks further back than a day, or to the future.
    assert_eq!(of(SignedDuration::MAX), of(DAY));
    assert_eq!(of(SignedDuration::MIN), None);
}

/// Growth of one byte a minute but for what is said; slopes counted by hand.
#[rstest]
// 10 samples, 45 slopes, all 1/60.
#[case::steady(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], Some((1, 60)))]
// All values equal: all slopes are 0.
#[case::flat(&[5, 5, 5, 5, 5, 5, 5, 5, 5, 5], None)]
#[case::shrinking(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 0], None)]
// One step at the end: 36 of 45 slopes are 0.
#[case::one_step(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 900], None)]
// One step in the middle: 25 slopes rise, 20 are 0. The 23rd smallest of 45 is the third of those that rise, and those are
// 900/9, 900/8 twice, 900/7 three times, … a minute.
#[case::a_step_in_the_middle(&[0, 0, 0, 0, 0, 900, 900, 900, 900, 900], Some((15, 8)))]
// One outlier has 9 of 45 slopes: upwards the 23rd smallest is one of the 36 others.
#[case::an_outlier_above(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 1_000_000], Some((1, 60)))]
#[case::an_outlier_below(&[10, 11, 12, 13, 14, 0, 16, 17, 18, 19], Some((1, 60)))]
// 12 samples, 66 slopes: an even number. 6 × 0 and 6 × 700: 30 slopes are 0, 36 rise from 700/11. The 33rd and the 34th are
// the third and the fourth of those that rise: 700/11, 700/10 twice, 700/9 three times: (700/10 + 700/9) / 2 a minute.
#[case::the_mean_of_two(&[0, 0, 0, 0, 0, 0, 700, 700, 700, 700, 700, 700], Some((133, 108)))]
// 9 samples are too few.
#[case::too_few(&[0, 1, 2, 3, 4, 5, 6, 7, 8], None)]
fn minutes(#[case] used: &[u64], #[case] expected: Option<(i128, i128)>) {
    assert_eq!(slope(forecast(&every_minute(used))), expected);
}

/// Ten samples, 1 byte a second, and what each rule does at its boundary.
#[test]
fn which_samples_count() {
    let ten = |first: i64, step: i64| -> Vec<Sample> {
        (0..10)
            .map(|i| sample(first - step * i, (step * i).unsigned_abs() + 1000))
            .collect()
    };
    // Over five minutes, not less.
    let mut samples = ten(300, 33);
    samples.push(sample(0, 1300));
    assert_eq!(forecast(&samples).unwrap().span, seconds(300));
    samples[0].at = ago(299);
    assert_eq!(forecast(&samples), None);
    // Of the last hour, the start included.
    let samples = ten(3600, 400);
    assert_eq!(forecast(&samples).unwrap().samples, 10);
    let mut old = samples.clone();
    old[0].at = ago(3600) - SignedDuration::from_nanos(1);
    assert_eq!(forecast(&old), None);
    // After the end of the last resize, not at it.
    let resized = |secs: i64| {
        let (present, history) = samples.split_last().unwrap();
        Forecast::of(history, *present, Some(ago(secs)), now(), HOUR, &mut Scratch::default())
    };
    assert_eq!(resized(3601).unwrap().samples, 10);
    assert_eq!(resized(3600), None);
    assert_eq!(resized(0), None);
    // Before the present observation, not at it or after it.
    let mut with_later = samples.clone();
    let present = with_later.pop().unwrap();
    with_later.push(Sample {
        used: Bytes::new(1),
        ..present
    });
    with_later.push(Sample {
        at: present.at + seconds(10),
        used: Bytes::new(2),
    });
    with_later.push(Sample {
        at: Timestamp::MAX,
        used: Bytes::MAX,
    });
    with_later.push(present);
    assert_eq!(forecast(&with_later), forecast(&samples));
}

#[test]
fn the_present_counts_as_taken_now_where_it_is_from_the_future() {
    let mut samples: Vec<Sample> = (0..10).map(|i| sample(900 - 100 * i, 100 * i.unsigned_abs())).collect();
    let at_now = forecast(&samples);
    samples[9].at = now() + seconds(86_400);
    assert_eq!(forecast(&samples), at_now);
    samples[9].at = Timestamp::MAX;
    assert_eq!(forecast(&samples), at_now);
    assert!(at_now.is_some());
    // One that is older than the hour has none.
    let old: Vec<Sample> = (0..10).map(|i| sample(5000 - 100 * i, 100 * i.unsigned_abs())).collect();
    assert_eq!(forecast(&old), None);
}

#[test]
fn the_same_figure_counts_once_however_often_it_is_told() {
    let nine = every_minute(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let mut told_twice = nine.clone();
    told_twice.splice(0..0, nine[..8].iter().copied());
    assert_eq!(forecast(&told_twice), None);
    let ten = every_minute(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let mut told_twice = ten.clone();
    told_twice.splice(0..0, ten[..9].iter().copied());
    assert_eq!(forecast(&told_twice), forecast(&ten));
    assert!(forecast(&ten).is_some());
}

#[test]
fn two_figures_of_one_moment_have_no_slope() {
    // 9 samples, and a second figure for the first moment: 10 samples, 44 slopes. 36 of them are 1/60, 8 are steeper downwards.
    let mut samples = every_minute(&[100, 101, 102, 103, 104, 105, 106, 107, 108]);
    samples.insert(
        0,
        Sample {
            used: Bytes::new(1_000_000),
            ..samples[0]
        },
    );
    let found = forecast(&samples).unwrap();
    assert_eq!(found.samples, 10);
    assert_eq!(slope(Some(found)), Some((1, 60)));
    // Many figures of one moment, and one now: 9 slopes, from 9 to 1 in 300 s. The median is 5/300.
    let mut samples: Vec<Sample> = (1..=9).map(|used| sample(300, used)).collect();
    samples.push(sample(0, 10));
    assert_eq!(slope(forecast(&samples)), Some((1, 60)));
}

#[test]
fn fractions_of_a_second_count() {
    let samples: Vec<Sample> = (0..10_i32)
        .map(|i| Sample {
            at: ago(600) + SignedDuration::from_millis(60_500) * i,
            used: Bytes::new(121 * u64::try_from(i).unwrap()),
        })
        .collect();
    assert_eq!(slope(forecast(&samples)), Some((2, 1)));
}

/// So many samples, 20 s apart: thinned, those that are left rise by one byte a second, and all others are far off.
#[rstest]
#[case(119, 1)]
#[case(120, 1)]
#[case(121, 2)]
#[case(240, 2)]
#[case(241, 3)]
#[case(360, 3)]
#[case(361, 4)]
#[case(4000, 34)]
fn thinning_keeps_every_kth_from_the_newest(#[case] count: i64, #[case] step: i64) {
    let sample_of = |back: i64| {
        let secs = back * 20;
        let used = if back % step == 0 {
            1_000_000 - secs
        } else {
            2_000_000 + 50 * secs
        };
        sample(secs, used.unsigned_abs())
    };
    let samples: Vec<Sample> = (0..count).rev().map(sample_of).collect();
    let (present, history) = samples.split_last().unwrap();
    let of = |history: &[Sample]| Forecast::of(history, *present, None, now(), DAY, &mut Scratch::default()).unwrap();
    let found = of(history);
    assert_eq!(slope(Some(found)), Some((1, 1)));
    // Samples and their span are counted before that.
    assert_eq!(found.samples, usize::try_from(count).unwrap());
    assert_eq!(found.span, seconds((count - 1) * 20));
}

#[test]
fn what_is_absurd_is_no_trouble() {
    // As steep as it gets: from nothing to everything, in milliseconds; and the other way round.
    let steep = |from: u64, to: u64| -> Vec<Sample> {
        let mut samples: Vec<Sample> = (0..10_u64)
            .map(|i| Sample {
                at: ago(300),
                used: Bytes::new(from.saturating_add(i)),
            })
            .collect();
        samples.extend((0..10_u64).map(|i| Sample {
            at: ago(0) - SignedDuration::from_millis(1),
            used: Bytes::new(to - i),
        }));
        samples.push(Sample {
            at: now(),
            used: Bytes::new(to),
        });
        samples
    };
    let up = forecast(&steep(0, u64::MAX)).unwrap();
    assert_eq!(up.time_to_full(Bytes::MAX), seconds(300));
    assert_eq!(up.grows_in(SignedDuration::MAX), Bytes::MAX);
    assert_eq!(up.grows_in(SignedDuration::MIN), Bytes::ZERO);
    assert_eq!(up.grows_in(SignedDuration::ZERO), Bytes::ZERO);
    assert_eq!(forecast(&steep(u64::MAX - 100, 50)), None);
    // As flat as it gets: a byte a day. 100 of 190 slopes are about that, 90 are 0.
    let early = (0..10).map(|i| Sample {
        at: ago(86_400) + SignedDuration::from_millis(i),
        used: Bytes::ZERO,
    });
    let late = (0..10).map(|i| Sample {
        at: ago(0) - SignedDuration::from_millis(9 - i),
        used: Bytes::new(1),
    });
    let flat: Vec<Sample> = early.chain(late).collect();
    let (present, history) = flat.split_last().unwrap();
    let flat = Forecast::of(history, *present, None, now(), DAY, &mut Scratch::default()).unwrap();
    assert_eq!(flat.time_to_full(Bytes::new(1)).as_secs(), 86_399);
    assert_eq!(flat.grows_in(seconds(86_400)), Bytes::new(1));
    assert!(flat.time_to_full(Bytes::MAX).as_secs() > i64::MAX / 2);
    // The ends of time.
    for now in [Timestamp::MIN, Timestamp::MAX] {
        let history: Vec<Sample> = [Timestamp::MIN, Timestamp::MAX]
            .into_iter()
            .cycle()
            .take(20)
            .zip(0..)
            .map(|(at, used)| Sample {
                at,
                used: Bytes::new(used),
            })
            .collect();
        for look_back in [SignedDuration::MIN, SignedDuration::MAX, DAY] {
            let present = Sample { at: now, used: Bytes::MAX };
            assert_eq!(
                Forecast::of(&history, present, Some(now), now, look_back, &mut Scratch::default()),
                None
            );
            let _ = Forecast::of(&history, present, None, now, look_back, &mut Scratch::default());
        }
    }
    assert_eq!(Forecast::of(&[], sample(0, 1), None, now(), HOUR, &mut Scratch::default()), None);
}

#[test]
fn a_time_to_full_is_rounded_down() {
    // 3 bytes in 7 seconds: 10 samples, 70 s apart.
    let samples: Vec<Sample> = (0..10).map(|i| sample(630 - 70 * i, 30 * i.unsigned_abs())).collect();
    let forecast = forecast(&samples).unwrap();
    assert_eq!(slope(Some(forecast)), Some((3, 7)));
    for (available, expected) in [(0, 0), (1, 2), (2, 4), (3, 7), (4, 9), (300, 700)] {
        assert_eq!(forecast.time_to_full(Bytes::new(available)), seconds(expected), "{available}");
    }
    for (secs, grown) in [(0, 0), (2, 0), (3, 1), (7, 3), (8, 3), (700, 300)] {
        assert_eq!(forecast.grows_in(seconds(secs)), Bytes::new(grown), "{secs}");
    }
    assert_eq!(forecast.grows_in(SignedDuration::from_millis(2_999)), Bytes::ZERO);
    assert_eq!(forecast.slope.per_second(), Bytes::ZERO);
}
