//! What is used between two samples of a kubelet, and how often an instance is asked.

#[allow(dead_code, unused_imports)]
#[path = "planner/support.rs"]
mod support;

use csm_core::between::{Content, Estimate, Levels, Reading, Source, due, every, may_fill_unseen};
use csm_core::crossing::estimate_crosses;
use csm_core::forecast::{Forecast, Rate, Sample, Scratch};
use csm_core::resolve::Resolution;
use csm_core::world::{Observation, VolumeKey};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use support::*;

const MIB: u64 = 1 << 20;

fn after(seconds: i64) -> Timestamp {
    noon() + SignedDuration::from_secs(seconds)
}

fn reading(seconds: i64, segments: u64, databases: u64) -> Reading {
    Reading {
        at: after(seconds),
        segments: Some(segments),
        segment_size: Some(Bytes::mib(16)),
        databases: Some(Bytes::mib(databases)),
    }
}

fn sample(seconds: i64, mebibytes: u64) -> Sample {
    Sample {
        at: after(seconds),
        used: Bytes::mib(mebibytes),
    }
}

/// A sample at noon, answers 5 s before and after it, and one a minute later: 30 segments more, and 400 MiB of data.
fn levels(content: Content) -> Levels {
    let mut levels = Levels::default();
    levels.reading(reading(-5, 10, 1000));
    levels.sample(content, sample(0, 2033));
    levels.reading(reading(5, 11, 1020));
    levels.reading(reading(60, 40, 1400));
    levels
}

#[rstest]
#[case::wal(Content::Wal, 2033 + 30 * 16, 16 + 16, Source::Segments)]
#[case::databases(Content::Databases, 2033 + 400, 35 + 20, Source::Databases)]
#[case::both(Content::Both, 2033 + 480 + 400, 35 + 16 + 20 + 16, Source::SegmentsAndDatabases)]
fn the_sample_and_what_came_since(#[case] content: Content, #[case] used: u64, #[case] error: u64, #[case] source: Source) {
    let expected = Estimate {
        at: after(60),
        used: Bytes::mib(used),
        error: Bytes::mib(error),
        source,
    };
    assert_eq!(levels(content).estimate(content), Some(expected));
}

/// 16 MiB × the change of their number: what was measured from 10 to 58 segments, and back.
#[test]
fn segments_are_exact() {
    let mut levels = Levels::default();
    levels.reading(reading(0, 10, 0));
    levels.sample(
        Content::Wal,
        Sample {
            at: noon(),
            used: Bytes::new(34_603_008 + 10 * 16 * MIB),
        },
    );
    for (seconds, segments) in [(4, 11), (8, 58), (12, 20)] {
        levels.reading(reading(seconds, segments, 0));
        let estimate = levels.estimate(Content::Wal).unwrap();
        assert_eq!(estimate.used.get(), 34_603_008 + segments * 16 * MIB);
        assert_eq!(estimate.error, Bytes::mib(16));
    }
}

/// There is no estimate where nobody knows what the instance held at the sample, or holds now.
#[test]
fn what_is_not_known_is_no_estimate() {
    let estimate = |readings: &[Reading], sampled: Sample| {
        let mut levels = Levels::default();
        let (first, rest) = readings.split_first().unwrap();
        levels.reading(*first);
        levels.sample(Content::Wal, sampled);
        for reading in rest {
            levels.reading(*reading);
        }
        levels.estimate(Content::Wal).map(|e| e.used)
    };
    let known = [reading(-5, 10, 0), reading(5, 11, 0)];
    assert_eq!(estimate(&known, sample(0, 200)), Some(Bytes::mib(216)));
    assert_eq!(estimate(&known[..1], sample(0, 200)), None, "not asked since");
    assert_eq!(estimate(&known[1..], sample(0, 200)), None, "not asked before");
    assert_eq!(
        estimate(&[reading(-91, 10, 0), reading(5, 11, 0)], sample(0, 200)),
        None,
        "asked too long before"
    );
    let silent = Reading {
        segments: None,
        ..reading(5, 0, 0)
    };
    assert_eq!(estimate(&[reading(-1, 10, 0), silent], sample(0, 200)), None, "it does not say");
    let unsized_ = Reading {
        segment_size: None,
        ..reading(5, 11, 0)
    };
    assert_eq!(
        estimate(&[reading(-1, 10, 0), unsized_], sample(0, 200)),
        None,
        "no size of a segment"
    );
    assert_eq!(levels(Content::Wal).estimate(Content::Databases), None, "another volume");
    assert_eq!(levels(Content::Both).estimate(Content::Databases), None, "another content");
}

