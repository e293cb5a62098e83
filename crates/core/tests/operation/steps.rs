//! An operation, step by step, from nothing but its record and the PVCs.

use std::sync::Arc;

use csm_api::{Outcome, Phase, PvcPhase, Reason, VerifiedBy};
use csm_core::breaker::Ending;
use csm_core::operation::{Context, Progress, follow, is_behind, is_overtaken, overtaken, refuse};
use csm_core::world::{Member, Resize, ResizeStage, Volume};
use csm_units::Bytes;
use jiff::SignedDuration;

use crate::support::*;

fn phases(progress: &Progress) -> Vec<PvcPhase> {
    progress.status.pvc_statuses.iter().map(|s| s.phase).collect()
}

fn patched(progress: &Progress) -> Vec<&str> {
    progress.patch.iter().map(|p| p.pvc.as_str()).collect()
}

#[test]
fn one_at_a_time_in_order_each_followed_to_its_filesystem() {
    let mut event = event(1);
    let mut world = volume(vec![
        member(1, Bytes::gib(10), Bytes::gib(10)),
        member(2, Bytes::gib(10), Bytes::gib(10)),
    ]);
    let progress = step(&mut event, context(&world, 1));
    assert_eq!((progress.status.phase, patched(&progress)), (Some(Phase::InProgress), vec!["pg-2"]));
    assert_eq!(
        progress.patch.first().map(|p| (p.uid.as_str(), p.to)),
        Some(("uid-2", Bytes::gib(15)))
    );

    let second = |world: &mut Volume, change: &dyn Fn(&mut Member)| change(world.members.last_mut().expect("pg-2"));
    second(&mut world, &|m| {
        m.request = Bytes::gib(15);
        m.resize = Some(resize(ResizeStage::Controller));
    });
    let progress = step(&mut event, context(&world, 2));
    assert_eq!(
        (phases(&progress), patched(&progress)),
        (vec![PvcPhase::ControllerResizing, PvcPhase::Pending], vec![])
    );
    second(&mut world, &|m| m.resize = Some(resize(ResizeStage::NodePending)));
    assert_eq!(
        phases(&step(&mut event, context(&world, 3))),
        [PvcPhase::WaitingForNode, PvcPhase::Pending]
    );
    // The PVC says that it is done: the next may go, while this one waits for figures.
    second(&mut world, &|m| {
        m.size = Bytes::gib(15);
        m.resize = None;
    });
    let progress = step(&mut event, context(&world, 4));
    assert_eq!(
        (phases(&progress), patched(&progress)),
        (vec![PvcPhase::Verifying, PvcPhase::Pending], vec!["pg-1"])
    );
    // 90 % of the 5 GiB asked for, exactly.
    let grown = Bytes::mib(9800).saturating_add(Bytes::gib(5).mul_div(90, 100));
    second(&mut world, &|m| {
        m.observation = Some(figures(grown.saturating_sub(Bytes::new(1)), 5));
    });
    assert_eq!(
        phases(&step(&mut event, context(&world, 5))),
        [PvcPhase::Verifying, PvcPhase::Pending]
    );
    second(&mut world, &|m| m.observation = Some(figures(grown, 6)));
    let progress = step(&mut event, context(&world, 6));
    assert_eq!(phases(&progress), [PvcPhase::Completed, PvcPhase::Pending]);
    assert_eq!(
        progress.status.pvc_statuses.first().and_then(|s| s.verified_by),
        Some(VerifiedBy::Filesystem)
    );

    let first = world.members.first_mut().expect("pg-1");
    (first.request, first.size, first.observation) = (Bytes::gib(15), Bytes::gib(15), Some(figures(Bytes::gib(15), 7)));
    let progress = step(&mut event, context(&world, 7));
    assert_eq!(progress.ended(), Some(Phase::Completed));
    assert_eq!(
        progress.status.conditions.first().map(|c| c.message.as_str()),
        Some("2/2 PVCs expanded successfully")
    );
    // It has ended: nothing changes any more.
    assert_eq!(follow(&event, context(&world, 99)).status, progress.status);
}

