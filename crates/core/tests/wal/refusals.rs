//! Each reason to remove nothing.

use std::collections::BTreeSet;

use csm_core::wal::{BaseBackup, Contradiction, Feed, Part};
use rstest::rstest;

use super::*;

/// What changes the quiet evidence.
type Change = fn(&mut Evidence);

#[rstest]
#[case::timeline(|e: &mut Evidence| e.timeline = None, Part::Timeline)]
#[case::position(|e: &mut Evidence| e.position = None, Part::Position)]
#[case::checkpoint(|e: &mut Evidence| e.checkpoint = None, Part::Checkpoint)]
#[case::slots(|e: &mut Evidence| e.slots = None, Part::Slots)]
#[case::standbys(|e: &mut Evidence| e.standbys = None, Part::Standbys)]
#[case::wal_keep_size(|e: &mut Evidence| e.wal_keep_size = None, Part::WalKeepSize)]
#[case::base_backups(|e: &mut Evidence| e.base_backups = None, Part::BaseBackups)]
#[case::summaries(|e: &mut Evidence| e.summaries = None, Part::Summaries)]
#[case::archiving(|e: &mut Evidence| e.archiving = None, Part::Archiving)]
#[case::directory(|e: &mut Evidence| e.directory = None, Part::Directory)]
#[case::status(|e: &mut Evidence| e.directory = Some(Directory::new(SIZE, (16..36).map(|n| segment(n).to_string()))), Part::ArchiveStatus)]
fn what_is_missing(#[case] change: Change, #[case] part: Part) {
    let refusal = refused(&with(change));
    assert_eq!(refusal, Refusal::Missing(part));
    let said = refusal.to_string();
    assert!(
        said.ends_with(" is not known") && refusal.remedy().contains("until it is known"),
        "{said}"
    );
}

#[test]
fn nothing_known_is_a_refusal() {
    assert_eq!(refused(&Evidence::default()).as_str(), "Missing");
}

/// A slot of this name, with the rest of what is said about it.
fn held(change: fn(&mut Slot)) -> Evidence {
    let mut slot = slot("s", Some(within(20)));
    change(&mut slot);
    with_slot(quiet(), slot)
}

fn replica(feed: Feed) -> Evidence {
    with(|e| {
        e.position = Some(Position::Standby {
            received: Some(within(32)),
            replayed: within(32),
            feed,
        });
        e.archiving = Some(Archiving::Elsewhere { unarchived: segment(32) });
    })
}

fn archived_elsewhere(unarchived: Segment) -> Evidence {
    let mut evidence = replica(Feed::Streams);
    evidence.archiving = Some(Archiving::Elsewhere { unarchived });
    evidence
}

fn summarised(id: u32, lsn: Lsn) -> Evidence {
    with(|e| {
        e.summaries = Some(Summaries::UpTo {
            lsn,
            timeline: timeline(id),
        });
    })
}

/// 64 MiB instead of 16.
fn large() -> SegmentSize {
    SegmentSize::new(64 << 20).unwrap()
}

