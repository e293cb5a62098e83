//! Who needs WAL, and from where on.

use std::fmt;
use std::sync::Arc;

use csm_units::Bytes;

use super::directory::Mark;
use super::lsn::Lsn;
use super::segment::Segment;

/// One thing that holds WAL: everything from this segment on stays. Ordered by what holds most, then as [`Holder`] is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bound {
    /// The first segment that it needs.
    pub segment: Segment,
    /// What needs it.
    pub holder: Holder,
}

/// What holds WAL. In the order in which they are named where several hold the same segment: what a person can do something
/// about comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// It is not archived, or not known to be.
    Archive {
        /// The segment.
        segment: Segment,
        /// What is marked of it.
        mark: Mark,
    },
    /// The instance that archives has not archived it.
    ArchiveElsewhere(Segment),
    /// A replication slot.
    Slot {
        /// Its name.
        name: Arc<str>,
        /// From where on: what it says, or what it said before the last checkpoint.
        from: Lsn,
    },
    /// A standby that streams.
    Standby {
        /// Its name.
        name: Arc<str>,
        /// What it has on disk.
        flushed: Lsn,
    },
    /// `wal_keep_size` promises it to standbys, and this one does not say what it has.
    WalKeepSize {
        /// The setting.
        size: Bytes,
        /// The standby.
        standby: Arc<str>,
    },
    /// A file of another timeline: `pg_archivecleanup` would remove it with what comes after. Where this instance was promoted, the
    /// former primary may need it to come back (pg_rewind).
    OtherTimeline(Segment),
    /// A `.partial` file.
    Partial(Segment),
    /// `retainCount`: the newest completed segments.
    RetainCount(u32),
    /// Recovery from a crash begins there.
    Checkpoint {
        /// The redo position of the last completed checkpoint.
        redo: Lsn,
    },
}

impl Holder {
    /// Its name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Archive { .. } => "Archive",
            Self::ArchiveElsewhere(_) => "ArchiveElsewhere",
            Self::Slot { .. } => "Slot",
            Self::Standby { .. } => "Standby",
            Self::WalKeepSize { .. } => "WalKeepSize",
            Self::OtherTimeline(_) => "OtherTimeline",
            Self::Partial(_) => "Partial",
            Self::RetainCount(_) => "RetainCount",
            Self::Checkpoint { .. } => "Checkpoint",
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive {
                segment,
                mark: Mark::Ready,
            } => write!(f, "{segment} waits to be archived"),
            Self::Archive { segment, .. } => write!(f, "{segment} is not marked as archived"),
            Self::ArchiveElsewhere(segment) => write!(f, "the instance that archives has not archived {segment} yet"),
            Self::Slot { name, from } => write!(f, "replication slot \"{name}\" needs WAL from {from} on"),
            Self::Standby { name, flushed } => write!(f, "standby {name} has WAL up to {flushed} only"),
            Self::WalKeepSize { size, standby } => {
                write!(
                    f,
                    "wal_keep_size promises {size} to standbys, and {standby} does not say what it has"
                )
            }
            Self::OtherTimeline(segment) => {
                write!(
                    f,
                    "{segment} is of another timeline ({}), and pg_archivecleanup would remove it",
                    segment.timeline()
                )
            }
            Self::Partial(segment) => write!(f, "{segment}.partial is there, and pg_archivecleanup would remove it"),
            Self::RetainCount(count) => write!(f, "retainCount keeps the {count} newest completed segments"),
            Self::Checkpoint { redo } => write!(
                f,
                "recovery from a crash begins at {redo}, the redo position of the last checkpoint"
            ),
        }
    }
}
