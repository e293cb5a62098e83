//! Evidence that is complete and fits together.

use csm_units::Bytes;

use super::directory::Directory;
use super::evidence::{Archiving, BaseBackup, Checkpoint, EarlierSlots, Evidence, Position, Reserved, Slot, Standby, Summaries};
use super::lsn::Lsn;
use super::refusal::{Contradiction, Part, Refusal};
use super::segment::{Segment, Timeline};

/// Evidence of which nothing is missing, and of which no part speaks against another.
pub(super) struct Facts<'a> {
    pub timeline: Timeline,
    pub position: Position,
    pub checkpoint: Checkpoint,
    pub slots: &'a [Slot],
    pub slots_before: Option<&'a EarlierSlots>,
    pub standbys: &'a [Standby],
    pub wal_keep_size: Bytes,
    pub base_backups: &'a [BaseBackup],
    pub summaries: Summaries,
    pub archiving: Archiving,
    pub directory: &'a Directory,
}

impl<'a> Facts<'a> {
    /// What is missing, or does not fit, is a refusal.
    pub fn of(evidence: &'a Evidence) -> Result<Self, Refusal> {
        let Evidence {
            timeline,
            position,
            checkpoint,
            slots,
            slots_before,
            standbys,
            wal_keep_size,
            base_backups,
            summaries,
            archiving,
            directory,
        } = evidence;
        let missing = |part| move || Refusal::Missing(part);
        let facts = Self {
            timeline: timeline.ok_or_else(missing(Part::Timeline))?,
            position: position.ok_or_else(missing(Part::Position))?,
            checkpoint: checkpoint.ok_or_else(missing(Part::Checkpoint))?,
            slots: slots.as_deref().ok_or_else(missing(Part::Slots))?,
            slots_before: slots_before.as_ref(),
            standbys: standbys.as_deref().ok_or_else(missing(Part::Standbys))?,
            wal_keep_size: wal_keep_size.ok_or_else(missing(Part::WalKeepSize))?,
            base_backups: base_backups.as_deref().ok_or_else(missing(Part::BaseBackups))?,
            summaries: summaries.ok_or_else(missing(Part::Summaries))?,
            archiving: archiving.ok_or_else(missing(Part::Archiving))?,
            directory: directory.as_ref().ok_or_else(missing(Part::Directory))?,
        };
        if facts.archiving != Archiving::Off && !facts.directory.has_status() {
            return Err(Refusal::Missing(Part::ArchiveStatus));
        }
        facts.fit_together().map_err(Refusal::Inconsistent)?;
        facts.files_are_whole()?;
        Ok(facts)
    }

    /// The end of the WAL.
    pub fn end(&self) -> Lsn {
        self.position.end()
    }

    /// The segment of this timeline that has this byte.
    pub fn segment_at(&self, lsn: Lsn) -> Segment {
        Segment::at(lsn, self.timeline, self.directory.segment_size())
    }

    /// The segment that the WAL ends in: it is being written, and all before it are complete.
    pub fn last(&self) -> Segment {
        self.segment_at(self.end())
    }

    fn fit_together(&self) -> Result<(), Contradiction> {
        let (end, size) = (self.end(), self.directory.segment_size());
        let Checkpoint { redo, timeline, file } = self.checkpoint;
        let elsewhere = match self.archiving {
            Archiving::Elsewhere { unarchived } => Some(unarchived),
            Archiving::Off | Archiving::Own => None,
        };
        if let Some(segment) = [Some(file), elsewhere].into_iter().flatten().find(|s| s.size() != size) {
            return Err(Contradiction::SegmentSize { segment });
        }
        let expected = Segment::at(redo, timeline, size);
        if expected != file {
            return Err(Contradiction::RedoFile { redo, expected, file });
        }
        if redo > end {
            return Err(Contradiction::RedoAfterEnd { redo, end });
        }
        for slot in self.slots {
            if let Reserved::From(restart) = slot.reserves()
                && restart > end
            {
                let name = slot.name.clone();
                return Err(Contradiction::SlotAfterEnd { name, restart, end });
            }
        }
        // A standby's peers may be ahead of it.
        if matches!(self.position, Position::Primary { .. }) {
            for standby in self.standbys {
                if let Some(flushed) = standby.flushed.filter(|flushed| *flushed > end) {
                    let name = standby.name.clone();
                    return Err(Contradiction::StandbyAfterEnd { name, flushed, end });
                }
            }
        }
        match self.summaries {
            Summaries::UpTo { lsn: upto, .. } if upto > end => Err(Contradiction::SummariesAfterEnd { upto, end }),
            Summaries::Off | Summaries::UpTo { .. } => Ok(()),
        }
    }

    /// All that recovery from a crash would read is there: else the list was cut short, the segment size is another, or the
    /// instance is lost at its next restart.
    fn files_are_whole(&self) -> Result<(), Refusal> {
        if let Some(name) = self.directory.malformed() {
            return Err(Refusal::MalformedFile { name: name.clone() });
        }
        if self.checkpoint.timeline != self.timeline {
            return Err(Refusal::CheckpointOfAnotherTimeline {
                checkpoint: self.checkpoint.timeline,
                current: self.timeline,
            });
        }
        let first = self.segment_at(self.checkpoint.redo);
        // Where the WAL ends with a segment, the next one may not have been made.
        let begun = u64::from(!self.directory.segment_size().begins_at(self.end()));
        let until = self.last().number().saturating_add(begun);
        let mut there = self.directory.of(self.timeline).filter(|s| s.number() >= first.number());
        for number in first.number()..until {
            if there.next().is_none_or(|s| s.number() != number) {
                let segment = Segment::new(self.timeline, number, self.directory.segment_size()).unwrap_or(first);
                return Err(Refusal::SegmentMissing { segment });
            }
        }
        Ok(())
    }
}