#[rstest]
#[case::backup(
    with(|e| e.base_backups = Some(vec![BaseBackup { name: Arc::from("orders-daily"), start: Some(within(29)) }])),
    "BaseBackupRunning: base backup orders-daily is running from 0/1D001234 on; it needs all WAL since its start"
)]
#[case::backup_of_unknown_start(
    with(|e| e.base_backups = Some(vec![BaseBackup { name: Arc::from("pid 7"), start: None }])),
    "BaseBackupRunning: base backup pid 7 is running; it needs all WAL since its start"
)]
#[case::alone(
    replica(Feed::Nothing),
    "NotFollowing: this instance is a standby, does not stream, and no slot holds for it what it needs next"
)]
#[case::absent(
    with_standby(quiet(), standby("orders-2", None)),
    "StandbyUnprotected: standby orders-2 is not connected and has no replication slot that holds WAL here: what it needs is not known"
)]
#[case::absent_since(
    with_standby(quiet(), Standby { streams: false, ..standby("orders-2", Some(within(31))) }),
    "StandbyUnprotected: standby orders-2 is not connected and has no replication slot that holds WAL here: what it needs is not known"
)]
#[case::silent(
    with_standby(quiet(), Standby { streams: true, ..standby("orders-2", None) }),
    "StandbyPositionUnknown: standby orders-2 is connected, has not said what it has on disk, and has no replication slot that holds WAL here"
)]
#[case::logical_slot_without_position(
    held(|s| (s.kind, s.restart_lsn) = (SlotKind::Logical, None)),
    "SlotWithoutPosition: logical replication slot \"s\" (not in use) has no restart_lsn: what it needs is not known"
)]
#[case::slot_in_use_without_position(
    held(|s| (s.active, s.restart_lsn) = (true, None)),
    "SlotWithoutPosition: physical replication slot \"s\" (in use) has no restart_lsn: what it needs is not known"
)]
#[case::lost_slot_in_use(
    held(|s| (s.active, s.lost, s.restart_lsn) = (true, true, None)),
    "SlotWithoutPosition: physical replication slot \"s\" (in use) has no restart_lsn: what it needs is not known"
)]
#[case::behind(
    summarised(2, within(29)),
    "SummariesBehind: WAL is summarised up to 0/1D001234 of timeline 2 only, and the last checkpoint is at 0/1E001234"
)]
#[case::summaries_of_before(
    summarised(1, within(31)),
    "SummariesBehind: WAL is summarised up to 0/1F001234 of timeline 1 only, and the last checkpoint is at 0/1E001234"
)]
#[case::not_archived(
    with(|e| e.archiving = Some(Archiving::Off)),
    "ArchivingNotConfigured: WAL is not archived, and walCleanup.requireArchived is true"
)]
#[case::archived_elsewhere(
    archived_elsewhere(segment_of(3, 33)),
    "ArchivedOnAnotherTimeline: the instance that archives is at 000000030000000000000021, and this one is on timeline 2"
)]
#[case::promoted(
    with(|e| {
        let redo = within(30);
        e.checkpoint = Some(Checkpoint { redo, timeline: timeline(1), file: segment_of(1, 30) });
    }),
    "CheckpointOfAnotherTimeline: the last completed checkpoint is of timeline 1, and timeline 2 is written: recovery from a crash needs both"
)]
#[case::another_size(
    with(|e| e.directory = Some(directory(16..36, 32, &["0000000200000000000001FF"]))),
    "MalformedFile: 0000000200000000000001FF in pg_wal looks like a segment and is none with segments of this size"
)]
#[case::another_size_partial(
    with(|e| e.directory = Some(directory(16..36, 32, &["0000000200000000000001FF.partial"]))),
    "MalformedFile: 0000000200000000000001FF.partial in pg_wal looks like a segment and is none with segments of this size"
)]
#[case::a_mark_of_another_size(
    with(|e| e.directory = Some(directory(16..36, 32, &["0000000200000000000001FF.ready"]))),
    "MalformedFile: 0000000200000000000001FF in pg_wal looks like a segment and is none with segments of this size"
)]
#[case::cut_short(
    with(|e| e.directory = Some(directory(16..32, 32, &[]))),
    "SegmentMissing: 000000020000000000000020 has no file, and recovery from a crash would read it: it lies between the last checkpoint and the end of the WAL"
)]
#[case::no_redo(
    with(|e| e.directory = Some(directory(31..36, 32, &[]))),
    "SegmentMissing: 00000002000000000000001E has no file, and recovery from a crash would read it: it lies between the last checkpoint and the end of the WAL"
)]
#[case::no_files(
    with(|e| e.directory = Some(directory(16..16, 16, &[]))),
    "SegmentMissing: 00000002000000000000001E has no file, and recovery from a crash would read it: it lies between the last checkpoint and the end of the WAL"
)]
fn what_forbids_it(#[case] evidence: Evidence, #[case] expected: &str) {
    let refusal = refused(&evidence);
    assert_eq!(format!("{}: {refusal}", refusal.as_str()), expected);
    assert!(!refusal.remedy().is_empty());
}

#[rstest]
#[case::redo_after_the_end(
    with(|e| e.position = Some(Position::Primary { written: within(29) })),
    "RedoAfterEnd: the last checkpoint's redo position 0/1E001234 is after the end of the WAL, 0/1D001234"
)]
#[case::redo_in_another_file(
    with(|e| e.checkpoint.as_mut().unwrap().file = segment(31)),
    "RedoFile: the last checkpoint's redo position 0/1E001234 is in 00000002000000000000001E, and the server says 00000002000000000000001F"
)]
#[case::redo_with_another_size(
    with(|e| e.checkpoint.as_mut().unwrap().file = Segment::at(within(30), timeline(2), large())),
    "SegmentSize: 000000020000000000000007 was read with segments of another size than those of pg_wal"
)]
#[case::archive_with_another_size(
    archived_elsewhere(Segment::at(within(32), timeline(2), large())),
    "SegmentSize: 000000020000000000000008 was read with segments of another size than those of pg_wal"
)]
#[case::slot_after_the_end(
    held(|s| s.restart_lsn = Some(within(33))),
    "SlotAfterEnd: replication slot \"s\" is at 0/21001234, after the end of the WAL, 0/20001234"
)]
#[case::standby_after_the_end(
    with_standby(quiet(), standby("orders-2", Some(within(33)))),
    "StandbyAfterEnd: standby orders-2 has WAL up to 0/21001234, after the end of the primary's, 0/20001234"
)]
#[case::summaries_after_the_end(
    summarised(2, within(33)),
    "SummariesAfterEnd: WAL is summarised up to 0/21001234, after the end of the WAL, 0/20001234"
)]
fn what_contradicts_itself(#[case] evidence: Evidence, #[case] expected: &str) {
    let Refusal::Inconsistent(contradiction) = refused(&evidence) else {
        panic!("{:?}", refused(&evidence));
    };
    assert_eq!(format!("{}: {contradiction}", contradiction.as_str()), expected);
    let refusal = Refusal::Inconsistent(contradiction);
    assert_eq!(refusal.as_str(), "Inconsistent");
    assert!(refusal.to_string().starts_with("the evidence contradicts itself: ") && !refusal.remedy().is_empty());
}

