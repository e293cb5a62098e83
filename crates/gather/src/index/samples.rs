//! Figures of filesystems, and which kubelets give them.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_core::world::ClusterKey;

use super::{Index, Sample, Wake, is_done, last_resize_at};
use crate::views::NodeView;

impl Index {
    /// New figures of PVCs, by namespace and name. A Cluster is woken where they cross something that the planner cares
    /// about: another percentage point, another size, a volume that had no figures or old ones, a volume that is followed.
    pub fn put_samples<'a>(
        &mut self,
        samples: impl Iterator<Item = ((&'a str, &'a str), Sample)>,
        stale_after: jiff::SignedDuration,
    ) -> Wake {
        let mut wake = Wake::new();
        for ((namespace, name), sample) in samples {
            let Some((key, slot, pvc)) = self.pvc(namespace, name) else {
                continue;
            };
            let followed = pvc.resize.is_some() || slot.events.values().any(|event| !is_done(event));
            let uid = pvc.uid.clone();
            let crossed = match self.samples.get(&uid) {
                None => true,
                // Figures from before the last resize are not fresh, however young they are.
                Some(before)
                    if last_resize_at(slot.events.values(), &slot.resized, &uid).is_some_and(|end| before.observation.at <= end) =>
                {
                    true
                }
                Some(before) => {
                    let percent = |s: &Sample| csm_units::Percent::used(s.observation.used, s.observation.available);
                    percent(before) != percent(&sample)
                        || before.observation.capacity != sample.observation.capacity
                        || before.twin != sample.twin
                        || sample.observation.at.duration_since(before.observation.at) > stale_after
                }
            };
            if crossed || followed {
                wake.insert(key);
            }
            self.samples.insert(uid, sample);
        }
        wake
    }

    /// The nodes that run instances, with where their kubelets are, and whether a resize is followed there.
    #[must_use]
    pub fn nodes_to_sample(&self) -> BTreeMap<Arc<str>, (Option<NodeView>, bool)> {
        let mut nodes: BTreeMap<Arc<str>, (Option<NodeView>, bool)> = BTreeMap::new();
        for slot in self.slots.values().filter(|slot| slot.cluster.is_some()) {
            let followed = slot.events.values().any(|event| !is_done(event));
            for node in slot.pods.values().filter_map(|pod| pod.node.as_ref()) {
                nodes
                    .entry(node.clone())
                    .or_insert_with(|| (self.nodes.get(node).cloned(), false))
                    .1 |= followed;
            }
        }
        nodes
    }

    /// Request and capacity of a PVC, by namespace and name: to tell volumes that share a filesystem.
    #[must_use]
    pub fn pvc_size(&self, namespace: &str, name: &str) -> Option<(csm_units::Bytes, csm_units::Bytes)> {
        let (_, _, pvc) = self.pvc(namespace, name)?;
        Some((pvc.request, pvc.capacity))
    }

    /// The Cluster that a PVC belongs to.
    #[must_use]
    pub fn cluster_of(&self, namespace: &str, pvc: &str) -> Option<ClusterKey> {
        self.pvc(namespace, pvc).map(|(key, ..)| key)
    }
}
