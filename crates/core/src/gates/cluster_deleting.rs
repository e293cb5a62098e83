use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{View, Want};

/// Gate 4: the Cluster has a deletion timestamp.
pub(crate) const GATE: Gate = Gate {
    always: true,
    ..Gate::new(Reason::ClusterDeleting, holds, inputs)
};

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let deleting = view.world.cluster.deleting;
    deleting.then(|| Held::new(Reason::ClusterDeleting, Cause::None))
}

fn inputs(view: &View) -> Inputs {
    vec![("deleting", view.world.cluster.deleting.to_string())]
}