/// A new sample waits for the next answer; until then the one before counts.
#[test]
fn a_new_sample_takes_over_with_the_next_answer() {
    let mut levels = levels(Content::Wal);
    levels.sample(Content::Wal, sample(63, 3000));
    assert_eq!(levels.estimate(Content::Wal).map(|e| e.used), Some(Bytes::mib(2033 + 480)));
    levels.reading(reading(64, 41, 0));
    assert_eq!(levels.estimate(Content::Wal).map(|e| e.used), Some(Bytes::mib(3000)));
    // The same sample again, as a kubelet gives it at every question, changes nothing.
    levels.sample(Content::Wal, sample(63, 3000));
    levels.reading(reading(68, 43, 0));
    assert_eq!(levels.estimate(Content::Wal).map(|e| e.used), Some(Bytes::mib(3000 + 32)));
}

/// What was known is of another time, or of another instance.
#[test]
fn a_clock_that_is_set_back_forgets() {
    let mut levels = levels(Content::Wal);
    levels.reading(reading(-3600, 40, 1400));
    assert_eq!(levels.estimate(Content::Wal), None);
    assert_eq!(levels.rate(Content::Wal), None);
    levels.sample(Content::Wal, sample(-3595, 500));
    levels.reading(reading(-3590, 41, 1400));
    assert!(levels.estimate(Content::Wal).is_some());
    levels.forget();
    assert_eq!(levels.estimate(Content::Wal), None);
}

/// However long it runs.
#[test]
fn the_rate_is_that_of_the_last_minute() {
    let mut levels = Levels::default();
    for i in 0..1000 {
        levels.reading(reading(i * 4, 10 + u64::try_from(i).unwrap() / 2, 0));
    }
    // A segment in 8 s: seven in the minute before the last answer.
    assert_eq!(
        levels.rate(Content::Wal).map(|rate| rate.over(SignedDuration::from_secs(600))),
        Some(Bytes::mib(1120))
    );
    levels.reading(reading(4004, 10, 0));
    assert_eq!(levels.rate(Content::Wal), None, "what falls does not fill");
}

/// So many MiB a second.
fn rate(mebibytes: u64) -> Rate {
    let history: Vec<Sample> = (0..20)
        .map(|i| Sample {
            at: after(i * 60),
            used: Bytes::mib(mebibytes * 60 * u64::try_from(i).unwrap()),
        })
        .collect();
    let hour = SignedDuration::from_hours(1);
    let (last, before) = history.split_last().unwrap();
    let forecast = Forecast::of(before, *last, None, last.at, hour, &mut Scratch::default()).unwrap();
    forecast.slope
}

/// The shorter the forecast, the sooner; between a floor and a ceiling that bound what it costs the instance.
#[rstest]
#[case::much_room(Bytes::gib(100), None, 60)]
#[case::a_sudden_load_is_seen_four_times(Bytes::gib(10), None, 40)]
#[case::little_room(Bytes::gib(1), None, 4)]
#[case::none_at_all(Bytes::ZERO, None, 4)]
#[case::full_in_eight_minutes(Bytes::gib(32), Some(64), 32)]
#[case::full_in_half_an_hour(Bytes::gib(112), Some(64), 60)]
#[case::full_in_a_minute(Bytes::gib(60), Some(1024), 4)]
fn how_often(#[case] available: Bytes, #[case] mebibytes: Option<u64>, #[case] seconds: i64) {
    assert_eq!(every(available, mebibytes.map(rate)), SignedDuration::from_secs(seconds));
}

/// At the floor, a scrape of 38 ms takes one percent of a core at most.
#[test]
fn the_cost_is_bounded() {
    let most = every(Bytes::ZERO, None);
    assert!(38 * 100 <= most.as_millis(), "{most}");
}

#[test]
fn when_the_next_one_is_due() {
    let every = SignedDuration::from_secs(20);
    assert_eq!(due(None, noon(), every), noon());
    assert_eq!(due(Some(after(-5)), noon(), every), after(15));
    // The clock was set back.
    assert_eq!(due(Some(after(3600)), noon(), every), after(20));
    assert_eq!(due(Some(Timestamp::MAX), Timestamp::MAX, SignedDuration::MAX), Timestamp::MAX);
}

/// Ten minutes at 64 MiB/s are 37.5 GiB.
#[rstest]
#[case::as_fast_as_it_gets(38_399, None, true)]
#[case::a_kubelet_sees_it(38_400, None, false)]
#[case::by_its_own_rate(60_000, Some(100), true)]
#[case::by_its_own_rate_later(60_001, Some(100), false)]
#[case::full(0, None, true)]
fn who_may_fill_before_a_kubelet_shows_it(#[case] mebibytes: u64, #[case] per_second: Option<u64>, #[case] expected: bool) {
    assert_eq!(may_fill_unseen(Bytes::mib(mebibytes), per_second.map(rate)), expected);
}

