use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{ApplyTo, BreakerScope, QuantityText, TablespaceSettings, VolumeSettings};

/// The block of settings that all three policy kinds share. Every field is optional; a missing one is
/// inherited from the next less specific object, in the end from the manager's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Decide, record and report; change nothing. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// Percent of the volume's filesystem that is used. They must rise: warning < critical < expansion <= emergency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// How a volume grows once it has reached `thresholds.expansion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expansion: Option<Expansion>,
    /// What may be done to the WAL of an instance whose volume has reached `thresholds.emergency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_cleanup: Option<WalCleanup>,
    /// When growths that fail stop further ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// A volume whose growth is held by a cooldown, a window, a limit of the fleet or a check of WAL is never left to
    /// fill up: it grows by a small step. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency_runway: Option<bool>,
    /// PGDATA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<VolumeSettings>,
    /// The separate WAL volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_storage: Option<VolumeSettings>,
    /// Tablespaces, by name. Of each object the entry of that name counts, else its entry "*".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "tablespaces")]
    pub tablespaces: Option<Vec<TablespaceSettings>>,
}

/// A list that the API server merges by name.
fn tablespaces(generator: &mut SchemaGenerator) -> Schema {
    let entry = TablespaceSettings::json_schema(generator);
    json_schema!({
        "type": "array",
        "nullable": true,
        "maxItems": 64,
        "items": entry,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    })
}

impl Settings {
    /// Whether nothing at all is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            dry_run,
            thresholds,
            expansion,
            wal_cleanup,
            circuit_breaker,
            emergency_runway,
            storage,
            wal_storage,
            tablespaces,
        } = self;
        dry_run.is_none()
            && thresholds.as_ref().is_none_or(|t| *t == Thresholds::default())
            && expansion.as_ref().is_none_or(|e| *e == Expansion::default())
            && wal_cleanup.as_ref().is_none_or(|w| *w == WalCleanup::default())
            && circuit_breaker.as_ref().is_none_or(|b| *b == CircuitBreaker::default())
            && emergency_runway.is_none()
            && [storage, wal_storage]
                .into_iter()
                .flatten()
                .all(|v| *v == VolumeSettings::default())
            && tablespaces.iter().flatten().all(|t| t.storage == VolumeSettings::default())
    }
}

/// Percent used, 1 to 99.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.warning) || !has(self.critical) || self.warning < self.critical").message("thresholds must rise: warning must be below critical"),
    validation = Rule::new("!has(self.warning) || !has(self.expansion) || self.warning < self.expansion").message("thresholds must rise: warning must be below expansion"),
    validation = Rule::new("!has(self.warning) || !has(self.emergency) || self.warning < self.emergency").message("thresholds must rise: warning must be below emergency"),
    validation = Rule::new("!has(self.critical) || !has(self.expansion) || self.critical < self.expansion").message("thresholds must rise: critical must be below expansion"),
    validation = Rule::new("!has(self.critical) || !has(self.emergency) || self.critical < self.emergency").message("thresholds must rise: critical must be below emergency"),
    validation = Rule::new("!has(self.expansion) || !has(self.emergency) || self.expansion <= self.emergency").message("thresholds must rise: expansion must not be above emergency")
)]
#[serde(rename_all = "camelCase")]
pub struct Thresholds {
    /// Warning alert at this percentage, 1 to 99. Default 70, or just below `critical` where that is lower.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 99").message("thresholds.warning must be between 1 and 99 percent"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<i32>,
    /// Critical alert at this percentage, 1 to 99. Default 80, or just below `expansion` where that is lower.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 99").message("thresholds.critical must be between 1 and 99 percent"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<i32>,
    /// The volume grows at this percentage, 3 to 99. Default 85.
    #[x_kube(validation = Rule::new("self >= 3 && self <= 99").message("thresholds.expansion must be between 3 and 99 percent"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expansion: Option<i32>,
    /// The volume is in acute danger at this percentage, 1 to 99. Default 90, or `expansion` where that is higher.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 99").message("thresholds.emergency must be between 1 and 99 percent"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<i32>,
}

/// Growth by a share of the current size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expansion {
    /// Whether volumes grow at all. `false`: observe and alert only. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Percent of the current size to add, 1 to 1000. Default 50.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 1000").message("expansion.percentage must be between 1 and 1000 percent"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentage: Option<i32>,
    /// The least to add, in GiB, 1 to 65536. Default 5.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 65536").message("expansion.minIncrementGi must be between 1 and 65536 (GiB)"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_increment_gi: Option<i32>,
    /// The size that no volume passes, such as "100Gi". Default: no limit of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<QuantityText>,
    /// Minutes between two growths of a volume, 0 to 10080 (a week). Default 30.
    #[x_kube(validation = Rule::new("self >= 0 && self <= 10080").message("expansion.cooldownMinutes must be between 0 and 10080 (a week)"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_minutes: Option<i32>,
    /// PVCs of one Cluster that are resized at a time, 1 to 20. Default 1.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 20").message("expansion.parallelism must be between 1 and 20"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<i32>,
    /// What a growth changes: the PVCs; or, with ClusterSpec, once it is verified also the size in the Cluster's own spec, so
    /// that CloudNativePG makes new instances with it. A tool that keeps the Cluster as it is in Git must be told to leave that
    /// field alone then. Default PersistentVolumeClaims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apply_to: Option<ApplyTo>,
}

/// WAL relief: what holds WAL is named, and what nothing needs any more is removed. Only what is proved to be needed by
/// nobody goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalCleanup {
    /// Whether WAL is relieved at all. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// So many of the newest completed WAL segments stay, whatever needs them, 1 to 10000. Default 10.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 10000").message("walCleanup.retainCount must be between 1 and 10000"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_count: Option<i32>,
    /// Nothing is removed where no WAL is archived. Where WAL is archived, what is not archived stays, whatever this says.
    /// Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_archived: Option<bool>,
    /// Minutes between two removals of WAL of one instance, 0 to 10080 (a week). Default 15.
    #[x_kube(validation = Rule::new("self >= 0 && self <= 10080").message("walCleanup.cooldownMinutes must be between 0 and 10080 (a week)"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_minutes: Option<i32>,
}

/// When growths that fail in a row stop further ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Growths that fail in a row before none but a rescue is tried any more, 1 to 100. Default 3.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 100").message("circuitBreaker.maxFailures must be between 1 and 100"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<i32>,
    /// Minutes after which one growth is tried again, 1 to 10080 (a week). Default 60.
    #[x_kube(validation = Rule::new("self >= 1 && self <= 10080").message("circuitBreaker.resetMinutes must be between 1 and 10080 (a week)"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_minutes: Option<i32>,
    /// Whose failures count together: those of each Cluster, or those of all Clusters of which this is said (only in a
    /// ClusterStoragePolicy). Default per-cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<BreakerScope>,
}

/// Names a CNPG Cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Name of the Cluster.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace. Default: the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}
