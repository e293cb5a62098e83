//! The size that a new member of a volume is to be born with.

use csm_units::Bytes;
use jiff::Timestamp;

use crate::resolve::Sizing;
use crate::view::{MemberView, Members, View};
use crate::world::{Class, ResizeStage, Volume, World};

/// What a new member is raised to, or none where it is to be what it asks for.
///
/// It gets what the other members of its volume have, so that it can hold what they hold. The first member gets `request`
/// of the request/limit model, up to the ceiling. Where there are others, `request` is left to the planner: a member above
/// the others would have them caught up, past budget and window.
///
/// A Cluster that is monitored only, held by a conflict or by invalid settings, being deleted, or in dry run, and a storage
/// class whose volumes share a filesystem, are left alone. A pause, fencing and the switches of growth are not asked:
/// nothing that exists changes, and a replica that is born too small cannot be built at all.
///
/// `volume` is of `world`, or is one without members where nobody has one yet; `class` is the new member's.
#[must_use]
pub fn raised(world: &World, volume: &Volume, class: &Class, asked: Bytes, now: Timestamp) -> Option<Bytes> {
    let mut scratch = Members::new();
    let view = View::new(world, volume, now, &mut scratch);
    let (settings, rules) = (view.settings?, view.rules?);
    if settings.dry_run.value || world.cluster.deleting || class.shared_filesystem {
        return None;
    }
    let size = match &rules.sizing {
        Sizing::Target(target) if volume.members.is_empty() => {
            let request = target.request.value;
            view.ceiling.map_or(request, |ceiling| request.min(ceiling.size))
        }
        Sizing::Target(_) | Sizing::Thresholds | Sizing::Resize(_) => {
            // Asking for more than the storage can give would leave the new one unbuilt.
            let infeasible = |m: &MemberView| m.member.resize.as_ref().map(|r| r.stage) == Some(ResizeStage::ControllerInfeasible);
            let had = |m: &MemberView| if infeasible(m) { m.member.size } else { m.bytes };
            view.counted().map(had).max().unwrap_or_default()
        }
    };
    (size > asked).then_some(size)
}
