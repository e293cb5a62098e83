//! The relief of one instance's WAL, rung by rung: who holds it is named, a checkpoint lets the server recycle what nothing
//! holds, `pg_archivecleanup` removes what is proved to be needed by nobody ([`crate::wal`]), and a report says what is left.
//!
//! A [`Run`] is pure. It says what is to be done ([`Run::step`]), is told what came of it ([`Run::take`]), and is asked again; it
//! never does two things at once. Its journal is the status of its StorageEvent: a rung that changes something is written
//! down as begun **before** it is begun, and a removal that is not written down is not made.
//!
//! A run that is taken up after a restart rests on what is there, not on what its journal remembers: all is read anew, and a
//! proof of before counts for nothing. Where the journal says that a removal was begun, it is not made again: what is there
//! now is compared with what was listed, and the report says how far it got. So no run makes two removals.
//!
//! What carries it out (a task for each Cluster and instance, so that no growth waits for it) holds the lease for each
//! command (`LeaderGuard`) and drops the run when it has lost it: whoever has it then takes the run up from its journal.
//! Commands are rate-limited. The permission for them (`get` and `create` on `pods/exec`) is granted only where
//! `walCleanup` is wanted; without it the run ends with [`csm_api::WalCleanupOutcome::CommandFailed`] and says so.

mod advice;
mod journal;
mod permission;
mod run;
mod verdict;

use std::sync::Arc;

use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::wal::{Evidence, Rules, Segment};

pub use permission::permission;
pub use run::Run;

/// A run that has taken longer ends: a checkpoint that is spread out takes `checkpoint_timeout` (5 min) at most, one that is asked
/// for less, and every command has a time-out of its own. What it rests on is older than anybody should act on.
pub const LIMIT: SignedDuration = SignedDuration::from_mins(15);

/// How often a write of the journal is tried.
const TRIES: u8 = 3;

/// What is asked of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The namespace of the Cluster.
    pub namespace: Arc<str>,
    /// Its name.
    pub cluster: Arc<str>,
    /// The instance.
    pub instance: Arc<str>,
    /// What the policy asks for.
    pub rules: Rules,
    /// So many bytes are enough: nothing is removed where the checkpoint has freed them.
    pub goal: Option<Bytes>,
    /// List what may go, and change nothing.
    pub dry_run: bool,
    /// When the run was begun, by its journal: not when it was taken up.
    pub started: Timestamp,
}

/// What an instance says at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What a proof rests on.
    pub evidence: Evidence,
    /// `max_wal_size`.
    pub max_wal_size: Option<Bytes>,
    /// `max_slot_wal_keep_size`.
    pub slot_limit: Option<SlotLimit>,
}

/// `max_slot_wal_keep_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotLimit {
    /// -1: slots hold as much as they like.
    Unlimited,
    /// So much.
    Of(Bytes),
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Read what the instance and its Cluster say now.
    Read,
    /// Write this as the status of the StorageEvent.
    Record(Box<csm_api::StorageEventStatus>),
    /// On the instance itself, in one session: read the slots, run CHECKPOINT, read all. On a standby CHECKPOINT makes a
    /// restartpoint of the newest checkpoint that it has replayed, and writes no WAL.
    Checkpoint,
    /// `pg_archivecleanup -n`.
    DryRun {
        /// Its argument.
        cutoff: Segment,
    },
    /// `pg_archivecleanup`, behind the test of the archive's marks in the same command.
    Remove(Removal),
    /// It is over; the status says it, unless it could not be written.
    Finished(csm_api::WalCleanupOutcome),
}

/// A removal that was proved, listed and agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The first segment that stays.
    pub cutoff: Segment,
    /// The first segment that goes.
    pub first: Segment,
    /// No more than so many go.
    pub count: usize,
    /// Each that goes has a `.done` mark and no `.ready` mark, and none below the cutoff waits: the command sees to it itself.
    pub archived: bool,
}

/// What came of what was to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The status is written.
    Recorded,
    /// What was read, also after a checkpoint: with [`crate::wal::EarlierSlots`] then.
    Read(Box<Reading>),
    /// What `pg_archivecleanup -n` printed.
    Listed(String),
    /// What the removal said.
    Removed(Removed),
}

/// What a removal said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Its own test found something: nothing was removed.
    Held(String),
    /// `pg_archivecleanup` was run, and ended well.
    Done,
    /// `pg_archivecleanup` was run, and said this.
    Failed(String),
}

/// What was to be done was not, or nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which kind.
    pub kind: TroubleKind,
    /// In words.
    pub message: String,
}

/// Which kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TroubleKind {
    /// It may not be done: no permission.
    Denied,
    /// The instance is not there.
    Gone,
    /// It was not sent.
    Unsent,
    /// It was sent, and no answer came: it may have been done.
    Unanswered,
    /// It was done, and failed.
    Failed,
    /// It was done, and the answer cannot be read.
    Unreadable,
    /// Somebody else has written the journal meanwhile: the run is theirs.
    Overtaken,
}

impl TroubleKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Denied,
        Self::Gone,
        Self::Unsent,
        Self::Unanswered,
        Self::Failed,
        Self::Unreadable,
        Self::Overtaken,
    ];

    /// Whether it may have been done, wholly or in part.
    #[must_use]
    pub const fn may_have_run(self) -> bool {
        match self {
            Self::Denied | Self::Gone | Self::Unsent | Self::Overtaken => false,
            Self::Unanswered | Self::Failed | Self::Unreadable => true,
        }
    }
}
