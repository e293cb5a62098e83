//! The filesystems' figures, as the manager last wrote them, and how far they can be relied on.
//!
//! At rest the manager writes the figures of a cluster again only when one of them moves by a percentage point. Old
//! figures are therefore as good as fresh ones as long as the manager runs, unless it says that it lost sight of a volume.

use std::collections::BTreeMap;

use csm_api::{InstanceDisk, InstanceDisks, PostgresStorage, PostgresStorageStatus, Reason, Role, StorageSizing, VolumeSizing};
use csm_core::world::{Limits, Observation, VolumeKey, World};
use csm_gather::views::PvcView;
use csm_units::Percent;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::read::Manager;

/// A PVC of an instance.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// When it was created: figures from before are those of another PVC of that name.
    pub created: Option<Timestamp>,
    /// All else.
    pub view: PvcView,
}

/// The PVCs that CloudNativePG made for instances, by namespace and cluster, each list by name.
#[must_use]
pub fn claims(pvcs: &[PersistentVolumeClaim]) -> BTreeMap<(String, String), Vec<Claim>> {
    let mut claims: BTreeMap<(String, String), Vec<Claim>> = BTreeMap::new();
    for pvc in pvcs {
        let Some(view) = PvcView::of(pvc) else { continue };
        let key = (pvc.namespace().unwrap_or_default(), view.cluster.to_string());
        claims.entry(key).or_default().push(Claim {
            name: pvc.name_any(),
            created: pvc.metadata.creation_timestamp.as_ref().map(|t| t.0),
            view,
        });
    }
    for list in claims.values_mut() {
        list.sort_by(|a, b| a.name.cmp(&b.name));
    }
    claims
}

/// How far a figure can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Trust {
    /// It is young.
    Fresh,
    /// It is old, and the manager would have written another if it had moved.
    TakenAsCurrent,
    /// It says what once was.
    Old,
}

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What the manager wrote.
    pub disk: InstanceDisk,
    /// How far it can be relied on.
    pub trust: Trust,
}

/// The figures of one cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    by_member: BTreeMap<(String, VolumeKey), Figure>,
}

/// The age up to which the planner relies on figures (planner.md, 1).
fn young(limits: &Limits) -> SignedDuration {
    limits.interval.saturating_mul(3).max(SignedDuration::from_mins(5))
}

impl Figures {
    /// Those of a PostgresStorage. `claims` are the cluster's PVCs, `manager` tells whether old figures still hold.
    #[must_use]
    pub fn of(storage: Option<&PostgresStorage>, claims: &[Claim], manager: &Manager, now: Timestamp) -> Self {
        let Some(status) = storage.and_then(|s| s.status.as_ref()) else {
            return Self::default();
        };
        let disks = status.disk_status.iter().flat_map(|d| &d.instances);
        let disks: Vec<((String, VolumeKey), &InstanceDisk)> = disks
            .flat_map(|(instance, disks)| each_disk(disks).map(|(key, disk)| ((instance.clone(), key), disk)))
            .collect();
        // The interval that the manager ships with.
        let young = young(&Limits::default());
        let newest = disks.iter().map(|(_, disk)| disk.observed_at.0).max();
        let by_member = disks.into_iter().filter_map(|((instance, key), disk)| {
            let at = disk.observed_at.0;
            let claim = claims.iter().find(|c| *c.view.instance == *instance && c.view.volume == key);
            if claim.and_then(|c| c.created).is_some_and(|created| at < created) {
                return None;
            }
            let lost = sizing_of(status, &key).is_some_and(|s| says_lost(s.last_decision.reason));
            // The manager writes all figures together: one that is older than the others by much is of a member that
            // it could not see any more.
            let with_the_newest = newest.is_some_and(|newest| newest.duration_since(at) <= young);
            let trust = if now.duration_since(at) <= young {
                Trust::Fresh
            } else if manager.is_away() || lost || !with_the_newest {
                Trust::Old
            } else {
                Trust::TakenAsCurrent
            };
            let disk = disk.clone();
            Some(((instance, key), Figure { disk, trust }))
        });
        Self {
            by_member: by_member.collect(),
        }
    }

