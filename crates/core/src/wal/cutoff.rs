//! The proof: what may go, and who holds the rest.

use std::sync::Arc;

use csm_units::Bytes;

use super::bound::{Bound, Holder};
use super::directory::Mark;
use super::evidence::{Archiving, EarlierSlots, Evidence, Feed, Position, Reserved, Slot, Standby, Summaries};
use super::facts::Facts;
use super::lsn::Lsn;
use super::refusal::Refusal;
use super::segment::Segment;

/// What a policy asks for (`walCleanup`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// `retainCount`: so many of the newest completed segments stay.
    pub retain_count: u32,
    /// `requireArchived`: nothing is removed where nothing archives. Where WAL is archived, what is not archived stays, whatever
    /// this says.
    pub require_archived: bool,
}

/// What may be removed from an instance's `pg_wal`: proved, by [`prove`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    decided_by: Bound,
    kept_by: Vec<Bound>,
    removable: Vec<Segment>,
    archiving: Archiving,
}

impl Proof {
    /// The first segment that stays: the argument of `pg_archivecleanup`.
    #[must_use]
    pub const fn cutoff(&self) -> Segment {
        self.decided_by.segment
    }

    /// What holds most, and so decided on the cutoff: the holder to name.
    #[must_use]
    pub const fn decided_by(&self) -> &Bound {
        &self.decided_by
    }

    /// All that holds WAL, what holds most first.
    #[must_use]
    pub fn kept_by(&self) -> &[Bound] {
        &self.kept_by
    }

    /// The segments that may go, by position: all of the current timeline, complete, below the cutoff, and archived where WAL is
    /// archived. None is no error: see who holds them.
    #[must_use]
    pub fn removable(&self) -> &[Segment] {
        &self.removable
    }

    /// What is freed if all of them go.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let count = u64::try_from(self.removable.len()).unwrap_or(u64::MAX);
        Bytes::new(count.saturating_mul(self.cutoff().size().bytes().get()))
    }

    /// Who archives.
    pub(super) const fn archiving(&self) -> Archiving {
        self.archiving
    }
}

/// What of this `pg_wal` nobody needs.
///
/// # Errors
/// The evidence is incomplete, does not fit together, or shows something beside which nothing may be removed.
pub fn prove(evidence: &Evidence, rules: Rules) -> Result<Proof, Refusal> {
    let facts = Facts::of(evidence)?;
    circumstances(&facts, rules)?;
    let redo = facts.checkpoint.redo;
    let checkpoint = Bound {
        segment: facts.segment_at(redo),
        holder: Holder::Checkpoint { redo },
    };
    let mut kept_by = bounds(&facts, rules)?;
    let decided_by = kept_by.iter().chain([&checkpoint]).min().unwrap_or(&checkpoint).clone();
    kept_by.push(checkpoint);
    kept_by.sort_unstable();
    let below = |segment: &Segment| segment.number() < decided_by.segment.number();
    Ok(Proof {
        removable: facts.directory.of(facts.timeline).filter(below).collect(),
        archiving: facts.archiving,
        decided_by,
        kept_by,
    })
}

/// What forbids any removal.
fn circumstances(facts: &Facts<'_>, rules: Rules) -> Result<(), Refusal> {
    if let Some(backup) = facts.base_backups.first() {
        return Err(Refusal::BaseBackupRunning {
            name: backup.name.clone(),
            start: backup.start,
        });
    }
    if let Position::Standby { feed: Feed::Nothing, .. } = facts.position {
        return Err(Refusal::NotFollowing);
    }
    for standby in facts.standbys.iter().filter(|standby| !has_slot(facts, standby)) {
        let name = standby.name.clone();
        match (standby.streams, standby.flushed) {
            (true, Some(_)) => {}
            (true, None) => return Err(Refusal::StandbyPositionUnknown { name }),
            (false, _) => return Err(Refusal::StandbyUnprotected { name }),
        }
    }
    let redo = facts.checkpoint.redo;
    if let Summaries::UpTo { lsn: upto, timeline } = facts.summaries
        && (timeline != facts.timeline || facts.segment_at(upto) < facts.segment_at(redo))
    {
        // Otherwise what is not summarised lies above the checkpoint, which is a bound.
        return Err(Refusal::SummariesBehind { upto, timeline, redo });
    }
    match facts.archiving {
        Archiving::Off if rules.require_archived => Err(Refusal::ArchivingNotConfigured),
        Archiving::Elsewhere { unarchived } if unarchived.timeline() != facts.timeline => Err(Refusal::ArchivedOnAnotherTimeline {
            unarchived,
            current: facts.timeline,
        }),
        Archiving::Off | Archiving::Own | Archiving::Elsewhere { .. } => Ok(()),
    }
}

