//! The objects of a scenario, as Kubernetes and CloudNativePG 1.30 write them.
//!
//! Labels, annotations and names follow `pkg/specs` and `pkg/reconciler/persistentvolumeclaim` of CloudNativePG.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use csm_cnpg::{label, role};
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::EXPANDABLE;
use crate::nodesim::exec;

/// The CSI driver that simulated volumes belong to.
pub const DRIVER: &str = "csi.simulated.test";
/// What CloudNativePG's operator calls itself.
const OPERATOR_VERSION: &str = "1.30.0";
const POSTGRES_IMAGE: &str = "ghcr.io/cloudnative-pg/postgresql:18.1-system-trixie";
const POSTGRES_MAJOR: &str = "18";

/// A Kubernetes object from its JSON; an error means that a scenario is wrong.
pub fn typed<K: DeserializeOwned>(value: Value) -> Result<K> {
    let text = value.to_string();
    serde_json::from_value(value).with_context(|| format!("not a valid object: {text}"))
}

pub fn storage_class(name: &str, expandable: bool, default: bool) -> Value {
    json!({
        "metadata": {
            "name": name,
            "annotations": { "storageclass.kubernetes.io/is-default-class": default.to_string() },
        },
        "provisioner": DRIVER,
        "allowVolumeExpansion": expandable,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    })
}

pub fn node(name: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" } } })
}

pub fn node_status(name: &str, kubelet: SocketAddr, ready: bool) -> Value {
    let now = Timestamp::now();
    let (status, reason) = if ready {
        ("True", "KubeletReady")
    } else {
        ("Unknown", "NodeStatusUnknown")
    };
    json!({
        "addresses": [
            { "type": "InternalIP", "address": kubelet.ip() },
            { "type": "Hostname", "address": name },
        ],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet.port() } },
        "conditions": [{
            "type": "Ready", "status": status, "reason": reason,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
        "declaredFeatures": [exec::FEATURE],
        "capacity": { "cpu": "8", "memory": "32Gi", "pods": "250" },
        "allocatable": { "cpu": "8", "memory": "32Gi", "pods": "250" },
        "nodeInfo": {
            "kubeletVersion": "v1.36.3", "osImage": "simulated", "operatingSystem": "linux", "architecture": "amd64",
            "kernelVersion": "6.12", "containerRuntimeVersion": "simulated://1", "kubeProxyVersion": "",
            "machineID": "", "systemUUID": "", "bootID": "",
        },
    })
}

/// A tablespace's name as part of object names (`convertPostgresIDToK8sName`).
fn tablespace_part(name: &str) -> String {
    let name = name.strip_prefix('_').map_or_else(|| name.to_owned(), |rest| format!("1{rest}"));
    name.replace(['$', '_'], "-").to_lowercase()
}

/// What a volume of an instance is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// PGDATA.
    Data,
    /// The WAL volume.
    Wal,
    /// A tablespace, by name.
    Tablespace(String),
}

impl Purpose {
    pub fn role(&self) -> &'static str {
        match self {
            Self::Data => role::DATA,
            Self::Wal => role::WAL,
            Self::Tablespace(_) => role::TABLESPACE,
        }
    }

    /// Name of the PVC of an instance.
    pub fn claim(&self, instance: &str) -> String {
        match self {
            Self::Data => instance.to_owned(),
            Self::Wal => format!("{instance}-wal"),
            Self::Tablespace(name) => format!("{instance}-tbs-{}", tablespace_part(name)),
        }
    }

    /// Name of the volume in the pod.
    fn volume(&self) -> String {
        match self {
            Self::Data => "pgdata".to_owned(),
            Self::Wal => "pg-wal".to_owned(),
            Self::Tablespace(name) => format!("tbs-{}", tablespace_part(name)),
        }
    }

    fn mount(&self) -> String {
        match self {
            Self::Data => "/var/lib/postgresql/data".to_owned(),
            Self::Wal => "/var/lib/postgresql/wal".to_owned(),
            Self::Tablespace(name) => format!("/var/lib/postgresql/tablespaces/{name}"),
        }
    }
}

