use csm_api::Reason;

use super::{Gate, Held, Inputs, by_members, member};
use crate::decision::Cause;
use crate::view::{MemberView, View, Want};
use crate::world::Fencing;

/// Gate 8: an instance of the volume is fenced, all are, or the annotation is no JSON list.
pub(crate) const GATE: Gate = Gate {
    affects: Some(affects),
    lets_runway: |_| true,
    ..Gate::new(Reason::Fenced, holds, inputs)
};

fn affects(view: &View, member: &MemberView, _: &Want) -> bool {
    view.world.cluster.fencing.covers(&member.member.instance)
}

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    let fencing = &view.world.cluster.fencing;
    if *fencing == Fencing::None {
        return None;
    }
    by_members(view, want, |m| {
        fencing.covers(&m.member.instance).then(|| {
            let cause = match fencing {
                Fencing::Unreadable(text) => Cause::FencedAll {
                    unreadable: Some(text.clone()),
                },
                Fencing::All => Cause::FencedAll { unreadable: None },
                Fencing::None | Fencing::Instances(_) => member(m),
            };
            Held::new(Reason::Fenced, cause)
        })
    })
}

fn inputs(view: &View) -> Inputs {
    let fenced = match &view.world.cluster.fencing {
        Fencing::None => "none".to_owned(),
        Fencing::Instances(names) => super::list(names),
        Fencing::All => "all".to_owned(),
        Fencing::Unreadable(text) => format!("unreadable, taken as all: {text:?}"),
    };
    vec![("fencedInstances", fenced)]
}