/// Whether a slot of this instance holds WAL for a standby. One that is lost holds for nobody, also where somebody reads on.
fn has_slot(facts: &Facts<'_>, standby: &Standby) -> bool {
    let is_its = |slot: &&Slot| Some(&slot.name) == standby.slot.as_ref();
    let holds = |slot: &Slot| !slot.lost && matches!(slot.reserves(), Reserved::From(_));
    facts.slots.iter().find(is_its).is_some_and(holds)
}

/// All that holds WAL, beside the checkpoint, in any order.
fn bounds(facts: &Facts<'_>, rules: Rules) -> Result<Vec<Bound>, Refusal> {
    let at = |lsn: Lsn, holder| Bound {
        segment: facts.segment_at(lsn),
        holder,
    };
    let mut bounds = Vec::new();
    for slot in facts.slots {
        if let Some(from) = needed_by(facts, slot)? {
            let name = slot.name.clone();
            bounds.push(at(from, Holder::Slot { name, from }));
        }
    }
    for standby in facts.standbys {
        if let Some(flushed) = standby.flushed.filter(|_| standby.streams) {
            let name = standby.name.clone();
            bounds.push(at(flushed, Holder::Standby { name, flushed }));
        }
    }
    bounds.extend(promised(facts));
    bounds.extend(unarchived(facts));
    bounds.extend(newest(facts, rules));
    // Neither may be removed, and pg_archivecleanup removes what is below the cutoff: it stays at or below them.
    let files = [
        facts.directory.foreign(facts.timeline).map(|s| (s, Holder::OtherTimeline(s))),
        facts.directory.partial().map(|s| (s, Holder::Partial(s))),
    ];
    bounds.extend(files.into_iter().flatten().map(|(segment, holder)| Bound {
        segment: facts.last().down_to(segment.number()),
        holder,
    }));
    Ok(bounds)
}

/// From where on a slot needs WAL: what it says, or what it is back at after a crash.
fn needed_by(facts: &Facts<'_>, slot: &Slot) -> Result<Option<Lsn>, Refusal> {
    let name = || slot.name.clone();
    match slot.reserves() {
        Reserved::Nothing => Ok(None),
        Reserved::Unknown => Err(Refusal::SlotWithoutPosition {
            name: name(),
            kind: slot.kind,
            active: slot.active,
        }),
        Reserved::From(restart) if slot.temporary => Ok(Some(restart)),
        Reserved::From(restart) => {
            let saved = |before: &EarlierSlots| before.saved(&slot.name, &facts.checkpoint, facts.position);
            let saved = facts.slots_before.and_then(saved);
            let saved = saved.ok_or_else(|| Refusal::SlotNotSaved { name: name(), restart })?;
            Ok(Some(restart.min(saved)))
        }
    }
}

/// What `wal_keep_size` promises. Who streams, and says what it has, needs no promise. Anybody else has a slot, and may need more than
/// that: a slot can be younger than what its standby waits for, and a former primary comes back from further behind (pg_rewind).
fn promised(facts: &Facts<'_>) -> Option<Bound> {
    let says_nothing = |standby: &&Standby| !standby.streams || standby.flushed.is_none();
    let silent = facts.standbys.iter().find(says_nothing)?;
    let last = facts.last();
    let kept = last.size().count(facts.wal_keep_size);
    Some(Bound {
        segment: last.down_to(last.number().saturating_sub(kept)),
        holder: Holder::WalKeepSize {
            size: facts.wal_keep_size,
            standby: Arc::clone(&silent.name),
        },
    })
}

/// The first completed segment that is not archived. Where nothing archives, nothing waits to be: what waits all the same is wanted by
/// somebody who was not known of.
fn unarchived(facts: &Facts<'_>) -> Vec<Bound> {
    let last = facts.last();
    let down_to = |segment: Segment, holder| Bound {
        segment: last.down_to(segment.number()),
        holder,
    };
    let elsewhere = match facts.archiving {
        Archiving::Off | Archiving::Own => None,
        Archiving::Elsewhere { unarchived } => Some(down_to(unarchived, Holder::ArchiveElsewhere(unarchived))),
    };
    let complete = |(segment, _): &(Segment, Mark)| segment.number() < last.number();
    let counts = |(_, mark): &(Segment, Mark)| facts.archiving != Archiving::Off || *mark == Mark::Ready;
    let here = facts.directory.unarchived().filter(counts).find(complete);
    let here = here.map(|(segment, mark)| down_to(segment, Holder::Archive { segment, mark }));
    elsewhere.into_iter().chain(here).collect()
}

/// The newest completed segments, as many as the policy keeps.
fn newest(facts: &Facts<'_>, rules: Rules) -> Option<Bound> {
    let kept = usize::try_from(rules.retain_count).unwrap_or(usize::MAX);
    let last = facts.last();
    let complete = |s: &Segment| s.number() < last.number();
    let segment = facts.directory.of(facts.timeline).rev().filter(complete).take(kept).last()?;
    Some(Bound {
        segment,
        holder: Holder::RetainCount(rules.retain_count),
    })
}
