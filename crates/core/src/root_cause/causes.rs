//! From facts to causes.

use csm_units::Bytes;
use jiff::SignedDuration;

use super::facts::{Facts, StandbyFacts, WalSettings};
use super::{Cause, Missing, WalSetting};
use crate::between::Content;
use crate::wal_tracking::{Flow, NOTICEABLE};

/// What holds less than this share of a volume does not fill it.
const SIGNIFICANT_PERCENT: u64 = 5;
/// A setting that keeps this share of a volume leaves less room for a burst, or for an archiver that is behind, than it
/// takes itself.
const TOO_BIG_PERCENT: i128 = 50;
/// One segment waits always, and one more while it is copied: so many are a queue.
const QUEUE: u64 = 4;
/// A load that writes a significant share in a quarter of an hour fills the volume in hours.
const LOAD: SignedDuration = SignedDuration::from_mins(15);

/// The least that counts, of a volume of this size: a twentieth of it, and never less than a few segments.
#[must_use]
pub fn significant(volume: Bytes) -> Bytes {
    volume.mul_div(SIGNIFICANT_PERCENT, 100).max(NOTICEABLE)
}

/// Why the volume fills, the strongest first: the cause that accounts for the most bytes; of equal ones, in the order of
/// [`Cause`]. Never empty: where nothing shows it, that is said, with what is not known.
#[must_use]
pub fn causes(facts: &Facts) -> Vec<Cause> {
    if let Some(filesystem) = facts.given.shared {
        // What is used of it says nothing of this volume.
        let volume = facts.given.volume;
        return vec![Cause::SharedFilesystem { filesystem, volume }];
    }
    let mut causes = Vec::new();
    if facts.holds_wal() {
        causes.extend(archiver(facts));
        causes.extend(slots(facts));
        causes.extend(standbys(facts));
        causes.extend(settings(facts, &causes));
        causes.extend(base_backup(facts));
    }
    if facts.holds_databases() {
        causes.extend(data(facts));
        causes.extend(temporary(facts));
    }
    // It is what everything holds; it is the cause where nothing does.
    if causes.is_empty() && facts.given.content == Content::Wal {
        causes.extend(load(facts));
    }
    if causes.is_empty() {
        causes.push(Cause::Unknown { missing: missing(facts) });
    }
    // Stable: equal ones stay in the order in which they were looked for.
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.weight()));
    causes
}

/// Whether so much counts.
fn counts(facts: &Facts, held: Bytes) -> bool {
    held >= significant(facts.given.volume)
}

fn archiver(facts: &Facts) -> Option<Cause> {
    let archiving = facts.archiving.filter(|_| facts.given.archives != Some(false))?;
    let (waiting, held) = (archiving.waiting, archiving.held());
    if let Some(last_failed) = archiving.failing() {
        // However little waits yet: it holds all that comes.
        return (waiting > 0).then_some(Cause::ArchiverFailing {
            waiting,
            held,
            last_archived: archiving.last_archived,
            last_failed,
        });
    }
    let written = Bytes::saturating_from(facts.generation?.per_second());
    let archived = facts.archived?.times(archiving.segment_size.wide());
    let archived = Bytes::saturating_from(archived.per_second());
    let slow = waiting >= QUEUE && counts(facts, held) && written > archived;
    slow.then_some(Cause::ArchiverSlow {
        waiting,
        held,
        written,
        archived,
    })
}

fn slots(facts: &Facts) -> impl Iterator<Item = Cause> {
    let slots = facts.given.slots.iter().flatten();
    slots.filter(|slot| counts(facts, slot.retained)).map(|slot| {
        let (name, held) = (slot.name.clone(), slot.retained);
        if slot.active {
            Cause::LaggingStandby { standby: name, held }
        } else {
            let since = slot.since;
            Cause::InactiveSlot { slot: name, held, since }
        }
    })
}

/// Standbys hold WAL through their slots; one without a slot is told of all the same, where no slot accounts for as much.
fn standbys(facts: &Facts) -> impl Iterator<Item = Cause> {
    let slots = facts.given.slots.as_deref().unwrap_or_default();
    let by_a_slot = move |standby: &StandbyFacts| slots.iter().any(|slot| slot.active && slot.retained >= standby.behind);
    let standbys = facts.given.standbys.iter().flatten();
    let behind = standbys.filter(move |standby| counts(facts, standby.behind) && !by_a_slot(standby));
    behind.map(|standby| Cause::LaggingStandby {
        standby: standby.name.clone(),
        held: standby.behind,
    })
}