#[test]
fn parallelism_counts_what_other_volumes_are_resizing() {
    let world = volume(vec![
        member(1, Bytes::gib(10), Bytes::gib(10)),
        member(2, Bytes::gib(10), Bytes::gib(10)),
    ]);
    let busy = |n| Context {
        in_flight_elsewhere: n,
        ..context(&world, 1)
    };
    assert_eq!(patched(&follow(&event(2), busy(0))), ["pg-2", "pg-1"]);
    assert_eq!(patched(&follow(&event(2), busy(1))), ["pg-2"]);
    assert!(patched(&follow(&event(2), busy(2))).is_empty());
    assert!(follow(&event(2), busy(2)).ended().is_none());
}

#[test]
fn without_figures_the_pvcs_own_word_counts_and_is_recorded_as_such() {
    let done = |change: &dyn Fn(&mut Member)| {
        let mut m = member(1, Bytes::gib(15), Bytes::gib(15));
        change(&mut m);
        m
    };
    let by = |first: Member, seconds: i64| {
        let world = volume(vec![first, member(2, Bytes::gib(15), Bytes::gib(15))]);
        let mut event = event(2);
        step(&mut event, context(&world, 0));
        let progress = step(&mut event, context(&world, seconds));
        progress.status.pvc_statuses.last().and_then(|s| s.verified_by)
    };
    assert_eq!(by(done(&|_| ()), 1), None, "old figures are waited for");
    assert_eq!(by(done(&|m| m.pod_running = false), 1), Some(VerifiedBy::PvcStatus));
    assert_eq!(by(done(&|_| ()), 301), Some(VerifiedBy::PvcStatus), "a kubelet that has gone quiet");
    assert_eq!(
        by(done(&|m| m.observation = Some(figures(Bytes::mib(9800), 200))), 301),
        None,
        "figures that show no growth are believed"
    );
    let pending = |m: &mut Member| {
        m.pod_running = false;
        m.resize = Some(resize(ResizeStage::NodePending));
    };
    assert_eq!(by(done(&pending), 1), None, "the node is not done");
}

#[test]
fn a_pvc_that_is_gone_holds_nothing_up() {
    let world = volume(vec![member(1, Bytes::gib(15), Bytes::gib(15))]);
    let mut event = event(1);
    let progress = step(&mut event, context(&world, 1));
    assert_eq!(
        progress.status.pvc_statuses.first().and_then(|s| s.verified_by),
        Some(VerifiedBy::Gone)
    );
    let gone = Context {
        volume: None,
        ..context(&world, 2)
    };
    let progress = step(&mut event, gone);
    assert_eq!(progress.ended(), Some(Phase::Completed));
    let said = |progress: &Progress| progress.status.conditions.first().map(|c| c.message.clone());
    assert_eq!(said(&progress).as_deref(), Some("1/2 PVCs expanded successfully, 1 gone"));

    // Where all are gone before anything was asked of them, nothing was expanded.
    let mut event = self::event(1);
    let progress = step(&mut event, gone);
    assert_eq!(
        (progress.ended(), progress.status.outcome()),
        (Some(Phase::Failed), Some(Outcome::Gone))
    );
    assert_eq!(said(&progress).as_deref(), Some("0/2 PVCs expanded successfully, 2 gone"));
    assert_eq!(Ending::of(&event).map(|(_, ending)| ending), Some(Ending::Neutral));
    assert_eq!(progress.status.next_retry_time, None);
}

