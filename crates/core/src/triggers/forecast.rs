use csm_api::{Mode, Reason, Urgency};

use crate::size;
use crate::view::{View, Want};

/// Rule 8, resize model in mode Predictive: the worst member is forecast to be full in less than `timeToFull`.
pub(crate) fn trigger(view: &View) -> Option<Want> {
    let rules = view.resize().filter(|rules| rules.mode.value == Mode::Predictive)?;
    let soon = view.time_to_full()? < rules.time_to_full.value.get();
    soon.then(|| size::growth(view, Reason::TimeToFull, Urgency::Planned, size::resize(view.effective, rules)))
}
