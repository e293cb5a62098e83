//! The clusters as `status` shows them: plain data, which `-o json` prints as it is.

use csm_api::{BreakerState, LastAction, LastDecision, PolicyRef, PostgresStorage, RootCause, State};
use csm_cnpg::Cluster;
use csm_core::world::VolumeKey;
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde::Serialize;

use crate::danger::{Danger, Need, Signs, judge};
use crate::figures::{Claim, Figures, Trust, claims, sizing_of, volumes_of};
use crate::read::{Facts, Manager};

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterReport {
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
    /// The policies that manage it, most specific first.
    pub policies: Vec<String>,
    /// Whether the manager has reported on it.
    pub reported: bool,
    /// Its volumes, the most endangered first.
    pub volumes: Vec<VolumeReport>,
}

/// One logical volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeReport {
    /// Its name.
    #[serde(serialize_with = "as_text")]
    pub volume: VolumeKey,
    /// Its state; none where the manager says nothing.
    pub state: Option<State>,
    /// How endangered it is.
    pub danger: Danger,
    /// Why it needs a person.
    pub need: Option<Need>,
    /// Percent used of its fullest filesystem.
    pub percent_used: Option<i32>,
    /// The largest size that an instance's PVC has or asks for.
    pub effective_size: Bytes,
    /// The largest size that an instance's PVC has.
    pub actual_size: Bytes,
    /// The size that it grows to, or should.
    pub target_size: Option<Bytes>,
    /// The size that it may not pass.
    pub limit: Option<Bytes>,
    /// What the manager last decided.
    pub last_decision: Option<LastDecision>,
    /// Why it fills, as the manager last wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_cause: Option<RootCause>,
    /// What the manager last did.
    pub last_action: Option<LastAction>,
    /// When what is wanted can go, where time alone opens it.
    pub next_action_at: Option<Timestamp>,
    /// When its newest figures were taken.
    pub observed_at: Option<Timestamp>,
    /// Its members.
    pub instances: Vec<InstanceReport>,
}

impl VolumeReport {
    /// The size that it has: while it is being resized, that of the instances that are not through.
    #[must_use]
    pub fn size_now(&self) -> Bytes {
        if self.state == Some(State::Resizing) {
            self.instances.iter().map(|i| i.size).min().unwrap_or(self.actual_size)
        } else {
            self.actual_size
        }
    }
}

/// One instance's PVC.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceReport {
    /// The instance.
    pub instance: String,
    /// Whether it is the primary.
    pub primary: bool,
    /// The PVC; none where PVCs cannot be read.
    pub pvc: Option<String>,
    /// What the PVC has.
    pub size: Bytes,
    /// What the PVC asks for.
    pub request: Option<Bytes>,
    /// Bytes used.
    pub used_bytes: Option<i64>,
    /// Bytes available.
    pub available_bytes: Option<i64>,
    /// used / (used + available), rounded down.
    pub percent_used: Option<i32>,
    /// Percent of the inodes in use, where the filesystem reports them.
    pub inodes_percent_used: Option<i32>,
    /// When the figures were taken.
    pub observed_at: Option<Timestamp>,
    /// How far they can be relied on.
    pub figures: Option<Trust>,
}

