//! What comes after a growth was decided: which pods are nudged, and what is measured when it has ended.
#![allow(clippy::unwrap_used)] // tests

#[allow(dead_code, unused_imports)]
#[path = "planner/support.rs"]
mod support;

use csm_api::{Growth, Phase, VerifiedBy};
use csm_core::nudge::{self, Nudge};
use csm_core::rescue::{INSTANCES_READY, aftermath};
use csm_core::world::{Resize, ResizeStage, Volume};
use csm_units::Bytes;
use jiff::SignedDuration;
use rstest::rstest;
use serde_json::json;
use support::*;

/// A rescue of `orders-1` and `orders-2`, from 10Gi to 13Gi, with a filesystem of 9800Mi before; `status` of each PVC.
fn event(trigger: &str, reason: &str, phase: &str, status: &serde_json::Value) -> Growth {
    let pvc = |n: i32| {
        json!({"name": format!("orders-{n}-pvc"), "uid": format!("orders-{n}-uid"), "instance": format!("orders-{n}"), "originalSize": "10Gi",
            "filesystemBytes": 9800_i64 << 20})
    };
    let of_pvc = |n: i32| {
        let mut said = json!({"name": format!("orders-{n}-pvc"), "uid": format!("orders-{n}-uid"), "originalSize": "10Gi", "newSize": "13Gi",
            "patchedAt": at("11:00:01"), "controllerDoneAt": at("11:00:02"), "filesystemResized": at("11:00:03")});
        said.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        said
    };
    serde_json::from_value(json!({
        "metadata": {"name": "orders-expansion-1", "namespace": "shop"},
        "spec": {"clusterRef": {"name": "orders", "uid": "c"}, "eventType": "expansion", "trigger": trigger, "volume": {"role": "data"},
            "reason": reason, "message": "full",
            "expansion": {"originalSize": "10Gi", "requestedSize": "13Gi", "parallelism": 1, "affectedPVCs": [pvc(1), pvc(2)]}},
        "status": {"phase": phase, "startTime": at("11:00:00"), "completionTime": at("11:00:03"),
            "conditions": [{"type": "Complete", "status": "True", "reason": "Succeeded", "message": "2/2", "lastTransitionTime": at("11:00:03")}],
            "pvcStatuses": [of_pvc(1), of_pvc(2)]},
    }))
    .unwrap()
}

fn ended(verified_by: &str) -> Growth {
    event(
        "emergency",
        "DiskFull",
        "Completed",
        &json!({"phase": "Completed", "verifiedBy": verified_by}),
    )
}

/// Both members, of which the kubelet says this size.
fn volume(capacity: Bytes) -> Volume {
    let seen = |instance| {
        member(instance, "13Gi", "9Gi").change(|m| {
            m.observation.as_mut().unwrap().capacity = capacity;
        })
    };
    world(vec![seen("orders-1"), seen("orders-2")]).volumes.remove(0)
}

#[test]
fn what_only_the_pvc_said_is_checked_when_figures_are_back() {
    let grown = aftermath(&ended("pvc-status"), &volume(Bytes::mib(12_700)), None, |_| false, noon());
    let status = grown.status.unwrap();
    assert!(
        status
            .pvc_statuses
            .iter()
            .all(|s| s.verified_by == Some(VerifiedBy::Filesystem) && s.error.is_none())
    );
    assert!(grown.not_grown.is_empty() && grown.recovered.is_none());

    let small = aftermath(&ended("pvc-status"), &volume(Bytes::mib(9800)), None, |_| false, noon());
    let status = small.status.unwrap();
    assert_eq!(small.not_grown, ["orders-1-pvc", "orders-2-pvc"]);
    assert!(
        status
            .pvc_statuses
            .iter()
            .all(|s| s.verified_by == Some(VerifiedBy::PvcStatus) && s.error.is_some())
    );
    assert_eq!(status.phase, Some(Phase::Completed));
    // Told once.
    let told = Growth {
        status: Some(status),
        ..ended("pvc-status")
    };
    assert!(
        aftermath(&told, &volume(Bytes::mib(9800)), None, |_| false, noon())
            .status
            .is_none()
    );
}

#[test]
fn figures_from_before_and_growths_that_were_seen_are_left_alone() {
    let mut old = volume(Bytes::mib(9800));
    for member in &mut old.members {
        member.observation.as_mut().unwrap().at = at("11:00:03");
    }
    assert!(aftermath(&ended("pvc-status"), &old, None, |_| false, noon()).status.is_none());
    let seen = ended("filesystem");
    assert!(
        aftermath(&seen, &volume(Bytes::mib(9800)), None, |_| false, noon())
            .status
            .is_none()
    );
    let day_later = noon() + SignedDuration::from_hours(24);
    assert!(
        aftermath(&ended("pvc-status"), &volume(Bytes::mib(9800)), None, |_| true, day_later)
            .status
            .is_none()
    );
}

