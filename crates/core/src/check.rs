//! A second opinion: goes over a plan once more before anything is done.
//!
//! It shares no code with the planner beyond the types, the clock of maintenance windows and the arithmetic of forecasts,
//! and asks only what must never happen: each rule of planner.md that forbids something, found in its own way. A violation
//! is a bug of ours: nothing of such a plan may be applied.

mod evidence;
mod ledger;
mod pace;
mod relief;
mod seen;
mod sizes;

use std::fmt;

use csm_api::{Reason, Urgency, Verdict};
use jiff::Timestamp;

use crate::decision::{Decision, MemberPlan, Plan};
use crate::resolve::{Resolution, Sizing};
use crate::world::{Fencing, Member, Pause, VolumeKey, World};
use seen::Seen;

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Acting on a volume without settings: no policy, a conflict, or invalid ones.
    Unmanaged,
    /// Acting on a Cluster that is being deleted, hibernated, paused, or does not allow it.
    Untouchable,
    /// Acting in a dry run, or while growth is switched off.
    SwitchedOff,
    /// A decision for a volume that does not exist, or two for one.
    Volume,
    /// A PVC that the volume does not have, or one that is named twice.
    Member,
    /// Patching a PVC that is larger than the ceiling and was set aside.
    SetAside,
    /// A planned growth that is not for all members, or a more urgent one that is not for those in danger.
    LeftOut,
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
    /// A size above what the model comes to for this urgency, or a runway above the growth that it stands in for.
    TooLarge,
    /// A size where nothing is to be done, none where something is, different ones, or an urgency that the reason does not
    /// have.
    Inconsistent,
    /// A second operation while one is under way.
    SecondOperation,
    /// Growing before the back-off of a refused growth is over.
    TooSoon,
    /// Growing while a circuit breaker is open.
    CircuitOpen,
    /// More actions in 24 hours than the budget has, or than it leaves for this urgency.
    Budget,
    /// Changing a PVC more often than its provisioner allows.
    ProviderLimit,
    /// A planned growth during the cooldown.
    Cooldown,
    /// One resize too many in the whole fleet.
    FleetLimit,
    /// A planned growth outside of the maintenance window.
    WindowClosed,
    /// Growing PGDATA and WAL on one volume in the resize model, unacknowledged.
    WalRisk,
    /// A planned growth of the resize model that hides that WAL cannot leave.
    WalHealth,
    /// Growing without figures, taken after the last resize and recent, that are the reason given; or without what else it
    /// rests on.
    NoEvidence,
    /// A runway where none is allowed, or where the volume is not about to fill.
    NoRunway,
    /// Relieving WAL of an instance that must be left alone, or for no reason.
    Relief,
}

