use csm_core::disk_full::{Answer, Container, Log, Place, Sign};
use csm_core::explain::findings;
use csm_core::world::{Sample, VolumeKey};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;

use super::*;

fn data() -> Known {
    Known::new(VolumeKey::DATA)
}

fn pg_wal() -> Known {
    Known::new(wal())
}

fn named(name: &str) -> Known {
    Known::new(tablespace(name))
}

/// Exit code 4 is about the volume that holds WAL, whatever else is known.
#[rstest]
#[case::one_volume(4, vec![data()], "full")]
#[case::wal_apart(4, vec![data(), pg_wal()], "- full")]
#[case::with_tablespaces(4, vec![data(), pg_wal(), named("a")], "- full -")]
#[case::data_fills_too(4, vec![data().seen(0, -5), pg_wal()], "- full")]
#[case::another_code(1, vec![data()], "-")]
#[case::another_code_beside_wal(1, vec![data(), pg_wal()], "- -")]
fn an_exit_code_alone(#[case] code: i32, #[case] volumes: Vec<Known>, #[case] expected: &str) {
    assert_eq!(verdicts(&ended(code), false, &Log::NotAsked, &volumes), expected);
}

/// Evidence from before the end of the last resize says nothing: an instance in its back-off still shows it.
#[rstest]
#[case::grown_yesterday(-86_400, "full")]
#[case::just_before_it_ended(-30, "full")]
#[case::clocks_may_be_apart(-4, "-")]
#[case::at_that_moment(0, "-")]
#[case::while_it_waits(20, "-")]
fn a_resize_outdates_what_was_before(#[case] resized: i64, #[case] expected: &str) {
    assert_eq!(verdicts(&ended(4), true, &Log::NotAsked, &[data().resized(resized)]), expected);
}

#[test]
fn a_container_that_was_started_after_the_resize_counts_at_once() {
    let container = ends_again(4);
    assert_eq!(verdicts(&container, false, &Log::NotAsked, &[data().resized(-3)]), "full");
    let mut timeless = container;
    (timeless.ended.started_at, timeless.ended.finished_at) = (None, None);
    assert_eq!(verdicts(&timeless, false, &Log::NotAsked, &[data().resized(-3)]), "-");
    assert_eq!(verdicts(&timeless, false, &Log::NotAsked, &[data()]), "full");
}

#[test]
fn an_end_that_a_running_container_has_left_behind_says_nothing() {
    let mut container = ended(4);
    let weeks_later = data().seen(700, 86_400 * 20);
    container.running = true;
    assert_eq!(verdicts(&container, false, &Log::NotAsked, std::slice::from_ref(&weeks_later)), "-");
    // Just started again, and full still.
    assert_eq!(verdicts(&container, false, &Log::NotAsked, &[data().seen(0, -30)]), "full");
    assert_eq!(verdicts(&container, false, &Log::NotAsked, &[data().seen(10, 86_400)]), "full");
    container.running = false;
    assert_eq!(verdicts(&container, false, &Log::NotAsked, &[weeks_later]), "full");
}

#[test]
fn a_line_of_the_log_from_before_the_growth_says_nothing() {
    let said = |seconds: Option<i64>| match no_space(Place::Data) {
        Log::NoSpace(said) => Log::NoSpace(NoSpace {
            at: seconds.map(at),
            ..said
        }),
        other => other,
    };
    // Inserts failed, the volume grew, and the container ended for another reason.
    for (seconds, expected) in [(Some(-300), "-"), (Some(-60), "full"), (None, "full")] {
        assert_eq!(
            verdicts(&ended(137), false, &said(seconds), &[data().resized(-200)]),
            expected,
            "{seconds:?}"
        );
    }
}

#[test]
fn a_volume_without_a_size_cannot_be_grown() {
    let mut data = data();
    data.size = Bytes::ZERO;
    assert_eq!(verdicts(&ended(4), false, &Log::NotAsked, &[data]), "suspected");
}

