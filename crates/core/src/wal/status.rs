//! The archive's test once more: just before the removal, and just after it.

use thiserror::Error;

use super::cutoff::Proof;
use super::directory::{Directory, Mark};
use super::evidence::Archiving;
use super::segment::Segment;

/// Something below the cutoff is not archived. Before the removal: nothing is removed. After it: the archive may have a gap.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotArchived {
    /// The marks could not be read.
    #[error("what is archived (pg_ls_archive_statusdir) is not known")]
    StatusUnknown,
    /// Who archives is another one than the proof rests on.
    #[error("whether and by whom WAL is archived has changed since the cutoff was proved")]
    ArchivingChanged,
    /// The instance that archives has not archived a segment below the cutoff.
    #[error("the instance that archives has not archived {0}, which is below the cutoff")]
    Elsewhere(Segment),
    /// Segments below the cutoff wait to be archived, or are not marked.
    #[error("{first} is below the cutoff and {}; {count} such segments", word(*.mark))]
    Here {
        /// The first of them.
        first: Segment,
        /// What is marked of it.
        mark: Mark,
        /// How many there are.
        count: usize,
    },
}

impl NotArchived {
    /// Its name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::StatusUnknown => "StatusUnknown",
            Self::ArchivingChanged => "ArchivingChanged",
            Self::Elsewhere(_) => "Elsewhere",
            Self::Here { .. } => "Here",
        }
    }
}

const fn word(mark: Mark) -> &'static str {
    match mark {
        Mark::Ready => "waits to be archived",
        Mark::Done | Mark::None => "is not marked as archived",
    }
}

impl Proof {
    /// Whether everything below the cutoff is archived still, by what is there and marked `now`: no file without a `.done` mark,
    /// and no `.ready` mark, of any timeline. What has been removed leaves its `.done` mark, or none where the server has tidied
    /// up; a `.ready` mark without a file is a gap in the archive.
    ///
    /// # Errors
    /// Something is not archived, or it cannot be said.
    pub fn is_archived(&self, now: &Directory, archiving: Archiving) -> Result<(), NotArchived> {
        match (self.archiving(), archiving) {
            (Archiving::Off, Archiving::Off) => return Ok(()),
            (Archiving::Own, Archiving::Own) => {}
            (Archiving::Elsewhere { .. }, Archiving::Elsewhere { unarchived }) => {
                if unarchived.timeline() != self.cutoff().timeline() || unarchived.size() != self.cutoff().size() {
                    return Err(NotArchived::ArchivingChanged);
                }
                if unarchived.number() < self.cutoff().number() {
                    return Err(NotArchived::Elsewhere(unarchived));
                }
            }
            _ => return Err(NotArchived::ArchivingChanged),
        }
        now.archived_below(self.cutoff())
    }
}

impl Directory {
    /// Whether all below a segment is archived, by the marks: no file without a `.done` mark, and no `.ready` mark, of any
    /// timeline.
    ///
    /// # Errors
    /// Something is not, or the marks are not known.
    pub fn archived_below(&self, cutoff: Segment) -> Result<(), NotArchived> {
        if !self.has_status() {
            return Err(NotArchived::StatusUnknown);
        }
        let below = |(segment, _): &(Segment, Mark)| segment.number() < cutoff.number();
        let mut unarchived = self.unarchived().filter(below);
        match unarchived.next() {
            None => Ok(()),
            Some((first, mark)) => Err(NotArchived::Here {
                first,
                mark,
                count: unarchived.count().saturating_add(1),
            }),
        }
    }
}
