//! A growth that is being carried out: PVC after PVC.

use std::collections::VecDeque;
use std::sync::Arc;

use csm_api::{Urgency, Verdict};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::freshness::after;
use crate::plan::Decision;
use crate::world::{Operation, Resize, ResizeStage, Volume};

/// An operation under way.
#[derive(Debug)]
pub(super) struct Growth {
    /// Its name in the ledger.
    pub operation: Arc<str>,
    /// Which volume of the world.
    pub volume: usize,
    /// When the filesystems of those that are patched are larger.
    pub ends: Timestamp,
    to: Bytes,
    parallelism: usize,
    /// PVCs that are still to be patched, in the planner's order.
    waiting: VecDeque<usize>,
    /// PVCs that are patched, and whose filesystems have not grown yet.
    patched: Vec<usize>,
}

impl Growth {
    /// What a decision comes to, and its entry in the ledger (begun at no time yet); none where it patches nothing.
    pub fn of(decision: &Decision, volume: &Volume, index: usize, id: Arc<str>, parallelism: u16) -> Option<(Operation, Self)> {
        let to = decision.to?;
        let place = |uid: &Arc<str>| volume.members.iter().position(|m| m.uid == *uid);
        let patched = || decision.members.iter().filter(|m| m.to.is_some());
        let waiting: VecDeque<usize> = patched().filter_map(|m| place(&m.uid)).collect();
        if waiting.is_empty() {
            return None;
        }
        let operation = Operation {
            id: id.clone(),
            volume: decision.volume.clone(),
            urgency: match decision.verdict {
                Verdict::CatchUp => Urgency::CatchUp,
                _ => decision.urgency.unwrap_or(Urgency::Planned),
            },
            started_at: Timestamp::UNIX_EPOCH,
            from: decision.from,
            to,
            members: Some(patched().map(|m| m.uid.clone()).collect()),
            accepted: true,
            done: false,
        };
        let growth = Self {
            operation: id,
            volume: index,
            ends: Timestamp::MAX,
            to,
            parallelism: usize::from(parallelism.max(1)),
            waiting,
            patched: Vec::new(),
        };
        Some((operation, growth))
    }

    /// Patches the next PVCs.
    pub fn patch(&mut self, volume: &mut Volume, now: Timestamp, time_to_grow: SignedDuration) {
        let count = self.parallelism.min(self.waiting.len());
        self.patched.extend(self.waiting.drain(..count));
        self.ends = after(now, time_to_grow);
        for index in &self.patched {
            if let Some(member) = volume.members.get_mut(*index) {
                member.request = member.request.max(self.to);
                member.resize = Some(Resize {
                    since: Some(now),
                    stage: ResizeStage::Controller,
                    error: None,
                    allocated: None,
                });
            }
        }
    }

    /// The PVCs that were patched have grown. Returns each with the size that it had.
    pub fn grown(&mut self, volume: &mut Volume, now: Timestamp) -> Vec<(usize, Bytes)> {
        let mut grown = Vec::new();
        for index in self.patched.drain(..) {
            if let Some(member) = volume.members.get_mut(index) {
                grown.push((index, member.size));
                member.size = member.size.max(self.to);
                member.resize = None;
                member.last_resize_at = Some(now);
            }
        }
        grown
    }

    /// Whether nothing of it is left to do.
    pub fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.patched.is_empty()
    }
}
