//! Pods of instances, and how PostgreSQL's container ended.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use csm_cnpg::{POSTGRES_CONTAINER, label};
use csm_core::disk_full::{Container, Ended};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{NamespaceResourceScope, Resource};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{ResourceVersion, shared, text};

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
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
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

/// The pod of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    pub uid: Arc<str>,
    pub resource_version: ResourceVersion,
    pub cluster: Arc<str>,
    pub node: Option<Arc<str>>,
    /// Its address.
    pub ip: Option<IpAddr>,
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
            ip: pod.status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
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
