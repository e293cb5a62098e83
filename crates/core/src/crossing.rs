//! Whether new figures can change a decision: what a sampler asks before it wakes the planner.

use std::collections::BTreeSet;
use std::sync::Arc;

use csm_api::{Mode, Reason};
use csm_units::Bytes;

use crate::between::Estimate;
use crate::gates::wal_health;
use crate::plan::is_little;
use crate::resolve::{Resolved, Sizing};
use crate::size;
use crate::world::{Archiving, Observation, VolumeKey, WalHealth};

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

/// Files that wait to be archived: fewer are as good as none, since each waits for a moment.
pub const FEW_FILES: u64 = 4;
/// WAL that a slot holds back: less is as good as nothing.
pub const LITTLE_WAL: u64 = 64 << 20;

/// A figure as coarsely as people are told of it between two decisions: below `little` it is as good as nothing, and from there on
/// each doubling is news.
#[must_use]
pub fn coarse(figure: u64, little: u64) -> u32 {
    let times = figure.checked_div(little).unwrap_or(0);
    times.checked_ilog2().map_or(0, |log| log.saturating_add(1))
}

fn coarse_wal(health: &WalHealth) -> (u32, u32) {
    let pending = health.archiving.as_ref().map_or(0, |archiving| u64::from(archiving.pending));
    (coarse(pending, FEW_FILES), coarse(health.retained().get(), LITTLE_WAL))
}

/// The names of the slots that nobody reads.
fn unread(health: &WalHealth) -> BTreeSet<&Arc<str>> {
    let unread = health.slots.iter().filter(|slot| !slot.active);
    unread.map(|slot| &slot.name).collect()
}

/// Whether what is newly known of WAL says otherwise than what was known to anything that decides or tells: whether it is
/// known at all, whether archiving works, which slots nobody reads, what holds a growth of `volume`, which holds the WAL, and
/// figures that have moved by much.
#[must_use]
pub fn wal_crosses(settings: &Resolved, volume: &VolumeKey, older: Option<&WalHealth>, newer: Option<&WalHealth>) -> bool {
    let (older, newer) = match (older, newer) {
        (Some(older), Some(newer)) => (older, newer),
        (older, newer) => return older.is_some() != newer.is_some(),
    };
    let failing = |health: &WalHealth| health.archiving.as_ref().map(Archiving::is_failing);
    if failing(older) != failing(newer) || unread(older) != unread(newer) || coarse_wal(older) != coarse_wal(newer) {
        return true;
    }
    wal_holds(settings, volume, older) != wal_holds(settings, volume, newer)
}

/// What holds a planned growth of `volume`, which holds the WAL.
fn wal_holds(settings: &Resolved, volume: &VolumeKey, health: &WalHealth) -> Option<Reason> {
    match &settings.volumes.of(volume).ok()?.sizing {
        Sizing::Resize(resize) => wal_health::judge(&resize.wal_safety, health).map(|held| held.reason),
        Sizing::Thresholds | Sizing::Target(_) => None,
    }
}

/// Whether nobody waits for news of WAL: archiving does not fail, and nothing holds a growth of `volume`, which holds the WAL.
#[must_use]
pub fn wal_is_well(settings: &Resolved, volume: &VolumeKey, health: &WalHealth) -> bool {
    !health.archiving.is_some_and(|archiving| archiving.is_failing()) && wal_holds(settings, volume, health).is_none()
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
