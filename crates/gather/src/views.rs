//! What the index keeps of Kubernetes objects: compact views of our own, not whole objects.
//!
//! Pods and nodes are decoded narrowly, since most of their text (images, managed fields, environments) is of no use here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use csm_api::{Growth, Role};
use csm_cnpg::{POSTGRES_CONTAINER, annotation, label, read_volume_labels, role};
use csm_core::disk_full::{Container, Ended};
use csm_core::world::{ClusterKey, Fencing, Pause, Resize, ResizeStage, VolumeKey};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope, Resource};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::compact::{Packed, SmallMap};

/// Labels, sorted by name.
pub type Labels = BTreeMap<String, String>;

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

/// What is decoded of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodObject {
    metadata: ObjectMeta,
    spec: PodObjectSpec,
    status: PodObjectStatus,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodObjectSpec {
    node_name: Option<String>,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodObjectStatus {
    container_statuses: Option<Vec<ContainerObject>>,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerObject {
    name: String,
    ready: bool,
    restart_count: Option<i64>,
    state: ContainerStateObject,
    last_state: ContainerStateObject,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStateObject {
    running: Option<IgnoredAny>,
    waiting: Option<WaitingObject>,
    terminated: Option<TerminatedObject>,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WaitingObject {
    reason: Option<String>,
    message: Option<String>,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TerminatedObject {
    exit_code: i32,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}
narrow!(PodObject, "Pod", "pods", NamespaceResourceScope);

/// What is decoded of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeObject {
    metadata: ObjectMeta,
    status: NodeObjectStatus,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeObjectStatus {
    addresses: Option<Vec<AddressObject>>,
    daemon_endpoints: Option<DaemonEndpointsObject>,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AddressObject {
    #[serde(rename = "type")]
    type_: String,
    address: String,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DaemonEndpointsObject {
    kubelet_endpoint: Option<EndpointObject>,
}
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EndpointObject {
    port: Option<u16>,
}
narrow!(NodeObject, "Node", "nodes", ClusterResourceScope);

/// What is decoded of a Namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceObject {
    metadata: ObjectMeta,
}
narrow!(NamespaceObject, "Namespace", "namespaces", ClusterResourceScope);

/// A CNPG Cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterView {
    pub uid: Arc<str>,
    pub resource_version: ResourceVersion,
    /// Read where its settings are resolved.
    pub labels: Packed<Labels>,
    pub deleting: bool,
    pub hibernated: bool,
    pub pause: Pause,
    pub pause_reason: Option<Arc<str>>,
    /// A person asks for its circuit breaker to be closed.
    pub reset_breaker: bool,
    pub fencing: Fencing,
    pub resize_in_use_volumes: bool,
    pub primary: Option<Arc<str>>,
    /// CloudNativePG says that there is not enough disk space.
    pub disk_full: bool,
    /// The sizes that its spec asks for.
    pub spec_sizes: SmallMap<VolumeKey, Bytes>,
    /// Our own annotations, as they stand.
    pub written: SmallMap<&'static str, String>,
}

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
}

/// The pod of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    pub uid: Arc<str>,
    pub resource_version: ResourceVersion,
    pub cluster: Arc<str>,
    pub node: Option<Arc<str>>,
    /// Whether a container runs: the kubelet reports no volumes of a pod without.
    pub running: bool,
    /// Whether PostgreSQL's container is ready.
    pub ready: bool,
    /// PostgreSQL's container, where it is not ready and has ended before.
    pub down: Option<Arc<DownView>>,
    /// The operations for which the pod was nudged.
    pub nudged: Option<Arc<str>>,
}

/// PostgreSQL's container of a pod, while it is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownView {
    pub container: Container,
    /// It was another container that ended than the one that the pod shows now: its log is the previous one.
    pub previous: bool,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Addresses as (type, address).
    pub addresses: Vec<(Arc<str>, Arc<str>)>,
    /// The kubelet's port, where the node says it.
    pub port: Option<u16>,
}

/// A storage class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassView {
    pub provisioner: Arc<str>,
    pub expandable: bool,
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

impl ClusterView {
    pub fn of(cluster: &csm_cnpg::Cluster) -> Self {
        let meta = &cluster.metadata;
        let get = |name: &str| meta.annotations.as_ref().and_then(|a| a.get(name)).map(String::as_str);
        let mut spec_sizes = SmallMap::default();
        let mut add = |key: VolumeKey, storage: Option<&csm_cnpg::StorageConfiguration>| {
            if let Some(size) = storage.and_then(|s| s.requested_size()).and_then(|s| s.parse::<Bytes>().ok()) {
                spec_sizes.insert(key, size);
            }
        };
        add(
            VolumeKey {
                role: Role::Data,
                tablespace: None,
            },
            cluster.spec.storage.as_ref(),
        );
        add(
            VolumeKey {
                role: Role::Wal,
                tablespace: None,
            },
            cluster.spec.wal_storage.as_ref(),
        );
        for tablespace in cluster.spec.tablespaces.iter().flatten() {
            add(
                VolumeKey {
                    role: Role::Tablespace,
                    tablespace: Some(shared(&tablespace.name)),
                },
                tablespace.storage.as_ref(),
            );
        }
        let written = WRITTEN
            .iter()
            .filter_map(|name| get(name).map(|value| (*name, value.to_owned())))
            .collect();
        Self {
            uid: text(meta.uid.as_ref()),
            resource_version: ResourceVersion::of(meta),
            labels: Packed::new(meta.labels.clone().unwrap_or_default()),
            deleting: meta.deletion_timestamp.is_some(),
            hibernated: get(annotation::HIBERNATION) == Some("on"),
            pause: Pause::read(get(csm_api::annotation::PAUSED), get(csm_api::annotation::PAUSE_UNTIL)),
            reset_breaker: asks_for_reset(meta),
            pause_reason: get(csm_api::annotation::PAUSE_REASON).map(shared),
            fencing: Fencing::read(get(annotation::FENCED_INSTANCES)),
            resize_in_use_volumes: cluster.spec.storage.as_ref().and_then(|s| s.resize_in_use_volumes).unwrap_or(true),
            primary: cluster.status.current_primary.as_deref().filter(|p| !p.is_empty()).map(shared),
            disk_full: cluster.status.phase.as_deref() == Some(csm_cnpg::phase::NOT_ENOUGH_DISK_SPACE),
            spec_sizes,
            written,
        }
    }
}

/// The field of a Cluster that says how large a volume is; none where there is none.
#[must_use]
pub fn size_field(cluster: &csm_cnpg::Cluster, volume: &VolumeKey) -> Option<csm_cnpg::SizeField> {
    let role = match volume.role {
        Role::Data => role::DATA,
        Role::Wal => role::WAL,
        Role::Tablespace => role::TABLESPACE,
    };
    cluster.size_field(role, volume.tablespace.as_deref())
}

/// The annotations that we write to a Cluster.
pub const WRITTEN: [&str; 6] = [
    csm_api::annotation::MANAGED,
    csm_api::annotation::TARGET_SIZE,
    csm_api::annotation::EXPANSION_REQUESTED,
    csm_api::annotation::EXPANSION_REASON,
    csm_api::annotation::LAST_CHECK,
    csm_api::annotation::CURRENT_USAGE_PERCENT,
];

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
        let read = |map: Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
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
        })
    }
}

