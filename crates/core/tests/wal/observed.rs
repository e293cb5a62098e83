//! What one who asks is told of the model.

use csm_core::wal::{BaseBackup, Feed};

use super::dice::Dice;
use super::model::{Archive, File, Model, Reading};
use super::*;

impl Model {
    pub fn segment(&self, (id, number): File) -> Segment {
        Segment::new(timeline(id), number, self.size).unwrap()
    }

    /// The names in `pg_wal`, with those that nobody may touch.
    pub fn listing(&self) -> Vec<String> {
        let segments = self.files.iter().map(|file| self.segment(*file).to_string());
        let partials = self.partials.iter().map(|file| format!("{}.partial", self.segment(*file)));
        let number = self.number(self.redo.0);
        let others = [
            "archive_status".to_owned(),
            "00000002.history".to_owned(),
            format!("{}.00000028.backup", self.segment((1, number.saturating_sub(3)))),
        ];
        segments.chain(partials).chain(others).collect()
    }

    pub fn directory(&self) -> Directory {
        let marks = self.marks.iter().map(|(file, done)| {
            let mark = if *done { "done" } else { "ready" };
            format!("{}.{mark}", self.segment(*file))
        });
        Directory::new(self.size, self.listing()).with_status(marks)
    }

    pub fn archiving(&self) -> Archiving {
        match self.archive {
            Archive::Off => Archiving::Off,
            Archive::Own => Archiving::Own,
            Archive::Primary => {
                let current = self.timeline();
                // On the primary itself the files of before the switch are marked as done, like here.
                let next = self.not_stored().find(|file| file.0 == current);
                let unarchived = self.segment(next.unwrap_or((current, self.number(self.end))));
                Archiving::Elsewhere { unarchived }
            }
        }
    }

    fn position(&self, dice: &mut Dice<'_>) -> Position {
        let end = Lsn::new(self.end);
        if !self.standby {
            return Position::Primary { written: end };
        }
        let feed = match dice.below(16) {
            15 => Feed::Nothing,
            14 => Feed::Archive,
            13 => Feed::Slot,
            _ => Feed::Streams,
        };
        let replayed = Lsn::new(self.end - dice.below(self.end - self.redo.0 + 1));
        let (received, replayed) = if dice.rarely(4) { (None, end) } else { (Some(end), replayed) };
        Position::Standby { received, replayed, feed }
    }

    /// All of it.
    pub fn evidence(&self, dice: &mut Dice<'_>) -> Evidence {
        let (redo, redo_timeline) = self.redo;
        let slots = self.slots.iter().map(|s| Slot {
            name: Arc::from(&*s.name),
            kind: s.kind,
            active: s.active,
            temporary: s.temporary,
            restart_lsn: s.restart.map(Lsn::new),
            lost: s.lost,
        });
        let named = |(name, restart): &(String, Option<u64>)| (Arc::from(&**name), restart.map(Lsn::new));
        let before = |before: &Reading| EarlierSlots {
            end: Lsn::new(before.end),
            slots: before.slots.iter().map(named).collect(),
            checkpointed: before.checkpointed,
        };
        let standbys = self.followers.iter().map(|f| Standby {
            name: Arc::from(&*f.name),
            streams: f.connected,
            flushed: (f.connected && !f.silent).then_some(Lsn::new(f.position)),
            slot: f.slot.as_deref().map(Arc::from),
        });
        let summaries = self.summarised.map_or(Summaries::Off, |(position, id)| Summaries::UpTo {
            lsn: Lsn::new(position),
            timeline: timeline(id),
        });
        Evidence {
            timeline: Some(timeline(self.timeline())),
            position: Some(self.position(dice)),
            checkpoint: Some(Checkpoint {
                redo: Lsn::new(redo),
                timeline: timeline(redo_timeline),
                file: self.segment((redo_timeline, self.number(redo))),
            }),
            slots: Some(slots.collect()),
            slots_before: self.before.as_ref().map(before),
            standbys: Some(standbys.collect()),
            wal_keep_size: Some(Bytes::new(self.keep)),
            base_backups: Some(
                self.backups
                    .iter()
                    .map(|start| BaseBackup {
                        name: Arc::from("backup"),
                        start: Some(Lsn::new(*start)),
                    })
                    .collect(),
            ),
            summaries: Some(summaries),
            archiving: Some(self.archiving()),
            directory: Some(self.directory()),
        }
    }
}
