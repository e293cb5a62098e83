use csm_api::Reason;
use jiff::Timestamp;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{View, Want};

/// Gate 12a: the last growth was refused or infeasible, less than its back-off ago.
pub(crate) const GATE: Gate = Gate {
    opens_at: Some(opens_at),
    ..Gate::new(Reason::RetryLater, holds, inputs)
};

fn waits_until(view: &View, from: Timestamp) -> Option<Timestamp> {
    view.volume.retry_after.filter(|at| *at > from)
}

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    waits_until(view, view.now()).map(|at| Held::new(Reason::RetryLater, Cause::Until { at }))
}

fn opens_at(view: &View, _: &Want, from: Timestamp) -> Option<Timestamp> {
    waits_until(view, from)
}

fn inputs(view: &View) -> Inputs {
    vec![("retryAfter", super::moment(view.volume.retry_after, "none"))]
}
