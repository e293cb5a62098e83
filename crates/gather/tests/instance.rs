//! What instances say of themselves, and what becomes of it.

use csm_core::wal::Lsn;
use csm_core::world::{Archiving, Slot};
use csm_gather::instance::{Primary, Reading, Replica, SlotReading, Standby, parse};
use csm_units::Bytes;
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

/// A primary of CloudNativePG 1.30 whose archive fails.
const PRIMARY: &str = r#"{
    "systemID": "7560000000000000001", "currentLsn": "3/2A000148", "currentWAL": "00000002000000030000002A", "timeLineID": 2,
    "isPrimary": true, "lastArchivedWAL": "000000020000000300000021", "lastArchivedWALTime": "2026-03-01T11:20:03.123456Z",
    "lastFailedWAL": "000000020000000300000022", "lastFailedWALTime": "2026-03-01T12:20:04.5+01:00", "readyWalFiles": 8,
    "pgStatBasebackupsInfo": [{"usename": "streaming_replica", "application_name": "orders-3-join", "phase": "streaming database files"}],
    "replicationInfo": [
        {"applicationName": "orders-2", "state": "streaming", "sentLsn": "3/2A000148", "writeLsn": "3/29000000", "flushLsn": "3/28000000", "replayLsn": "3/27000000", "syncState": "quorum"},
        {"applicationName": "orders-3", "state": "startup"}],
    "replicationSlotsInfo": [
        {"slotName": "_cnpg_orders_2", "slotType": "physical", "restartLsn": "3/28000000", "walStatus": "reserved", "active": true},
        {"slotName": "debezium", "plugin": "pgoutput", "slotType": "logical", "database": "app", "restartLsn": "2/2A000148", "walStatus": "extended", "safeWalSize": 1073741824},
        {"slotName": "lost", "slotType": "physical", "restartLsn": "", "walStatus": "lost"}],
    "pendingRestart": false, "pod": {"metadata": {"name": "orders-1"}}, "isPodReady": true, "instanceManagerVersion": "1.30.0"
}"#;
const REPLICA: &str = r#"{"systemID": "7560000000000000001", "receivedLsn": "3/2A000148", "replayLsn": "3/29FFFFF8", "isWalReceiverActive": true, "timeLineID": 2, "lastArchivedWALTime": "-infinity"}"#;

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn read(status: &Value) -> Result<Reading, String> {
    parse(status.to_string().as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_primary_is_read_with_all_that_it_says() {
    let slot = |name: &str, active, restart_lsn| SlotReading {
        name: name.into(),
        active,
        restart_lsn,
    };
    let standby = |name: &str, flushed| Standby {
        name: name.into(),
        flushed,
    };
    let expected = Primary {
        current_lsn: Some(Lsn::new(0x3_2A00_0148)),
        timeline: 2,
        last_archived: Some((time("2026-03-01T11:20:03.123456Z"), "000000020000000300000021".into())),
        last_failed: Some((time("2026-03-01T11:20:04.5Z"), "000000020000000300000022".into())),
        pending: 8,
        slots: [
            slot("_cnpg_orders_2", true, Some(Lsn::new(0x3_2800_0000))),
            slot("debezium", false, Some(Lsn::new(0x2_2A00_0148))),
            slot("lost", false, None),
        ]
        .into(),
        standbys: [standby("orders-2", Some(Lsn::new(0x3_2800_0000))), standby("orders-3", None)].into(),
        base_backups: 1,
    };
    let read = parse(PRIMARY.as_bytes()).expect("a status");
    assert_eq!(read, Reading::Primary(expected));

    let health = read.health(true).expect("the health of WAL");
    let archiving = Archiving {
        last_archived: Some(time("2026-03-01T11:20:03.123456Z")),
        last_failed: Some(time("2026-03-01T11:20:04.5Z")),
        pending: 8,
    };
    assert_eq!(health.archiving, Some(archiving));
    let slot = |name: &str, active, retained| Slot {
        name: name.into(),
        active,
        retained,
    };
    let expected = [
        slot("_cnpg_orders_2", true, Bytes::new(0x200_0148)),
        slot("debezium", false, Bytes::gib(4)),
        slot("lost", false, Bytes::ZERO),
    ];
    assert_eq!(health.slots, expected);
    // Of a Cluster that archives nothing, what is said of archiving means nothing.
    assert_eq!(
        read.health(false).map(|health| (health.archiving, health.slots.len())),
        Some((None, 3))
    );
}

#[test]
fn a_replica_says_nothing_of_the_health_of_wal() {
    let read = parse(REPLICA.as_bytes()).expect("a status");
    let expected = Replica {
        received: Some(Lsn::new(0x3_2A00_0148)),
        replayed: Some(Lsn::new(0x3_29FF_FFF8)),
        streams: true,
    };
    assert_eq!(read, Reading::Replica(expected));
    assert_eq!(read.health(true), None);
}

#[test]
fn what_is_missing_is_zero_or_never() {
    let missing = read(&json!({"isPrimary": true}));
    assert_eq!(missing, Ok(Reading::Primary(Primary::default())));
    let nulls = json!({
        "isPrimary": true, "currentLsn": null, "timeLineID": null, "lastArchivedWAL": null, "lastArchivedWALTime": "-infinity",
        "lastFailedWAL": "", "lastFailedWALTime": "", "readyWalFiles": null, "replicationSlotsInfo": null, "replicationInfo": null,
        "pgStatBasebackupsInfo": null,
    });
    assert_eq!(read(&nulls), missing);
    assert_eq!(read(&json!({})), Ok(Reading::Replica(Replica::default())));
    // PostgreSQL's own form of a time, and a position that is none.
    let other = json!({"isPrimary": true, "lastFailedWALTime": "2026-03-01 12:20:04.5+01", "currentLsn": "0/0"});
    let expected = Primary {
        last_failed: Some((time("2026-03-01T11:20:04.5Z"), "".into())),
        ..Primary::default()
    };
    assert_eq!(read(&other), Ok(Reading::Primary(expected)));
}

#[rstest]
#[case::a_list(json!([true]), "invalid type: sequence")]
#[case::a_number(json!(7), "invalid type: integer")]
#[case::an_error(json!("out of memory"), "invalid type: string")]
#[case::a_long_error(json!("s".repeat(100_000)), "invalid type: string")]
#[case::a_text_for_a_truth(json!({"isPrimary": "yes"}), "invalid type: string")]
#[case::a_time_of_no_day(json!({"isPrimary": true, "lastFailedWALTime": "yesterday"}), "lastFailedWALTime is \"yesterday\", which is no time")]
#[case::a_time_without_end(json!({"isPrimary": true, "lastArchivedWALTime": "infinity"}), "lastArchivedWALTime is \"infinity\", which is no time")]
#[case::fewer_than_no_files(json!({"isPrimary": true, "readyWalFiles": -1}), "readyWalFiles is \"-1\", which is no number of files")]
#[case::more_files_than_there_can_be(json!({"isPrimary": true, "readyWalFiles": 4_294_967_296_i64}), "which is no number of files")]
#[case::half_a_file(json!({"isPrimary": true, "readyWalFiles": 0.5}), "invalid type: floating point")]
#[case::no_position(json!({"isPrimary": true, "currentLsn": "0x3"}), "currentLsn is \"0x3\", which is no WAL position")]
#[case::a_slot_at_no_position(json!({"isPrimary": true, "replicationSlotsInfo": [{"restartLsn": "1/123456789"}]}), "restartLsn is")]
#[case::a_slot_that_is_none(json!({"isPrimary": true, "replicationSlotsInfo": [["debezium"]]}), "invalid type: sequence")]
#[case::a_slot_without_a_readable_name(json!({"isPrimary": true, "replicationSlotsInfo": [{"slotName": "s".repeat(64)}]}), "which is no name")]
#[case::slots_without_number(json!({"isPrimary": true, "replicationSlotsInfo": vec![json!({"slotName": "s"}); 513]}), "more than 512 entries in replicationSlotsInfo")]
fn what_makes_no_sense_is_not_read(#[case] status: Value, #[case] why: &str) {
    let said = read(&status).expect_err("not read");
    assert!(said.contains(why), "{said}");
    assert!(said.len() < 200, "{said}");
}

#[test]
fn half_a_status_is_none() {
    for end in [0, 1, PRIMARY.len() / 2, PRIMARY.len() - 1] {
        assert!(parse(&PRIMARY.as_bytes()[..end]).is_err(), "{end}");
    }
    assert!(parse(&[0xff; 64]).is_err());
    assert!(parse("[".repeat(100_000).as_bytes()).is_err());
}
