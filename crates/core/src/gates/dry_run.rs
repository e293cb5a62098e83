use csm_api::Reason;

use super::{Gate, Held, Inputs};
use crate::decision::Cause;
use crate::view::{View, Want};

/// Gate 23, asked last: `dryRun: true`; it would have happened.
pub(crate) const GATE: Gate = Gate::new(Reason::DryRun, holds, inputs);

fn holds(view: &View, _: Option<&Want>) -> Option<Held> {
    let dry_run = view.settings?.dry_run.value;
    dry_run.then(|| Held::new(Reason::DryRun, Cause::None))
}

fn inputs(view: &View) -> Inputs {
    let dry_run = view.settings.map(|s| s.dry_run.value.to_string());
    vec![("dryRun", dry_run.unwrap_or_else(|| "unknown".to_owned()))]
}
