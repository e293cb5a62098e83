//! Decisions in words: one sentence for people, the figures by name, and every gate with what it looks at.

mod cause;
mod clause;
mod down;
mod figures;
mod inputs;
mod reasons;
mod relief;
mod sentence;
mod settings;
mod situation;
mod warnings;

use std::collections::BTreeMap;

use csm_api::{Reason, Urgency};
use jiff::Timestamp;
use serde::Serialize;

pub use cause::{Place, root_cause};
pub(crate) use clause::clause;
pub use down::{EVIDENCE, evidence, findings};
pub use inputs::inputs;
pub use reasons::{About, Kind, about};
pub(crate) use relief::held as relief_held;
pub use relief::relief;
pub use sentence::sentence;
pub use settings::ceiling_setting;
pub(crate) use settings::name_of as ceiling_name;
pub use warnings::warnings;

use crate::gates;
use crate::plan::{GATES, fired};
use crate::resolve::Sizing;
use crate::size;
use crate::view::{Members, View, Want};
use crate::world::{VolumeKey, World};

/// One gate, and what it says of a volume now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GateReport {
    /// Its name: the first of its reasons.
    pub gate: &'static str,
    /// The reason with which it holds what is wanted; where nothing is, what a planned growth would meet.
    pub holds: Option<Reason>,
    /// What it looks at, by name.
    pub inputs: BTreeMap<String, String>,
}

/// Every gate of one volume, in the order in which they are asked. None where there is no such volume.
#[must_use]
pub fn gates(world: &World, now: Timestamp, volume: &VolumeKey) -> Option<Vec<GateReport>> {
    let volume = world.volumes.iter().find(|v| v.key == *volume)?;
    let mut scratch = Members::new();
    let view = View::new(world, volume, now, &mut scratch);
    let want = fired(&view);
    let supposed = want.or_else(|| supposed(&view));
    let report = |gate: &gates::Gate| {
        // A gate that answers always is asked as it is; another one about what is, or could be, wanted.
        let asked = if gate.always { want } else { supposed };
        GateReport {
            gate: gate.name.as_str(),
            holds: gate.ask(&view, asked.as_ref()).map(|held| held.reason),
            inputs: (gate.inputs)(&view)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    };
    Some(GATES.iter().map(report).collect())
}

/// The planned growth of the volume's own model that would be wanted, were its threshold reached.
fn supposed(view: &View) -> Option<Want> {
    let (reason, to) = match &view.rules?.sizing {
        Sizing::Thresholds => (Reason::UsageThreshold, size::thresholds(view.effective, &view.settings?.expansion)),
        Sizing::Resize(rules) => (Reason::UsageThreshold, size::resize(view.effective, rules)),
        Sizing::Target(rules) => (Reason::TargetBuffer, size::planned_target(view, rules)),
    };
    Some(size::growth(view, reason, Urgency::Planned, to))
}
