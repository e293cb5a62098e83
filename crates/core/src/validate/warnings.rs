//! Settings that are allowed, and seldom what their author meant: what one object shows by itself.
//! What it takes a Cluster to see is in [`clusters`](super::clusters).

use std::fmt;

use csm_api::{Bounds, ClusterStoragePolicySpec, EmergencyGrow, QuantityText, Resize, Settings, StoragePolicySpec, VolumeSettings};
use csm_units::{Bytes, Percent};

use super::volume as read;
use super::{BOUND_SIZE, MAX_SIZE, Problem};
use crate::resolve::{Block, Step};

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WarningKind {
    /// Nothing sets a size at which growth ends.
    Unbounded,
    /// A size at which growth ends, between whole GiB where drivers round up.
    BetweenGibibytes,
    /// A limit that not even one smallest step fits below.
    BelowOneStep,
    /// No rate limit.
    NoRateLimit,
    /// A step of more than the volume itself.
    LargeStep,
    /// `minStep` or `maxStep` beside an absolute step.
    IgnoredStepBound,
    /// All actions of a day are reserved for emergencies.
    NoPlannedGrowth,
    /// A limit at or below the current size.
    NeverGrows,
    /// `minAvailable` at or above the volume's size.
    FiresAtOnce,
    /// `criticalMinimumFree` over a quarter of the volume's size.
    LargeMinimumFree,
    /// `acknowledgeWALRisk` where a Cluster has a WAL volume.
    NothingToAcknowledge,
    /// `requireArchiveHealthy` where a Cluster does not archive.
    NothingArchived,
    /// A storage class that cannot expand volumes.
    NotExpandable,
    /// A storage class that puts many volumes on one filesystem.
    SharedFilesystem,
    /// PGDATA and WAL of some of a policy's Clusters share a volume, and nobody has acknowledged that.
    WalRisk,
    /// `excludeClusters` names a Cluster that there is not.
    UnknownCluster,
}

impl WarningKind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Unbounded,
        Self::BetweenGibibytes,
        Self::BelowOneStep,
        Self::NoRateLimit,
        Self::LargeStep,
        Self::IgnoredStepBound,
        Self::NoPlannedGrowth,
        Self::NeverGrows,
        Self::FiresAtOnce,
        Self::LargeMinimumFree,
        Self::NothingToAcknowledge,
        Self::NothingArchived,
        Self::NotExpandable,
        Self::SharedFilesystem,
        Self::WalRisk,
        Self::UnknownCluster,
    ];
}

/// Something in settings that is allowed, and seldom meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// The field, its value, what comes of it, and what could stand there instead.
    pub problem: Problem,
}

impl Warning {
    pub(super) fn new(kind: WarningKind, field: &'static str, value: impl fmt::Display, reason: String, example: &str) -> Self {
        Self {
            kind,
            problem: Problem::new(field, value, reason, example),
        }
    }

