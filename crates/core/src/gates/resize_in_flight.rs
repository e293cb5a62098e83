use csm_api::Reason;
use jiff::Timestamp;

use super::{Gate, Held, Inputs, concerned, leaves_out};
use crate::decision::Cause;
use crate::freshness::after;
use crate::ledger::InFlight;
use crate::view::{MemberView, View, Want};

/// Gate 12: a resize of the volume is under way: a PVC asks for more than it has, shows a resize, or an
/// operation is unfinished. Without progress for `stuckAfter` since the newest of these began, it is stuck.
pub(crate) const GATE: Gate = Gate {
    affects: Some(|view, m, _| affects(view, m)),
    lets_runway: |_| true,
    ..Gate::new(Reason::ResizeInProgress, holds, inputs)
};

/// What is under way for the volume as a whole.
pub(crate) fn of_volume<'a>(view: &View<'a>) -> Option<InFlight<'a>> {
    if !view.ledger.unfinished && !view.counted().any(MemberView::resizes) {
        return None;
    }
    InFlight::of(view.counted(), view.operations())
}

/// When what is under way counts as stuck, where it is known when it began.
pub(crate) fn stuck_at(view: &View, in_flight: &InFlight) -> Option<Timestamp> {
    in_flight.since.map(|since| after(since, view.world.limits.stuck_after))
}

pub(crate) fn is_stuck(view: &View, in_flight: &InFlight) -> bool {
    stuck_at(view, in_flight).is_some_and(|at| at <= view.now())
}

fn affects(view: &View, member: &MemberView) -> bool {
    let concerned = || view.operations().any(|o| !o.done && concerns(view, o, member));
    member.resizes() || (view.ledger.unfinished && concerned())
}

/// An operation concerns the members that it lists; one that lists none of those that there are is not
/// understood, and concerns all.
fn concerns(view: &View, operation: &crate::world::Operation, member: &MemberView) -> bool {
    operation.concerns(&member.member.uid) || !view.counted().any(|m| operation.concerns(&m.member.uid))
}

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    let want = want?;
    let in_flight = of_volume(view)?;
    if want.is_planned() {
        return Some(held(view, &in_flight));
    }
    // Any other growth concerns some members only, and leaves out what it can do without.
    let affected = || concerned(view, want).filter(|m| affects(view, m));
    affected().next()?;
    if !concerned(view, want).all(|m| leaves_out(view, m, want)) {
        return None;
    }
    let operations = view.operations().filter(|o| affected().any(|m| concerns(view, o, m)));
    InFlight::of(affected(), operations).map(|in_flight| held(view, &in_flight))
}

fn held(view: &View, in_flight: &InFlight) -> Held {
    let reason = if is_stuck(view, in_flight) {
        Reason::ResizeStuck
    } else {
        Reason::ResizeInProgress
    };
    let shown = in_flight.member.and_then(|m| m.resize.as_ref());
    let cause = Cause::Resize {
        since: in_flight.since,
        operation: in_flight.operation.map(|o| o.id.clone()),
        instance: in_flight.member.map(|m| m.instance.clone()),
        stage: shown.map(|r| r.stage),
        error: shown.and_then(|r| r.error.clone()),
    };
    Held::new(reason, cause)
}

fn inputs(view: &View) -> Inputs {
    let in_flight = of_volume(view);
    let operation = in_flight.and_then(|f| f.operation).map(|o| o.id.to_string());
    vec![
        ("resizing", super::list(view.names(|m| !m.is_outsize() && m.resizes()))),
        ("unfinishedOperation", operation.unwrap_or_else(|| "none".to_owned())),
        ("since", super::moment(in_flight.and_then(|f| f.since), "unknown")),
        ("stuckAfter", format!("{:#}", view.world.limits.stuck_after)),
    ]
}