fn as_text<S: serde::Serializer>(key: &VolumeKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

/// How long a failed growth asks for a person: the window of budgets. Where the volume is in danger still, its state says so.
const FAILED_FOR: SignedDuration = SignedDuration::from_hours(24);

/// The clusters, the most endangered first.
#[must_use]
pub fn fleet(facts: &Facts, now: Timestamp) -> Vec<ClusterReport> {
    let claims = claims(&facts.pvcs);
    let storages: std::collections::BTreeMap<(String, String), &PostgresStorage> = facts
        .storages
        .iter()
        .map(|s| ((s.namespace().unwrap_or_default(), s.name_any()), s))
        .collect();
    let report = |cluster: &Cluster| {
        let key = (cluster.metadata.namespace.clone().unwrap_or_default(), cluster.name_any());
        let own = claims.get(&key).map(Vec::as_slice).unwrap_or_default();
        cluster_report(cluster, storages.get(&key).copied(), own, &facts.manager, now)
    };
    let mut reports: Vec<ClusterReport> = facts.clusters.iter().map(report).collect();
    reports.sort_by(|a, b| {
        let fullest = |r: &ClusterReport| r.volumes.first().and_then(|v| v.percent_used);
        b.danger
            .cmp(&a.danger)
            .then_with(|| fullest(b).cmp(&fullest(a)))
            .then_with(|| (&a.namespace, &a.cluster).cmp(&(&b.namespace, &b.cluster)))
    });
    reports
}

fn cluster_report(
    cluster: &Cluster,
    storage: Option<&PostgresStorage>,
    claims: &[Claim],
    manager: &Manager,
    now: Timestamp,
) -> ClusterReport {
    let figures = Figures::of(storage, claims, manager, now);
    let status = storage.and_then(|s| s.status.as_ref());
    let mut keys: Vec<VolumeKey> = status.and_then(|s| s.storage_sizing.as_ref()).map(volumes_of).unwrap_or_default();
    keys.extend(claims.iter().map(|c| c.view.volume.clone()));
    keys.sort();
    keys.dedup();
    let primary = cluster.status.current_primary.as_deref();
    let mut volumes: Vec<VolumeReport> = keys
        .iter()
        .map(|key| volume_report(key, storage, claims, &figures, primary, now))
        .collect();
    volumes.sort_by(|a, b| {
        let by_danger = b.danger.cmp(&a.danger).then_with(|| b.percent_used.cmp(&a.percent_used));
        by_danger.then_with(|| a.volume.cmp(&b.volume))
    });
    let mut needs_person: Vec<String> = volumes
        .iter()
        .filter_map(|v| v.need.as_ref().map(|need| format!("{}: {need}", v.volume)))
        .collect();
    let breaker = status.and_then(|s| s.circuit_breaker.as_ref());
    let open = breaker.filter(|breaker| breaker.state == BreakerState::Open);
    needs_person.extend(open.and_then(|breaker| breaker.reason.clone()));
    let mut danger = volumes.first().map_or(Danger::Unwatched, |v| v.danger);
    // A PostgresStorage without a status, though someone, or the manager, made it.
    if storage.is_some() && status.is_none() {
        needs_person.push(Need::NoReport.to_string());
        danger = danger.max(Danger::Blind);
    }
    ClusterReport {
        namespace: cluster.metadata.namespace.clone().unwrap_or_default(),
        cluster: cluster.name_any(),
        danger,
        needs_person,
        instances: cluster.spec.instances,
        policies: status.map(|s| s.policies.iter().map(policy_name).collect()).unwrap_or_default(),
        reported: status.is_some(),
        volumes,
    }
}

/// "StoragePolicy shop/default", "ClusterStoragePolicy fleet".
#[must_use]
pub fn policy_name(policy: &PolicyRef) -> String {
    match &policy.namespace {
        Some(namespace) => format!("{} {namespace}/{}", policy.kind, policy.name),
        None => format!("{} {}", policy.kind, policy.name),
    }
}

fn volume_report(
    key: &VolumeKey,
    storage: Option<&PostgresStorage>,
    claims: &[Claim],
    figures: &Figures,
    primary: Option<&str>,
    now: Timestamp,
) -> VolumeReport {
    let sizing = storage.and_then(|s| s.status.as_ref()).and_then(|s| sizing_of(s, key));
    let instances = instances(key, sizing, claims, figures, primary);
    let percent_used = instances.iter().filter_map(|i| i.percent_used).max();
    let has = instances.iter().map(|i| i.size).max().unwrap_or_default();
    let asks = instances.iter().filter_map(|i| i.request).max().unwrap_or_default();
    let state = sizing.map(|s| s.state);
    let last_decision = sizing.map(|s| s.last_decision.clone());
    let last_action = sizing.and_then(|s| s.last_action.clone());
    let limit = sizing.and_then(|s| s.limit);
    let (danger, need) = judge(Signs {
        state,
        decision: last_decision.as_ref(),
        percent_used,
        limit,
        failed: last_action
            .as_ref()
            .is_some_and(|a| a.result == "Failed" && now.duration_since(a.timestamp.0) < FAILED_FOR),
    });
    VolumeReport {
        volume: key.clone(),
        state,
        danger,
        need,
        percent_used,
        effective_size: sizing.map_or(has.max(asks), |s| s.effective_size),
        actual_size: has,
        target_size: sizing.and_then(|s| s.target_size),
        limit,
        last_decision,
        root_cause: sizing.and_then(|s| s.root_cause.clone()),
        last_action,
        next_action_at: sizing.and_then(|s| s.next_action_at.as_ref()).map(|t| t.0),
        observed_at: instances.iter().filter_map(|i| i.observed_at).max(),
        instances,
    }
}

/// From the PVCs, or, where they cannot be read, from what the manager wrote.
fn instances(
    key: &VolumeKey,
    sizing: Option<&csm_api::VolumeSizing>,
    claims: &[Claim],
    figures: &Figures,
    primary: Option<&str>,
) -> Vec<InstanceReport> {
    let of_volume = claims.iter().filter(|c| c.view.volume == *key);
    let mut members: Vec<(String, Option<String>, Bytes, Option<Bytes>)> = of_volume
        .map(|c| {
            (
                c.view.instance.to_string(),
                Some(c.name.clone()),
                c.view.capacity,
                Some(c.view.request),
            )
        })
        .collect();
    if claims.is_empty() {
        let written = sizing.iter().flat_map(|s| &s.actual_sizes);
        members.extend(written.map(|(instance, size)| (instance.clone(), None, *size, None)));
    }
    members.sort();
    let report = |(instance, pvc, size, request): (String, Option<String>, Bytes, Option<Bytes>)| {
        let figure = figures.get(&instance, key);
        let disk = figure.map(|f| &f.disk);
        InstanceReport {
            primary: primary == Some(instance.as_str()),
            used_bytes: disk.map(|d| d.used_bytes),
            available_bytes: disk.map(|d| d.available_bytes),
            percent_used: disk.map(|d| d.percent_used),
            inodes_percent_used: disk.and_then(|d| inodes_percent(d.inodes_total?, d.inodes_used?)),
            observed_at: disk.map(|d| d.observed_at.0),
            figures: figure.map(|f| f.trust),
            instance,
            pvc,
            size,
            request,
        }
    };
    members.into_iter().map(report).collect()
}

/// Percent of the inodes in use, rounded down.
pub(crate) fn inodes_percent(total: i64, used: i64) -> Option<i32> {
    let percent = i128::from(used).checked_mul(100)?.checked_div(i128::from(total))?;
    i32::try_from(percent).ok()
}
