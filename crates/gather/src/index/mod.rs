//! All that the manager knows, by CNPG Cluster. Watches and the sampler write it, the controller reads it.
//!
//! Every method is synchronous and touches nothing outside, so that the index is tested without a cluster. The methods
//! that change something return the Clusters that are to be looked at again.

mod between;
mod birth;
mod candidate;
mod fleet;
mod history;
mod kept;
mod names;
mod policies;
mod quotas;
mod retention;
mod samples;
mod slot;
mod snapshot;
mod storages;
mod tracked;
mod unreadable;
mod wal;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use csm_api::{Settings, StorageEvent};
use csm_core::disk_full::Log;
use csm_core::resolve::{Policy, Resolution};
use csm_core::world::{ClusterKey, Observation};
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

pub use self::between::{ExporterFigures, Followed, WalDirectory};
pub use self::birth::Raise;
pub use self::candidate::{Candidate, Verdict};
pub(crate) use self::fleet::closed_by_hand;
pub use self::fleet::{FleetNow, FleetRules, Waiter};
pub use self::names::{Kind, ObjectName};
pub use self::retention::Retention;
pub use self::samples::Figures;
pub use self::snapshot::{PvcNow, Snapshot};
pub use self::tracked::Tracked;
pub use self::unreadable::HalfRead;
pub use self::wal::{Primary, WalNow};

use self::kept::{Claim, Instance, Record};
use self::slot::Slot;
use crate::compact::Strings;
use crate::quota::QuotaView;
use crate::views::{ClassView, ClusterView, Labels, NodeView, PodView, PvcView, ResourceVersion, cluster_key};

/// Clusters to look at again.
pub type Wake = BTreeSet<ClusterKey>;

/// Name of a policy object: the namespace is empty for a ClusterStoragePolicy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// A policy object with what its status report needs.
#[derive(Clone, Debug)]
pub struct PolicyEntry {
    pub policy: Arc<Policy>,
    pub uid: Option<Arc<str>>,
    pub generation: Option<i64>,
    pub status: csm_api::PolicyStatus,
    /// A person asks for the breaker of the whole fleet to be closed.
    pub reset_breaker: bool,
}

/// The Clusters that a policy matches, each with what its settings came to.
pub type Matched = Vec<(ClusterKey, Arc<Resolution>)>;

/// The newest figures of a PVC's filesystem.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub observation: Observation,
    /// Another PVC of different size on its node reports the same figures.
    pub twin: bool,
}

/// The index.
#[derive(Debug)]
pub struct Index {
    defaults: Settings,
    slots: HashMap<ClusterKey, Slot>,
    nodes: HashMap<Arc<str>, NodeView>,
    classes: HashMap<Arc<str>, ClassView>,
    namespaces: HashMap<Arc<str>, Labels>,
    /// By namespace and name: those that limit storage.
    quotas: HashMap<Arc<str>, BTreeMap<Arc<str>, QuotaView>>,
    policies: BTreeMap<PolicyId, PolicyEntry>,
    /// Settings that Clusters have in common.
    resolutions: Vec<Arc<Resolution>>,
    strings: Strings,
    /// Which Clusters a policy matches may have changed.
    matches_changed: bool,
    fleet: fleet::FleetState,
    /// This process asks primaries how their WAL is.
    asks_primaries: bool,
}

impl Index {
    /// An empty index; `defaults` are the lowest rank of every policy.
    #[must_use]
    pub fn new(defaults: Settings) -> Self {
        Self {
            defaults,
            slots: HashMap::new(),
            nodes: HashMap::new(),
            classes: HashMap::new(),
            namespaces: HashMap::new(),
            quotas: HashMap::new(),
            policies: BTreeMap::new(),
            resolutions: Vec::new(),
            strings: Strings::default(),
            matches_changed: false,
            fleet: fleet::FleetState::default(),
            asks_primaries: false,
        }
    }

    /// Whether policies may match other Clusters than when this was last asked: then their status is to be looked at.
    pub fn take_matches_changed(&mut self) -> bool {
        std::mem::take(&mut self.matches_changed)
    }

    /// A Cluster is like this now, or gone.
    pub fn put_cluster(&mut self, key: &ClusterKey, cluster: Option<ClusterView>) -> Wake {
        let key = self.key(&key.namespace, &key.name);
        let slot = self.slots.entry(key.clone()).or_default();
        slot.is_unreadable = false;
        if let Some(cluster) = cluster {
            if slot
                .cluster
                .as_ref()
                .is_some_and(|c| c.uid == cluster.uid && c.resource_version > cluster.resource_version)
            {
                return Wake::new();
            }
            if slot.cluster.as_ref().is_none_or(|c| c.labels != cluster.labels) {
                slot.resolution = None;
                self.matches_changed = true;
            }
            let is_another = slot.cluster.as_ref().is_some_and(|c| c.uid != cluster.uid);
            if is_another {
                slot.tracked = None;
            }
            slot.cluster = Some(Arc::new(cluster));
            return if is_another { self.left(&key) } else { self.touched(&key) };
        }
        self.unmanage(&key)
    }

