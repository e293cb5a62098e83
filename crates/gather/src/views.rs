//! What the index keeps of Kubernetes objects: compact views of our own, not whole objects.
//!
//! Pods and nodes are decoded narrowly, since most of their text (images, managed fields, environments) is of no use here.

/// A kind of the core group that is decoded by hand.
macro_rules! narrow {
    ($name:ident, $kind:literal, $plural:literal, $scope:ty) => {
        impl Resource for $name {
            type DynamicType = ();
            type Scope = $scope;
            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                "".into()
            }
            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

mod cluster;
mod node;
mod pod;
mod pvc;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{Growth, Trigger};
use csm_core::admit;
use csm_core::world::{ClusterKey, VolumeKey};
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, Resource};
use serde::Deserialize;

pub use cluster::{ClusterView, WRITTEN, size_field};
pub use node::{NodeObject, NodeView};
pub use pod::{DownView, PodObject, PodView};
pub use pvc::PvcView;

/// Labels, sorted by name.
pub type Labels = BTreeMap<String, String>;

/// What is decoded of a Namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceObject {
    metadata: ObjectMeta,
}
narrow!(NamespaceObject, "Namespace", "namespaces", ClusterResourceScope);

/// A storage class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassView {
    pub provisioner: Arc<str>,
    pub expandable: bool,
}

impl ClassView {
    pub fn of(class: &StorageClass) -> Self {
        Self {
            provisioner: shared(&class.provisioner),
            expandable: class.allow_volume_expansion.unwrap_or(false),
        }
    }
}

/// Position in the API server's history. Kubernetes 1.35 defines that versions of one resource are ordered; a
/// version that is no number counts as the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceVersion(pub u64);

impl ResourceVersion {
    pub fn of(meta: &ObjectMeta) -> Self {
        Self(meta.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(u64::MAX))
    }
}

fn text(value: Option<&String>) -> Arc<str> {
    value.map_or_else(|| Arc::from(""), |v| Arc::from(v.as_str()))
}

/// Whether a person asks for a circuit breaker to be closed: that of the Cluster, or on a policy the one of the whole fleet.
#[must_use]
pub fn asks_for_reset(metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations
        .and_then(|a| a.get(csm_api::annotation::RESET_CIRCUIT_BREAKER))
        .map(String::as_str)
        == Some("true")
}

fn shared(value: &str) -> Arc<str> {
    Arc::from(value)
}

/// The labels of a namespace.
pub fn namespace_labels(namespace: &NamespaceObject) -> Labels {
    namespace.metadata.labels.clone().unwrap_or_default()
}

/// The volume that a growth is of.
pub fn volume_of(event: &Growth) -> VolumeKey {
    VolumeKey {
        role: event.spec.volume.role,
        tablespace: event.spec.volume.tablespace.as_deref().map(shared),
    }
}

/// When a growth began: as its status says, or else its creation.
pub fn started_at(event: &Growth) -> Timestamp {
    let status = event.status.as_ref().and_then(|s| s.start_time.as_ref());
    status
        .or(event.metadata.creation_timestamp.as_ref())
        .map_or(Timestamp::UNIX_EPOCH, |t| t.0)
}

/// Whether a growth has begun: what a person asks for has not before it is admitted.
pub fn has_begun(event: &Growth) -> bool {
    event.spec.trigger != Trigger::Manual || admit::is_admitted(event)
}

/// Whether a growth has begun, and has not ended.
pub fn is_under_way(event: &Growth) -> bool {
    has_begun(event) && !event.is_done()
}

/// When a growth last got on: it began, or a step of one of its PVCs was done.
pub fn last_progress(event: &Growth) -> Timestamp {
    let pvcs = event.status.iter().flat_map(|status| &status.pvc_statuses);
    let steps = pvcs.flat_map(|pvc| [&pvc.patched_at, &pvc.controller_done_at, &pvc.filesystem_resized]);
    let last = steps.flatten().map(|step| step.0).max();
    last.map_or(started_at(event), |last| last.max(started_at(event)))
}

/// The key of a namespaced object's Cluster.
pub fn cluster_key(namespace: &str, name: &str) -> ClusterKey {
    ClusterKey {
        namespace: shared(namespace),
        name: shared(name),
    }
}
