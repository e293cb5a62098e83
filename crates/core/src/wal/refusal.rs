//! Why there is no cutoff.

use std::sync::Arc;

use thiserror::Error;

use super::evidence::SlotKind;
use super::lsn::Lsn;
use super::segment::{Segment, Timeline};

/// Why nothing may be removed from an instance's `pg_wal`. The text says what is wrong; [`Refusal::remedy`] what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A part of the evidence is missing.
    #[error("{} is not known", .0.phrase())]
    Missing(Part),
    /// Two parts of the evidence cannot both be true.
    #[error("the evidence contradicts itself: {0}")]
    Inconsistent(Contradiction),
    /// A name that `pg_archivecleanup` takes for a segment, and that is none.
    #[error("{name} in pg_wal looks like a segment and is none with segments of this size")]
    MalformedFile {
        /// The name.
        name: Arc<str>,
    },
    /// A segment that recovery from a crash needs has no file.
    #[error("{segment} has no file, and recovery from a crash would read it: it lies between the last checkpoint and the end of the WAL")]
    SegmentMissing {
        /// The segment.
        segment: Segment,
    },
    /// The instance was promoted, or follows a promotion, and has completed no checkpoint since.
    #[error(
        "the last completed checkpoint is of timeline {checkpoint}, and timeline {current} is written: recovery from a crash needs both"
    )]
    CheckpointOfAnotherTimeline {
        /// The checkpoint's.
        checkpoint: Timeline,
        /// The instance's.
        current: Timeline,
    },
    /// A base backup is running.
    #[error("base backup {name} is running{}; it needs all WAL since its start", from(.start.as_ref()))]
    BaseBackupRunning {
        /// What it is known by.
        name: Arc<str>,
        /// Where it began, where that is known.
        start: Option<Lsn>,
    },
    /// The instance is a standby that follows nobody.
    #[error("this instance is a standby, does not stream, and no slot holds for it what it needs next")]
    NotFollowing,
    /// A standby is not connected and has no slot: nobody knows what it needs.
    #[error("standby {name} is not connected and has no replication slot that holds WAL here: what it needs is not known")]
    StandbyUnprotected {
        /// Its name.
        name: Arc<str>,
    },
    /// A standby is connected and has not said how far it is.
    #[error("standby {name} is connected, has not said what it has on disk, and has no replication slot that holds WAL here")]
    StandbyPositionUnknown {
        /// Its name.
        name: Arc<str>,
    },
    /// A slot does not say what it needs.
    #[error("{} replication slot \"{name}\" ({}) has no restart_lsn: what it needs is not known", .kind.as_str(), activity(*.active))]
    SlotWithoutPosition {
        /// Its name.
        name: Arc<str>,
        /// Its kind.
        kind: SlotKind,
        /// Whether it is in use.
        active: bool,
    },
    /// What a slot has on disk is not known.
    #[error(
        "replication slot \"{name}\" needs WAL from {restart} on, and after a crash from further back: no checkpoint since it was first read"
    )]
    SlotNotSaved {
        /// Its name.
        name: Arc<str>,
        /// What it says now.
        restart: Lsn,
    },
    /// WAL summaries have not reached the last checkpoint.
    #[error("WAL is summarised up to {upto} of timeline {timeline} only, and the last checkpoint is at {redo}")]
    SummariesBehind {
        /// Up to here.
        upto: Lsn,
        /// On this timeline.
        timeline: Timeline,
        /// The redo position of the last checkpoint.
        redo: Lsn,
    },
    /// Nothing archives, and the policy wants what is removed to be archived.
    #[error("WAL is not archived, and walCleanup.requireArchived is true")]
    ArchivingNotConfigured,
    /// Who archives is on another timeline.
    #[error("the instance that archives is at {unarchived}, and this one is on timeline {current}")]
    ArchivedOnAnotherTimeline {
        /// The first segment that it has not archived.
        unarchived: Segment,
        /// The timeline of this instance.
        current: Timeline,
    },
}

/// A part of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The timeline.
    Timeline,
    /// How far the WAL goes.
    Position,
    /// The last completed checkpoint.
    Checkpoint,
    /// The replication slots.
    Slots,
    /// The standbys.
    Standbys,
    /// `wal_keep_size`.
    WalKeepSize,
    /// Base backups.
    BaseBackups,
    /// WAL summaries.
    Summaries,
    /// Who archives.
    Archiving,
    /// The files in `pg_wal`.
    Directory,
    /// The marks in `archive_status`.
    ArchiveStatus,
}

impl Part {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeline => "Timeline",
            Self::Position => "Position",
            Self::Checkpoint => "Checkpoint",
            Self::Slots => "Slots",
            Self::Standbys => "Standbys",
            Self::WalKeepSize => "WalKeepSize",
            Self::BaseBackups => "BaseBackups",
            Self::Summaries => "Summaries",
            Self::Archiving => "Archiving",
            Self::Directory => "Directory",
            Self::ArchiveStatus => "ArchiveStatus",
        }
    }

    /// As it stands before "is not known".
    const fn phrase(self) -> &'static str {
        match self {
            Self::Timeline => "the timeline of the instance",
            Self::Position => "how far the WAL of the instance goes",
            Self::Checkpoint => "the last completed checkpoint (pg_control_checkpoint)",
            Self::Slots => "the list of replication slots (pg_replication_slots)",
            Self::Standbys => "the list of standbys (the Cluster's instances and pg_stat_replication)",
            Self::WalKeepSize => "wal_keep_size",
            Self::BaseBackups => "whether a base backup is running",
            Self::Summaries => "how far WAL is summarised (pg_get_wal_summarizer_state)",
            Self::Archiving => "whether and by whom WAL is archived",
            Self::Directory => "what lies in pg_wal (pg_ls_waldir)",
            Self::ArchiveStatus => "what is archived (pg_ls_archive_statusdir)",
        }
    }
}

