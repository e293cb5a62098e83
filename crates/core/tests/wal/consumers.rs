//! Everyone who reads the model's WAL, each replayed: from where it really is, segment by segment, to the end.

use std::collections::BTreeSet;

use super::model::{Archive, File, Model, ModelSlot};

/// What a reader goes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// It gets to the end, through these files.
    Through(BTreeSet<File>),
    /// It stops for lack of this one: it is broken already, and needs nothing any more.
    StopsAt(File),
}

impl Model {
    /// From a position to the end. Of a segment in which the timeline changes, the file of the later one has both parts
    /// (`XLogFileReadAnyTLI`, src/backend/access/transam/xlogrecovery.c).
    fn read(&self, from: u64) -> Reads {
        let size = self.size.bytes().get();
        let mut through = BTreeSet::new();
        let mut position = from;
        while position < self.end {
            let number = self.number(position);
            let next = (number + 1) * size;
            let file = (self.timeline_at(next.min(self.end) - 1), number);
            if !self.files.contains(&file) {
                return Reads::StopsAt(file);
            }
            through.insert(file);
            position = next;
        }
        Reads::Through(through)
    }

    /// Every reader with its name, and what it goes through.
    pub fn readers(&self) -> Vec<(String, Reads)> {
        let mut readers = vec![("recovery".to_owned(), self.read(self.redo.0))];
        for slot in self.slots.iter().filter(|s| !s.lost) {
            if let Some(restart) = slot.restart {
                readers.push((format!("slot {}", slot.name), self.read(restart)));
            }
            // After a crash it is back at what is on disk.
            if let Some(saved) = slot.saved.filter(|_| !slot.temporary) {
                readers.push((format!("slot {} after a crash", slot.name), self.read(saved)));
            }
        }
        for follower in &self.followers {
            readers.push((format!("standby {}", follower.name), self.read(follower.position)));
        }
        for start in &self.backups {
            readers.push(("base backup".to_owned(), self.read(*start)));
        }
        if let Some((position, _)) = self.summarised {
            readers.push(("summarizer".to_owned(), self.read(position)));
        }
        // A recovery to a point in time goes through the archive: each completed segment that it lacks is read by the archiver, or
        // copied by hand where the archiver has died with its server.
        if self.archive != Archive::Off {
            let missing = |file| (format!("archive {file:?}"), Reads::Through(BTreeSet::from([file])));
            readers.extend(self.not_stored().map(missing));
        }
        readers
    }

    /// A standby that says nothing, and whose slot was made after it went, is promised `wal_keep_size` and no more: what lies further back
    /// may be gone at any checkpoint, and it does not count on it.
    pub fn give_up_what_is_not_promised(&mut self) {
        let promised = self.end.saturating_sub(self.keep);
        for follower in self.followers.iter_mut().filter(|f| !f.connected || f.silent) {
            let its = |s: &&ModelSlot| Some(&s.name) == follower.slot.as_ref() && !s.lost;
            let held = self.slots.iter().find(its).and_then(|s| s.restart);
            if held.is_some_and(|held| held > follower.position) {
                follower.position = follower.position.max(promised);
            }
        }
    }

    /// What `pg_archivecleanup` does with this argument: what it removes of what is listed, by its own comparison of names
    /// (`CleanupPriorWALFiles`, src/bin/pg_archivecleanup/pg_archivecleanup.c).
    pub fn archivecleanup(&self, cutoff: &str) -> Vec<String> {
        let is_segment = |name: &str| name.len() == 24 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
        let is_wal = |name: &str| is_segment(name.strip_suffix(".partial").unwrap_or(name));
        let mut names = self.listing();
        names.retain(|name| is_wal(name) && name[8..] < cutoff[8..]);
        names
    }
}
