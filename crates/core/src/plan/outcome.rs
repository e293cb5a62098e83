//! What comes of what fired: done, held, or done in another way although something holds it.

use csm_api::{Reason, Urgency, Verdict};
use csm_units::Bytes;
use jiff::SignedDuration;

use super::GATES;
use crate::decision::Cause;
use crate::gates::{self, Gate, Held};
use crate::size;
use crate::view::{Kind, View, Want};

/// What came of one volume: what is done, and what is not.
pub(super) struct Outcome {
    pub verdict: Verdict,
    /// What is done.
    pub done: Option<Want>,
    /// What is wanted and held, and by which gate.
    pub held: Option<(Want, Reason)>,
    pub reason: Reason,
    /// The gates that a runway passed.
    pub passed: Vec<Reason>,
    /// What waits for its time: what is held, or the growth that a runway stands in for.
    pub waits: Option<Want>,
    pub cause: Cause,
}

impl Outcome {
    fn balanced() -> Self {
        Self {
            verdict: Verdict::Balanced,
            done: None,
            held: None,
            reason: Reason::BelowThresholds,
            passed: Vec::new(),
            waits: None,
            cause: Cause::None,
        }
    }

    pub fn go(want: Want) -> Self {
        let verdict = match (want.kind, want.urgency) {
            (Kind::CatchUp, _) => Verdict::CatchUp,
            (_, Urgency::Rescue) => Verdict::Rescue,
            _ => Verdict::Grow,
        };
        Self {
            verdict,
            done: Some(want),
            held: None,
            reason: want.reason,
            passed: Vec::new(),
            waits: None,
            cause: Cause::None,
        }
    }

    pub fn hold(want: Option<Want>, held: Held) -> Self {
        Self {
            verdict: Verdict::Hold,
            done: None,
            held: want.map(|want| (want, held.reason)),
            reason: held.reason,
            passed: Vec::new(),
            waits: want,
            cause: held.cause,
        }
    }

    /// The reason of a Hold, or the gate that holds the growth beside which a catch-up goes.
    pub fn held_by(&self) -> Option<Reason> {
        if self.verdict == Verdict::Hold {
            Some(self.reason)
        } else {
            self.held.map(|(_, gate)| gate)
        }
    }

    /// Whether what is decided, or held, is more than planned growth.
    pub fn is_emergency(&self) -> bool {
        let urgent = |want: Want| matches!(want.urgency, Urgency::Rescue | Urgency::Emergency | Urgency::Runway);
        let held = self.held.map(|(want, _)| want);
        self.done.into_iter().chain(held).any(urgent)
    }

    /// What was decided, or what is held.
    pub fn want(&self) -> Option<Want> {
        self.done.or(self.held.map(|(want, _)| want))
    }
}

/// What comes of a volume for which this fired, by the gates.
pub(super) fn outcome(view: &View, want: Option<Want>) -> Outcome {
    match (want, gates::first(view, want.as_ref())) {
        (None, None) => Outcome::balanced(),
        (Some(want), None) => Outcome::go(want),
        (None, Some((_, held))) => Outcome::hold(None, held),
        (Some(want), Some((gate, held))) => match runway(view, &want, gate, &held) {
            Some(outcome) => outcome,
            None if gate.lets_catch_up && !want.is_catch_up() => beside(view, want, held),
            None => Outcome::hold(Some(want), held),
        },
    }
}

/// A free space below which a volume is about to fill, whatever its size.
const LITTLE: Bytes = Bytes::mib(32);
/// Five percent of a large volume is plenty: this much is not about to fill.
const PLENTY: Bytes = Bytes::gib(10);
/// A volume that is full within this time is about to fill.
const SOON: SignedDuration = SignedDuration::from_secs(600);

/// Whether so much is little for a volume of this size.
pub(crate) fn is_little(available: Bytes, size: Bytes) -> bool {
    let below_five_percent = available.wide().saturating_mul(100) < size.wide().saturating_mul(5);
    available < LITTLE || (below_five_percent && available < PLENTY)
}

/// Whether any member will be full soon.
fn is_about_to_fill(view: &View) -> bool {
    let short = view
        .observed()
        .any(|(member, figures)| is_little(figures.available, member.member.size));
    short || view.time_to_full().is_some_and(|time| time < SOON)
}

/// "Runway": a planned growth is held by nothing but gates that pace it, and the volume is about to fill meanwhile.
fn runway(view: &View, held_growth: &Want, first: &Gate, held: &Held) -> Option<Outcome> {
    let wanted = held_growth.is_planned() && view.settings?.emergency_runway.value;
    if !wanted || !(first.lets_runway)(held.reason) || !is_about_to_fill(view) {
        return None;
    }
    let mut passed = Vec::new();
    for gate in GATES.iter().filter(|gate| gate.name != Reason::DryRun) {
        if let Some(held) = gate.ask(view, Some(held_growth)) {
            if !(gate.lets_runway)(held.reason) {
                return None;
            }
            passed.push(held.reason);
        }
    }
    let runway = size::runway(view, held_growth);
    match gates::first(view, Some(&runway)) {
        None => Some(Outcome {
            held: Some((*held_growth, held.reason)),
            passed,
            waits: Some(*held_growth),
            cause: held.cause.clone(),
            ..Outcome::go(runway)
        }),
        // The dry run is asked last, also of a runway that would happen without it.
        Some((_, dry)) if dry.reason == Reason::DryRun => Some(Outcome {
            passed,
            waits: Some(*held_growth),
            ..Outcome::hold(Some(runway), dry)
        }),
        Some(_) => None,
    }
}

/// "CatchUp beside a hold": a growth is held, and a member lags that no gate holds.
fn beside(view: &View, growth: Want, held: Held) -> Outcome {
    if view.lagging().next().is_none() {
        return Outcome::hold(Some(growth), held);
    }
    let catch_up = size::catch_up(view, Reason::MemberBelowEffectiveSize, Urgency::CatchUp);
    match gates::first(view, Some(&catch_up)) {
        None => Outcome {
            held: Some((growth, held.reason)),
            waits: Some(growth),
            cause: held.cause,
            ..Outcome::go(catch_up)
        },
        // The dry run is asked last, also of the catch-up that would happen without it.
        Some((_, dry)) if dry.reason == Reason::DryRun => Outcome::hold(Some(catch_up), dry),
        Some(_) => Outcome::hold(Some(growth), held),
    }
}
