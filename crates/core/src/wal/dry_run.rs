//! Whether a dry run of `pg_archivecleanup` lists what was proved, and nothing else.

use std::fmt;

use thiserror::Error;

use super::cutoff::Proof;
use super::directory::{Directory, Mark};
use super::evidence::Archiving;
use super::file::WalFile;
use super::segment::Segment;

/// A dry run lists what may not go. Nothing is removed then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the dry run would remove {file}, which {objection}")]
pub struct Disagreement {
    /// The file, shortened.
    pub file: String,
    /// What speaks against it.
    pub objection: Objection,
}

/// Why a file may not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Objection {
    /// It is no complete segment by its name.
    NotASegment,
    /// It is of another timeline.
    AnotherTimeline,
    /// It is not below the cutoff.
    NotBelowCutoff,
    /// It is not marked as archived.
    NotArchived(Mark),
    /// It was not there when the cutoff was proved.
    NotProved,
}

impl Objection {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotASegment => "NotASegment",
            Self::AnotherTimeline => "AnotherTimeline",
            Self::NotBelowCutoff => "NotBelowCutoff",
            Self::NotArchived(_) => "NotArchived",
            Self::NotProved => "NotProved",
        }
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotASegment => "is no complete WAL segment",
            Self::AnotherTimeline => "is of another timeline",
            Self::NotBelowCutoff => "is not below the cutoff",
            Self::NotArchived(Mark::Ready) => "waits to be archived",
            Self::NotArchived(_) => "is not marked as archived",
            Self::NotProved => "was not there when the cutoff was proved",
        })
    }
}

impl Proof {
    /// Goes over the output of `pg_archivecleanup -n`, one path a line, file by file: each has to be proved, and still to be marked
    /// as archived where WAL is archived, by `now`. It may list less: the server removes files as well. Gives the files that
    /// would be removed, in the order of the output.
    ///
    /// # Errors
    /// The first file that may not go.
    pub fn agrees(&self, output: &str, now: &Directory) -> Result<Vec<Segment>, Disagreement> {
        let lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
        let names = lines.map(|line| line.rsplit('/').next().unwrap_or(line));
        let judged = names.map(|name| {
            self.judge(name, now).map_err(|objection| Disagreement {
                file: name.chars().take(80).collect(),
                objection,
            })
        });
        judged.collect()
    }

    fn judge(&self, name: &str, now: &Directory) -> Result<Segment, Objection> {
        let WalFile::Segment(segment) = WalFile::parse(name, self.cutoff().size()) else {
            return Err(Objection::NotASegment);
        };
        if segment.timeline() != self.cutoff().timeline() {
            return Err(Objection::AnotherTimeline);
        }
        if segment.number() >= self.cutoff().number() {
            return Err(Objection::NotBelowCutoff);
        }
        match now.mark(&segment) {
            Mark::Ready => Err(Objection::NotArchived(Mark::Ready)),
            Mark::None if self.archiving() != Archiving::Off => Err(Objection::NotArchived(Mark::None)),
            _ if self.removable().binary_search(&segment).is_err() => Err(Objection::NotProved),
            _ => Ok(segment),
        }
    }
}