    pub(super) fn under(self, path: &str) -> Self {
        let problem = self.problem.under(path);
        Self { problem, ..self }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

/// The warnings of a PostgresStorage's settings on their own. What does not validate is left to
/// [`validate`](super::validate).
#[must_use]
pub fn warn(settings: &Settings) -> Vec<Warning> {
    of(settings, None, false)
}

/// The warnings of a StoragePolicy on its own.
#[must_use]
pub fn warn_storage_policy(spec: &StoragePolicySpec) -> Vec<Warning> {
    of(&spec.settings, None, true)
}

/// The warnings of a ClusterStoragePolicy on its own.
#[must_use]
pub fn warn_cluster_storage_policy(spec: &ClusterStoragePolicySpec) -> Vec<Warning> {
    of(&spec.settings, spec.bounds.as_ref(), true)
}

/// `policy`: it starts the management of Clusters, and so their growth, whatever it says.
fn of(settings: &Settings, bounds: Option<&Bounds>, policy: bool) -> Vec<Warning> {
    let expansion = settings.expansion.as_ref();
    let max_size = expansion.and_then(|e| e.max_size.as_ref());
    let bound = bounds.and_then(|b| b.max_size.as_ref());
    let off = expansion.and_then(|e| e.enabled) == Some(false);
    let mut warnings = Vec::new();
    warnings.extend(max_size.and_then(|text| between_gibibytes(MAX_SIZE, text)));
    warnings.extend(bound.and_then(|text| between_gibibytes(BOUND_SIZE, text)));
    let increment = expansion.and_then(|e| e.min_increment_gi).and_then(|gi| u64::try_from(gi).ok());
    if let (Some(max), Some(increment)) = (max_size.and_then(parsed), increment.map(Bytes::gib))
        && max <= increment
    {
        warnings.push(below_one_step(MAX_SIZE, max, ("expansion.minIncrementGi", increment)));
    }

    let named = settings
        .tablespaces
        .iter()
        .flatten()
        .map(|t| (Block::Tablespace(&t.name), &t.storage));
    let blocks = [(Block::Data, &settings.storage), (Block::Wal, &settings.wal_storage)];
    let blocks = blocks.into_iter().filter_map(|(block, volume)| Some((block, volume.as_ref()?)));
    let bounded = max_size.is_some() || bound.is_some() || off;
    let mut limited = bounded;
    for (block, volume) in blocks.chain(named) {
        let path = block.path();
        let limit = volume.resize.as_ref().and_then(|r| r.expansion.as_ref()?.limit.as_ref());
        let resizes = volume.resize.as_ref().is_some_and(|r| r.enabled == Some(true));
        if resizes && limit.is_none() && !bounded {
            warnings.push(unbounded("resize.expansion.limit").under(&path));
        }
        limited |= resizes || limit.is_some() || volume.limit.is_some();
        warnings.extend(of_volume(volume).into_iter().map(|w| w.under(&path)));
    }
    if !limited && (policy || expansion.is_some()) {
        warnings.push(unbounded(MAX_SIZE));
    }
    warnings
}

fn of_volume(settings: &VolumeSettings) -> Vec<Warning> {
    let VolumeSettings {
        model: _,
        resize,
        request: _,
        limit,
        target_buffer: _,
        maintenance_window: _,
        emergency_grow,
    } = settings;
    let mut warnings: Vec<Warning> = limit.iter().filter_map(|text| between_gibibytes("limit", text)).collect();
    if let Some(resize) = resize {
        of_resize(resize, &mut warnings);
    }
    if let Some(EmergencyGrow {
        max_actions_per_day,
        reserved_actions_for_emergency,
        ..
    }) = emergency_grow
    {
        if *max_actions_per_day == Some(0) {
            warnings.push(no_rate_limit("emergencyGrow.maxActionsPerDay", "4"));
        }
        if let (Some(max @ 1..), Some(reserved)) = (max_actions_per_day, reserved_actions_for_emergency)
            && max == reserved
        {
            warnings.push(no_planned_growth(*reserved));
        }
    }
    warnings
}

fn of_resize(resize: &Resize, warnings: &mut Vec<Warning>) {
    if resize.strategy.as_ref().and_then(|s| s.max_actions_per_day) == Some(0) {
        warnings.push(no_rate_limit("resize.strategy.maxActionsPerDay", "3"));
    }
    let Some(expansion) = &resize.expansion else { return };
    let limit = expansion.limit.as_ref();
    warnings.extend(limit.and_then(|text| between_gibibytes("resize.expansion.limit", text)));
    let step = expansion.step.as_ref().and_then(|text| read::step(text).ok());
    match step {
        Some(Step::Share(share)) if share > Percent::of(100) => warnings.push(large_step(share)),
        Some(Step::Size(step)) => {
            let bounds = [
                ("resize.expansion.minStep", &expansion.min_step),
                ("resize.expansion.maxStep", &expansion.max_step),
            ];
            let set = bounds.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?)));
            warnings.extend(set.map(|(field, text)| ignored_bound(field, text, step)));
        }
        _ => {}
    }
    let least = match step {
        Some(Step::Size(step)) => Some(("resize.expansion.step", step)),
        _ => expansion
            .min_step
            .as_ref()
            .and_then(|text| Some(("resize.expansion.minStep", read::min_step(text).ok()?))),
    };
    if let (Some(limit), Some((field, least))) = (limit.and_then(parsed), least)
        && limit <= least
    {
        warnings.push(below_one_step("resize.expansion.limit", limit, (field, least)));
    }
}

/// A size of at least one byte.
fn parsed(text: &QuantityText) -> Option<Bytes> {
    text.parse().ok().filter(|size: &Bytes| !size.is_zero())
}

fn unbounded(field: &'static str) -> Warning {
    let reason = format!(
        "{field} is not set: unless a less specific policy sets a limit, only the manager's own ceiling (defaultCeilingFactor) and the storage end the growth of a volume"
    );
    Warning::new(WarningKind::Unbounded, field, "not set", reason, "\"100Gi\"")
}

fn between_gibibytes(field: &'static str, text: &QuantityText) -> Option<Warning> {
    let size = parsed(text)?;
    let below = size.round_down();
    (size.unit() == Bytes::GIB && size != below).then(|| {
        let reason = format!("{field} is not on a whole GiB: storage drivers round up, so growth ends at {below}");
        Warning::new(
            WarningKind::BetweenGibibytes,
            field,
            format_args!("\"{}\"", text.as_str()),
            reason,
            &format!("\"{}\"", size.round_up()),
        )
    })
}

fn below_one_step(field: &'static str, limit: Bytes, (step, least): (&str, Bytes)) -> Warning {
    let reason = format!("{field} is not above {step} ({least}): no volume can grow by a whole step below it");
    let example = format!("\"{}\"", least.mul_div(20, 1));
    Warning::new(WarningKind::BelowOneStep, field, limit, reason, &example)
}

fn no_rate_limit(field: &'static str, example: &str) -> Warning {
    let reason = format!("{field} is 0: nothing limits how often a volume grows in a day");
    Warning::new(WarningKind::NoRateLimit, field, 0, reason, example)
}

fn large_step(share: Percent) -> Warning {
    let field = "resize.expansion.step";
    let reason = format!("{field} is over 100 %: each growth more than doubles the volume, and volumes never shrink");
    Warning::new(
        WarningKind::LargeStep,
        field,
        format_args!("\"{}%\"", share.get()),
        reason,
        "\"20%\"",
    )
}

fn ignored_bound(field: &'static str, text: &QuantityText, step: Bytes) -> Warning {
    let reason = format!("{field} has no effect: resize.expansion.step is a size ({step}), and only a percentage has bounds");
    let value = format!("\"{}\"", text.as_str());
    Warning::new(WarningKind::IgnoredStepBound, field, value, reason, "step: \"20%\"")
}

fn no_planned_growth(reserved: i32) -> Warning {
    let field = "emergencyGrow.reservedActionsForEmergency";
    let reason = format!("{field} is all of maxActionsPerDay: no planned growth ever, only emergencies");
    Warning::new(WarningKind::NoPlannedGrowth, field, reserved, reason, "1")
}
