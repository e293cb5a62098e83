//! A size that the storage cannot give: the driver's words, a smaller size, and what is learned.

use csm_api::{Growth, Phase, PvcPhase, Reason};
use csm_core::operation::{Context, Patch, refuse};
use csm_core::world::{ResizeStage, Volume};
use csm_units::Bytes;

use crate::support::*;

/// pg-2 asks for 15Gi, and its driver has said that it cannot.
fn refused_by_the_driver() -> (Growth, Volume) {
    let (mut event, mut volume) = (
        event(1),
        volume(vec![
            member(1, Bytes::gib(10), Bytes::gib(10)),
            member(2, Bytes::gib(15), Bytes::gib(10)),
        ]),
    );
    step(&mut event, context(&volume, 1));
    says_infeasible(&mut volume, Bytes::gib(15));
    (event, volume)
}

fn says_infeasible(volume: &mut Volume, size: Bytes) {
    let mut resize = resize(ResizeStage::ControllerInfeasible);
    resize.error = Some("the array is full".into());
    resize.allocated = Some(size);
    volume.members[1].resize = Some(resize);
}

fn patch(to: Bytes, instead_of: Bytes) -> Patch {
    Patch {
        pvc: "pg-2".to_owned(),
        uid: "uid-2".to_owned(),
        to,
        instead_of: Some(instead_of),
    }
}

#[test]
fn it_asks_for_half_the_way_and_tells_what_it_got() {
    let (mut event, mut volume) = refused_by_the_driver();
    let progress = step(&mut event, context(&volume, 2));
    let status = &progress.status.pvc_statuses[0];
    assert_eq!(
        (status.phase, progress.status.phase),
        (PvcPhase::SteppingBack, Some(Phase::InProgress))
    );
    assert_eq!(
        progress.patch,
        [patch(Bytes::gib(12), Bytes::gib(15))],
        "12.5Gi, in whole GiB; the other PVC is left alone"
    );

    // The PVC still shows what was said of 15Gi.
    volume.members[1].request = Bytes::gib(12);
    let progress = step(&mut event, context(&volume, 3));
    assert_eq!((progress.patch.len(), progress.ended()), (0, None));

    volume.members[1].size = Bytes::gib(12);
    volume.members[1].resize = None;
    let progress = step(&mut event, context(&volume, 4));
    assert_eq!(progress.status.pvc_statuses[0].phase, PvcPhase::Verifying);
    assert_eq!(progress.patch.len(), 0, "the other PVC is not asked for what was found infeasible");
    volume.members[1].observation = Some(figures(Bytes::mib(11_900), 4));
    let progress = step(&mut event, context(&volume, 5));
    assert_eq!(progress.ended(), Some(Phase::Failed));
    let status = &progress.status.pvc_statuses[0];
    assert_eq!(status.learned_ceiling, Some(Bytes::gib(12)));
    assert_eq!(
        status.error.as_deref(),
        Some("the array is full; it stepped back to 12Gi, which it has")
    );
    assert_eq!(progress.status.conditions[0].reason, "Infeasible");
    assert!(progress.status.next_retry_time.is_some() && progress.status.retry_basis.is_some());
}

#[test]
fn three_halvings_and_no_more() {
    let (mut event, mut volume) = refused_by_the_driver();
    let mut asked = Vec::new();
    for second in 2..20 {
        let progress = step(&mut event, context(&volume, second));
        let Some(patch) = progress.patch.first() else {
            assert_eq!(progress.ended(), Some(Phase::Failed));
            break;
        };
        assert_eq!(patch.instead_of, Some(volume.members[1].request));
        asked.push(patch.to);
        volume.members[1].request = patch.to;
        says_infeasible(&mut volume, patch.to);
    }
    assert_eq!(asked, [Bytes::gib(12), Bytes::gib(11)], "nothing is left between 10Gi and 11Gi");
    let status = &event.status.as_ref().expect("a status").pvc_statuses[0];
    assert_eq!(status.learned_ceiling, Some(Bytes::gib(10)));
}

#[test]
fn an_api_server_that_knows_no_stepping_back_has_the_last_word() {
    let (mut event, volume) = refused_by_the_driver();
    step(&mut event, context(&volume, 2));
    let status = event.status.as_mut().expect("a status");
    refuse(status, "uid-2", "field can not be less than previous value");
    let progress = step(&mut event, context(&volume, 3));
    assert_eq!(progress.ended(), Some(Phase::Failed));
    let error = progress.status.pvc_statuses[0].error.as_deref();
    assert_eq!(
        error,
        Some("the array is full; it cannot ask for 12Gi instead: field can not be less than previous value")
    );
}

#[test]
fn a_person_has_the_last_word() {
    let (mut event, mut volume) = refused_by_the_driver();
    let paused = |volume| Context {
        permission: Err(Reason::Paused),
        ..context(volume, 2)
    };
    let progress = step(&mut event.clone(), paused(&volume));
    assert_eq!((progress.ended(), progress.patch.len()), (Some(Phase::Failed), 0));

    step(&mut event, context(&volume, 2));
    let progress = step(&mut event.clone(), paused(&volume));
    assert_eq!((progress.ended(), progress.patch.len()), (Some(Phase::Failed), 0));

    volume.members[1].request = Bytes::gib(30);
    let progress = step(&mut event, context(&volume, 3));
    assert_eq!((progress.ended(), progress.patch.len()), (Some(Phase::Failed), 0));
    let error = progress.status.pvc_statuses[0].error.as_deref();
    assert_eq!(error, Some("the array is full; its request was changed to 30Gi meanwhile"));
}

#[test]
fn what_a_node_cannot_do_is_not_tried_smaller() {
    let (mut event, mut volume) = refused_by_the_driver();
    volume.members[1].resize = Some(resize(ResizeStage::NodeInfeasible));
    let progress = step(&mut event, context(&volume, 2));
    assert_eq!((progress.ended(), progress.patch.len()), (Some(Phase::Failed), 0));
    assert_eq!(progress.status.pvc_statuses[0].learned_ceiling, None);
}
