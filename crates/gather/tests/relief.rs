//! What commands of WAL relief say, well and badly. What a real server says is in the tests of `tests/tests/postgres`.
#![allow(clippy::unwrap_used)] // tests

use csm_core::relief::{Removal, Removed};
use csm_core::wal::{Feed, Position, Segment, SegmentSize, Summaries, Timeline};
use csm_gather::relief::{Archived, Around, Place, Reading, UnreadableRemoval, commands, removed};
use rstest::rstest;

const EARLIER: &str = r#"{"part" : "earlier", "slots" : [{"name" : "reports", "restart" : "0/5000028"},
 {"name" : "new", "restart" : null}], "end" : "0/7000060"}"#;
const MOVING: &str = r#"{"part" : "moving", "checkpoint" : {"redo" : "0/7000060", "timeline" : 3, "file" : "000000030000000000000007"},
 "slots" : [{"name" : "reports", "type" : "logical", "active" : false, "temporary" : false, "restart" : "0/5000028", "lost" : false}],
 "senders" : [{"name" : "orders-2", "state" : "streaming", "flushed" : "0/7000100", "slot" : "_cnpg_orders_2"},
  {"name" : "pg_basebackup", "state" : "backup", "flushed" : null, "slot" : null}],
 "receiver" : null, "recovered" : null, "backups" : ["pg_basebackup"], "label" : false, "summaries" : {"lsn" : "0/7000060", "timeline" : 3},
 "settings" : {"version" : 170005, "walKeepSize" : 536870912, "maxWalSize" : 1073741824, "maxSlotWalKeepSize" : 2048, "segmentSize" : 16777216,
  "archiveMode" : "on", "summarizes" : "on", "bin" : "/usr/lib/postgresql/17/bin", "data" : "/var/lib/postgresql/data/pgdata"}}"#;
const POSITION: &str = r#"{"part" : "position", "recovery" : false, "written" : "0/7000200", "file" : "000000030000000000000007"}"#;
const DIRECTORY: &str = r#"{"part" : "directory", "marks" : ["000000030000000000000006.done"], "files" : ["000000030000000000000006", "000000030000000000000007"]}"#;

fn around() -> Around {
    Around {
        instances: Vec::new(),
        archived: Some(Archived::Here),
        backups: Vec::new(),
        feed: Feed::Nothing,
    }
}

#[test]
fn what_version_17_says_is_read() {
    let reading = Reading::parse(&[EARLIER, MOVING, POSITION, DIRECTORY].join("\n")).unwrap();
    assert_eq!(reading.place.wal, "/var/lib/postgresql/data/pgdata/pg_wal");
    assert_eq!(
        reading.unarchived().map(|s| s.to_string()).as_deref(),
        Some("000000030000000000000007")
    );
    let evidence = reading.evidence(&around()).evidence;
    let (lsn, timeline) = ("0/7000060".parse().unwrap(), Timeline::new(3).unwrap());
    assert_eq!(evidence.summaries, Some(Summaries::UpTo { lsn, timeline }));
    assert_eq!(evidence.timeline, Some(timeline));
    assert_eq!(evidence.base_backups.unwrap().len(), 1);
    // Who sends a base backup is no standby.
    let standbys = evidence.standbys.unwrap();
    assert_eq!(standbys.len(), 1);
    assert_eq!(
        (&*standbys[0].name, standbys[0].slot.as_deref()),
        ("orders-2", Some("_cnpg_orders_2"))
    );
    let earlier = evidence.slots_before.unwrap();
    assert_eq!(earlier.end, lsn);
    assert_eq!(earlier.slots[1], ("new".into(), None));
}

