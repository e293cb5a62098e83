//! The planner: from a [`World`] and a moment to a [`Plan`].
//!
//! For each volume: what fires (`TRIGGERS`, the first one counts), to which size, and what holds it
//! (`GATES`, the first one counts). Each rule has a file of its own; their order stands here and nowhere else.

mod moments;
mod outcome;

use std::sync::Arc;

use csm_api::{Reason, State, Urgency, Verdict};
use csm_units::Percent;
use jiff::{SignedDuration, Timestamp};

pub use crate::decision::{
    Budget, Cause, Ceiling, CeilingSetting, CeilingSource, Decision, Evidence, Facts, Filling, Fired, Found, MemberPlan, Pace, Plan, Usage,
    Wanted, Warning,
};
use crate::facts;
use crate::gates::{self, Gate, Held};
use crate::ledger::{InFlight, earliest};
use crate::relief_due;
pub use crate::relief_due::{InstanceRelief, Occasion, Relief, ReliefHold};
use crate::triggers::{self, Trigger};
use crate::view::{MemberView, Members, View, Want};
use crate::world::{Pause, VolumeKey, World};
use moments::{look_again_at, next_action_at};
pub(crate) use outcome::is_little;
use outcome::{Outcome, outcome};

/// What fires, in this order.
pub(crate) const TRIGGERS: &[Trigger] = &[
    triggers::disk_full::trigger,     // 1
    triggers::critical::threshold,    // 2
    triggers::critical::minimum_free, // 3
    triggers::usage::trigger,         // 4, 5
    triggers::free_space::trigger,    // 6
    triggers::inodes::trigger,        // 7
    triggers::forecast::trigger,      // 8
    triggers::target::floor,          // 9
    triggers::target::buffer,         // 10
    triggers::lagging::trigger,       // 11
];

/// What holds, in this order.
pub(crate) const GATES: &[Gate] = &[
    gates::no_policy::GATE,         // 1
    gates::policy_conflict::GATE,   // 2
    gates::policy_invalid::GATE,    // 3
    gates::cluster_deleting::GATE,  // 4
    gates::disabled::GATE,          // 5
    gates::paused::GATE,            // 6
    gates::hibernated::GATE,        // 7
    gates::fenced::GATE,            // 8
    gates::in_use_resize::GATE,     // 9
    gates::not_bound::GATE,         // 10
    gates::block_volume::GATE,      // 10
    gates::storage_class::GATE,     // 10
    gates::shared_filesystem::GATE, // 11
    gates::resize_in_flight::GATE,  // 12
    gates::retry_later::GATE,       // 12a
    gates::circuit::GATE,           // 13
    gates::observation::GATE,       // 14
    gates::at_limit::GATE,          // 15
    gates::budget::GATE,            // 16
    gates::provider_limit::GATE,    // 17
    gates::cooldown::GATE,          // 18
    gates::fleet_limit::GATE,       // 19
    gates::window::GATE,            // 20
    gates::wal_risk::GATE,          // 21
    gates::wal_health::GATE,        // 22
    gates::dry_run::GATE,           // 23
];

/// Decides for every volume of a Cluster. Pure and total: the same input gives the same plan, and no input
/// makes it panic.
#[must_use]
pub fn plan(world: &World, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    plan_into(world, now, &mut plan);
    plan
}

/// The same, in the memory of a former plan, of whatever world: nothing is left of that one. Where every volume is
/// balanced and there is nothing to warn of, and no forecast is asked for, it allocates nothing.
pub fn plan_into(world: &World, now: Timestamp, plan: &mut Plan) {
    let Plan { decisions, look_again_at } = plan;
    *look_again_at = None;
    decisions.truncate(world.volumes.len());
    decisions.reserve(world.volumes.len().saturating_sub(decisions.len()));
    let mut scratch = Members::new();
    for (i, volume) in world.volumes.iter().enumerate() {
        let view = View::new(world, volume, now, &mut scratch);
        let former = decisions.get_mut(i);
        let spare = former.map(|former| std::mem::take(&mut former.members)).unwrap_or_default();
        let (decision, next) = decide(&view, spare);
        *look_again_at = earliest(*look_again_at, next);
        match decisions.get_mut(i) {
            Some(former) => *former = decision,
            None => decisions.push(decision),
        }
    }
    if !decisions.is_sorted_by(|a, b| a.volume <= b.volume) {
        decisions.sort_by(|a, b| a.volume.cmp(&b.volume));
    }
}

/// How long until the worst member of a volume is full, where it fills. Not part of a decision: it is made only where
/// somebody asks for it.
#[must_use]
pub fn time_to_full(world: &World, now: Timestamp, volume: &VolumeKey) -> Option<SignedDuration> {
    let volume = world.volumes.iter().find(|v| v.key == *volume)?;
    View::new(world, volume, now, &mut Members::new()).time_to_full()
}

/// The first that fires.
pub(crate) fn fired(view: &View) -> Option<Want> {
    TRIGGERS.iter().find_map(|trigger| trigger(view))
}

/// The decision for a volume, and the next moment at which it can change by time alone. Its list of members is made in the
/// memory of `spare`.
fn decide(view: &View, spare: Vec<MemberPlan>) -> (Decision, Option<Timestamp>) {
    let fired = fired(view);
    let outcome = outcome(view, fired);
    let (mut decision, next) = settle(view, fired, outcome, spare);
    let (relief, relief_at) = relief_due::of(view, &decision);
    decision.relief = relief;
    (decision, earliest(next, relief_at))
}

/// The decision for a growth that a person asked for, and for the gate that holds it, where one does.
pub(crate) fn asked(view: &View, want: Want, held: Option<Held>) -> Decision {
    let outcome = match held {
        Some(held) => Outcome::hold(Some(want), held),
        None => Outcome::go(want),
    };
    settle(view, None, outcome, Vec::new()).0
}

