//! What of an instance's `pg_wal` may be removed: from evidence to a proof, or to a refusal that says why not.
//!
//! [`prove`] takes what one instance and its Cluster said at one moment, and gives the cutoff for `pg_archivecleanup`: the
//! first segment that anything still needs, who needs it, and the segments below that nobody does. What is not known, or
//! does not fit together, makes a [`Refusal`]; it never makes a later cutoff. [`Proof::agrees`] holds the dry run against the
//! proof, and [`Proof::is_archived`] makes the archive's test again, just before and just after the removal.
//!
//! The rule that all others follow: never remove what the server itself would keep at its next checkpoint (`KeepLogSeg` and
//! `XLogArchiveCheckDone`), save for what `wal_keep_size` promises to standbys, where every one of them is known not to need
//! it. The reverse is wanted: standbys without a slot, files of other timelines and marks that are missing hold here, and
//! do not hold the server.
//!
//! Every bound moves in one direction, forwards, so that evidence may be some seconds old when the removal is made: a new
//! slot or base backup starts at the last checkpoint or later, and a segment that was archived stays so. What may change is
//! tested again: [`Proof::is_archived`].
//!
//! `pg_archivecleanup` removes by the last 16 digits of a name and does not look at the timeline; it takes `.partial` files as
//! well, and leaves `.history` and `.backup` files alone (`CleanupPriorWALFiles`, src/bin/pg_archivecleanup/pg_archivecleanup.c).
//! So a file of another timeline, or a partial one, is a bound: nothing at or above it is removed.

mod bound;
mod cutoff;
mod directory;
mod dry_run;
mod evidence;
mod facts;
mod file;
mod lsn;
mod refusal;
mod segment;
mod status;

pub use bound::{Bound, Holder};
pub use cutoff::{Proof, Rules, prove};
pub use directory::{Directory, Mark};
pub use dry_run::{Disagreement, Objection};
pub use evidence::{Archiving, BaseBackup, Checkpoint, EarlierSlots, Evidence, Feed, Position, Slot, SlotKind, Standby, Summaries};
pub use file::WalFile;
pub use lsn::{Lsn, LsnError};
pub use refusal::{Contradiction, Part, Refusal};
pub use segment::{Segment, SegmentError, SegmentSize, SegmentSizeError, Timeline};
pub use status::NotArchived;
