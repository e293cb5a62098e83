//! What a Cluster's WAL does over time.

use csm_core::between::Content;
use csm_core::forecast::Sample;
use csm_core::root_cause::{Cause, Facts, causes};
use csm_core::wal_tracking::{Flow, Reading, Tracker};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::{at, calm};

fn after(seconds: i64) -> Timestamp {
    at("12:00:00") + SignedDuration::from_secs(seconds)
}

/// Nothing is said but the name.
fn silent(seconds: i64) -> Reading {
    Reading {
        at: after(seconds),
        instance: "orders-1".into(),
        timeline: None,
        written: None,
        wal: None,
        segment_size: None,
        databases: None,
        temporary: None,
        archived: None,
        failed: None,
        waiting: None,
        last_archived: None,
        last_failed: None,
    }
}

/// In each second 2 MiB are written; each 16 s a segment is archived, and 3 wait.
fn busy(seconds: i64) -> Reading {
    let passed = u64::try_from(seconds).unwrap();
    Reading {
        timeline: Some(7),
        written: Some((900 << 30) + (passed << 21)),
        wal: Some(Bytes::mib(200 + passed)),
        segment_size: Some(Bytes::mib(16)),
        databases: Some(Bytes::mib(5000 + 3 * passed)),
        temporary: Some(Bytes::mib(70 + 5 * passed)),
        archived: Some(100 + passed / 16),
        failed: Some(9),
        waiting: Some(3),
        last_archived: Some(after(seconds - 4)),
        last_failed: Some(at("09:00:00")),
        ..silent(seconds)
    }
}

fn tracked(seconds: impl IntoIterator<Item = i64>) -> Tracker {
    let mut tracker = Tracker::default();
    seconds.into_iter().for_each(|seconds| tracker.reading(busy(seconds)));
    tracker
}

fn mebibytes(flow: Option<Flow>) -> Option<(i128, i64)> {
    flow.map(|flow| (flow.change() >> 20, flow.over().as_secs()))
}

#[test]
fn rates() {
    let tracker = tracked((0..=5).map(|i| i * 32));
    assert_eq!(mebibytes(tracker.generation()), Some((320, 160)));
    assert_eq!(tracker.generation().map(Flow::per_second), Some(2 << 20));
    assert_eq!(tracker.generation().map(Flow::per_hour), Some(7200 << 20));
    assert_eq!(tracker.archiving().map(|flow| (flow.change(), flow.per_hour())), Some((10, 225)));
    assert_eq!(mebibytes(tracker.wal()), Some((160, 160)));
    assert_eq!(mebibytes(tracker.databases()), Some((480, 160)));
    assert_eq!(mebibytes(tracker.temporary()), Some((800, 160)));
    assert_eq!(tracker.success_percent(), Some(100));
    assert_eq!(tracked([0]).generation(), None, "one answer makes no rate");
    assert_eq!(tracked([0, 9]).generation(), None, "nor do two of nearly one moment");
}

/// Over ten minutes, however often it was asked and however long ago it began.
#[test]
fn the_window_is_bounded() {
    for step in [1, 4, 10, 60, 119] {
        let tracker = tracked((0..4000).map(|i| i * step));
        let (written, over) = mebibytes(tracker.generation()).unwrap();
        assert!(
            (400..=610).contains(&over) && written == 2 * i128::from(over),
            "{step}: {written} in {over}"
        );
    }
}

/// What a reading does not say stays as it was.
#[test]
fn silence_changes_nothing() {
    let mut tracker = tracked([0, 32]);
    let before = tracker.generation();
    tracker.reading(silent(40));
    assert_eq!(tracker.generation(), before);
    assert_eq!(tracker.newest(), Some(&Reading { at: after(40), ..busy(32) }));
}

/// Statistics that were reset, a crash: what was counted before says nothing.
#[test]
fn counters_that_fall_begin_anew() {
    let mut tracker = tracked([0, 32, 64]);
    let fallen = |seconds, written: u64| Reading {
        written: Some(written << 20),
        ..busy(seconds)
    };
    tracker.reading(fallen(96, 7));
    assert_eq!(tracker.generation(), None);
    assert!(tracker.archiving().is_some(), "the others are as they were");
    tracker.reading(fallen(128, 39));
    assert_eq!(mebibytes(tracker.generation()), Some((32, 32)));
}

#[test]
fn another_instance_timeline_or_time_begins_anew() {
    let other = Reading {
        instance: "orders-2".into(),
        ..busy(96)
    };
    let promoted = Reading {
        timeline: Some(8),
        ..busy(96)
    };
    let earlier = busy(10);
    for reading in [other, promoted, earlier] {
        let mut tracker = tracked([0, 32, 64]);
        tracker.reading(reading.clone());
        assert_eq!((tracker.generation(), tracker.newest()), (None, Some(&reading)));
    }
    let mut tracker = tracked([0, 32, 64]);
    tracker.reading(Reading {
        timeline: None,
        ..busy(96)
    });
    assert_eq!(
        mebibytes(tracker.generation()),
        Some((192, 96)),
        "a timeline that is not said is no other one"
    );
}

