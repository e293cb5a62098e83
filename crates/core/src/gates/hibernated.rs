use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{View, Want};

/// Gate 7: CNPG hibernates the Cluster. It has no pods then, and so no figures.
pub(crate) const GATE: Gate = Gate {
    always: true,
    ..Gate::new(Reason::Hibernated, holds, inputs)
};

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let hibernated = view.world.cluster.hibernated;
    hibernated.then(|| Held::new(Reason::Hibernated, Cause::None))
}

fn inputs(view: &View) -> Inputs {
    vec![("hibernated", view.world.cluster.hibernated.to_string())]
}
