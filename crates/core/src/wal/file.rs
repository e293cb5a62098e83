//! What a name in `pg_wal` stands for.

use super::segment::{Segment, SegmentSize, Timeline, is_hex, is_segment_name};

/// What a file in `pg_wal` is, by its name (src/include/access/xlog_internal.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WalFile {
    /// A segment: being written, complete, or made in advance.
    Segment(Segment),
    /// The end of a timeline that another one branched off from (`.partial`).
    Partial(Segment),
    /// The history file of a base backup, in the archive's way of naming (`.backup`): the segment that it began in.
    Backup(Segment),
    /// The history of a timeline (`.history`).
    History(Timeline),
    /// A segment or a partial one to `pg_archivecleanup`, and to nobody else: it has the timeline 0, or a last part that
    /// segments of this size do not have.
    Malformed,
    /// Anything else.
    Other,
}

impl WalFile {
    /// What a name stands for, with segments of this size.
    #[must_use]
    pub fn parse(name: &str, size: SegmentSize) -> Self {
        let segment = |name| Segment::parse(name, size).ok();
        if is_segment_name(name) {
            return segment(name).map_or(Self::Malformed, Self::Segment);
        }
        let Some((stem, extension)) = name.split_once('.') else {
            return Self::Other;
        };
        match extension {
            "partial" if is_segment_name(stem) => segment(stem).map_or(Self::Malformed, Self::Partial),
            "history" if stem.len() == 8 && is_hex(stem) => {
                let timeline = u32::from_str_radix(stem, 16).ok().and_then(Timeline::new);
                timeline.map_or(Self::Other, Self::History)
            }
            _ => match extension.split_once('.') {
                Some((offset, "backup")) if offset.len() == 8 && is_hex(offset) => segment(stem).map_or(Self::Other, Self::Backup),
                _ => Self::Other,
            },
        }
    }
}
