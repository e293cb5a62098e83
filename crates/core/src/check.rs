//! A second opinion: goes over a plan once more before anything is done.
//!
//! It shares no code with the planner beyond the types, and asks only what must never happen. A violation is a
//! bug of ours: nothing of such a plan may be applied.

use std::fmt;

use csm_api::{Reason, Urgency, Verdict};
use csm_units::Bytes;
use jiff::Timestamp;

use crate::decision::{Decision, MemberPlan, Plan};
use crate::resolve::{Resolution, Resolved, Sizing};
use crate::world::{Fencing, Member, Pause, Volume, VolumeKey, World};

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Acting on a Cluster without settings: no policy, a conflict, or invalid ones.
    Unmanaged,
    /// Acting on a Cluster that is being deleted, hibernated, paused, or does not allow it.
    Untouchable,
    /// Acting in a dry run, or while growth is switched off.
    SwitchedOff,
    /// A decision for a volume that does not exist, or two for one.
    Volume,
    /// A PVC that the volume does not have, or one that is named twice.
    Member,
    /// Patching a PVC of a fenced instance.
    Fenced,
    /// Patching a PVC that cannot grow: not bound, a block device, or of a class without expansion.
    CannotGrow,
    /// Acting on figures of a filesystem that many volumes share.
    SharedFilesystem,
    /// A size at or below what a PVC has or asks for.
    Shrinks,
    /// A size above the ceiling.
    AboveCeiling,
    /// A size that is neither a multiple of the unit nor the ceiling, or, of a catch-up, not the volume's.
    OddSize,
    /// A size where nothing is to be done, none where something is, or different ones.
    Inconsistent,
    /// A second operation while one is under way.
    SecondOperation,
    /// Growing without figures, taken after the last resize and recent, that reach the threshold.
    NoEvidence,
}

impl Rule {
    /// Every rule.
    pub const ALL: &'static [Self] = &[
        Self::Unmanaged,
        Self::Untouchable,
        Self::SwitchedOff,
        Self::Volume,
        Self::Member,
        Self::Fenced,
        Self::CannotGrow,
        Self::SharedFilesystem,
        Self::Shrinks,
        Self::AboveCeiling,
        Self::OddSize,
        Self::Inconsistent,
        Self::SecondOperation,
        Self::NoEvidence,
    ];

    /// The name, as in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unmanaged => "Unmanaged",
            Self::Untouchable => "Untouchable",
            Self::SwitchedOff => "SwitchedOff",
            Self::Volume => "Volume",
            Self::Member => "Member",
            Self::Fenced => "Fenced",
            Self::CannotGrow => "CannotGrow",
            Self::SharedFilesystem => "SharedFilesystem",
            Self::Shrinks => "Shrinks",
            Self::AboveCeiling => "AboveCeiling",
            Self::OddSize => "OddSize",
            Self::Inconsistent => "Inconsistent",
            Self::SecondOperation => "SecondOperation",
            Self::NoEvidence => "NoEvidence",
        }
    }
}

/// A plan breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The volume.
    pub volume: VolumeKey,
    /// The rule.
    pub rule: Rule,
    /// What the plan says.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.volume, self.rule.as_str(), self.detail)
    }
}

impl std::error::Error for Violation {}

