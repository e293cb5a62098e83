use csm_api::{Reason, Urgency};

use crate::resolve::Sizing;
use crate::size;
use crate::view::{View, Want};

/// Rules 4 and 5: the filesystem of any fresh, non-lagging member has reached `thresholds.expansion`, or is above
/// `usageThreshold`.
pub(crate) fn trigger(view: &View) -> Option<Want> {
    let to = match &view.rules?.sizing {
        Sizing::Thresholds => {
            let settings = view.settings?;
            let threshold = settings.thresholds.expansion.value;
            let reached = view.figures().any(|f| threshold.reached_by(f.used, f.available));
            reached.then(|| size::thresholds(view.effective, &settings.expansion))?
        }
        Sizing::Resize(rules) => {
            let threshold = rules.usage_threshold.value;
            let exceeded = view.figures().any(|f| threshold.exceeded_by(f.used, f.available));
            exceeded.then(|| size::resize(view.effective, rules))?
        }
        Sizing::Target(_) => return None,
    };
    Some(size::growth(view, Reason::UsageThreshold, Urgency::Planned, to))
}
