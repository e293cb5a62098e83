use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::resolve::Resolution;
use crate::view::{View, Want};

/// Gate 3: the resolved settings do not validate on their own.
pub(crate) const GATE: Gate = Gate {
    always: true,
    ..Gate::new(Reason::PolicyInvalid, holds, inputs)
};

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let invalid = matches!(*view.world.resolution, Resolution::Invalid(_));
    invalid.then(|| Held::new(Reason::PolicyInvalid, Cause::Settings(view.world.resolution.clone())))
}

fn inputs(view: &View) -> Inputs {
    let problems = match &*view.world.resolution {
        Resolution::Invalid(problems) => problems.as_slice(),
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Settings(_) => &[],
    };
    vec![("problems", super::list(problems.iter().map(ToString::to_string)))]
}
