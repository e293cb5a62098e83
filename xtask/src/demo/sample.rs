//! Scenes of a demo that went well, for tests: the volumes fill from second 5, `orders` passes its threshold at second
//! 15 and has grown at second 40, one instance after the other.

use csm_api::{Phase, PvcPhase, Reason, State, Verdict, VerifiedBy};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use super::scene::{Cluster, Instance, Measured, Member, Operation, Scene, Told};
use super::story::{Part, SIMULATED};
use super::timeline::{Deed, Write};

const EVENT: &str = "orders-expansion-20260301-120017-a1b2c3";
/// Of each instance, in the order of the operation: patched, driver done, filesystem grown, verified.
const STEPS: [(&str, [i64; 4]); 3] = [
    ("orders-2", [18, 20, 21, 25]),
    ("orders-3", [25, 27, 28, 32]),
    ("orders-1", [32, 34, 35, 40]),
];
/// When `orders` and `reports` are at 85 %.
const BREACHES: [i64; 2] = [15, 10];

/// The moment of a second.
pub fn at(second: i64) -> Timestamp {
    let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_secs(second)
}

/// What XFS offers of a device.
pub fn filesystem(device: Bytes) -> Bytes {
    device.saturating_sub(Bytes::mib(64))
}

/// Before the manager has seen anything.
pub fn unseen(second: i64) -> Scene {
    let mut scene = scene(0);
    scene.at = at(second);
    scene.clusters.iter_mut().for_each(|cluster| cluster.told = None);
    scene
}

/// Seen, and nothing to do.
pub fn at_rest(second: i64) -> Scene {
    Scene {
        at: at(second),
        ..scene(0)
    }
}

/// In the middle of the growth: one instance done, one under way.
pub fn growing(second: i64) -> Scene {
    Scene {
        at: at(second),
        ..scene(27)
    }
}

/// At its end.
pub fn grown(second: i64) -> Scene {
    Scene {
        at: at(second),
        ..scene(40)
    }
}

/// One scene a second.
pub fn scenes() -> Vec<Scene> {
    (0..=44).map(scene).collect()
}

/// What the manager did.
pub fn writes() -> Vec<Write> {
    let recorded = Write {
        at: at(17),
        deed: Deed::Recorded,
        name: EVENT.to_owned(),
    };
    let patched = STEPS.map(|(name, [patched, ..])| Write {
        at: at(patched),
        deed: Deed::Patched,
        name: name.to_owned(),
    });
    std::iter::once(recorded).chain(patched).collect()
}

fn scene(second: i64) -> Scene {
    Scene {
        at: at(second),
        clusters: SIMULATED.cast.iter().map(|part| cluster(part, second)).collect(),
    }
}

fn cluster(part: &Part, second: i64) -> Cluster {
    Cluster {
        name: part.name.to_owned(),
        instances: (1..=part.instances).map(|serial| instance(part, serial, second)).collect(),
        threshold: SIMULATED.threshold,
        told: Some(told(part, second)),
        operations: operation(second).filter(|_| part.name == "orders").into_iter().collect(),
    }
}

fn instance(part: &Part, serial: usize, second: i64) -> Instance {
    let name = format!("{}-{serial}", part.name);
    let steps = STEPS.into_iter().find(|(of, _)| *of == name).map(|(_, steps)| steps);
    let reached = |step: usize| steps.is_some_and(|steps| second >= steps[step]);
    let size = |step: usize| if reached(step) { Bytes::gib(15) } else { part.size };
    let before = filesystem(part.size);
    // Percent used in thousandths: from the first share to 85 % at the breach, and on. Replicas are a little behind.
    let start = 1_000 * i64::from(part.used);
    let slope = match part.name {
        "orders" => (85_000 - start) / (BREACHES[0] - 5),
        "reports" => (85_000 - start) / (BREACHES[1] - 5),
        _ => 10,
    };
    let behind = if serial == 1 { 0 } else { 300 };
    let share = start + slope * (second - 5).max(0) - behind;
    let used = before.mul_div(u64::try_from(share).unwrap(), 100_000).saturating_add(Bytes::new(1));
    let filesystem = filesystem(size(2));
    Instance {
        name,
        primary: serial == 1,
        measured: Some(Measured {
            at: at(second),
            used,
            available: filesystem.saturating_sub(used),
        }),
        filesystem,
        request: size(0),
        capacity: size(2),
        waits_for_node: reached(1) && !reached(2),
    }
}

fn told(part: &Part, second: i64) -> Told {
    let held = |state, reason, message: &str| Told {
        state,
        verdict: Verdict::Hold,
        reason,
        message: message.to_owned(),
    };
    match part.name {
        "orders" if (17..40).contains(&second) => held(
            State::Resizing,
            Reason::ResizeInProgress,
            "data is 85 % full (8.4 of 9.9 GiB, orders-1): should grow from 10Gi to 15Gi, but a resize is under way since 2026-03-01T12:00:17Z",
        ),
        "reports" if second >= BREACHES[1] => held(
            State::AtLimit,
            Reason::AtLimit,
            "data is 85 % full (16.9 of 19.9 GiB, reports-1): should grow from 20Gi to 30Gi, but its ceiling of 20Gi (expansion.maxSize) leaves no room; raise expansion.maxSize, or free space",
        ),
        _ => Told {
            state: State::Balanced,
            verdict: Verdict::Balanced,
            reason: Reason::BelowThresholds,
            message: format!("data is {} % full: nothing to do below 85 %", part.used),
        },
    }
}

fn operation(second: i64) -> Option<Operation> {
    let member = |(instance, steps): (&str, [i64; 4])| Member {
        instance: instance.to_owned(),
        phase: match steps.iter().filter(|step| second >= **step).count() {
            0 => PvcPhase::Pending,
            1 => PvcPhase::ControllerResizing,
            2 => PvcPhase::WaitingForNode,
            3 => PvcPhase::Verifying,
            _ => PvcPhase::Completed,
        },
        verified_by: (second >= steps[3]).then_some(VerifiedBy::Filesystem),
    };
    (second >= 17).then(|| Operation {
        name: EVENT.to_owned(),
        from: Bytes::gib(10),
        to: Bytes::gib(15),
        message: "data is 85 % full (8.4 of 9.9 GiB, orders-1): grows from 10Gi to 15Gi".to_owned(),
        phase: if second >= 40 { Phase::Completed } else { Phase::InProgress },
        members: STEPS.map(member).to_vec(),
    })
}
