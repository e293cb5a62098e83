use csm_api::Reason;

use super::{Gate, Held, Inputs, by_members, member};
use crate::view::{MemberView, View, Want};

/// Gate 10: a PVC is not bound to a volume.
pub(crate) const GATE: Gate = Gate {
    affects: Some(|_, m, _| !m.member.bound),
    lets_runway: |_| true,
    ..Gate::new(Reason::NotBound, holds, inputs)
};

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    let held = |m: &MemberView| (!m.member.bound).then(|| Held::new(Reason::NotBound, member(m)));
    by_members(view, want, held)
}

fn inputs(view: &View) -> Inputs {
    vec![("notBound", super::list(view.names(|m| !m.member.bound)))]
}
