//! An instance that does what it is told.

use std::collections::BTreeSet;

use csm_core::relief::Reading;
use csm_core::wal::{Archiving, BaseBackup, Checkpoint, Directory, EarlierSlots, Evidence, Lsn, Position, Slot, SlotKind, Summaries};

use super::*;

/// A primary that writes segment 40. What it has archived goes up to `archived`; nothing holds for long.
#[derive(Clone, Debug)]
pub struct Instance {
    pub files: BTreeSet<u64>,
    pub redo: u64,
    pub archived: u64,
    pub waits: Option<u64>,
    pub slot: Option<u64>,
    pub backup: bool,
    /// A checkpoint leaves what `wal_keep_size` promises.
    pub keep: u64,
}

impl Instance {
    pub fn new() -> Self {
        Self {
            files: (10..44).collect(),
            redo: 15,
            archived: 40,
            waits: None,
            slot: None,
            backup: false,
            keep: 20,
        }
    }

    fn at(number: u64) -> Lsn {
        Lsn::new(number * SIZE.bytes().get() + 0x1234)
    }

    fn slots(&self) -> Vec<Slot> {
        let slot = |number: u64| Slot {
            name: Arc::from("reports"),
            kind: SlotKind::Logical,
            active: false,
            temporary: false,
            restart_lsn: Some(Self::at(number)),
            lost: false,
        };
        self.slot.map(slot).into_iter().collect()
    }

    pub fn read(&self) -> Reading {
        let marks = self
            .files
            .iter()
            .filter(|n| **n < self.archived)
            .map(|n| format!("{}.done", segment(*n)));
        let waits = self.waits.map(|n| format!("{}.ready", segment(n)));
        Reading {
            evidence: Evidence {
                timeline: Some(Timeline::FIRST),
                position: Some(Position::Primary { written: Self::at(40) }),
                checkpoint: Some(Checkpoint {
                    redo: Self::at(self.redo),
                    timeline: Timeline::FIRST,
                    file: segment(self.redo),
                }),
                slots: Some(self.slots()),
                slots_before: None,
                standbys: Some(Vec::new()),
                wal_keep_size: Some(Bytes::new(self.keep * SIZE.bytes().get())),
                base_backups: Some(
                    self.backup
                        .then(|| BaseBackup {
                            name: Arc::from("nightly"),
                            start: None,
                        })
                        .into_iter()
                        .collect(),
                ),
                summaries: Some(Summaries::Off),
                archiving: Some(Archiving::Own),
                directory: Some(Directory::new(SIZE, self.files.iter().map(|n| segment(*n).to_string())).with_status(marks.chain(waits))),
            },
            max_wal_size: Some(Bytes::GIB),
            slot_limit: Some(SlotLimit::Unlimited),
        }
    }

    /// In one session: the slots, a checkpoint, and all.
    pub fn checkpoint(&mut self) -> Reading {
        let slots = self.slots().into_iter().map(|slot| (slot.name, slot.restart_lsn));
        let earlier = EarlierSlots {
            end: Self::at(39),
            slots: slots.collect(),
            checkpointed: true,
        };
        self.redo = 39;
        let kept_from = [Some(40 - self.keep), Some(self.redo), self.slot, self.waits]
            .into_iter()
            .flatten()
            .min()
            .unwrap();
        self.files.retain(|n| *n >= kept_from.min(self.archived));
        let mut reading = self.read();
        reading.evidence.slots_before = Some(earlier);
        reading
    }

    pub fn list(&self, cutoff: Segment) -> String {
        let below = self.files.range(..cutoff.number());
        let paths = below.map(|n| format!("/pgdata/pg_wal/{}", segment(*n)));
        paths.collect::<Vec<_>>().join("\n")
    }

    /// What `remove.sh` does; `cut`: it is killed in the middle.
    pub fn remove(&mut self, removal: &Removal, cut: bool) -> Removed {
        let below: Vec<u64> = self.files.range(..removal.cutoff.number()).copied().collect();
        if self.waits.is_some_and(|n| n < removal.cutoff.number()) {
            return Removed::Held("something waits".to_owned());
        }
        assert!(below.len() <= removal.count && below.first().is_none_or(|n| *n >= removal.first.number()));
        let count = if cut { below.len() / 2 } else { below.len() };
        for number in &below[..count] {
            self.files.remove(number);
        }
        Removed::Done
    }
}
