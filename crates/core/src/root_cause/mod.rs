//! Why a volume fills: what is known of it, and the causes that this shows, the strongest first.

mod causes;
mod facts;
mod told;

use std::sync::Arc;

use csm_api::CauseKind;
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

pub use causes::{causes, significant};
pub use facts::{ArchivingFacts, Facts, Given, SlotFacts, StandbyFacts, WalSettings};
pub use told::to_tell;

/// Why a volume fills, with what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// WAL cannot be archived: every segment waits.
    ArchiverFailing {
        /// Segments that wait.
        waiting: u64,
        /// What they take.
        held: Bytes,
        /// The last one that was archived; none: none ever was.
        last_archived: Option<Timestamp>,
        /// The last failure.
        last_failed: Timestamp,
    },
    /// WAL is archived, more slowly than it is written.
    ArchiverSlow {
        /// Segments that wait.
        waiting: u64,
        /// What they take.
        held: Bytes,
        /// Written in a second.
        written: Bytes,
        /// Archived in a second.
        archived: Bytes,
    },
    /// A replication slot that nobody reads from holds WAL back.
    InactiveSlot {
        /// Its name.
        slot: Arc<str>,
        /// What it holds.
        held: Bytes,
        /// When somebody read from it last, where that is known.
        since: Option<Timestamp>,
    },
    /// A standby, or another reader, is behind.
    LaggingStandby {
        /// Its name, or that of its slot.
        standby: Arc<str>,
        /// By how much.
        held: Bytes,
    },
    /// A setting keeps more WAL than the volume has room for.
    WalSettingsTooBig {
        /// Which.
        setting: WalSetting,
        /// What it is set to.
        value: Bytes,
        /// How much of `pg_wal` it accounts for.
        held: Bytes,
        /// The size of the volume.
        volume: Bytes,
    },
    /// A base backup runs, and what is written meanwhile stays.
    BaseBackupRunning {
        /// Since when.
        since: Timestamp,
        /// What was written since, about.
        held: Bytes,
    },
    /// The databases grow, or a load writes WAL.
    DataGrowth {
        /// By so much.
        grown: Bytes,
        /// In this time.
        over: SignedDuration,
        /// It is WAL that is written, of a volume that holds WAL alone.
        as_wal: bool,
    },
    /// Files that belong to no database: temporary ones of large sorts and hashes.
    TempFiles {
        /// How much came of them, or, of ones that are gone again, went through them.
        grown: Bytes,
        /// In this time.
        over: SignedDuration,
        /// PostgreSQL counted them; else it is what nothing else explains.
        counted: bool,
    },
    /// The filesystem is not the volume's own: others fill it.
    SharedFilesystem {
        /// Its size.
        filesystem: Bytes,
        /// The volume's.
        volume: Bytes,
    },
    /// Nothing that is known shows why.
    Unknown {
        /// What is not known; empty: everything is, and nothing stands out.
        missing: Vec<Missing>,
    },
}

impl Cause {
    /// What it is, without what shows it.
    #[must_use]
    pub const fn kind(&self) -> CauseKind {
        match self {
            Self::ArchiverFailing { .. } => CauseKind::ArchiverFailing,
            Self::ArchiverSlow { .. } => CauseKind::ArchiverSlow,
            Self::InactiveSlot { .. } => CauseKind::InactiveSlot,
            Self::LaggingStandby { .. } => CauseKind::LaggingStandby,
            Self::WalSettingsTooBig { .. } => CauseKind::WalSettingsTooBig,
            Self::BaseBackupRunning { .. } => CauseKind::BaseBackupRunning,
            Self::DataGrowth { .. } => CauseKind::DataGrowth,
            Self::TempFiles { .. } => CauseKind::TempFiles,
            Self::SharedFilesystem { .. } => CauseKind::SharedFilesystem,
            Self::Unknown { .. } => CauseKind::Unknown,
        }
    }

