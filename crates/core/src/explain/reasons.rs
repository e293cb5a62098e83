//! Every reason: what kind of thing it says, and what a person should do. What it means stands at [`Reason`] itself.

use csm_api::Reason;

/// What a reason is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Nothing is wanted.
    Rests,
    /// A growth is wanted.
    Fires,
    /// A growth that is, or could be, wanted does not happen.
    Holds,
    /// A person should know of it besides.
    Warns,
}

/// What to make of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// What it is about.
    pub kind: Kind,
    /// What a person should do.
    pub remedy: &'static str,
}

/// What to make of a reason.
#[must_use]
pub const fn about(reason: Reason) -> About {
    let (kind, remedy) = match reason {
        Reason::BelowThresholds => (Kind::Rests, "Nothing."),

        Reason::DiskFull => (
            Kind::Fires,
            "Nothing at once: the volume grows, and PostgreSQL starts again, up to five minutes later. Then find out why it was not grown before it was full: the StorageEvents and the alerts say what held it.",
        ),
        Reason::CriticalThreshold | Reason::CriticalMinimumFree => (
            Kind::Fires,
            "Nothing at once: the volume grows. Where this is frequent, give it a larger `targetBuffer`, or an earlier threshold.",
        ),
        Reason::UsageThreshold => (
            Kind::Fires,
            "Nothing. To grow later or earlier, change `thresholds.expansion`, or `resize.triggers.usageThreshold` of the volume.",
        ),
        Reason::MinAvailable => (
            Kind::Fires,
            "Nothing. To grow later or earlier, change `resize.triggers.minAvailable` of the volume.",
        ),
        Reason::InodeThreshold => (
            Kind::Fires,
            "See whether anything makes many small files, such as temporary files or a log on the volume. A larger volume has more inodes only where its filesystem adds them as it grows.",
        ),
        Reason::TimeToFull => (
            Kind::Fires,
            "See what writes so fast: a bulk load, a failing archiver, a replication slot that nobody reads. To grow later or earlier, change `resize.triggers.timeToFull`.",
        ),
        Reason::RequestFloor => (Kind::Fires, "Nothing: the volume grows to `request`."),
        Reason::TargetBuffer => (
            Kind::Fires,
            "Nothing. To keep more or less free, change `targetBuffer` of the volume.",
        ),
        Reason::Runway => (
            Kind::Fires,
            "Remove what holds the planned growth: the decision's `passed` names it. This growth is only a small step, and counts in the budget.",
        ),
        Reason::MemberBelowEffectiveSize => (
            Kind::Fires,
            "Nothing. It is how a new replica, or a member that was left out, gets the size of the others. It costs no budget.",
        ),

        Reason::NoPolicy => (
            Kind::Holds,
            "Create a StoragePolicy in the namespace, or a PostgresStorage with the name of the Cluster; `explain` shows which policies match.",
        ),
        Reason::PolicyConflict => (
            Kind::Holds,
            "Change the selector of one of the policies, or name the Cluster in `excludeClusters` of one of them.",
        ),
        Reason::PolicyInvalid => (
            Kind::Holds,
            "Correct the setting that the message names, in the object that it names.",
        ),
        Reason::ClusterDeleting => (Kind::Holds, "Nothing: its volumes are left alone."),
        Reason::Disabled => (
            Kind::Holds,
            "Set `expansion.enabled: true`, or `resize.enabled: true` of the volume in model Resize (where false is the default).",
        ),
        Reason::Paused => (
            Kind::Holds,
            "Remove the annotation `storage.cnpg.supporttools.io/paused` from the Cluster, or wait until `pause-until`.",
        ),
        Reason::Hibernated => (
            Kind::Holds,
            "Nothing while it sleeps. Set CloudNativePG's annotation `cnpg.io/hibernation` to \"off\" to wake it.",
        ),
        Reason::Fenced => (
            Kind::Holds,
            "Lift the fence (`kubectl cnpg fencing off`), or correct the annotation `cnpg.io/fencedInstances` where it is no JSON list.",
        ),
        Reason::InUseResizeDisabled => (
            Kind::Holds,
            "Set `spec.storage.resizeInUseVolumes: true` in the Cluster; it governs all its volumes.",
        ),
        Reason::NotBound => (
            Kind::Holds,
            "See `kubectl describe pvc`: its storage class may wait for a pod, or cannot make the volume.",
        ),
        Reason::BlockVolume => (
            Kind::Holds,
            "Such a volume has no filesystem to watch or grow. Make the instance anew on a PVC with `volumeMode: Filesystem`.",
        ),
        Reason::StorageClassNotExpandable => (
            Kind::Holds,
            "Set `allowVolumeExpansion: true` on the storage class where its driver can expand; else move the Cluster to a class whose driver can.",
        ),
        Reason::SharedFilesystem => (
            Kind::Holds,
            "Use a storage class that gives each volume a filesystem of its own. Directories of a node's disk (local-path, hostpath) cannot grow one by one.",
        ),
        Reason::ResizeInProgress => (Kind::Holds, "Wait: it ends by itself, or becomes ResizeStuck."),
        Reason::ResizeStuck => (
            Kind::Holds,
            "See `kubectl describe pvc` and the log of the storage driver. A filesystem grows on the node where its pod runs: the pod must run. No pod is ever restarted by the manager.",
        ),
        Reason::RetryLater => (
            Kind::Holds,
            "See the newest StorageEvent: it says what refused the growth, such as a quota. It is tried again after 1, 5, and then every 15 minutes, and at once when the settings, the storage class or the room in the quotas change.",
        ),
        Reason::CircuitOpen => (
            Kind::Holds,
            "Find out from the StorageEvents why growths failed, then set the annotation `storage.cnpg.supporttools.io/reset-circuit-breaker: \"true\"` on the Cluster; for the breaker of the fleet on any ClusterStoragePolicy.",
        ),
        Reason::StaleObservation => (
            Kind::Holds,
            "See whether the pod runs, its node is ready, and the manager may read the kubelet (`nodes/stats`, port 10250).",
        ),
        Reason::NoObservation => (
            Kind::Holds,
            "See whether the pod has ever run, and whether the manager may read the kubelet (`nodes/stats`, port 10250).",
        ),
        Reason::AtLimit => (
            Kind::Holds,
            "Raise the ceiling that the message names (`expansion.maxSize`, `limit`, `bounds.maxSize` of a ClusterStoragePolicy), or free space. Where the storage itself has refused more, give it more room.",
        ),
        Reason::BudgetExhausted => (
            Kind::Holds,
            "Find out why the volume grows so often, or raise `maxActionsPerDay`. It goes on when the oldest growth of the last 24 hours drops out. A rescue has a budget of its own: what did not help three times does not help.",
        ),
        Reason::BudgetReservedForEmergency => (
            Kind::Holds,
            "Wait, or raise `emergencyGrow.maxActionsPerDay`, or lower `reservedActionsForEmergency`. An emergency may still grow the volume.",
        ),
        Reason::ProviderLimit => (
            Kind::Holds,
            "Wait: the limit is the storage provider's. Larger steps (`step`, `percentage`) need fewer changes.",
        ),
        Reason::Cooldown => (
            Kind::Holds,
            "Wait, or lower `expansion.cooldownMinutes` (of WAL relief: `walCleanup.cooldownMinutes`). A volume that is about to fill meanwhile is given a runway.",
        ),
        Reason::FleetLimit => (
            Kind::Holds,
            "Wait until other resizes end. Where they are stuck, see those; where the storage can do more, raise `fleet.concurrentResizes` of the manager.",
        ),
        Reason::MaintenanceWindowClosed => (
            Kind::Holds,
            "Wait until it opens, or change `maintenanceWindow`. A volume that is about to fill meanwhile is given a runway.",
        ),
        Reason::WalRiskNotAcknowledged => (
            Kind::Holds,
            "Give the Cluster a `walStorage`, or set `walSafetyPolicy.acknowledgeWALRisk: true` to say that growth may hide WAL that piles up.",
        ),
        Reason::ArchiveUnhealthy => (
            Kind::Holds,
            "Repair WAL archiving: `kubectl cnpg status` and the log of the primary say what fails. WAL stays on the volume until it is archived, and growing it does not help for long.",
        ),
        Reason::TooManyPendingWalFiles => (
            Kind::Holds,
            "Repair or speed up WAL archiving (`maxParallel` of `wal` in the object store's settings), or raise `maxPendingWALFiles`.",
        ),
        Reason::SlotRetention => (
            Kind::Holds,
            "Start what reads from the slots that the message names, or drop them with `pg_drop_replication_slot`. PostgreSQL's `max_slot_wal_keep_size` bounds what a slot can hold back.",
        ),
        Reason::DryRun => (Kind::Holds, "Set `dryRun: false` once the decisions are what they should be."),

        Reason::MemberAboveLimit => (
            Kind::Warns,
            "Raise the ceiling to that size to have the other members grow to it; else nothing: the member is watched, and sizes nothing.",
        ),
        Reason::MemberNotObserved => (
            Kind::Warns,
            "See whether the pods of these instances run, and their nodes are ready.",
        ),
        Reason::WalHealthUnknown => (
            Kind::Warns,
            "See whether the primary runs and its metrics can be read: until then growth goes on without the checks of `walSafetyPolicy`.",
        ),
        Reason::FieldIgnored => (
            Kind::Warns,
            "Remove the fields that the message names, or set `model` of the volume to the one that is meant.",
        ),
        Reason::PauseUnreadable => (Kind::Warns, "Write \"true\" or \"false\", or remove the annotation."),
    };
    About { kind, remedy }
}
