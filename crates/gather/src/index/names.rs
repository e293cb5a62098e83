//! Which objects the index knows.

use std::sync::Arc;

use super::{Index, Slot};

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Cluster,
    Pvc,
    Pod,
    StorageEvent,
    PostgresStorage,
    StoragePolicy,
    ClusterStoragePolicy,
    Namespace,
    StorageClass,
    Quota,
    Node,
}

/// Namespace, empty where there is none, and name.
pub type ObjectName = (Arc<str>, Arc<str>);

impl Index {
    /// All objects of a kind.
    #[must_use]
    pub fn names(&self, kind: Kind) -> Vec<ObjectName> {
        let none: Arc<str> = Arc::from("");
        let cluster_wide = |name: &Arc<str>| (none.clone(), name.clone());
        match kind {
            Kind::Cluster => self.own(|slot| slot.cluster.is_some() || slot.is_unreadable),
            Kind::PostgresStorage => self.own(|slot| slot.storage.is_some()),
            Kind::Pvc => self.parts(|slot| slot.pvcs.keys()),
            Kind::Pod => self.parts(|slot| slot.pods.keys()),
            Kind::StorageEvent => {
                let mut names = self.parts(|slot| slot.events.keys());
                names.extend(self.fleet.record_names());
                names
            }
            Kind::StoragePolicy | Kind::ClusterStoragePolicy => {
                let ids = self
                    .policies
                    .keys()
                    .filter(|id| id.namespace.is_empty() == (kind == Kind::ClusterStoragePolicy));
                ids.map(|id| (id.namespace.clone(), id.name.clone())).collect()
            }
            Kind::Namespace => self.namespaces.keys().map(cluster_wide).collect(),
            Kind::Quota => {
                let quotas = self.quotas.iter();
                quotas
                    .flat_map(|(namespace, names)| names.keys().map(|name| (namespace.clone(), name.clone())))
                    .collect()
            }
            Kind::StorageClass => self.classes.keys().map(cluster_wide).collect(),
            Kind::Node => self.nodes.keys().map(cluster_wide).collect(),
        }
    }

    /// Objects that have their Cluster's name.
    fn own(&self, has: impl Fn(&Slot) -> bool) -> Vec<ObjectName> {
        let slots = self.slots.iter().filter(|(_, slot)| has(slot));
        slots.map(|(key, _)| (key.namespace.clone(), key.name.clone())).collect()
    }

    /// Objects that stand in their Cluster's namespace.
    fn parts<'a, I: Iterator<Item = &'a Arc<str>>>(&'a self, names: impl Fn(&'a Slot) -> I) -> Vec<ObjectName> {
        let slots = self.slots.iter();
        slots
            .flat_map(|(key, slot)| names(slot).map(|name| (key.namespace.clone(), name.clone())))
            .collect()
    }
}