/// A data volume beside a WAL volume: one strong sign, or two weak ones.
#[rstest]
#[case::nothing_known(Log::NotAsked, data(), "unknown -")]
#[case::denied(Log::Denied, data(), "unknown -")]
#[case::silent(Log::Silent, data(), "unknown -")]
#[case::room_since(Log::NotAsked, data().seen(300, 20), "- -")]
#[case::log(no_space(Place::Data), data(), "full -")]
#[case::log_of_wal(no_space(Place::Wal), data(), "- full")]
// It may be a filesystem that is none of its volumes.
#[case::log_of_no_place(no_space(Place::Unknown), data(), "suspected -")]
#[case::log_of_no_place_and_figures(no_space(Place::Unknown), data().seen(20, -40), "full -")]
#[case::log_and_room_since(no_space(Place::Data), data().seen(300, 20), "- -")]
#[case::log_and_no_room_since(no_space(Place::Data), data().seen(10, 20), "full -")]
#[case::last_figures(Log::NotAsked, data().seen(20, -40), "suspected -")]
#[case::last_figures_and_silence(Log::Silent, data().seen(20, -40), "suspected -")]
#[case::figures_with_room(Log::NotAsked, data().seen(200, -40), "unknown -")]
#[case::log_and_figures(no_space(Place::Data), data().seen(20, -40), "full -")]
#[case::figures_of_the_smaller_one(Log::NotAsked, data().seen(20, -40).resized(-20), "unknown -")]
fn a_data_volume_beside_wal(#[case] log: Log, #[case] data: Known, #[case] expected: &str) {
    assert_eq!(verdicts(&ends_again(0), false, &log, &[data, pg_wal()]), expected);
}

/// What the instance said last is a second weak sign, once somebody asks it.
#[test]
fn two_weak_signs_make_one() {
    let answer = |available| {
        let mut data = data().seen(20, -40);
        data.answer = Some(Answer {
            at: at(-3),
            available: Bytes::mib(available),
        });
        verdicts(&ends_again(0), false, &Log::NotAsked, &[data, pg_wal()])
    };
    assert_eq!((answer(5).as_str(), answer(500).as_str()), ("full -", "suspected -"));
    // CloudNativePG's phase is one, for the volume that holds WAL.
    let volumes = [data(), pg_wal().seen(20, -40)];
    assert_eq!(verdicts(&ends_again(1), true, &Log::NotAsked, &volumes), "- full");
    assert_eq!(verdicts(&ends_again(1), true, &Log::NotAsked, &[data(), pg_wal()]), "- suspected");
}

/// 1 GiB was filled in 21 s between two samples of a kubelet (lab.md).
#[rstest]
#[case::fast_enough(-40, 60, "suspected -")]
#[case::not_fast_enough(-4, 60, "- -")]
#[case::no_longer_than_a_kubelet_is_silent(-4000, 1, "- -")]
fn the_last_figures_count_with_their_slope(#[case] seconds: i64, #[case] per_ten_seconds: u64, #[case] expected: &str) {
    let mut data = data().seen(200, seconds);
    data.history = vec![Sample {
        at: at(seconds - 10),
        used: Bytes::mib(800 - per_ten_seconds),
    }];
    assert_eq!(verdicts(&ended(0), false, &Log::NotAsked, &[data, pg_wal()]), expected);
}

/// Which volume it was, where there are tablespaces.
#[rstest]
#[case::named(no_space(Place::Tablespace("b".into())), 0, "- - - full")]
#[case::by_oid(no_space(Place::SomeTablespace), 0, "- - suspected suspected")]
#[case::by_oid_and_figures(no_space(Place::SomeTablespace), 20, "- - - full")]
#[case::nowhere(no_space(Place::Unknown), 0, "suspected - suspected suspected")]
#[case::nowhere_and_figures(no_space(Place::Unknown), 20, "- - - full")]
#[case::a_stranger(no_space(Place::Tablespace("gone".into())), 0, "- - suspected suspected")]
#[case::data(no_space(Place::Data), 0, "full - - -")]
fn tablespaces(#[case] log: Log, #[case] available: u64, #[case] expected: &str) {
    let mut b = named("b");
    if available > 0 {
        b = b.seen(available, -40);
    }
    let volumes = [data(), pg_wal(), named("a"), b];
    assert_eq!(verdicts(&ends_again(0), false, &log, &volumes), expected);
}

