//! Why a volume fills, in one sentence, with what to do.

use csm_units::Bytes;

use super::figures::{and, measured, span};
use crate::root_cause::{Cause, WalSetting};
use crate::world::VolumeKey;

/// Where it fills.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The instance.
    pub instance: &'a str,
    /// The volume.
    pub volume: &'a VolumeKey,
}

/// The cause, what shows it, and what to do about it, for who is on call.
#[must_use]
pub fn root_cause(cause: &Cause, place: Place<'_>) -> String {
    let Place { instance, volume } = place;
    match cause {
        Cause::ArchiverFailing {
            waiting,
            held,
            last_archived,
            last_failed,
        } => {
            let since = last_archived.map_or_else(
                || "nothing was ever archived".to_owned(),
                |at| format!("nothing was archived since {at}"),
            );
            let wait = wait(*waiting);
            format!(
                "WAL archiving of {instance} fails ({since}, it last failed at {last_failed}), and {wait} ({}) on {volume}; see why in the \
                 instance's log, and repair the archive (its address, its credentials, its room): what waits is archived then, and goes",
                measured(*held)
            )
        }
        Cause::ArchiverSlow {
            waiting,
            held,
            written,
            archived,
        } => {
            let wait = wait(*waiting);
            format!(
                "WAL archiving of {instance} is slower ({}/s) than WAL is written ({}/s), and {wait} ({}) on {volume}; archive in parallel \
                 and compressed (wal.maxParallel, wal.compression), or write less at a time",
                rate(*archived),
                rate(*written),
                measured(*held)
            )
        }
        Cause::InactiveSlot { slot, held, since } => {
            let since = since.map_or_else(String::new, |at| format!(" since {at}"));
            format!(
                "nobody reads from the replication slot {slot} of {instance}{since}, and it holds {} of WAL on {volume}; start its reader \
                 again, or, where it has none any more, drop it: SELECT pg_drop_replication_slot('{}')",
                measured(*held),
                slot.replace('\'', "''")
            )
        }
        Cause::LaggingStandby { standby, held } => format!(
            "{standby} is {} behind {instance}, and as much WAL stays on {volume} for it; see whether it runs, keeps up and can reach \
             {instance}, and set max_slot_wal_keep_size, beyond which it is given up",
            measured(*held)
        ),
        Cause::WalSettingsTooBig {
            setting,
            value,
            held,
            volume: size,
        } => {
            let why = match setting {
                WalSetting::WalKeepSize => "is kept for standbys, whether they need it or not",
                WalSetting::MaxWalSize => "may be written between two checkpoints",
                WalSetting::MinWalSize => "is kept for later use",
            };
            let setting = setting.as_str();
            format!(
                "{setting} of {instance} is {value}: so much WAL {why}, on {volume} of {size}, and it accounts for {}; lower {setting} in \
                 spec.postgresql.parameters of the Cluster, or give {volume} more room",
                measured(*held)
            )
        }
        Cause::BaseBackupRunning { since, held } => format!(
            "a base backup of {instance} runs since {since}, and the WAL written meanwhile (about {}) stays on {volume} until it ends; wait \
             for it, or, where it is stuck, cancel it",
            measured(*held)
        ),
        Cause::DataGrowth { grown, over, as_wal: true } => format!(
            "{instance} wrote {} of WAL in {}, and nothing holds it back: {volume} fills with what is written between two checkpoints; \
             spread the load, or give {volume} more room",
            measured(*grown),
            span(*over)
        ),
        Cause::DataGrowth {
            grown,
            over,
            as_wal: false,
        } => format!(
            "the databases of {instance} grew by {} in {}, on {volume}; where that is not wanted, see which tables grow \
             (pg_total_relation_size), and whether autovacuum keeps up",
            measured(*grown),
            span(*over)
        ),
        Cause::TempFiles { grown, over, counted } => {
            let (what, over) = (measured(*grown), span(*over));
            let shows = if *counted {
                format!("{instance} wrote {what} of temporary files in {over}, on {volume}")
            } else {
                format!("{what} came to {volume} of {instance} in {over} that are in no database: temporary files, most likely")
            };
            format!("{shows}; find the query (log_temp_files, pg_stat_statements.temp_blks_written), and bound it with temp_file_limit")
        }
        Cause::SharedFilesystem { filesystem, volume: size } => format!(
            "{volume} of {instance} has {size}, and its filesystem {}: it is shared, and others fill it too; use a storage class that gives \
             each volume a filesystem of its own",
            measured(*filesystem)
        ),
        Cause::Unknown { missing } if missing.is_empty() => format!(
            "nothing that is known of {instance} shows why {volume} fills; look at what is on it (du in the instance's container), and at \
             files that do not belong to PostgreSQL"
        ),
        Cause::Unknown { missing } => {
            let missing: Vec<&str> = missing.iter().map(|missing| missing.as_str()).collect();
            format!(
                "why {volume} of {instance} fills is not known, since this is not: {}; see whether the manager reaches the instance's status \
                 (port 8000) and its exporter (port 9187; setting instances.exporter)",
                and(&missing)
            )
        }
    }
}

fn wait(segments: u64) -> String {
    if segments == 1 {
        "1 segment waits".to_owned()
    } else {
        format!("{segments} segments wait")
    }
}

/// In a second: less than a tenth of a MiB is said in KiB.
fn rate(bytes: Bytes) -> String {
    if bytes >= Bytes::MIB {
        return measured(bytes);
    }
    format!("{} KiB", bytes.get() >> 10)
}
