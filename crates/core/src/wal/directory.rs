//! What lies in `pg_wal`, and what the archiver's marks say of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::file::WalFile;
use super::segment::{Segment, SegmentSize, Timeline};

/// The files of `pg_wal`, and the marks in its `archive_status`, as they were listed at one moment (`pg_ls_waldir`,
/// `pg_ls_archive_statusdir`; PostgreSQL documentation, System Administration Functions). Other files than segments and
/// partial ones are left out: nobody touches them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    size: SegmentSize,
    segments: BTreeSet<Segment>,
    partials: BTreeSet<Segment>,
    malformed: BTreeSet<Arc<str>>,
    marks: Option<Marks>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Marks {
    done: BTreeSet<Segment>,
    ready: BTreeSet<Segment>,
}

/// What `archive_status` says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// Archived (`.done`).
    Done,
    /// Waiting to be archived (`.ready`).
    Ready,
    /// Nothing: it counts as unarchived. The segment that is being written has no mark; that of a complete one can have failed
    /// to be made, and is made again at the next checkpoint (`XLogArchiveCheckDone`, src/backend/access/transam/xlogarchive.c).
    None,
}

impl Mark {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Ready => "ready",
            Self::None => "none",
        }
    }
}

impl Directory {
    /// The names of the files in `pg_wal`, without a path, with segments of this size. Its marks are not known.
    #[must_use]
    pub fn new<T: AsRef<str>>(size: SegmentSize, files: impl IntoIterator<Item = T>) -> Self {
        let mut directory = Self {
            size,
            segments: BTreeSet::new(),
            partials: BTreeSet::new(),
            malformed: BTreeSet::new(),
            marks: None,
        };
        for name in files {
            let name = name.as_ref();
            match WalFile::parse(name, size) {
                WalFile::Segment(segment) => _ = directory.segments.insert(segment),
                WalFile::Partial(segment) => _ = directory.partials.insert(segment),
                WalFile::Malformed => _ = directory.malformed.insert(Arc::from(name)),
                WalFile::Backup(_) | WalFile::History(_) | WalFile::Other => {}
            }
        }
        directory
    }

    /// With the names of the files in `pg_wal/archive_status`. Which of the two was listed first does not matter: what is
    /// completed, archived or recycled between them loses its mark or keeps it, and gains none that is not true.
    #[must_use]
    pub fn with_status<T: AsRef<str>>(mut self, files: impl IntoIterator<Item = T>) -> Self {
        let mut marks = Marks {
            done: BTreeSet::new(),
            ready: BTreeSet::new(),
        };
        for name in files {
            let Some((name, mark)) = name.as_ref().rsplit_once('.') else {
                continue;
            };
            match (WalFile::parse(name, self.size), mark) {
                (WalFile::Segment(segment), "done") => _ = marks.done.insert(segment),
                (WalFile::Segment(segment), "ready") => _ = marks.ready.insert(segment),
                (WalFile::Malformed, "ready") => _ = self.malformed.insert(Arc::from(name)),
                _ => {}
            }
        }
        self.marks = Some(marks);
        self
    }

    /// How large its segments are.
    #[must_use]
    pub const fn segment_size(&self) -> SegmentSize {
        self.size
    }

    /// Whether the marks are known.
    #[must_use]
    pub const fn has_status(&self) -> bool {
        self.marks.is_some()
    }

    /// What is marked of a segment. One that is marked both ways waits.
    #[must_use]
    pub fn mark(&self, segment: &Segment) -> Mark {
        match &self.marks {
            Some(marks) if marks.ready.contains(segment) => Mark::Ready,
            Some(marks) if marks.done.contains(segment) => Mark::Done,
            _ => Mark::None,
        }
    }

    /// The segments that have a file, of any timeline, by position.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment> {
        self.segments.iter().copied()
    }

    /// The segments of a timeline that have a file, by position.
    pub fn of(&self, timeline: Timeline) -> impl DoubleEndedIterator<Item = Segment> {
        self.segments().filter(move |s| s.timeline() == timeline)
    }

    /// The first that has a file and is of another timeline.
    pub(super) fn foreign(&self, timeline: Timeline) -> Option<Segment> {
        self.segments().find(|s| s.timeline() != timeline)
    }

    /// The first that has a partial file.
    pub(super) fn partial(&self) -> Option<Segment> {
        self.partials.first().copied()
    }

    /// A file that `pg_archivecleanup` takes for a segment, or a mark that an archiver does, and that is none.
    pub(super) fn malformed(&self) -> Option<&Arc<str>> {
        self.malformed.first()
    }

    /// Segments that are not known to be archived, by position: those with a file and without a `.done` mark, and those that are
    /// marked as waiting, with a file or without.
    pub(super) fn unarchived(&self) -> impl Iterator<Item = (Segment, Mark)> {
        let waiting = self.marks.iter().flat_map(|marks| marks.ready.iter().copied());
        let mut all: BTreeSet<Segment> = waiting.collect();
        all.extend(self.segments().filter(|s| self.mark(s) != Mark::Done));
        all.into_iter().map(|s| (s, self.mark(&s)))
    }

    /// The first segment of the timeline of `last`, and before it, that is not known to be archived.
    #[must_use]
    pub fn first_unarchived(&self, last: Segment) -> Option<Segment> {
        let mut unarchived = self.unarchived().map(|(segment, _)| segment);
        unarchived.find(|segment| segment.timeline() == last.timeline() && segment.number() < last.number())
    }
}
