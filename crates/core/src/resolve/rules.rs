//! What the settings of one volume come to: its model, and the fields that this model reads.

use std::fmt::Display;

use csm_api::{Mode, Model};
use csm_units::{Bytes, Percent};

use super::{Field, Origin};
use crate::schedule::{Duration, Window};

/// How one volume is sized.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeRules {
    /// The model; its origin is the object that chose it.
    pub model: Field<Model>,
    /// What the model reads.
    pub sizing: Sizing,
    /// `maintenanceWindow`, where one is set.
    pub window: Option<WindowRules>,
    /// `emergencyGrow`, where the model has one or somebody set it.
    pub emergency: Option<EmergencyRules>,
    /// Fields of other models that are set, and have no effect.
    pub ignored: Vec<&'static str>,
}

/// What a model reads, beyond what all volumes of a Cluster share.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // three a Cluster, shared
pub enum Sizing {
    /// `thresholds` and `expansion`.
    Thresholds,
    /// `resize`.
    Resize(ResizeRules),
    /// `request`, `limit`, `targetBuffer`.
    Target(TargetRules),
}

/// `resize`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResizeRules {
    /// `enabled`.
    pub enabled: Field<bool>,
    /// `triggers.usageThreshold`.
    pub usage_threshold: Field<Percent>,
    /// `triggers.minAvailable`.
    pub min_available: Option<Field<Bytes>>,
    /// `triggers.inodeThreshold`.
    pub inode_threshold: Option<Field<Percent>>,
    /// `triggers.timeToFull`.
    pub time_to_full: Field<Duration>,
    /// `expansion.step`.
    pub step: Field<Step>,
    /// `expansion.minStep`.
    pub min_step: Field<Bytes>,
    /// `expansion.maxStep`, at least `minStep`.
    pub max_step: Field<Bytes>,
    /// `expansion.limit`.
    pub limit: Option<Field<Bytes>>,
    /// `strategy.mode`.
    pub mode: Field<Mode>,
    /// `strategy.maxActionsPerDay`; 0: no limit.
    pub max_actions: Field<u32>,
    /// `strategy.walSafetyPolicy`.
    pub wal_safety: WalSafetyRules,
}

/// `resize.expansion.step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Of the effective size.
    Share(Percent),
    /// As it is.
    Size(Bytes),
}

impl Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Share(percent) => write!(f, "{}%", percent.get()),
            Self::Size(size) => size.fmt(f),
        }
    }
}

/// `resize.strategy.walSafetyPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub struct WalSafetyRules {
    /// `acknowledgeWALRisk`.
    pub acknowledged: Field<bool>,
    /// `requireArchiveHealthy`.
    pub require_archive_healthy: Field<bool>,
    /// `maxPendingWALFiles`; 0: no check.
    pub max_pending_files: Field<u32>,
    /// `maxSlotRetentionBytes`; 0: no check.
    pub max_slot_retention: Field<Bytes>,
    /// `alertOnResize`.
    pub alert_on_resize: Field<bool>,
}

/// `request`, `limit`, `targetBuffer`: request <= limit.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetRules {
    /// `request`.
    pub request: Field<Bytes>,
    /// `limit`.
    pub limit: Field<Bytes>,
    /// `targetBuffer`, 5 to 50.
    pub buffer: Field<Percent>,
}

/// `maintenanceWindow`.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowRules {
    /// When it is open.
    pub window: Window,
    /// `schedule`, as it was written.
    pub schedule: Field<String>,
    /// `duration`.
    pub duration: Field<Duration>,
    /// `timezone`.
    pub timezone: Field<String>,
}

/// `emergencyGrow`.
#[derive(Clone, Debug, PartialEq)]
pub struct EmergencyRules {
    /// `enabled`: whether it is in force.
    pub enabled: Field<bool>,
    /// `criticalThreshold`, 80 to 99.
    pub threshold: Field<Percent>,
    /// `criticalMinimumFree`; none: 1 GiB, or 5 percent of the member's size where that is less.
    pub minimum_free: Option<Field<Bytes>>,
    /// `exceedLimitOnEmergency`.
    pub exceed_limit: Field<bool>,
    /// `maxActionsPerDay`; 0: no limit.
    pub max_actions: Field<u32>,
    /// `reservedActionsForEmergency`.
    pub reserved: Field<u32>,
}

impl EmergencyRules {
    /// Of a member of this size.
    #[must_use]
    pub fn minimum_free_of(&self, size: Bytes) -> Bytes {
        self.minimum_free
            .as_ref()
            .map_or_else(|| Bytes::GIB.min(size.mul_div(5, 100)), |field| field.value)
    }
}

impl VolumeRules {
    /// The ceiling that the model itself sets: `limit`.
    #[must_use]
    pub fn limit(&self) -> Option<Bytes> {
        match &self.sizing {
            Sizing::Thresholds => None,
            Sizing::Resize(resize) => resize.limit.as_ref().map(|f| f.value),
            Sizing::Target(target) => Some(target.limit.value),
        }
    }

