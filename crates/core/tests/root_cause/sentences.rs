//! Each cause in its sentence.

use csm_core::explain::{Place, root_cause};
use csm_core::root_cause::{Cause, Missing, WalSetting};
use csm_core::world::VolumeKey;
use csm_units::Bytes;
use jiff::SignedDuration;
use rstest::rstest;

use super::at;

#[rstest]
#[case::failing(
    Cause::ArchiverFailing { waiting: 17, held: Bytes::mib(272), last_archived: Some(at("09:14:03")), last_failed: at("11:59:58") },
    "WAL archiving of orders-1 fails (nothing was archived since 2026-03-01T09:14:03Z, it last failed at 2026-03-01T11:59:58Z), and 17 segments wait (272 MiB) on wal; see why in the instance's log, and repair the archive (its address, its credentials, its room): what waits is archived then, and goes"
)]
#[case::never(
    Cause::ArchiverFailing { waiting: 1, held: Bytes::mib(16), last_archived: None, last_failed: at("11:59:58") },
    "WAL archiving of orders-1 fails (nothing was ever archived, it last failed at 2026-03-01T11:59:58Z), and 1 segment waits (16 MiB) on wal; see why in the instance's log, and repair the archive (its address, its credentials, its room): what waits is archived then, and goes"
)]
#[case::slow(
    Cause::ArchiverSlow { waiting: 40, held: Bytes::mib(640), written: Bytes::mib(21), archived: Bytes::new(734_003) },
    "WAL archiving of orders-1 is slower (716 KiB/s) than WAL is written (21 MiB/s), and 40 segments wait (640 MiB) on wal; archive in parallel and compressed (wal.maxParallel, wal.compression), or write less at a time"
)]
#[case::inactive(
    Cause::InactiveSlot { slot: "cdc".into(), held: Bytes::gib(5), since: Some(at("06:30:00")) },
    "nobody reads from the replication slot cdc of orders-1 since 2026-03-01T06:30:00Z, and it holds 5 GiB of WAL on wal; start its reader again, or, where it has none any more, drop it: SELECT pg_drop_replication_slot('cdc')"
)]
#[case::inactive_of_old(
    Cause::InactiveSlot { slot: "it's".into(), held: Bytes::gib(7), since: None },
    "nobody reads from the replication slot it's of orders-1, and it holds 7 GiB of WAL on wal; start its reader again, or, where it has none any more, drop it: SELECT pg_drop_replication_slot('it''s')"
)]
#[case::lagging(
    Cause::LaggingStandby { standby: "orders-3".into(), held: Bytes::mib(1536) },
    "orders-3 is 1.5 GiB behind orders-1, and as much WAL stays on wal for it; see whether it runs, keeps up and can reach orders-1, and set max_slot_wal_keep_size, beyond which it is given up"
)]
#[case::keep(
    Cause::WalSettingsTooBig { setting: WalSetting::WalKeepSize, value: Bytes::gib(3), held: Bytes::mib(2560), volume: Bytes::gib(4) },
    "wal_keep_size of orders-1 is 3Gi: so much WAL is kept for standbys, whether they need it or not, on wal of 4Gi, and it accounts for 2.5 GiB; lower wal_keep_size in spec.postgresql.parameters of the Cluster, or give wal more room"
)]
#[case::max(
    Cause::WalSettingsTooBig { setting: WalSetting::MaxWalSize, value: Bytes::gib(2), held: Bytes::gib(1), volume: Bytes::gib(3) },
    "max_wal_size of orders-1 is 2Gi: so much WAL may be written between two checkpoints, on wal of 3Gi, and it accounts for 1 GiB; lower max_wal_size in spec.postgresql.parameters of the Cluster, or give wal more room"
)]
#[case::min(
    Cause::WalSettingsTooBig { setting: WalSetting::MinWalSize, value: Bytes::gib(6), held: Bytes::gib(5), volume: Bytes::gib(7) },
    "min_wal_size of orders-1 is 6Gi: so much WAL is kept for later use, on wal of 7Gi, and it accounts for 5 GiB; lower min_wal_size in spec.postgresql.parameters of the Cluster, or give wal more room"
)]
#[case::backup(
    Cause::BaseBackupRunning { since: at("10:20:00"), held: Bytes::mib(900) },
    "a base backup of orders-1 runs since 2026-03-01T10:20:00Z, and the WAL written meanwhile (about 900 MiB) stays on wal until it ends; wait for it, or, where it is stuck, cancel it"
)]
#[case::load(
    Cause::DataGrowth { grown: Bytes::gib(2), over: SignedDuration::from_secs(580), as_wal: true },
    "orders-1 wrote 2 GiB of WAL in 9 min 40 s, and nothing holds it back: wal fills with what is written between two checkpoints; spread the load, or give wal more room"
)]
#[case::data(
    Cause::DataGrowth { grown: Bytes::mib(700), over: SignedDuration::from_mins(8), as_wal: false },
    "the databases of orders-1 grew by 700 MiB in 8 min, on wal; where that is not wanted, see which tables grow (pg_total_relation_size), and whether autovacuum keeps up"
)]
#[case::temporary(
    Cause::TempFiles { grown: Bytes::gib(9), over: SignedDuration::from_mins(7), counted: true },
    "orders-1 wrote 9 GiB of temporary files in 7 min, on wal; find the query (log_temp_files, pg_stat_statements.temp_blks_written), and bound it with temp_file_limit"
)]
#[case::unexplained(
    Cause::TempFiles { grown: Bytes::gib(8), over: SignedDuration::from_mins(6), counted: false },
    "8 GiB came to wal of orders-1 in 6 min that are in no database: temporary files, most likely; find the query (log_temp_files, pg_stat_statements.temp_blks_written), and bound it with temp_file_limit"
)]
#[case::shared(
    Cause::SharedFilesystem { filesystem: Bytes::gib(98), volume: Bytes::gib(10) },
    "wal of orders-1 has 10Gi, and its filesystem 98 GiB: it is shared, and others fill it too; use a storage class that gives each volume a filesystem of its own"
)]
#[case::unknown(
    Cause::Unknown { missing: vec![Missing::Archiving, Missing::Slots, Missing::WalSize] },
    "why wal of orders-1 fills is not known, since this is not: how WAL archiving does, the replication slots and the size of pg_wal; see whether the manager reaches the instance's status (port 8000) and its exporter (port 9187; setting instances.exporter)"
)]
#[case::nothing(
    Cause::Unknown { missing: Vec::new() },
    "nothing that is known of orders-1 shows why wal fills; look at what is on it (du in the instance's container), and at files that do not belong to PostgreSQL"
)]
fn sentences(#[case] cause: Cause, #[case] expected: &str) {
    let place = Place {
        instance: "orders-1",
        volume: &VolumeKey::WAL,
    };
    assert_eq!(root_cause(&cause, place), expected);
}
