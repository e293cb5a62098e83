//! What growths that failed tell of the next one: when it is tried, and how large a volume can get.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use csm_api::{Growth, PvcPhase, RetryBasis};
use csm_core::resolve::Resolution;
use csm_core::world::VolumeKey;
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::index::{PvcNow, Snapshot};
use crate::views::volume_of;
use crate::world::newest;

/// What a storage has shown not to allow is believed for so long: it may have got more room since, and nothing tells.
const LEARNED_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Until when the next growth of a volume waits: the newest that has failed says so, as long as nothing of what it failed
/// under has changed.
pub(crate) fn retry_after(snapshot: &Snapshot, volume: &VolumeKey, now: Timestamp) -> Option<Timestamp> {
    let status = newest(snapshot, volume)?.status.as_ref()?;
    let at = status.next_retry_time.as_ref().map(|at| at.0)?;
    let changed = || {
        status
            .retry_basis
            .as_ref()
            .is_some_and(|then| differs(then, &basis(snapshot, volume)))
    };
    // What is over already is told as it is; nothing is compared for it.
    (at <= now || !changed()).then_some(at)
}

/// Whether a growth that failed then may succeed now. Less room in the quotas is no reason to try again.
fn differs(then: &RetryBasis, now: &RetryBasis) -> bool {
    let room = match (then.quota_room, now.quota_room) {
        (Some(then), Some(now)) => now > then,
        (Some(_), None) => true,
        (None, _) => false,
    };
    room || then.settings != now.settings || then.storage_classes != now.storage_classes
}

/// What a growth of a volume rests on, beside the figures: the settings, the storage classes, and the quotas.
#[must_use]
pub fn basis(snapshot: &Snapshot, volume: &VolumeKey) -> RetryBasis {
    let rules = match &*snapshot.resolution {
        Resolution::Settings(settings) => digest(&(&settings.expansion, &settings.bounds, settings.volumes.of(volume))),
        other @ (Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_)) => digest(other),
    };
    let mut classes = classes_of(snapshot, volume);
    classes.sort_unstable();
    classes.dedup();
    let views: Vec<_> = classes.iter().map(|class| (class, snapshot.classes.get(class))).collect();
    let rooms = snapshot.quotas.iter().filter_map(|quota| quota.room(&classes));
    RetryBasis {
        settings: rules,
        storage_classes: digest(&views),
        quota_room: rooms.min(),
    }
}

/// A short digest of a value, the same in each process of one version.
fn digest(value: &impl Debug) -> String {
    let mut hasher = DefaultHasher::new();
    format!("{value:?}").hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn classes_of(snapshot: &Snapshot, volume: &VolumeKey) -> Vec<Arc<str>> {
    let members = snapshot.pvcs.iter().filter(|pvc| pvc.view.volume == *volume);
    members.filter_map(|pvc| pvc.view.class.clone()).collect()
}

/// The largest size that the storage has shown to allow for a volume: the smallest of what growths of the last days came to
/// that it called infeasible, in the storage classes of today, unless a PVC got more since, or has more: the storage of one
/// replica may be full where that of the others is not. What an earlier Cluster of this name has shown counts too: it is about
/// the storage.
pub(crate) fn learned_ceiling(snapshot: &Snapshot, volume: &VolumeKey, now: Timestamp) -> Option<Bytes> {
    let ended: Vec<(&Growth, Timestamp)> = snapshot
        .events
        .iter()
        .filter(|event| volume_of(event) == *volume && event.is_done())
        .filter_map(|event| Some((&**event, event.status.as_ref()?.completion_time.as_ref()?.0)))
        .filter(|(_, at)| now.duration_since(*at) < LEARNED_FOR)
        .collect();
    let has_more = |class: Option<&str>, ceiling: Bytes| {
        let of_class = |pvc: &&PvcNow| pvc.view.volume == *volume && class.is_none_or(|class| pvc.view.class.as_deref() == Some(class));
        snapshot.pvcs.iter().filter(of_class).any(|pvc| pvc.view.capacity > ceiling)
    };
    let mut learned: Option<Bytes> = None;
    for (event, at) in &ended {
        let classes = classes_of(snapshot, volume);
        for pvc in event.status.iter().flat_map(|status| &status.pvc_statuses) {
            let Some(ceiling) = pvc.learned_ceiling else { continue };
            let class = event.spec.expansion.affected_pvcs.iter().find(|affected| affected.uid == pvc.uid);
            let class = class.and_then(|affected| affected.storage_class.as_deref());
            let of_today = class.is_none_or(|class| classes.iter().any(|c| **c == *class));
            if of_today && !has_more(class, ceiling) && !ended.iter().any(|(later, then)| then > at && reached(later) > Some(ceiling)) {
                learned = Some(learned.map_or(ceiling, |known| known.min(ceiling)));
            }
        }
    }
    learned
}

/// The largest size that a growth brought a PVC to.
fn reached(event: &Growth) -> Option<Bytes> {
    let grown = event.status.iter().flat_map(|status| &status.pvc_statuses);
    grown
        .filter(|pvc| pvc.phase == PvcPhase::Completed)
        .filter_map(|pvc| pvc.new_size)
        .max()
}
