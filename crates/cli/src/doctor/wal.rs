//! PostgreSQL's own settings on WAL, against the volume that holds it.

use csm_core::world::VolumeKey;
use csm_units::Bytes;

use super::{Check, Diagnosis, Level, Subject, WalSize};
use crate::render::size_text as size;

/// What may be filled with WAL by settings alone: the rest is for what a failing archive, or a slow standby, holds back.
const OF_WAL_VOLUME_PERCENT: u64 = 60;
/// The same of a volume that holds data as well.
const OF_DATA_VOLUME_PERCENT: u64 = 30;
/// `max_wal_size` where the Cluster does not set it (PostgreSQL documentation, "Write Ahead Log").
const MAX_WAL_SIZE: WalSize = WalSize::Bytes(Bytes::GIB);
/// `wal_keep_size` where the Cluster does not set it: CloudNativePG's default.
const WAL_KEEP_SIZE: WalSize = WalSize::Bytes(Bytes::mib(512));

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
            setting("max_wal_size", MAX_WAL_SIZE),
            "between two checkpoints, under load",
        ),
        (
            "wal_keep_size",
            setting("wal_keep_size", WAL_KEEP_SIZE),
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
