//! The health of WAL in the status of a PostgresStorage.

use csm_api::{DiskStatus, InactiveSlot, InstanceWal};
use csm_core::crossing::{FEW_FILES, LITTLE_WAL, coarse};
use csm_core::world::{WalHealth, World};

use super::status::second;

/// Slots that are named in the status; a Cluster that has more of them without readers has another trouble than their names.
const SLOTS: usize = 20;

/// Adds it to the figures of the primary, where it is known.
pub fn add(disks: &mut DiskStatus, world: &World) {
    let (Some(health), Some(primary)) = (&world.cluster.wal, &world.cluster.primary) else {
        return;
    };
    disks.instances.entry(primary.to_string()).or_default().wal_health = Some(of(health));
}

fn of(health: &WalHealth) -> InstanceWal {
    let slots = health.inactive().take(SLOTS).map(|slot| InactiveSlot {
        slot_name: slot.name.to_string(),
        retention_bytes: i64::try_from(slot.retained.get()).unwrap_or(i64::MAX),
    });
    let archiving = health.archiving;
    InstanceWal {
        archive_healthy: archiving.map(|archiving| !archiving.is_failing()),
        pending_wal_files: archiving.map(|archiving| i64::from(archiving.pending)),
        inactive_slot_count: i32::try_from(health.inactive().count()).unwrap_or(i32::MAX),
        inactive_slots: slots.collect(),
        last_archived_time: archiving.and_then(|archiving| archiving.last_archived).and_then(second),
        last_failed_time: archiving.and_then(|archiving| archiving.last_failed).and_then(second),
    }
}

/// Without what moves all the time: whether archiving works, which slots nobody reads, and figures that have doubled, are news.
/// The order of slots is not, which goes by what they hold back.
pub fn without_figures(wal: &InstanceWal) -> InstanceWal {
    let coarsely = |figure: i64, little| i64::from(coarse(u64::try_from(figure).unwrap_or(0), little));
    let slot = |slot: &InactiveSlot| InactiveSlot {
        slot_name: slot.slot_name.clone(),
        retention_bytes: coarsely(slot.retention_bytes, LITTLE_WAL),
    };
    let mut inactive_slots: Vec<InactiveSlot> = wal.inactive_slots.iter().map(slot).collect();
    inactive_slots.sort_by(|a, b| a.slot_name.cmp(&b.slot_name));
    InstanceWal {
        archive_healthy: wal.archive_healthy,
        inactive_slot_count: wal.inactive_slot_count,
        inactive_slots,
        pending_wal_files: wal.pending_wal_files.map(|files| coarsely(files, FEW_FILES)),
        last_archived_time: None,
        last_failed_time: None,
    }
}

#[cfg(test)]
mod tests {
    use csm_core::plan::plan;

    use super::*;
    use crate::report::status::{news, status};
    use crate::report::testing::{now, subject};

    const VOLUMES: &str =
        "volumes: {data: {size: 10Gi, members: {orders-1: {used: 1Gi, available: 9Gi}, orders-2: {used: 1Gi, available: 9Gi}}}}";

    fn told(wal: &str) -> csm_api::PostgresStorageStatus {
        let subject = subject("{expansion: {maxSize: 100Gi}}", &format!("primary: orders-1, {wal}, {VOLUMES}"));
        let plan = plan(&subject.world, now());
        status(&subject.snapshot, &subject.world, &plan, &[], now())
    }

    fn health(status: &csm_api::PostgresStorageStatus) -> Option<InstanceWal> {
        let instances = &status.disk_status.as_ref()?.instances;
        assert!(
            instances.get("orders-2").is_none_or(|disks| disks.wal_health.is_none()),
            "of the primary alone"
        );
        instances.get("orders-1")?.wal_health.clone()
    }

    #[test]
    fn the_primary_says_what_is_known_of_its_wal() {
        let slots = "slots: [{name: reader, active: true, retained: 3Gi}, {name: idle, active: false, retained: 1Mi}, {name: gone, active: false, retained: 2Gi}]";
        let archiving =
            "archiving: {configured: true, lastArchived: '2026-03-01T11:58:00Z', lastFailed: '2026-03-01T11:59:00.5Z', pending: 7}";
        let said = health(&told(&format!("{archiving}, {slots}")));
        let slot = |name: &str, retention_bytes| InactiveSlot {
            slot_name: name.to_owned(),
            retention_bytes,
        };
        let time = |text: &str| text.parse().ok().and_then(second);
        let expected = InstanceWal {
            archive_healthy: Some(false),
            pending_wal_files: Some(7),
            inactive_slot_count: 2,
            inactive_slots: vec![slot("gone", 2 << 30), slot("idle", 1 << 20)],
            last_archived_time: time("2026-03-01T11:58:00Z"),
            last_failed_time: time("2026-03-01T11:59:00Z"),
        };
        assert_eq!(said, Some(expected));
        assert_eq!(health(&told("archiving: {configured: false}")), Some(InstanceWal::default()));
        assert_eq!(health(&told("walHealthKnown: false")), None);
    }

    #[test]
    fn what_moves_all_the_time_is_no_news() {
        let of = |archived: &str, pending: u32, slots: &str| {
            told(&format!(
                "archiving: {{configured: true, lastArchived: '2026-03-01T{archived}Z', lastFailed: '2026-03-01T10:00:00Z', pending: {pending}}}, slots: [{slots}]"
            ))
        };
        let idle = |retained: &str| format!("{{name: idle, active: false, retained: {retained}}}");
        let before = of("11:00:00", 1, &idle("1Gi"));
        assert!(!news(&before, &of("11:05:00", 2, &idle("1900Mi"))));
        assert!(news(&before, &of("11:00:00", 1, &idle("2Gi"))), "it holds back twice as much");
        let waiting = of("11:00:00", 39, &idle("1Gi"));
        assert!(news(&before, &waiting) && news(&waiting, &before), "files wait, and do no longer");
        assert!(news(&before, &of("09:00:00", 1, &idle("1Gi"))), "archiving fails");
        assert!(news(&before, &of("11:00:00", 1, "")), "the slot is read again");
        assert!(news(&before, &told("walHealthKnown: false")), "nothing is known any more");
    }
}
