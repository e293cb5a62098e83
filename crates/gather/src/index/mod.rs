//! All that the manager knows, by CNPG Cluster. Watches and the sampler write it, the controller reads it.
//!
//! Every method is synchronous and touches nothing outside, so that the index is tested without a cluster. The methods
//! that change something return the Clusters that are to be looked at again.

mod policies;
mod samples;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use csm_api::{PostgresStorage, Settings, StorageEvent, VerifiedBy};
use csm_core::resolve::{Policy, Resolution};
use csm_core::world::{ClusterKey, Observation};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

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
    pub generation: Option<i64>,
    pub status: csm_api::PolicyStatus,
}

/// The Clusters that a policy matches, each with what its settings came to.
pub type Matched = Vec<(ClusterKey, Arc<Resolution>)>;

/// The newest figures of a PVC's filesystem.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub observation: Observation,
    /// Another PVC of different size on its node reports the same figures.
    pub twin: bool,
}

/// All that concerns one Cluster.
#[derive(Debug, Default)]
struct Slot {
    cluster: Option<Arc<ClusterView>>,
    storage: Option<Arc<PostgresStorage>>,
    pvcs: BTreeMap<Arc<str>, Arc<PvcView>>,
    pods: BTreeMap<Arc<str>, Arc<PodView>>,
    events: BTreeMap<Arc<str>, Arc<StorageEvent>>,
    /// When a PVC's capacity was seen to rise, by UID.
    resized: HashMap<Arc<str>, Timestamp>,
    resolution: Option<Arc<Resolution>>,
}

impl Slot {
    fn is_empty(&self) -> bool {
        self.cluster.is_none() && self.storage.is_none() && self.pvcs.is_empty() && self.pods.is_empty() && self.events.is_empty()
    }
}

/// One Cluster at one moment, for [`crate::world`].
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub key: ClusterKey,
    pub cluster: Arc<ClusterView>,
    pub storage: Option<Arc<PostgresStorage>>,
    pub pvcs: Vec<(Arc<str>, Arc<PvcView>)>,
    pub pods: BTreeMap<Arc<str>, Arc<PodView>>,
    pub events: Vec<Arc<StorageEvent>>,
    pub resized: HashMap<Arc<str>, Timestamp>,
    pub resolution: Arc<Resolution>,
    pub classes: HashMap<Arc<str>, ClassView>,
    pub samples: HashMap<Arc<str>, Sample>,
}