/// What came of a volume, with all that it rests on.
fn settle(view: &View, fired: Option<Want>, outcome: Outcome, spare: Vec<MemberPlan>) -> (Decision, Option<Timestamp>) {
    let in_flight = gates::resize_in_flight::of_volume(view);
    let state = state(view, &outcome, in_flight.as_ref());
    let next = look_again_at(view, fired.as_ref(), &outcome, in_flight.as_ref());
    let next_action_at = outcome.waits.and_then(|want| next_action_at(view, &want));
    let warnings = warnings(view, fired.as_ref());
    let want = outcome.want();
    let held = outcome.held.map(|(want, _)| want);
    let decision = Decision {
        volume: view.volume.key.clone(),
        model: view.model(),
        verdict: outcome.verdict,
        reason: outcome.reason,
        urgency: outcome.want().map(|want| want.urgency),
        state,
        from: view.effective,
        to: outcome.done.map(|want| want.to),
        wanted: outcome.held.map(|(want, held_by)| Wanted {
            reason: want.reason,
            urgency: want.urgency,
            to: want.shown(),
            held_by,
        }),
        at_limit: view.at_ceiling(),
        ceiling: outcome.want().map_or(view.ceiling, |want| view.ceiling_of(want.urgency)),
        members: members(view, outcome.done.as_ref(), spare),
        worst: view.worst.map(|(m, _)| m.member.instance.clone()),
        percent_used: view.worst.and_then(|(_, f)| Percent::used(f.used, f.available)),
        next_action_at,
        budget: gates::budget::of(view),
        warnings,
        passed: outcome.passed,
        relief: None,
        facts: facts::of(view, fired.as_ref(), want.as_ref(), held.as_ref(), outcome.cause),
    };
    (decision, next)
}

/// All PVCs in the order in which they are patched: those whose disk is full, then the replicas by name, then the
/// primary. The primary goes first among those whose disk is full, and where it is the one in danger.
fn members(view: &View, done: Option<&Want>, mut members: Vec<MemberPlan>) -> Vec<MemberPlan> {
    let patched = |m: &MemberView, want: &Want| {
        let may = want.is_planned() || !gates::leaves_out(view, m, want);
        !m.is_outsize() && may && (!want.is_catch_up() || m.is_lagging())
    };
    let planned = |m: &MemberView| MemberPlan {
        pvc: m.member.pvc.clone(),
        uid: m.member.uid.clone(),
        instance: m.member.instance.clone(),
        request: m.member.request,
        to: done.filter(|want| patched(m, want)).map(|want| want.to),
    };
    let worst_is_primary = view.worst.is_some_and(|(worst, _)| view.is_primary(worst.member));
    let in_danger = done.is_some_and(|want| matches!(want.urgency, Urgency::Emergency | Urgency::Runway)) && worst_is_primary;
    let turn = |m: &MemberView| {
        let primary = view.is_primary(m.member);
        match m.member.disk_full {
            true => u8::from(!primary),
            false if in_danger => 2_u8.saturating_add(u8::from(!primary)),
            false => 2_u8.saturating_add(u8::from(primary)),
        }
    };
    members.clear();
    members.reserve(view.members.len());
    for of_turn in 0..=3 {
        members.extend(view.members.iter().filter(|m| turn(m) == of_turn).map(planned));
    }
    members
}

fn warnings(view: &View, fired: Option<&Want>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |reason, members: Vec<Arc<str>>| warnings.push(Warning { reason, members });
    if view.members.iter().any(MemberView::is_outsize) {
        warn(Reason::MemberAboveLimit, view.names(MemberView::is_outsize));
    }
    let unseen = |m: &MemberView<'_>| m.fresh.is_none() && !m.is_outsize() && !m.is_lagging();
    if view.counted().any(|m| m.fresh.is_some()) && view.members.iter().any(unseen) {
        warn(Reason::MemberNotObserved, view.names(unseen));
    }
    let pause = &view.world.cluster.pause;
    if matches!(pause, Pause::Paused { unreadable: Some(_), .. }) && pause.in_force(view.now()) {
        warn(Reason::PauseUnreadable, Vec::new());
    }
    if gates::wal_health::is_unknown(view, fired) {
        warn(Reason::WalHealthUnknown, Vec::new());
    }
    if view.rules.is_some_and(|rules| !rules.ignored.is_empty()) {
        warn(Reason::FieldIgnored, Vec::new());
    }
    warnings
}

/// The state of the volume: the first that applies.
fn state(view: &View, outcome: &Outcome, in_flight: Option<&InFlight>) -> State {
    let held_by = outcome.held_by();
    let stuck = in_flight.is_some_and(|f| gates::resize_in_flight::is_stuck(view, f));
    let balanced = outcome.verdict == Verdict::Balanced;
    if held_by == Some(Reason::NoPolicy) {
        State::Unmanaged
    } else if view.world.cluster.pause.in_force(view.now()) {
        State::Paused
    } else if in_flight.is_some() && !stuck {
        State::Resizing
    } else if outcome.is_emergency() {
        State::Emergency
    } else if held_by == Some(Reason::DryRun) {
        State::DryRun
    } else if held_by == Some(Reason::AtLimit) {
        State::AtLimit
    } else if held_by == Some(Reason::MaintenanceWindowClosed) {
        State::PendingGrowth
    } else if matches!(held_by, Some(Reason::StaleObservation | Reason::NoObservation)) || (balanced && view.primary_is_blind()) {
        State::WaitingForDiskStatus
    } else if outcome.verdict == Verdict::Hold || stuck {
        State::Blocked
    } else if balanced {
        State::Balanced
    } else {
        State::NeedsGrow
    }
}
