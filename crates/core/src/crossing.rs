//! Whether new figures of a PVC can change a decision: what a sampler asks before it wakes the planner.

use csm_api::Mode;
use csm_units::Bytes;

use crate::between::Estimate;
use crate::plan::is_little;
use crate::resolve::{Resolved, Sizing};
use crate::size;
use crate::world::{Observation, VolumeKey};

/// Whether the newer figures of a PVC of this size stand otherwise than the older ones to anything that a rule of the
/// volume compares figures with. Of a volume whose growth is forecast, every new figure can change a decision.
#[must_use]
pub fn crosses(settings: &Resolved, volume: &VolumeKey, size: Bytes, older: &Observation, newer: &Observation) -> bool {
    let Ok(rules) = settings.volumes.of(volume) else {
        return false;
    };
    let thresholds = &settings.thresholds;
    let levels = [
        &thresholds.warning,
        &thresholds.critical,
        &thresholds.expansion,
        &thresholds.emergency,
    ];
    let differs = |stands: &dyn Fn(&Observation) -> bool| stands(older) != stands(newer);
    if levels.iter().any(|level| differs(&|f| level.value.reached_by(f.used, f.available))) {
        return true;
    }
    if differs(&|f| is_little(f.available, size)) {
        return true;
    }
    if let Some(emergency) = rules.emergency.as_ref().filter(|e| e.enabled.value) {
        let free = emergency.minimum_free_of(size);
        let critical = |f: &Observation| emergency.threshold.value.reached_by(f.used, f.available) || f.available <= free;
        if differs(&critical) {
            return true;
        }
    }
    match &rules.sizing {
        Sizing::Thresholds => false,
        Sizing::Resize(resize) => {
            let least = resize.min_available.as_ref().map_or(Bytes::ZERO, |f| f.value);
            let inodes = resize.inode_threshold.as_ref().map(|f| f.value);
            let too_many = |f: &Observation| f.inodes.zip(inodes).is_some_and(|(i, threshold)| i.exceed(threshold));
            (resize.mode.value == Mode::Predictive && newer.at > older.at)
                || differs(&|f| resize.usage_threshold.value.exceeded_by(f.used, f.available))
                || differs(&|f| f.available < least)
                || differs(&too_many)
        }
        Sizing::Target(target) => differs(&|f| size::with_buffer(target, f.used, size, f) > size),
    }
}

/// The same of estimates: whether the newer one, on the last sample of a PVC of this size, stands otherwise than the one that
/// the planner knows; none: it knows the sample alone. An estimate that only says what is known wakes nobody.
#[must_use]
pub fn estimate_crosses(
    settings: &Resolved,
    volume: &VolumeKey,
    size: Bytes,
    sample: &Observation,
    known: Option<&Estimate>,
    newer: &Estimate,
) -> bool {
    let stands = |estimate: &Estimate| estimate.on(sample).unwrap_or(*sample);
    crosses(settings, volume, size, &known.map_or(*sample, stands), &stands(newer))
}
