//! Circuit breakers and the runaway stop.

use csm_api::BreakerState;
use csm_core::breaker::{Breaker, BreakerRules, Circuit, Ending, Opened, RunawayRules, judge, runaway, unrecorded};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rstest::rstest;

use Ending::{Closed, Failed, Neutral, Succeeded};

const RULES: BreakerRules = BreakerRules {
    max_failures: 3,
    reset_after: SignedDuration::from_mins(60),
};

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + 60 * minute).expect("a time")
}

/// These endings, one a minute from 0 on.
fn endings(list: &[Ending]) -> Vec<(Timestamp, Ending)> {
    (0..).map(minute).zip(list.iter().copied()).collect()
}

#[rstest]
#[case::none(&[], 0, None)]
#[case::two(&[Failed, Failed], 2, None)]
#[case::three(&[Failed, Failed, Failed], 3, Some(2))]
#[case::with_a_stop_between(&[Failed, Failed, Neutral, Failed], 3, Some(3))]
#[case::with_a_success_between(&[Failed, Failed, Succeeded, Failed], 1, None)]
#[case::closed_by_a_person(&[Failed, Failed, Failed, Closed, Failed], 1, None)]
#[case::the_trial_failed(&[Failed, Failed, Failed, Failed], 4, Some(3))]
#[case::the_trial_was_stopped(&[Failed, Failed, Failed, Neutral], 3, Some(2))]
#[case::the_trial_succeeded(&[Failed, Failed, Failed, Succeeded], 0, None)]
fn failures_in_a_row(#[case] list: &[Ending], #[case] failures: u32, #[case] opened: Option<i64>) {
    let circuit = judge(endings(list), [], RULES);
    let found = circuit.opened.map(|(at, _)| at);
    assert_eq!((circuit.failures, found), (failures, opened.map(minute)));
}

#[test]
fn an_open_breaker_lets_one_try_after_its_time() {
    let open = judge(endings(&[Failed, Failed, Failed]), [], RULES);
    let with = |starts: &[i64]| judge(endings(&[Failed, Failed, Failed]), starts.iter().map(|at| minute(*at)), RULES);
    // One that hangs in its storage since before is no trial.
    let (hangs, trial) = (with(&[1]), with(&[1, 62]));
    assert_eq!(open.resets_at(), Some(minute(62)));
    for (at, state, held, held_by_trial) in [
        (minute(2), Breaker::Open, true, true),
        (minute(61), Breaker::Open, true, true),
        (minute(62), Breaker::HalfOpen, false, true),
        (minute(71), Breaker::HalfOpen, false, true),
        // A trial that hangs as well is given up.
        (minute(72), Breaker::HalfOpen, false, false),
        (minute(999), Breaker::HalfOpen, false, false),
    ] {
        let found = (open.state(at), open.holds(at), hangs.holds(at), trial.holds(at));
        assert_eq!(found, (state, held, held, held_by_trial));
    }
    let closed = judge([], [minute(0)], RULES);
    assert!(!closed.holds(minute(0)), "what is under way holds nothing while it is closed");
}

#[test]
fn of_one_moment_a_person_has_the_last_word() {
    let at_once = [Closed, Succeeded, Failed, Failed, Failed].map(|ending| (minute(0), ending));
    assert_eq!(judge(at_once, [], RULES).opened, None);
}

fn any_endings() -> impl Strategy<Value = Vec<(Timestamp, Ending)>> {
    let ending = prop_oneof![5 => Just(Failed), 1 => Just(Neutral), 1 => Just(Succeeded), 1 => Just(Closed)];
    prop::collection::vec((0..200_i64, ending).prop_map(|(at, ending)| (minute(at), ending)), 0..24)
}

