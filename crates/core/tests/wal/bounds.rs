//! Each thing that holds WAL.

use csm_core::wal::{Feed, Holder, Mark};
use rstest::rstest;

use super::*;

/// The number of the cutoff, and the name of what decided on it.
fn decided(evidence: &Evidence, rules: Rules) -> (u64, &'static str) {
    let proof = prove(evidence, rules).unwrap();
    assert_eq!(proof.decided_by().segment, proof.cutoff());
    assert_eq!(proof.kept_by().first(), Some(proof.decided_by()));
    assert!(proof.kept_by().is_sorted());
    // Whatever holds, all from the first file up to the cutoff may go, and nothing else.
    let first = evidence.directory.as_ref().unwrap().segments().next().unwrap().number();
    assert_eq!(numbers(&proof), (first..proof.cutoff().number()).collect::<Vec<_>>());
    (proof.cutoff().number(), proof.decided_by().holder.as_str())
}

#[test]
fn where_nobody_needs_them_all_before_the_checkpoint_may_go() {
    let proof = proved(&quiet());
    assert_eq!(numbers(&proof), (16..30).collect::<Vec<_>>());
    assert_eq!(proof.cutoff().to_string(), "00000002000000000000001E");
    assert_eq!(proof.bytes(), Bytes::mib(14 * 16));
    assert_eq!(proof.kept_by().len(), 1);
}

/// Files above the one that is written were made in advance: they are neither complete nor to go.
#[rstest]
#[case(0, 30, "Checkpoint")]
#[case(1, 30, "Checkpoint")]
#[case(2, 30, "RetainCount")] // 31 and 30
#[case(3, 29, "RetainCount")]
#[case(16, 16, "RetainCount")]
#[case(17, 16, "RetainCount")]
#[case(u32::MAX, 16, "RetainCount")]
fn the_newest_completed_segments(#[case] retain_count: u32, #[case] cutoff: u64, #[case] holder: &str) {
    let rules = Rules { retain_count, ..RULES };
    assert_eq!(decided(&quiet(), rules), (cutoff, holder));
}

#[rstest]
#[case(slot("a", Some(within(20))), 20, "Slot")]
#[case(slot("a", Some(start_of(20))), 20, "Slot")]
#[case(slot("a", Some(within(30))), 30, "Slot")] // before the checkpoint, which nobody can do anything about
#[case(slot("a", Some(within(31))), 30, "Checkpoint")]
#[case(slot("a", Some(within(3))), 3, "Slot")]
#[case(slot("a", None), 30, "Checkpoint")] // never used
#[case(Slot { active: true, ..slot("a", Some(within(20))) }, 20, "Slot")]
#[case(Slot { kind: SlotKind::Logical, ..slot("a", Some(within(20))) }, 20, "Slot")]
#[case(Slot { temporary: true, active: true, ..slot("a", Some(within(20))) }, 20, "Slot")]
#[case(Slot { lost: true, ..slot("a", Some(within(20))) }, 30, "Checkpoint")]
#[case(Slot { lost: true, ..slot("a", None) }, 30, "Checkpoint")]
#[case(Slot { lost: true, kind: SlotKind::Logical, ..slot("a", None) }, 30, "Checkpoint")]
#[case(Slot { lost: true, active: true, ..slot("a", Some(within(20))) }, 20, "Slot")] // somebody still reads
fn slots(#[case] slot: Slot, #[case] cutoff: u64, #[case] holder: &str) {
    assert_eq!(decided(&with_slot(quiet(), slot), RULES), (cutoff, holder));
}

/// After a crash a slot is back at what the last checkpoint saved.
#[test]
fn a_slot_that_advanced_since_it_was_saved_holds_what_it_is_back_at_after_a_crash() {
    let mut evidence = with_slot(quiet(), slot("a", Some(within(28))));
    evidence.slots_before.as_mut().unwrap().slots[0].1 = Some(within(22));
    assert_eq!(decided(&evidence, RULES), (22, "Slot"));
    // Nothing was written between.
    let before = evidence.slots_before.as_mut().unwrap();
    (before.end, before.checkpointed) = (within(30), true);
    assert_eq!(decided(&evidence, RULES), (22, "Slot"));
    let said = proved(&evidence).decided_by().holder.to_string();
    assert_eq!(said, "replication slot \"a\" needs WAL from 0/16001234 on");
}

#[rstest]
#[case(within(20), 20, "Standby")]
#[case(start_of(20), 20, "Standby")]
#[case(within(32), 30, "Checkpoint")]
fn a_standby_that_streams_without_a_slot(#[case] flushed: Lsn, #[case] cutoff: u64, #[case] holder: &str) {
    let evidence = with_standby(quiet(), standby("orders-2", Some(flushed)));
    assert_eq!(decided(&evidence, RULES), (cutoff, holder));
}

