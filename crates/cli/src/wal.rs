//! The health of WAL, as the manager last wrote it: only it asks primaries.

use csm_api::{InstanceWal, PostgresStorageStatus};
use csm_core::world::{Archiving, Slot, WalHealth, World};
use csm_units::Bytes;
use jiff::SignedDuration;

use crate::read::Manager;

/// What the status says of the primary; nothing where the manager is away, since nobody has asked then.
#[must_use]
pub fn known(world: &World, status: &PostgresStorageStatus, manager: &Manager) -> Option<WalHealth> {
    let primary = world.cluster.primary.as_deref()?;
    let wal = status.disk_status.as_ref()?.instances.get(primary)?.wal_health.as_ref()?;
    (!manager.is_away()).then(|| of(wal))
}

fn of(wal: &InstanceWal) -> WalHealth {
    let InstanceWal {
        archive_healthy,
        pending_wal_files,
        inactive_slot_count: _,
        inactive_slots,
        last_archived_time,
        last_failed_time,
    } = wal;
    let archiving = archive_healthy.map(|healthy| {
        let archiving = Archiving {
            last_archived: last_archived_time.as_ref().map(|at| at.0),
            last_failed: last_failed_time.as_ref().map(|at| at.0),
            pending: pending_wal_files.map_or(0, |files| u32::try_from(files.max(0)).unwrap_or(u32::MAX)),
        };
        // Within one second the written times do not say which was later; the verdict does.
        let last_failed = match archiving.last_failed {
            Some(at) if !healthy && !archiving.is_failing() => at.saturating_add(SignedDuration::from_secs(1)).ok(),
            last_failed => last_failed,
        };
        Archiving { last_failed, ..archiving }
    });
    let slots = inactive_slots.iter().map(|slot| Slot {
        name: slot.slot_name.as_str().into(),
        active: false,
        retained: Bytes::new(u64::try_from(slot.retention_bytes).unwrap_or(0)),
    });
    WalHealth {
        archiving,
        slots: slots.collect(),
    }
}

#[cfg(test)]
mod tests {
    use csm_api::InactiveSlot;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn the_verdict_stands_where_the_times_do_not_tell() {
        let at = |seconds: i64| jiff::Timestamp::from_second(1_800_000_000 + seconds).ok();
        let read = |healthy, archived, failed| {
            of(&InstanceWal {
                archive_healthy: Some(healthy),
                pending_wal_files: Some(7),
                last_archived_time: at(archived).map(Time),
                last_failed_time: at(failed).map(Time),
                ..InstanceWal::default()
            })
        };
        for (healthy, archived, failed) in [(true, 5, 3), (true, 5, 5), (false, 5, 5), (false, 5, 9)] {
            let archiving = read(healthy, archived, failed).archiving.unwrap_or_default();
            assert_eq!((archiving.is_failing(), archiving.pending), (!healthy, 7), "{archived} {failed}");
            assert_eq!(archiving.last_archived, at(archived));
        }
    }

    #[test]
    fn without_archiving_there_are_slots() {
        let health = of(&InstanceWal {
            inactive_slot_count: 1,
            inactive_slots: vec![InactiveSlot {
                slot_name: "idle".to_owned(),
                retention_bytes: 3 << 30,
            }],
            ..InstanceWal::default()
        });
        assert_eq!((health.archiving, health.retained()), (None, Bytes::gib(3)));
    }
}