proptest! {
    /// By the words of the specification once more: open where the failures since the last success, or closing, are as many.
    #[test]
    fn open_after_so_many_failures_in_a_row_and_never_else(list in any_endings(), max in 1..6_u32, begun in prop::option::of(0..400_i64), now in 0..400_i64) {
        let rules = BreakerRules { max_failures: max, ..RULES };
        let under_way = begun.map(minute);
        let circuit = judge(list.clone(), under_way, rules);
        let mut sorted = list.clone();
        sorted.sort();
        let since = sorted.iter().rposition(|(_, e)| matches!(e, Succeeded | Closed)).map_or(0, |at| at + 1);
        let failed: Vec<_> = sorted[since..].iter().filter(|(_, e)| *e == Failed).collect();
        prop_assert_eq!(circuit.failures as usize, failed.len());
        prop_assert_eq!(circuit.opened.is_some(), failed.len() >= max as usize);
        prop_assert_eq!(circuit.opened.map(|(at, _)| at), failed.last().filter(|_| failed.len() >= max as usize).map(|(at, _)| *at));
        // In whatever order the ledger is read.
        let mut turned = list.clone();
        turned.reverse();
        prop_assert_eq!(judge(turned, under_way, rules), circuit);
        // Time alone never closes it, and never opens it again.
        let (earlier, later) = (circuit.state(minute(now)), circuit.state(minute(now + 1)));
        prop_assert!(earlier == later || (earlier, later) == (Breaker::Open, Breaker::HalfOpen));
        // More failures that are allowed never open it sooner.
        let patient = judge(list.clone(), under_way, BreakerRules { max_failures: max + 1, ..rules });
        prop_assert!(circuit.opened.is_some() || patient.opened.is_none());
        // A person always closes it.
        let last = sorted.last().map_or(minute(0), |(at, _)| *at);
        let closed = judge(list.into_iter().chain([(last, Closed)]), under_way, rules);
        prop_assert!(!closed.holds(minute(now)));
    }

    #[test]
    fn half_open_never_lets_two_go(list in any_endings(), since in 0..10_i64) {
        let resets_at = judge(list.clone(), [], RULES).resets_at().unwrap_or(minute(0));
        let circuit = judge(list, [resets_at], RULES);
        let now = resets_at + SignedDuration::from_mins(since);
        prop_assert_eq!(circuit.holds(now), circuit.opened.is_some());
    }
}

#[rstest]
#[case::few_clusters(3, 3, false)]
#[case::the_minimum(10, 10, true)]
#[case::below_the_share(19, 100, false)]
#[case::the_share(20, 100, true)]
#[case::the_share_rounded_up(20, 101, false)]
#[case::of_many(2000, 10_000, true)]
fn a_share_of_the_fleet(#[case] grown: u32, #[case] managed: u32, #[case] opens: bool) {
    let rules = RunawayRules { share: 20, minimum: 10 };
    let starts: Vec<_> = (0..grown).map(|i| minute(i64::from(i % 60))).collect();
    let circuit = runaway(&starts, managed, None, rules, minute(59));
    assert_eq!(circuit.opened.is_some(), opens);
    assert!(matches!(circuit.opened, None | Some((_, Opened::Runaway { .. }))));
    // An hour later they count no more; and a person says when it is over.
    assert_eq!(runaway(&starts, managed, None, rules, minute(120)).opened, None);
    assert_eq!(runaway(&starts, managed, Some(minute(59)), rules, minute(59)).opened, None);
}

#[test]
fn every_change_is_recorded_once() {
    let open = judge(endings(&[Failed, Failed, Failed]), [], RULES);
    let again = judge(endings(&[Failed, Failed, Failed, Failed]), [], RULES);
    let closed = judge(endings(&[Failed, Failed, Failed, Succeeded]), [], RULES);
    let (is_open, is_closed) = (BreakerState::Open, BreakerState::Closed);
    let told = [(minute(2), is_open)];
    let now = minute(9);
    for (circuit, records, due) in [
        (&open, &[][..], Some((is_open, minute(2)))),
        (&open, &told, None),
        (&open, &[(minute(1), is_closed)], Some((is_open, minute(2)))),
        (&again, &told, Some((is_open, minute(3)))),
        (&closed, &told, Some((is_closed, minute(3)))),
        (&closed, &[told[0], (minute(3), is_closed)], None),
        (&closed, &[], None),
        // Settings that allow more close it as well, and no growth tells when.
        (&Circuit::default(), &told, Some((is_closed, now))),
    ] {
        assert_eq!(unrecorded(circuit, records.iter().copied(), now), due);
    }
}
