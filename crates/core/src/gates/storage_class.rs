use csm_api::Reason;

use super::{Gate, Held, Inputs, by_members};
use crate::decision::Cause;
use crate::view::{MemberView, View, Want};

/// Gate 10: the storage class of a PVC does not allow expansion.
pub(crate) const GATE: Gate = Gate {
    affects: Some(|_, m, _| !m.member.class.expandable),
    lets_runway: |_| true,
    ..Gate::new(Reason::StorageClassNotExpandable, holds, inputs)
};

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    let held = |m: &MemberView| {
        (!m.member.class.expandable).then(|| {
            let cause = Cause::Class {
                class: m.member.class.name.clone(),
                instance: m.member.instance.clone(),
            };
            Held::new(Reason::StorageClassNotExpandable, cause)
        })
    };
    by_members(view, want, held)
}

fn inputs(view: &View) -> Inputs {
    let class = |m: &MemberView| {
        let expandable = if m.member.class.expandable {
            "expandable"
        } else {
            "not expandable"
        };
        format!("{} ({expandable})", m.member.class.name)
    };
    let mut classes: Vec<String> = view.members.iter().map(class).collect();
    classes.sort();
    classes.dedup();
    vec![("storageClasses", super::list(classes))]
}
