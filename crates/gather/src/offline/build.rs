//! From a Scenario to worlds.

use std::sync::Arc;

use csm_api::Urgency;
use csm_cnpg::StorageConfiguration;
use csm_core::between::{self, Estimate};
use csm_core::world::{
    Archiving, Class, ClusterKey, Fleet, Inodes, Limits, Member, Observation, Operation, ProviderLimit, Resize, ResizeStage, Sample, Slot,
    Volume, VolumeKey, WalHealth,
};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Subject;
use super::mistake::{Mistake, did_you_mean};
use super::scenario::{self, ObservedAt, OperationKind, Scenario, VolumeMode};
use super::tree::Node;
use crate::index::Index;
use crate::views::ClusterView;
use crate::world::{VolumeSettings, world};

/// The storage class where a Scenario lists none, and the provisioner of one that names none.
const STANDARD: &str = "standard";
const PROVISIONER: &str = "csi.example.com";
/// How old the figures of a Scenario are that does not say.
const FIGURES_AGE: SignedDuration = SignedDuration::from_secs(30);

/// A Scenario with the text that it came from.
pub(super) struct Source<'a> {
    pub file: &'a str,
    pub node: &'a Node,
    pub scenario: &'a Scenario,
    /// The time, where it is another than the Scenario's own.
    pub now: Timestamp,
}

/// Finds a value in the document, for the place of a complaint.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    source: &'a Source<'a>,
    node: &'a Node,
}

impl Cursor<'_> {
    /// The value of a key, or this where there is none.
    fn key(self, key: &str) -> Self {
        let node = self.node.get(key).unwrap_or(self.node);
        Self { node, ..self }
    }

    fn index(self, index: usize) -> Self {
        let node = self.node.at_index(index).unwrap_or(self.node);
        Self { node, ..self }
    }

    fn volume(self, key: &VolumeKey) -> Self {
        let volumes = self.key("volumes");
        match &key.tablespace {
            Some(name) => volumes.key("tablespaces").key(name),
            None => volumes.key(key.role.as_str()),
        }
    }

    fn mistake(self, message: impl Into<String>) -> Mistake {
        Mistake::new(self.source.file, Some(self.node.at), message)
    }
}

/// What each Cluster of the Scenario comes to. `index` holds the policies and PostgresStorages beside it.
pub(super) fn subjects(source: &Source<'_>, index: &mut Index, mistakes: &mut Vec<Mistake>) -> Vec<Subject> {
    let mut subjects = Vec::new();
    let all = Cursor { source, node: source.node }.key("clusters");
    for (i, cluster) in source.scenario.clusters.iter().enumerate() {
        let at = all.index(i);
        match subject(source, at, cluster, index) {
            Ok(Some(subject)) => subjects.push(subject),
            Ok(None) => {}
            Err(mut found) => mistakes.append(&mut found),
        }
    }
    subjects
}