#[test]
fn a_rescue_is_over_when_all_instances_are_ready_and_that_is_told_once() {
    let grown = volume(Bytes::mib(12_700));
    let one = aftermath(&ended("filesystem"), &grown, None, |instance| instance == "orders-1", noon());
    assert!(one.status.is_none());
    let all = aftermath(&ended("filesystem"), &grown, Some(at("10:59:59")), |_| true, noon());
    let status = all.status.unwrap();
    assert!(status.conditions.iter().any(|c| c.type_ == INSTANCES_READY));
    let times = all.recovered.unwrap();
    let seconds = |time: Option<SignedDuration>| time.map(|t| t.as_secs());
    assert_eq!(
        [times.patched, times.controller, times.filesystem, times.ready].map(seconds),
        [Some(2), Some(3), Some(4), Some(3601)]
    );
    let told = Growth {
        status: Some(status),
        ..ended("filesystem")
    };
    assert!(aftermath(&told, &grown, None, |_| true, noon()).status.is_none());
    // Of a planned growth nobody asks.
    let planned = event(
        "threshold-breach",
        "UsageThreshold",
        "Completed",
        &json!({"phase": "Completed", "verifiedBy": "filesystem"}),
    );
    assert!(aftermath(&planned, &grown, None, |_| true, noon()).status.is_none());
}

/// Urgent growth, once for an operation, when the node's turn has come, of a pod that is on a node.
#[rstest]
#[case::rescue("emergency", "DiskFull", "WaitingForNode", ResizeStage::NodePending, None, &["orders-expansion-1"])]
#[case::emergency("emergency", "CriticalThreshold", "WaitingForNode", ResizeStage::NodePending, None, &["orders-expansion-1"])]
#[case::runway("emergency", "Runway", "WaitingForNode", ResizeStage::NodePending, None, &["orders-expansion-1"])]
#[case::caught_up_for_it("catch-up", "DiskFull", "WaitingForNode", ResizeStage::NodePending, None, &["orders-expansion-1"])]
#[case::planned("threshold-breach", "UsageThreshold", "WaitingForNode", ResizeStage::NodePending, None, &[])]
#[case::catch_up("catch-up", "MemberBelowEffectiveSize", "WaitingForNode", ResizeStage::NodePending, None, &[])]
#[case::too_soon("emergency", "DiskFull", "ControllerResizing", ResizeStage::Controller, None, &[])]
#[case::at_work("emergency", "DiskFull", "WaitingForNode", ResizeStage::Node, None, &[])]
#[case::done("emergency", "DiskFull", "WaitingForNode", ResizeStage::NodePending, Some("orders-expansion-1"), &[])]
#[case::done_with_another("emergency", "DiskFull", "WaitingForNode", ResizeStage::NodePending, Some("a,orders-expansion-1,b"), &[])]
#[case::beside_another("emergency", "DiskFull", "WaitingForNode", ResizeStage::NodePending, Some("a,b"), &["a,b,orders-expansion-1"])]
#[case::old_names_go("emergency", "DiskFull", "WaitingForNode", ResizeStage::NodePending, Some("a,b,c,d,e,f,g,h"), &["b,c,d,e,f,g,h,orders-expansion-1"])]
fn nudges(
    #[case] trigger: &str,
    #[case] reason: &str,
    #[case] phase: &str,
    #[case] stage: ResizeStage,
    #[case] nudged: Option<&str>,
    #[case] expected: &[&str],
) {
    let event = event(trigger, reason, "InProgress", &json!({"phase": phase}));
    let mut volume = volume(Bytes::mib(9800));
    for member in &mut volume.members {
        member.nudged = nudged.map(Into::into);
        member.resize = Some(Resize {
            since: None,
            stage,
            error: None,
            allocated: None,
        });
    }
    // One of them has no node.
    volume.members[1].node = None;
    let nudges = nudge::due(&event, event.status.as_ref().unwrap(), Some(&volume));
    let expected: Vec<Nudge> = expected
        .iter()
        .map(|value| Nudge {
            pod: "orders-1".to_owned(),
            value: (*value).to_owned(),
        })
        .collect();
    assert_eq!(nudges, expected);
}
