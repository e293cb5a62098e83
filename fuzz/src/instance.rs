//! An instance's status: what is read of an answer is what is read of the same written plainly, within its bounds.

use std::sync::Arc;

use csm_core::wal::Lsn;
use csm_gather::instance::{Primary, Reading, Replica, SlotReading, Standby, parse};
use jiff::Timestamp;
use serde_json::{Value, json};

/// More entries of a list than these are not kept, nor longer names.
const MOST: usize = 512;
const LONGEST_NAME: usize = 63;

/// An answer of `:8000/pg/status`.
pub(crate) fn run(data: &[u8]) {
    let reading = match parse(data) {
        Ok(reading) => reading,
        Err(error) => {
            // It is logged, whatever the answer was.
            let text = error.to_string();
            return assert!(!text.is_empty() && text.chars().count() < 1000, "{text}");
        }
    };
    if let Reading::Primary(primary) = &reading {
        assert!(primary.slots.len() <= MOST && primary.standbys.len() <= MOST, "{primary:?}");
        let slots = primary.slots.iter().map(|slot| &slot.name);
        let names = slots.chain(primary.standbys.iter().map(|standby| &standby.name));
        for name in names.chain(primary.last_archived.iter().chain(&primary.last_failed).map(|(_, file)| file)) {
            assert!(name.len() <= LONGEST_NAME, "{name}");
        }
        for archives in [false, true] {
            let health = reading.health(archives);
            let slots = health.as_ref().map(|health| health.slots.len());
            assert_eq!(slots, Some(primary.slots.len()));
            assert_eq!(health.and_then(|health| health.archiving).is_some(), archives);
        }
    } else {
        assert_eq!(reading.health(true), None);
    }
    let printed = print(&reading).to_string();
    match parse(printed.as_bytes()) {
        Ok(again) => assert_eq!(again, reading, "{printed}"),
        Err(error) => panic!("{printed}: {error}"),
    }
}

fn text(lsn: Option<Lsn>) -> Option<String> {
    lsn.map(|lsn| lsn.to_string())
}

/// The same status.
fn print(reading: &Reading) -> Value {
    let primary = match reading {
        Reading::Primary(primary) => primary,
        Reading::Replica(Replica {
            received,
            replayed,
            streams,
        }) => {
            return json!({"receivedLsn": text(*received), "replayLsn": text(*replayed), "isWalReceiverActive": streams});
        }
    };
    let Primary {
        current_lsn,
        timeline,
        last_archived,
        last_failed,
        pending,
        slots,
        standbys,
        base_backups,
    } = primary;
    let slot = |SlotReading { name, active, restart_lsn }: &SlotReading| json!({"slotName": **name, "active": active, "restartLsn": text(*restart_lsn)});
    let standby = |Standby { name, flushed }: &Standby| json!({"applicationName": **name, "flushLsn": text(*flushed)});
    let time = |event: &Option<(Timestamp, Arc<str>)>| event.as_ref().map(|(at, _)| at.to_string());
    let file = |event: &Option<(Timestamp, Arc<str>)>| event.as_ref().map(|(_, file)| file.to_string());
    json!({
        "isPrimary": true, "currentLsn": text(*current_lsn), "timeLineID": timeline, "readyWalFiles": pending,
        "lastArchivedWAL": file(last_archived), "lastArchivedWALTime": time(last_archived),
        "lastFailedWAL": file(last_failed), "lastFailedWALTime": time(last_failed),
        "replicationSlotsInfo": slots.iter().map(slot).collect::<Vec<_>>(), "replicationInfo": standbys.iter().map(standby).collect::<Vec<_>>(),
        "pgStatBasebackupsInfo": vec![json!({}); *base_backups],
    })
}
