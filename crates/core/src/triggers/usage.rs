use csm_api::{Reason, Urgency};

use crate::size;
use crate::view::{View, Want};

/// Rule 4, thresholds model: the filesystem of any fresh, non-lagging member has reached `thresholds.expansion`.
pub(crate) fn trigger(view: &View) -> Option<Want> {
    let settings = view.settings?;
    let threshold = settings.thresholds.expansion.value;
    let reached = view.figures().any(|f| threshold.reached_by(f.used, f.available));
    reached.then(|| {
        let to = size::thresholds(view.effective, &settings.expansion);
        size::growth(view, Reason::UsageThreshold, Urgency::Planned, to)
    })
}
