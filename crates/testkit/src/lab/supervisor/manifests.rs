//! What the cluster needs inside: DNS, storage classes, CloudNativePG's operator.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::csi::Kind;
use crate::lab::config::Config;

/// The cluster's DNS.
pub fn coredns(config: &Config) -> Vec<Value> {
    let labels = json!({ "k8s-app": "kube-dns" });
    let meta = |name: &str| json!({ "name": name, "namespace": "kube-system" });
    // Names outside the cluster do not exist: there is no world outside. `template` would run before `kubernetes` in one
    // block, hence two.
    let corefile = "cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {\n  errors\n  kubernetes cluster.local in-addr.arpa \
                    ip6.arpa {\n    pods insecure\n  }\n  cache 5\n}\n.:53 {\n  errors\n  health\n  ready\n  template ANY ANY \
                    {\n    rcode NXDOMAIN\n  }\n}\n";
    vec![
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("coredns") }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "system:coredns" },
            "rules": [
                { "apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"] },
                { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"] },
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "system:coredns" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns" },
            "subjects": [{ "kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system" }],
        }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("coredns"), "data": { "Corefile": corefile } }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta("kube-dns"),
            "spec": {
                "clusterIP": config.network.dns_service(), "selector": labels,
                "ports": [
                    { "name": "dns", "port": 53, "protocol": "UDP" },
                    { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
                ],
            },
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("coredns"),
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": {
                        "serviceAccountName": "coredns",
                        "dnsPolicy": "Default",
                        "priorityClassName": "system-cluster-critical",
                        "tolerations": [{ "operator": "Exists" }],
                        "containers": [{
                            "name": "coredns",
                            "image": "localhost/coredns:lab",
                            "imagePullPolicy": "Never",
                            "args": ["-conf", "/etc/coredns/Corefile"],
                            "ports": [{ "containerPort": 53, "protocol": "UDP" }, { "containerPort": 53, "protocol": "TCP" }],
                            "readinessProbe": { "httpGet": { "path": "/ready", "port": 8181 }, "periodSeconds": 1 },
                            "resources": { "requests": { "cpu": "10m", "memory": "32Mi" } },
                            "volumeMounts": [{ "name": "config", "mountPath": "/etc/coredns" }],
                        }],
                        "volumes": [{ "name": "config", "configMap": { "name": "coredns" } }],
                    },
                },
            },
        }),
    ]
}

/// The drivers, and the classes: `loop` (the default; grows), `loop-fixed` (does not), `hostdir` (claims to grow, but
/// reports the node's disk).
pub fn storage() -> Vec<Value> {
    let driver = |kind: Kind| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": { "name": kind.driver_name() },
            "spec": { "attachRequired": false, "podInfoOnMount": false, "fsGroupPolicy": "File", "volumeLifecycleModes": ["Persistent"] },
        })
    };
    let class = |name: &str, kind: Kind, grows: bool| {
        let default = (name == "loop").to_string();
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": { "name": name, "annotations": { "storageclass.kubernetes.io/is-default-class": default } },
            "provisioner": kind.driver_name(),
            // The driver is not told the class otherwise; faults can be set for a class.
            "parameters": { "class": name },
            "allowVolumeExpansion": grows,
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        })
    };
    vec![
        driver(Kind::Loop),
        driver(Kind::HostDir),
        class("loop", Kind::Loop, true),
        class("loop-fixed", Kind::Loop, false),
        class("hostdir", Kind::HostDir, true),
    ]
}

/// CloudNativePG's release, with the image that the nodes have.
pub fn cnpg(config: &Config) -> Result<String> {
    let path = &config.cnpg_manifest;
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let upstream = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "))
        .find(|image| image.contains("/cloudnative-pg:"))
        .with_context(|| format!("{} names no image of the operator", path.display()))?;
    // The name stands twice: the operator tells its pods to copy it from its own image.
    Ok(text
        .replace(upstream, &config.operator_image)
        .replace("imagePullPolicy: Always", "imagePullPolicy: IfNotPresent"))
}