/// Three segments wait, which were written in 24 s; the last was archived 4 s before.
#[test]
fn lag() {
    let lag = |tracker: &Tracker, seconds| {
        tracker
            .lag(after(seconds))
            .map(|lag| (lag.files, lag.bytes, lag.time.map(|t| t.as_secs())))
    };
    let mut tracker = tracked([0, 32, 64]);
    assert_eq!(lag(&tracker, 64), Some((3, Some(Bytes::mib(48)), Some(24))));
    // Nothing is archived any more.
    assert_eq!(lag(&tracker, 664), Some((3, Some(Bytes::mib(48)), Some(604))));
    tracker.reading(Reading {
        waiting: Some(0),
        ..busy(96)
    });
    assert_eq!(lag(&tracker, 96), Some((0, Some(Bytes::ZERO), Some(0))));
    // What waits now did not 10 s ago, whenever a segment was last archived before that.
    tracker.reading(Reading {
        waiting: Some(1),
        last_archived: Some(at("08:00:00")),
        ..busy(106)
    });
    assert_eq!(lag(&tracker, 106), Some((1, Some(Bytes::mib(16)), Some(10))));
    let mut unknown = Tracker::default();
    assert_eq!(lag(&unknown, 0), None);
    unknown.reading(silent(0));
    assert_eq!(lag(&unknown, 0), None, "nobody says how many wait");
    unknown.reading(Reading {
        waiting: Some(2),
        ..silent(1)
    });
    assert_eq!(lag(&unknown, 1), Some((2, None, None)));
}

#[test]
fn success() {
    let mut tracker = tracked([0]);
    tracker.reading(Reading {
        archived: Some(101),
        failed: Some(12),
        ..busy(20)
    });
    assert_eq!(tracker.success_percent(), Some(25));
    let mut idle = tracked([0]);
    idle.reading(Reading {
        archived: Some(100),
        ..busy(20)
    });
    assert_eq!(idle.success_percent(), None, "nothing was tried");
}

fn samples(tracker: &mut Tracker, per_minute: u64) {
    for i in 0..20 {
        let used = Bytes::mib(1000 + per_minute * i);
        let at = after(i64::try_from(i).unwrap() * 60);
        tracker.sample(Content::Wal, Sample { at, used });
    }
}

/// `pg_wal` grows by 60 MiB a minute, and the volume by 80.
#[test]
fn the_share_of_wal() {
    let mut tracker = tracked((0..=19).map(|i| i * 60));
    assert_eq!(tracker.wal_percent(), None);
    samples(&mut tracker, 80);
    assert_eq!(tracker.wal_percent(), Some(75));
    let mut calm = tracked((0..=19).map(|i| i * 60));
    samples(&mut calm, 1);
    assert_eq!(calm.wal_percent(), None, "9 MiB are nothing to speak of");
}

/// The clock was set back: what was used then is of another time.
#[test]
fn samples_of_another_time_are_forgotten() {
    let mut tracker = Tracker::default();
    samples(&mut tracker, 80);
    assert!(tracker.used(Content::Wal).is_some());
    let earlier = Sample {
        at: after(-3600),
        used: Bytes::mib(5),
    };
    tracker.sample(Content::Both, earlier);
    assert_eq!(tracker.used(Content::Wal), None);
}

/// An exporter that is asked no more, while the primary is: what it said last is no figure of now.
#[test]
fn what_ended_long_ago_is_not_known() {
    let mut tracker = tracked([0, 60, 120]);
    assert_eq!(tracker.wal_size(), Some(Bytes::mib(320)));
    let alone = |seconds| Reading {
        wal: None,
        databases: None,
        ..busy(seconds)
    };
    tracker.reading(alone(400));
    tracker.reading(alone(720));
    assert!(tracker.wal_size().is_some() && tracker.databases().is_some(), "ten minutes count");
    tracker.reading(alone(721));
    assert_eq!((tracker.wal_size(), tracker.databases(), tracker.wal()), (None, None, None));
    assert!(tracker.generation().is_some());
}

/// Where no exporter is asked, the samples of a volume for WAL alone say what is in `pg_wal`.
#[test]
fn samples_of_each_volume_are_its_own() {
    let mut tracker = Tracker::default();
    for (seconds, wal, databases) in [(0, 300, 5000), (60, 360, 5700)] {
        let sample = |mebibytes| Sample {
            at: after(seconds),
            used: Bytes::mib(mebibytes),
        };
        tracker.sample(Content::Wal, sample(wal));
        tracker.sample(Content::Databases, sample(databases));
    }
    let of = |content| Facts::of(calm(content).given, &tracker);
    let (wal, data) = (of(Content::Wal), of(Content::Databases));
    assert_eq!((wal.wal, mebibytes(wal.used)), (Some(Bytes::mib(360)), Some((60, 60))));
    assert_eq!((data.wal, mebibytes(data.used)), (None, Some((700, 60))));
}

/// From what is tracked to the cause: the archive is gone since ten minutes.
#[test]
fn facts_are_made_of_it() {
    let mut tracker = Tracker::default();
    for i in 0..10_u32 {
        let broken = Reading {
            archived: Some(55),
            failed: Some(u64::from(i)),
            waiting: Some(u64::from(i) * 8),
            last_archived: Some(at("11:59:00")),
            last_failed: Some(after(i64::from(i) * 60)),
            ..busy(i64::from(i) * 60)
        };
        tracker.reading(broken);
    }
    let facts = Facts::of(calm(Content::Wal).given, &tracker);
    let names: Vec<&str> = causes(&facts).iter().map(Cause::as_str).collect();
    assert_eq!(names, ["ArchiverFailing"]);
    assert_eq!((facts.wal, facts.generation), (Some(Bytes::mib(740)), tracker.generation()));
    assert_eq!(Facts::of(calm(Content::Wal).given, &Tracker::default()).archiving, None);
}