fn observed(mebibytes: u64) -> Observation {
    Observation {
        used: Bytes::mib(mebibytes),
        available: Bytes::mib(100_000 - mebibytes),
        capacity: Bytes::mib(100_000),
        inodes: None,
        at: noon(),
    }
}

fn estimated(seconds: i64, mebibytes: u64) -> Estimate {
    Estimate {
        at: after(seconds),
        used: Bytes::mib(mebibytes),
        error: Bytes::mib(16),
        source: Source::Segments,
    }
}

#[rstest]
#[case::newer_and_more(1, 70_000, Some((70_000, 30_000)))]
#[case::as_new(0, 70_000, None)]
#[case::older(-1, 70_000, None)]
#[case::no_more(1, 60_000, None)]
#[case::less(1, 50_000, None)]
#[case::more_than_there_is(1, 170_000, Some((100_000, 0)))]
fn an_estimate_only_adds(#[case] seconds: i64, #[case] mebibytes: u64, #[case] expected: Option<(u64, u64)>) {
    let sample = observed(60_000);
    let expected = expected.map(|(used, available)| Observation {
        used: Bytes::mib(used),
        available: Bytes::mib(available),
        at: after(seconds),
        ..sample
    });
    assert_eq!(estimated(seconds, mebibytes).on(&sample), expected);
}

/// Warning, critical, expansion and emergency are at 70, 80, 85 and 90 percent; five percent are little.
#[rstest]
#[case::between_two_levels(None, 69_999, false)]
#[case::a_level(None, 70_000, true)]
#[case::the_same_level_again(Some(70_000), 79_999, false)]
#[case::the_next_one(Some(70_000), 80_000, true)]
#[case::back_below(Some(80_000), 79_000, true)]
#[case::back_to_the_sample(Some(70_000), 10_000, true)]
#[case::less_than_the_sample(None, 10_000, false)]
fn who_is_woken(#[case] known: Option<u64>, #[case] newer: u64, #[case] expected: bool) {
    let resolution = policy("dryRun: false");
    let Resolution::Settings(settings) = &*resolution else { panic!() };
    let (sample, size) = (observed(60_000), Bytes::mib(100_000));
    let known = known.map(|mebibytes| estimated(4, mebibytes));
    let crosses = estimate_crosses(settings, &VolumeKey::WAL, size, &sample, known.as_ref(), &estimated(8, newer));
    assert_eq!(crosses, expected);
}

/// A WAL volume of 1 GiB, a quarter full, into which 8 MiB a second are written from noon on: it is full after 96 s, and a
/// kubelet that looks each 90 s sees it half full, and then full.
#[test]
fn a_volume_that_fills_between_two_samples_is_seen() {
    const VOLUME: u64 = 1024;
    let segments = |seconds: i64| 10 + u64::try_from(seconds.max(0)).unwrap() / 2;
    let used = |seconds: i64| (96 + 16 * segments(seconds)).min(VOLUME);
    let is_at_85 = |mebibytes: u64| mebibytes * 100 >= VOLUME * 85;
    let observed = |seconds: i64| Observation {
        used: Bytes::mib(used(seconds)),
        available: Bytes::mib(VOLUME - used(seconds)),
        capacity: Bytes::mib(VOLUME),
        inodes: None,
        at: after(seconds),
    };
    let reached = (0..600).find(|seconds| is_at_85(used(*seconds))).unwrap();
    let sampled = (0..9).map(|i| -45 + i * 90).find(|seconds| is_at_85(used(*seconds))).unwrap();
    let full = (0..600).find(|seconds| used(*seconds) == VOLUME).unwrap();
    assert!(reached < full && full < sampled, "{reached} {full} {sampled}");

    let (mut levels, mut asked, mut questions) = (Levels::default(), None, 0);
    let mut sample = observed(-135);
    let seen = (-135..=full).find(|seconds| {
        if (seconds + 45) % 90 == 0 {
            sample = observed(*seconds);
            levels.sample(
                Content::Wal,
                Sample {
                    at: sample.at,
                    used: sample.used,
                },
            );
        }
        let known = levels
            .estimate(Content::Wal)
            .and_then(|estimate| estimate.on(&sample))
            .unwrap_or(sample);
        let pause = every(known.available, levels.rate(Content::Wal));
        if due(asked, after(*seconds), pause) > after(*seconds) {
            return false;
        }
        (asked, questions) = (Some(after(*seconds)), questions + 1);
        levels.reading(reading(*seconds, segments(*seconds), 0));
        let estimate = levels.estimate(Content::Wal).and_then(|estimate| estimate.on(&sample));
        estimate.is_some_and(|now| is_at_85(now.used.get() / MIB))
    });
    // In the time between two questions, at the floor.
    assert!(
        seen.is_some_and(|seen| seen - reached <= 4),
        "reached after {reached} s, seen after {seen:?}, {questions} questions"
    );
    assert!(questions <= (full + 135) / 4, "{questions}");
}
