use csm_api::{Reason, Urgency};

use crate::size;
use crate::view::{View, Want};

/// Rule 6, resize model: less than `minAvailable` is available to any member.
pub(crate) fn trigger(view: &View) -> Option<Want> {
    let rules = view.resize()?;
    let least = rules.min_available.as_ref()?.value;
    let below = view.figures().any(|f| f.available < least);
    below.then(|| size::growth(view, Reason::MinAvailable, Urgency::Planned, size::resize(view.effective, rules)))
}