/// The index.
#[derive(Debug)]
pub struct Index {
    defaults: Settings,
    slots: HashMap<ClusterKey, Slot>,
    nodes: HashMap<Arc<str>, NodeView>,
    classes: HashMap<Arc<str>, ClassView>,
    namespaces: HashMap<Arc<str>, Labels>,
    policies: BTreeMap<PolicyId, PolicyEntry>,
    samples: HashMap<Arc<str>, Sample>,
    /// Which Clusters a policy matches may have changed.
    matches_changed: bool,
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
            policies: BTreeMap::new(),
            samples: HashMap::new(),
            matches_changed: false,
        }
    }

    /// Whether policies may match other Clusters than when this was last asked: then their status is to be looked at.
    pub fn take_matches_changed(&mut self) -> bool {
        std::mem::take(&mut self.matches_changed)
    }

    /// A Cluster is like this now, or gone.
    pub fn put_cluster(&mut self, key: &ClusterKey, cluster: Option<ClusterView>) -> Wake {
        let slot = self.slots.entry(key.clone()).or_default();
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
            slot.cluster = Some(Arc::new(cluster));
        } else {
            slot.cluster = None;
            slot.resolution = None;
            self.matches_changed = true;
        }
        self.touched(key)
    }

    /// A PVC is like this now; `now` is when that was learnt.
    pub fn put_pvc(&mut self, pvc: &PersistentVolumeClaim, now: Timestamp) -> Wake {
        let (namespace, name) = (pvc.namespace().unwrap_or_default(), pvc.name_any());
        let Some(view) = PvcView::of(pvc) else { return Wake::new() };
        let key = cluster_key(&namespace, &view.cluster);
        let slot = self.slots.entry(key.clone()).or_default();
        let name: Arc<str> = Arc::from(name);
        if let Some(before) = slot.pvcs.get(&name) {
            if before.uid == view.uid && before.resource_version > view.resource_version {
                return Wake::new();
            }
            if before.uid != view.uid {
                let uid = before.uid.clone();
                slot.resized.remove(&uid);
                self.samples.remove(&uid);
            } else if view.capacity > before.capacity && !before.capacity.is_zero() {
                slot.resized.insert(view.uid.clone(), now);
            }
        }
        slot.pvcs.insert(name, Arc::new(view));
        self.touched(&key)
    }

    /// A PVC is gone.
    pub fn remove_pvc(&mut self, namespace: &str, name: &str) -> Wake {
        let Some(key) = self.owner(namespace, name, |slot| slot.pvcs.contains_key(name)) else {
            return Wake::new();
        };
        if let Some(slot) = self.slots.get_mut(&key)
            && let Some(view) = slot.pvcs.remove(name)
        {
            slot.resized.remove(&view.uid);
            self.samples.remove(&view.uid);
        }
        self.touched(&key)
    }

    /// A pod is like this now.
    pub fn put_pod(&mut self, namespace: &str, name: &str, view: PodView) -> Wake {
        let key = cluster_key(namespace, &view.cluster);
        let slot = self.slots.entry(key.clone()).or_default();
        if let Some(before) = slot.pods.get(name) {
            if before.uid == view.uid && before.resource_version > view.resource_version {
                return Wake::new();
            }
            if before.node == view.node && before.running == view.running && before.uid == view.uid {
                slot.pods.insert(Arc::from(name), Arc::new(view));
                return Wake::new();
            }
        }
        slot.pods.insert(Arc::from(name), Arc::new(view));
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
    pub fn put_event(&mut self, mut event: StorageEvent) -> Wake {
        let key = cluster_key(&event.namespace().unwrap_or_default(), &event.spec.cluster_ref.name);
        let name: Arc<str> = Arc::from(event.name_any());
        event.metadata.managed_fields = None;
        let slot = self.slots.entry(key.clone()).or_default();
        if let Some(before) = slot.events.get(&name)
            && ResourceVersion::of(&before.metadata) > ResourceVersion::of(&event.metadata)
        {
            return Wake::new();
        }
        slot.events.insert(name, Arc::new(event));
        self.touched(&key)
    }

    /// A StorageEvent is gone.
    pub fn remove_event(&mut self, namespace: &str, name: &str) -> Wake {
        let Some(key) = self.owner(namespace, name, |slot| slot.events.contains_key(name)) else {
            return Wake::new();
        };
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.events.remove(name);
        }
        self.touched(&key)
    }

    /// A PostgresStorage is like this now.
    pub fn put_storage(&mut self, mut storage: PostgresStorage) -> Wake {
        let key = cluster_key(&storage.namespace().unwrap_or_default(), &storage.name_any());
        storage.metadata.managed_fields = None;
        let slot = self.slots.entry(key.clone()).or_default();
        if let Some(before) = &slot.storage {
            if before.metadata.uid == storage.metadata.uid && ResourceVersion::of(&before.metadata) > ResourceVersion::of(&storage.metadata)
            {
                return Wake::new();
            }
            if before.spec == storage.spec && before.metadata.uid == storage.metadata.uid {
                // Our own status comes back: nothing to decide anew.
                slot.storage = Some(Arc::new(storage));
                return Wake::new();
            }
        }
        slot.storage = Some(Arc::new(storage));
        slot.resolution = None;
        self.touched(&key)
    }

    /// A PostgresStorage is gone.
    pub fn remove_storage(&mut self, namespace: &str, name: &str) -> Wake {
        let key = cluster_key(namespace, name);
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.storage = None;
            slot.resolution = None;
        }
        self.touched(&key)
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

    /// A node is like this now, or gone.
    pub fn put_node(&mut self, name: &str, node: Option<NodeView>) {
        match node {
            Some(node) => self.nodes.insert(Arc::from(name), node),
            None => self.nodes.remove(name),
        };
    }

    /// The Cluster that an object of this name belongs to. CloudNativePG names pods and PVCs after their Cluster
    /// (`CLUSTER-N…`), and we name StorageEvents so: one of the prefixes is the Cluster.
    fn owner(&self, namespace: &str, name: &str, has: impl Fn(&Slot) -> bool) -> Option<ClusterKey> {
        let mut prefix = name;
        while let Some((shorter, _)) = prefix.rsplit_once('-') {
            let key = cluster_key(namespace, shorter);
            if self.slots.get(&key).is_some_and(&has) {
                return Some(key);
            }
            prefix = shorter;
        }
        None
    }

    /// A PVC by its name.
    fn pvc(&self, namespace: &str, name: &str) -> Option<(ClusterKey, &Slot, &Arc<PvcView>)> {
        let key = self.owner(namespace, name, |slot| slot.pvcs.contains_key(name))?;
        let slot = self.slots.get(&key)?;
        Some((key, slot, slot.pvcs.get(name)?))
    }

    /// The version of a PVC that we know.
    #[must_use]
    pub fn pvc_version(&self, namespace: &str, name: &str) -> Option<ResourceVersion> {
        self.pvc(namespace, name).map(|(_, _, pvc)| pvc.resource_version)
    }

    /// StorageEvents that have ended, and when.
    #[must_use]
    pub fn ended_events(&self) -> Vec<(Timestamp, Arc<StorageEvent>)> {
        let events = self.slots.values().flat_map(|slot| slot.events.values());
        let ended = |event: &Arc<StorageEvent>| event.status.as_ref()?.completion_time.as_ref().map(|t| t.0);
        events.filter_map(|event| Some((ended(event)?, event.clone()))).collect()
    }

    /// One Cluster as it is now; none where there is no such Cluster (any more).
    pub fn snapshot(&mut self, key: &ClusterKey) -> Option<Snapshot> {
        let resolution = self.resolution(key)?;
        let slot = self.slots.get(key)?;
        let cluster = slot.cluster.clone()?;
        let mut classes = HashMap::new();
        let mut samples = HashMap::new();
        for pvc in slot.pvcs.values() {
            if let Some((name, view)) = pvc.class.as_ref().and_then(|name| self.classes.get_key_value(name)) {
                classes.insert(name.clone(), view.clone());
            }
            if let Some(sample) = self.samples.get(&pvc.uid) {
                samples.insert(pvc.uid.clone(), sample.clone());
            }
        }
        Some(Snapshot {
            key: key.clone(),
            cluster,
            storage: slot.storage.clone(),
            pvcs: slot.pvcs.iter().map(|(name, view)| (name.clone(), view.clone())).collect(),
            pods: slot.pods.clone(),
            events: slot.events.values().cloned().collect(),
            resized: slot.resized.clone(),
            resolution,
            classes,
            samples,
        })
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

/// When the last resize of a PVC ended: as our record says, or as its capacity was seen to rise.
pub(crate) fn last_resize_at<'a>(
    events: impl Iterator<Item = &'a Arc<StorageEvent>>,
    resized: &HashMap<Arc<str>, Timestamp>,
    uid: &str,
) -> Option<Timestamp> {
    let recorded = events.filter_map(|event| {
        let statuses = &event.status.as_ref()?.pvc_statuses;
        let status = statuses.iter().find(|s| s.uid == uid)?;
        // Where only the node's word showed the growth, figures from before that moment may still be those of the small one.
        let end = if status.verified_by == Some(VerifiedBy::PvcStatus) {
            &status.filesystem_resized
        } else {
            &status.controller_done_at
        };
        end.as_ref().map(|t| t.0)
    });
    recorded.chain(resized.get(uid).copied()).max()
}

/// Whether an operation has ended.
#[must_use]
pub fn is_done(event: &StorageEvent) -> bool {
    use csm_api::Phase;
    matches!(event.status.as_ref().and_then(|s| s.phase), Some(Phase::Completed | Phase::Failed))
}
