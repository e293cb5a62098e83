//! What one instance, and its Cluster, say of its WAL at one moment. Nothing is decided here, and nothing left out: what could
//! not be read is `None`, and stands for itself.

use std::sync::Arc;

use csm_units::Bytes;

use super::directory::Directory;
use super::lsn::Lsn;
use super::segment::{Segment, Timeline};

/// All that a proof rests on, of one instance at one moment. `None` is what is not known, and makes a refusal.
///
/// What moves is read in this order: checkpoint, slots, standbys and summaries, then the position, so that none of them is ahead of
/// it, then the directory, so that it has the files up to there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The timeline that is written, or replayed.
    pub timeline: Option<Timeline>,
    /// How far the WAL goes on this instance.
    pub position: Option<Position>,
    /// Its last completed checkpoint, or restartpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Every replication slot of this instance, those of others than standbys too.
    pub slots: Option<Vec<Slot>>,
    /// What the slots said before that checkpoint began. Without it, a slot that outlives a crash makes a refusal.
    pub slots_before: Option<EarlierSlots>,
    /// Who follows this instance, or would if it were promoted: see [`Standby`].
    pub standbys: Option<Vec<Standby>>,
    /// The setting `wal_keep_size`.
    pub wal_keep_size: Option<Bytes>,
    /// Base backups that are running: those in `pg_stat_progress_basebackup`, and those that the server does not list, which
    /// were begun with `pg_backup_start` (CloudNativePG's volume snapshots): see the Cluster's Backups.
    pub base_backups: Option<Vec<BaseBackup>>,
    /// How far WAL is summarised.
    pub summaries: Option<Summaries>,
    /// Who archives.
    pub archiving: Option<Archiving>,
    /// What lies in `pg_wal`; with the marks, where WAL is archived.
    pub directory: Option<Directory>,
}

/// How far the WAL goes on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// It writes.
    Primary {
        /// `pg_current_wal_lsn()`.
        written: Lsn,
    },
    /// It is in recovery (`pg_is_in_recovery()`).
    Standby {
        /// `pg_last_wal_receive_lsn()`; none where nothing was streamed since it was started.
        received: Option<Lsn>,
        /// `pg_last_wal_replay_lsn()`.
        replayed: Lsn,
        /// What it is fed by.
        feed: Feed,
    },
}

impl Position {
    /// The end of the WAL, from which the server counts `wal_keep_size` (`CreateRestartPoint`, xlog.c).
    #[must_use]
    pub fn end(self) -> Lsn {
        match self {
            Self::Primary { written } => written,
            Self::Standby { received, replayed, .. } => received.map_or(replayed, |received| received.max(replayed)),
        }
    }
}

/// What a standby gets its WAL from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feed {
    /// It streams (`pg_stat_wal_receiver`).
    Streams,
    /// It does not stream now; a slot for it holds on the instance that it should follow, and reserves WAL.
    Slot,
    /// It is meant not to stream: it follows an archive.
    Archive,
    /// It should stream, does not, and nothing holds for it what it needs next.
    Nothing,
}

/// The last checkpoint that was completed on an instance; in recovery, restartpoint (`pg_control_checkpoint()`). Recovery from a
/// crash begins at its redo position and reads on to the end, nothing before: transactions that were prepared earlier have
/// been written to files (`CheckPointTwoPhase`, src/backend/access/transam/twophase.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// `redo_lsn`.
    pub redo: Lsn,
    /// `timeline_id`.
    pub timeline: Timeline,
    /// `redo_wal_file`: says the same once more, by the server's own segment size.
    pub file: Segment,
}

/// What reads through a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlotKind {
    /// A standby, or a receiver of WAL.
    Physical,
    /// A subscription, or another consumer of logical decoding.
    Logical,
}

impl SlotKind {
    /// Its name, as in `slot_type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Physical => "physical",
            Self::Logical => "logical",
        }
    }
}

/// A replication slot (`pg_replication_slots`). Inactive ones count like active ones; `max_slot_wal_keep_size` and
/// `wal_status: unreserved` do not make a slot's WAL removable here, though they do at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// `slot_name`.
    pub name: Arc<str>,
    /// `slot_type`.
    pub kind: SlotKind,
    /// `active`.
    pub active: bool,
    /// `temporary`: gone after a crash.
    pub temporary: bool,
    /// `restart_lsn`.
    pub restart_lsn: Option<Lsn>,
    /// `wal_status` is `lost`: it was invalidated, can never be used again, and holds nothing.
    pub lost: bool,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reserved {
    /// Nothing: it is lost, or never held anything.
    Nothing,
    /// All from here.
    From(Lsn),
    /// Nobody can say.
    Unknown,
}

