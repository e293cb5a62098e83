//! The planner's world, made of one snapshot of the index.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{BreakerScope, Growth, Phase};
use csm_core::breaker::{self, Circuit, Ending};
use csm_core::resolve::Resolution;
use csm_core::world::{Class, Cluster, Fleet, Limits, Member, Operation, ProviderLimit, Volume, VolumeKey, WalHealth, World};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::down;
use crate::index::{PvcNow, Snapshot, closed_by_hand};
use crate::relief;
use crate::retry;
use crate::views::{ClassView, is_under_way, started_at, volume_of};

/// What the manager's own settings say about volumes.
#[derive(Clone, Debug)]
pub struct VolumeSettings {
    /// Limits of the planner.
    pub limits: Limits,
    /// Where nothing sets a ceiling: this times the size that the Cluster asks for; 0: none.
    pub default_ceiling_factor: u32,
    /// Storage classes that are said to put many volumes on one filesystem.
    pub shared_classes: Vec<String>,
    /// How often provisioners let one volume be changed.
    pub provider_limits: BTreeMap<String, ProviderLimit>,
    /// The same by storage class; it wins over the provisioner's.
    pub class_limits: BTreeMap<String, ProviderLimit>,
    /// Logs of containers that ended are read, where that may decide whether a disk is full.
    pub pod_logs: bool,
}

/// As the manager ships.
impl Default for VolumeSettings {
    fn default() -> Self {
        // Four modifications of a volume in 24 hours, rolling (Amazon EBS User Guide, Elastic Volumes, since January 2026).
        let ebs = ProviderLimit {
            max_actions: 4,
            period: SignedDuration::from_hours(24),
        };
        Self {
            limits: Limits::default(),
            default_ceiling_factor: 10,
            shared_classes: Vec::new(),
            provider_limits: BTreeMap::from([("ebs.csi.aws.com".to_owned(), ebs)]),
            class_limits: BTreeMap::new(),
            pod_logs: false,
        }
    }
}

/// Provisioners that make directories of one filesystem: the kubelet reports that filesystem for each of their volumes.
const DIRECTORY_PROVISIONERS: [&str; 6] = [
    "rancher.io/local-path",
    "k8s.io/minikube-hostpath",
    "microk8s.io/hostpath",
    "docker.io/hostpath",
    "openebs.io/local",
    "hostpath.csi.k8s.io",
];

/// The world of one Cluster; `now` says what of its past still counts.
#[must_use]
pub fn world(snapshot: &Snapshot, settings: &VolumeSettings, now: Timestamp) -> World {
    let cluster = &snapshot.cluster;
    let mut volumes: BTreeMap<VolumeKey, Volume> = BTreeMap::new();
    for PvcNow {
        name,
        view: pvc,
        sample,
        estimate,
        history,
        last_resize_at,
    } in &snapshot.pvcs
    {
        let class = match &pvc.class {
            Some(class) => Class {
                fleet: snapshot.fleet.classes.get(class).copied().unwrap_or_default(),
                ..class_of(class, snapshot.classes.get(class), settings)
            },
            None => no_class(),
        };
        let pod = snapshot.pods.get(&pvc.instance);
        let member = Member {
            pvc: name.clone(),
            uid: pvc.uid.clone(),
            instance: pvc.instance.clone(),
            node: pod.and_then(|p| p.node.clone()),
            request: pvc.request,
            size: pvc.capacity,
            bound: pvc.bound,
            block: pvc.block,
            class,
            observation: sample.map(|s| s.observation),
            estimate: *estimate,
            last_resize_at: *last_resize_at,
            last_relief_at: last_relief_at(snapshot, &pvc.instance),
            relief_failed: relief_failed(snapshot, &pvc.instance),
            resize: pvc.resize.clone(),
            twin: sample.is_some_and(|s| s.twin),
            pod_running: pod.is_some_and(|p| p.running),
            disk_full: false,
            findings: None,
            nudged: pod.and_then(|p| p.nudged.clone()),
            withdrawn: pvc.withdrawn.clone(),
            history: history.clone(),
        };
        let volume = volumes
            .entry(pvc.volume.clone())
            .or_insert_with(|| without_members(snapshot, &pvc.volume, settings, now));
        volume.members.push(member);
    }
    down::judge(snapshot, settings, &mut volumes);
    let half_read = snapshot
        .half_read
        .iter()
        .flat_map(|event| event.operations(&cluster.uid, volumes.keys()));
    let operations = snapshot
        .growths()
        .map(|event| operation(event, snapshot))
        .chain(half_read)
        .collect();
    World {
        cluster: Cluster {
            key: snapshot.key.clone(),
            uid: cluster.uid.clone(),
            deleting: cluster.deleting,
            hibernated: cluster.hibernated,
            pause: cluster.pause.clone(),
            fencing: cluster.fencing.clone(),
            resize_in_use_volumes: cluster.resize_in_use_volumes,
            primary: cluster.primary.clone(),
            breaker: circuit(snapshot),
            wal: wal(snapshot, settings, now),
        },
        resolution: snapshot.resolution.clone(),
        volumes: volumes.into_values().collect(),
        operations,
        limits: settings.limits,
        fleet: snapshot.fleet.all,
        global_breaker: snapshot.fleet.breaker,
    }
}

/// What the primary says of WAL, where that is recent enough; else nothing is known, and nothing is held for it.
fn wal(snapshot: &Snapshot, settings: &VolumeSettings, now: Timestamp) -> Option<WalHealth> {
    let figures = snapshot.wal.as_ref()?;
    let fresh = now.duration_since(figures.at) <= settings.limits.stale_after();
    figures.reading.health(snapshot.cluster.archives_wal).filter(|_| fresh)
}

