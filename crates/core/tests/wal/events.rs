//! What happens to the model, event by event.

use std::collections::BTreeSet;

use csm_core::wal::SlotKind;

use super::dice::Dice;
use super::model::{Archive, File, Follower, Model, ModelSlot, Reading};

impl Model {
    /// One thing that happens.
    pub fn step(&mut self, dice: &mut Dice<'_>) {
        match dice.below(32) {
            0..=6 => self.write(dice),
            7..=9 => self.begin_checkpoint(dice),
            10 | 11 => self.complete_checkpoint(dice.rarely(4)),
            12..=15 => self.archive_some(dice.below(8)),
            16 => self.archiver_fails = !self.archiver_fails,
            17 => self.make_slot(dice),
            18..=20 => self.use_slot(dice),
            21 => self.follow(dice),
            22..=24 => self.receive(dice),
            25 => self.connect(dice),
            26 => self.back_up(dice),
            27 => self.keep = dice.below(12) * self.size.bytes().get() + dice.pick(&[0, 1 << 20]),
            28 => self.summarise(dice),
            29 => self.promote(dice),
            30 => self.crash(),
            _ => self.read_slots(),
        }
    }

    /// WAL is written, or received.
    pub fn write(&mut self, dice: &mut Dice<'_>) {
        let size = self.size.bytes().get();
        let to = match dice.below(4) {
            0 => self.end + 100,
            1 => (self.number(self.end) + 1) * size,
            _ => self.end + size * (1 + dice.below(4)) + dice.below(size),
        };
        let timeline = self.timeline();
        for number in self.number(self.end)..self.number(to) {
            // The mark of a completed segment can fail to be made.
            if self.archive != Archive::Off && !dice.rarely(64) {
                self.marks.insert((timeline, number), self.archive == Archive::Primary);
            }
        }
        let begun = u64::from(!to.is_multiple_of(size));
        self.files
            .extend((self.number(self.end)..self.number(to) + begun).map(|number| (timeline, number)));
        self.end = to;
    }

    /// A restartpoint is made of an earlier checkpoint that was replayed. Slots are saved when it begins, at the earliest.
    pub fn begin_checkpoint(&mut self, dice: &mut Dice<'_>) {
        let since = self.end - self.redo.0;
        if self.standby && since == 0 {
            return;
        }
        let redo = if self.standby { self.redo.0 + dice.below(since) } else { self.end };
        self.checkpoint = Some((redo, self.timeline_at(redo)));
        for slot in &mut self.slots {
            slot.saved = slot.restart;
        }
        if let Some(before) = &mut self.before {
            before.checkpoint_began = true;
        }
    }

    /// Here the server removes what it does not need itself: seldom, so that there is something to remove.
    pub fn complete_checkpoint(&mut self, removes: bool) {
        let Some(redo) = self.checkpoint.take() else { return };
        self.redo = redo;
        if let Some(before) = &mut self.before {
            before.checkpointed |= before.checkpoint_began;
        }
        if !removes {
            return;
        }
        let held = self.slots.iter().filter(|s| !s.lost).filter_map(|s| s.restart.min(s.saved));
        let kept = self.end.saturating_sub(self.keep);
        let summarised = self.summarised.map(|(position, _)| position);
        let horizon = held.chain([redo.0, kept]).chain(summarised).min().unwrap();
        let horizon = self.number(horizon);
        let needs_mark = self.archive == Archive::Own;
        let (marks, gone) = (&mut self.marks, |file: &File| file.1 < horizon);
        self.files.retain(|file| {
            if !gone(file) {
                return true;
            }
            // What has no mark gets one, and waits.
            let kept = needs_mark && !*marks.entry(*file).or_insert(false);
            if !kept {
                marks.remove(file);
            }
            kept
        });
        self.partials.retain(|file| !gone(file));
        // What was removed is used again, for segments to come.
        let next = self.number(self.end) + 1;
        self.files.insert((self.timeline(), next));
    }

    /// Completed segments that the archive does not hold, in the order in which the archiver takes them: by name.
    pub fn not_stored(&self) -> impl Iterator<Item = File> {
        let last = self.number(self.end);
        self.files
            .iter()
            .copied()
            .filter(move |file| file.1 < last && !self.stored.contains(file))
    }