#[test]
fn a_refusal_ends_it_and_the_next_waits_longer_each_time() {
    let world = volume(vec![
        member(1, Bytes::gib(10), Bytes::gib(10)),
        member(2, Bytes::gib(10), Bytes::gib(10)),
    ]);
    for (before, wait) in [(0, 1), (1, 5), (2, 15), (7, 15)] {
        let mut event = event(1);
        let mut status = step(&mut event, context(&world, 0)).status;
        refuse(&mut status, "uid-2", "exceeded quota: small");
        event.status = Some(status);
        let progress = step(
            &mut event,
            Context {
                failures_before: before,
                ..context(&world, 1)
            },
        );
        assert_eq!((progress.ended(), patched(&progress)), (Some(Phase::Failed), vec![]));
        let condition = progress.status.conditions.first().expect("a condition");
        assert_eq!(
            (condition.reason.as_str(), condition.message.as_str()),
            ("Refused", "0/2 PVCs expanded successfully; pg-2: exceeded quota: small")
        );
        assert_eq!(
            progress.status.next_retry_time.map(|t| t.0),
            Some(at(1) + SignedDuration::from_mins(wait))
        );
        assert_eq!(progress.status.retry_count, Some(before + 1));
    }
}

#[test]
fn infeasible_fails_with_the_drivers_words_and_others_are_not_begun() {
    let mut bad = member(2, Bytes::gib(15), Bytes::gib(10));
    bad.resize = Some(Resize {
        since: None,
        stage: ResizeStage::NodeInfeasible,
        error: Some(Arc::from("OutOfRange: at most 12Gi")),
        allocated: None,
    });
    let world = volume(vec![member(1, Bytes::gib(10), Bytes::gib(10)), bad]);
    let progress = step(&mut event(2), context(&world, 1));
    let condition = progress.status.conditions.first().expect("a condition");
    assert_eq!((progress.ended(), condition.reason.as_str()), (Some(Phase::Failed), "Infeasible"));
    assert!(condition.message.contains("OutOfRange: at most 12Gi"), "{}", condition.message);
    assert!(patched(&progress).is_empty());
}

/// A journal from before failures had a cause, and one that was lowered once it had been found infeasible.
#[test]
fn what_was_infeasible_stays_so() {
    let infeasible = |resized: Resize| {
        let mut bad = member(2, Bytes::gib(15), Bytes::gib(10));
        bad.resize = Some(resized);
        volume(vec![member(1, Bytes::gib(10), Bytes::gib(10)), bad])
    };
    let mut old = event(1);
    step(&mut old, context(&infeasible(resize(ResizeStage::NodeInfeasible)), 1));
    let status = old.status.as_mut().expect("a status");
    (status.phase, status.completion_time, status.conditions) = (Some(Phase::InProgress), None, Vec::new());
    for pvc in &mut status.pvc_statuses {
        pvc.failure = None;
    }
    let progress = step(&mut old, context(&infeasible(resize(ResizeStage::NodeInfeasible)), 2));
    assert_eq!(progress.status.outcome(), Some(Outcome::Infeasible));

    let mut event = event(1);
    step(&mut event, context(&infeasible(resize(ResizeStage::ControllerInfeasible)), 1));
    let lowered = volume(vec![
        member(1, Bytes::gib(10), Bytes::gib(10)),
        member(2, Bytes::gib(11), Bytes::gib(10)),
    ]);
    let progress = step(&mut event, context(&lowered, 2));
    assert_eq!(progress.status.outcome(), Some(Outcome::Infeasible));
    let said = progress.status.conditions.first().map(|c| c.message.as_str()).unwrap_or_default();
    assert!(said.contains("cannot grow to 15Gi; its request was lowered to 11Gi"), "{said}");
}

