use std::collections::BTreeMap;

use csm_units::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BreakerScope, BreakerState, CauseKind, Condition, Reason, Role, Settings, State, Urgency, Verdict};

/// The most specific settings of one CNPG Cluster, and what the manager knows of its volumes.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "cnpg.supporttools.io",
    version = "v1alpha1",
    kind = "PostgresStorage",
    plural = "postgresstorages",
    shortname = "pgstorage",
    namespaced,
    status = "PostgresStorageStatus",
    derive = "PartialEq",
    doc = "PostgresStorage is the storage of one CNPG Cluster of the same name: its most specific settings, and the status that the manager keeps.",
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(
        name = "Used%",
        type_ = "integer",
        json_path = ".status.percentUsed",
        description = "of the worst volume"
    ),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size", description = "of the worst volume"),
    printcolumn(name = "Limit", type_ = "string", json_path = ".status.limit", description = "of the worst volume"),
    printcolumn(
        name = "Time-To-Full",
        type_ = "string",
        json_path = ".status.timeToFull",
        description = "of the volume that is full first"
    ),
    printcolumn(
        name = "Actions-Left",
        type_ = "integer",
        json_path = ".status.actionsLeft",
        description = "planned growths that the budget of 24 hours leaves"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("!has(self.circuitBreaker) || !has(self.circuitBreaker.scope) || self.circuitBreaker.scope != 'global'").message("circuitBreaker.scope can be global in a ClusterStoragePolicy only")
)]
#[serde(rename_all = "camelCase")]
pub struct PostgresStorageSpec {
    /// The settings.
    #[serde(flatten)]
    pub settings: Settings,
}

/// What the manager says of a Cluster's storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresStorageStatus {
    /// State of the volume that is worst off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Percent used of the volume that is worst off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent_used: Option<i32>,
    /// Effective size of the volume that is worst off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub size: Option<Bytes>,
    /// Ceiling of the volume that is worst off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub limit: Option<Bytes>,
    /// How long until the first volume is full, such as "90m", "12h" or "5d"; none where none fills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_full: Option<String>,
    /// Planned growths that the volume with the fewest may still do in the rolling 24 hours; none: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions_left: Option<i32>,
    /// `Ready`, `Healthy`, `PolicyResolved`, `Conflicting`, `Resizing`, `Blocked`, `CircuitOpen`, `ArchiveHealthy`,
    /// `MetricsFresh`, `SpecFollows`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The objects that the settings came from, most specific first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyRef>,
    /// The logical volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_sizing: Option<StorageSizing>,
    /// The figures of each instance's filesystems, at most a minute old and coarse at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_status: Option<DiskStatus>,
    /// The newest 20 outcomes of resizes, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auto_resize_events: Vec<ResizeOutcome>,
    /// The circuit breaker of this Cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreakerStatus>,
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A circuit breaker: that of the Cluster, or the one of all Clusters where that one holds it up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreakerStatus {
    /// Whose it is: of this Cluster, or of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<BreakerScope>,
    /// Its state.
    pub state: BreakerState,
    /// Growths that failed in a row.
    pub failures: i32,
    /// Since when it is open, or half open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Time>,
    /// When one growth is tried again, where time alone opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Time>,
    /// Why it is not closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Names a policy object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// The logical volumes of a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageSizing {
    /// PGDATA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<VolumeSizing>,
    /// The separate WAL volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<VolumeSizing>,
    /// Tablespaces, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tablespaces: BTreeMap<String, VolumeSizing>,
}

/// One logical volume: all instances' PVCs of one role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSizing {
    /// The largest size that a member has or asks for.
    #[schemars(with = "String")]
    pub effective_size: Bytes,
    /// The size that it is growing to, or should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub target_size: Option<Bytes>,
    /// The ceiling that it may not pass, where one is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub limit: Option<Bytes>,
    /// Size of each instance's PVC.
    #[schemars(with = "BTreeMap<String, String>")]
    pub actual_sizes: BTreeMap<String, Bytes>,
    /// Its state.
    pub state: State,
    /// The newest operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_action: Option<LastAction>,
    /// The earliest moment at which what is wanted can go, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_action_at: Option<Time>,
    /// The growths of the last 24 hours, and what they leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStatus>,
    /// When the maintenance window opens next, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_maintenance_window: Option<Time>,
    /// How long until it is full at the rate of the last hour, such as "90m", "12h" or "5d"; none where it does not fill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_full: Option<String>,
    /// Why it fills, where it does, or where something holds WAL on it that will fill it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_cause: Option<RootCause>,
    /// The newest decision.
    pub last_decision: LastDecision,
}