    /// A Cluster is gone, or cannot be read.
    pub(super) fn unmanage(&mut self, key: &ClusterKey) -> Wake {
        if let Some(slot) = self.slots.get_mut(key) {
            slot.cluster = None;
            slot.resolution = None;
            slot.tracked = None;
        }
        self.matches_changed = true;
        self.left(key)
    }

    /// A Cluster waits for nothing of the fleet's any more, and what it had begun may have left a place.
    fn left(&mut self, key: &ClusterKey) -> Wake {
        self.fleet.left(key);
        let mut wake = self.touched(key);
        wake.extend(self.next_in_line());
        wake
    }

    /// A PVC is like this now; `now` is when that was learnt.
    pub fn put_pvc(&mut self, pvc: &PersistentVolumeClaim, now: Timestamp) -> Wake {
        let (namespace, name) = (pvc.namespace().unwrap_or_default(), pvc.name_any());
        let Some(view) = PvcView::of(pvc) else { return Wake::new() };
        let key = self.key(&namespace, &view.cluster);
        let name = self.strings.share(&name);
        let mut claim = Claim::new(view, &mut self.strings);
        let slot = self.slots.entry(key.clone()).or_default();
        if let Some(before) = slot.pvcs.get_mut(&name).filter(|before| before.uid == claim.uid) {
            if before.resource_version > claim.resource_version {
                return Wake::new();
            }
            let grown = claim.capacity > before.capacity && !before.capacity.is_zero();
            claim.resized = if grown { Some(now) } else { before.resized };
            claim.sample = before.sample;
            claim.history = std::mem::take(&mut before.history);
            claim.resizes_since(before);
        } else {
            // What its instance held was on another volume.
            slot.between.remove(&claim.instance);
        }
        slot.pvcs.insert(name, claim);
        self.touched(&key)
    }