    pub fn archive_some(&mut self, count: u64) {
        let count = usize::try_from(count).unwrap();
        if self.archiver_fails {
            return;
        }
        match self.archive {
            Archive::Off => {}
            Archive::Own => {
                let waiting = self.marks.iter().filter(|(_, done)| !**done).map(|(file, _)| *file);
                for file in waiting.take(count).collect::<Vec<_>>() {
                    self.stored.insert(file);
                    self.marks.insert(file, true);
                }
            }
            Archive::Primary => {
                let current = self.timeline();
                let next: Vec<_> = self.not_stored().filter(|file| file.0 == current).take(count).collect();
                self.stored.extend(next);
            }
        }
    }

    fn make_slot(&mut self, dice: &mut Dice<'_>) {
        let kind = dice.pick(&[SlotKind::Physical, SlotKind::Logical]);
        let reserves = kind == SlotKind::Logical || !dice.rarely(4);
        let restart = reserves.then_some(self.redo.0);
        let name = self.name();
        self.slots.push(ModelSlot {
            name,
            kind,
            temporary: dice.rarely(4),
            active: dice.rarely(2),
            lost: false,
            restart,
            saved: restart,
        });
    }

    fn use_slot(&mut self, dice: &mut Dice<'_>) {
        let count = self.slots.len() as u64;
        if count == 0 {
            return;
        }
        let index = usize::try_from(dice.below(count)).unwrap();
        let slot = &mut self.slots[index];
        // That of a standby moves with what it receives.
        let of_standby = self.followers.iter().any(|f| f.slot.as_ref() == Some(&slot.name));
        match dice.below(8) {
            0 => slot.active = !slot.active,
            1 => slot.lost |= dice.rarely(2),
            2 => _ = self.slots.remove(index),
            _ => {
                let Some(restart) = slot.restart.filter(|_| !slot.lost && !of_standby) else {
                    return;
                };
                slot.restart = Some(restart + dice.below(self.end.saturating_sub(restart) + 1));
                // A logical one is saved at once, unless the disk is full.
                if slot.kind == SlotKind::Logical && !dice.rarely(3) {
                    slot.saved = slot.restart;
                }
            }
        }
    }

    fn slot_of(&mut self, follower: usize) -> Option<&mut ModelSlot> {
        let name = self.followers[follower].slot.clone()?;
        self.slots.iter_mut().find(|s| s.name == name)
    }

    /// A new standby, from a base backup.
    fn follow(&mut self, dice: &mut Dice<'_>) {
        let name = self.name();
        let slot = dice.rarely(2).then(|| format!("of-{name}"));
        if let Some(name) = slot.clone() {
            let restart = (!dice.rarely(4)).then_some(self.redo.0);
            self.slots.push(ModelSlot {
                name,
                kind: SlotKind::Physical,
                temporary: false,
                active: true,
                lost: false,
                restart,
                saved: restart,
            });
        }
        self.followers.push(Follower {
            name,
            connected: true,
            silent: dice.rarely(16),
            position: self.redo.0,
            slot,
        });
    }

    fn any_follower(&self, dice: &mut Dice<'_>) -> Option<usize> {
        let count = self.followers.len() as u64;
        (count > 0).then(|| usize::try_from(dice.below(count)).unwrap())
    }

    fn receive(&mut self, dice: &mut Dice<'_>) {
        let Some(index) = self.any_follower(dice) else { return };
        let left = self.end.saturating_sub(self.followers[index].position);
        self.receive_some(index, if dice.rarely(2) { left } else { dice.below(left + 1) });
    }

    pub fn receive_some(&mut self, index: usize, bytes: u64) {
        let follower = &mut self.followers[index];
        if !follower.connected {
            return;
        }
        follower.position += bytes;
        follower.silent = false;
        // The slot of a standby that streams from another instance is moved by that one.
        let position = follower.position.min(self.end);
        if let Some(slot) = self.slot_of(index).filter(|s| !s.lost) {
            slot.restart = slot.restart.max(Some(position));
        }
    }

    fn connect(&mut self, dice: &mut Dice<'_>) {
        let Some(index) = self.any_follower(dice) else { return };
        match dice.below(4) {
            0 => self.followers[index].connected = !self.followers[index].connected,
            1 => self.followers[index].connected = true,
            2 => _ = self.followers.remove(index),
            _ => self.make_late_slot(index, dice),
        }
    }

