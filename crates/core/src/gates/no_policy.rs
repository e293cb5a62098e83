use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::resolve::Resolution;
use crate::view::{View, Want};

/// Gate 1: no policy object matches the Cluster.
pub(crate) const GATE: Gate = Gate {
    always: true,
    ..Gate::new(Reason::NoPolicy, holds, inputs)
};

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let none = matches!(*view.world.resolution, Resolution::NoPolicy);
    none.then(|| Held::new(Reason::NoPolicy, Cause::Settings(view.world.resolution.clone())))
}

fn inputs(view: &View) -> Inputs {
    let policies = match &*view.world.resolution {
        Resolution::NoPolicy => "none",
        Resolution::Conflict(_) | Resolution::Invalid(_) | Resolution::Settings(_) => "match",
    };
    let mut inputs = vec![("policies", policies.to_owned())];
    if let Some(settings) = view.settings {
        inputs = vec![("policies", super::list(settings.policies.iter().map(ToString::to_string)))];
    }
    inputs
}
