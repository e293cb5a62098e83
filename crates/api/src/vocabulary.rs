//! The small closed vocabularies that status, metrics, logs and commands share.

use serde::{Deserialize, Serialize};

use crate::Reason;

macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[doc = $doc])+ #[serde(rename = $text)] $variant),+ }
        impl $name {
            /// Every value, in the order of the definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The text form, as in status, metrics and commands.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $text),+ } }
            /// What it means, as it is documented.
            #[must_use]
            pub const fn meaning(self) -> &'static str { match self { $(Self::$variant => concat!($($doc),+).trim_ascii()),+ } }
        }
        // By hand: schemars would write a oneOf of constants, which is no structural schema.
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }
            fn inline_schema() -> bool { true }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "enum": Self::ALL})
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.as_str()) }
        }
    };
}
pub(crate) use vocabulary;

vocabulary! {
    /// What a volume holds.
    Role {
        /// PGDATA.
        Data = "data",
        /// The separate WAL volume.
        Wal = "wal",
        /// A tablespace; its name stands beside the role.
        Tablespace = "tablespace",
    }
}
vocabulary! {
    /// How a volume is sized.
    Model {
        /// By a share of its size, once percent used reaches `thresholds.expansion`.
        Thresholds = "Thresholds",
        /// In bounded steps, when a trigger fires.
        Resize = "Resize",
        /// Towards a share of free space, between a floor and a ceiling (`request`, `limit`).
        Target = "Target",
    }
}
vocabulary! {
    /// What a growth changes.
    ApplyTo {
        /// The requests of the PVCs, and nothing else.
        PersistentVolumeClaims = "PersistentVolumeClaims",
        /// The size in the Cluster's spec as well, once the growth is verified.
        ClusterSpec = "ClusterSpec",
    }
}
vocabulary! {
    /// What the triggers of the resize model look at.
    Mode {
        /// Figures as they are.
        Standard = "Standard",
        /// The forecast as well.
        Predictive = "Predictive",
    }
}
vocabulary! {
    /// What the planner decided for a volume.
    Verdict {
        /// Nothing is wanted.
        Balanced = "Balanced",
        /// All members grow.
        Grow = "Grow",
        /// Members smaller than the volume grow to its size.
        CatchUp = "CatchUp",
        /// All members grow, so that an instance that is down because its disk is full can start again.
        Rescue = "Rescue",
        /// Something is wanted, or could be, and a gate holds it.
        Hold = "Hold",
    }
}
vocabulary! {
    /// How pressing a wanted growth is.
    Urgency {
        /// An instance is down because the volume is full.
        Rescue = "rescue",
        /// The volume is about to fill: gates that only pace growth do not hold it.
        Emergency = "emergency",
        /// A planned growth is held, and the volume is about to fill in the meantime.
        Runway = "runway",
        /// In the normal course of things.
        Planned = "planned",
        /// A member is smaller than its volume.
        CatchUp = "catch-up",
    }
}
vocabulary! {
    /// The state of a volume, for people.
    State {
        /// No policy manages it.
        Unmanaged = "Unmanaged",
        /// A person paused the Cluster.
        Paused = "Paused",
        /// A growth is under way.
        Resizing = "Resizing",
        /// An emergency, a runway or a rescue is decided, or held.
        Emergency = "Emergency",
        /// It would grow, were it not a dry run.
        DryRun = "DryRun",
        /// It has reached its ceiling.
        AtLimit = "AtLimit",
        /// A growth waits for the maintenance window.
        PendingGrowth = "PendingGrowth",
        /// There are no figures to decide on.
        WaitingForDiskStatus = "WaitingForDiskStatus",
        /// A gate holds it, or a resize is stuck.
        Blocked = "Blocked",
        /// A growth was decided.
        NeedsGrow = "NeedsGrow",
        /// All is well.
        Balanced = "Balanced",
    }
}
vocabulary! {
    /// What a StorageEvent records.
    EventType {
        /// Growth of a volume.
        Expansion = "expansion",
        /// Growth of a volume that was full, so that an instance can start again.
        Rescue = "rescue",
        /// WAL was removed.
        WalCleanup = "wal-cleanup",
        /// An alert fired.
        Alert = "alert",
        /// A circuit breaker opened or closed.
        CircuitBreaker = "circuit-breaker",
    }
}
vocabulary! {
    /// Why an operation was begun.
    Trigger {
        /// A threshold was passed (planned).
        ThresholdBreach = "threshold-breach",
        /// Planned, in a maintenance window.
        Scheduled = "scheduled",
        /// The forecast said so (planned).
        Forecast = "forecast",
        /// An emergency, a runway or a rescue.
        Emergency = "emergency",
        /// A member was smaller than its volume.
        CatchUp = "catch-up",
        /// A person asked for it.
        Manual = "manual",
    }
}

