//! `expansion.applyTo: ClusterSpec`: the size that the Cluster's own spec should say of a volume that has grown.
//!
//! CloudNativePG raises PVCs to what the spec says, and leaves larger ones alone; new instances get what the spec says. So a spec
//! is never raised above what every PVC asks for already: to CloudNativePG there is nothing to do then.

use csm_api::ApplyTo;
use csm_units::Bytes;
use jiff::Timestamp;

use crate::decision::CeilingSource;
use crate::resolve::Resolution;
use crate::view::{MemberView, Members, View};
use crate::world::{Volume, World};

/// The size that a volume at rest has throughout: none while it grows, while a member lags behind, or where one has less than
/// it asks for. A growth that was verified is at rest, and nothing else is.
#[must_use]
pub fn settled(world: &World, volume: &Volume, now: Timestamp) -> Option<Bytes> {
    let mut scratch = Members::new();
    let view = View::new(world, volume, now, &mut scratch);
    let unfinished = view.operations().any(|operation| !operation.done);
    let has_less = |m: &MemberView| m.resizes() || !m.member.bound || m.member.size < m.member.request;
    if unfinished || view.members.iter().any(|m| has_less(m) || m.is_lagging()) {
        return None;
    }
    // Also of those that are larger than the ceiling: CloudNativePG knows no ceiling.
    view.members.iter().map(|m| m.member.request).min().filter(|size| !size.is_zero())
}

/// The size that the spec is to be raised to, from what it says now; none where it is to stay. Never lower, never above the
/// ceiling, never while a person's intent stands against any action, and only where the ceiling is somebody's: the one of
/// last resort is worked out from the spec.
#[must_use]
pub fn due(world: &World, volume: &Volume, spec: Bytes, now: Timestamp) -> Option<Bytes> {
    let Resolution::Settings(settings) = &*world.resolution else {
        return None;
    };
    let cluster = &world.cluster;
    let stands = cluster.deleting || cluster.pause.in_force(now) || settings.dry_run.value;
    if stands || settings.expansion.apply_to.value != ApplyTo::ClusterSpec {
        return None;
    }
    let mut scratch = Members::new();
    let ceiling = View::new(world, volume, now, &mut scratch).ceiling;
    // A ceiling that is a multiple of what the spec says would go up with each growth.
    if ceiling.is_some_and(|ceiling| ceiling.source == CeilingSource::Fallback) {
        return None;
    }
    let size = settled(world, volume, now)?;
    (size > spec && ceiling.is_none_or(|ceiling| size <= ceiling.size)).then_some(size)
}