impl Rule {
    /// Every rule.
    pub const ALL: &'static [Self] = &[
        Self::Unmanaged,
        Self::Untouchable,
        Self::SwitchedOff,
        Self::Volume,
        Self::Member,
        Self::SetAside,
        Self::LeftOut,
        Self::Fenced,
        Self::CannotGrow,
        Self::SharedFilesystem,
        Self::Shrinks,
        Self::AboveCeiling,
        Self::OddSize,
        Self::TooLarge,
        Self::Inconsistent,
        Self::SecondOperation,
        Self::TooSoon,
        Self::CircuitOpen,
        Self::Budget,
        Self::ProviderLimit,
        Self::Cooldown,
        Self::FleetLimit,
        Self::WindowClosed,
        Self::WalRisk,
        Self::WalHealth,
        Self::NoEvidence,
        Self::NoRunway,
        Self::Relief,
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
            Self::SetAside => "SetAside",
            Self::LeftOut => "LeftOut",
            Self::Fenced => "Fenced",
            Self::CannotGrow => "CannotGrow",
            Self::SharedFilesystem => "SharedFilesystem",
            Self::Shrinks => "Shrinks",
            Self::AboveCeiling => "AboveCeiling",
            Self::OddSize => "OddSize",
            Self::TooLarge => "TooLarge",
            Self::Inconsistent => "Inconsistent",
            Self::SecondOperation => "SecondOperation",
            Self::TooSoon => "TooSoon",
            Self::CircuitOpen => "CircuitOpen",
            Self::Budget => "Budget",
            Self::ProviderLimit => "ProviderLimit",
            Self::Cooldown => "Cooldown",
            Self::FleetLimit => "FleetLimit",
            Self::WindowClosed => "WindowClosed",
            Self::WalRisk => "WalRisk",
            Self::WalHealth => "WalHealth",
            Self::NoEvidence => "NoEvidence",
            Self::NoRunway => "NoRunway",
            Self::Relief => "Relief",
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

/// What is found is told to this.
type Report<'r> = &'r mut dyn FnMut(Rule, String);

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
        relief::check(world, volume, decision, now, &mut report);
        match (decision.verdict, decision.urgency) {
            (Verdict::Balanced | Verdict::Hold, _) => idle(decision, &mut report),
            (Verdict::Grow | Verdict::CatchUp | Verdict::Rescue, None) => {
                report(Rule::Inconsistent, format!("{} without an urgency", decision.verdict));
            }
            (Verdict::Grow | Verdict::CatchUp | Verdict::Rescue, Some(urgency)) => {
                cluster(world, now, &mut report);
                match Seen::new(world, volume, now) {
                    Some(seen) => Action { seen, decision, urgency }.check(&mut report),
                    None => report(Rule::Unmanaged, "the settings could not be resolved".to_owned()),
                }
            }
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Rules that only pace growth, or ask what it is for. A person's growth goes ahead of them.
const PACING: [Rule; 10] = [
    Rule::LeftOut,
    Rule::TooLarge,
    Rule::TooSoon,
    Rule::Budget,
    Rule::Cooldown,
    Rule::FleetLimit,
    Rule::WindowClosed,
    Rule::WalRisk,
    Rule::WalHealth,
    Rule::NoEvidence,
];

/// The same for one growth that a person asked for: all that is not about pace.
///
/// # Errors
/// All rules that it breaks.
pub fn check_asked(world: &World, decision: &Decision, now: Timestamp) -> Result<(), Vec<Violation>> {
    let plan = Plan {
        decisions: vec![decision.clone()],
        look_again_at: None,
    };
    let found = check(world, &plan, now).err().unwrap_or_default();
    let found: Vec<Violation> = found.into_iter().filter(|v| !PACING.contains(&v.rule)).collect();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Nothing is to be done, and so nothing may have a size.
fn idle(decision: &Decision, report: Report) {
    let sized = decision.members.iter().filter(|m| m.to.is_some()).count();
    if decision.to.is_some() || sized > 0 {
        report(Rule::Inconsistent, format!("{} with a size for {sized} PVCs", decision.verdict));
    }
}

/// What forbids any action on the Cluster.
fn cluster(world: &World, now: Timestamp, report: Report) {
    if let Resolution::Settings(settings) = &*world.resolution
        && settings.dry_run.value
    {
        report(Rule::SwitchedOff, "dryRun is true".to_owned());
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

/// A decision to act, beside what it must rest on.
struct Action<'a> {
    seen: Seen<'a>,
    decision: &'a Decision,
    urgency: Urgency,
}

impl<'a> Action<'a> {
    /// The members that are patched.
    fn patched(&self) -> impl Iterator<Item = &'a MemberPlan> {
        self.decision.members.iter().filter(|m| m.to.is_some())
    }

    /// The PVC that a plan names.
    fn member(&self, plan: &MemberPlan) -> Option<&'a Member> {
        self.seen.volume.members.iter().find(|m| m.uid == plan.uid && m.pvc == plan.pvc)
    }

    fn is_patched(&self, member: &Member) -> bool {
        self.patched().any(|plan| plan.uid == member.uid)
    }

    fn is_catch_up(&self) -> bool {
        self.decision.verdict == Verdict::CatchUp
    }

    /// What no growth may do, whatever the Cluster.
    fn check(&self, report: Report) {
        self.consistency(report);
        self.switches(report);
        for plan in self.patched() {
            match self.member(plan) {
                None => report(Rule::Member, format!("PVC {} does not belong to the volume", plan.pvc)),
                Some(member) => self.one_member(plan, member, report),
            }
        }
        self.left_out(report);
        sizes::check(self, report);
        self.second_operation(report);
        ledger::check(self, report);
        pace::check(self, report);
        evidence::check(self, report);
    }

    fn consistency(&self, report: Report) {
        let Decision {
            verdict, reason, from, to, ..
        } = self.decision;
        if self.patched().next().is_none() || self.patched().any(|m| m.to != *to) {
            let members: Vec<&MemberPlan> = self.patched().collect();
            report(Rule::Inconsistent, format!("{verdict} to {to:?}, members to {members:?}"));
        }
        for (i, plan) in self.decision.members.iter().enumerate() {
            if self.decision.members.iter().take(i).any(|m| m.uid == plan.uid) {
                report(Rule::Member, format!("PVC {} is named twice", plan.pvc));
            }
        }
        if !goes_together(*verdict, self.urgency, *reason) {
            report(Rule::Inconsistent, format!("{verdict} with urgency {} for {reason}", self.urgency));
        }
        if *from != self.seen.effective {
            report(Rule::Inconsistent, format!("from {from}, the volume has {}", self.seen.effective));
        }
    }

    fn switches(&self, report: Report) {
        let enabled = match &self.seen.rules.sizing {
            Sizing::Thresholds => self.seen.settings.expansion.enabled.value,
            Sizing::Resize(resize) => resize.enabled.value,
            Sizing::Target(_) => true,
        };
        if !enabled {
            report(Rule::SwitchedOff, "the model's enabled is false".to_owned());
        }
        let mut breakers = [self.seen.world.cluster.breaker, self.seen.world.global_breaker].into_iter();
        if self.urgency != Urgency::Rescue && breakers.any(|b| b.holds(self.seen.now)) {
            report(Rule::CircuitOpen, format!("urgency {}", self.urgency));
        }
        if let Some(at) = self.seen.volume.retry_after.filter(|at| self.seen.now < *at) {
            report(Rule::TooSoon, format!("not before {at}"));
        }
        let mut counted = self.seen.volume.members.iter().filter(|m| !self.seen.is_outsize(m));
        if counted.any(shares) {
            report(Rule::SharedFilesystem, "the figures of a member are not its own".to_owned());
        }
    }

    fn one_member(&self, plan: &MemberPlan, member: &Member, report: Report) {
        if let Some(to) = plan.to.filter(|to| *to <= member.size || *to <= member.request) {
            let detail = format!("PVC {} from {}/{} to {to}", plan.pvc, member.size, member.request);
            report(Rule::Shrinks, detail);
        }
        if self.seen.is_outsize(member) {
            report(Rule::SetAside, format!("PVC {}", plan.pvc));
        }
        let fenced = match &self.seen.world.cluster.fencing {
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

    /// Whom a growth must not do without.
    fn left_out(&self, report: Report) {
        let mut counted = self.seen.volume.members.iter().filter(|m| !self.seen.is_outsize(m));
        let served = match (self.decision.verdict, self.urgency) {
            (Verdict::CatchUp, Urgency::CatchUp) => true,
            // One that has reached the ceiling cannot be helped, and others catch up all the same.
            (Verdict::CatchUp, Urgency::Rescue) => {
                counted.any(|m| m.disk_full && (self.is_patched(m) || Some(m.request.max(m.size)) >= self.decision.to))
            }
            (_, Urgency::Rescue) => counted.any(|m| m.disk_full && self.is_patched(m)),
            (_, Urgency::Emergency | Urgency::Runway) => self.seen.worst().is_none_or(|(worst, _)| self.is_patched(worst)),
            (_, Urgency::Planned | Urgency::CatchUp) => counted.all(|m| self.is_patched(m)),
        };
        if !served {
            report(Rule::LeftOut, format!("{} leaves out whom it is for", self.decision.verdict));
        }
    }

    /// One operation at a time: of the volume for planned growth, of each PVC for what leaves out those that are resized.
    fn second_operation(&self, report: Report) {
        let volume = self.seen.volume;
        for operation in self.seen.operations().filter(|o| !o.done) {
            let lists = |uid: &str| operation.members.as_ref().is_none_or(|uids| uids.iter().any(|u| **u == *uid));
            // One that lists none of those that there are is not understood, and concerns all.
            let known = volume.members.iter().any(|m| lists(&m.uid) && !self.seen.is_outsize(m));
            if self.urgency == Urgency::Planned || !known || self.patched().any(|m| lists(&m.uid)) {
                report(Rule::SecondOperation, format!("operation {} is not finished", operation.id));
            }
        }
        let resizes = |m: &&Member| m.resize.is_some() || (m.size < m.request && !m.size.is_zero());
        let concerned = |m: &&Member| self.urgency == Urgency::Planned && !self.seen.is_outsize(m) || self.is_patched(m);
        for member in volume.members.iter().filter(concerned).filter(resizes) {
            report(Rule::SecondOperation, format!("PVC {} is being resized", member.pvc));
        }
    }
}

/// Which reasons belong to which verdict and urgency.
fn goes_together(verdict: Verdict, urgency: Urgency, reason: Reason) -> bool {
    match (verdict, urgency) {
        (Verdict::Grow, Urgency::Planned) => is_planned(reason),
        (Verdict::Grow, Urgency::Emergency) => matches!(reason, Reason::CriticalThreshold | Reason::CriticalMinimumFree),
        (Verdict::Grow, Urgency::Runway) => reason == Reason::Runway,
        (Verdict::Rescue | Verdict::CatchUp, Urgency::Rescue) => reason == Reason::DiskFull,
        (Verdict::CatchUp, Urgency::CatchUp) => reason == Reason::MemberBelowEffectiveSize,
        _ => false,
    }
}

/// The reasons of planned growth.
fn is_planned(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UsageThreshold
            | Reason::MinAvailable
            | Reason::InodeThreshold
            | Reason::TimeToFull
            | Reason::RequestFloor
            | Reason::TargetBuffer
    )
}

/// A filesystem more than a tenth larger than its PVC, or otherwise not its own.
fn shares(member: &Member) -> bool {
    let larger = member.observation.is_some_and(|o| {
        let filesystem = o.used.wide().saturating_add(o.available.wide());
        let size = member.size.wide().max(member.request.wide());
        filesystem.saturating_mul(10) > size.saturating_mul(11)
    });
    larger || member.twin || member.class.shared_filesystem
}
