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
            let mut figures = view.lagging().filter_map(|m| m.fresh.as_ref());
            !figures.any(|f| NEARLY_FULL.reached_by(f.used, f.available))
        }
        Urgency::Rescue | Urgency::Emergency | Urgency::Runway => false,
    };
    if !waits {
        return None;
    }
    let of_all = (view.world.fleet, None);
    let classes = view.members.iter().map(|m| &m.member.class);
    let of_classes = classes.map(|class| (class.fleet, Some(&class.name)));
    let (fleet, limit, class) = std::iter::once(of_all)
        .chain(of_classes)
        .find_map(|(fleet, class)| Some((fleet, fleet.is_full()?, class)))?;
    let class = class.cloned();
    Some(Held::new(Reason::FleetLimit, Cause::Fleet { fleet, limit, class }))
}

fn inputs(view: &View) -> Inputs {
    let Fleet { in_progress, ahead, limit } = view.world.fleet;
    let mut inputs = vec![
        ("resizesInProgress", in_progress.to_string()),
        ("limit", limit.map_or_else(|| "none".to_owned(), |n| n.to_string())),
    ];
    inputs.extend((ahead > 0).then(|| ("clustersAhead", ahead.to_string())));
    inputs
}
