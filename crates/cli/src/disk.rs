//! The disks of clusters as `kubectl cnpg disk status` shows them: plain data, which `-o json` prints as it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use csm_api::{InstanceDisk, InstanceWal, PostgresStorage, ResizeOutcome, RootCause};
use csm_core::world::VolumeKey;
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;

use crate::danger::Danger;
use crate::figures::{Figures, Trust, claims};
use crate::read::Facts;
use crate::report::{ClusterReport, fleet, inodes_percent};

/// The disks of one cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskReport {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub cluster: String,
    /// How endangered its worst volume is.
    pub danger: Danger,
    /// What needs a person: `VOLUME: why`.
    pub needs_person: Vec<String>,
    /// Number of instances that its spec asks for.
    pub instances: Option<i32>,
    /// Its primary.
    pub primary: Option<String>,
    /// Whether the manager has reported on it.
    pub reported: bool,
    /// Its filesystems, by instance: data, wal, tablespaces by name.
    pub filesystems: Vec<Filesystem>,
    /// What is known of WAL archiving and slots, by instance; empty: nothing.
    pub wal_health: Vec<WalHealth>,
    /// Why its volumes fill, of those that do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub root_causes: Vec<VolumeCause>,
    /// The newest outcomes of resizes, newest first.
    pub resizes: Vec<ResizeOutcome>,
}

/// One filesystem of an instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filesystem {
    /// The instance.
    pub instance: String,
    /// Whether it is the primary.
    pub primary: bool,
    /// `data`, `wal` or `tablespace/NAME`.
    pub volume: String,
    /// How far its figures can be relied on; none: there are none.
    pub figures: Option<Trust>,
    /// Percent of the inodes in use, rounded down, where the filesystem reports them.
    pub inodes_percent_used: Option<i32>,
    /// Its figures, as the manager last wrote them.
    #[serde(flatten)]
    pub disk: Option<InstanceDisk>,
}

/// Why a volume fills.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeCause {
    /// `data`, `wal` or `tablespace/NAME`.
    pub volume: String,
    /// As the manager last wrote it.
    #[serde(flatten)]
    pub root_cause: RootCause,
}

/// What is known of WAL archiving and slots of an instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WalHealth {
    /// The instance.
    pub instance: String,
    /// Whether it is the primary.
    pub primary: bool,
    /// As the manager last wrote it.
    #[serde(flatten)]
    pub health: InstanceWal,
}

impl DiskReport {
    /// The fullest filesystem.
    #[must_use]
    pub fn fullest(&self) -> Option<&Filesystem> {
        let percent = |f: &&Filesystem| f.disk.as_ref().map(|disk| disk.percent_used);
        // Of equals the first, as they are shown.
        self.filesystems.iter().rev().filter(|f| f.disk.is_some()).max_by_key(percent)
    }

    /// What is known of the WAL of the primary, where anything is; else of any instance.
    #[must_use]
    pub fn wal_of_primary(&self) -> Option<&WalHealth> {
        self.wal_health.iter().find(|wal| wal.primary).or_else(|| self.wal_health.first())
    }

    /// Whether WAL archiving is known to fail.
    #[must_use]
    pub fn archive_fails(&self) -> bool {
        self.wal_health.iter().any(|wal| wal.health.archive_healthy == Some(false))
    }
}

/// The disks of all clusters, the most endangered first; of those that are as endangered, those whose archive fails, and then the
/// fullest.
#[must_use]
pub fn disks(facts: &Facts, now: Timestamp) -> Vec<DiskReport> {
    let claims = claims(&facts.pvcs);
    let storages: BTreeMap<(String, String), &PostgresStorage> = facts
        .storages
        .iter()
        .map(|s| ((s.namespace().unwrap_or_default(), s.name_any()), s))
        .collect();
    let primaries: BTreeMap<(String, String), &str> = facts
        .clusters
        .iter()
        .filter_map(|c| {
            let key = (c.namespace().unwrap_or_default(), c.name_any());
            Some((key, c.status.current_primary.as_deref()?))
        })
        .collect();
    let report = |report: ClusterReport| {
        let key = (report.namespace.clone(), report.cluster.clone());
        let storage = storages.get(&key).copied();
        let own = claims.get(&key).map(Vec::as_slice).unwrap_or_default();
        let figures = Figures::of(storage, own, &facts.manager, now);
        of_cluster(report, storage, &figures, primaries.get(&key).copied())
    };
    let mut reports: Vec<DiskReport> = fleet(facts, now).into_iter().map(report).collect();
    let fullest = |r: &DiskReport| r.fullest().and_then(|f| f.disk.as_ref()).map(|disk| disk.percent_used);
    let rank = |r: &DiskReport| (r.danger, r.archive_fails(), fullest(r));
    // It is stable: clusters that are alike stay by name.
    reports.sort_by_key(|report| Reverse(rank(report)));
    reports
}

fn of_cluster(report: ClusterReport, storage: Option<&PostgresStorage>, figures: &Figures, primary: Option<&str>) -> DiskReport {
    let is_primary = |instance: &str| primary == Some(instance);
    // Those that have a PVC, and those that only the manager speaks of, where PVCs cannot be read.
    let with_pvc = report
        .volumes
        .iter()
        .flat_map(|v| v.instances.iter().map(|i| (i.instance.clone(), v.volume.clone())));
    let mut members: BTreeSet<(String, VolumeKey)> = with_pvc.collect();
    if members.is_empty() {
        members.extend(figures.iter().map(|(instance, volume, _)| (instance.to_owned(), volume.clone())));
    }
    let filesystems = members.into_iter().map(|(instance, volume)| {
        let figure = figures.get(&instance, &volume);
        let disk = figure.map(|figure| &figure.disk);
        Filesystem {
            primary: is_primary(&instance),
            volume: volume.to_string(),
            figures: figure.map(|figure| figure.trust),
            inodes_percent_used: disk.and_then(|d| inodes_percent(d.inodes_total?, d.inodes_used?)),
            disk: disk.cloned(),
            instance,
        }
    });
    let status = storage.and_then(|s| s.status.as_ref());
    let by_instance = status.and_then(|s| s.disk_status.as_ref()).map(|d| &d.instances);
    let wal_health = by_instance.into_iter().flatten().filter_map(|(instance, disks)| {
        Some(WalHealth {
            instance: instance.clone(),
            primary: is_primary(instance),
            health: disks.wal_health.clone()?,
        })
    });
    let mut volumes: Vec<_> = report.volumes.iter().collect();
    volumes.sort_by(|a, b| a.volume.cmp(&b.volume));
    let root_causes = volumes.into_iter().filter_map(|volume| {
        Some(VolumeCause {
            volume: volume.volume.to_string(),
            root_cause: volume.root_cause.clone()?,
        })
    });
    let mut disks = DiskReport {
        root_causes: root_causes.collect(),
        filesystems: filesystems.collect(),
        wal_health: wal_health.collect(),
        resizes: status.map(|s| s.auto_resize_events.clone()).unwrap_or_default(),
        primary: primary.map(str::to_owned),
        namespace: report.namespace,
        cluster: report.cluster,
        danger: report.danger,
        needs_person: report.needs_person,
        instances: report.instances,
        reported: report.reported,
    };
    if disks.archive_fails() {
        disks.needs_person.push("WAL archiving fails".to_owned());
    }
    disks
}