/// Somebody wants the PVC smaller: that says nothing of the storage, and no breaker counts it.
#[test]
fn a_request_that_somebody_lowered_stops_it() {
    let mut event = event(1);
    let asked = volume(vec![
        member(1, Bytes::gib(10), Bytes::gib(10)),
        member(2, Bytes::gib(15), Bytes::gib(10)),
    ]);
    assert!(step(&mut event, context(&asked, 1)).ended().is_none());
    let lowered = volume(vec![
        member(1, Bytes::gib(10), Bytes::gib(10)),
        member(2, Bytes::gib(12), Bytes::gib(10)),
    ]);
    let progress = step(&mut event, context(&lowered, 2));
    assert_eq!(
        (progress.ended(), progress.status.outcome()),
        (Some(Phase::Failed), Some(Outcome::Interrupted))
    );
    assert_eq!(Ending::of(&event).map(|(_, ending)| ending), Some(Ending::Neutral));
    let said = progress.status.conditions.first().map(|c| c.message.as_str());
    assert_eq!(
        said,
        Some("0/2 PVCs expanded successfully; pg-2: its request was lowered to 12Gi while it grew to 15Gi")
    );
    assert!(progress.status.next_retry_time.is_some(), "it is not asked for again at once");
}

#[test]
fn a_partial_failure_waits_for_those_that_grow() {
    let mut bad = member(2, Bytes::gib(15), Bytes::gib(10));
    bad.resize = Some(resize(ResizeStage::NodeInfeasible));
    let mut growing = member(1, Bytes::gib(15), Bytes::gib(10));
    growing.resize = Some(resize(ResizeStage::Controller));
    let mut event = event(2);
    assert!(
        step(&mut event, context(&volume(vec![growing.clone(), bad.clone()]), 1))
            .ended()
            .is_none()
    );
    (growing.size, growing.resize, growing.observation) = (Bytes::gib(15), None, Some(figures(Bytes::gib(15), 2)));
    let progress = step(&mut event, context(&volume(vec![growing, bad]), 2));
    assert_eq!(
        (progress.ended(), progress.status.conditions.first().map(|c| c.reason.clone())),
        (Some(Phase::Failed), Some("PartialFailure".into()))
    );
}

#[test]
fn a_newer_intent_stops_it_where_it_is() {
    let mut growing = member(2, Bytes::gib(15), Bytes::gib(10));
    growing.resize = Some(resize(ResizeStage::Controller));
    let waiting = member(1, Bytes::gib(10), Bytes::gib(10));
    let mut event = event(1);
    let paused = |world| Context {
        permission: Err(Reason::Paused),
        ..context(world, 1)
    };
    let world = volume(vec![waiting.clone(), growing.clone()]);
    assert!(
        step(&mut event, paused(&world)).ended().is_none(),
        "what was patched is followed to its end"
    );
    (growing.size, growing.resize, growing.observation) = (Bytes::gib(15), None, Some(figures(Bytes::gib(15), 2)));
    let world = volume(vec![waiting, growing]);
    let progress = step(&mut event, paused(&world));
    let condition = progress.status.conditions.first().expect("a condition");
    assert_eq!((progress.ended(), condition.reason.as_str()), (Some(Phase::Failed), "Interrupted"));
    assert_eq!(
        condition.message,
        "1/2 PVCs expanded successfully; stopped before the others: Paused"
    );
    assert_eq!(progress.status.next_retry_time, None);
}