/// What a PVC's status says of a resize (Kubernetes, KEP-1790 and KEP-3751).
fn read_resize(status: &k8s_openapi::api::core::v1::PersistentVolumeClaimStatus) -> Option<Resize> {
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

impl PodView {
    /// The view of an instance's pod; none for others.
    pub fn of(pod: &PodObject) -> Option<Self> {
        let labels = pod.metadata.labels.as_ref()?;
        labels.get(label::INSTANCE_NAME)?;
        let annotations = pod.metadata.annotations.as_ref();
        let containers = || pod.status.container_statuses.iter().flatten();
        let postgres = containers().find(|c| c.name == POSTGRES_CONTAINER);
        Some(Self {
            uid: text(pod.metadata.uid.as_ref()),
            resource_version: ResourceVersion::of(&pod.metadata),
            cluster: shared(labels.get(label::CLUSTER)?),
            node: pod.spec.node_name.as_deref().filter(|n| !n.is_empty()).map(shared),
            running: containers().any(|c| c.state.running.is_some()),
            ready: postgres.is_some_and(|c| c.ready),
            down: postgres.filter(|c| !c.ready).and_then(down).map(Arc::new),
            nudged: annotations.and_then(|a| a.get(csm_api::RESIZE_REQUESTED)).map(|n| shared(n)),
        })
    }
}

/// How a container ended that is not ready: now, or the last time.
fn down(container: &ContainerObject) -> Option<DownView> {
    let ContainerObject { state, last_state, .. } = container;
    let ended = state.terminated.as_ref().or(last_state.terminated.as_ref())?;
    let waiting = state.waiting.as_ref().filter(|w| w.reason.as_deref() == Some("CrashLoopBackOff"));
    Some(DownView {
        container: Container {
            ended: Ended {
                exit_code: ended.exit_code,
                started_at: ended.started_at,
                finished_at: ended.finished_at,
                id: text(ended.container_id.as_ref()),
            },
            restarts: container.restart_count.map_or(0, |n| u32::try_from(n.max(0)).unwrap_or(u32::MAX)),
            running: state.running.is_some(),
            back_off: waiting.and_then(|w| back_off(w.message.as_deref()?)),
        },
        previous: state.terminated.is_none(),
    })
}

/// The pause in the kubelet's words, such as "back-off 1m20s restarting failed container=postgres pod=…"
/// (`pkg/kubelet/kuberuntime/kuberuntime_manager.go`, `doBackOff`).
fn back_off(message: &str) -> Option<SignedDuration> {
    let mut words = message.strip_prefix("back-off ")?.split(' ');
    words.next()?.parse().ok()
}

impl NodeView {
    pub fn of(node: &NodeObject) -> Self {
        let addresses = node.status.addresses.iter().flatten();
        Self {
            addresses: addresses.map(|a| (shared(&a.type_), shared(&a.address))).collect(),
            port: node
                .status
                .daemon_endpoints
                .as_ref()
                .and_then(|d| d.kubelet_endpoint.as_ref())
                .and_then(|e| e.port)
                .filter(|p| *p != 0),
        }
    }
}

impl ClassView {
    pub fn of(class: &StorageClass) -> Self {
        Self {
            provisioner: shared(&class.provisioner),
            expandable: class.allow_volume_expansion.unwrap_or(false),
        }
    }
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

/// The key of a namespaced object's Cluster.
pub fn cluster_key(namespace: &str, name: &str) -> ClusterKey {
    ClusterKey {
        namespace: shared(namespace),
        name: shared(name),
    }
}
