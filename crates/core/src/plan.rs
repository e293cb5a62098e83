//! The planner: from a [`World`] and a moment to a [`Plan`].
//!
//! For each volume: what fires (`TRIGGERS`, the first one counts), to which size, and what holds it
//! (`GATES`, the first one counts). Each rule has a file of its own; their order stands here and nowhere else.

use std::sync::Arc;

use csm_api::{Model, Reason, State, Verdict};
use csm_units::Percent;
use jiff::Timestamp;

pub use crate::decision::{Cause, Ceiling, CeilingSource, Decision, Facts, MemberPlan, Plan, Usage, Wanted, Warning};
use crate::freshness::after;
use crate::gates::{self, Gate, Held};
use crate::ledger::{InFlight, earliest};
use crate::size;
use crate::triggers::{self, Trigger};
use crate::view::{MemberView, View, Want};
use crate::world::{Pause, World};

/// What fires, in this order.
pub(crate) const TRIGGERS: &[Trigger] = &[
    triggers::usage::trigger,   // 4
    triggers::lagging::trigger, // 11
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
    gates::observation::GATE,       // 14
    gates::at_limit::GATE,          // 15
    gates::cooldown::GATE,          // 18
    gates::dry_run::GATE,           // 23
];

/// Decides for every volume of a Cluster. Pure and total: the same input gives the same plan, and no input
/// makes it panic.
#[must_use]
pub fn plan(world: &World, now: Timestamp) -> Plan {
    let mut decisions = Vec::with_capacity(world.volumes.len());
    let mut look_again_at = None;
    let mut scratch = Vec::new();
    for volume in &world.volumes {
        let view = View::new(world, volume, now, &mut scratch);
        let (decision, next) = decide(&view);
        decisions.push(decision);
        look_again_at = earliest(look_again_at, next);
    }
    if !decisions.is_sorted_by(|a, b| a.volume <= b.volume) {
        decisions.sort_by(|a, b| a.volume.cmp(&b.volume));
    }
    Plan { decisions, look_again_at }
}

/// The first that fires.
pub(crate) fn fired(view: &View) -> Option<Want> {
    TRIGGERS.iter().find_map(|trigger| trigger(view))
}

/// What came of one volume: what is done, and what is not.
struct Outcome {
    verdict: Verdict,
    /// What is done, or what the Hold keeps.
    done: Option<Want>,
    /// What is wanted and held, and by what.
    held: Option<(Want, Reason)>,
    reason: Reason,
    cause: Cause,
}

impl Outcome {
    fn balanced() -> Self {
        Self {
            verdict: Verdict::Balanced,
            done: None,
            held: None,
            reason: Reason::BelowThresholds,
            cause: Cause::None,
        }
    }

    fn go(want: Want) -> Self {
        Self {
            verdict: if want.is_catch_up() { Verdict::CatchUp } else { Verdict::Grow },
            done: Some(want),
            held: None,
            reason: want.reason,
            cause: Cause::None,
        }
    }

    fn hold(want: Option<Want>, held: Held) -> Self {
        Self {
            verdict: Verdict::Hold,
            done: None,
            held: want.map(|want| (want, held.reason)),
            reason: held.reason,
            cause: held.cause,
        }
    }

    /// The reason of a Hold, or the gate that holds the growth beside which a catch-up goes.
    fn held_by(&self) -> Option<Reason> {
        if self.verdict == Verdict::Hold {
            Some(self.reason)
        } else {
            self.held.map(|(_, gate)| gate)
        }
    }
}

fn outcome(view: &View, want: Option<Want>) -> Outcome {
    match (want, gates::first(view, want.as_ref())) {
        (None, None) => Outcome::balanced(),
        (Some(want), None) => Outcome::go(want),
        (Some(want), Some((gate, held))) if gate.lets_catch_up && !want.is_catch_up() => beside(view, want, held),
        (want, Some((_, held))) => Outcome::hold(want, held),
    }
}

/// "CatchUp beside a hold": a growth is held, and a member lags that no gate holds.
fn beside(view: &View, growth: Want, held: Held) -> Outcome {
    if view.lagging().next().is_none() {
        return Outcome::hold(Some(growth), held);
    }
    let catch_up = size::catch_up(view);
    match gates::first(view, Some(&catch_up)) {
        None => Outcome {
            held: Some((growth, held.reason)),
            cause: held.cause,
            ..Outcome::go(catch_up)
        },
        // The dry run is asked last, also of the catch-up that would happen without it.
        Some((_, dry)) if dry.reason == Reason::DryRun => Outcome::hold(Some(catch_up), dry),
        Some(_) => Outcome::hold(Some(growth), held),
    }
}