/// A patch that was never answered may come to the API server at any time: after the end it must be refused.
#[test]
fn what_may_have_been_asked_is_withdrawn_before_the_end() {
    fn paused(world: &Volume) -> Context<'_> {
        Context {
            permission: Err(Reason::Paused),
            ..context(world, 2)
        }
    }
    let small = |n| member(n, Bytes::gib(10), Bytes::gib(10));
    let mut world = volume(vec![small(1), small(2)]);
    let mut event = event(1);
    assert_eq!(
        follow(&event, paused(&world)).ended(),
        Some(Phase::Failed),
        "nothing was asked before its record said so"
    );

    assert_eq!(patched(&step(&mut event, context(&world, 1))), ["pg-2"]);
    let progress = follow(&event, paused(&world));
    let withdrawn: Vec<_> = progress.withdraw.iter().map(|w| (w.pvc.as_str(), w.operation.as_str())).collect();
    assert_eq!(withdrawn, [("pg-2", "pg-expansion-1"), ("pg-1", "pg-expansion-1")]);
    assert_eq!((progress.ended(), patched(&progress)), (None, vec![]));
    withdraw(&mut world, &progress.withdraw[0]);
    // What has begun to stop is not begun anew: one that was withdrawn could be asked again without an answer.
    let progress = follow(&event, context(&world, 3));
    assert_eq!((progress.withdraw.len(), progress.ended(), patched(&progress)), (1, None, vec![]));
    withdraw(&mut world, &progress.withdraw[0]);
    let progress = follow(&event, context(&world, 4));
    assert_eq!((progress.withdraw.len(), progress.ended()), (0, Some(Phase::Failed)));
    assert_eq!(progress.status.outcome(), Some(Outcome::Interrupted));

    // It came first.
    world.members[1].request = Bytes::gib(15);
    let progress = follow(&event, paused(&world));
    assert_eq!(progress.status.pvc_statuses[0].phase, PvcPhase::ControllerResizing);
    assert_eq!((progress.withdraw.len(), progress.ended()), (0, None));
}

#[test]
fn a_record_that_comes_late_waits_and_then_has_nothing_to_do() {
    let (mut begun, mut late) = (event(2), event(2));
    late.metadata.name = Some("pg-expansion-2".to_owned());
    let small = volume(vec![
        member(1, Bytes::gib(10), Bytes::gib(10)),
        member(2, Bytes::gib(10), Bytes::gib(10)),
    ]);
    // Neither has begun: the first by time and name goes on.
    assert!(is_behind(&late, &begun) && !is_behind(&begun, &late));
    step(&mut begun, context(&small, 1));
    assert!(is_behind(&late, &begun) && !is_behind(&begun, &late));
    assert!(!is_overtaken(&late, [&begun, &late].into_iter()), "nothing has grown yet");

    let mut grown = vec![member(1, Bytes::gib(15), Bytes::gib(15)), member(2, Bytes::gib(15), Bytes::gib(15))];
    for member in &mut grown {
        member.observation = Some(figures(Bytes::gib(15), 2));
    }
    let progress = step(&mut begun, context(&volume(grown), 3));
    assert_eq!(progress.ended(), Some(Phase::Completed));
    assert!(!is_behind(&late, &begun) && is_overtaken(&late, [&begun, &late].into_iter()));
    let end = overtaken(at(4));
    assert_eq!(
        (end.ended(), end.patch.len(), end.status.pvc_statuses.len()),
        (Some(Phase::Completed), 0, 0)
    );
    // One that was decided on the sizes of now is none of these.
    let mut next = event(2);
    for pvc in &mut next.spec.expansion.affected_pvcs {
        pvc.original_size = Bytes::gib(15);
    }
    next.spec.expansion.requested_size = Bytes::gib(23);
    assert!(!is_overtaken(&next, [&begun, &next].into_iter()));
}

#[test]
fn a_request_that_somebody_lowered_is_a_failure() {
    let mut event = event(1);
    let mut growing = member(2, Bytes::gib(15), Bytes::gib(10));
    growing.resize = Some(resize(ResizeStage::Controller));
    step(
        &mut event,
        context(&volume(vec![member(1, Bytes::gib(10), Bytes::gib(10)), growing]), 1),
    );
    let lowered = volume(vec![
        member(1, Bytes::gib(10), Bytes::gib(10)),
        member(2, Bytes::gib(12), Bytes::gib(12)),
    ]);
    let progress = step(&mut event, context(&lowered, 2));
    assert_eq!(progress.ended(), Some(Phase::Failed));
    assert!(
        progress.status.conditions.iter().any(|c| c.message.contains("lowered to 12Gi")),
        "{:?}",
        progress.status.conditions
    );
}