    /// A PVC is gone.
    pub fn remove_pvc(&mut self, namespace: &str, name: &str) -> Wake {
        let Some(key) = self.owner(namespace, name, |slot| slot.pvcs.contains_key(name)) else {
            return Wake::new();
        };
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.pvcs.remove(name);
        }
        self.touched(&key)
    }

    /// A pod is like this now.
    pub fn put_pod(&mut self, namespace: &str, name: &str, view: PodView) -> Wake {
        let key = self.key(namespace, &view.cluster);
        let name = self.strings.share(name);
        let mut pod = Instance::new(view, &mut self.strings);
        let slot = self.slots.entry(key.clone()).or_default();
        if let Some(before) = slot.pods.get_mut(&name).filter(|before| before.uid == pod.uid) {
            if before.resource_version > pod.resource_version {
                return Wake::new();
            }
            pod.log = before.log.take();
            if before.says_the_same(&pod) {
                slot.pods.insert(name, pod);
                return Wake::new();
            }
        }
        slot.pods.insert(name, pod);
        self.touched(&key)
    }

    /// What the log of a container says that ended, of this pod and no other of its name.
    pub fn put_log(&mut self, namespace: &str, pod: &str, uid: &str, container: &Arc<str>, log: Log) -> Wake {
        let Some(key) = self.owner(namespace, pod, |slot| slot.pods.contains_key(pod)) else {
            return Wake::new();
        };
        let known = self.slots.get_mut(&key).and_then(|slot| slot.pods.get_mut(pod));
        let Some(known) = known.filter(|known| known.uid.is(uid)) else {
            return Wake::new();
        };
        known.log = Some(Box::new((container.clone(), log)));
        self.touched(&key)
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, namespace: &str, name: &str) -> Wake {
        let Some(key) = self.owner(namespace, name, |slot| slot.pods.contains_key(name)) else {
            return Wake::new();
        };
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.pods.remove(name);
        }
        self.touched(&key)
    }

    /// A StorageEvent is like this now.
    pub fn put_event(&mut self, event: impl Into<StorageEvent>) -> Wake {
        let mut event: StorageEvent = event.into();
        let Some(cluster) = &event.spec.cluster_ref else {
            self.fleet.put_record(event);
            return Wake::new();
        };
        let key = self.key(&event.namespace().unwrap_or_default(), &cluster.name);
        let name: Arc<str> = Arc::from(event.name_any());
        event.metadata.managed_fields = None;
        self.put_record(&key, name, Record::new(event))
    }

    fn put_record(&mut self, key: &ClusterKey, name: Arc<str>, record: Record) -> Wake {
        let slot = self.slots.entry(key.clone()).or_default();
        if let Some(before) = slot.events.get(&name)
            && before.resource_version() > record.resource_version()
        {
            return Wake::new();
        }
        let ended = slot.events.get(&name).is_some_and(Record::is_open) && !record.is_open();
        self.fleet.put(key, &name, &record);
        slot.events.insert(name, record);
        let mut wake = self.touched(key);
        if ended {
            wake.extend(self.next_in_line());
        }
        wake
    }

    /// A StorageEvent is gone.
    pub fn remove_event(&mut self, namespace: &str, name: &str) -> Wake {
        self.fleet.remove_record(namespace, name);
        let has = |slot: &Slot| slot.events.contains_key(name);
        // A person's record may have any name.
        let of_any_name = || {
            let mut slots = self.slots.iter();
            let found = slots.find(|(key, slot)| *key.namespace == *namespace && has(slot));
            found.map(|(key, _)| key.clone())
        };
        let Some(key) = self.owner(namespace, name, has).or_else(of_any_name) else {
            return Wake::new();
        };
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.events.remove(name);
        }
        self.fleet.removed(&key, name);
        let mut wake = self.touched(&key);
        wake.extend(self.next_in_line());
        wake
    }

    /// A storage class is like this now, or gone.
    pub fn put_class(&mut self, name: &str, class: Option<ClassView>) -> Wake {
        let name: Arc<str> = Arc::from(name);
        let changed = match class {
            Some(class) => self.classes.insert(name.clone(), class.clone()).as_ref() != Some(&class),
            None => self.classes.remove(&name).is_some(),
        };
        if !changed {
            return Wake::new();
        }
        let uses = |slot: &Slot| slot.pvcs.values().any(|pvc| pvc.class.as_ref() == Some(&name));
        self.slots
            .iter()
            .filter(|(_, slot)| slot.cluster.is_some() && uses(slot))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// A storage class, where it is known.
    fn class(&self, name: &str) -> Option<&ClassView> {
        self.classes.get(name)
    }

    /// A node is like this now, or gone.
    pub fn put_node(&mut self, name: &str, node: Option<NodeView>) {
        match node {
            Some(node) => self.nodes.insert(Arc::from(name), node),
            None => self.nodes.remove(name),
        };
    }

    /// The name of a Cluster; one copy of it, whoever holds it.
    fn key(&mut self, namespace: &str, name: &str) -> ClusterKey {
        ClusterKey {
            namespace: self.strings.share(namespace),
            name: self.strings.share(name),
        }
    }

    /// The Cluster that an object of this name belongs to. CloudNativePG names pods and PVCs after their Cluster
    /// (`CLUSTER-N…`), and we name StorageEvents so: one of the prefixes is the Cluster.
    fn owner(&self, namespace: &str, name: &str, has: impl Fn(&Slot) -> bool) -> Option<ClusterKey> {
        let mut prefix = name;
        while let Some((shorter, _)) = prefix.rsplit_once('-') {
            if let Some((key, _)) = self
                .slots
                .get_key_value(&cluster_key(namespace, shorter))
                .filter(|(_, slot)| has(slot))
            {
                return Some(key.clone());
            }
            prefix = shorter;
        }
        None
    }

    /// A PVC by its name.
    fn pvc(&self, namespace: &str, name: &str) -> Option<(ClusterKey, &Slot, &Claim)> {
        let key = self.owner(namespace, name, |slot| slot.pvcs.contains_key(name))?;
        let slot = self.slots.get(&key)?;
        Some((key, slot, slot.pvcs.get(name)?))
    }

    /// What a PVC asks for, and in which version it does.
    #[must_use]
    pub fn pvc_request(&self, namespace: &str, name: &str) -> Option<(Bytes, ResourceVersion)> {
        self.pvc(namespace, name).map(|(_, _, pvc)| (pvc.request, pvc.resource_version))
    }

    /// UID of an instance's pod.
    #[must_use]
    pub fn pod_uid(&self, namespace: &str, name: &str) -> Option<Arc<str>> {
        let key = self.owner(namespace, name, |slot| slot.pods.contains_key(name))?;
        Some(self.slots.get(&key)?.pods.get(name)?.uid.text())
    }

    /// Every Cluster that exists.
    #[must_use]
    pub fn clusters(&self) -> Vec<ClusterKey> {
        self.slots
            .iter()
            .filter(|(_, slot)| slot.cluster.is_some())
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn touched(&mut self, key: &ClusterKey) -> Wake {
        let wake = Wake::from([key.clone()]);
        self.drop_empty(&wake);
        wake
    }

    fn drop_empty(&mut self, keys: &Wake) {
        for key in keys {
            if self.slots.get(key).is_some_and(Slot::is_empty) {
                self.slots.remove(key);
            }
        }
    }
}