/// Why a volume fills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RootCause {
    /// The cause that accounts for the most.
    pub cause: CauseKind,
    /// The instance that shows it.
    pub instance: String,
    /// The replication slot, the standby or the setting that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Bytes that it accounts for, as they were when this was written: it is written anew when they have doubled, or halved.
    pub bytes: i64,
    /// What shows it, and what to do, in a sentence for people.
    pub message: String,
    /// Since when it is the cause.
    pub since: Time,
}

/// Growths of a volume in a rolling 24 hours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetStatus {
    /// Growths that the API server accepted in the last 24 hours, catch-ups aside.
    pub actions_last_24h: i32,
    /// How many planned ones may follow; none: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_for_planned: Option<i32>,
    /// How many more are kept for emergencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_for_emergency: Option<i32>,
    /// When the oldest of them no longer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_resets_at: Option<Time>,
}

/// An operation, in brief.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastAction {
    /// `ScheduledGrow` or `CatchUp`.
    pub kind: String,
    /// Size before.
    #[schemars(with = "String")]
    pub from: Bytes,
    /// Size asked for.
    #[schemars(with = "String")]
    pub to: Bytes,
    /// When it began.
    pub timestamp: Time,
    /// `Success`, `Failed` or `Pending`.
    pub result: String,
    /// Name of the StorageEvent.
    pub event: String,
}

/// A decision and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastDecision {
    /// What was decided.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// How pressing it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urgency: Option<Urgency>,
    /// The size that is wanted and held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub wanted: Option<Bytes>,
    /// The few figures that the verdict rests on, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, String>,
    /// A sentence for people.
    pub message: String,
    /// When it was first decided like this.
    pub at: Time,
}

/// Figures of all filesystems.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskStatus {
    /// By instance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<String, InstanceDisks>,
}

/// Figures of one instance's filesystems.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceDisks {
    /// PGDATA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_volume: Option<InstanceDisk>,
    /// The separate WAL volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_volume: Option<InstanceDisk>,
    /// Tablespaces, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tablespaces: BTreeMap<String, InstanceDisk>,
    /// The health of WAL, of the primary alone; none where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_health: Option<InstanceWal>,
}

/// WAL archiving and replication slots of a primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceWal {
    /// Whether the last try to archive a file succeeded; none where the Cluster does not archive WAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_healthy: Option<bool>,
    /// Files that wait to be archived; none where the Cluster does not archive WAL.
    #[serde(rename = "pendingWALFiles", default, skip_serializing_if = "Option::is_none")]
    pub pending_wal_files: Option<i64>,
    /// Replication slots that nobody reads.
    pub inactive_slot_count: i32,
    /// The 20 of them that hold back most, most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inactive_slots: Vec<InactiveSlot>,
    /// When a file was last archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_archived_time: Option<Time>,
    /// When archiving last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failed_time: Option<Time>,
}

/// A replication slot that nobody reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InactiveSlot {
    /// Its name.
    pub slot_name: String,
    /// Bytes of WAL that it holds back.
    pub retention_bytes: i64,
}

/// Figures of one filesystem, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceDisk {
    /// used + available.
    pub total_bytes: i64,
    /// Bytes used.
    pub used_bytes: i64,
    /// Bytes that PostgreSQL can still write.
    pub available_bytes: i64,
    /// used / (used + available), rounded down.
    pub percent_used: i32,
    /// Inodes, where the filesystem reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes_total: Option<i64>,
    /// Inodes used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes_used: Option<i64>,
    /// Inodes free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes_free: Option<i64>,
    /// Whether the volume has reached its ceiling.
    pub at_limit: bool,
    /// Whether a growth is held.
    pub resize_blocked: bool,
    /// What holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_reason: Option<Reason>,
    /// Growths that the budget of 24 hours leaves the volume; none: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_remaining: Option<i32>,
    /// Resizes of this PVC that went well, of the StorageEvents that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize_count: Option<i32>,
    /// Where the figures come from: `kubelet`.
    pub source: String,
    /// When the figures were taken.
    pub observed_at: Time,
}

/// The outcome of a resize.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResizeOutcome {
    /// When it ended.
    pub timestamp: Time,
    /// The instance.
    pub instance: String,
    /// Role of the volume.
    pub volume_type: Role,
    /// Name of the tablespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
    /// Size before.
    #[schemars(with = "String")]
    pub from: Bytes,
    /// Size asked for.
    #[schemars(with = "String")]
    pub to: Bytes,
    /// `success` or `failure`.
    pub result: String,
    /// Why it was begun, or why it failed.
    pub reason: String,
}