/// Goes over a plan that was made from this world at this moment.
///
/// # Errors
/// All rules that it breaks.
pub fn check(world: &World, plan: &Plan, now: Timestamp) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    for (i, decision) in plan.decisions.iter().enumerate() {
        let mut report = |rule, detail: String| {
            found.push(Violation {
                volume: decision.volume.clone(),
                rule,
                detail,
            });
        };
        let mut of_name = world.volumes.iter().filter(|v| v.key == decision.volume);
        let (Some(volume), None) = (of_name.next(), of_name.next()) else {
            report(Rule::Volume, "the Cluster does not have exactly one such volume".to_owned());
            continue;
        };
        if plan.decisions.iter().take(i).any(|d| d.volume == decision.volume) {
            report(Rule::Volume, "a second decision for this volume".to_owned());
        }
        match decision.verdict {
            Verdict::Grow | Verdict::CatchUp | Verdict::Rescue => {
                cluster(world, now, &mut report);
                action(world, volume, decision, now, &mut report);
            }
            Verdict::Balanced | Verdict::Hold => idle(decision, &mut report),
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Nothing is to be done, and so nothing may have a size.
fn idle(decision: &Decision, report: &mut impl FnMut(Rule, String)) {
    let sized = decision.members.iter().filter(|m| m.to.is_some()).count();
    if decision.to.is_some() || sized > 0 {
        report(Rule::Inconsistent, format!("{} with a size for {sized} PVCs", decision.verdict));
    }
}

/// What forbids any action on the Cluster.
fn cluster(world: &World, now: Timestamp, report: &mut impl FnMut(Rule, String)) {
    match &*world.resolution {
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => {
            report(Rule::Unmanaged, "the settings could not be resolved".to_owned());
        }
        Resolution::Settings(settings) => {
            if settings.dry_run.value {
                report(Rule::SwitchedOff, "dryRun is true".to_owned());
            }
            if !settings.expansion.enabled.value {
                report(Rule::SwitchedOff, "expansion.enabled is false".to_owned());
            }
        }
    }
    let cluster = &world.cluster;
    let paused = match cluster.pause {
        Pause::No => false,
        Pause::Paused { until: None, .. } => true,
        Pause::Paused { until: Some(until), .. } => now < until,
    };
    let forbidden = [
        (cluster.deleting, "it is being deleted"),
        (cluster.hibernated, "it is hibernated"),
        (paused, "it is paused"),
        (!cluster.resize_in_use_volumes, "it does not allow resizing volumes in use"),
    ];
    for (_, why) in forbidden.into_iter().filter(|(forbidden, _)| *forbidden) {
        report(Rule::Untouchable, why.to_owned());
    }
}

/// What no growth may do, whatever the Cluster.
fn action(world: &World, volume: &Volume, decision: &Decision, now: Timestamp, report: &mut impl FnMut(Rule, String)) {
    let patched: Vec<&MemberPlan> = decision.members.iter().filter(|m| m.to.is_some()).collect();
    if patched.is_empty() || patched.iter().any(|m| m.to != decision.to) {
        report(
            Rule::Inconsistent,
            format!("{} to {:?}, members to {:?}", decision.verdict, decision.to, patched),
        );
    }
    for (i, plan) in decision.members.iter().enumerate() {
        if decision.members.iter().take(i).any(|m| m.uid == plan.uid) {
            report(Rule::Member, format!("PVC {} is named twice", plan.pvc));
        }
    }
    let ceiling = lowest_ceiling(world, volume);
    for (plan, to) in patched.iter().filter_map(|m| m.to.map(|to| (*m, to))) {
        let Some(member) = volume.members.iter().find(|m| m.uid == plan.uid && m.pvc == plan.pvc) else {
            report(Rule::Member, format!("PVC {} does not belong to the volume", plan.pvc));
            continue;
        };
        if to <= member.size || to <= member.request {
            report(
                Rule::Shrinks,
                format!("PVC {} from {}/{} to {to}", plan.pvc, member.size, member.request),
            );
        }
        if ceiling.is_some_and(|c| to > c) {
            report(Rule::AboveCeiling, format!("PVC {} to {to}, the ceiling is {ceiling:?}", plan.pvc));
        }
        one_member(world, member, report);
    }
    if let Some(to) = decision.to
        && !size_is_right(volume, decision.verdict, to, ceiling)
    {
        report(Rule::OddSize, format!("{} to {to}, the ceiling is {ceiling:?}", decision.verdict));
    }
    if volume.members.iter().any(|m| shared(m) && !above(m, ceiling)) {
        report(Rule::SharedFilesystem, "the figures of a member are not its own".to_owned());
    }
    second_operation(world, decision, &patched, report);
    if !needs_no_figures(decision) && !volume.members.iter().any(|m| is_evidence(world, volume, decision.reason, m, now)) {
        report(
            Rule::NoEvidence,
            format!("no recent figures are a reason to grow ({})", decision.reason),
        );
    }
}

fn one_member(world: &World, member: &Member, report: &mut impl FnMut(Rule, String)) {
    let fenced = match &world.cluster.fencing {
        Fencing::None => false,
        Fencing::Instances(names) => names.contains(&member.instance),
        Fencing::All | Fencing::Unreadable(_) => true,
    };
    if fenced {
        report(Rule::Fenced, format!("instance {}", member.instance));
    }
    if !member.bound || member.block || !member.class.expandable {
        report(Rule::CannotGrow, format!("PVC {}", member.pvc));
    }
}

/// The ceiling, found in its own way.
fn lowest_ceiling(world: &World, volume: &Volume) -> Option<Bytes> {
    let max_size = settings(world).and_then(|s| s.expansion.max_size.as_ref().map(|f| f.value));
    match (max_size, volume.learned_ceiling) {
        (Some(a), Some(b)) if b < a => Some(b),
        (Some(a), _) => Some(a),
        (None, Some(b)) => Some(b),
        (None, None) => volume.fallback_ceiling,
    }
}

fn settings(world: &World) -> Option<&Resolved> {
    match &*world.resolution {
        Resolution::Settings(settings) => Some(settings),
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Invalid(_) => None,
    }
}

fn above(member: &Member, ceiling: Option<Bytes>) -> bool {
    ceiling.is_some_and(|c| member.size > c || member.request > c)
}

/// Ten GiB: from there on sizes are whole GiB.
const TEN_GIB: u64 = 10 << 30;

fn size_is_right(volume: &Volume, verdict: Verdict, to: Bytes, ceiling: Option<Bytes>) -> bool {
    if ceiling == Some(to) {
        return true;
    }
    if verdict == Verdict::CatchUp {
        return volume.members.iter().any(|m| m.size == to || m.request == to);
    }
    let unit = if to.get() < TEN_GIB { 1_u64 << 20 } else { 1 << 30 };
    to.get().is_multiple_of(unit)
}

/// A filesystem more than a tenth larger than its PVC, or otherwise not its own.
fn shared(member: &Member) -> bool {
    let larger = member.observation.is_some_and(|o| {
        let filesystem = o.used.wide().saturating_add(o.available.wide());
        let size = member.size.wide().max(member.request.wide());
        filesystem.saturating_mul(10) > size.saturating_mul(11)
    });
    larger || member.twin || member.class.shared_filesystem
}

/// One operation at a time: of the volume for planned growth, of each PVC for what leaves out those that are resized.
fn second_operation(world: &World, decision: &Decision, patched: &[&MemberPlan], report: &mut impl FnMut(Rule, String)) {
    let unfinished = world.operations.iter().filter(|o| o.volume == decision.volume && !o.done);
    for operation in unfinished {
        let listed = |m: &&&MemberPlan| operation.members.as_ref().is_none_or(|uids| uids.contains(&m.uid));
        if decision.urgency == Some(Urgency::Planned) || patched.iter().any(|m| listed(&m)) {
            report(Rule::SecondOperation, format!("operation {} is not finished", operation.id));
        }
    }
}

/// What is wanted whatever is used: catching up, the floor that a person asked for, and a disk that is known to be full.
fn needs_no_figures(decision: &Decision) -> bool {
    decision.verdict == Verdict::CatchUp || matches!(decision.reason, Reason::RequestFloor | Reason::DiskFull)
}

/// Whether a member's figures are reason enough to grow.
fn is_evidence(world: &World, volume: &Volume, reason: Reason, member: &Member, now: Timestamp) -> bool {
    let (Some(figures), Some(settings)) = (&member.observation, settings(world)) else {
        return false;
    };
    let interval = world.limits.interval.as_nanos();
    let limit = interval.saturating_mul(3).max(300_000_000_000);
    let age = now.duration_since(figures.at).as_nanos();
    let after_resize = member.last_resize_at.is_none_or(|end| figures.at > end && now > end);
    if age > limit || !after_resize {
        return false;
    }
    let total = figures.used.wide().saturating_add(figures.available.wide());
    let used = figures.used.wide().saturating_mul(100);
    let share = |percent: i128| percent.saturating_mul(total);
    match (reason, settings.volumes.of(&volume.key).map(|rules| &rules.sizing)) {
        (Reason::UsageThreshold, Ok(Sizing::Thresholds)) => used >= share(i128::from(settings.thresholds.expansion.value.get())),
        (Reason::UsageThreshold, Ok(Sizing::Resize(rules))) => used > share(i128::from(rules.usage_threshold.value.get())),
        (_, rules) => total > 0 && rules.is_ok(),
    }
}
