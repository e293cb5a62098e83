/// The API group of all our kinds.
pub const GROUP: &str = "cnpg.supporttools.io";
/// The version of all our kinds.
pub const VERSION: &str = "v1alpha1";
/// Field manager of what the manager creates, and of its annotations on foreign objects.
pub const FIELD_MANAGER: &str = "cnpg-storage-manager";
/// Field manager of the status subresources.
pub const FIELD_MANAGER_STATUS: &str = "cnpg-storage-manager-status";

/// Labels of our objects.
pub mod label {
    /// Name of the CNPG Cluster that an object is about.
    pub const CLUSTER: &str = "cnpg.supporttools.io/cluster";
    /// Type of a StorageEvent.
    pub const EVENT_TYPE: &str = "cnpg.supporttools.io/event-type";
}

/// Annotation on the pods of instances, written: the operations for which the kubelet was asked to look at once, by name,
/// separated by commas.
pub const RESIZE_REQUESTED: &str = "storage.cnpg.supporttools.io/resize-requested";
/// Written to a PVC: the StorageEvent that asks no more for it. That is a new version of the PVC, so that what it may have asked for
/// before, and was never answered, is refused if it comes late.
pub const RESIZE_WITHDRAWN: &str = "storage.cnpg.supporttools.io/resize-withdrawn";
/// Annotation on StorageEvents, written: when that happened on which the operation rests (RFC 3339).
pub const EVIDENCE_AT: &str = "storage.cnpg.supporttools.io/evidence-at";

/// Annotations on the CNPG Cluster.
pub mod annotation {
    /// Written: "true" while a policy manages the Cluster.
    pub const MANAGED: &str = "storage.cnpg.supporttools.io/managed";
    /// Read: stops actions, not metrics and alerts.
    pub const PAUSED: &str = "storage.cnpg.supporttools.io/paused";
    /// Read: shown beside the pause.
    pub const PAUSE_REASON: &str = "storage.cnpg.supporttools.io/pause-reason";
    /// Read: RFC 3339; the pause ends by itself then.
    pub const PAUSE_UNTIL: &str = "storage.cnpg.supporttools.io/pause-until";
    /// Read: "true" closes the circuit breaker; also on a ClusterStoragePolicy, for the one of the whole fleet.
    pub const RESET_CIRCUIT_BREAKER: &str = "storage.cnpg.supporttools.io/reset-circuit-breaker";
    /// Written: the size that a volume is growing to (`15Gi`, or `data=15Gi,wal=4Gi`).
    pub const TARGET_SIZE: &str = "storage.cnpg.supporttools.io/target-size";
    /// Written: when an expansion was asked for (RFC 3339).
    pub const EXPANSION_REQUESTED: &str = "storage.cnpg.supporttools.io/expansion-requested";
    /// Written: why, such as `threshold-breach-85`.
    pub const EXPANSION_REASON: &str = "storage.cnpg.supporttools.io/expansion-reason";
    /// Written together with another change only: when WAL of an instance was last removed (RFC 3339).
    pub const WAL_CLEANUP_LAST: &str = "storage.cnpg.supporttools.io/wal-cleanup-last";
    /// Written together with another change only: when the Cluster was last looked at (RFC 3339).
    pub const LAST_CHECK: &str = "storage.cnpg.supporttools.io/last-check";
    /// Written together with another change, or when it moved by 5 points: percent used of the worst volume.
    pub const CURRENT_USAGE_PERCENT: &str = "storage.cnpg.supporttools.io/current-usage-percent";
}
