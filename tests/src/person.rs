//! People with permissions of their own, as a kubeconfig: service accounts of a namespace, which need no password.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::Stage;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The kubeconfig of a person who may do in the stage's namespace what the rules say, and what these ClusterRoles say.
pub async fn kubeconfig(stage: &Stage, name: &str, rules: &Value, cluster_roles: &[&str]) -> anyhow::Result<PathBuf> {
    let namespace = &stage.namespace;
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
    stage.sim.kubeconfig_with_rbac(namespace, name, &documents.join("\n---\n")).await
}
