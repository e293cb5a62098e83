use csm_api::{Reason, Urgency};
use csm_units::Percent;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{View, Want};
use crate::world::Fleet;

/// Gate 19: too many volumes of the fleet are being resized. A catch-up of a member that is nearly full does not wait.
pub(crate) const GATE: Gate = Gate {
    lets_catch_up: true,
    lets_runway: |_| true,
    ..Gate::new(Reason::FleetLimit, holds, inputs)
};

/// A lagging member that is this full is not kept waiting.
const NEARLY_FULL: Percent = Percent::of(95);

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    let waits = match want?.urgency {
        Urgency::Planned => true,
        Urgency::CatchUp => {
            let mut figures = view.lagging().filter_map(|m| m.fresh);
            !figures.any(|f| NEARLY_FULL.reached_by(f.used, f.available))
        }
        Urgency::Rescue | Urgency::Emergency | Urgency::Runway => false,
    };
    let Fleet { in_progress, limit } = view.world.fleet;
    let limit = limit.filter(|limit| waits && in_progress >= *limit)?;
    Some(Held::new(Reason::FleetLimit, Cause::Fleet { in_progress, limit }))
}

fn inputs(view: &View) -> Inputs {
    let Fleet { in_progress, limit } = view.world.fleet;
    vec![
        ("resizesInProgress", in_progress.to_string()),
        ("limit", limit.map_or_else(|| "none".to_owned(), |n| n.to_string())),
    ]
}
