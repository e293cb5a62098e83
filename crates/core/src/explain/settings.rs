//! The names of settings, as they stand in the spec of a policy.

use csm_api::Model;

use crate::decision::{Ceiling, CeilingSource, Decision};
use crate::resolve::Block;
use crate::world::VolumeKey;

/// A setting of the volume itself, such as `walStorage.resize.triggers.usageThreshold`.
pub(super) fn own(decision: &Decision, name: &str) -> String {
    format!("{}.{name}", Block::new(&decision.volume).path())
}

/// The setting that the ceiling of a decision comes from, or what else sets it, in a few words.
#[must_use]
pub fn ceiling_setting(decision: &Decision) -> Option<String> {
    let Ceiling { source, .. } = decision.ceiling?;
    Some(name_of(source, decision.model, &decision.volume))
}

/// The setting that a ceiling of a volume of this model comes from, or what else sets it.
pub(crate) fn name_of(source: CeilingSource, model: Option<Model>, volume: &VolumeKey) -> String {
    match source {
        CeilingSource::Limit => limit_of(model, volume),
        CeilingSource::MaxSize => MAX_SIZE.to_owned(),
        CeilingSource::Bound => "bounds.maxSize".to_owned(),
        CeilingSource::Learned | CeilingSource::Fallback => source.as_str().to_owned(),
    }
}

const MAX_SIZE: &str = "expansion.maxSize";

/// What a person sets to give the volume a ceiling of its own.
pub(super) fn limit(decision: &Decision) -> String {
    limit_of(decision.model, &decision.volume)
}

fn limit_of(model: Option<Model>, volume: &VolumeKey) -> String {
    let path = Block::new(volume).path();
    match model {
        Some(Model::Resize) => format!("{path}.resize.expansion.limit"),
        Some(Model::Target) => format!("{path}.limit"),
        Some(Model::Thresholds) | None => MAX_SIZE.to_owned(),
    }
}

/// "30Gi (expansion.maxSize of StoragePolicy shop/standard)".
pub(super) fn ceiling(decision: &Decision) -> String {
    let (Some(Ceiling { size, .. }), Some(name)) = (decision.ceiling, ceiling_setting(decision)) else {
        return "none".to_owned();
    };
    match &decision.facts.ceiling {
        Some(setting) if setting.size < size => {
            format!(
                "{size} ({name} of {}, {}, and a quarter for emergencies)",
                setting.origin, setting.size
            )
        }
        Some(setting) => format!("{size} ({name} of {})", setting.origin),
        None => format!("{size} ({name})"),
    }
}

/// The setting that says how often the volume may grow in 24 hours.
pub(super) fn max_actions(decision: &Decision) -> String {
    match decision.model {
        Some(Model::Resize) => own(decision, "resize.strategy.maxActionsPerDay"),
        _ => own(decision, "emergencyGrow.maxActionsPerDay"),
    }
}
