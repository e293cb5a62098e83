use csm_api::Reason;

use super::{Gate, Held, Inputs, by_members, member};
use crate::view::{MemberView, View, Want};

/// Gate 10: a PVC is a raw block device, without a filesystem to grow.
pub(crate) const GATE: Gate = Gate {
    affects: Some(|_, m, _| m.member.block),
    lets_runway: |_| true,
    ..Gate::new(Reason::BlockVolume, holds, inputs)
};

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    let held = |m: &MemberView| m.member.block.then(|| Held::new(Reason::BlockVolume, member(m)));
    by_members(view, want, held)
}

fn inputs(view: &View) -> Inputs {
    vec![("blockDevices", super::list(view.names(|m| m.member.block)))]
}
