//! What an instance's exporter says of its storage, in the words of CloudNativePG 1.30.

use csm_gather::exporter::{ExporterError, LONGEST, MOST_SLOTS, Scrape, SlotFigures, parse};
use csm_units::Bytes;
use rstest::rstest;

const PRIMARY: &str = include_str!("../../../fuzz/corpus/exporter/primary.txt");

#[test]
fn a_primary_says_all() {
    let slot = |active, retained| SlotFigures {
        active: Some(active),
        retained: Some(Bytes::new(retained)),
    };
    let expected = Scrape {
        up: Some(true),
        in_recovery: Some(false),
        segments: Some(58),
        segment_bytes: Some(Bytes::mib(928)),
        min_wal: Some(5),
        max_wal: Some(64),
        wal_keep: Some(32),
        slots_max: None,
        ready: Some(16),
        done: Some(41),
        wal_bytes: Some(Bytes::new(5_368_709_123)),
        databases: Some(Bytes::new(1_234_567_000 + 7_654_321 + 7_737_000)),
        temp_bytes: Some(Bytes::new(14_000_000)),
        archived: Some(300),
        failed: Some(4),
        last_archived: Some("2026-03-01T11:59:30.25Z".parse().unwrap()),
        last_failed: None,
        slots: [("_cnpg_orders_2".into(), slot(true, 96)), ("cdc".into(), slot(false, 805_306_360))].into(),
    };
    let scrape = parse(PRIMARY.as_bytes()).unwrap();
    assert_eq!(scrape, expected);
    assert_eq!(scrape.segment_size(), Some(Bytes::mib(16)));
    assert_eq!(scrape.in_bytes(scrape.wal_keep), Some(Bytes::mib(512)));
    assert_eq!(scrape.in_bytes(scrape.slots_max), None);
}

/// What cannot be read is not there, and the rest is.
#[rstest]
#[case::not_a_number("cnpg_collector_pg_wal{value=\"count\"} NaN", None)]
#[case::negative("cnpg_collector_pg_wal{value=\"count\"} -1", None)]
#[case::infinite("cnpg_collector_pg_wal{value=\"count\"} +Inf", None)]
#[case::too_large("cnpg_collector_pg_wal{value=\"count\"} 1e400", None)]
#[case::a_quantity_is_no_number("cnpg_collector_pg_wal{value=\"count\"} 1Ki", None)]
#[case::nothing("cnpg_collector_pg_wal{value=\"count\"}", None)]
#[case::cut_short("cnpg_collector_pg_wal{value=\"count", None)]
#[case::another("cnpg_collector_pg_wal{value=\"counts\"} 7", None)]
#[case::with_a_time("cnpg_collector_pg_wal{value=\"count\"} 7 1772366400000", Some(7))]
#[case::spaced("cnpg_collector_pg_wal{ value=\"count\" ,}  7\r", Some(7))]
#[case::beside_others("cnpg_collector_pg_wal{a=\"},value=\\\"x\",value=\"count\"} 7.0e+00", Some(7))]
fn one_line(#[case] line: &str, #[case] expected: Option<u64>) {
    let text = format!("cnpg_collector_up 1\n{line}\ncnpg_collector_wal_bytes 5\n");
    let scrape = parse(text.as_bytes()).unwrap();
    assert_eq!(scrape.segments, expected);
    assert_eq!((scrape.up, scrape.wal_bytes), (Some(true), Some(Bytes::new(5))));
}

/// The size of all databases is known of all of them, or not at all.
#[test]
fn one_unreadable_database_leaves_no_sum() {
    let text = "cnpg_pg_database_size_bytes{datname=\"a\"} 7\ncnpg_pg_database_size_bytes{datname=\"b\"} NaN\n";
    assert_eq!(parse(text.as_bytes()).unwrap().databases, None);
}

#[rstest]
#[case::more_than_a_primary_writes(58, Some(16))]
#[case::uneven(57, None)]
#[case::none_at_all(0, None)]
fn a_segment_has_a_size_that_initdb_takes(#[case] segments: u64, #[case] mebibytes: Option<u64>) {
    let scrape = Scrape {
        segments: Some(segments),
        segment_bytes: Some(Bytes::mib(928)),
        ..Scrape::default()
    };
    assert_eq!(scrape.segment_size(), mebibytes.map(Bytes::mib));
}

#[test]
fn what_is_no_answer_is_an_error() {
    let slots = |n: usize| -> String {
        let line = |i| format!("cnpg_pg_replication_slots_active{{slot_name=\"s{i}\"}} 1\n");
        (0..n).map(line).collect()
    };
    assert_eq!(parse(b""), Err(ExporterError::NoMetrics));
    assert_eq!(parse(b"<html>404</html>\ngo_goroutines 3\n"), Err(ExporterError::NoMetrics));
    assert_eq!(parse(&[0xff; 100]), Err(ExporterError::NoMetrics));
    assert_eq!(parse(&vec![b' '; LONGEST + 1]), Err(ExporterError::TooLong(LONGEST + 1)));
    assert_eq!(parse(slots(MOST_SLOTS).as_bytes()).map(|s| s.slots.len()), Ok(MOST_SLOTS));
    assert_eq!(parse(slots(MOST_SLOTS + 1).as_bytes()), Err(ExporterError::TooManySlots));
}