    /// For one who is gone: it holds from the last checkpoint on, or nothing yet.
    fn make_late_slot(&mut self, index: usize, dice: &mut Dice<'_>) {
        let follower = &mut self.followers[index];
        if follower.connected || follower.slot.is_some() {
            return;
        }
        let name = format!("late-{}", follower.name);
        follower.slot = Some(name.clone());
        let restart = (!dice.rarely(4)).then_some(self.redo.0);
        self.slots.push(ModelSlot {
            name,
            kind: SlotKind::Physical,
            temporary: false,
            active: false,
            lost: false,
            restart,
            saved: restart,
        });
    }

    fn back_up(&mut self, dice: &mut Dice<'_>) {
        if self.backups.is_empty() && dice.rarely(2) {
            self.backups.push(self.redo.0);
        } else {
            self.backups.clear();
        }
    }

    fn summarise(&mut self, dice: &mut Dice<'_>) {
        let Some((position, _)) = self.summarised else { return };
        let to = position + dice.below(self.end.saturating_sub(position) + 1);
        let to = if dice.rarely(2) { self.end } else { to };
        self.summarised = Some((to, self.timeline_at(to)));
    }

    /// A new timeline: this instance is promoted, or follows one that was.
    pub fn promote(&mut self, dice: &mut Dice<'_>) {
        if !self.standby {
            return;
        }
        let (old, number, size) = (self.timeline(), self.number(self.end), self.size.bytes().get());
        self.timelines.push((old + 1, self.end));
        if !self.end.is_multiple_of(size) {
            self.files.insert((old + 1, number));
        }
        self.files.retain(|file| file.1 <= number);
        if dice.rarely(3) {
            return;
        }
        if self.files.remove(&(old, number)) && !self.end.is_multiple_of(size) {
            self.partials.insert((old, number));
        }
        self.standby = false;
        self.checkpoint = None;
        if self.archive == Archive::Primary {
            self.archive = Archive::Own;
        }
        // The former primary comes back from the last checkpoint that both have (pg_rewind).
        let name = self.name();
        self.followers.push(Follower {
            name,
            connected: false,
            silent: false,
            position: self.redo.0,
            slot: None,
        });
    }

    /// The instance crashes and starts again.
    pub fn crash(&mut self) {
        self.slots.retain(|s| !s.temporary);
        for slot in &mut self.slots {
            slot.restart = slot.saved;
            slot.active = false;
        }
        self.checkpoint = None;
        self.backups.clear();
        // The session in which they were read is gone.
        self.before = None;
    }

    pub fn read_slots(&mut self) {
        let slots = self.slots.iter().map(|s| (s.name.clone(), s.restart)).collect();
        self.before = Some(Reading {
            end: self.end,
            slots,
            checkpoint_began: false,
            checkpointed: false,
        });
    }

    /// A person has put things in order, as the relief's ladder asks for: slots are read, a checkpoint is made, nothing else is under
    /// way. What is left out now and then is left to chance.
    pub fn settle(&mut self, dice: &mut Dice<'_>) {
        self.archiver_fails = false;
        self.archive_some(dice.below(40));
        self.backups.clear();
        let of_standbys: BTreeSet<_> = self.followers.iter().filter_map(|f| f.slot.clone()).collect();
        for slot in self.slots.iter_mut().filter(|s| s.restart.is_some() && !s.lost) {
            if !of_standbys.contains(&slot.name) && !dice.rarely(4) {
                slot.restart = Some(self.end);
            }
        }
        for index in 0..self.followers.len() {
            if dice.rarely(5) {
                self.followers[index].connected = false;
                self.make_late_slot(index, dice);
                continue;
            }
            let back = !self.followers[index].connected && !dice.rarely(4);
            self.followers[index].connected |= back;
            let left = self.end.saturating_sub(self.followers[index].position);
            if !dice.rarely(4) {
                self.receive_some(index, left);
            }
            self.followers[index].silent |= back && dice.rarely(6);
        }
        self.complete_checkpoint(false);
        self.read_slots();
        if !dice.rarely(4) {
            self.write(dice);
        }
        self.begin_checkpoint(dice);
        self.complete_checkpoint(false);
        if let Some(summarised) = &mut self.summarised {
            *summarised = (self.end, self.timelines.last().unwrap().0);
        }
    }
}
