//! PostgresStorages: settings of single Clusters, and their status as it was written last.

use csm_api::PostgresStorage;
use csm_core::validate::Problem;
use csm_core::world::ClusterKey;
use kube::ResourceExt;

use super::{Index, Wake};
use crate::compact::Packed;
use crate::views::{ResourceVersion, cluster_key};

impl Index {
    /// A PostgresStorage is like this now.
    pub fn put_storage(&mut self, mut storage: PostgresStorage) -> Wake {
        let key = self.key(&storage.namespace().unwrap_or_default(), &storage.name_any());
        storage.metadata.managed_fields = None;
        self.put_any_storage(&key, storage, None)
    }

    /// `problem` is what cannot be read of its spec.
    pub(super) fn put_any_storage(&mut self, key: &ClusterKey, storage: PostgresStorage, problem: Option<Problem>) -> Wake {
        let slot = self.slots.entry(key.clone()).or_default();
        if let Some(before) = slot.storage.as_ref().and_then(Packed::open)
            && before.metadata.uid == storage.metadata.uid
        {
            if ResourceVersion::of(&before.metadata) > ResourceVersion::of(&storage.metadata) {
                return Wake::new();
            }
            if before.spec == storage.spec && slot.storage_problem.as_deref() == problem.as_ref() {
                // Our own status comes back: nothing to decide anew. Another one is not what is to stand there: a write that was
                // given up can come late, and overwrite the one that was made in its place.
                let known = before.status == storage.status;
                if *before != storage {
                    slot.storage = Some(Packed::new(storage));
                }
                return if known { Wake::new() } else { self.touched(key) };
            }
        }
        slot.has_settings = !storage.spec.settings.is_empty();
        slot.storage = Some(Packed::new(storage));
        slot.storage_problem = problem.map(Box::new);
        slot.resolution = None;
        self.touched(key)
    }

    /// A PostgresStorage is gone.
    pub fn remove_storage(&mut self, namespace: &str, name: &str) -> Wake {
        let key = cluster_key(namespace, name);
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.storage = None;
            slot.has_settings = false;
            slot.storage_problem = None;
            slot.resolution = None;
        }
        self.touched(&key)
    }
}