    /// Each effective field, from `path` on: its name, its value as a policy would say it, and where it comes from.
    #[must_use]
    pub fn fields(&self, path: &str) -> Vec<(String, String, Origin)> {
        let Self {
            model,
            sizing,
            window,
            emergency,
            ignored: _,
        } = self;
        let mut fields = Fields {
            path: path.to_owned(),
            list: Vec::new(),
        };
        fields.add("model", model);
        match sizing {
            Sizing::Thresholds => {}
            Sizing::Resize(rules) => fields.resize(rules),
            Sizing::Target(rules) => fields.target(rules),
        }
        if let Some(rules) = window {
            fields.window(rules);
        }
        if let Some(rules) = emergency {
            fields.emergency(rules);
        }
        fields.list
    }
}

/// The fields of a volume in words.
struct Fields {
    /// Where their names begin.
    path: String,
    list: Vec<(String, String, Origin)>,
}

impl Fields {
    fn push(&mut self, name: &str, value: String, origin: Origin) {
        self.list.push((format!("{}.{name}", self.path), value, origin));
    }

    fn add<T: Display>(&mut self, name: &str, field: &Field<T>) {
        self.push(name, field.value.to_string(), field.origin.clone());
    }

    /// A policy says a percentage as a plain number.
    fn percent(&mut self, name: &str, field: &Field<Percent>) {
        self.push(name, field.value.get().to_string(), field.origin.clone());
    }

    /// A field that may be missing, and what that means.
    fn optional<T: Display>(&mut self, name: &str, field: Option<&Field<T>>, otherwise: &str) {
        match field {
            Some(field) => self.add(name, field),
            None => self.push(name, otherwise.to_owned(), Origin::built_in()),
        }
    }

    fn resize(&mut self, rules: &ResizeRules) {
        let ResizeRules {
            enabled,
            usage_threshold,
            min_available,
            inode_threshold,
            time_to_full,
            step,
            min_step,
            max_step,
            limit,
            mode,
            max_actions,
            wal_safety,
        } = rules;
        let WalSafetyRules {
            acknowledged,
            require_archive_healthy,
            max_pending_files,
            max_slot_retention,
            alert_on_resize,
        } = wal_safety;
        self.add("resize.enabled", enabled);
        self.percent("resize.triggers.usageThreshold", usage_threshold);
        self.optional("resize.triggers.minAvailable", min_available.as_ref(), "none");
        let inodes = inode_threshold.clone().map(|field| field.map(Percent::get));
        self.optional("resize.triggers.inodeThreshold", inodes.as_ref(), "none");
        self.add("resize.triggers.timeToFull", time_to_full);
        self.add("resize.expansion.step", step);
        if matches!(step.value, Step::Share(_)) {
            self.add("resize.expansion.minStep", min_step);
            self.add("resize.expansion.maxStep", max_step);
        }
        self.optional("resize.expansion.limit", limit.as_ref(), "none");
        self.add("resize.strategy.mode", mode);
        self.add("resize.strategy.maxActionsPerDay", max_actions);
        self.add("resize.strategy.walSafetyPolicy.acknowledgeWALRisk", acknowledged);
        self.add("resize.strategy.walSafetyPolicy.requireArchiveHealthy", require_archive_healthy);
        self.add("resize.strategy.walSafetyPolicy.maxPendingWALFiles", max_pending_files);
        self.add("resize.strategy.walSafetyPolicy.maxSlotRetentionBytes", max_slot_retention);
        self.add("resize.strategy.walSafetyPolicy.alertOnResize", alert_on_resize);
    }

    fn target(&mut self, TargetRules { request, limit, buffer }: &TargetRules) {
        self.add("request", request);
        self.add("limit", limit);
        self.percent("targetBuffer", buffer);
    }

    fn window(&mut self, rules: &WindowRules) {
        let WindowRules {
            window: _,
            schedule,
            duration,
            timezone,
        } = rules;
        self.add("maintenanceWindow.schedule", schedule);
        self.add("maintenanceWindow.duration", duration);
        self.add("maintenanceWindow.timezone", timezone);
    }

    fn emergency(&mut self, rules: &EmergencyRules) {
        let EmergencyRules {
            enabled,
            threshold,
            minimum_free,
            exceed_limit,
            max_actions,
            reserved,
        } = rules;
        self.add("emergencyGrow.enabled", enabled);
        self.percent("emergencyGrow.criticalThreshold", threshold);
        self.optional("emergencyGrow.criticalMinimumFree", minimum_free.as_ref(), "1Gi or 5 %");
        self.add("emergencyGrow.exceedLimitOnEmergency", exceed_limit);
        self.add("emergencyGrow.maxActionsPerDay", max_actions);
        self.add("emergencyGrow.reservedActionsForEmergency", reserved);
    }
}