/// An instance and the cluster that it belongs to.
pub struct Instance<'a> {
    pub namespace: &'a str,
    pub cluster: &'a str,
    pub cluster_uid: &'a str,
    pub name: &'a str,
    pub serial: usize,
    pub primary: bool,
    pub node: &'a str,
}

impl Instance<'_> {
    pub fn role(&self) -> &'static str {
        if self.primary { "primary" } else { "replica" }
    }

    fn owner(&self) -> Value {
        json!([{
            "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": self.cluster, "uid": self.cluster_uid,
            "controller": true, "blockOwnerDeletion": true,
        }])
    }

    fn labels(&self) -> Value {
        json!({
            label::CLUSTER: self.cluster,
            label::INSTANCE_NAME: self.name,
            label::INSTANCE_ROLE: self.role(),
            "role": self.role(),
            "app.kubernetes.io/managed-by": "cloudnative-pg",
            "app.kubernetes.io/name": "postgresql",
            "app.kubernetes.io/component": "database",
        })
    }

    pub fn pvc(&self, purpose: &Purpose, size: Bytes, class: &str) -> Value {
        let claim = purpose.claim(self.name);
        let mut labels = self.labels();
        labels[label::PVC_ROLE] = purpose.role().into();
        if let Purpose::Tablespace(name) = purpose {
            labels[label::TABLESPACE_NAME] = name.as_str().into();
        }
        json!({
            "metadata": {
                "name": claim,
                "namespace": self.namespace,
                "labels": labels,
                "annotations": {
                    "cnpg.io/pvcStatus": "ready",
                    "cnpg.io/nodeSerial": self.serial.to_string(),
                    "cnpg.io/operatorVersion": OPERATOR_VERSION,
                    "pv.kubernetes.io/bind-completed": "yes",
                    "pv.kubernetes.io/bound-by-controller": "yes",
                    "volume.kubernetes.io/selected-node": self.node,
                    "volume.kubernetes.io/storage-provisioner": DRIVER,
                },
                "ownerReferences": self.owner(),
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": class,
                "volumeMode": "Filesystem",
                "volumeName": self.pv_name(purpose),
                "resources": { "requests": { "storage": size.to_string() } },
            },
        })
    }

    pub fn pv_name(&self, purpose: &Purpose) -> String {
        format!("pv-{}-{}", self.namespace, purpose.claim(self.name))
    }

    pub fn pv(&self, purpose: &Purpose, size: Bytes, class: &str, claim_uid: &str) -> Value {
        let name = self.pv_name(purpose);
        json!({
            "metadata": { "name": name, "annotations": { "pv.kubernetes.io/provisioned-by": DRIVER } },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": { "storage": size.to_string() },
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                    "namespace": self.namespace, "name": purpose.claim(self.name), "uid": claim_uid,
                },
                "csi": { "driver": DRIVER, "volumeHandle": name, "fsType": "xfs" },
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": class,
                "volumeMode": "Filesystem",
            },
        })
    }

    pub fn pod(&self, purposes: &[Purpose]) -> Value {
        let mut labels = self.labels();
        labels[label::POD_ROLE] = "instance".into();
        labels["app.kubernetes.io/instance"] = self.cluster.into();
        labels["app.kubernetes.io/version"] = POSTGRES_MAJOR.into();
        let claim = |purpose: &Purpose| {
            let claim = purpose.claim(self.name);
            json!({ "name": purpose.volume(), "persistentVolumeClaim": { "claimName": claim } })
        };
        let mount = |purpose: &Purpose| json!({ "name": purpose.volume(), "mountPath": purpose.mount() });
        let mut volumes: Vec<Value> = purposes.iter().map(claim).collect();
        volumes.push(json!({ "name": "scratch-data", "emptyDir": {} }));
        volumes.push(json!({ "name": "shm", "emptyDir": { "medium": "Memory" } }));
        let mut mounts: Vec<Value> = purposes.iter().map(mount).collect();
        mounts.push(json!({ "name": "scratch-data", "mountPath": "/run" }));
        mounts.push(json!({ "name": "scratch-data", "mountPath": "/controller" }));
        mounts.push(json!({ "name": "shm", "mountPath": "/dev/shm" }));
        json!({
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": labels,
                "annotations": {
                    "cnpg.io/nodeSerial": self.serial.to_string(),
                    "cnpg.io/operatorVersion": OPERATOR_VERSION,
                },
                "ownerReferences": self.owner(),
            },
            "spec": {
                "nodeName": self.node,
                "hostname": self.name,
                "serviceAccountName": self.cluster,
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 1800,
                "containers": [{
                    "name": "postgres",
                    "image": POSTGRES_IMAGE,
                    "command": ["/controller/manager", "instance", "run", "--status-port-tls"],
                    "ports": [
                        { "name": "postgresql", "containerPort": 5432 },
                        { "name": "metrics", "containerPort": 9187 },
                        { "name": "status", "containerPort": 8000 },
                    ],
                    "volumeMounts": mounts,
                }],
                "volumes": volumes,
            },
        })
    }
}

