use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{MemberView, View, Want};

/// Gate 14: nothing fired, but no member that counts has fresh figures: absence is never read as zero.
pub(crate) const GATE: Gate = Gate {
    always: true,
    lets_catch_up: true,
    ..Gate::new(Reason::StaleObservation, holds, inputs)
};

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    if want.is_some() || view.figures().next().is_some() {
        return None;
    }
    let seen = view.counted().filter_map(|m| m.member.figures().map(|f| (f.at, m)));
    // Of two of one age the first by name.
    let newest = seen.reduce(|a, b| if b.0 > a.0 { b } else { a });
    let reason = if newest.is_some() {
        Reason::StaleObservation
    } else {
        Reason::NoObservation
    };
    let cause = Cause::Figures {
        newest: newest.map(|(at, m)| (at, m.member.instance.clone())),
        limit: view.freshness.limit,
    };
    Some(Held::new(reason, cause))
}

fn inputs(view: &View) -> Inputs {
    let age = |m: &MemberView| {
        let text = match (m.member.figures(), m.fresh) {
            (None, _) => "never".to_owned(),
            (Some(f), Some(_)) => format!("{} (fresh)", f.at),
            (Some(f), None) => format!("{} (not fresh)", f.at),
        };
        format!("{}: {text}", m.member.instance)
    };
    vec![
        ("observedAt", super::list(view.members.iter().map(age))),
        ("limit", format!("{:#}", view.freshness.limit)),
    ]
}
