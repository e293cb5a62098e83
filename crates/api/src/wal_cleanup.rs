//! The relief of one instance's WAL: what was asked, and what came of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vocabulary::vocabulary;
use crate::{Condition, ConditionStatus, Phase, StorageEventStatus, condition};

/// What is asked of a relief. Why, and by whom, say `trigger`, `reason` and `message` beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalCleanupSpec {
    /// The instance whose WAL is looked at; each has its own.
    #[schemars(length(min = 1, max = 253))]
    pub instance: String,
    /// List what may go, and change nothing: no checkpoint either. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// `walCleanup.retainCount`: so many of the newest completed segments stay.
    #[schemars(range(min = 1, max = 10_000))]
    pub retain_count: i32,
    /// `walCleanup.requireArchived`: nothing is removed where nothing archives. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_archived: Option<bool>,
    /// So many bytes are enough: nothing is removed where the checkpoint has freed them. Missing: whatever can go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub goal_bytes: Option<i64>,
}

vocabulary! {
    /// A rung of the ladder, in the order in which they are climbed.
    Rung {
        /// Who holds the WAL is read and named.
        Holders = "Holders",
        /// CHECKPOINT, after which the server recycles what nothing holds; at a standby a restartpoint.
        Checkpoint = "Checkpoint",
        /// The cutoff is proved, and what `pg_archivecleanup -n` lists is held against it file by file.
        DryRun = "DryRun",
        /// `pg_archivecleanup` up to the cutoff.
        Removal = "Removal",
        /// What is there now is read, and compared with what was there.
        Report = "Report",
    }
}
vocabulary! {
    /// How far a rung has come.
    RungResult {
        /// It is begun; written before anything is changed.
        Begun = "Begun",
        /// It is done.
        Done = "Done",
        /// Something speaks against it: it was not made.
        Refused = "Refused",
        /// It was tried and failed.
        Failed = "Failed",
        /// It was begun, and nobody was told how it ended: what is there was read again.
        Unknown = "Unknown",
        /// It was not needed, or not wanted.
        Skipped = "Skipped",
    }
}
vocabulary! {
    /// How a relief ended: the reason of its condition `Complete`.
    WalCleanupOutcome {
        /// WAL was freed.
        Relieved = "Relieved",
        /// Nothing could go: what is there is needed.
        NothingToFree = "NothingToFree",
        /// What may go was listed, as was asked.
        Listed = "Listed",
        /// There is no proof: nothing was removed.
        NotProved = "NotProved",
        /// A command failed, or could not be sent.
        CommandFailed = "CommandFailed",
        /// The instance went away, or took too long; what was found since stands in the report.
        Abandoned = "Abandoned",
        /// After the removal something below the cutoff was not archived: the archive may have a gap.
        ArchiveGap = "ArchiveGap",
    }
}

impl WalCleanupOutcome {
    /// The phase that it ends in.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self {
            Self::Relieved | Self::NothingToFree | Self::Listed => Phase::Completed,
            Self::NotProved | Self::CommandFailed | Self::Abandoned | Self::ArchiveGap => Phase::Failed,
        }
    }
}

