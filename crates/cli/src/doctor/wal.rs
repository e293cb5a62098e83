//! PostgreSQL's own settings on WAL, against the volume that holds it.

use csm_core::world::VolumeKey;
use csm_gather::wal_size::{MAX_WAL_SIZE, WAL_KEEP_SIZE};
use csm_units::Bytes;

use super::{Check, Diagnosis, Level, Subject, WalSize};
use crate::render::{moment_and_age, size_text as size};

/// What may be filled with WAL by settings alone: the rest is for what a failing archive, or a slow standby, holds back.
const OF_WAL_VOLUME_PERCENT: u64 = 60;
/// The same of a volume that holds data as well.
const OF_DATA_VOLUME_PERCENT: u64 = 30;
/// A slot that holds back less is read again in time, or goes unnoticed.
const ABANDONED_PERCENT: u64 = 10;

pub(super) fn examine(subject: &Subject<'_>, diagnosis: &mut Diagnosis) {
    let volumes = &subject.thought.world.volumes;
    let own = volumes.iter().find(|v| v.key == VolumeKey::WAL);
    let Some(volume) = own.or_else(|| volumes.iter().find(|v| v.key == VolumeKey::DATA)) else {
        return;
    };
    let smallest = volume.members.iter().map(|m| m.size).filter(|size| !size.is_zero()).min();
    let Some(room) = smallest else { return };
    let cluster = subject.facts.clusters.first();
    let parameters = cluster.and_then(|c| c.spec.postgresql.as_ref()).map(|p| &p.parameters);
    let setting = |name: &str, default| WalSize::of(parameters, name, default);
    let share = if own.is_some() {
        OF_WAL_VOLUME_PERCENT
    } else {
        OF_DATA_VOLUME_PERCENT
    };
    let sound = percent(room, share);
    let kinds = [
        (
            "max_wal_size",
            setting("max_wal_size", WalSize::Bytes(MAX_WAL_SIZE)),
            "between two checkpoints, under load",
        ),
        (
            "wal_keep_size",
            setting("wal_keep_size", WalSize::Bytes(WAL_KEEP_SIZE)),
            "all the time, for standbys without a slot",
        ),
    ];
    for (name, value, when) in kinds {
        let Some(value) = value.bytes().filter(|value| *value > sound) else {
            continue;
        };
        let level = if value >= room { Level::Problem } else { Level::Warning };
        diagnosis.add(
            level,
            Check::WalSettings,
            format!(
                "{name} lets {} of WAL stay {when}, and {} has {}: growth would make room for a setting, not for data",
                size(value),
                volume.key,
                size(room)
            ),
            format!(
                "Set spec.postgresql.parameters.{name} to {}MB at most ({share} % of the volume), or give the volume more",
                mebibytes(sound)
            ),
        );
    }
    let limit = setting("max_slot_wal_keep_size", WalSize::Unlimited);
    slots(limit, room, sound, &volume.key, diagnosis);
    abandoned(subject, &volume.key, room, diagnosis);
    archiving(subject, diagnosis);
}

/// Slots that nobody reads, and that hold back enough to be missed.
fn abandoned(subject: &Subject<'_>, volume: &VolumeKey, room: Bytes, diagnosis: &mut Diagnosis) {
    let cluster = &subject.thought.world.cluster;
    let slots = cluster.wal.iter().flat_map(|wal| &wal.slots);
    for slot in slots.filter(|slot| !slot.active && slot.retained >= room.mul_div(ABANDONED_PERCENT, 100)) {
        let primary = cluster.primary.as_deref().unwrap_or("PRIMARY");
        diagnosis.add(
            Level::Warning,
            Check::Slots,
            format!("nobody reads replication slot \"{}\", and it holds back {} of {volume}", slot.name, size(slot.retained)),
            format!(
                "Bring its reader back; or, if there is none any more: kubectl -n {} exec {primary} -c postgres -- psql -U postgres -c \"SELECT pg_drop_replication_slot('{}')\". A reader that comes back then has to start anew; docs/runbooks/wal-slots.md",
                cluster.key.namespace, slot.name
            ),
        );
    }
}

fn archiving(subject: &Subject<'_>, diagnosis: &mut Diagnosis) {
    let cluster = subject.facts.clusters.first();
    if cluster.is_some_and(|cluster| cluster.archives_wal() && !cluster.surely_archives_wal()) {
        diagnosis.add(
            Level::Warning,
            Check::Archiving,
            "a plugin is enabled, and not said to archive WAL: whether it does is not known, a plugin that is not there stops nothing, and WAL relief removes nothing",
            "Set isWALArchiver: true at the plugin in spec.plugins that archives WAL",
        );
    }
    if !cluster.is_some_and(csm_cnpg::Cluster::archives_wal) {
        diagnosis.add(
            Level::Advice,
            Check::Archiving,
            "the Cluster archives no WAL: there is no recovery to a point in time, and a standby that falls behind has no other place to read from",
            "Configure WAL archiving: a plugin with isWALArchiver, or spec.backup.barmanObjectStore (until CloudNativePG 1.30)",
        );
        return;
    }
    let Some(archiving) = subject.thought.world.cluster.wal.as_ref().and_then(|wal| wal.archiving) else {
        diagnosis.skip(
            Check::Archiving,
            "the manager has no word of the primary about it; docs/runbooks/wal-health-unknown.md",
        );
        return;
    };
    if archiving.is_failing() {
        let since = archiving.last_archived.map_or_else(
            || "nothing was ever archived".to_owned(),
            |at| format!("the last file was archived {}", moment_and_age(at, subject.now)),
        );
        diagnosis.add(
            Level::Problem,
            Check::Archiving,
            format!("archiving fails: {since}, and {} files wait. WAL piles up until it succeeds", archiving.pending),
            "See why in the primary's log (kubectl logs -c postgres, lines of the archiver; with a plugin that of its own container, such as -c plugin-barman-cloud): address, credentials, bucket; docs/runbooks/wal-archive-failing.md",
        );
    }
}

fn slots(limit: WalSize, room: Bytes, sound: Bytes, volume: &VolumeKey, diagnosis: &mut Diagnosis) {
    let fix = format!(
        "Set spec.postgresql.parameters.max_slot_wal_keep_size to {}MB or so. A standby or subscriber that stays away for longer has to be made anew: that is the price",
        mebibytes(sound)
    );
    match limit {
        WalSize::Unlimited => diagnosis.add(
            Level::Advice,
            Check::Slots,
            format!(
                "max_slot_wal_keep_size is not set: one replication slot that nobody reads from fills {volume}, and stops the database"
            ),
            fix,
        ),
        WalSize::Bytes(limit) if limit >= room => diagnosis.add(
            Level::Warning,
            Check::Slots,
            format!(
                "max_slot_wal_keep_size is {}, and {volume} has {}: the volume is full before a slot gives way",
                size(limit),
                size(room)
            ),
            fix,
        ),
        WalSize::Bytes(_) => {}
    }
}

fn percent(of: Bytes, percent: u64) -> Bytes {
    of.mul_div(percent, 100)
}

fn mebibytes(bytes: Bytes) -> u64 {
    bytes.get().checked_div(Bytes::MIB.get()).unwrap_or_default()
}