impl Trigger {
    /// What a growth is recorded as; `windowed`: a planned one in a maintenance window.
    #[must_use]
    pub fn of(urgency: Urgency, reason: Reason, windowed: bool) -> Self {
        match urgency {
            Urgency::Rescue | Urgency::Emergency | Urgency::Runway => Self::Emergency,
            Urgency::CatchUp => Self::CatchUp,
            Urgency::Planned if reason == Reason::TimeToFull => Self::Forecast,
            Urgency::Planned if windowed => Self::Scheduled,
            Urgency::Planned => Self::ThresholdBreach,
        }
    }
}

impl Urgency {
    /// How pressing a growth was that is recorded so; `reason` is none where it is not known.
    #[must_use]
    pub fn of(trigger: Trigger, reason: Option<Reason>) -> Self {
        match (trigger, reason) {
            (Trigger::CatchUp, _) => Self::CatchUp,
            (Trigger::Emergency, Some(Reason::DiskFull)) => Self::Rescue,
            (Trigger::Emergency, Some(Reason::Runway)) => Self::Runway,
            (Trigger::Emergency, _) => Self::Emergency,
            (Trigger::ThresholdBreach | Trigger::Scheduled | Trigger::Forecast | Trigger::Manual, _) => Self::Planned,
        }
    }
}

vocabulary! {
    /// State of a circuit breaker.
    BreakerState {
        /// Growth goes on.
        Closed = "Closed",
        /// Too many growths failed in a row: none is tried but a rescue.
        Open = "Open",
        /// One growth may be tried.
        HalfOpen = "HalfOpen",
    }
}
vocabulary! {
    /// Whose growths a circuit breaker counts, and holds.
    BreakerScope {
        /// Those of one Cluster.
        PerCluster = "per-cluster",
        /// Those of all Clusters.
        Global = "global",
    }
}
vocabulary! {
    /// Why a volume fills.
    CauseKind {
        /// WAL cannot be archived: every segment waits.
        ArchiverFailing = "ArchiverFailing",
        /// WAL is archived, more slowly than it is written.
        ArchiverSlow = "ArchiverSlow",
        /// A replication slot that nobody reads from holds WAL back.
        InactiveSlot = "InactiveSlot",
        /// A standby, or another reader, is behind.
        LaggingStandby = "LaggingStandby",
        /// A setting keeps more WAL than the volume has room for.
        WalSettingsTooBig = "WalSettingsTooBig",
        /// A base backup runs, and what is written meanwhile stays.
        BaseBackupRunning = "BaseBackupRunning",
        /// The databases grow, or a load writes WAL.
        DataGrowth = "DataGrowth",
        /// Files that belong to no database: temporary ones of large sorts and hashes.
        TempFiles = "TempFiles",
        /// The filesystem is not the volume's own: others fill it.
        SharedFilesystem = "SharedFilesystem",
        /// Nothing that is known shows why.
        Unknown = "Unknown",
    }
}
