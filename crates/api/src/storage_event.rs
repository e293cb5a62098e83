use csm_units::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vocabulary::vocabulary;
use crate::{
    BreakerScope, BreakerState, Condition, ConditionStatus, EventType, Role, Trigger, WalCleanupSpec, WalCleanupStatus, condition,
};

/// One operation: its audit trail, its crash-safe journal and an entry of the budget's ledger in one.
///
/// It is written before the first PVC is touched. Its spec never changes; its status follows the operation.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "cnpg.supporttools.io",
    version = "v1alpha1",
    kind = "StorageEvent",
    namespaced,
    status = "StorageEventStatus",
    derive = "PartialEq",
    doc = "StorageEvent is the record of one operation on the storage of a CNPG Cluster.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef.name"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.eventType"),
    printcolumn(name = "Volume", type_ = "string", json_path = ".spec.volume.role"),
    printcolumn(name = "Trigger", type_ = "string", json_path = ".spec.trigger"),
    printcolumn(name = "From", type_ = "string", json_path = ".spec.expansion.originalSize"),
    printcolumn(name = "To", type_ = "string", json_path = ".spec.expansion.requestedSize"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("the spec of a StorageEvent is a record and cannot be changed"),
    validation = Rule::new("!(self.eventType in ['expansion', 'rescue']) || (has(self.clusterRef) && has(self.volume) && has(self.expansion))")
        .message("the growth of a volume needs clusterRef, volume and expansion"),
    validation = Rule::new("self.eventType != 'wal-cleanup' || (has(self.clusterRef) && has(self.volume) && has(self.walCleanup))")
        .message("the relief of WAL needs clusterRef, volume and walCleanup"),
)]
#[serde(rename_all = "camelCase")]
pub struct StorageEventSpec {
    /// The Cluster; missing where the whole fleet is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterReference>,
    /// What was done.
    pub event_type: EventType,
    /// Why it was begun.
    pub trigger: Trigger,
    /// Which volume; missing where no single one is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeReference>,
    /// The planner's reason.
    pub reason: crate::Reason,
    /// The figures that the decision rested on, in a sentence.
    pub message: String,
    /// The growth, of the types `expansion` and `rescue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expansion: Option<ExpansionSpec>,
    /// The relief, of the type `wal-cleanup`: what is asked. What came of it stands in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_cleanup: Option<WalCleanupSpec>,
    /// The breaker, of the type `circuit-breaker`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreakerChange>,
}

/// A circuit breaker that opened or closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreakerChange {
    /// Whose breaker.
    pub scope: BreakerScope,
    /// What it is since.
    pub state: BreakerState,
    /// Since when.
    pub at: Time,
    /// Operations that had failed in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<i32>,
}

/// Names a Cluster, by name and identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReference {
    /// Its name; it lives in the StorageEvent's namespace.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// Names a logical volume of a Cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeReference {
    /// Its role.
    pub role: Role,
    /// Name of the tablespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
}

/// A growth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpansionSpec {
    /// Effective size before.
    #[schemars(with = "String")]
    pub original_size: Bytes,
    /// The size that every listed PVC grows to.
    #[schemars(with = "String")]
    pub requested_size: Bytes,
    /// PVCs that are resized at a time.
    pub parallelism: i32,
    /// The PVCs, in the order in which they are patched.
    #[serde(rename = "affectedPVCs")]
    pub affected_pvcs: Vec<AffectedPvc>,
}

/// A PVC that an operation grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AffectedPvc {
    /// Its name.
    pub name: String,
    /// Its UID: CloudNativePG uses names again.
    pub uid: String,
    /// The instance that it belongs to.
    pub instance: String,
    /// The node that its pod ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its storage class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// What it asked for or had before, whichever was larger.
    #[schemars(with = "String")]
    pub original_size: Bytes,
    /// Size of its filesystem before, in bytes; growth is verified against it. Missing where there were no figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_bytes: Option<i64>,
}

vocabulary! {
    /// How far an operation has come.
    Phase {
        /// Recorded, nothing patched yet.
        Pending = "Pending",
        /// PVCs are being patched and followed.
        InProgress = "InProgress",
        /// Every PVC's growth is verified.
        Completed = "Completed",
        /// It ended without.
        Failed = "Failed",
    }
}
impl Phase {
    /// Whether the operation has ended.
    #[must_use]
    pub const fn is_end(self) -> bool {
        match self {
            Self::Pending | Self::InProgress => false,
            Self::Completed | Self::Failed => true,
        }
    }
}

vocabulary! {
    /// How a growth ended: the reason of its condition `Complete`.
    Outcome {
        /// Every PVC's growth is verified.
        Succeeded = "Succeeded",
        /// That of some is, and others cannot grow.
        PartialFailure = "PartialFailure",
        /// The storage or the node says that it cannot be.
        Infeasible = "Infeasible",
        /// The API server took no patch, or what a person asked for was turned down.
        Refused = "Refused",
        /// A person or the settings stopped it.
        Interrupted = "Interrupted",
        /// Its PVCs went before they were patched.
        Gone = "Gone",
        /// It was recorded late: another growth had done its work.
        NothingToDo = "NothingToDo",
    }
}

