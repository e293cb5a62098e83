//! Clusters as the API server holds them, every figure of its own.

use csm_api::{PostgresStorage, Reason, State, StorageEvent, StoragePolicy, Urgency, Verdict};
use csm_cnpg::Cluster;
use csm_gather::views::PodObject;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kubectl_cnpg_storage::read::{Details, Facts, Manager};
use serde_json::{Value, json};

/// The time of every golden text.
pub const NOW: &str = "2026-03-01T12:00:00Z";

pub fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// So many seconds ago, as Kubernetes writes it.
pub fn ago(seconds: i64) -> String {
    (now() - SignedDuration::from_secs(seconds)).to_string()
}

pub fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"))
}

/// Where a fixture's objects live.
pub const NAMESPACE: &str = "shop";

/// Objects under construction.
#[derive(Default)]
pub struct Fixture {
    pub facts: Facts,
    pub details: Details,
}

/// One filesystem: used and available bytes, and how many seconds ago that was measured.
#[derive(Clone, Copy)]
pub struct Disk(pub u64, pub u64, pub i64);

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

impl Fixture {
    /// A fixture whose manager runs.
    pub fn new() -> Self {
        let mut fixture = Self::default();
        fixture.facts.manager = Manager::Running {
            holder: "manager-7d4f9_c0ffee".to_owned(),
            renewed: now() - SignedDuration::from_secs(3),
        };
        fixture.details.classes = Some(vec![of::<StorageClass>(json!({
            "metadata": {"name": "fast"}, "provisioner": "ebs.csi.aws.com", "allowVolumeExpansion": true,
        }))]);
        fixture
    }

    pub fn cluster(self, name: &str, instances: usize) -> Self {
        self.cluster_with(name, instances, &json!({}))
    }

    pub fn cluster_with(mut self, name: &str, instances: usize, annotations: &Value) -> Self {
        self.facts.clusters.push(of::<Cluster>(json!({
            "metadata": {"namespace": NAMESPACE, "name": name, "uid": format!("uid-{name}"), "annotations": annotations},
            "spec": {"instances": instances, "storage": {"size": "10Gi"}},
            "status": {"phase": "Cluster in healthy state", "currentPrimary": format!("{name}-1")},
        })));
        for instance in 1..=instances {
            self.details.pods.push(of::<PodObject>(json!({
                "metadata": {"namespace": NAMESPACE, "name": format!("{name}-{instance}"), "uid": format!("pod-{name}-{instance}"),
                    "labels": {"cnpg.io/cluster": name, "cnpg.io/instanceName": format!("{name}-{instance}")}},
                "spec": {"nodeName": format!("node-{}", 4 - instance)},
                "status": {"containerStatuses": [{"state": {"running": {}}}]},
            })));
        }
        self
    }

    /// A PVC of an instance: `role` is data or wal; what it asks for and what it has.
    pub fn pvc(mut self, cluster: &str, instance: usize, role: &str, asks: &str, has: &str) -> Self {
        let suffix = if role == "data" { "" } else { "-wal" };
        let label = if role == "data" { "PG_DATA" } else { "PG_WAL" };
        let name = format!("{cluster}-{instance}{suffix}");
        self.facts.pvcs.push(of::<PersistentVolumeClaim>(json!({
            "metadata": {"namespace": NAMESPACE, "name": name, "uid": format!("uid-{name}"), "creationTimestamp": ago(900_000),
                "labels": {"cnpg.io/cluster": cluster, "cnpg.io/instanceName": format!("{cluster}-{instance}"), "cnpg.io/pvcRole": label}},
            "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": asks}}},
            "status": {"phase": "Bound", "capacity": {"storage": has}},
        })));
        self
    }

    /// The cluster's PostgresStorage, without a status.
    pub fn silent_storage(mut self, name: &str) -> Self {
        self.facts.storages.push(of::<PostgresStorage>(json!({
            "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "PostgresStorage",
            "metadata": {"namespace": NAMESPACE, "name": name, "uid": format!("storage-{name}")}, "spec": {},
        })));
        self
    }

    /// The cluster's PostgresStorage: its volumes (data, wal), and each instance's disks.
    pub fn storage(self, name: &str, sizing: &Value, instances: &Value) -> Self {
        let mut fixture = self.silent_storage(name);
        let storage = fixture.facts.storages.last_mut().expect("just made");
        storage.status = Some(of(json!({
            "policies": [{"kind": "StoragePolicy", "name": "default", "namespace": NAMESPACE}],
            "storageSizing": sizing, "diskStatus": {"instances": instances},
        })));
        fixture
    }

    pub fn policy(mut self, name: &str, spec: &Value) -> Self {
        self.details.policies.push(of::<StoragePolicy>(json!({
            "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StoragePolicy",
            "metadata": {"namespace": NAMESPACE, "name": name}, "spec": spec,
        })));
        self
    }

    pub fn event(mut self, event: &Value) -> Self {
        self.details.events.push(of::<StorageEvent>(event.clone()));
        self
    }
}

pub fn disk(Disk(used, available, age): Disk) -> Value {
    json!({"totalBytes": used + available, "usedBytes": used, "availableBytes": available,
        "percentUsed": used * 100 / (used + available), "inodesTotal": 650_000, "inodesUsed": 1300, "inodesFree": 648_700,
        "atLimit": false, "resizeBlocked": false, "source": "kubelet", "observedAt": ago(age)})
}

/// What the manager says of a volume.
pub struct Said {
    pub size: &'static str,
    pub target: Option<&'static str>,
    pub limit: Option<&'static str>,
    pub state: State,
    pub verdict: Verdict,
    pub reason: Reason,
    pub urgency: Option<Urgency>,
    pub message: &'static str,
    /// Seconds since the decision.
    pub age: i64,
    pub action: Option<Value>,
    /// Seconds until it can go on.
    pub next: Option<i64>,
}

impl Said {
    pub fn balanced(size: &'static str, message: &'static str) -> Self {
        Self {
            size,
            target: None,
            limit: Some("100Gi"),
            state: State::Balanced,
            verdict: Verdict::Balanced,
            reason: Reason::BelowThresholds,
            urgency: None,
            message,
            age: 266_400,
            action: None,
            next: None,
        }
    }

    pub fn held(size: &'static str, target: &'static str, state: State, reason: Reason, message: &'static str) -> Self {
        Self {
            target: Some(target),
            state,
            verdict: Verdict::Hold,
            reason,
            urgency: Some(Urgency::Planned),
            age: 430,
            ..Self::balanced(size, message)
        }
    }

    pub fn json(&self) -> Value {
        let Self {
            size,
            target,
            limit,
            state,
            verdict,
            reason,
            urgency,
            message,
            age,
            action,
            next,
        } = self;
        json!({"effectiveSize": size, "targetSize": target, "limit": limit, "actualSizes": {}, "state": state,
            "lastAction": action, "nextActionAt": next.map(|n| ago(-n)),
            "lastDecision": {"verdict": verdict, "reason": reason, "urgency": urgency, "wanted": target,
                "inputs": {"thresholds.expansion": "85"}, "message": message, "at": ago(*age)}})
    }
}

pub fn action(kind: &str, from: &str, to: &str, result: &str, age: i64, event: &str) -> Value {
    json!({"kind": kind, "from": from, "to": to, "timestamp": ago(age), "result": result, "event": event})
}
