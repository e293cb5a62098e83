//! Series in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use csm_units::Bytes;
use jiff::Timestamp;

use super::spool::{Blocks, Pair, Spool};

/// Samples of several series, in the order of time.
#[derive(Debug)]
pub struct Merged<'a> {
    spool: &'a mut Spool,
    cursors: Vec<Cursor<'a>>,
    /// The time of each cursor's next sample, the earliest first.
    next: BinaryHeap<Reverse<(i64, usize)>>,
    begun: bool,
}

/// A place in a series.
#[derive(Debug)]
struct Cursor<'a> {
    blocks: &'a Blocks,
    block: usize,
    pairs: Vec<Pair>,
    place: usize,
}

impl Cursor<'_> {
    /// The next sample, if there is one.
    fn peek(&mut self, spool: &mut Spool) -> io::Result<Option<Pair>> {
        if self.place >= self.pairs.len() {
            if self.block >= self.blocks.count() {
                return Ok(None);
            }
            self.blocks.read(spool, self.block, &mut self.pairs)?;
            self.block += 1;
            self.place = 0;
        }
        Ok(self.pairs.get(self.place).copied())
    }
}

impl<'a> Merged<'a> {
    pub(super) fn new(spool: &'a mut Spool, series: impl Iterator<Item = &'a Blocks>) -> Self {
        let cursor = |blocks| Cursor {
            blocks,
            block: 0,
            pairs: Vec::new(),
            place: 0,
        };
        Self {
            spool,
            cursors: series.map(cursor).collect(),
            next: BinaryHeap::new(),
            begun: false,
        }
    }

    /// All samples of the next moment: by series (in the order in which they were asked for), the largest of each. None at
    /// the end.
    ///
    /// # Errors
    /// Where what was kept cannot be read again.
    pub fn moment(&mut self, samples: &mut Vec<(usize, Bytes)>) -> io::Result<Option<Timestamp>> {
        samples.clear();
        if !std::mem::replace(&mut self.begun, true) {
            for index in 0..self.cursors.len() {
                self.queue(index)?;
            }
        }
        let Some(Reverse((moment, _))) = self.next.peek().copied() else {
            return Ok(None);
        };
        while let Some(Reverse((_, index))) = self.next.peek().copied().filter(|Reverse((at, _))| *at == moment) {
            self.next.pop();
            let Some(cursor) = self.cursors.get_mut(index) else { continue };
            if let Some((_, used)) = cursor.peek(self.spool)? {
                cursor.place += 1;
                let used = Bytes::new(used);
                match samples.last_mut().filter(|(last, _)| *last == index) {
                    Some((_, most)) => *most = used.max(*most),
                    None => samples.push((index, used)),
                }
            }
            self.queue(index)?;
        }
        Ok(Timestamp::from_millisecond(moment).ok())
    }

    fn queue(&mut self, index: usize) -> io::Result<()> {
        if let Some(cursor) = self.cursors.get_mut(index)
            && let Some((at, _)) = cursor.peek(self.spool)?
        {
            self.next.push(Reverse((at, index)));
        }
        Ok(())
    }
}