vocabulary! {
    /// What holds WAL.
    WalHolder {
        /// It is not archived.
        Archive = "Archive",
        /// The instance that archives has not archived it.
        ArchiveElsewhere = "ArchiveElsewhere",
        /// A replication slot.
        Slot = "Slot",
        /// A standby that streams.
        Standby = "Standby",
        /// `wal_keep_size` promises it to standbys.
        WalKeepSize = "WalKeepSize",
        /// A file of another timeline lies there.
        OtherTimeline = "OtherTimeline",
        /// A partial file lies there.
        Partial = "Partial",
        /// `walCleanup.retainCount`.
        RetainCount = "RetainCount",
        /// Recovery from a crash begins there.
        Checkpoint = "Checkpoint",
    }
}
vocabulary! {
    /// What frees WAL for good, better than removing files.
    WalLever {
        /// Let archiving work again.
        RepairArchiving = "RepairArchiving",
        /// Drop a replication slot that nobody uses.
        DropSlot = "DropSlot",
        /// Limit what slots may hold.
        LimitSlots = "LimitSlots",
        /// Let a standby catch up.
        RepairStandby = "RepairStandby",
        /// Lower `wal_keep_size`.
        LowerWalKeepSize = "LowerWalKeepSize",
        /// Lower `max_wal_size` or `min_wal_size`.
        LowerMaxWalSize = "LowerMaxWalSize",
        /// Lower `walCleanup.retainCount`.
        LowerRetainCount = "LowerRetainCount",
        /// See why there is no proof.
        Evidence = "Evidence",
        /// Grow the volume.
        Grow = "Grow",
    }
}

/// What a relief found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalCleanupStatus {
    /// The rungs that were begun, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub rungs: Vec<RungStatus>,
    /// Who held WAL before anything was changed, who holds most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub holders: Vec<WalBound>,
    /// The cutoff, with what it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<WalProof>,
    /// What `pg_archivecleanup -n` listed, and the proof agreed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<WalFiles>,
    /// Segments that the removal removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_removed: Option<i32>,
    /// What the checkpoint and the removal freed in `pg_wal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space_freed_bytes: Option<i64>,
    /// The oldest segment that is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub oldest_retained: Option<String>,
    /// Who holds the rest, who holds most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub still_held_by: Vec<WalBound>,
    /// What a person can do about it, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub advice: Vec<WalAdvice>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<WalCleanupOutcome>,
}

/// A rung of the ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RungStatus {
    /// Which.
    pub rung: Rung,
    /// How far it has come.
    pub result: RungResult,
    /// When it was begun.
    pub started_at: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// What the segments in `pg_wal` took before, those made in advance counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_before: Option<i64>,
    /// What they took after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_after: Option<i64>,
    /// What is to be said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// What holds WAL, and from where on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalBound {
    /// What holds it.
    pub holder: WalHolder,
    /// The first segment that it needs.
    #[schemars(length(max = 24))]
    pub segment: String,
    /// In a sentence.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// A cutoff that is proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalProof {
    /// The first segment that stays.
    #[schemars(length(max = 24))]
    pub cutoff: String,
    /// When the evidence was read.
    pub at: Time,
    /// How many segments may go.
    pub removable: i32,
    /// The bounds that it is the lowest of, the lowest first.
    #[schemars(length(max = 32))]
    pub bounds: Vec<WalBound>,
    /// Bounds that are not listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_bounds: Option<i32>,
}

/// A list of files, by its ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalFiles {
    /// How many.
    pub count: i32,
    /// The first, by position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub first: Option<String>,
    /// The last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 24))]
    pub last: Option<String>,
}

/// What a person can do about what holds WAL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalAdvice {
    /// The lever.
    pub lever: WalLever,
    /// Why, in a sentence.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// What a person would run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub command: Option<String>,
}

impl StorageEventStatus {
    /// The status of a relief that has come so far: its phase, times and condition follow from `cleanup`.
    #[must_use]
    pub fn of_relief(cleanup: WalCleanupStatus, message: String, start: Time, now: Time) -> Self {
        let mut status = Self {
            phase: Some(Phase::InProgress),
            start_time: Some(start),
            ..Self::default()
        };
        if let Some(outcome) = cleanup.outcome {
            status.phase = Some(outcome.phase());
            status.completion_time = Some(now.clone());
            status.conditions = vec![Condition {
                type_: condition::COMPLETE.to_owned(),
                status: ConditionStatus::from(outcome.phase() == Phase::Completed),
                reason: outcome.to_string(),
                message,
                last_transition_time: now,
                observed_generation: None,
            }];
        }
        status.wal_cleanup = Some(cleanup);
        status
    }
}
