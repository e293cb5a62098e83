//! What readings say: who holds, whether a proof still stands, and how far a removal got.

use std::ops::RangeInclusive;
use std::sync::Arc;

use csm_api::{WalCleanupStatus, WalFiles};

use super::Reading;
use crate::wal::{Archiving, Directory, EarlierSlots, Evidence, NotArchived, Position, Proof, Refusal, Rules, Segment, prove};

/// What a checkpoint would lead to: slots as they are, saved. Good for naming holders and for a list, never for a removal.
pub(super) fn as_if_checkpointed(evidence: &Evidence, rules: Rules) -> Result<Proof, Refusal> {
    let mut supposed = evidence.clone();
    if let (Some(slots), Some(checkpoint)) = (&evidence.slots, &evidence.checkpoint) {
        let slots = slots.iter().map(|slot| (Arc::clone(&slot.name), slot.restart_lsn));
        supposed.slots_before = Some(EarlierSlots {
            end: checkpoint.redo,
            slots: slots.collect(),
            checkpointed: true,
        });
    }
    prove(&supposed, rules)
}

/// Why a proof does not stand any more, just before the removal.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fallen {
    /// There would be none now.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It would be a lower cutoff now.
    #[error("{0} was proved as the cutoff, and now it would be {1}")]
    Lower(Segment, Segment),
    /// Something below it is not archived.
    #[error("{0}")]
    NotArchived(#[from] NotArchived),
    /// The directory or who archives is not known.
    #[error("what lies in pg_wal, or who archives it, is not known")]
    Unknown,
}

/// Holds a proof against what is there `now`. What slots said before the checkpoint stays true: what it has saved is on disk,
/// and a server that crashed since came up with that, or with something newer.
pub(super) fn still_stands(proof: &Proof, before: &Reading, now: &Reading, rules: Rules) -> Result<(), Fallen> {
    let mut evidence = now.evidence.clone();
    evidence.slots_before.clone_from(&before.evidence.slots_before);
    let anew = prove(&evidence, rules)?;
    if anew.cutoff().number() < proof.cutoff().number() || anew.cutoff().timeline() != proof.cutoff().timeline() {
        return Err(Fallen::Lower(proof.cutoff(), anew.cutoff()));
    }
    let (Some(directory), Some(archiving)) = (&evidence.directory, evidence.archiving) else {
        return Err(Fallen::Unknown);
    };
    Ok(proof.is_archived(directory, archiving)?)
}

/// What of a removal that the journal tells of is to be looked for: its cutoff, and the segments that were listed.
pub(super) struct Recorded {
    pub cutoff: Segment,
    listed: RangeInclusive<u64>,
    count: usize,
}

impl Recorded {
    /// None where the journal does not say it, or not with segments of this size.
    pub fn of(status: &WalCleanupStatus, directory: &Directory) -> Option<Self> {
        let parse = |name: &str| Segment::parse(name, directory.segment_size()).ok();
        let WalFiles { count, first, last } = status.dry_run.as_ref()?;
        let (first, last) = (parse(first.as_deref()?)?, parse(last.as_deref()?)?);
        Some(Self {
            cutoff: parse(&status.proof.as_ref()?.cutoff)?,
            listed: first.number()..=last.number(),
            count: usize::try_from(*count).ok()?,
        })
    }

    /// How many of the listed segments are gone. All of the timeline between the first and the last was listed: `pg_archivecleanup`
    /// leaves none out.
    pub fn gone(&self, directory: &Directory) -> usize {
        let of_timeline = directory.of(self.cutoff.timeline());
        let left = of_timeline.filter(|segment| self.listed.contains(&segment.number())).count();
        self.count.saturating_sub(left)
    }

    /// Whether all of them are.
    pub fn is_whole(&self, gone: usize) -> bool {
        gone == self.count
    }

    /// What below the cutoff is not archived, after the removal.
    pub fn gap(&self, now: &Reading) -> Option<NotArchived> {
        match now.evidence.archiving {
            Some(Archiving::Off) => None,
            None => Some(NotArchived::StatusUnknown),
            Some(Archiving::Elsewhere { unarchived }) if unarchived.number() < self.cutoff.number() => {
                Some(NotArchived::Elsewhere(unarchived))
            }
            Some(Archiving::Own | Archiving::Elsewhere { .. }) => {
                let unknown = Err(NotArchived::StatusUnknown);
                let directory = now.evidence.directory.as_ref();
                directory.map_or(unknown, |d| d.archived_below(self.cutoff)).err()
            }
        }
    }
}

/// How far the WAL goes, where it is known.
pub(super) fn last(evidence: &Evidence) -> Option<Segment> {
    let size = evidence.directory.as_ref()?.segment_size();
    Some(Segment::at(evidence.position.map(Position::end)?, evidence.timeline?, size))
}
