//! People with permissions of their own: service accounts of a namespace, which need no password.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::Stage;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Name of the service account of a person who may edit a namespace.
pub const EDITOR: &str = "editor";

/// The kubeconfig of a person who may do in the stage's namespace what the rules say, and what these ClusterRoles say.
pub async fn kubeconfig(stage: &Stage, name: &str, rules: &Value, cluster_roles: &[&str]) -> anyhow::Result<PathBuf> {
    let rbac = rbac(&stage.namespace, name, rules, cluster_roles);
    stage.sim.kubeconfig_with_rbac(&stage.namespace, name, &rbac).await
}

/// What [`EDITOR`] is permitted in a namespace: what CloudNativePG and Kubernetes give such a person, and ours, which are
/// there already. No permission on PVCs but to read them.
#[must_use]
pub fn editor_rbac(namespace: &str) -> String {
    let editing = json!([
        {"apiGroups": [""], "resources": ["persistentvolumeclaims", "pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["postgresql.cnpg.io"], "resources": ["clusters"], "verbs": ["get", "list", "patch"]},
    ]);
    let shipped = [
        "cnpg-storage-manager-view",
        "cnpg-storage-manager-edit",
        "cnpg-storage-manager-expand",
    ];
    rbac(namespace, EDITOR, &editing, &shipped)
}

/// A Role with these rules, and its binding and those of these ClusterRoles to a service account, as YAML documents.
fn rbac(namespace: &str, name: &str, rules: &Value, cluster_roles: &[&str]) -> String {
    let object = |kind: &str, named: &str| {
        let metadata = json!({"name": named, "namespace": namespace});
        json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata})
    };
    let binding = |kind: &str, role: &str| {
        let mut binding = object("RoleBinding", &format!("{name}-{role}"));
        binding["roleRef"] = json!({"apiGroup": GROUP, "kind": kind, "name": role});
        binding["subjects"] = json!([{"kind": "ServiceAccount", "name": name, "namespace": namespace}]);
        binding.to_string()
    };
    let mut role = object("Role", name);
    role["rules"] = rules.clone();
    let shipped = cluster_roles.iter().map(|role| binding("ClusterRole", role));
    let documents: Vec<String> = [role.to_string(), binding("Role", name)].into_iter().chain(shipped).collect();
    documents.join("\n---\n")
}
