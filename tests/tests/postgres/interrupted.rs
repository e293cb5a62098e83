//! What is cut off is found out.

use super::*;

/// PostgreSQL dies between two rungs: the run says so, and the next one starts from what is there.
#[test]
fn a_server_that_dies_between_two_rungs_ends_the_run_and_not_the_next() {
    let server = Server::start();
    server.write(10);
    server.is_archived();
    let before = server.segments();
    let mut climb = Climb::new(&server, alone(), order());
    assert!(climb.climb_to("list"));
    server.crash();
    let status = climb.climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::CommandFailed), "{status:?}");
    assert_eq!(rung(&status, Rung::DryRun).0, RungResult::Failed);
    assert_eq!(gone(&before, &server), [""; 0]);
    server.run();
    let status = Climb::new(&server, alone(), order()).climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::Relieved), "{status:?}");
    assert!(!gone(&before, &server).is_empty());
    server.has_no_gap();
}

/// The manager dies in the middle of the removal: the next one does not remove again, and tells how far it got.
#[test]
fn a_manager_that_dies_in_the_removal_is_followed_by_one_that_tells_how_far_it_got() {
    let server = Server::start();
    server.write(10);
    server.is_archived();
    let before = server.segments();
    let mut climb = Climb::new(&server, alone(), order());
    assert!(climb.climb_to("remove"));
    // Two files go.
    let journal = climb.journal.take().unwrap().wal_cleanup.unwrap();
    assert_eq!(rung(&journal, Rung::Removal).0, RungResult::Begun);
    let listed = journal.dry_run.clone().unwrap();
    for name in before.iter().filter(|name| Some(*name) >= listed.first.as_ref()).take(2) {
        std::fs::remove_file(server.wal(name)).unwrap();
    }
    let mut taken_up = Climb {
        run: Run::begin(order(), Some(journal)),
        ..Climb::new(&server, alone(), order())
    };
    assert!(!taken_up.climb_to("remove"), "it is not made again");
    assert_eq!(taken_up.done, ["read", "record"]);
    let status = taken_up.journal.unwrap().wal_cleanup.unwrap();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::Abandoned));
    assert_eq!(status.files_removed, Some(2));
    let next = Climb::new(&server, alone(), order()).climb();
    assert_eq!(next.outcome, Some(WalCleanupOutcome::Relieved), "{next:?}");
    server.has_no_gap();
}

/// A server that is down is trouble, and no evidence.
#[test]
fn a_server_that_is_down_says_nothing() {
    let server = Server::start();
    server.crash();
    let status = Climb::new(&server, alone(), order()).climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::CommandFailed));
    assert_eq!(rung(&status, Rung::Holders).0, RungResult::Failed);
}