/// The status of a pod whose one container is in this state.
pub fn pod_status(node_address: Option<SocketAddr>, state: &Value, last_state: &Value, ready: bool, restarts: i32) -> Value {
    let now = Timestamp::now();
    let status = if ready { "True" } else { "False" };
    let condition = |type_: &str, status: &str| json!({ "type": type_, "status": status, "lastTransitionTime": now });
    json!({
        "phase": "Running",
        "hostIP": node_address.map(|address| address.ip()),
        "startTime": now,
        "conditions": [
            condition("PodScheduled", "True"), condition("Initialized", "True"),
            condition("ContainersReady", status), condition("Ready", status),
        ],
        "containerStatuses": [{
            "name": "postgres",
            "image": POSTGRES_IMAGE,
            "imageID": "",
            "ready": ready,
            "started": ready,
            "restartCount": restarts,
            "state": state,
            "lastState": last_state,
        }],
    })
}

/// Status of a bound PVC.
pub fn pvc_status(size: Bytes) -> Value {
    json!({ "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": { "storage": size.to_string() } })
}

/// The class that a quota of storage concerns, [`EXPANDABLE`] where it concerns all; none for quotas of other things.
pub fn quota_class(resource: &str) -> Option<&str> {
    match resource {
        "requests.storage" => Some(EXPANDABLE),
        _ => resource.strip_suffix(".storageclass.storage.k8s.io/requests.storage"),
    }
}

/// A PVC that exceeds every quota.
pub fn quota_probe(class: &str) -> Value {
    json!({
        "metadata": { "name": "quota-probe" },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": class,
            "resources": { "requests": { "storage": "4Ei" } },
        },
    })
}

/// What PVCs use of a quota's resource, as the quota controller counts it.
pub fn quota_use(resource: &str, claims: &[PersistentVolumeClaim]) -> String {
    let of_class = resource.strip_suffix(".storageclass.storage.k8s.io/requests.storage");
    let counted = claims.iter().filter_map(|pvc| pvc.spec.as_ref()).filter(|spec| match of_class {
        Some(class) => spec.storage_class_name.as_deref() == Some(class),
        None => true,
    });
    let size = |quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity| quantity.0.parse::<Bytes>().ok();
    match resource {
        "persistentvolumeclaims" => counted.count().to_string(),
        _ if of_class.is_some() || resource == "requests.storage" => counted
            .filter_map(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage").and_then(size))
            .fold(Bytes::ZERO, Bytes::saturating_add)
            .to_string(),
        _ => "0".to_owned(),
    }
}
