use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::resolve::Sizing;
use crate::view::{View, Want};

/// Gate 5: `expansion.enabled: false` in the thresholds model, `resize.enabled: false` (its default) in the resize
/// model mean: observe and alert.
pub(crate) const GATE: Gate = Gate::new(Reason::Disabled, holds, inputs);

/// The switch of the volume's model.
fn switch(view: &View) -> Option<(&'static str, bool)> {
    match &view.rules?.sizing {
        Sizing::Thresholds => Some(("expansion.enabled", view.settings?.expansion.enabled.value)),
        Sizing::Resize(rules) => Some(("resize.enabled", rules.enabled.value)),
        Sizing::Target(_) => None,
    }
}

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let (_, enabled) = switch(view)?;
    (!enabled).then(|| Held::new(Reason::Disabled, Cause::None))
}

fn inputs(view: &View) -> Inputs {
    match (switch(view), view.model()) {
        (Some((name, enabled)), _) => vec![(name, enabled.to_string())],
        (None, Some(model)) => vec![("switch", format!("none in model {model}"))],
        (None, None) => vec![("switch", "unknown".to_owned())],
    }
}
