//! A model of one instance and of all that reads its WAL. It knows what nobody who asks a
//! server can know: how far each reader really is, what the archive really holds, what is on disk. It never computes a cutoff.

use std::collections::{BTreeMap, BTreeSet};

use csm_core::wal::{SegmentSize, SlotKind};

use super::dice::Dice;

/// A file: timeline, and number.
pub type File = (u32, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    Off,
    /// This instance archives.
    Own,
    /// This one is a standby, and its primary archives.
    Primary,
}

#[derive(Clone, Debug)]
pub struct ModelSlot {
    pub name: String,
    pub kind: SlotKind,
    pub temporary: bool,
    pub active: bool,
    pub lost: bool,
    /// In memory: what `pg_replication_slots` says.
    pub restart: Option<u64>,
    /// On disk: what it is back at after a crash.
    pub saved: Option<u64>,
}

/// Somebody who streams from this instance, or would after it was promoted.
#[derive(Clone, Debug)]
pub struct Follower {
    pub name: String,
    pub connected: bool,
    /// Connected, and has not reported yet.
    pub silent: bool,
    /// What it has on disk: it reads on from there.
    pub position: u64,
    pub slot: Option<String>,
}

/// A reading of the slots.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The end of the WAL.
    pub end: u64,
    /// Each with its `restart_lsn`.
    pub slots: Vec<(String, Option<u64>)>,
    /// The checkpoint that is running was begun after it.
    pub checkpoint_began: bool,
    /// One was, and is completed.
    pub checkpointed: bool,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub size: SegmentSize,
    /// Each timeline, and where it begins; the last is the current one.
    pub timelines: Vec<(u32, u64)>,
    pub end: u64,
    pub standby: bool,
    pub files: BTreeSet<File>,
    pub partials: BTreeSet<File>,
    /// The last completed checkpoint's redo position and timeline.
    pub redo: (u64, u32),
    /// The one that is running.
    pub checkpoint: Option<(u64, u32)>,
    pub slots: Vec<ModelSlot>,
    pub followers: Vec<Follower>,
    pub archive: Archive,
    pub archiver_fails: bool,
    /// What the archive holds.
    pub stored: BTreeSet<File>,
    /// `archive_status`; true: done.
    pub marks: BTreeMap<File, bool>,
    /// `wal_keep_size`.
    pub keep: u64,
    /// Where the base backups that are running began.
    pub backups: Vec<u64>,
    /// Summarised up to here, on this timeline.
    pub summarised: Option<(u64, u32)>,
    /// The slots as they were read first.
    pub before: Option<Reading>,
    pub names: u32,
}

impl Model {
    pub fn new(dice: &mut Dice<'_>) -> Self {
        let size = SegmentSize::new(dice.pick(&[16 << 20, 1 << 20, 1 << 30])).unwrap();
        // Around the 4 GiB that share a part of the name, too.
        let number = dice.pick(&[1, 250, 4090, 8189]);
        let start = number * size.bytes().get() + 40;
        let standby = dice.rarely(3);
        let (own, other) = if standby {
            (Archive::Primary, Archive::Own)
        } else {
            (Archive::Own, Archive::Own)
        };
        let archive = match dice.below(8) {
            6 => other,
            7 => Archive::Off,
            _ => own,
        };
        let timeline = dice.pick(&[1, 2, 0xA]);
        Self {
            size,
            timelines: vec![(timeline, number * size.bytes().get())],
            end: start,
            standby,
            files: BTreeSet::from([(timeline, number)]),
            partials: BTreeSet::new(),
            redo: (start, timeline),
            checkpoint: None,
            slots: Vec::new(),
            followers: Vec::new(),
            archive,
            archiver_fails: false,
            stored: BTreeSet::new(),
            marks: BTreeMap::new(),
            keep: dice.pick(&[0, 1, 3, 10]) * size.bytes().get(),
            backups: Vec::new(),
            summarised: dice.rarely(6).then_some((start, timeline)),
            before: None,
            names: 0,
        }
    }

    pub fn timeline(&self) -> u32 {
        self.timelines.last().unwrap().0
    }

    pub fn number(&self, position: u64) -> u64 {
        position / self.size.bytes().get()
    }

    pub fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    /// The timeline that a position was written on.
    pub fn timeline_at(&self, position: u64) -> u32 {
        let began = |(_, begin): &&(u32, u64)| *begin <= position;
        self.timelines.iter().rev().find(began).unwrap_or(&self.timelines[0]).0
    }
}
