//! PVCs of instances, and how far their resizes have come.

use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::Role;
use csm_cnpg::{read_volume_labels, role};
use csm_core::world::{Resize, ResizeStage, VolumeKey};
use csm_units::Bytes;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{ResourceVersion, shared, text};

/// A PVC of an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct PvcView {
    pub uid: Arc<str>,
    pub resource_version: ResourceVersion,
    pub cluster: Arc<str>,
    pub instance: Arc<str>,
    pub volume: VolumeKey,
    pub class: Option<Arc<str>>,
    pub request: Bytes,
    pub capacity: Bytes,
    pub bound: bool,
    pub block: bool,
    pub resize: Option<Resize>,
    /// The operation that asks no more for it.
    pub withdrawn: Option<Arc<str>>,
}

impl PvcView {
    /// The view of a PVC that CloudNativePG made for an instance; none for others.
    pub fn of(pvc: &PersistentVolumeClaim) -> Option<Self> {
        let meta = &pvc.metadata;
        let labels = read_volume_labels(meta.labels.as_ref()?)?;
        let role = match labels.role {
            role::DATA => Role::Data,
            role::WAL => Role::Wal,
            _ => Role::Tablespace,
        };
        let (spec, status) = (pvc.spec.as_ref()?, pvc.status.as_ref());
        // A size that Kubernetes accepted and that we cannot read would be a bug of ours; it counts as zero, and grows nothing.
        let read = |map: Option<&BTreeMap<String, Quantity>>| {
            map.and_then(|m| m.get("storage"))
                .and_then(|q| q.0.parse::<Bytes>().ok())
                .unwrap_or(Bytes::ZERO)
        };
        Some(Self {
            uid: text(meta.uid.as_ref()),
            resource_version: ResourceVersion::of(meta),
            cluster: shared(labels.cluster),
            instance: shared(labels.instance),
            volume: VolumeKey {
                role,
                tablespace: labels.tablespace.map(shared),
            },
            class: spec.storage_class_name.as_deref().map(shared),
            request: read(spec.resources.as_ref().and_then(|r| r.requests.as_ref())),
            capacity: read(status.and_then(|s| s.capacity.as_ref())),
            bound: status.and_then(|s| s.phase.as_deref()) == Some("Bound") && meta.deletion_timestamp.is_none(),
            block: spec.volume_mode.as_deref() == Some("Block"),
            resize: status.and_then(read_resize),
            withdrawn: meta
                .annotations
                .as_ref()
                .and_then(|a| a.get(csm_api::RESIZE_WITHDRAWN))
                .map(|n| shared(n)),
        })
    }
}

/// What a PVC's status says of a resize (Kubernetes, KEP-1790 and KEP-3751).
fn read_resize(status: &PersistentVolumeClaimStatus) -> Option<Resize> {
    let allocated = status
        .allocated_resource_statuses
        .as_ref()
        .and_then(|s| s.get("storage"))
        .map(String::as_str);
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let condition = |name: &str| conditions.iter().find(|c| c.type_ == name && c.status == "True");
    let stage = match allocated {
        Some("ControllerResizeInfeasible") => ResizeStage::ControllerInfeasible,
        Some("NodeResizeInfeasible") => ResizeStage::NodeInfeasible,
        Some("NodeResizePending") => ResizeStage::NodePending,
        Some("NodeResizeInProgress") => ResizeStage::Node,
        Some(_) => ResizeStage::Controller,
        None if condition("FileSystemResizePending").is_some() => ResizeStage::NodePending,
        None if condition("Resizing").is_some() => ResizeStage::Controller,
        None => return None,
    };
    let since = conditions
        .iter()
        .filter(|c| c.status == "True" && matches!(c.type_.as_str(), "Resizing" | "FileSystemResizePending"))
        .filter_map(|c| c.last_transition_time.as_ref().map(|t| t.0))
        .max();
    let error = condition("ControllerResizeError")
        .or_else(|| condition("NodeResizeError"))
        .and_then(|c| c.message.as_deref())
        .map(shared);
    let allocated = status.allocated_resources.as_ref().and_then(|sizes| sizes.get("storage"));
    Some(Resize {
        since,
        stage,
        error,
        allocated: allocated.and_then(|size| size.0.parse().ok()),
    })
}