impl Slot {
    /// What it holds. `restart_lsn` is empty in a slot that never reserved WAL (PostgreSQL documentation, pg_replication_slots);
    /// one that is in use, or a logical one, is about to.
    pub(super) fn reserves(&self) -> Reserved {
        match self.restart_lsn {
            _ if self.lost && !self.active => Reserved::Nothing,
            Some(restart) => Reserved::From(restart),
            None if self.kind == SlotKind::Physical && !self.active => Reserved::Nothing,
            None => Reserved::Unknown,
        }
    }
}

/// What slots said earlier, before the last completed checkpoint began: that one has written at least this to disk
/// (`CheckPointReplicationSlots`, src/backend/replication/slot.c). What a slot says now is in memory; after a crash it is back at
/// what is on disk, and needs WAL from there. The server heeds it as well: PostgreSQL 18 goes by what was saved
/// (`last_saved_restart_lsn`, slot.c, commit ca307d5cec90), the minor releases of that time by what slots said when the checkpoint began.
///
/// Both readings are made in **one session**, which does not outlive a crash: a crash between them would have taken slots back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EarlierSlots {
    /// [`Position::end`] just **after** they were read, so that a checkpoint from there on began later; on a primary
    /// `pg_current_wal_insert_lsn()`.
    pub end: Lsn,
    /// `slot_name` and `restart_lsn` of each.
    pub slots: Vec<(Arc<str>, Option<Lsn>)>,
    /// CHECKPOINT was run after that, and succeeded.
    pub checkpointed: bool,
}

impl EarlierSlots {
    /// What is on disk of this slot for certain, or further back; none where that cannot be said.
    pub(super) fn saved(&self, slot: &str, checkpoint: &Checkpoint, position: Position) -> Option<Lsn> {
        let began_later = match position {
            // An idle server: a checkpoint that was under way when they were read would have the same redo position. One that is
            // asked for waits for it, and then begins.
            Position::Primary { .. } if checkpoint.redo == self.end => self.checkpointed,
            // A restartpoint is made of a checkpoint's record that was replayed, which is further on than its redo position.
            Position::Primary { .. } | Position::Standby { .. } => checkpoint.redo >= self.end,
        };
        let (_, restart) = self.slots.iter().find(|(name, _)| **name == *slot)?;
        restart.filter(|_| began_later)
    }
}

/// Who follows this instance or would if it were promoted: every other instance of the Cluster save its primary, and everyone
/// in `pg_stat_replication`, base backups excepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Standby {
    /// The instance, or `application_name`.
    pub name: Arc<str>,
    /// It streams, from this instance or from the one that both follow.
    pub streams: bool,
    /// The `flush_lsn` that its upstream has of it. It asks for that segment, from its beginning, when it comes back
    /// (`RequestXLogStreaming`, src/backend/replication/walreceiverfuncs.c).
    pub flushed: Option<Lsn>,
    /// Its slot on **this** instance.
    pub slot: Option<Arc<str>>,
}

/// A base backup that is running. It needs all WAL from its start on until it ends, and in the archive after that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BaseBackup {
    /// What it is known by: its Backup, its application or its process.
    pub name: Arc<str>,
    /// Where it began, where that is known.
    pub start: Option<Lsn>,
}

/// How far WAL is summarised for incremental backups (`summarize_wal`, PostgreSQL 17 and later). A gap in the summaries makes
/// the next incremental backup fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Summaries {
    /// Not at all: `summarize_wal` is off, or there is no such thing.
    Off,
    /// Up to here (`pg_get_wal_summarizer_state()`).
    UpTo {
        /// `summarized_lsn`.
        lsn: Lsn,
        /// `summarized_tli`.
        timeline: Timeline,
    },
}

/// Who archives the WAL that this instance has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Archiving {
    /// Nobody: `archive_mode` is off, or its command stores nothing. CloudNativePG archives with a command that stores nothing
    /// where a Cluster has no backup configured, and marks all as done (`internalRun`, pkg/management/postgres/archiver).
    Off,
    /// This instance: its marks say what is archived. A primary; the designated primary of a replica cluster. What it was sent while
    /// it was a standby is marked as done as well, and is of an earlier timeline: none of that is ever removed.
    Own,
    /// Another one. A standby marks what it receives as done, archived or not (`XLogWalRcvClose`,
    /// src/backend/replication/walreceiver.c), and CloudNativePG's standbys in a replica cluster store nothing: their marks prove
    /// nothing. A segment that the other one has not archived yet may be lost with it; this copy is then the only one.
    Elsewhere {
        /// The first segment that the other one has not archived; at the latest the one that it is writing.
        unarchived: Segment,
    },
}
