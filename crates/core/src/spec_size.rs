//! `expansion.applyTo: ClusterSpec`: the size that the Cluster's own spec should say of a volume that has grown.
//!
//! CloudNativePG raises PVCs to what the spec says, and leaves larger ones alone; new instances get what the spec says. So a spec
//! is never raised above what every PVC asks for already: to CloudNativePG there is nothing to do then.

use csm_api::ApplyTo;
use csm_units::Bytes;
use jiff::Timestamp;

use crate::decision::Ceiling;
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

/// How the size of a volume in its Cluster's spec stands to the volume itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not asked to follow (`applyTo`), or the settings could not be resolved.
    NotAsked,
    /// It will not follow: no ceiling is anybody's. The one of last resort is a multiple of this very size, and would go up with
    /// each growth.
    NoCeiling,
    /// A person's intent stands against any action, or the settings of this volume do not validate.
    Held,
    /// The volume is not at rest: see [`settled`].
    NotSettled,
    /// It says as much as every PVC asks for, or more.
    Level,
    /// It will not follow: every PVC asks for more than the ceiling allows.
    AboveCeiling {
        /// What every PVC asks for.
        size: Bytes,
        /// What it is not raised above.
        ceiling: Ceiling,
    },
    /// It is to be raised to this size.
    Behind(Bytes),
}

impl Standing {
    /// The reason in the condition `SpecFollows` why it will not follow, unless somebody changes something; none: it does, or
    /// will.
    #[must_use]
    pub const fn never(&self) -> Option<&'static str> {
        match self {
            Self::NoCeiling => Some("NoCeiling"),
            Self::AboveCeiling { .. } => Some("AboveCeiling"),
            Self::NotAsked | Self::Held | Self::NotSettled | Self::Level | Self::Behind(_) => None,
        }
    }
}

/// How the size that the spec says of a volume stands. It is never to be lowered, never to be raised above the ceiling or
/// while a person's intent stands against any action, and only where the ceiling is somebody's.
#[must_use]
pub fn standing(world: &World, volume: &Volume, spec: Bytes, now: Timestamp) -> Standing {
    let Resolution::Settings(settings) = &*world.resolution else {
        return Standing::NotAsked;
    };
    if settings.expansion.apply_to.value != ApplyTo::ClusterSpec {
        return Standing::NotAsked;
    }
    let mut scratch = Members::new();
    let view = View::new(world, volume, now, &mut scratch);
    let cluster = &world.cluster;
    if view.rules.is_none() || cluster.deleting {
        return Standing::Held;
    }
    let shared = settings.expansion.max_size.is_some() || settings.bounds.max_size.is_some();
    let is_set = shared || view.rules.is_some_and(|rules| rules.limit().is_some());
    // What the storage has shown is forgotten after a time, and nobody's wish.
    let Some(ceiling) = view.ceiling.filter(|_| is_set) else {
        return Standing::NoCeiling;
    };
    if cluster.pause.in_force(now) || settings.dry_run.value {
        return Standing::Held;
    }
    match settled(world, volume, now) {
        None => Standing::NotSettled,
        Some(size) if size <= spec => Standing::Level,
        Some(size) if size > ceiling.size => Standing::AboveCeiling { size, ceiling },
        Some(size) => Standing::Behind(size),
    }
}
