use serde::{Deserialize, Serialize};

use crate::vocabulary::vocabulary;

vocabulary! {
    /// Reasons of Kubernetes Events (`events.k8s.io/v1`, `reason`). The manager records these and no others.
    EventReason {
        /// A growth has ended, and every filesystem was seen larger; or the size in the Cluster's spec was raised after one.
        AutoResizeSuccess = "AutoResizeSuccess",
        /// A growth was refused, or has failed.
        AutoResizeFailed = "AutoResizeFailed",
        /// A budget or the storage provider's limit holds a growth.
        AutoResizeRateLimited = "AutoResizeRateLimited",
        /// The ceiling holds a growth.
        AutoResizeAtLimit = "AutoResizeAtLimit",
        /// Something else holds a growth that is wanted.
        AutoResizeBlocked = "AutoResizeBlocked",
        /// A growth begins though nothing is known of WAL archiving and slots.
        AutoResizeWALHealthUnavailable = "AutoResizeWALHealthUnavailable",
        /// The storage cannot do a growth.
        AutoResizeInfeasible = "AutoResizeInfeasible",
        /// A resize made no progress for too long.
        AutoResizeStuck = "AutoResizeStuck",
        /// An emergency or a runway begins.
        StorageEmergency = "StorageEmergency",
        /// A rescue begins, or all its instances are ready again.
        StorageRescue = "StorageRescue",
        /// WAL of an instance was freed.
        WALCleanup = "WALCleanup",
        /// WAL of an instance could not be freed, or was not to be.
        WALCleanupRefused = "WALCleanupRefused",
        /// A circuit breaker has opened.
        CircuitBreakerOpened = "CircuitBreakerOpened",
        /// A circuit breaker has closed.
        CircuitBreakerClosed = "CircuitBreakerClosed",
        /// Two policies of one rank match the Cluster.
        StoragePolicyConflict = "StoragePolicyConflict",
        /// The storage of a volume cannot be managed.
        StorageUnsupported = "StorageUnsupported",
        /// Figures of a volume no longer come.
        StorageMetricsLost = "StorageMetricsLost",
        /// A person has paused the Cluster.
        StoragePaused = "StoragePaused",
        /// The pause of the Cluster has ended.
        StorageResumed = "StorageResumed",
    }
}
