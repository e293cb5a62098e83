//! The command line as a real process.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::manager;

/// The ServiceAccount of a person who may edit a namespace.
pub const EDITOR: &str = "editor";

/// What a person has who may edit a namespace: what CloudNativePG and Kubernetes give, and ours of deploy/user-roles.yaml. No
/// permission on PVCs but to read them.
const EDITOR_RBAC: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: editor, namespace: NAMESPACE}
rules:
  - {apiGroups: [''], resources: [persistentvolumeclaims, pods], verbs: [get, list]}
  - {apiGroups: [postgresql.cnpg.io], resources: [clusters], verbs: [get, list, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: editor, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: editor}
subjects: [{kind: ServiceAccount, name: editor, namespace: NAMESPACE}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: editor-view, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cnpg-storage-manager-view}
subjects: [{kind: ServiceAccount, name: editor, namespace: NAMESPACE}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: editor-edit, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cnpg-storage-manager-edit}
subjects: [{kind: ServiceAccount, name: editor, namespace: NAMESPACE}]
";

/// What that person is permitted in a namespace; the roles of deploy/user-roles.yaml are there already.
#[must_use]
pub fn editor_rbac(namespace: &str) -> String {
    EDITOR_RBAC.replace("NAMESPACE", namespace)
}

/// The program with one kubeconfig.
pub struct Cli {
    kubeconfig: PathBuf,
    namespace: String,
}

impl Cli {
    /// The program, as whom the kubeconfig names, in one namespace.
    pub fn new(kubeconfig: &Path, namespace: &str) -> Self {
        Self {
            kubeconfig: kubeconfig.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let binary = manager::binary()?.with_file_name("kubectl-cnpg-storage");
        ensure!(
            binary.exists(),
            "{} is missing: run `cargo build --bins` first, as `make test` does",
            binary.display()
        );
        Command::new(binary)
            .args(arguments)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["--namespace", &self.namespace])
            .env_remove("CNPG_STORAGE_MANAGER_LEASE_NAME")
            .output()
            .context("run kubectl-cnpg-storage")
    }

    /// Standard output and standard error of a run that ends with this status.
    pub fn ends(&self, status: i32, arguments: &[&str]) -> anyhow::Result<(String, String)> {
        let output = self.run(arguments)?;
        let (out, err) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        ensure!(
            output.status.code() == Some(status),
            "{arguments:?} ended with {:?}, not {status}\n{out}{err}",
            output.status.code()
        );
        Ok((out, err))
    }

    /// What it answers with `-o json`.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.ends(0, arguments)?.0)?)
    }
}
