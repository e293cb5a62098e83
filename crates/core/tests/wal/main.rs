//! What of an instance's `pg_wal` may be removed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // tests

mod bounds;
mod consumers;
#[allow(dead_code)] // other tests need more of it
#[path = "../planner/dice.rs"]
mod dice;
mod dry_run;
mod events;
mod model;
mod names;
mod observed;
mod properties;
mod refusals;

use std::sync::Arc;

use csm_core::wal::{
    Archiving, Checkpoint, Directory, EarlierSlots, Evidence, Lsn, Position, Proof, Refusal, Rules, Segment, SegmentSize, Slot, SlotKind,
    Standby, Summaries, Timeline, prove,
};
use csm_units::Bytes;

const SIZE: SegmentSize = SegmentSize::DEFAULT;

const RULES: Rules = Rules {
    retain_count: 0,
    require_archived: true,
};

fn timeline(id: u32) -> Timeline {
    Timeline::new(id).unwrap()
}

fn segment_of(id: u32, number: u64) -> Segment {
    Segment::new(timeline(id), number, SIZE).unwrap()
}

/// Of timeline 2, which all of these tests are on.
fn segment(number: u64) -> Segment {
    segment_of(2, number)
}

/// In the middle of a segment.
fn within(number: u64) -> Lsn {
    Lsn::new(number * SIZE.bytes().get() + 0x1234)
}

/// Where a segment begins.
fn start_of(number: u64) -> Lsn {
    Lsn::new(number * SIZE.bytes().get())
}

fn checkpoint(number: u64) -> Checkpoint {
    Checkpoint {
        redo: within(number),
        timeline: timeline(2),
        file: segment(number),
    }
}

/// These files, all of those before `archived` marked as done, and also what `others` says, by name.
fn directory(files: std::ops::Range<u64>, archived: u64, others: &[&str]) -> Directory {
    let names = files.clone().map(|n| segment(n).to_string());
    let names = names.chain(others.iter().filter(|o| !is_mark(o)).map(ToString::to_string));
    let marks = files.filter(|n| *n < archived).map(|n| format!("{}.done", segment(n)));
    let marks = marks.chain(others.iter().filter(|o| is_mark(o)).map(ToString::to_string));
    Directory::new(SIZE, names).with_status(marks)
}

fn is_mark(name: &str) -> bool {
    matches!(name.rsplit_once('.'), Some((_, "done" | "ready")))
}

/// A primary that writes segment 32, with files from 16 to 35, checkpointed in 30, all archived, and nobody who follows it.
fn quiet() -> Evidence {
    Evidence {
        timeline: Some(timeline(2)),
        position: Some(Position::Primary { written: within(32) }),
        checkpoint: Some(checkpoint(30)),
        slots: Some(Vec::new()),
        slots_before: Some(EarlierSlots {
            end: within(29),
            slots: Vec::new(),
            checkpointed: false,
        }),
        standbys: Some(Vec::new()),
        wal_keep_size: Some(Bytes::mib(160)),
        base_backups: Some(Vec::new()),
        summaries: Some(Summaries::Off),
        archiving: Some(Archiving::Own),
        directory: Some(directory(16..36, 32, &[])),
    }
}

fn slot(name: &str, restart_lsn: Option<Lsn>) -> Slot {
    Slot {
        name: Arc::from(name),
        kind: SlotKind::Physical,
        active: false,
        temporary: false,
        restart_lsn,
        lost: false,
    }
}

/// With a slot that was there when slots were read first, and said the same.
fn with_slot(mut evidence: Evidence, slot: Slot) -> Evidence {
    if let Some(before) = &mut evidence.slots_before {
        before.slots.push((slot.name.clone(), slot.restart_lsn));
    }
    evidence.slots.as_mut().unwrap().push(slot);
    evidence
}

fn standby(name: &str, flushed: Option<Lsn>) -> Standby {
    Standby {
        name: Arc::from(name),
        streams: flushed.is_some(),
        flushed,
        slot: None,
    }
}

fn with_standby(mut evidence: Evidence, standby: Standby) -> Evidence {
    evidence.standbys.as_mut().unwrap().push(standby);
    evidence
}

fn with(change: impl FnOnce(&mut Evidence)) -> Evidence {
    let mut evidence = quiet();
    change(&mut evidence);
    evidence
}

fn proved(evidence: &Evidence) -> Proof {
    prove(evidence, RULES).unwrap()
}

fn refused(evidence: &Evidence) -> Refusal {
    prove(evidence, RULES).unwrap_err()
}

/// The numbers of what may go.
fn numbers(proof: &Proof) -> Vec<u64> {
    proof.removable().iter().map(|s| s.number()).collect()
}