/// Two parts of the evidence that cannot both be true: they are of different moments, or one was misread.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Contradiction {
    /// Segments of two sizes.
    #[error("{segment} was read with segments of another size than those of pg_wal")]
    SegmentSize {
        /// One of the others.
        segment: Segment,
    },
    /// The server names another file for the redo position than follows from the segment size.
    #[error("the last checkpoint's redo position {redo} is in {expected}, and the server says {file}")]
    RedoFile {
        /// The redo position.
        redo: Lsn,
        /// Where it is by the segment size and timeline.
        expected: Segment,
        /// What the server says.
        file: Segment,
    },
    /// The last checkpoint is after the end of the WAL.
    #[error("the last checkpoint's redo position {redo} is after the end of the WAL, {end}")]
    RedoAfterEnd {
        /// The redo position.
        redo: Lsn,
        /// The end of the WAL.
        end: Lsn,
    },
    /// A slot is after the end of the WAL.
    #[error("replication slot \"{name}\" is at {restart}, after the end of the WAL, {end}")]
    SlotAfterEnd {
        /// Its name.
        name: Arc<str>,
        /// Its `restart_lsn`.
        restart: Lsn,
        /// The end of the WAL.
        end: Lsn,
    },
    /// A standby is after the end of the primary's WAL.
    #[error("standby {name} has WAL up to {flushed}, after the end of the primary's, {end}")]
    StandbyAfterEnd {
        /// Its name.
        name: Arc<str>,
        /// What it has on disk.
        flushed: Lsn,
        /// The end of the WAL.
        end: Lsn,
    },
    /// Summaries are after the end of the WAL.
    #[error("WAL is summarised up to {upto}, after the end of the WAL, {end}")]
    SummariesAfterEnd {
        /// Up to here.
        upto: Lsn,
        /// The end of the WAL.
        end: Lsn,
    },
}

impl Contradiction {
    /// Its name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::SegmentSize { .. } => "SegmentSize",
            Self::RedoFile { .. } => "RedoFile",
            Self::RedoAfterEnd { .. } => "RedoAfterEnd",
            Self::SlotAfterEnd { .. } => "SlotAfterEnd",
            Self::StandbyAfterEnd { .. } => "StandbyAfterEnd",
            Self::SummariesAfterEnd { .. } => "SummariesAfterEnd",
        }
    }
}

impl Refusal {
    /// Its name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Missing(_) => "Missing",
            Self::Inconsistent(_) => "Inconsistent",
            Self::MalformedFile { .. } => "MalformedFile",
            Self::SegmentMissing { .. } => "SegmentMissing",
            Self::CheckpointOfAnotherTimeline { .. } => "CheckpointOfAnotherTimeline",
            Self::BaseBackupRunning { .. } => "BaseBackupRunning",
            Self::NotFollowing => "NotFollowing",
            Self::StandbyUnprotected { .. } => "StandbyUnprotected",
            Self::StandbyPositionUnknown { .. } => "StandbyPositionUnknown",
            Self::SlotWithoutPosition { .. } => "SlotWithoutPosition",
            Self::SlotNotSaved { .. } => "SlotNotSaved",
            Self::SummariesBehind { .. } => "SummariesBehind",
            Self::ArchivingNotConfigured => "ArchivingNotConfigured",
            Self::ArchivedOnAnotherTimeline { .. } => "ArchivedOnAnotherTimeline",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Missing(_) => {
                "see why it could not be read (the manager's log, its permission for pods/exec); nothing is removed until it is known"
            }
            Self::Inconsistent(_) => {
                "it is read again at the next try; if it stays so, look at the instance by hand before anything is removed"
            }
            Self::MalformedFile { .. } => {
                "find out who put it there and move it out of pg_wal; compare wal_segment_size with `SHOW wal_segment_size`"
            }
            Self::SegmentMissing { .. } => {
                "remove nothing and do not restart the instance: make a base backup of it, or let a healthy standby take over"
            }
            Self::CheckpointOfAnotherTimeline { .. } => "run CHECKPOINT on the primary; a standby follows with its next restartpoint",
            Self::BaseBackupRunning { .. } => "wait until it ends, or cancel it",
            Self::NotFollowing => {
                "look at why it does not stream (pg_stat_wal_receiver, its log); if it cannot catch up, let it be made anew"
            }
            Self::StandbyUnprotected { .. } => {
                "bring it back, or delete the instance if it is not coming back; spec.replicationSlots.highAvailability gives each instance a slot"
            }
            Self::StandbyPositionUnknown { .. } => "wait until it reports (wal_receiver_status_interval), or give it a replication slot",
            Self::SlotWithoutPosition { .. } => "wait until it is created; drop it (pg_drop_replication_slot) if nobody uses it",
            Self::SlotNotSaved { .. } => "run CHECKPOINT, for a standby on the primary first and then on itself, and try again",
            Self::SummariesBehind { .. } => {
                "wait for the WAL summarizer, or look at why it does not go on (its log lines); setting summarize_wal to off gives up incremental backups"
            }
            Self::ArchivingNotConfigured => {
                "configure WAL archiving, or set walCleanup.requireArchived to false if no recovery to a point in time is wanted"
            }
            Self::ArchivedOnAnotherTimeline { .. } => "wait until the instance follows the primary's timeline",
        }
    }
}

fn from(start: Option<&Lsn>) -> String {
    start.map_or_else(String::new, |start| format!(" from {start} on"))
}

const fn activity(active: bool) -> &'static str {
    if active { "in use" } else { "not in use" }
}
