//! What is measured after a growth that was verified without figures, and after a rescue: all of it from the StorageEvent
//! and the world as it is, so that a manager that was started in between goes on with it.

use csm_api::{AffectedPvc, Condition, ConditionStatus, Growth, Phase, PvcStatus, StorageEventStatus, VerifiedBy};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::operation::grown_to;
use crate::world::Volume;

/// The condition of a rescue whose instances are all ready again.
pub const INSTANCES_READY: &str = "InstancesReady";

/// Nobody asks any more for what became of an operation that ended longer ago.
const ASKED_FOR: SignedDuration = SignedDuration::from_hours(24);

/// What came out after an operation had ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aftermath {
    /// What its status should say now; none where that is as before.
    pub status: Option<StorageEventStatus>,
    /// PVCs whose status said that they had grown, and whose filesystems have not.
    pub not_grown: Vec<String>,
    /// All instances of a rescue are ready again: what it took.
    pub recovered: Option<Times>,
}

/// What a rescue took, from the end of the container, or else from its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Until the API server had accepted the first patch.
    pub patched: Option<SignedDuration>,
    /// Until the storage driver had grown the last volume.
    pub controller: Option<SignedDuration>,
    /// Until the last filesystem had grown.
    pub filesystem: Option<SignedDuration>,
    /// Until all instances were ready.
    pub ready: Option<SignedDuration>,
}

impl Times {
    /// What a rescue took so far, counted from the evidence.
    #[must_use]
    pub fn of(event: &Growth, evidence: Option<Timestamp>) -> Self {
        let Some(status) = &event.status else { return Self::default() };
        let Some(from) = evidence.or(status.start_time.as_ref().map(|t| t.0)) else {
            return Self::default();
        };
        let since = |at: Timestamp| at.duration_since(from).max(SignedDuration::ZERO);
        let at = |of: fn(&PvcStatus) -> &Option<Time>| status.pvc_statuses.iter().filter_map(move |s| of(s).as_ref().map(|t| t.0));
        let ready = status.conditions.iter().find(|c| c.type_ == INSTANCES_READY);
        Self {
            patched: at(|s| &s.patched_at).min().map(since),
            controller: at(|s| &s.controller_done_at).max().map(since),
            filesystem: at(|s| &s.filesystem_resized).max().map(since),
            ready: ready.map(|c| since(c.last_transition_time.0)),
        }
    }
}

/// What has come out of an operation that has ended. `evidence` is when what it rests on happened, where that is known;
/// `is_ready` says of an instance whether it is.
#[must_use]
pub fn aftermath(
    event: &Growth,
    volume: &Volume,
    evidence: Option<Timestamp>,
    is_ready: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Aftermath {
    let Some(before) = event.status.as_ref().filter(|s| s.phase == Some(Phase::Completed)) else {
        return Aftermath::default();
    };
    let recent = |end: &Time| now.duration_since(end.0) <= ASKED_FOR;
    if !before.completion_time.as_ref().is_some_and(recent) {
        return Aftermath::default();
    }
    let mut status = before.clone();
    let mut not_grown = Vec::new();
    for pvc in &event.spec.expansion.affected_pvcs {
        let member = volume.members.iter().find(|m| *m.uid == *pvc.uid);
        let (Some(figures), Some(said)) = (
            member.and_then(|m| m.figures()),
            status.pvc_statuses.iter_mut().find(|s| s.uid == pvc.uid),
        ) else {
            continue;
        };
        let unchecked = said.verified_by == Some(VerifiedBy::PvcStatus) && said.error.is_none();
        let since = said.filesystem_resized.as_ref().map(|t| t.0);
        if !unchecked || since.is_none_or(|since| figures.at <= since) {
            continue;
        }
        if has_grown(pvc, event.spec.expansion.requested_size, figures.capacity) {
            said.verified_by = Some(VerifiedBy::Filesystem);
        } else {
            let size = figures.capacity;
            said.error = Some(format!("its status says that it has grown, and its filesystem has {size} in all"));
            not_grown.push(pvc.name.clone());
        }
    }
    let rescue = event.spec.rescues();
    let told = status.conditions.iter().any(|c| c.type_ == INSTANCES_READY);
    let ready = rescue && !told && event.spec.expansion.affected_pvcs.iter().all(|pvc| is_ready(&pvc.instance));
    let mut recovered = None;
    if ready {
        status.conditions.push(Condition {
            type_: INSTANCES_READY.to_owned(),
            status: ConditionStatus::True,
            reason: "Recovered".to_owned(),
            message: "all instances are ready again".to_owned(),
            last_transition_time: Time(now),
            observed_generation: None,
        });
        let after = Growth {
            status: Some(status.clone()),
            ..event.clone()
        };
        recovered = Some(Times::of(&after, evidence));
    }
    Aftermath {
        status: (status != *before).then_some(status),
        not_grown,
        recovered,
    }
}

/// Whether a filesystem has grown by what was asked. Where it is not known how large it was, it was no larger than its volume.
fn has_grown(pvc: &AffectedPvc, requested: Bytes, capacity: Bytes) -> bool {
    grown_to(pvc, requested).map_or(capacity > pvc.original_size, |least| capacity >= least)
}
