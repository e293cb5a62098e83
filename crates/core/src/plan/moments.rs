//! When time alone can change a decision.

use jiff::Timestamp;

use super::GATES;
use super::outcome::Outcome;
use crate::decision::Cause;
use crate::freshness::after;
use crate::gates;
use crate::ledger::InFlight;
use crate::view::{View, Want};

/// When the gates that hold `want` at `from`, and that time alone opens, do so, each by itself.
fn opens(view: &View, want: &Want, from: Timestamp) -> impl Iterator<Item = Timestamp> {
    let gates = GATES.iter().filter_map(|gate| gate.opens_at);
    gates.filter_map(move |opens_at| opens_at(view, want, from))
}

/// The earliest moment at which no gate that time alone opens holds what is wanted; none where none does now, or one
/// never opens.
pub(super) fn next_action_at(view: &View, want: &Want) -> Option<Timestamp> {
    // Windows alone close again: all others are open from some moment on, and then the next window counts.
    let mut at = opens(view, want, view.now()).max()?;
    for _ in GATES {
        if at == Timestamp::MAX {
            return None;
        }
        match opens(view, want, at).max() {
            Some(later) => at = later,
            None => return Some(at),
        }
    }
    None
}

/// The next moment, after now, at which the answer can change by time alone.
pub(super) fn look_again_at(view: &View, fired: Option<&Want>, outcome: &Outcome, in_flight: Option<&InFlight>) -> Option<Timestamp> {
    let pause = &view.world.cluster.pause;
    let stuck = in_flight.and_then(|f| gates::resize_in_flight::stuck_at(view, f));
    // What keeps a catch-up can be older than the newest resize of the volume.
    let stuck_members = match outcome.cause {
        Cause::Resize { since, .. } => since.map(|since| after(since, view.world.limits.stuck_after)),
        _ => None,
    };
    let volume = [pause.until(), stuck, stuck_members, view.ledger.changes_at];
    let figures = view.members.iter().filter_map(|m| view.freshness.changes_at(m.member));
    // Of what fired, also where something else is what is decided or held; and what the next window provides for.
    let opens = fired.into_iter().flat_map(|want| opens(view, want, view.now()));
    let left_out = fired.into_iter().flat_map(|_| gates::provider_limit::openings(view));
    let breakers = gates::circuit::changes_at(view);
    let window = fired.and(view.rules).and_then(|rules| rules.window.as_ref());
    let window = window.into_iter().flat_map(|rules| {
        let now = view.now();
        [rules.window.open(now), rules.window.next_firing(now)]
    });
    let moments = volume
        .into_iter()
        .chain(window)
        .flatten()
        .chain(figures)
        .chain(opens)
        .chain(left_out)
        .chain(breakers);
    moments.filter(|at| *at > view.now() && *at < Timestamp::MAX).min()
}
