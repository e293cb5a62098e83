use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::resolve::Resolution;
use crate::view::{View, Want};

/// Gate 2: two policies of one rank match the Cluster, whatever they set.
pub(crate) const GATE: Gate = Gate {
    always: true,
    ..Gate::new(Reason::PolicyConflict, holds, inputs)
};

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let conflict = matches!(*view.world.resolution, Resolution::Conflict(_));
    conflict.then(|| Held::new(Reason::PolicyConflict, Cause::Settings(view.world.resolution.clone())))
}

fn inputs(view: &View) -> Inputs {
    let conflicts = match &*view.world.resolution {
        Resolution::Conflict(conflicts) => conflicts.as_slice(),
        Resolution::NoPolicy | Resolution::Invalid(_) | Resolution::Settings(_) => &[],
    };
    let policies = conflicts.iter().flat_map(|c| &c.policies);
    vec![("conflicting", super::list(policies.map(ToString::to_string)))]
}
