use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{View, Want};

/// Gate 9: the Cluster says `spec.storage.resizeInUseVolumes: false`; it governs all roles.
pub(crate) const GATE: Gate = Gate::new(Reason::InUseResizeDisabled, holds, inputs);

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let allowed = view.world.cluster.resize_in_use_volumes;
    (!allowed).then(|| Held::new(Reason::InUseResizeDisabled, Cause::None))
}

fn inputs(view: &View) -> Inputs {
    vec![("resizeInUseVolumes", view.world.cluster.resize_in_use_volumes.to_string())]
}