/// The decision for a volume, and the next moment at which it can change by time alone.
fn decide(view: &View) -> (Decision, Option<Timestamp>) {
    let fired = fired(view);
    let outcome = outcome(view, fired);
    let in_flight = gates::resize_in_flight::of_volume(view);
    let state = state(view, &outcome, in_flight.as_ref());
    let next = look_again_at(view, fired.as_ref(), &outcome, in_flight.as_ref());
    let next_action_at = outcome.held.and_then(|(want, _)| opens(view, &want).max());
    let decision = Decision {
        volume: view.volume.key.clone(),
        model: view.settings.map(|_| Model::Thresholds),
        verdict: outcome.verdict,
        reason: outcome.reason,
        urgency: outcome.done.or(outcome.held.map(|(want, _)| want)).map(|want| want.urgency),
        state,
        from: view.effective,
        to: outcome.done.map(|want| want.to),
        wanted: outcome.held.map(|(want, held_by)| Wanted {
            reason: want.reason,
            urgency: want.urgency,
            to: Some(want.shown()),
            held_by,
        }),
        passed: Vec::new(),
        at_limit: view.at_ceiling(),
        ceiling: view.ceiling,
        members: members(view, outcome.done.as_ref()),
        worst: view.worst.map(|(m, _)| m.member.instance.clone()),
        percent_used: view.worst.and_then(|(_, f)| Percent::used(f.used, f.available)),
        next_action_at,
        actions_last_24h: view.ledger.actions_last_24h,
        warnings: warnings(view),
        facts: Facts {
            usage: view.worst.map(|(_, f)| Usage {
                used: f.used,
                available: f.available,
            }),
            threshold: view.settings.map(|s| s.thresholds.expansion.value),
            cause: outcome.cause,
        },
    };
    (decision, next)
}

/// When the gates that hold `want`, and that time alone opens, do so.
fn opens(view: &View, want: &Want) -> impl Iterator<Item = Timestamp> {
    let gates = GATES.iter().filter_map(|gate| gate.opens_at);
    gates.filter_map(move |opens_at| opens_at(view, want))
}

/// The next moment, after now, at which the answer can change by time alone.
fn look_again_at(view: &View, fired: Option<&Want>, outcome: &Outcome, in_flight: Option<&InFlight>) -> Option<Timestamp> {
    let pause = &view.world.cluster.pause;
    let stuck = in_flight.and_then(|f| gates::resize_in_flight::stuck_at(view, f));
    // What keeps a catch-up can be older than the newest resize of the volume.
    let stuck_members = match outcome.cause {
        Cause::Resize { since, .. } => since.map(|since| after(since, view.world.limits.stuck_after)),
        _ => None,
    };
    let volume = [pause.until(), stuck, stuck_members, view.ledger.count_changes_at];
    let figures = view.members.iter().filter_map(|m| view.freshness.changes_at(m.member));
    // Of what fired, also where a catch-up beside it is what is decided or held.
    let opens = fired.into_iter().flat_map(|want| opens(view, want));
    let moments = volume.into_iter().flatten().chain(figures).chain(opens);
    moments.filter(|at| *at > view.now()).min()
}

/// All PVCs in the order in which they are patched: the replicas by name, then the primary.
fn members(view: &View, done: Option<&Want>) -> Vec<MemberPlan> {
    let patched =
        |m: &MemberView, want: &Want| !m.is_outsize() && (!want.is_catch_up() || (m.is_lagging() && !gates::leaves_out(view, m, want)));
    let planned = |m: &MemberView| MemberPlan {
        pvc: m.member.pvc.clone(),
        uid: m.member.uid.clone(),
        instance: m.member.instance.clone(),
        request: m.member.request,
        to: done.filter(|want| patched(m, want)).map(|want| want.to),
    };
    let mut members = Vec::with_capacity(view.members.len());
    for primary in [false, true] {
        let of_turn = view.members.iter().filter(|m| view.is_primary(m.member) == primary);
        members.extend(of_turn.map(planned));
    }
    members
}

fn warnings(view: &View) -> Vec<Warning> {
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
    } else if held_by == Some(Reason::DryRun) {
        State::DryRun
    } else if held_by == Some(Reason::AtLimit) {
        State::AtLimit
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