fn absent_with_slot(evidence: Evidence, restart: Lsn) -> Evidence {
    let mut standby = standby("orders-2", None);
    standby.slot = Some(Arc::from("_cnpg_orders_2"));
    with_standby(with_slot(evidence, slot("_cnpg_orders_2", Some(restart))), standby)
}

/// 160 MiB are ten segments before the one that is written; a begun one counts.
#[rstest]
#[case(160, within(31), 22, "WalKeepSize")]
#[case(161, within(31), 21, "WalKeepSize")]
#[case(1, within(31), 30, "Checkpoint")]
#[case(0, within(31), 30, "Checkpoint")]
#[case(160, within(18), 18, "Slot")]
fn what_is_promised_to_a_standby_that_says_nothing(#[case] mib: u64, #[case] restart: Lsn, #[case] cutoff: u64, #[case] holder: &str) {
    let mut evidence = absent_with_slot(quiet(), restart);
    evidence.wal_keep_size = Some(Bytes::mib(mib));
    assert_eq!(decided(&evidence, RULES), (cutoff, holder));
}

#[test]
fn a_promise_larger_than_all_wal_keeps_all() {
    let mut evidence = absent_with_slot(quiet(), within(31));
    evidence.wal_keep_size = Some(Bytes::MAX);
    let proof = proved(&evidence);
    assert_eq!((proof.cutoff().number(), proof.removable().len()), (0, 0));
    assert_eq!(
        proof.decided_by().holder.to_string(),
        format!(
            "wal_keep_size promises {} to standbys, and orders-2 does not say what it has",
            Bytes::MAX
        )
    );
}

#[test]
fn nothing_is_promised_where_every_standby_has_said_what_it_needs() {
    let mut connected = standby("orders-2", Some(within(32)));
    assert_eq!(decided(&with_standby(quiet(), connected.clone()), RULES), (30, "Checkpoint"));
    // It has a slot, and has not said anything yet.
    connected.flushed = None;
    connected.slot = Some(Arc::from("s"));
    let evidence = with_standby(with_slot(quiet(), slot("s", Some(within(28)))), connected);
    assert_eq!(decided(&evidence, RULES), (22, "WalKeepSize"));
}

/// The `archived` first are marked as done; further marks and files by name.
#[rstest]
#[case(32, &[], 30, "Checkpoint")]
#[case(31, &[], 30, "Checkpoint")]
#[case(30, &[], 30, "Archive")]
#[case(25, &[], 25, "Archive")] // neither mark
#[case(16, &[], 16, "Archive")]
#[case(32, &["000000020000000000000014.ready"], 20, "Archive")]
#[case(25, &["000000020000000000000019.ready"], 25, "Archive")]
#[case(32, &["000000010000000000000014.ready"], 20, "Archive")] // no file any more: a gap in the making
#[case(32, &["000000020000000000000020.ready"], 30, "Checkpoint")] // not complete
#[case(32, &["00000002.history.ready", "000000020000000000000014.partial.ready", "xlogtemp.1.ready"], 30, "Checkpoint")]
fn what_is_not_archived(#[case] archived: u64, #[case] others: &[&str], #[case] cutoff: u64, #[case] holder: &str) {
    for require_archived in [true, false] {
        let evidence = with(|e| e.directory = Some(directory(16..36, archived, others)));
        let rules = Rules { require_archived, ..RULES };
        assert_eq!(decided(&evidence, rules), (cutoff, holder));
    }
}

#[test]
fn where_nothing_archives_marks_do_not_count_if_that_is_wanted() {
    let evidence = with(|e| {
        e.archiving = Some(Archiving::Off);
        e.directory = Some(Directory::new(SIZE, (16..36).map(|n| segment(n).to_string())));
    });
    let rules = Rules {
        require_archived: false,
        ..RULES
    };
    assert_eq!(decided(&evidence, rules), (30, "Checkpoint"));
}

fn replica(e: &mut Evidence) {
    e.position = Some(Position::Standby {
        received: Some(within(32)),
        replayed: within(31),
        feed: Feed::Streams,
    });
    e.archiving = Some(Archiving::Elsewhere { unarchived: segment(32) });
}

/// Marks of a standby say nothing: what counts is how far the primary is.
#[rstest]
#[case(32, 30, "Checkpoint")]
#[case(30, 30, "ArchiveElsewhere")]
#[case(21, 21, "ArchiveElsewhere")]
#[case(40, 30, "Checkpoint")]
fn what_another_instance_has_not_archived(#[case] unarchived: u64, #[case] cutoff: u64, #[case] holder: &str) {
    let evidence = with(|e| {
        replica(e);
        e.archiving = Some(Archiving::Elsewhere {
            unarchived: segment(unarchived),
        });
    });
    assert_eq!(decided(&evidence, RULES), (cutoff, holder));
}

