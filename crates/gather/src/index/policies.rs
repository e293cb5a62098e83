//! Policies, and which settings come of them for each Cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{ClusterStoragePolicy, PolicyStatus, StoragePolicy};
use csm_core::resolve::{self, Identity, Origin, Policy, Resolution};
use csm_core::world::ClusterKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Index, Matched, PolicyEntry, PolicyId, Wake};
use crate::compact::Packed;
use crate::views::{Labels, asks_for_reset};

/// Different settings that are looked through for equal ones; Clusters with others keep their own copy.
const SHARED_RESOLUTIONS: usize = 64;

impl Index {
    /// A StoragePolicy is like this now.
    pub fn put_policy(&mut self, policy: &StoragePolicy) -> Wake {
        let status = policy.status.clone().unwrap_or_default();
        self.put_any_policy(&policy.metadata, Policy::from_storage_policy(policy), status)
    }

    /// A ClusterStoragePolicy is like this now.
    pub fn put_cluster_policy(&mut self, policy: &ClusterStoragePolicy) -> Wake {
        let status = policy.status.clone().unwrap_or_default();
        self.put_any_policy(&policy.metadata, Policy::from_cluster_storage_policy(policy), status)
    }

    pub(super) fn put_any_policy(&mut self, metadata: &ObjectMeta, policy: Policy, status: PolicyStatus) -> Wake {
        let id = PolicyId {
            namespace: policy.origin.namespace.clone().unwrap_or_default(),
            name: policy.origin.name.clone(),
        };
        let entry = PolicyEntry {
            policy: Arc::new(policy),
            uid: metadata.uid.as_deref().map(Arc::from),
            generation: metadata.generation,
            status,
            reset_breaker: asks_for_reset(metadata),
        };
        // A policy that was made anew begins with the first generation again.
        let same = |before: &PolicyEntry| before.uid == entry.uid && before.generation == entry.generation;
        let before = self.policies.get(&id);
        let unchanged = entry.generation.is_some() && before.is_some_and(same);
        // A status that we do not know of: a write of ours that was given up can come late, and overwrite a newer one.
        let known = before.is_some_and(|before| before.status == entry.status);
        let namespace = id.namespace.clone();
        self.policies.insert(id, entry);
        self.matches_changed |= !unchanged || !known;
        if unchanged { Wake::new() } else { self.unresolve(&namespace) }
    }

    /// This status was written to a policy: nothing new when it comes back.
    pub fn put_policy_status(&mut self, id: &PolicyId, status: PolicyStatus) {
        if let Some(entry) = self.policies.get_mut(id) {
            entry.status = status;
        }
    }

    /// A policy is gone; the namespace is empty for a ClusterStoragePolicy.
    pub fn remove_policy(&mut self, namespace: &str, name: &str) -> Wake {
        let id = PolicyId {
            namespace: Arc::from(namespace),
            name: Arc::from(name),
        };
        if self.policies.remove(&id).is_none() {
            return Wake::new();
        }
        self.unresolve(namespace)
    }

    /// The ClusterStoragePolicies by which a person asks for the breaker of the whole fleet to be closed.
    #[must_use]
    pub fn asking_for_reset(&self) -> Vec<Arc<str>> {
        let asking = self
            .policies
            .iter()
            .filter(|(id, entry)| id.namespace.is_empty() && entry.reset_breaker);
        asking.map(|(id, _)| id.name.clone()).collect()
    }

    /// The labels of a namespace, or that it is gone.
    pub fn put_namespace(&mut self, name: &str, labels: Option<Labels>) -> Wake {
        let changed = match labels {
            Some(labels) => self.namespaces.insert(Arc::from(name), labels.clone()).as_ref() != Some(&labels),
            None => self.namespaces.remove(name).is_some(),
        };
        if changed { self.unresolve(name) } else { Wake::new() }
    }

    /// Every policy, each with the Clusters that it applies to and those for which it conflicts.
    pub fn policies(&mut self) -> Vec<(PolicyId, PolicyEntry, Matched)> {
        let empty = Labels::new();
        let mut report: BTreeMap<PolicyId, (PolicyEntry, Matched)> = self
            .policies
            .iter()
            .map(|(id, entry)| (id.clone(), (entry.clone(), Vec::new())))
            .collect();
        let mut keys = self.clusters();
        keys.sort();
        for key in keys {
            let Some(resolution) = self.resolution(&key) else { continue };
            let Some(labels) = self.slots.get(&key).and_then(|slot| slot.cluster.as_ref()?.labels.open()) else {
                continue;
            };
            let namespace_labels = self.namespaces.get(&key.namespace).unwrap_or(&empty);
            let identity = Identity {
                key: &key,
                labels: &labels,
                namespace_labels,
            };
            for (entry, clusters) in report.values_mut() {
                if !resolve::matching(&identity, std::iter::once(entry.policy.as_ref())).is_empty() {
                    clusters.push((key.clone(), resolution.clone()));
                }
            }
        }
        report.into_iter().map(|(id, (entry, clusters))| (id, entry, clusters)).collect()
    }

    /// The settings of a Cluster, from the cache where nothing that they rest on has changed.
    pub(super) fn resolution(&mut self, key: &ClusterKey) -> Option<Arc<Resolution>> {
        let slot = self.slots.get(key)?;
        let cluster = slot.cluster.as_ref()?;
        if let Some(known) = &slot.resolution {
            return Some(known.clone());
        }
        let empty = Labels::new();
        let labels = cluster.labels.open()?;
        let namespace_labels = self.namespaces.get(&key.namespace).unwrap_or(&empty);
        let identity = Identity {
            key,
            labels: &labels,
            namespace_labels,
        };
        let matching = resolve::matching(&identity, self.policies.values().map(|entry| entry.policy.as_ref()));
        let storage = slot.storage.as_ref().and_then(Packed::open);
        let own = storage
            .as_ref()
            .map(|storage| (Origin::postgres_storage(&key.namespace, &key.name), &storage.spec.settings));
        let own = own.as_ref().map(|(origin, settings)| (origin, *settings));
        let resolution = match &slot.storage_problem {
            Some(problem) => Resolution::Invalid(vec![problem.as_ref().clone()]),
            None => resolve::resolve(&matching, own, &self.defaults),
        };
        let resolution = self.shared_resolution(resolution);
        if let Some(slot) = self.slots.get_mut(key) {
            slot.resolution = Some(resolution.clone());
        }
        Some(resolution)
    }

    /// One copy of the same settings: most Clusters have those of a few policies, and nothing of their own.
    fn shared_resolution(&mut self, resolution: Resolution) -> Arc<Resolution> {
        if let Some(known) = self.resolutions.iter().find(|known| ***known == resolution) {
            return known.clone();
        }
        self.resolutions.retain(|known| Arc::strong_count(known) > 1);
        let resolution = Arc::new(resolution);
        if self.resolutions.len() < SHARED_RESOLUTIONS {
            self.resolutions.push(resolution.clone());
        }
        resolution
    }

    /// Forgets the cached settings of a namespace's Clusters, of all for the empty name.
    fn unresolve(&mut self, namespace: &str) -> Wake {
        self.matches_changed = true;
        let mut wake = Wake::new();
        for (key, slot) in &mut self.slots {
            if namespace.is_empty() || &*key.namespace == namespace {
                slot.resolution = None;
                if slot.cluster.is_some() {
                    wake.insert(key.clone());
                }
            }
        }
        wake
    }
}
