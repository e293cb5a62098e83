//! What holds, holds.

use std::fs;

use csm_core::relief::{Removal, Removed};
use csm_core::wal::{Segment, SegmentSize};

use super::*;

#[test]
fn an_unarchived_segment_holds() {
    let server = Server::start();
    server.write(8);
    server.is_archived();
    server.archive_is_down();
    let first = server.current();
    server.write(8);
    let before = server.segments();
    let status = Climb::new(&server, alone(), order()).climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::Relieved), "{status:?}");
    assert_eq!(status.proof.as_ref().unwrap().cutoff, first);
    assert_eq!(status.still_held_by[0].holder, WalHolder::Archive);
    assert!(gone(&before, &server).iter().all(|name| *name < first));
    assert_eq!(server.segments().first(), Some(&first));
    server.has_no_gap();
}

#[test]
fn an_inactive_slot_holds() {
    let server = Server::start();
    server.write(5);
    server.sql("SELECT pg_create_physical_replication_slot('reports', true)");
    let from = server.sql("SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots");
    server.write(10);
    server.is_archived();
    let status = Climb::new(&server, alone(), order()).climb();
    assert_eq!(status.still_held_by[0].holder, WalHolder::Slot, "{status:?}");
    assert!(server.segments().contains(&from));
    assert_eq!(server.sql("SELECT wal_status FROM pg_replication_slots"), "reserved");
    let drop = status.advice[0].command.as_ref().unwrap();
    assert!(drop.contains("pg_drop_replication_slot('reports')"), "{drop}");
}

#[test]
fn a_running_base_backup_holds() {
    let server = Server::start();
    server.write(10);
    server.is_archived();
    let socket = server.data().parent().unwrap().join("socket").display().to_string();
    let to = server.data().parent().unwrap().join("backup").display().to_string();
    let mut backup = server.spawn(
        "pg_basebackup",
        &[
            "-h",
            &socket,
            "-U",
            "postgres",
            "-D",
            &to,
            "-X",
            "none",
            "-c",
            "fast",
            "--max-rate=32k",
        ],
    );
    server::until("the backup runs", || {
        server.sql("SELECT count(*) FROM pg_stat_progress_basebackup") == "1"
    });
    let before = server.segments();
    let status = Climb::new(&server, alone(), order()).climb();
    backup.kill().unwrap();
    backup.wait().unwrap();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::NotProved), "{status:?}");
    assert!(
        rung(&status, Rung::DryRun).1.contains("base backup pg_basebackup is running"),
        "{status:?}"
    );
    assert_eq!(gone(&before, &server), [""; 0]);
}

/// One that is away and has no slot: nobody knows what it needs.
#[test]
fn a_standby_that_is_away_holds() {
    let server = Server::start();
    let standby = server.standby("orders-2", None);
    standby.stop("fast");
    server::until("it is seen to be away", || {
        server.sql("SELECT count(*) FROM pg_stat_replication") == "0"
    });
    server.write(10);
    server.is_archived();
    let before = server.segments();
    let status = Climb::new(&server, beside("orders-2"), order()).climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::NotProved), "{status:?}");
    assert!(
        rung(&status, Rung::DryRun).1.starts_with("standby orders-2 is not connected"),
        "{status:?}"
    );
    assert_eq!(gone(&before, &server), [""; 0]);
    standby.run();
    server.sees("orders-2");
}

/// The removal's own test, on what changes after everything else was tested.
#[test]
fn the_removal_tests_for_itself() {
    let server = Server::start();
    server.write(12);
    server.is_archived();
    let mut climb = Climb::new(&server, alone(), order());
    assert!(climb.climb_to("remove"));
    let Next::Remove(removal) = climb.run.step(Timestamp::now()) else {
        unreachable!()
    };
    let before = server.segments();
    let held = |change: &dyn Fn(), undo: &dyn Fn(), removal: &Removal, why: &str| {
        change();
        let ran = server.exec(&commands::remove(&server.place(), removal));
        undo();
        let Ok(Removed::Held(said)) = removed(&ran.stdout) else {
            panic!("{why}: {ran:?}");
        };
        assert!(said.contains(why), "{said}");
        assert_eq!(gone(&before, &server), [""; 0], "{why}");
    };
    let (first, nothing) = (removal.first.to_string(), || {});
    let mark = |kind: &str| server.wal("archive_status").join(format!("{first}.{kind}"));
    // The archiver would take the mark away at once where the file is there: one of a file that is gone stays.
    let below = Segment::new(removal.first.timeline(), removal.first.number() - 1, removal.first.size()).unwrap();
    server.archive_is_down();
    let waiting = server.wal("archive_status").join(format!("{below}.ready"));
    held(
        &|| fs::write(&waiting, "").unwrap(),
        &|| drop(fs::remove_file(&waiting)),
        &removal,
        "waits to be archived",
    );
    held(
        &|| fs::rename(mark("done"), mark("d")).unwrap(),
        &|| fs::rename(mark("d"), mark("done")).unwrap(),
        &removal,
        "is not marked",
    );
    let fewer = Removal {
        count: removal.count - 1,
        ..removal
    };
    held(&nothing, &nothing, &fewer, "more than was agreed on");
    let second = Segment::new(removal.first.timeline(), removal.first.number() + 1, removal.first.size()).unwrap();
    held(&nothing, &nothing, &Removal { first: second, ..removal }, "was not in the list");
    let partial = server.wal(&format!("{first}.partial"));
    held(
        &|| fs::write(&partial, "").unwrap(),
        &|| fs::remove_file(&partial).unwrap(),
        &removal,
        "is no complete WAL segment",
    );
    let foreign = server.wal(&format!("0000000F{}", &first[8..]));
    held(
        &|| fs::write(&foreign, "").unwrap(),
        &|| fs::remove_file(&foreign).unwrap(),
        &removal,
        "is of another timeline",
    );
    // With all as it was, it removes.
    let ran = server.exec(&commands::remove(&server.place(), &removal));
    assert_eq!(removed(&ran.stdout), Ok(Removed::Done), "{ran:?}");
    assert_eq!(gone(&before, &server).len(), removal.count);
}

/// Where marks do not count they are not looked at; all the rest is.
#[test]
fn nothing_is_removed_above_the_cutoff_whatever_is_asked() {
    let server = Server::start();
    server.write(6);
    server.is_archived();
    let before = server.segments();
    let size = SegmentSize::new(1 << 20).unwrap();
    let all: Vec<Segment> = before.iter().map(|name| Segment::parse(name, size).unwrap()).collect();
    let removal = Removal {
        cutoff: all[3],
        first: all[0],
        count: 3,
        archived: false,
    };
    let ran = server.exec(&commands::remove(&server.place(), &removal));
    assert_eq!(removed(&ran.stdout), Ok(Removed::Done), "{ran:?}");
    assert_eq!(gone(&before, &server), before.iter().take(3).cloned().collect::<Vec<_>>());
    let again = server.exec(&commands::remove(&server.place(), &removal));
    assert_eq!(removed(&again.stdout), Ok(Removed::Done));
    assert_eq!(gone(&before, &server).len(), 3);
}