    /// Its name, as status and Events say it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        self.kind().as_str()
    }

    /// The replication slot, the standby or the setting that it is.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::InactiveSlot { slot: name, .. } | Self::LaggingStandby { standby: name, .. } => Some(name),
            Self::WalSettingsTooBig { setting, .. } => Some(setting.as_str()),
            Self::ArchiverFailing { .. }
            | Self::ArchiverSlow { .. }
            | Self::BaseBackupRunning { .. }
            | Self::DataGrowth { .. }
            | Self::TempFiles { .. }
            | Self::SharedFilesystem { .. }
            | Self::Unknown { .. } => None,
        }
    }

    /// The bytes that show it.
    #[must_use]
    pub const fn bytes(&self) -> Bytes {
        match self {
            Self::DataGrowth { grown, .. } => *grown,
            Self::SharedFilesystem { filesystem, .. } => *filesystem,
            other => other.weight(),
        }
    }

    /// Whether it fills a volume of this size by itself, however little is used of that yet: what holds WAL back for ever, a setting
    /// that keeps more than there is room for, and growth that counts. So nobody waits for the volume to be full before he is told.
    #[must_use]
    pub fn fills(&self, volume: Bytes) -> bool {
        match self {
            Self::ArchiverFailing { .. } | Self::InactiveSlot { .. } | Self::LaggingStandby { .. } => true,
            Self::WalSettingsTooBig { value, .. } => *value >= volume,
            Self::DataGrowth { grown, as_wal: false, .. } | Self::TempFiles { grown, counted: false, .. } => *grown >= significant(volume),
            // WAL that is written is used again, and files that are counted are gone again.
            Self::DataGrowth { .. }
            | Self::TempFiles { .. }
            | Self::ArchiverSlow { .. }
            | Self::BaseBackupRunning { .. }
            | Self::SharedFilesystem { .. }
            | Self::Unknown { .. } => false,
        }
    }

    /// How much of what is used it accounts for: the more, the stronger it is.
    #[must_use]
    pub const fn weight(&self) -> Bytes {
        match self {
            Self::ArchiverFailing { held, .. }
            | Self::ArchiverSlow { held, .. }
            | Self::InactiveSlot { held, .. }
            | Self::LaggingStandby { held, .. }
            | Self::WalSettingsTooBig { held, .. }
            | Self::BaseBackupRunning { held, .. } => *held,
            // What is only written is held by nothing.
            Self::DataGrowth { as_wal: true, .. } | Self::Unknown { .. } => Bytes::ZERO,
            Self::DataGrowth { grown, .. } | Self::TempFiles { grown, .. } => *grown,
            Self::SharedFilesystem { .. } => Bytes::MAX,
        }
    }
}

/// A setting of PostgreSQL's that keeps WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalSetting {
    /// `wal_keep_size`: kept for standbys, always.
    WalKeepSize,
    /// `max_wal_size`: written between two checkpoints.
    MaxWalSize,
    /// `min_wal_size`: kept for later use.
    MinWalSize,
}

impl WalSetting {
    /// As PostgreSQL calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WalKeepSize => "wal_keep_size",
            Self::MaxWalSize => "max_wal_size",
            Self::MinWalSize => "min_wal_size",
        }
    }
}

/// What is not known, and could show the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Missing {
    /// How archiving does.
    Archiving,
    /// The replication slots.
    Slots,
    /// The standbys.
    Standbys,
    /// The settings that keep WAL.
    WalSettings,
    /// Whether a base backup runs.
    BaseBackups,
    /// How large `pg_wal` is.
    WalSize,
    /// How the databases grew.
    Databases,
    /// How what is used changed.
    Usage,
}

impl Missing {
    /// In a few words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Archiving => "how WAL archiving does",
            Self::Slots => "the replication slots",
            Self::Standbys => "how far the standbys are",
            Self::WalSettings => "the settings that keep WAL",
            Self::BaseBackups => "whether a base backup runs",
            Self::WalSize => "the size of pg_wal",
            Self::Databases => "how much the databases grew",
            Self::Usage => "how much the volume filled in the last minutes",
        }
    }
}
