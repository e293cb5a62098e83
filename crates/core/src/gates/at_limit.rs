use csm_api::Reason;

use super::{Gate, Held, Inputs, leaves_out};
use crate::decision::Cause;
use crate::explain::ceiling_name;
use crate::view::{MemberView, View, Want};

/// Gate 15: the ceiling leaves less than one unit to grow.
///
/// It does not hold a catch-up as such; a lagging member that has reached the ceiling itself is left out of it.
pub(crate) const GATE: Gate = Gate {
    lets_catch_up: true,
    affects: Some(has_no_room),
    ..Gate::new(Reason::AtLimit, holds, inputs)
};

fn has_no_room(_: &View, member: &MemberView, want: &Want) -> bool {
    member.bytes >= want.to
}

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    let want = want?;
    let held = || Held::new(Reason::AtLimit, Cause::None);
    if want.is_catch_up() {
        // Also one that is a rescue everywhere else: here it concerns all members that lag.
        let full = view.lagging().any(|m| has_no_room(view, m, want));
        let nobody_is_left = || view.lagging().all(|m| leaves_out(view, m, want));
        return (full && nobody_is_left()).then(held);
    }
    want.at_limit.then(held)
}

fn inputs(view: &View) -> Inputs {
    let Some(ceiling) = view.ceiling else {
        return vec![("ceiling", "none".to_owned())];
    };
    vec![
        ("ceiling", ceiling.size.to_string()),
        ("ceilingFrom", ceiling_name(ceiling.source, view.model(), &view.volume.key)),
        ("effectiveSize", view.effective.to_string()),
    ]
}