/// What a setting keeps is what others do not hold. While an archive fails, or nobody reads from a slot, nobody can tell: they hold all
/// that is written, and PostgreSQL keeps the files of what it wrote before for later use.
fn settings(facts: &Facts, others: &[Cause]) -> Option<Cause> {
    let WalSettings { keep, max, min } = facts.given.settings?;
    let stuck = |cause: &Cause| matches!(cause, Cause::ArchiverFailing { .. } | Cause::InactiveSlot { .. });
    if others.iter().any(stuck) {
        return None;
    }
    let held = others.iter().map(Cause::weight).max().unwrap_or_default();
    let (wal, volume) = (facts.wal?.saturating_sub(held), facts.given.volume);
    let settings = [
        (WalSetting::WalKeepSize, keep),
        (WalSetting::MaxWalSize, max),
        (WalSetting::MinWalSize, min),
    ];
    let too_big = |value: Bytes| value.wide().saturating_mul(100) >= volume.wide().saturating_mul(TOO_BIG_PERCENT);
    let causes = settings
        .into_iter()
        .filter(|(_, value)| too_big(*value))
        .map(|(setting, value)| Cause::WalSettingsTooBig {
            setting,
            value,
            held: value.min(wal),
            volume,
        });
    // The first that accounts for the most.
    let strongest = causes.reduce(|best, next| if next.weight() > best.weight() { next } else { best })?;
    counts(facts, strongest.weight()).then_some(strongest)
}

fn base_backup(facts: &Facts) -> Option<Cause> {
    let since = facts.given.base_backups.iter().flatten().min().copied()?;
    // By the moment up to which it is known how much is written; what was written before does not stay for it.
    let (flow, wal) = (facts.generation?, facts.wal?);
    let until = facts.given.now;
    let written = flow.within(until.duration_since(since));
    let held = Bytes::saturating_from(written).min(wal);
    counts(facts, held).then_some(Cause::BaseBackupRunning { since, held })
}

fn grown(flow: Flow) -> Bytes {
    Bytes::saturating_from(flow.change())
}

fn data(facts: &Facts) -> Option<Cause> {
    let flow = facts.databases.filter(|flow| grown(*flow) >= NOTICEABLE)?;
    Some(Cause::DataGrowth {
        grown: grown(flow),
        over: flow.over(),
        as_wal: false,
    })
}

/// What the volume grew by that is in no database and is no WAL; or what went through files that are gone again.
fn temporary(facts: &Facts) -> Option<Cause> {
    let wal = match facts.given.content {
        Content::Both => facts.wal_growth.map(Flow::change),
        Content::Wal | Content::Databases => Some(0),
    };
    let unexplained = facts.used.zip(facts.databases).zip(wal).and_then(|((used, databases), wal)| {
        let explained = databases.change().max(0).saturating_add(wal.max(0));
        Flow::new(used.change().saturating_sub(explained), used.over())
    });
    let noticeable = |flow: &Flow| grown(*flow) >= NOTICEABLE;
    let of = |flow: Flow, counted| Cause::TempFiles {
        grown: grown(flow),
        over: flow.over(),
        counted,
    };
    let counted = facts.temporary.filter(noticeable).map(|flow| of(flow, true));
    counted.or(unexplained.filter(noticeable).map(|flow| of(flow, false)))
}

fn load(facts: &Facts) -> Option<Cause> {
    let flow = facts.generation?;
    let soon = flow.within(LOAD);
    counts(facts, Bytes::saturating_from(soon)).then(|| Cause::DataGrowth {
        grown: grown(flow),
        over: flow.over(),
        as_wal: true,
    })
}

fn missing(facts: &Facts) -> Vec<Missing> {
    let given = &facts.given;
    let wal = [
        (Missing::Archiving, given.archives != Some(false) && facts.archiving.is_none()),
        (Missing::Slots, given.slots.is_none()),
        (Missing::Standbys, given.standbys.is_none()),
        (Missing::WalSettings, given.settings.is_none()),
        (Missing::BaseBackups, given.base_backups.is_none()),
        (Missing::WalSize, facts.wal.is_none()),
    ];
    let all = [
        (Missing::Databases, facts.holds_databases() && facts.databases.is_none()),
        (Missing::Usage, facts.used.is_none()),
    ];
    let wal = wal.into_iter().filter(|_| facts.holds_wal());
    wal.chain(all).filter(|(_, missing)| *missing).map(|(what, _)| what).collect()
}
