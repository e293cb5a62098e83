//! An instance's exporter: what is read of an answer is what is read of the same figures printed plainly, within its bounds.

use std::fmt::{Display, Write as _};

use csm_gather::exporter::{LONGEST, MOST_SLOTS, Scrape, parse};
use csm_units::Bytes;
use jiff::Timestamp;

/// An answer of `:9187/metrics`.
pub(crate) fn run(data: &[u8]) {
    let scrape = match parse(data) {
        Ok(scrape) => scrape,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(data.len() <= LONGEST && scrape.slots.len() <= MOST_SLOTS, "{scrape:?}");
    if let Some(size) = scrape.segment_size() {
        assert!(size >= Bytes::MIB && size <= Bytes::GIB, "a segment of {size}");
    }
    let printed = print(&scrape);
    assert_eq!(parse(printed.as_bytes()).as_ref(), Ok(&scrape), "{printed}");
}

/// The same figures, and a line that says nothing of them.
fn print(scrape: &Scrape) -> String {
    let mut text = "cnpg_collector_last_collection_error 0\n".to_owned();
    let mut line = |name: &str, value: Option<&dyn Display>| {
        if let Some(value) = value {
            let _ = writeln!(text, "cnpg_{name} {value}");
        }
    };
    let flag = |flag: Option<bool>| flag.map(u8::from);
    let bytes = |bytes: Option<Bytes>| bytes.map(Bytes::get);
    let seconds = |at: Option<Timestamp>| at.map(|at| format!("{}.{:03}", at.as_second(), at.subsec_millisecond()));
    macro_rules! lines {
        ($($name:literal: $value:expr,)*) => { $(line($name, $value.as_ref().map(|v| v as &dyn Display));)* };
    }
    lines! {
        "collector_up": flag(scrape.up),
        "pg_replication_in_recovery": flag(scrape.in_recovery),
        "collector_pg_wal{value=\"count\"}": scrape.segments,
        "collector_pg_wal{value=\"size\"}": bytes(scrape.segment_bytes),
        "collector_pg_wal{value=\"min\"}": scrape.min_wal,
        "collector_pg_wal{value=\"max\"}": scrape.max_wal,
        "collector_pg_wal{value=\"keep\"}": scrape.wal_keep,
        "collector_pg_wal{value=\"slots_max\"}": scrape.slots_max,
        "collector_pg_wal_archive_status{value=\"ready\"}": scrape.ready,
        "collector_pg_wal_archive_status{value=\"done\"}": scrape.done,
        "collector_wal_bytes": bytes(scrape.wal_bytes),
        "pg_database_size_bytes{datname=\"all\"}": bytes(scrape.databases),
        "pg_stat_database_temp_bytes{datname=\"all\"}": bytes(scrape.temp_bytes),
        "pg_stat_archiver_archived_count": scrape.archived,
        "pg_stat_archiver_failed_count": scrape.failed,
        "pg_stat_archiver_last_archived_time": seconds(scrape.last_archived),
        "pg_stat_archiver_last_failed_time": seconds(scrape.last_failed),
    }
    for (name, slot) in &scrape.slots {
        let label = name.replace('\\', "\\\\").replace('"', "\\\"");
        let series = |figure: &str| format!("pg_replication_slots_{figure}{{slot_name=\"{label}\"}}");
        // A slot of which nothing could be read is there all the same.
        let nothing = "NaN".to_owned();
        line(
            &series("active"),
            Some(&flag(slot.active).map_or(nothing.clone(), |v| v.to_string())),
        );
        let retained = bytes(slot.retained).map_or(nothing, |v| v.to_string());
        line(&series("pg_wal_lsn_diff"), Some(&retained));
    }
    text
}
