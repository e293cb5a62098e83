//! What the simulated kubelets know: their pods, the volumes, and what was measured last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use rustls::ServerConfig;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::exec::Container;
use super::fault::{NodeFault, VolumeFault};
use super::summary::{self, PodEntry, VolumeEntry};
use super::volume::{Figures, Volume};

/// Pods are measured in this many groups, spread over a period: real kubelets jitter each pod's.
pub const GROUPS: u64 = 16;
/// What an emptyDir or a projected volume uses.
const SCRATCH_USED: u64 = 8 << 10;

/// A PVC, by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub claim: String,
}

impl VolumeKey {
    /// The PVC `claim` in `namespace`.
    pub fn new(namespace: impl Into<String>, claim: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            claim: claim.into(),
        }
    }
}

impl fmt::Display for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.claim)
    }
}

/// A pod, by namespace and name.
pub type PodKey = (String, String);

/// One simulated node.
pub struct Node {
    pub address: SocketAddr,
    pub tls: Arc<ServerConfig>,
    pub fault: NodeFault,
    pub pods: BTreeSet<PodKey>,
    /// Ends its listener and its connections.
    pub serving: CancellationToken,
    /// Disconnected once nobody listens any more.
    pub served: mpsc::Receiver<()>,
    /// Requests for `/stats/summary` that came in, whatever they got.
    pub requests: u64,
}

/// What a kubelet needs of a pod.
struct PodState {
    uid: String,
    node: String,
    running: Vec<String>,
    volumes: Vec<PodVolume>,
    group: u64,
}

struct PodVolume {
    name: String,
    claim: Option<VolumeKey>,
    measured: Option<Figures>,
}

impl PodState {
    fn measure(&mut self, nodes: &BTreeMap<String, Node>, volumes: &mut HashMap<VolumeKey, Volume>, now: Instant, time: Timestamp) {
        if nodes.get(&self.node).is_none_or(|node| node.fault == NodeFault::Stale) {
            return;
        }
        for entry in &mut self.volumes {
            let time = distinct(entry.measured.map(|figures| figures.time), time);
            match &entry.claim {
                None => {
                    let disk = summary::node_disk(time);
                    entry.measured = Some(Figures {
                        used: SCRATCH_USED,
                        inodes_used: 9,
                        ..disk
                    });
                }
                Some(claim) => match volumes.get_mut(claim) {
                    None => entry.measured = None,
                    Some(volume) if volume.fault == VolumeFault::Stale => {}
                    Some(volume) => entry.measured = Some(volume.measure(now, time)),
                },
            }
        }
    }
}

/// The time of a measurement. A kubelet writes whole seconds and measures less often than once a second; here it can
/// come more often, and then times run ahead by up to a second, so that readers can tell two measurements apart.
fn distinct(last: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let second = SignedDuration::from_secs(1);
    match last.map(|last| last + second) {
        Some(next) if next.as_second() > now.as_second() => next.min(now + second),
        _ => now,
    }
}

/// Everything.
#[derive(Default)]
pub struct State {
    pub nodes: BTreeMap<String, Node>,
    pub addresses_given: u32,
    pub volumes: HashMap<VolumeKey, Volume>,
    pub containers: HashMap<PodKey, Arc<dyn Container>>,
    pods: BTreeMap<PodKey, PodState>,
    /// Which pods use a claim, running or not.
    users: HashMap<VolumeKey, BTreeSet<PodKey>>,
}

impl State {
    /// Takes in a pod as the API server has it.
    pub fn apply_pod(&mut self, pod: &Pod) -> Option<PodKey> {
        let key = pod_key(pod)?;
        let mut measured: HashMap<String, Option<Figures>> = HashMap::new();
        let next = read_pod(pod);
        if let Some(old) = self.forget_pod(&key)
            && next.as_ref().is_some_and(|next| next.uid == old.uid)
        {
            // Same pod: what was measured stays until the next round.
            measured = old.volumes.into_iter().map(|volume| (volume.name, volume.measured)).collect();
        }
        if let Some(mut next) = next {
            for volume in &mut next.volumes {
                volume.measured = measured.remove(&volume.name).flatten();
                if let Some(claim) = &volume.claim {
                    self.users.entry(claim.clone()).or_default().insert(key.clone());
                }
            }
            if let Some(node) = self.nodes.get_mut(&next.node) {
                node.pods.insert(key.clone());
            }
            self.pods.insert(key.clone(), next);
        }
        Some(key)
    }

    /// Takes in that a pod is gone.
    pub fn delete_pod(&mut self, pod: &Pod) -> Option<PodKey> {
        let key = pod_key(pod)?;
        self.forget_pod(&key);
        Some(key)
    }

    /// Forgets all pods that are not in `present`.
    pub fn retain_pods(&mut self, present: &BTreeSet<PodKey>) {
        let gone: Vec<_> = self.pods.keys().filter(|key| !present.contains(*key)).cloned().collect();
        for key in gone {
            self.forget_pod(&key);
        }
    }