/// What is completed, and promised, is counted from the end of what it has: received or, from an archive, replayed.
#[rstest]
#[case(Some(within(32)), within(28), 29)]
#[case(Some(within(27)), within(32), 29)]
#[case(None, within(32), 29)]
#[case(Some(start_of(33)), within(32), 30)]
fn the_end_of_a_standby(#[case] received: Option<Lsn>, #[case] replayed: Lsn, #[case] cutoff: u64) {
    let evidence = with(|e| {
        replica(e);
        let feed = Feed::Archive;
        e.position = Some(Position::Standby { received, replayed, feed });
        e.directory = Some(directory(16..33, 33, &[]));
    });
    let rules = Rules { retain_count: 3, ..RULES };
    assert_eq!(decided(&evidence, rules), (cutoff, "RetainCount"));
}

/// A peer of a standby may be ahead of it, or behind.
#[test]
fn peers_of_a_standby_hold_what_they_would_ask_it_for() {
    let evidence = with(replica);
    assert_eq!(
        decided(&with_standby(evidence.clone(), standby("orders-3", Some(within(34)))), RULES).0,
        30
    );
    assert_eq!(
        decided(&with_standby(evidence, standby("orders-3", Some(within(19)))), RULES),
        (19, "Standby")
    );
}

/// `pg_archivecleanup` would remove those with the others, so nothing from them on goes.
#[rstest]
#[case(&["000000010000000000000012", "000000010000000000000012.done"], 18, "OtherTimeline")]
#[case(&["000000030000000000000012", "000000030000000000000012.done"], 18, "OtherTimeline")]
#[case(&["000000010000000000000012"], 18, "Archive")]
#[case(&["000000010000000000000012.partial"], 18, "Partial")]
#[case(&["000000020000000000000012.partial"], 18, "Partial")]
#[case(&["000000010000000000000010", "000000010000000000000010.done"], 16, "OtherTimeline")]
#[case(&["000000010000000000000030"], 30, "Checkpoint")]
#[case(&["00000001.history", "000000010000000000000012.00000028.backup", "archive_status", "summaries"], 30, "Checkpoint")]
fn files_that_only_look_like_it(#[case] others: &[&str], #[case] cutoff: u64, #[case] holder: &str) {
    let evidence = with(|e| e.directory = Some(directory(16..36, 32, others)));
    let proof = proved(&evidence);
    assert_eq!((proof.cutoff().number(), proof.decided_by().holder.as_str()), (cutoff, holder));
    assert_eq!(numbers(&proof), (16..cutoff).collect::<Vec<_>>());
}

#[test]
fn the_one_that_holds_most_decides_and_the_others_are_told() {
    let evidence = with(|e| e.directory = Some(directory(16..36, 27, &["000000010000000000000018"])));
    let evidence = with_slot(evidence, slot("old", Some(within(18))));
    let evidence = with_standby(evidence, standby("orders-2", Some(within(26))));
    let rules = Rules { retain_count: 4, ..RULES };
    let proof = prove(&evidence, rules).unwrap();
    let told: Vec<String> = proof.kept_by().iter().map(|b| format!("{}: {}", b.segment, b.holder)).collect();
    assert_eq!(
        told,
        [
            "000000020000000000000012: replication slot \"old\" needs WAL from 0/12001234 on",
            "000000020000000000000018: 000000010000000000000018 is not marked as archived",
            "000000020000000000000018: 000000010000000000000018 is of another timeline (1), and pg_archivecleanup would remove it",
            "00000002000000000000001A: standby orders-2 has WAL up to 0/1A001234 only",
            "00000002000000000000001C: retainCount keeps the 4 newest completed segments",
            "00000002000000000000001E: recovery from a crash begins at 0/1E001234, the redo position of the last checkpoint",
        ]
    );
    assert_eq!(numbers(&proof), [16, 17]);
    assert_eq!(proof.bytes(), Bytes::mib(32));
}

#[test]
fn every_holder_has_a_name_and_says_what_it_is() {
    let waiting = Holder::Archive {
        segment: segment(16),
        mark: Mark::Ready,
    };
    assert_eq!(waiting.to_string(), "000000020000000000000010 waits to be archived");
    let elsewhere = Holder::ArchiveElsewhere(segment(16));
    assert_eq!(
        elsewhere.to_string(),
        "the instance that archives has not archived 000000020000000000000010 yet"
    );
    let partial = Holder::Partial(segment(16));
    assert_eq!(
        partial.to_string(),
        "000000020000000000000010.partial is there, and pg_archivecleanup would remove it"
    );
}