/// It says that it summarises, and not how far: nothing is known, and nothing is proved.
#[test]
fn summaries_that_are_not_told_are_not_known() {
    for said in ["null", r#"{"lsn" : null, "timeline" : null}"#, r#"{"lsn" : "0/0", "timeline" : 0}"#] {
        let moving = MOVING.replace(r#"{"lsn" : "0/7000060", "timeline" : 3}"#, said);
        let reading = Reading::parse(&[&*moving, POSITION, DIRECTORY].join("\n")).unwrap();
        assert_eq!(reading.evidence(&around()).evidence.summaries, None, "{said}");
    }
}

/// A standby whose disk is full receives nothing: its control file has its timeline, where that is the one of its restartpoint.
#[rstest]
#[case::not_told("null", None)]
#[case::same("3", Timeline::new(3))]
#[case::newer("4", None)]
#[case::older("2", None)]
fn the_timeline_of_a_standby_that_receives_nothing(#[case] recovered: &str, #[case] timeline: Option<Timeline>) {
    let position = r#"{"part" : "position", "recovery" : true, "received" : null, "replayed" : "0/7000200"}"#;
    let moving = MOVING.replace("\"recovered\" : null", &format!("\"recovered\" : {recovered}"));
    let reading = Reading::parse(&[&*moving, position, DIRECTORY].join("\n")).unwrap();
    assert_eq!(reading.evidence(&around()).evidence.timeline, timeline);
}

#[test]
fn a_standby_without_a_receiver_has_no_timeline() {
    let position = r#"{"part" : "position", "recovery" : true, "received" : null, "replayed" : "0/7000200"}"#;
    let reading = Reading::parse(&[MOVING, position, DIRECTORY].join("\n")).unwrap();
    assert_eq!(reading.unarchived(), None);
    let evidence = reading.evidence(&around()).evidence;
    assert_eq!(evidence.timeline, None);
    assert!(matches!(
        evidence.position,
        Some(Position::Standby {
            received: None,
            feed: Feed::Nothing,
            ..
        })
    ));
}

#[rstest]
#[case::nothing("", "no \"moving\"")]
#[case::cut(&MOVING[..MOVING.len() - 3], "not the JSON")]
#[case::no_directory(&format!("{MOVING}{POSITION}"), "no \"directory\"")]
#[case::no_position(&format!("{MOVING}{DIRECTORY}"), "no \"position\"")]
#[case::order(&format!("{POSITION}{MOVING}{DIRECTORY}"), "no \"moving\"")]
#[case::twice(&format!("{MOVING}{POSITION}{DIRECTORY}{DIRECTORY}"), "no \"directory\"")]
#[case::cut_list(&format!("{MOVING}{POSITION}{}", &DIRECTORY[..DIRECTORY.len() - 30]), "not the JSON")]
#[case::words(&format!("WARNING: x\n{MOVING}{POSITION}{DIRECTORY}"), "not the JSON")]
#[case::half_a_position(&format!("{MOVING}{}{DIRECTORY}", POSITION.replace("0/7000200", "7000200")), "impossible pg_current_wal_lsn: \"7000200\"")]
#[case::both_positions(&format!("{MOVING}{}{DIRECTORY}", POSITION.replace("false", "true")), "no \"position\"")]
#[case::segment_size(&format!("{}{POSITION}{DIRECTORY}", MOVING.replace("16777216", "16777217")), "impossible wal_segment_size: \"16777217\"")]
#[case::segment(&format!("{}{POSITION}{DIRECTORY}", MOVING.replace("000000030000000000000007", "7")), "impossible segment: \"7\"")]
#[case::timeline(&format!("{}{POSITION}{DIRECTORY}", MOVING.replace("\"timeline\" : 3, \"file\"", "\"timeline\" : 0, \"file\"")), "impossible timeline: \"0\"")]
#[case::slot(&format!("{}{POSITION}{DIRECTORY}", MOVING.replace("logical", "other")), "impossible slot_type: \"other\"")]
#[case::version(&format!("{}{POSITION}{DIRECTORY}", MOVING.replace("170005", "120022")), "impossible server_version_num: \"120022\"")]
#[case::path(&format!("{}{POSITION}{DIRECTORY}", MOVING.replace("/usr/lib/postgresql/17/bin", "bin")), "impossible BINDIR: \"bin\"")]
#[case::path_with_blanks(&format!("{}{POSITION}{DIRECTORY}", MOVING.replace("/data/pgdata", "/my data")), "impossible data_directory")]
fn anything_else_is_an_error(#[case] output: &str, #[case] said: &str) {
    let error = Reading::parse(output).unwrap_err();
    assert!(error.to_string().contains(said), "{error}");
}

#[rstest]
#[case("removing 3\n\ndone 3\n", Ok(Removed::Done))]
#[case("removing 3\ngap 000000010000000000000002\ndone 3\n", Ok(Removed::Done))]
#[case("removing 3\nfailed could not remove file: no\ndone 3\n", Ok(Removed::Failed("pg_archivecleanup failed: could not remove file: no".to_owned())))]
#[case("held waiting 000000010000000000000002\n", Ok(Removed::Held("just before the removal: 000000010000000000000002 waits to be archived; nothing was removed".to_owned())))]
#[case("", Err(UnreadableRemoval))]
#[case("removing 3\n", Err(UnreadableRemoval))]
#[case("removing 3\nsomething\ndone 3", Err(UnreadableRemoval))]
#[case("done 3\n", Err(UnreadableRemoval))]
#[case("held waiting x\nremoving 3\ndone 3", Err(UnreadableRemoval))]
fn what_the_removal_says(#[case] output: &str, #[case] expected: Result<Removed, UnreadableRemoval>) {
    assert_eq!(removed(output), expected);
}

/// All that varies is an argument of its own; the script is the same for all.
#[test]
fn commands_are_arguments() {
    let place = Place {
        bin: "/bin; rm -rf /".to_owned(),
        wal: "/$(wal)".to_owned(),
    };
    let segment = |number| Segment::new(Timeline::FIRST, number, SegmentSize::DEFAULT).unwrap();
    let removal = Removal {
        cutoff: segment(9),
        first: segment(3),
        count: 6,
        archived: true,
    };
    let remove = commands::remove(&place, &removal);
    assert_eq!(remove[..2], ["sh", "-c"]);
    assert_eq!(remove[2], include_str!("../src/relief/remove.sh"));
    assert_eq!(
        remove[3..],
        [
            "remove.sh",
            "/bin; rm -rf //pg_archivecleanup",
            "/$(wal)",
            "000000010000000000000009",
            "000000010000000000000003",
            "6",
            "archived"
        ]
    );
    assert_eq!(
        commands::dry_run(&place, removal.cutoff)[1..],
        ["-n", "/$(wal)", "000000010000000000000009"]
    );
    let checkpoint = commands::checkpoint();
    assert_eq!(checkpoint.iter().filter(|a| *a == "CHECKPOINT").count(), 1);
    assert!(!commands::read().contains(&"CHECKPOINT".to_owned()));
}