    fn forget_pod(&mut self, key: &PodKey) -> Option<PodState> {
        let old = self.pods.remove(key)?;
        if let Some(node) = self.nodes.get_mut(&old.node) {
            node.pods.remove(key);
        }
        for claim in old.volumes.iter().filter_map(|volume| volume.claim.as_ref()) {
            if let Some(users) = self.users.get_mut(claim) {
                users.remove(key);
                if users.is_empty() {
                    self.users.remove(claim);
                }
            }
        }
        Some(old)
    }

    /// Adds a node; pods that were bound to it before are its own from now.
    pub fn insert_node(&mut self, name: &str, mut node: Node) {
        node.pods = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.node == name)
            .map(|(key, _)| key.clone())
            .collect();
        self.nodes.insert(name.to_owned(), node);
    }

    /// A pod, on a node of ours, that has the claim mounted.
    pub fn user_of(&self, claim: &VolumeKey) -> Option<(PodKey, String)> {
        let users = self.users.get(claim)?;
        users.iter().find_map(|key| {
            let pod = self.pods.get(key)?;
            self.nodes.contains_key(&pod.node).then(|| (key.clone(), pod.node.clone()))
        })
    }

    /// What the kubelet measured of a claim last.
    pub fn measured(&self, claim: &VolumeKey) -> Option<Figures> {
        let pod = self.pods.get(self.users.get(claim)?.first()?)?;
        pod.volumes.iter().find(|volume| volume.claim.as_ref() == Some(claim))?.measured
    }

    /// True when the pod is known and has a running container.
    pub fn is_running(&self, key: &PodKey) -> bool {
        self.pods.get(key).is_some_and(|pod| !pod.running.is_empty())
    }

    /// What runs commands in a pod that runs on this node.
    pub fn container(&self, node: &str, pod: &PodKey) -> Option<Arc<dyn Container>> {
        let state = self.pods.get(pod).filter(|state| state.node == node && !state.running.is_empty());
        state.and_then(|_| self.containers.get(pod).cloned())
    }

    /// Measures the volumes of the pods of one group, or of all.
    pub fn measure(&mut self, group: Option<u64>, now: Instant, time: Timestamp) {
        let Self { nodes, volumes, pods, .. } = self;
        for pod in pods.values_mut().filter(|pod| group.is_none_or(|group| pod.group == group)) {
            pod.measure(nodes, volumes, now, time);
        }
    }

    /// Measures the volumes of one pod.
    pub fn measure_pod(&mut self, key: &PodKey, now: Instant, time: Timestamp) {
        if let Some(pod) = self.pods.get_mut(key) {
            pod.measure(&self.nodes, &mut self.volumes, now, time);
        }
    }

    /// The answer to `/stats/summary`. Pods without a running container are missing, as in the real one.
    pub fn summary(&self, node: &str, time: Timestamp) -> Value {
        let Some(state) = self.nodes.get(node) else { return Value::Null };
        let mut pods = Vec::new();
        for key in &state.pods {
            let Some(pod) = self.pods.get(key).filter(|pod| !pod.running.is_empty()) else {
                continue;
            };
            if state.fault == NodeFault::NoPods {
                continue;
            }
            let volumes = pod.volumes.iter().filter_map(|volume| {
                let claim = volume.claim.as_ref();
                let fault = claim
                    .and_then(|claim| self.volumes.get(claim))
                    .map_or(VolumeFault::None, |v| v.fault);
                let claim = claim.map(|claim| claim.claim.as_str());
                volume.measured.map(|figures| VolumeEntry {
                    name: &volume.name,
                    claim,
                    figures,
                    fault,
                })
            });
            pods.push(PodEntry {
                name: &key.1,
                namespace: &key.0,
                uid: &pod.uid,
                containers: &pod.running,
                volumes: volumes.collect(),
            });
        }
        summary::summary(node, time, &pods)
    }
}

fn pod_key(pod: &Pod) -> Option<PodKey> {
    Some((pod.metadata.namespace.clone()?, pod.metadata.name.clone()?))
}

/// The part of a pod that concerns its kubelet; none while it is not bound, and none once it has ended.
fn read_pod(pod: &Pod) -> Option<PodState> {
    let spec = pod.spec.as_ref()?;
    let status = pod.status.as_ref();
    let ended = status
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|p| p == "Succeeded" || p == "Failed");
    if ended {
        return None;
    }
    let namespace = pod.metadata.namespace.as_deref()?;
    let uid = pod.metadata.uid.clone()?;
    let running = status
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default()
        .iter()
        .filter(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()))
        .map(|container| container.name.clone())
        .collect();
    let volumes = spec.volumes.as_deref().unwrap_or_default().iter().map(|volume| {
        let claim = volume
            .persistent_volume_claim
            .as_ref()
            .map(|pvc| VolumeKey::new(namespace, &pvc.claim_name));
        PodVolume {
            name: volume.name.clone(),
            claim,
            measured: None,
        }
    });
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    Some(PodState {
        node: spec.node_name.clone()?,
        running,
        volumes: volumes.collect(),
        group: hasher.finish() % GROUPS,
        uid,
    })
}
