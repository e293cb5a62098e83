use crate::vocabulary::vocabulary;
use serde::{Deserialize, Serialize};

vocabulary! {
    /// Why a decision is what it is. Conditions, Events, metric labels and `explain` use these and no others.
    Reason {
        /// Nothing fired.
        BelowThresholds = "BelowThresholds",
        /// An instance is down because the volume is full.
        DiskFull = "DiskFull",
        /// Percent used has reached `emergencyGrow.criticalThreshold`.
        CriticalThreshold = "CriticalThreshold",
        /// No more than `emergencyGrow.criticalMinimumFree` is available.
        CriticalMinimumFree = "CriticalMinimumFree",
        /// Percent used has reached the threshold at which the volume grows.
        UsageThreshold = "UsageThreshold",
        /// Less than `minAvailable` is available.
        MinAvailable = "MinAvailable",
        /// More inodes are used than `inodeThreshold` allows.
        InodeThreshold = "InodeThreshold",
        /// The volume is forecast to be full within `timeToFull`.
        TimeToFull = "TimeToFull",
        /// The volume is smaller than `request`.
        RequestFloor = "RequestFloor",
        /// Less than `targetBuffer` percent is free.
        TargetBuffer = "TargetBuffer",
        /// A held growth is needed now: the volume is about to fill.
        Runway = "Runway",
        /// A member is smaller than the volume's effective size.
        MemberBelowEffectiveSize = "MemberBelowEffectiveSize",
        /// No policy matches the Cluster.
        NoPolicy = "NoPolicy",
        /// Two policies of one rank match the Cluster.
        PolicyConflict = "PolicyConflict",
        /// The resolved settings do not validate.
        PolicyInvalid = "PolicyInvalid",
        /// The Cluster is being deleted.
        ClusterDeleting = "ClusterDeleting",
        /// Growth is switched off.
        Disabled = "Disabled",
        /// A person paused the Cluster.
        Paused = "Paused",
        /// CloudNativePG hibernates the Cluster.
        Hibernated = "Hibernated",
        /// An instance of the volume is fenced.
        Fenced = "Fenced",
        /// The Cluster says `resizeInUseVolumes: false`.
        InUseResizeDisabled = "InUseResizeDisabled",
        /// A PVC is not bound to a volume.
        NotBound = "NotBound",
        /// A PVC is a raw block device.
        BlockVolume = "BlockVolume",
        /// The storage class does not allow expansion.
        StorageClassNotExpandable = "StorageClassNotExpandable",
        /// Many volumes share one filesystem; its figures say nothing about one of them.
        SharedFilesystem = "SharedFilesystem",
        /// A resize is under way.
        ResizeInProgress = "ResizeInProgress",
        /// A resize made no progress for too long.
        ResizeStuck = "ResizeStuck",
        /// The last growth was refused; the next try waits for its back-off.
        RetryLater = "RetryLater",
        /// Too many growths failed in a row; the circuit breaker is open.
        CircuitOpen = "CircuitOpen",
        /// The figures are too old to decide on.
        StaleObservation = "StaleObservation",
        /// There never were any figures.
        NoObservation = "NoObservation",
        /// The ceiling leaves no room for a growth.
        AtLimit = "AtLimit",
        /// The growths of the last 24 hours have used up the budget.
        BudgetExhausted = "BudgetExhausted",
        /// What is left of the budget is kept for emergencies.
        BudgetReservedForEmergency = "BudgetReservedForEmergency",
        /// The storage provider allows no further change of the volume yet.
        ProviderLimit = "ProviderLimit",
        /// The last growth is too recent.
        Cooldown = "Cooldown",
        /// Too many volumes of the fleet are being resized.
        FleetLimit = "FleetLimit",
        /// The maintenance window is closed.
        MaintenanceWindowClosed = "MaintenanceWindowClosed",
        /// PGDATA and WAL share the volume, and nobody has acknowledged what growing it may hide.
        WalRiskNotAcknowledged = "WalRiskNotAcknowledged",
        /// WAL archiving fails.
        ArchiveUnhealthy = "ArchiveUnhealthy",
        /// Too many WAL files wait to be archived.
        TooManyPendingWalFiles = "TooManyPendingWalFiles",
        /// Inactive replication slots hold back too much WAL.
        SlotRetention = "SlotRetention",
        /// `dryRun: true`: it would have happened.
        DryRun = "DryRun",
        /// Warning: a member is larger than the ceiling; it is set aside.
        MemberAboveLimit = "MemberAboveLimit",
        /// Warning: some members have no fresh figures while others have.
        MemberNotObserved = "MemberNotObserved",
        /// Warning: nothing is known of WAL archiving and slots; no growth is held for them.
        WalHealthUnknown = "WalHealthUnknown",
        /// Warning: a field of another sizing model is set, and has no effect.
        FieldIgnored = "FieldIgnored",
        /// Warning: the pause annotation says neither "true" nor "false"; it counts as a pause.
        PauseUnreadable = "PauseUnreadable",
    }
}
