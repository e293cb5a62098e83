//! The size that a PVC which somebody creates is to be born with.

use csm_core::birth;
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Index;
use crate::views::{PvcView, cluster_key};
use crate::world::{VolumeSettings, class_of, no_class, without_members, world};

/// The group of CloudNativePG's Clusters.
const CNPG_GROUP: &str = "postgresql.cnpg.io/";

/// A PVC that is to ask for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raise {
    /// What it asks for.
    pub from: Bytes,
    /// What it is to ask for: more.
    pub to: Bytes,
}

impl Index {
    /// How a PVC that is about to be made in `namespace` is to differ; none where it is not CloudNativePG's own for a Cluster that is
    /// known and managed, or asks for enough.
    ///
    /// Its size stays within its own `limits`, so that what we add never makes it invalid.
    #[must_use]
    pub fn raise(&mut self, namespace: &str, pvc: &PersistentVolumeClaim, settings: &VolumeSettings, now: Timestamp) -> Option<Raise> {
        let view = PvcView::of(pvc)?;
        let snapshot = self.snapshot(&cluster_key(namespace, &view.cluster))?;
        // Of this very Cluster: one of the same name may have been there before, and a backup may bring back PVCs of that.
        let owners = pvc.metadata.owner_references.iter().flatten();
        let mut clusters = owners.filter(|o| o.kind == "Cluster" && o.api_version.starts_with(CNPG_GROUP));
        if view.request.is_zero() || !clusters.any(|owner| *owner.uid == *snapshot.cluster.uid) {
            return None;
        }
        let world = world(&snapshot, settings, now);
        let known = world.volumes.iter().find(|v| v.key == view.volume).cloned();
        let volume = known.unwrap_or_else(|| without_members(&snapshot, &view.volume, settings, now));
        let class = match &view.class {
            Some(name) => class_of(name, self.class(name), settings),
            None => no_class(),
        };
        let most = limit(pvc).unwrap_or(Bytes::MAX);
        let to = birth::raised(&world, &volume, &class, view.request, now)?.min(most);
        (to > view.request).then_some(Raise { from: view.request, to })
    }
}

/// What its `limits` allow; what cannot be read allows nothing.
fn limit(pvc: &PersistentVolumeClaim) -> Option<Bytes> {
    let Quantity(text) = pvc.spec.as_ref()?.resources.as_ref()?.limits.as_ref()?.get("storage")?;
    Some(text.parse().unwrap_or(Bytes::ZERO))
}
