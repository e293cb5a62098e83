//! Figures of filesystems, and which kubelets give them.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_core::world::{ClusterKey, Observation, VolumeKey};
use csm_units::Bytes;

use super::{Index, Sample, Wake};
use crate::views::NodeView;

/// A PVC's figures as they are now.
#[derive(Clone, Debug)]
pub struct Figures {
    pub pvc: Arc<str>,
    pub instance: Arc<str>,
    pub size: Bytes,
    pub observation: Option<Observation>,
}

impl Index {
    /// New figures of PVCs, by namespace and name. A Cluster is woken where they cross something that the planner cares
    /// about: a threshold of its volume, another percentage point, another size, a volume that had no figures or old ones,
    /// a volume that is followed.
    pub fn put_samples<'a>(
        &mut self,
        samples: impl Iterator<Item = ((&'a str, &'a str), Sample)>,
        stale_after: jiff::SignedDuration,
    ) -> Wake {
        let mut wake = Wake::new();
        for ((namespace, name), sample) in samples {
            let Some((key, slot, claim)) = self.pvc(namespace, name) else {
                continue;
            };
            let followed = claim.resize.is_some() || slot.followed();
            let crossed = match &claim.sample {
                None => true,
                // Figures from before the last resize are not fresh, however young they are.
                Some(before) if slot.last_resize_at(claim).is_some_and(|end| before.observation.at <= end) => true,
                Some(before) => {
                    let percent = |s: &Sample| csm_units::Percent::used(s.observation.used, s.observation.available);
                    percent(before) != percent(&sample)
                        || before.observation.capacity != sample.observation.capacity
                        || before.twin != sample.twin
                        || slot.crosses(claim, &before.observation, &sample.observation)
                        || sample.observation.at.duration_since(before.observation.at) > stale_after
                }
            };
            let span = slot.span(claim);
            let known = slot.newest(claim);
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            if let Some(claim) = slot.pvcs.get_mut(name) {
                claim.sample = Some(sample);
                claim.history.push(&sample.observation, span);
            }
            slot.anchor(name);
            slot.track_sample(name);
            // The planner knows what came since the last sample, and may now know better.
            if crossed || followed || slot.estimate_crosses(name, known.as_ref()) {
                wake.insert(key);
            }
        }
        wake
    }

    /// The nodes that run instances, with where their kubelets are, and whether a resize is followed there.
    #[must_use]
    pub fn nodes_to_sample(&self) -> BTreeMap<Arc<str>, (Option<NodeView>, bool)> {
        let mut nodes: BTreeMap<Arc<str>, (Option<NodeView>, bool)> = BTreeMap::new();
        for slot in self.slots.values().filter(|slot| slot.cluster.is_some()) {
            let followed = slot.followed();
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
    pub fn pvc_size(&self, namespace: &str, name: &str) -> Option<(Bytes, Bytes)> {
        let (_, _, pvc) = self.pvc(namespace, name)?;
        Some((pvc.request, pvc.capacity))
    }

    /// The PVCs of a Cluster's volume, by name, with their newest figures.
    #[must_use]
    pub fn figures(&self, key: &ClusterKey, volume: &VolumeKey) -> Vec<Figures> {
        let claims = self.slots.get(key).into_iter().flat_map(|slot| slot.pvcs.iter());
        let of_volume = claims.filter(|(_, claim)| claim.volume == *volume);
        let figures = of_volume.map(|(name, claim)| Figures {
            pvc: name.clone(),
            instance: claim.instance.clone(),
            size: claim.capacity,
            observation: claim.sample.map(|sample| sample.observation),
        });
        figures.collect()
    }
}