#[test]
fn the_only_tablespace_needs_no_name() {
    let volumes = [data(), pg_wal(), named("a")];
    assert_eq!(
        verdicts(&ends_again(0), false, &no_space(Place::SomeTablespace), &volumes),
        "- - full"
    );
}

#[test]
fn an_end_that_is_not_again_and_again_is_not_told() {
    assert_eq!(verdicts(&ended(0), false, &Log::NotAsked, &[data(), pg_wal()]), "- -");
    // Without a WAL volume, a full disk ends it with code 4.
    assert_eq!(verdicts(&ends_again(0), false, &Log::NotAsked, &[data()]), "-");
}

/// The first restart is at once, then 10 s, 20 s, …, 5 min; what the kubelet says itself stands.
#[rstest]
#[case(0, None, Some(0))]
#[case(1, None, Some(10))]
#[case(2, None, Some(20))]
#[case(4, None, Some(80))]
#[case(5, None, Some(160))]
#[case(6, None, Some(300))]
#[case(4_000_000_000, None, Some(300))]
#[case(4, Some(40), Some(40))]
fn when_it_is_back(#[case] restarts: u32, #[case] said: Option<i64>, #[case] after: Option<i64>) {
    let mut container = ends_again(4);
    container.restarts = restarts;
    container.back_off = said.map(SignedDuration::from_secs);
    assert_eq!(container.back_at(), after.map(at));
}

#[test]
fn a_long_run_ends_the_row_of_pauses_and_a_running_container_is_back() {
    let mut container = ended(4);
    container.restarts = 7;
    assert_eq!(container.back_at(), Some(at(0)));
    container.running = true;
    assert_eq!(container.back_at(), None);
    let mut extreme = ends_again(4);
    extreme.ended.finished_at = Some(Timestamp::MAX);
    assert_eq!(extreme.back_at(), Some(Timestamp::MAX));
}

fn text(container: &Container, phase: bool, log: &Log, data: Known) -> String {
    let found = found(container, phase, log, &[data, pg_wal()]).swap_remove(0).unwrap();
    findings(&found)
}

#[test]
fn what_is_known_and_what_is_not_is_said() {
    assert_eq!(
        findings(&found(&ended(4), true, &Log::NotAsked, &[data()])[0].clone().unwrap()),
        "its container ended with exit code 4 at 2026-03-01T12:00:00Z; 4 means that there is no room for WAL; CloudNativePG says that \
         the Cluster has not enough disk space; the kubelet starts it again by 2026-03-01T12:00:00Z (restart 1)"
    );
    assert_eq!(
        text(&ends_again(0), false, &Log::Denied, data()),
        "its container ended with exit code 0 at 2026-03-01T12:00:00Z; more is not known: there are no figures of the volume from \
         before and its log may not be read (get on pods/log is denied); the kubelet starts it again by 2026-03-01T12:00:40Z (restart 4)"
    );
    assert_eq!(
        text(&ends_again(0), false, &Log::NotAsked, data().seen(20, -40)),
        "its container ended with exit code 0 at 2026-03-01T12:00:00Z; its last figures, of 2026-03-01T11:59:20Z, left 20 MiB available; \
         more is not known: the manager is not set to read its log (podLogs); the kubelet starts it again by 2026-03-01T12:00:40Z (restart 4)"
    );
    let said = text(&ends_again(0), false, &no_space(Place::Data), data());
    assert!(
        said.contains("its log says \"could not extend file: No space left on device\"; the kubelet"),
        "{said}"
    );
}

#[test]
fn the_strongest_sign_comes_first() {
    let found = found(&ended(4), true, &no_space(Place::Wal), &[data().seen(0, -1)])[0]
        .clone()
        .unwrap();
    assert!(
        found.full && found.signs[0] == Sign::ExitCode && found.signs.last() == Some(&Sign::Phase),
        "{found:?}"
    );
    assert!(found.signs[0].is_strong() && found.signs[1].is_strong() && !found.signs[2].is_strong());
}
