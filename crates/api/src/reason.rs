use crate::vocabulary::vocabulary;
use serde::{Deserialize, Serialize};

vocabulary! {
    /// Why a decision is what it is. Conditions, Events, metric labels and `explain` use these and no others.
    Reason {
        /// Nothing fired.
        BelowThresholds = "BelowThresholds",
        /// Percent used has reached the threshold at which the volume grows.
        UsageThreshold = "UsageThreshold",
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
        /// The figures are too old to decide on.
        StaleObservation = "StaleObservation",
        /// There never were any figures.
        NoObservation = "NoObservation",
        /// The ceiling leaves no room for a growth.
        AtLimit = "AtLimit",
        /// The last growth is too recent.
        Cooldown = "Cooldown",
        /// `dryRun: true`: it would have happened.
        DryRun = "DryRun",
        /// Warning: a member is larger than the ceiling; it is set aside.
        MemberAboveLimit = "MemberAboveLimit",
        /// Warning: some members have no fresh figures while others have.
        MemberNotObserved = "MemberNotObserved",
        /// Warning: the pause annotation says neither "true" nor "false"; it counts as a pause.
        PauseUnreadable = "PauseUnreadable",
    }
}
