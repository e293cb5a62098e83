//! The whole ladder.

use super::*;

/// What `wal_keep_size` keeps for nobody goes, and nothing else.
#[test]
fn what_is_proved_goes_and_nothing_else() {
    let server = Server::start();
    server.write(30);
    server.is_archived();
    let before = server.segments();
    let status = Climb::new(&server, alone(), order()).climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::Relieved), "{status:?}");
    let gone = gone(&before, &server);
    let dry_run = status.dry_run.as_ref().unwrap();
    assert_eq!(dry_run.first.as_ref(), gone.first());
    assert_eq!(dry_run.last.as_ref(), gone.last());
    assert_eq!(status.files_removed, i32::try_from(gone.len()).ok());
    assert_eq!(status.space_freed_bytes, i64::try_from(gone.len() << 20).ok());
    assert!(gone.len() >= 25, "{gone:?}");
    let cutoff = &status.proof.as_ref().unwrap().cutoff;
    assert!(gone.iter().all(|name| name < cutoff) && server.segments().first() >= Some(cutoff));
    assert_eq!(status.oldest_retained.as_ref(), server.segments().first());
    for name in &gone {
        assert!(server.marks().contains(&format!("{name}.done")), "{name} was archived");
    }
    server.has_no_gap();
    // It goes on, also after a crash.
    server.write(3);
    server.crash();
    server.run();
    server.sql("CHECKPOINT");
    server.is_archived();
    let again = Climb::new(&server, alone(), order()).climb();
    assert!(again.outcome.unwrap().phase() == csm_api::Phase::Completed, "{again:?}");
}

#[test]
fn a_dry_run_lists_exactly_what_the_removal_then_removes() {
    let server = Server::start();
    server.write(12);
    server.is_archived();
    server.sql("CHECKPOINT");
    let before = server.segments();
    let dry = Order { dry_run: true, ..order() };
    let listed = Climb::new(&server, alone(), dry).climb();
    assert_eq!(listed.outcome, Some(WalCleanupOutcome::Listed), "{listed:?}");
    assert_eq!(server.segments(), before);
    let done = Climb::new(&server, alone(), order()).climb();
    assert_eq!(done.outcome, Some(WalCleanupOutcome::Relieved));
    // The checkpoint in between may have let one more go.
    assert_eq!(listed.dry_run.as_ref().unwrap().first, done.dry_run.as_ref().unwrap().first);
    assert!(listed.dry_run.unwrap().count <= done.files_removed.unwrap());
}

/// The standby follows on, and one that was away for a moment comes back through its slot.
#[test]
fn a_standby_follows_on_after_a_relief() {
    let server = Server::start();
    server.sql("SELECT pg_create_physical_replication_slot('orders_2', true)");
    let standby = server.standby("orders-2", Some("orders_2"));
    server.write(20);
    server.is_archived();
    let caught_up = || {
        let end = server.sql("SELECT pg_current_wal_flush_lsn()");
        server::until("the standby has all", || {
            standby.sql(&format!("SELECT pg_last_wal_receive_lsn() >= '{end}'")) == "t"
        });
    };
    caught_up();
    let before = server.segments();
    let status = Climb::new(&server, beside("orders-2"), order()).climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::Relieved), "{status:?}");
    assert!(gone(&before, &server).len() >= 15);
    server.write(2);
    caught_up();
    standby.stop("fast");
    server.write(5);
    server.is_archived();
    // What it needs is in its slot, and wal_keep_size is promised to it.
    let mut away = beside("orders-2");
    away.instances[0].slot = Some(Arc::from("orders_2"));
    let status = Climb::new(&server, away, order()).climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::NothingToFree), "{status:?}");
    assert_eq!(status.still_held_by[0].holder, WalHolder::WalKeepSize);
    assert!(status.still_held_by.iter().any(|bound| bound.holder == WalHolder::Slot));
    standby.run();
    server.sees("orders-2");
    caught_up();
    assert_eq!(standby.sql("SELECT status FROM pg_stat_wal_receiver"), "streaming");
}

/// A standby that receives nothing (its disk is full, say) while its slot holds what it needs next.
#[test]
fn a_standby_that_receives_nothing_is_relieved() {
    let server = Server::start();
    server.sql("SELECT pg_create_physical_replication_slot('orders_2', true)");
    let standby = server.standby("orders-2", Some("orders_2"));
    let caught_up = || {
        let end = server.sql("SELECT pg_current_wal_flush_lsn()");
        server::until("the standby has replayed all", || {
            standby.sql(&format!("SELECT pg_last_wal_replay_lsn() >= '{end}'")) == "t"
        });
    };
    let keeps = |size: &str| {
        standby.sql(&format!("ALTER SYSTEM SET wal_keep_size = '{size}'"));
        standby.sql("SELECT pg_reload_conf()");
        server::until("it keeps as much", || standby.sql("SHOW wal_keep_size") == size);
    };
    // The segment in which it began has no mark, and none comes: it is let go.
    server.write(3);
    server.sql("CHECKPOINT");
    caught_up();
    keeps("0");
    standby.sql("CHECKPOINT");
    keeps("64MB");
    server.write(20);
    server.is_archived();
    server.sql("CHECKPOINT");
    caught_up();
    let source = standby.sql("SHOW primary_conninfo");
    let follows = |source: &str| {
        standby.sql(&format!("ALTER SYSTEM SET primary_conninfo = '{}'", source.replace('\'', "''")));
        standby.sql("SELECT pg_reload_conf()");
    };
    follows("");
    server::until("it receives nothing", || {
        standby.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0"
    });
    let primary = Reading::parse(&server.exec(&commands::read()).stdout).unwrap();
    let around = |feed| Around {
        archived: primary.unarchived().map(Archived::Elsewhere),
        feed,
        ..alone()
    };
    let before = standby.segments();
    let status = Climb::new(&standby, around(Feed::Nothing), order()).climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::NotProved), "{status:?}");
    assert_eq!(gone(&before, &standby), [""; 0]);
    let status = Climb::new(&standby, around(Feed::Slot), order()).climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::Relieved), "{status:?}");
    assert!(gone(&before, &standby).len() >= 15, "{status:?}");
    follows(&source);
    server.sees("orders-2");
    server.write(2);
    caught_up();
}

/// Without archiving nothing goes, unless the policy says so.
#[test]
fn without_archiving_the_policy_decides() {
    let server = Server::start();
    server.write(10);
    server.is_archived();
    let nobody = Around {
        archived: Some(Archived::Nobody),
        ..alone()
    };
    let before = server.segments();
    let status = Climb::new(&server, nobody.clone(), order()).climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::NotProved), "{status:?}");
    assert_eq!(gone(&before, &server), [""; 0]);
    let mut order = order();
    order.rules.require_archived = false;
    let status = Climb::new(&server, nobody, order).climb();
    assert_eq!(status.outcome, Some(WalCleanupOutcome::Relieved), "{status:?}");
    assert!(!gone(&before, &server).is_empty());
}