/// When WAL of an instance was last removed.
fn last_relief_at(snapshot: &Snapshot, instance: &str) -> Option<Timestamp> {
    let of_instance = snapshot.reliefs().filter(|event| relief::instance_of(event) == Some(instance));
    of_instance.filter_map(|event| relief::removed_at(event)).max()
}

/// Whether the last relief of an instance that was tried failed.
fn relief_failed(snapshot: &Snapshot, instance: &str) -> bool {
    let of_instance = snapshot.reliefs().filter(|event| relief::instance_of(event) == Some(instance));
    let tried = of_instance.filter_map(|event| Some((relief::tried_at(event)?, relief::has_failed(event))));
    tried.max().is_some_and(|(_, failed)| failed)
}

/// The Cluster's own breaker, from the ledger alone; one that it shares with others is none of its own.
#[must_use]
pub fn circuit(snapshot: &Snapshot) -> Circuit {
    let Resolution::Settings(settings) = &*snapshot.resolution else {
        return Circuit::default();
    };
    let breaker = &settings.circuit_breaker;
    if breaker.scope.value == BreakerScope::Global {
        return Circuit::default();
    }
    let uid = &*snapshot.cluster.uid;
    let endings = snapshot.growths().filter_map(|growth| Ending::of(growth));
    let ours = snapshot
        .records
        .iter()
        .filter(|event| event.spec.cluster_ref.as_ref().is_some_and(|of| *of.uid == *uid));
    let closings = ours.filter_map(|event| Some((closed_by_hand(event)?, Ending::Closed)));
    let under_way = snapshot
        .growths()
        .filter(|growth| is_under_way(growth))
        .map(|growth| started_at(growth));
    breaker::judge(endings.chain(closings), under_way, breaker.rules())
}

/// A volume that no PVC is known of.
pub(crate) fn without_members(snapshot: &Snapshot, key: &VolumeKey, settings: &VolumeSettings, now: Timestamp) -> Volume {
    Volume {
        key: key.clone(),
        members: Vec::new(),
        learned_ceiling: retry::learned_ceiling(snapshot, key, now),
        fallback_ceiling: fallback_ceiling(snapshot.cluster.spec_sizes.get(key).copied(), settings.default_ceiling_factor),
        retry_after: retry::retry_after(snapshot, key, now),
    }
}

/// Of a PVC that names no storage class: it cannot be expanded.
pub(crate) fn no_class() -> Class {
    Class {
        name: Arc::from(""),
        expandable: false,
        shared_filesystem: false,
        provider_limit: None,
        fleet: Fleet::default(),
    }
}

/// What is known of a storage class; one that is not there cannot expand volumes.
pub(crate) fn class_of(name: &Arc<str>, view: Option<&ClassView>, settings: &VolumeSettings) -> Class {
    let directory = view.is_some_and(|v| DIRECTORY_PROVISIONERS.contains(&&*v.provisioner));
    Class {
        name: name.clone(),
        expandable: view.is_some_and(|v| v.expandable),
        provider_limit: settings
            .class_limits
            .get(&**name)
            .or_else(|| settings.provider_limits.get(&*view?.provisioner))
            .copied(),
        fleet: Fleet::default(),
        shared_filesystem: directory || settings.shared_classes.iter().any(|c| **c == **name),
    }
}

fn fallback_ceiling(spec: Option<Bytes>, factor: u32) -> Option<Bytes> {
    spec.filter(|size| factor > 0 && !size.is_zero())
        .map(|size| size.mul_div(u64::from(factor), 1))
}

/// The newest operation of a volume, other than what a person asked for and was refused.
#[must_use]
pub fn newest<'a>(snapshot: &'a Snapshot, volume: &VolumeKey) -> Option<&'a Arc<Growth>> {
    let of_volume = snapshot.growths().filter(|e| volume_of(e) == *volume && !e.was_turned_down());
    of_volume.max_by(|a, b| {
        started_at(a)
            .cmp(&started_at(b))
            .then_with(|| a.metadata.name.cmp(&b.metadata.name))
    })
}

/// A growth as an entry of the ledger.
fn operation(event: &Growth, snapshot: &Snapshot) -> Operation {
    let expansion = &event.spec.expansion;
    let status = event.status.as_ref();
    // A patch that was applied but never answered shows in the PVC before it shows in the record.
    let shows = |uid: &str| {
        snapshot
            .pvcs
            .iter()
            .any(|pvc| *pvc.view.uid == *uid && pvc.view.request >= expansion.requested_size)
    };
    let patched = status.is_some_and(|s| s.pvc_statuses.iter().any(|p| p.patched_at.is_some()));
    let done = event.is_done();
    Operation {
        id: Arc::from(event.metadata.name.as_deref().unwrap_or_default()),
        volume: volume_of(event),
        urgency: event.spec.urgency(),
        started_at: started_at(event),
        from: expansion.original_size,
        to: expansion.requested_size,
        members: Some(expansion.affected_pvcs.iter().map(|p| Arc::from(p.uid.as_str())).collect()),
        accepted: patched || (!done && expansion.affected_pvcs.iter().any(|p| shows(&p.uid))),
        done,
    }
}

/// Operations of a volume that failed in a row, up to the newest that has ended.
#[must_use]
pub fn failures_before(snapshot: &Snapshot, volume: &VolumeKey) -> i32 {
    let mut ended: Vec<_> = snapshot.growths().filter(|e| volume_of(e) == *volume && e.is_done()).collect();
    ended.retain(|e| !e.was_turned_down());
    ended.sort_by_key(|e| started_at(e));
    let newest = ended.last().and_then(|e| e.status.as_ref());
    newest
        .filter(|s| s.phase == Some(Phase::Failed))
        .and_then(|s| s.retry_count)
        .unwrap_or(0)
}