impl Outcome {
    /// The phase that it ends in.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self {
            Self::Succeeded | Self::NothingToDo => Phase::Completed,
            Self::PartialFailure | Self::Infeasible | Self::Refused | Self::Interrupted | Self::Gone => Phase::Failed,
        }
    }
}

vocabulary! {
    /// How far one PVC has come.
    PvcPhase {
        /// Not patched yet.
        Pending = "Pending",
        /// The API server accepted the new request; the storage driver works on it.
        ControllerResizing = "ControllerResizing",
        /// The volume has grown; the node is to grow the filesystem.
        WaitingForNode = "WaitingForNode",
        /// The PVC says that it has grown; the filesystem has not been seen larger yet.
        Verifying = "Verifying",
        /// The storage cannot make it as large as was asked: it asks for less.
        SteppingBack = "SteppingBack",
        /// Its growth is verified.
        Completed = "Completed",
        /// It cannot grow.
        Failed = "Failed",
    }
}
vocabulary! {
    /// Why a PVC cannot grow.
    PvcFailure {
        /// The API server did not take the patch.
        Refused = "Refused",
        /// The storage or the node says that it cannot have the size.
        Infeasible = "Infeasible",
        /// Somebody else changed its request while it grew.
        Changed = "Changed",
    }
}
vocabulary! {
    /// What showed that a filesystem has grown.
    VerifiedBy {
        /// The kubelet's figures of the mounted filesystem.
        Filesystem = "filesystem",
        /// The PVC's status, the node's own word: there were no figures, since its pod was down.
        PvcStatus = "pvc-status",
        /// Nothing is left to verify: the PVC is gone.
        Gone = "gone",
    }
}

/// How far an operation has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageEventStatus {
    /// Its phase; missing is `Pending`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Each PVC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pvc_statuses: Vec<PvcStatus>,
    /// `Complete`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How many operations of this volume failed in a row before it, and with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_count: Option<i32>,
    /// The next growth of this volume is not tried before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry_time: Option<Time>,
    /// What it failed under: where that has changed since, the next growth does not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_basis: Option<RetryBasis>,
    /// What a relief of WAL found and did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal_cleanup: Option<WalCleanupStatus>,
}

impl StorageEventStatus {
    /// Puts the end of a growth into it.
    pub fn end(&mut self, outcome: Outcome, message: String, now: Time) {
        self.phase = Some(outcome.phase());
        self.completion_time = Some(now.clone());
        self.conditions = vec![Condition {
            type_: condition::COMPLETE.to_owned(),
            status: ConditionStatus::from(outcome.phase() == Phase::Completed),
            reason: outcome.to_string(),
            message,
            last_transition_time: now,
            observed_generation: None,
        }];
    }

    /// The status of a growth that begins and ends at once: no PVC was touched.
    #[must_use]
    pub fn ended(outcome: Outcome, message: String, now: Time) -> Self {
        let mut status = Self {
            start_time: Some(now.clone()),
            ..Self::default()
        };
        status.end(outcome, message, now);
        status
    }

    /// How the growth ended; none: it has not, or in a way that only another version knows.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.phase.filter(|phase| phase.is_end())?;
        let complete = self.conditions.iter().find(|c| c.type_ == condition::COMPLETE)?;
        Outcome::ALL.iter().copied().find(|outcome| outcome.as_str() == complete.reason)
    }
}

/// What a growth was refused or infeasible under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryBasis {
    /// A digest of the settings of the volume.
    pub settings: String,
    /// A digest of its storage classes.
    pub storage_classes: String,
    /// What the quotas of the namespace left for PVCs; missing where none limits them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub quota_room: Option<Bytes>,
}

/// How far one PVC has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PvcStatus {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// How far it has come.
    pub phase: PvcPhase,
    /// Size before.
    #[schemars(with = "String")]
    pub original_size: Bytes,
    /// Size of its filesystem before, in bytes, where a person asked for the growth: what such a record says is not relied on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_bytes: Option<i64>,
    /// Capacity that the PVC reports now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub new_size: Option<Bytes>,
    /// When the API server accepted the new request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patched_at: Option<Time>,
    /// When the volume was seen grown by its driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_done_at: Option<Time>,
    /// When the filesystem was seen grown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem_resized: Option<Time>,
    /// What showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_by: Option<VerifiedBy>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why it cannot grow, once it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<PvcFailure>,
    /// What it asks for instead, where the storage cannot make it as large as was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// The largest size that its storage has shown to allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub learned_ceiling: Option<Bytes>,
}

/// How a PVC steps back from a size that its storage cannot give (Kubernetes, KEP-1790, `RecoverVolumeExpansionFailure`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// The size that was found infeasible last.
    #[schemars(with = "String")]
    pub infeasible: Bytes,
    /// The size that it asks for now: between what it has and what was infeasible.
    #[schemars(with = "String")]
    pub size: Bytes,
    /// How often the distance was halved.
    pub halvings: i32,
    /// When it was seen to ask for that size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Time>,
}