/// With a segment size that is not the server's, positions would be looked for in other files.
#[test]
fn a_wrong_segment_size_is_found_out() {
    let names = (16..36).map(|n| segment(n).to_string());
    let evidence = with(|e| e.directory = Some(Directory::new(large(), names).with_status([""; 0])));
    assert!(matches!(
        refused(&evidence),
        Refusal::Inconsistent(Contradiction::SegmentSize { .. })
    ));
}

/// What a slot has on disk is known from a reading before the last checkpoint, and from nothing else.
#[rstest]
#[case::never_read(|e: &mut Evidence| e.slots_before = None, false)]
#[case::made_since(|e: &mut Evidence| e.slots_before.as_mut().unwrap().slots.clear(), false)]
#[case::had_no_position(|e: &mut Evidence| e.slots_before.as_mut().unwrap().slots[0].1 = None, false)]
#[case::read_after_the_checkpoint_began(|e: &mut Evidence| e.slots_before.as_mut().unwrap().end = within(31), false)]
#[case::read_while_it_was_made(|e: &mut Evidence| e.slots_before.as_mut().unwrap().end = within(30), false)]
#[case::read_before_it_was_asked_for(|e: &mut Evidence| {
    let before = e.slots_before.as_mut().unwrap();
    (before.end, before.checkpointed) = (within(30), true);
}, true)]
#[case::a_restartpoint(|e: &mut Evidence| {
    e.slots_before.as_mut().unwrap().end = within(30);
    *e = Evidence { slots: e.slots.take(), slots_before: e.slots_before.take(), ..replica(Feed::Streams) };
}, true)]
#[case::temporary(|e: &mut Evidence| {
    e.slots_before = None;
    e.slots.as_mut().unwrap()[0].temporary = true;
}, true)]
#[case::known(|_: &mut Evidence| {}, true)]
fn slots_are_saved_by_checkpoints(#[case] change: Change, #[case] allowed: bool) {
    let mut evidence = held(|_| {});
    change(&mut evidence);
    match prove(&evidence, RULES) {
        Ok(proof) => assert!(allowed && proof.cutoff() == segment(20)),
        Err(refusal) => {
            assert!(!allowed);
            assert_eq!(
                refusal.to_string(),
                "replication slot \"s\" needs WAL from 0/14001234 on, and after a crash from further back: no checkpoint since it was first read"
            );
            assert!(refusal.remedy().contains("CHECKPOINT"));
        }
    }
}

/// A slot that is lost, or never held anything, protects nobody.
#[rstest]
#[case::holds(|_: &mut Slot| {}, true)]
#[case::lost(|s: &mut Slot| s.lost = true, false)]
#[case::lost_and_in_use(|s: &mut Slot| (s.lost, s.active) = (true, true), false)]
#[case::never_used(|s: &mut Slot| s.restart_lsn = None, false)]
#[case::of_another(|s: &mut Slot| s.name = Arc::from("t"), false)]
fn a_standby_is_protected_by_a_slot_that_holds(#[case] change: fn(&mut Slot), #[case] allowed: bool) {
    let mut absent = standby("orders-2", None);
    absent.slot = Some(Arc::from("s"));
    let evidence = with_standby(held(change), absent);
    let refusal = prove(&evidence, RULES).err().map(|refusal| refusal.as_str());
    assert_eq!(refusal, (!allowed).then_some("StandbyUnprotected"));
}

#[rstest]
#[case(Feed::Streams)]
#[case(Feed::Slot)]
#[case(Feed::Archive)]
fn a_standby_that_follows_is_no_reason(#[case] feed: Feed) {
    assert_eq!(proved(&replica(feed)).cutoff(), segment(30));
}

#[rstest]
#[case(within(30))]
#[case(start_of(30))]
#[case(within(32))]
fn summaries_up_to_the_checkpoint_are_no_reason(#[case] upto: Lsn) {
    assert_eq!(proved(&summarised(2, upto)).cutoff(), segment(30));
}

/// Where the WAL ends with a segment, the next has no file yet.
#[test]
fn the_next_segment_may_have_no_file() {
    let evidence = with(|e| {
        e.position = Some(Position::Primary { written: start_of(32) });
        e.directory = Some(directory(16..32, 32, &[]));
    });
    assert_eq!(proved(&evidence).cutoff(), segment(30));
}

#[test]
fn names_and_remedies_are_told_apart() {
    let parts = [
        Part::Timeline,
        Part::Position,
        Part::Checkpoint,
        Part::Slots,
        Part::Standbys,
        Part::WalKeepSize,
        Part::BaseBackups,
        Part::Summaries,
        Part::Archiving,
        Part::Directory,
        Part::ArchiveStatus,
    ];
    let names: BTreeSet<_> = parts.into_iter().map(Part::as_str).collect();
    let said: BTreeSet<_> = parts.into_iter().map(|part| Refusal::Missing(part).to_string()).collect();
    assert_eq!((names.len(), said.len()), (parts.len(), parts.len()));
}
