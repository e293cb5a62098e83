use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::resolve::Resolution;
use crate::validate::Problem;
use crate::view::{View, Want};

/// Gate 3: the resolved settings do not validate on their own.
pub(crate) const GATE: Gate = Gate {
    always: true,
    ..Gate::new(Reason::PolicyInvalid, holds, inputs)
};

/// What is wrong: with what all volumes share, else with the settings of this one.
fn problems<'a>(view: &View<'a>) -> &'a [Problem] {
    match &*view.world.resolution {
        Resolution::Invalid(problems) => problems,
        Resolution::NoPolicy | Resolution::Conflict(_) | Resolution::Settings(_) => view.problems,
    }
}

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let problems = problems(view);
    (!problems.is_empty()).then(|| Held::new(Reason::PolicyInvalid, Cause::Invalid(problems.into())))
}

fn inputs(view: &View) -> Inputs {
    vec![("problems", super::list(problems(view).iter().map(ToString::to_string)))]
}