    /// Those of a world: as they were taken, and none that the manager wrote.
    #[must_use]
    pub fn of_world(world: &World, now: Timestamp) -> Self {
        let members = world.volumes.iter().flat_map(|v| v.members.iter().map(|m| (&v.key, m)));
        let by_member = members.filter_map(|(key, member)| {
            let observation = member.figures()?;
            let Observation {
                used,
                available,
                capacity: _,
                inodes,
                at,
            } = *observation;
            let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let disk = InstanceDisk {
                total_bytes: number(used.saturating_add(available).get()),
                used_bytes: number(used.get()),
                available_bytes: number(available.get()),
                percent_used: Percent::used(used, available).map_or(0, |p| p.get().into()),
                inodes_total: inodes.map(|i| number(i.total)),
                inodes_used: inodes.map(|i| number(i.used)),
                inodes_free: inodes.map(|i| number(i.total.saturating_sub(i.used))),
                at_limit: false,
                resize_blocked: false,
                budget_remaining: None,
                resize_count: None,
                block_reason: None,
                source: "file".to_owned(),
                observed_at: Time(at),
            };
            let fresh = now.duration_since(at) <= young(&world.limits);
            let trust = if fresh { Trust::Fresh } else { Trust::Old };
            Some(((member.instance.to_string(), key.clone()), Figure { disk, trust }))
        });
        Self {
            by_member: by_member.collect(),
        }
    }

    /// The figure of one member.
    #[must_use]
    pub fn get(&self, instance: &str, volume: &VolumeKey) -> Option<&Figure> {
        self.by_member.get(&(instance.to_owned(), volume.clone()))
    }

    /// Every figure, with its instance and volume.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &VolumeKey, &Figure)> {
        self.by_member
            .iter()
            .map(|((instance, volume), figure)| (instance.as_str(), volume, figure))
    }

    /// When the newest was taken.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.by_member.values().map(|f| f.disk.observed_at.0).max()
    }

    /// Whether any is old and taken as current.
    #[must_use]
    pub fn assumes(&self) -> bool {
        self.by_member.values().any(|f| f.trust == Trust::TakenAsCurrent)
    }
}

fn says_lost(reason: Reason) -> bool {
    matches!(reason, Reason::StaleObservation | Reason::NoObservation)
}

fn each_disk(disks: &InstanceDisks) -> impl Iterator<Item = (VolumeKey, &InstanceDisk)> {
    let InstanceDisks {
        data_volume,
        wal_volume,
        tablespaces,
        wal_health: _,
    } = disks;
    let data = data_volume.iter().map(|d| (VolumeKey::DATA, d));
    let wal = wal_volume.iter().map(|d| (VolumeKey::WAL, d));
    let tablespaces = tablespaces.iter().map(|(name, d)| (VolumeKey::tablespace(name.as_str()), d));
    data.chain(wal).chain(tablespaces)
}

/// What the manager says of a volume.
#[must_use]
pub fn sizing_of<'a>(status: &'a PostgresStorageStatus, key: &VolumeKey) -> Option<&'a VolumeSizing> {
    let sizing = status.storage_sizing.as_ref()?;
    match key.role {
        Role::Data => sizing.data.as_ref(),
        Role::Wal => sizing.wal.as_ref(),
        Role::Tablespace => sizing.tablespaces.get(key.tablespace.as_deref().unwrap_or_default()),
    }
}

/// The volumes that the manager speaks of.
#[must_use]
pub fn volumes_of(sizing: &StorageSizing) -> Vec<VolumeKey> {
    let StorageSizing { data, wal, tablespaces } = sizing;
    let data = data.iter().map(|_| VolumeKey::DATA);
    let wal = wal.iter().map(|_| VolumeKey::WAL);
    let tablespaces = tablespaces.keys().map(|name| VolumeKey::tablespace(name.as_str()));
    data.chain(wal).chain(tablespaces).collect()
}
