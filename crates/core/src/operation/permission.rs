//! What stands against an operation: a person's newest intent, and resizes of the Cluster's other volumes.

use csm_api::{GrowthSpec, Reason, Urgency, VolumeReference};
use jiff::Timestamp;

use crate::resolve::{Resolution, Resolved, Sizing, VolumeRules};
use crate::world::{Member, Volume, World};

/// Whether a growth that was decided may go on to its next PVC, or what stands against it. The same is asked before it is
/// recorded: what would be stopped at once is not begun.
///
/// # Errors
/// The reason that stands against it.
pub fn permission(world: &World, growth: &GrowthSpec, now: Timestamp) -> Result<(), Reason> {
    let Some(volume) = volume_of(world, growth) else { return Ok(()) };
    let to = growth.expansion.requested_size;
    let settings = match &*world.resolution {
        Resolution::NoPolicy => return Err(Reason::NoPolicy),
        Resolution::Conflict(_) => return Err(Reason::PolicyConflict),
        Resolution::Invalid(_) => return Err(Reason::PolicyInvalid),
        Resolution::Settings(settings) => settings,
    };
    let rules = settings.volumes.of(&volume.key).map_err(|_| Reason::PolicyInvalid)?;
    let ceiling = crate::view::ceiling_of(settings, rules, volume, saves(growth));
    // Members that are fenced were left out, and what is patched already goes on by itself.
    let mut waiting = volume.members.iter().filter(|m| m.request < to && lists(growth, m));
    let checks = [
        (world.cluster.deleting, Reason::ClusterDeleting),
        (!is_enabled(settings, rules), Reason::Disabled),
        (world.cluster.pause.in_force(now), Reason::Paused),
        (world.cluster.hibernated, Reason::Hibernated),
        (waiting.any(|m| world.cluster.fencing.covers(&m.instance)), Reason::Fenced),
        (!world.cluster.resize_in_use_volumes, Reason::InUseResizeDisabled),
        (ceiling.is_some_and(|ceiling| to > ceiling), Reason::AtLimit),
        (settings.dry_run.value, Reason::DryRun),
    ];
    checks
        .into_iter()
        .find(|(stands, _)| *stands)
        .map_or(Ok(()), |(_, reason)| Err(reason))
}

/// Whether growth is switched on for a volume of this model.
fn is_enabled(settings: &Resolved, rules: &VolumeRules) -> bool {
    match &rules.sizing {
        Sizing::Thresholds => settings.expansion.enabled.value,
        Sizing::Resize(resize) => resize.enabled.value,
        Sizing::Target(_) => true,
    }
}

/// The volume that a growth is of; none where the Cluster has it no more.
pub(super) fn volume_of<'a>(world: &'a World, growth: &GrowthSpec) -> Option<&'a Volume> {
    let VolumeReference { role, tablespace } = &growth.volume;
    let mut volumes = world.volumes.iter();
    volumes.find(|v| v.key.role == *role && v.key.tablespace.as_deref() == tablespace.as_deref())
}

/// Whether it is an emergency or a rescue.
pub(crate) fn saves(growth: &GrowthSpec) -> bool {
    growth.rescues() || growth.urgency() == Urgency::Emergency
}

fn lists(growth: &GrowthSpec, member: &Member) -> bool {
    growth.expansion.affected_pvcs.iter().any(|pvc| *pvc.uid == *member.uid)
}

/// PVCs of the Cluster that are none of this operation's, and count against `parallelism`: those of its other volumes, and
/// what another operation grows of this one, such as a replica that joined meanwhile. What is urgent waits for none of them,
/// and nothing waits for a resize that does not get on.
pub(super) fn in_flight_elsewhere(world: &World, growth: &GrowthSpec, now: Timestamp) -> usize {
    if saves(growth) || growth.urgency() == Urgency::Runway {
        return 0;
    }
    let own = volume_of(world, growth);
    let is_own = |volume: &Volume, member: &Member| own.is_some_and(|own| own.key == volume.key) && lists(growth, member);
    let all = world.volumes.iter().flat_map(|v| v.members.iter().map(move |m| (v, m)));
    all.filter(|(v, m)| !is_own(v, m) && gets_on(world, v, m, now)).count()
}

/// Whether a PVC asks for more than it has, and may soon have it. One that is not bound has nothing yet.
fn gets_on(world: &World, volume: &Volume, member: &Member, now: Timestamp) -> bool {
    let operations = world.operations.iter().filter(|o| o.volume == volume.key && !o.done);
    let begun = operations.filter(|o| o.concerns(&member.uid)).map(|o| o.started_at);
    let since = begun.chain(member.resize.as_ref().and_then(|resize| resize.since)).max();
    let stuck = since.is_some_and(|since| now.duration_since(since) >= world.limits.stuck_after);
    !member.size.is_zero() && member.request > member.size && !member.is_infeasible() && !stuck
}
