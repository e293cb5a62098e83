//! What is read is so.

use csm_core::relief::SlotLimit;
use csm_core::wal::{Archiving, Mark, Position, Segment, SegmentSize, SlotKind, Summaries};
use csm_units::Bytes;

use super::*;

fn reading(server: &Server, arguments: &[String]) -> Reading {
    let ran = server.exec(arguments);
    assert!(ran.ok, "{}", ran.stderr);
    Reading::parse(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
}

#[test]
fn a_primary_is_read() {
    let server = Server::start();
    server.sql("SELECT pg_create_physical_replication_slot('reports', true)");
    server.sql("SELECT pg_create_physical_replication_slot('unused')");
    server.write(3);
    server.is_archived();
    let said = reading(&server, &commands::read());
    assert_eq!(said.place, server.place());
    let relief = said.evidence(&beside("orders-2"));
    assert_eq!(relief.max_wal_size, Some(Bytes::mib(32)));
    assert_eq!(relief.slot_limit, Some(SlotLimit::Unlimited));
    let evidence = relief.evidence;
    let size = SegmentSize::new(1 << 20).unwrap();
    let current = Segment::parse(&server.current(), size).unwrap();
    assert_eq!(evidence.timeline, Some(current.timeline()));
    let end = evidence.position.map(Position::end).unwrap();
    assert_eq!(Segment::at(end, current.timeline(), size), current);
    let redo = server.sql("SELECT redo_lsn || ' ' || redo_wal_file FROM pg_control_checkpoint()");
    let checkpoint = evidence.checkpoint.unwrap();
    assert_eq!(redo, format!("{} {}", checkpoint.redo, checkpoint.file));
    let slots = evidence.slots.unwrap();
    assert_eq!(slots.len(), 2);
    let reports = slots.iter().find(|slot| &*slot.name == "reports").unwrap();
    assert_eq!(
        (reports.kind, reports.active, reports.temporary, reports.lost),
        (SlotKind::Physical, false, false, false)
    );
    let restart = server.sql("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'reports'");
    assert_eq!(reports.restart_lsn.map(|lsn| lsn.to_string()), Some(restart));
    assert_eq!(slots.iter().find(|slot| &*slot.name == "unused").unwrap().restart_lsn, None);
    assert_eq!(evidence.slots_before, None);
    assert_eq!(evidence.wal_keep_size, Some(Bytes::mib(64)));
    assert_eq!(evidence.base_backups, Some(Vec::new()));
    assert_eq!(evidence.summaries, Some(Summaries::Off));
    assert_eq!(evidence.archiving, Some(Archiving::Own));
    let standbys = evidence.standbys.unwrap();
    assert_eq!((standbys.len(), &*standbys[0].name, standbys[0].streams), (1, "orders-2", false));
    let directory = evidence.directory.unwrap();
    let names: BTreeSet<String> = directory.segments().map(|s| s.to_string()).collect();
    assert_eq!(names, server.segments());
    let done: BTreeSet<String> = directory
        .segments()
        .filter(|s| directory.mark(s) == Mark::Done)
        .map(|s| format!("{s}.done"))
        .collect();
    assert_eq!(done, server.marks().into_iter().filter(|mark| done.contains(mark)).collect());
    assert!(done.len() >= 3, "{done:?}");
    assert_eq!(said.unarchived(), Some(current));
}

/// In one session: the slots, CHECKPOINT, all.
#[test]
fn a_checkpoint_is_read_with_what_slots_said_before_it() {
    let server = Server::start();
    server.sql("SELECT pg_create_physical_replication_slot('reports', true)");
    server.write(2);
    let before = server.sql("SELECT pg_current_wal_insert_lsn()");
    let evidence = reading(&server, &commands::checkpoint()).evidence(&alone()).evidence;
    let earlier = evidence.slots_before.unwrap();
    assert_eq!(earlier.end.to_string(), before);
    assert!(earlier.checkpointed);
    assert_eq!(earlier.slots.len(), 1);
    assert_eq!(&*earlier.slots[0].0, "reports");
    assert_eq!(earlier.slots[0].1, evidence.slots.unwrap()[0].restart_lsn);
    assert!(evidence.checkpoint.unwrap().redo >= earlier.end);
}

#[test]
fn a_standby_is_read() {
    let server = Server::start();
    server.sql("SELECT pg_create_physical_replication_slot('orders_2', true)");
    let standby = server.standby("orders-2", Some("orders_2"));
    let there = reading(&server, &commands::read()).evidence(&beside("orders-2")).evidence;
    let standbys = there.standbys.unwrap();
    assert_eq!(standbys.len(), 1, "{standbys:?}");
    assert!(standbys[0].streams && standbys[0].flushed.is_some());
    assert_eq!(standbys[0].slot.as_deref(), Some("orders_2"));
    let primary = reading(&server, &commands::read());
    let around = Around {
        archived: primary.unarchived().map(Archived::Elsewhere),
        ..alone()
    };
    let here = reading(&standby, &commands::checkpoint()).evidence(&around).evidence;
    assert!(
        matches!(here.position, Some(Position::Standby { feed: Feed::Streams, .. })),
        "{:?}",
        here.position
    );
    assert_eq!(here.timeline, there.timeline);
    assert!(matches!(here.archiving, Some(Archiving::Elsewhere { .. })));
}
