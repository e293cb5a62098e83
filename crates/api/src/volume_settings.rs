//! The settings of one volume: the sizing models other than thresholds, their window and their emergencies.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Mode, Model, QuantityText, quantity};

/// How the volumes of one role are sized. One of two models, or neither: then `thresholds` and `expansion` apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.resize) || !(has(self.request) || has(self.limit))").message("resize and request/limit are two models; set one of them in a volume block"),
    validation = Rule::new("!has(self.request) || !has(self.limit) || quantity(string(self.request)).compareTo(quantity(string(self.limit))) <= 0").message("request must not be above limit")
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSettings {
    /// The model, outright: to go back to thresholds, say, where a less specific policy chose another. Default: by
    /// what is set, `resize` or `request` and `limit`, else Thresholds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// Model Resize: bounded steps when a trigger fires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// Model Target: the size that the volume has at least, such as "10Gi".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<QuantityText>,
    /// Model Target: the size that the volume never passes, such as "100Gi".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<QuantityText>,
    /// Model Target: percent of the volume to keep free, 5 to 50. Default 20.
    #[x_kube(validation = Rule::new("self >= 5 && self <= 50").message("targetBuffer must be between 5 and 50 percent"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_buffer: Option<i32>,
    /// Planned growth waits for this window, in every model. Default: no window, always open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_window: Option<MaintenanceWindow>,
    /// Growth of a volume that is about to fill. On by default in model Target; given, even as `{}`, it works in
    /// every model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency_grow: Option<EmergencyGrow>,
}

/// The settings of a tablespace's volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TablespaceSettings {
    /// Name of the tablespace; "*" is the default for the others.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// How its volumes are sized.
    #[serde(default)]
    pub storage: VolumeSettings,
}

/// Model Resize: grow in bounded steps when a trigger fires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resize {
    /// Whether the volume grows. Default false: observe and alert only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What fires. Any one suffices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers: Option<ResizeTriggers>,
    /// By how much it grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expansion: Option<ResizeExpansion>,
    /// How often, and what holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<ResizeStrategy>,
}

/// What makes a volume of model Resize grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResizeTriggers {
    /// Fires when more than this percentage is used, 1 to 99. Default 80.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 99").message("usageThreshold must be between 1 and 99 percent; leave it out for the default, set enabled: false to stop"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_threshold: Option<i32>,
    /// Fires when less than this is available, such as "5Gi". Default: never.
    #[schemars(schema_with = "quantity::at_least_one_mebibyte_or_null")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_available: Option<QuantityText>,
    /// Fires when more than this percentage of inodes is used, 1 to 99, where the filesystem counts them. Default: never.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 99").message("inodeThreshold must be between 1 and 99 percent"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode_threshold: Option<i32>,
    /// Fires when the forecast is shorter than this, with `strategy.mode: Predictive`. A duration such as "2h". Default 2h.
    #[schemars(length(min = 2, max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_full: Option<String>,
}

/// By how much a volume of model Resize grows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.minStep) || !has(self.maxStep) || quantity(string(self.minStep)).compareTo(quantity(string(self.maxStep))) <= 0").message("minStep must not be above maxStep")
)]
#[serde(rename_all = "camelCase")]
pub struct ResizeExpansion {
    /// A percentage of the size, 1% to 1000%, or a quantity such as "10Gi". Default "20%".
    #[schemars(schema_with = "quantity::step_or_null")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepText>,
    /// The least that a percentage comes to. Default 2Gi, or `maxStep` where that is smaller.
    #[schemars(schema_with = "quantity::at_least_one_mebibyte_or_null")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_step: Option<QuantityText>,
    /// The most that a percentage comes to. Default 500Gi, or `minStep` where that is larger.
    #[schemars(schema_with = "quantity::at_least_one_mebibyte_or_null")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_step: Option<QuantityText>,
    /// The size that the volume never passes, such as "2Ti". Default: none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<QuantityText>,
}

/// How often a volume of model Resize grows, and what holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResizeStrategy {
    /// Whether `timeToFull` fires. Default Standard: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Growths in a rolling 24 hours, 0 to 50; 0: no limit. Default 3.
    #[x_kube(validation = Rule::new("self >= 0 && self <= 50").message("maxActionsPerDay must be between 0 (no limit) and 50"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_actions_per_day: Option<i32>,
    /// What holds the growth of a volume that WAL is written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_safety_policy: Option<WalSafetyPolicy>,
}

/// Growth must not hide that WAL cannot leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalSafetyPolicy {
    /// Must be true where PGDATA and WAL share the volume: growing it can hide a WAL problem. Default false.
    #[serde(default, rename = "acknowledgeWALRisk", skip_serializing_if = "Option::is_none")]
    pub acknowledge_wal_risk: Option<bool>,
    /// Hold growth while WAL archiving fails. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_archive_healthy: Option<bool>,
    /// Hold growth while more WAL files than this wait to be archived; 0: no check. Default 100.
    #[x_kube(validation = Rule::new("self >= 0").message("maxPendingWALFiles must be 0 (no check) or more"))]
    #[serde(default, rename = "maxPendingWALFiles", skip_serializing_if = "Option::is_none")]
    pub max_pending_wal_files: Option<i32>,
    /// Hold growth while inactive replication slots hold back more than this; 0: no check. Default 0.
    #[schemars(schema_with = "quantity::zero_or_more_or_null")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_slot_retention_bytes: Option<QuantityText>,
    /// Alert when a volume that WAL is written to grows. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_on_resize: Option<bool>,
}

/// When planned growth may happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceWindow {
    /// When it opens: cron, 5 fields, or 6 with leading seconds. Default "0 3 * * *".
    #[schemars(length(min = 9, max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// How long it stays open, such as "2h" or "90m". Default 2h.
    #[schemars(length(min = 2, max = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// The time zone of the schedule, such as "Europe/Berlin". Default UTC.
    #[schemars(length(min = 1, max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// Growth of a volume that is about to fill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.maxActionsPerDay) || !has(self.reservedActionsForEmergency) || self.maxActionsPerDay == 0 || self.reservedActionsForEmergency <= self.maxActionsPerDay").message("reservedActionsForEmergency must not be above maxActionsPerDay")
)]
#[serde(rename_all = "camelCase")]
pub struct EmergencyGrow {
    /// Whether it is in force. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Fires at this percentage used, 80 to 99. Default 95.
    #[x_kube(validation = Rule::new("self >= 80 && self <= 99").message("criticalThreshold must be between 80 and 99 percent"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical_threshold: Option<i32>,
    /// Fires when no more than this is available. Default: 1Gi, or 5 percent of the volume where that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical_minimum_free: Option<QuantityText>,
    /// Whether emergencies may pass the model's own limit, by a quarter of it. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exceed_limit_on_emergency: Option<bool>,
    /// Growths in a rolling 24 hours, 0 to 50; 0: no limit. Default 4.
    #[x_kube(validation = Rule::new("self >= 0 && self <= 50").message("maxActionsPerDay must be between 0 (no limit) and 50"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_actions_per_day: Option<i32>,
    /// How many of them planned growth leaves for emergencies, 0 to 50. Default 1.
    #[x_kube(validation = Rule::new("self >= 0 && self <= 50").message("reservedActionsForEmergency must be between 0 and 50"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_actions_for_emergency: Option<i32>,
}

/// A step as a person wrote it: a percentage, or a quantity. A bare number is kept, so that it can be refused with a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StepText {
    /// What was meant is unclear: 20 % or 20 bytes.
    Number(i64),
    /// "20%" or "10Gi".
    Text(String),
}

impl std::fmt::Display for StepText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}
