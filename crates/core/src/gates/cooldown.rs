use csm_api::{Model, Reason};
use jiff::Timestamp;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::freshness::after;
use crate::view::{View, Want};

/// Gate 18: the last accepted growth started less than `cooldownMinutes` ago. It paces planned growth only.
pub(crate) const GATE: Gate = Gate {
    lets_catch_up: true,
    lets_runway: |_| true,
    opens_at: Some(opens_at),
    ..Gate::new(Reason::Cooldown, holds, inputs)
};

fn ends_at(view: &View) -> Option<Timestamp> {
    let cooldown = view.settings?.expansion.cooldown.value;
    view.ledger.last_growth.map(|start| after(start, cooldown))
}

fn opens_at(view: &View, want: &Want, from: Timestamp) -> Option<Timestamp> {
    let paces = want.is_planned() && view.model() == Some(Model::Thresholds);
    ends_at(view).filter(|end| paces && *end > from)
}

fn holds(view: &View, want: Option<&Want>) -> Option<Held> {
    let at = opens_at(view, want?, view.now())?;
    let last = view.ledger.last_growth?;
    Some(Held::new(Reason::Cooldown, Cause::Cooldown { last, at }))
}

fn inputs(view: &View) -> Inputs {
    if let Some(model @ (Model::Resize | Model::Target)) = view.model() {
        return vec![("cooldown", format!("none in model {model}"))];
    }
    let minutes = view.settings.map(|s| s.expansion.cooldown.value.as_mins().to_string());
    vec![
        ("expansion.cooldownMinutes", minutes.unwrap_or_else(|| "unknown".to_owned())),
        ("lastGrowth", super::moment(view.ledger.last_growth, "none")),
        ("ends", super::moment(ends_at(view), "none")),
    ]
}
