use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{View, Want};

/// Gate 5: `expansion.enabled: false` means: observe and alert.
pub(crate) const GATE: Gate = Gate::new(Reason::Disabled, holds, inputs);

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let enabled = view.settings?.expansion.enabled.value;
    (!enabled).then(|| Held::new(Reason::Disabled, Cause::None))
}

fn inputs(view: &View) -> Inputs {
    let enabled = view.settings.map(|s| s.expansion.enabled.value.to_string());
    vec![("expansion.enabled", enabled.unwrap_or_else(|| "unknown".to_owned()))]
}