fn subject(source: &Source<'_>, at: Cursor<'_>, cluster: &scenario::Cluster, index: &mut Index) -> Result<Option<Subject>, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let key = ClusterKey::new(cluster.namespace.as_str(), cluster.name.as_str());
    let mut volumes = Vec::new();
    for (name, volume) in cluster.volumes.iter() {
        let class = match &volume.storage_class {
            Some(class) => class_of(source.scenario, class, at.volume(&name).key("storageClass")),
            None => class_of(
                source.scenario,
                cluster.storage_class.as_deref().unwrap_or(STANDARD),
                at.key("storageClass"),
            ),
        };
        match class.and_then(|class| volume_of(&key, name.clone(), volume, &class, source.now, at.volume(&name))) {
            Ok(volume) => volumes.push(volume),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if mistakes.is_empty() {
        for (i, full) in cluster.disk_full.iter().enumerate() {
            mistakes.extend(mark_full(&mut volumes, full, at.key("diskFull").index(i)).err());
        }
    }
    mark_relieved(&mut volumes, &cluster.operations);
    let operations = cluster.operations.iter().enumerate();
    let operations = operations.filter_map(|(i, o)| operation(i, o, &key, at.key("operations").index(i)).transpose());
    let mut accepted = Vec::new();
    for operation in operations {
        match operation {
            Ok(operation) => accepted.push(operation),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }

    let object = object(cluster, source.now);
    index.put_cluster(&key, Some(ClusterView::of(&object)));
    index.put_namespace(&key.namespace, Some(cluster.namespace_labels.clone()));
    let Some(snapshot) = index.snapshot(&key) else { return Ok(None) };
    let mut limits = Limits::default();
    if let Some(interval) = source.scenario.interval {
        limits.interval = interval.0;
    }
    let settings = VolumeSettings {
        limits,
        default_ceiling_factor: 0,
        ..VolumeSettings::default()
    };
    let mut world = world(&snapshot, &settings, source.now);
    world.volumes = volumes;
    world.operations = accepted;
    world.cluster.breaker = cluster.breaker.into();
    world.cluster.wal = wal(cluster);
    world.global_breaker = source.scenario.global_breaker.into();
    world.fleet = source.scenario.fleet.as_ref().map_or_else(Fleet::default, |fleet| Fleet {
        in_progress: fleet.in_progress,
        ahead: 0,
        limit: Some(fleet.limit),
    });
    Ok(Some(Subject { world, snapshot, object }))
}

/// The Cluster as CloudNativePG would have it.
fn object(cluster: &scenario::Cluster, now: Timestamp) -> csm_cnpg::Cluster {
    let mut object = csm_cnpg::Cluster::default();
    let meta = &mut object.metadata;
    meta.name = Some(cluster.name.clone());
    meta.namespace = Some(cluster.namespace.clone());
    meta.uid = Some(format!("{}/{}", cluster.namespace, cluster.name));
    meta.labels = Some(cluster.labels.clone());
    meta.annotations = Some(cluster.annotations.clone());
    meta.deletion_timestamp = cluster.deleting.then_some(Time(now));
    let members = &cluster.volumes.data.members.0;
    object.spec.instances = i32::try_from(members.len()).ok();
    object.spec.storage = Some(StorageConfiguration {
        resize_in_use_volumes: cluster.resize_in_use_volumes,
        ..StorageConfiguration::default()
    });
    let first = members.first().map(|(instance, _)| instance.clone());
    object.status.current_primary = cluster.primary.clone().or(first);
    object
}

fn class_of(scenario: &Scenario, name: &str, at: Cursor<'_>) -> Result<Class, Mistake> {
    let listed = scenario.storage_classes.as_deref();
    let class = listed.unwrap_or_default().iter().find(|c| c.name == name);
    if class.is_none() && (listed.is_some() || name != STANDARD) {
        let known = listed.map_or_else(|| vec![STANDARD], |all| all.iter().map(|c| c.name.as_str()).collect());
        let near = did_you_mean(name, known);
        return Err(at.mistake(format!(
            "storage class {name} is not listed; add it to storageClasses of the Scenario{near}"
        )));
    }
    let provisioner = class.and_then(|c| c.provisioner.as_deref()).unwrap_or(PROVISIONER);
    let limit = scenario.provider_limits.iter().find(|l| l.provisioner == provisioner);
    Ok(Class {
        name: name.into(),
        expandable: class.and_then(|c| c.allow_volume_expansion).unwrap_or(true),
        shared_filesystem: false,
        provider_limit: limit.map(|l| ProviderLimit {
            max_actions: l.max_actions,
            period: l.period.0,
        }),
        fleet: Fleet::default(),
    })
}

fn volume_of(
    cluster: &ClusterKey,
    key: VolumeKey,
    volume: &scenario::Volume,
    class: &Class,
    now: Timestamp,
    at: Cursor<'_>,
) -> Result<Volume, Mistake> {
    let history: Arc<[Sample]> = volume.history.iter().map(|(at, used)| Sample { at: *at, used: *used }).collect();
    let member = |(instance, member): &(String, scenario::Member)| {
        let at = at.key("members").key(instance);
        let size = member.size.or(volume.size);
        let size = size.ok_or_else(|| at.mistake(format!("{instance} has no size; give it one, or its volume")))?;
        let observation = observation(member, now);
        Ok(Member {
            pvc: pvc_name(instance, &key),
            uid: uid(cluster, &key, instance),
            instance: instance.as_str().into(),
            node: member.node.as_deref().map(Into::into),
            request: member.request.unwrap_or(size),
            size,
            bound: member.bound.unwrap_or(volume.bound),
            block: volume.mode == VolumeMode::Block,
            class: class.clone(),
            observation,
            estimate: member.estimate.as_ref().map(|estimate| Estimate {
                at: estimate.at.unwrap_or(now),
                used: estimate.used,
                error: estimate.error,
                source: if key == VolumeKey::WAL {
                    between::Source::Segments
                } else {
                    between::Source::Databases
                },
            }),
            last_resize_at: member.last_resize_at,
            last_relief_at: None,
            relief_failed: false,
            resize: member.resizing_since.map(|since| Resize {
                since: Some(since),
                stage: ResizeStage::Controller,
                error: None,
                allocated: None,
            }),
            twin: false,
            pod_running: observation.is_some(),
            disk_full: false,
            findings: None,
            nudged: None,
            withdrawn: None,
            history: history.clone(),
        })
    };
    Ok(Volume {
        members: volume.members.0.iter().map(member).collect::<Result<_, _>>()?,
        learned_ceiling: volume.learned_ceiling,
        fallback_ceiling: None,
        retry_after: volume.retry_after,
        key,
    })
}

/// As CloudNativePG names PVCs: `orders-1`, `orders-1-wal`, `orders-1-tbs-archive`.
fn pvc_name(instance: &str, volume: &VolumeKey) -> Arc<str> {
    match &volume.tablespace {
        Some(name) => format!("{instance}-tbs-{}", name.replace('_', "-")).into(),
        None if *volume == VolumeKey::WAL => format!("{instance}-wal").into(),
        None => instance.into(),
    }
}

/// The figures; none where one of the two that count is missing, as with the kubelet.
fn observation(member: &scenario::Member, now: Timestamp) -> Option<Observation> {
    let (used, available) = member.used.zip(member.available)?;
    let young = || now.checked_sub(FIGURES_AGE).unwrap_or(now);
    Some(Observation {
        used,
        available,
        capacity: member.capacity.unwrap_or_else(|| used.saturating_add(available)),
        inodes: member.inodes.map(|total| Inodes {
            total,
            used: member.inodes_used.unwrap_or(0),
        }),
        at: match member.observed_at {
            ObservedAt::Unsaid => young(),
            ObservedAt::Never => return None,
            ObservedAt::At(at) => at,
        },
    })
}

fn uid(cluster: &ClusterKey, volume: &VolumeKey, instance: &str) -> Arc<str> {
    format!("{cluster}:{volume}:{instance}").into()
}

fn mark_full(volumes: &mut [Volume], full: &scenario::DiskFull, at: Cursor<'_>) -> Result<(), Mistake> {
    let has_wal = volumes.iter().any(|v| v.key == VolumeKey::WAL);
    let wal = || if has_wal { VolumeKey::WAL } else { VolumeKey::DATA };
    let key = full.volume.clone().unwrap_or_else(wal);
    let mut members = volumes.iter_mut().filter(|v| v.key == key).flat_map(|v| &mut v.members);
    let Some(member) = members.find(|m| *m.instance == *full.instance) else {
        return Err(at.mistake(format!("diskFull: {} is no member of {key}", full.instance)));
    };
    member.disk_full = true;
    Ok(())
}

/// Removals of WAL: of each member, when the newest of those began that concern it, and that did something.
fn mark_relieved(volumes: &mut [Volume], operations: &[scenario::Operation]) {
    let removals = operations.iter().filter(|o| o.kind == OperationKind::WalCleanup && o.accepted);
    for operation in removals {
        let of_volume = volumes.iter_mut().filter(|v| v.key == operation.volume.0);
        for member in of_volume.flat_map(|v| &mut v.members) {
            let concerned = operation.members.0.as_ref();
            if concerned.is_none_or(|named| named.iter().any(|name| **name == *member.instance)) {
                member.last_relief_at = member.last_relief_at.max(Some(operation.at));
            }
        }
    }
}

fn wal(cluster: &scenario::Cluster) -> Option<WalHealth> {
    let archiving = cluster.archiving.as_ref().filter(|a| a.configured).map(|a| Archiving {
        last_archived: a.last_archived,
        last_failed: a.last_failed,
        pending: a.pending,
    });
    let slot = |s: &scenario::Slot| Slot {
        name: s.name.as_str().into(),
        active: s.active,
        retained: s.retained,
    };
    let slots = cluster.slots.iter().map(slot).collect();
    cluster.wal_health_known.then_some(WalHealth { archiving, slots })
}

/// An entry of the ledger; none for what is no growth.
fn operation(index: usize, operation: &scenario::Operation, cluster: &ClusterKey, at: Cursor<'_>) -> Result<Option<Operation>, Mistake> {
    let urgency = match operation.kind {
        OperationKind::Expansion => Urgency::Planned,
        OperationKind::Rescue => Urgency::Rescue,
        OperationKind::WalCleanup | OperationKind::Alert | OperationKind::CircuitBreaker => return Ok(None),
    };
    let size = |size: Option<Bytes>, key: &str| size.ok_or_else(|| at.mistake(format!("operations[{index}]: {key} is missing")));
    let volume = &operation.volume.0;
    let uids = |instances: &Vec<String>| instances.iter().map(|i| uid(cluster, volume, i)).collect();
    Ok(Some(Operation {
        id: format!("operations[{index}]").into(),
        urgency: operation.urgency.unwrap_or(urgency),
        started_at: operation.at,
        from: size(operation.from, "from")?,
        to: size(operation.to, "to")?,
        members: operation.members.0.as_ref().map(uids),
        accepted: operation.accepted,
        done: operation.done,
        volume: volume.clone(),
    }))
}
