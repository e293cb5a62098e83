use csm_api::{Reason, Urgency};

use crate::resolve::{Sizing, TargetRules};
use crate::size;
use crate::view::{View, Want};

fn rules<'a>(view: &View<'a>) -> Option<&'a TargetRules> {
    match &view.rules?.sizing {
        Sizing::Target(rules) => Some(rules),
        Sizing::Thresholds | Sizing::Resize(_) => None,
    }
}

/// Rule 9, request/limit model: the volume is smaller than `request`. It needs no figures, but a member.
pub(crate) fn floor(view: &View) -> Option<Want> {
    let rules = rules(view)?;
    view.counted().next()?;
    let below = view.effective < rules.request.value;
    below.then(|| size::growth(view, Reason::RequestFloor, Urgency::Planned, size::planned_target(view, rules)))
}

/// Rule 10, request/limit model: what is used leaves less than `targetBuffer` percent free.
pub(crate) fn buffer(view: &View) -> Option<Want> {
    let rules = rules(view)?;
    let short = view.worst.is_some() && size::target(view, rules) > view.effective;
    short.then(|| size::growth(view, Reason::TargetBuffer, Urgency::Planned, size::planned_target(view, rules)))
}
