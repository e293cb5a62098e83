use csm_core::disk_full::{Answer, Container, Log, Place};
use csm_core::world::{Sample, VolumeKey};
use csm_units::Bytes;
use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        Just(Place::Data),
        Just(Place::Wal),
        Just(Place::SomeTablespace),
        Just(Place::Unknown),
        prop_oneof![Just("a"), Just("b"), Just("gone")].prop_map(|name| Place::Tablespace(name.into())),
    ]
}

fn log() -> impl Strategy<Value = Log> {
    prop_oneof![
        Just(Log::NotAsked),
        Just(Log::Unread),
        Just(Log::Denied),
        Just(Log::Silent),
        place().prop_map(no_space),
    ]
}

fn container() -> impl Strategy<Value = Container> {
    let codes = prop_oneof![Just(0), Just(1), Just(4), any::<i32>()];
    let second = || proptest::option::weighted(0.9, -600_i64..10);
    (codes, second(), second(), 0_u32..9, any::<bool>()).prop_map(|(exit_code, start, finish, restarts, running)| {
        let mut container = ended(exit_code);
        (container.ended.started_at, container.ended.finished_at) = (start.map(at), finish.map(at));
        (container.restarts, container.running) = (restarts, running);
        container
    })
}

fn known(volume: VolumeKey) -> impl Strategy<Value = Known> {
    let figures = proptest::option::of((0_u64..1000, -300_i64..60));
    let before = proptest::option::of((0_u64..1000, 1_i64..60));
    let answer = proptest::option::of(0_u64..100);
    (figures, before, proptest::option::of(-900_i64..30), answer).prop_map(move |(figures, before, resized, answer)| {
        let mut known = Known::new(volume.clone());
        if let Some((available, seconds)) = figures {
            known = known.seen(available, seconds);
            known.history = before
                .map(|(used, ago)| Sample {
                    at: at(seconds - ago),
                    used: Bytes::mib(used),
                })
                .into_iter()
                .collect();
        }
        known.resized = resized.map(at);
        known.answer = answer.map(|available| Answer {
            at: at(-1),
            available: Bytes::mib(available),
        });
        known
    })
}

fn volumes() -> impl Strategy<Value = Vec<Known>> {
    let each = (
        known(VolumeKey::DATA),
        proptest::option::of(known(wal())),
        proptest::option::of(known(tablespace("a"))),
        proptest::option::of(known(tablespace("b"))),
    );
    each.prop_map(|(data, wal, a, b)| [Some(data), wal, a, b].into_iter().flatten().collect())
}

fn full(container: &Container, phase: bool, log: &Log, volumes: &[Known]) -> Vec<bool> {
    let found = found(container, phase, log, volumes);
    found.iter().map(|found| found.as_ref().is_some_and(|found| found.full)).collect()
}

fn no_less(before: &[bool], after: &[bool]) -> bool {
    before.iter().zip(after).all(|(before, after)| after >= before)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What was full with less evidence is full with more of it.
    #[test]
    fn more_evidence_never_takes_a_verdict_back(container in container(), place in place(), volumes in volumes()) {
        let quiet = full(&container, false, &Log::Silent, &volumes);
        prop_assert!(no_less(&quiet, &full(&container, true, &Log::Silent, &volumes)));
        prop_assert!(no_less(&quiet, &full(&container, false, &no_space(place.clone()), &volumes)));
        let mut fuller = volumes.clone();
        for known in &mut fuller {
            if known.figures.is_none() {
                *known = known.clone().seen(0, -1);
            }
            known.answer = Some(Answer { at: at(-1), available: Bytes::ZERO });
        }
        let log = no_space(place);
        prop_assert!(no_less(&full(&container, false, &log, &volumes), &full(&container, false, &log, &fuller)));
    }

    /// Whatever is known, evidence from before the end of the last resize never counts: the same end seen again after a
    /// rescue makes no second one.
    #[test]
    fn a_rescue_is_not_repeated_for_what_it_was_made_for(container in container(), phase in any::<bool>(), log in log(), volumes in volumes()) {
        let mut rescued = volumes;
        let end = container.ended.finished_at.max(container.ended.started_at).unwrap_or_else(|| at(0));
        for known in &mut rescued {
            known.resized = Some(end);
        }
        prop_assert!(found(&container, phase, &log, &rescued).iter().all(Option::is_none));
    }

    /// One weak sign is never enough, and nothing without a sign is full.
    #[test]
    fn a_verdict_rests_on_one_strong_sign_or_two_weak_ones(container in container(), phase in any::<bool>(), log in log(), volumes in volumes()) {
        for (found, known) in found(&container, phase, &log, &volumes).iter().zip(&volumes) {
            let Some(found) = found else { continue };
            let strong = found.signs.iter().any(csm_core::disk_full::Sign::is_strong);
            prop_assert_eq!(found.full, strong || found.signs.len() >= 2);
            let apart = SignedDuration::from_secs(5);
            let ended_after = |resized| container.ended.finished_at > Some(resized + apart);
            let newer = known.resized.is_none_or(|resized| ended_after(resized) || container.ended.started_at > Some(resized));
            prop_assert!(newer);
        }
    }

    /// The order in which volumes are listed does not matter.
    #[test]
    fn order_does_not_matter(container in container(), phase in any::<bool>(), log in log(), volumes in volumes()) {
        let mut forwards = found(&container, phase, &log, &volumes);
        let backwards: Vec<_> = volumes.into_iter().rev().collect();
        let found = found(&container, phase, &log, &backwards);
        forwards.reverse();
        prop_assert_eq!(forwards, found);
    }
}
