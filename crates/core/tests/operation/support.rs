//! Two PVCs, and an operation on them.

use std::sync::Arc;

use csm_api::{AffectedPvc, ClusterReference, ExpansionSpec, Growth, GrowthSpec, Reason, RetryBasis, Role, Trigger, VolumeReference};
use csm_core::operation::{Context, Progress, Withdrawal, follow};
use csm_core::world::{Member, Observation, Resize, ResizeStage, Volume, VolumeKey};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::worlds;

pub const STALE: SignedDuration = SignedDuration::from_mins(5);

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
}

pub fn member(n: u64, request: Bytes, size: Bytes) -> Member {
    Member {
        pvc: Arc::from(format!("pg-{n}")),
        uid: Arc::from(format!("uid-{n}")),
        request,
        observation: Some(figures(Bytes::mib(9800), 0)),
        ..worlds::member(&format!("pg-{n}"), &size.to_string(), "0")
    }
}

pub fn figures(capacity: Bytes, seconds: i64) -> Observation {
    Observation {
        used: Bytes::gib(9),
        available: capacity.saturating_sub(Bytes::gib(9)),
        capacity,
        inodes: None,
        at: at(seconds),
    }
}

pub fn volume(members: Vec<Member>) -> Volume {
    worlds::volume(VolumeKey::DATA, members)
}

pub static BASIS: RetryBasis = RetryBasis {
    settings: String::new(),
    storage_classes: String::new(),
    quota_room: None,
};

/// pg-2, then pg-1, from 10Gi to 15Gi.
pub fn event(parallelism: i32) -> Growth {
    let pvc = |n: u64| AffectedPvc {
        name: format!("pg-{n}"),
        uid: format!("uid-{n}"),
        instance: format!("pg-{n}"),
        node: None,
        storage_class: None,
        original_size: Bytes::gib(10),
        filesystem_bytes: i64::try_from(Bytes::mib(9800).get()).ok(),
    };
    Growth::new(
        "pg-expansion-1",
        GrowthSpec {
            cluster_ref: ClusterReference {
                name: "pg".into(),
                uid: "cluster".into(),
            },
            rescue: false,
            trigger: Trigger::ThresholdBreach,
            volume: VolumeReference {
                role: Role::Data,
                tablespace: None,
            },
            reason: Reason::UsageThreshold,
            message: "full".into(),
            expansion: ExpansionSpec {
                original_size: Bytes::gib(10),
                requested_size: Bytes::gib(15),
                parallelism,
                affected_pvcs: vec![pvc(2), pvc(1)],
            },
        },
    )
}

pub fn context(volume: &Volume, seconds: i64) -> Context<'_> {
    Context {
        volume: Some(volume),
        permission: Ok(()),
        in_flight_elsewhere: 0,
        failures_before: 0,
        basis: &BASIS,
        stale_after: STALE,
        now: at(seconds),
    }
}

/// Takes the step's status over, as a manager does that writes it; where PVCs are to be withdrawn, they are, and the next step is
/// taken.
pub fn step(event: &mut Growth, context: Context<'_>) -> Progress {
    let mut progress = follow(event, context);
    event.status = Some(progress.status.clone());
    if !progress.withdraw.is_empty() {
        let mut volume = context.volume.expect("a volume").clone();
        for withdrawal in &progress.withdraw {
            withdraw(&mut volume, withdrawal);
        }
        let volume = Some(&volume);
        progress = follow(event, Context { volume, ..context });
        event.status = Some(progress.status.clone());
    }
    progress
}

/// The PVC says that it is asked nothing more of.
pub fn withdraw(volume: &mut Volume, withdrawal: &Withdrawal) {
    let member = volume.members.iter_mut().find(|m| *m.uid == *withdrawal.uid);
    let member = member.expect("only what is there is written");
    member.withdrawn = Some(withdrawal.operation.as_str().into());
}

pub fn resize(stage: ResizeStage) -> Resize {
    Resize {
        since: None,
        stage,
        error: None,
        allocated: None,
    }
}
