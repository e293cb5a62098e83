//! Admission webhooks of managers that run on this machine: what deploy/webhook.yaml has, but for where the API server calls.

use std::net::TcpListener;
use std::path::Path;

use anyhow::Context as _;
use csm_testkit::scenario::Sim;
use csm_testkit::{manifest, webhooks};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::kubectl::{self, Apply};
use crate::manager::{self, NAMESPACE};
use crate::{Manager, root, until};

/// Name of the Secret of the own authority, and of what tells the API server to call.
pub const SECRET: &str = "cnpg-storage-manager-webhook";
pub const CONFIGURATION: &str = "cnpg-storage-manager";

/// The objects of deploy/webhook.yaml.
pub fn shipped() -> anyhow::Result<Vec<Value>> {
    manifest::documents(&text()?)
}

/// The same for managers that serve at these ports: the API server asks each of them. `change` is done to each webhook.
pub fn calling(ports: &[u16], change: impl Fn(&mut Value)) -> anyhow::Result<Vec<Value>> {
    webhooks::calling(&text()?, ports, change)
}

fn text() -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(root().join("deploy/webhook.yaml"))?)
}

/// Applies objects.
pub async fn apply(sim: &Sim, objects: Vec<Value>) -> anyhow::Result<()> {
    sim.ensure_namespace(NAMESPACE).await?;
    manifest::apply(&sim.client(), objects, NAMESPACE).await
}

/// A call that fails is seen.
pub fn fail(webhook: &mut Value) {
    webhook["failurePolicy"] = "Fail".into();
}

/// A port that is free now.
pub fn port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A manager of all namespaces that serves webhooks at a port.
pub fn spawn(sim: &Sim, kubeconfig: &Path, port: u16, more: &[&str]) -> anyhow::Result<Manager> {
    let port = port.to_string();
    let mut arguments = vec!["--webhook", "--webhook-port", &port, "--webhook-names", "127.0.0.1"];
    arguments.extend(more);
    Manager::spawn_as(sim, kubeconfig, &[], &arguments)
}

/// One manager that serves webhooks, with failures seen; returns when the API server can call it.
pub async fn serving(sim: &Sim) -> anyhow::Result<(Manager, u16)> {
    serving_with(sim, &[]).await
}

/// The same, with more arguments.
pub async fn serving_with(sim: &Sim, more: &[&str]) -> anyhow::Result<(Manager, u16)> {
    let port = port()?;
    let kubeconfig = manager::kubeconfig(sim).await?;
    apply(sim, calling(&[port], fail)?).await?;
    let manager = spawn(sim, &kubeconfig, port, more)?;
    ready(&manager).await?;
    called(sim).await?;
    Ok((manager, port))
}

/// Waits until a manager is ready.
pub async fn ready(manager: &Manager) -> anyhow::Result<()> {
    let ready = until("the manager is ready", || async {
        Ok(manager.page("/readyz").await.ok().filter(|(status, _)| *status == 200).map(drop))
    });
    ready.await.with_context(|| manager.tail())
}

/// Waits until the API server calls the webhooks, and is answered: it hears of a configuration a moment after it is written.
pub async fn called(sim: &Sim) -> anyhow::Result<()> {
    let pvc = json!({
        "metadata": {"name": "called", "namespace": NAMESPACE, "labels": {"cnpg.io/cluster": "called"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let called = until("the API server calls the webhooks", || {
        let made = try_pvc(sim, NAMESPACE, &pvc);
        async { Ok(made.await.ok().map(drop)) }
    });
    if let Err(error) = called.await {
        let last = try_pvc(sim, NAMESPACE, &pvc).await.err();
        return Err(error.context(format!("{last:?}")));
    }
    Ok(())
}

/// Asks the API server what would become of a PVC.
pub async fn try_pvc(sim: &Sim, namespace: &str, pvc: &Value) -> anyhow::Result<PersistentVolumeClaim> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(sim.client(), namespace);
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    Ok(api.create(&parameters, &serde_json::from_value(pvc.clone())?).await?)
}

/// What a PVC asks for.
pub fn request(pvc: &PersistentVolumeClaim) -> Option<String> {
    let requests = pvc.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    requests.get("storage").map(|quantity| quantity.0.clone())
}

/// A PVC as CloudNativePG makes one for a new instance of a Cluster.
pub fn newborn(cluster: &DynamicObject, serial: u32, role: &str, size: &str) -> anyhow::Result<Value> {
    let meta = &cluster.metadata;
    let (name, uid) = (meta.name.as_deref().context("a name")?, meta.uid.as_deref().context("a UID")?);
    let instance = format!("{name}-{serial}");
    let claim = if role == "PG_WAL" {
        format!("{instance}-wal")
    } else {
        instance.clone()
    };
    Ok(json!({
        "metadata": {
            "name": claim,
            "namespace": meta.namespace,
            "labels": {"cnpg.io/cluster": name, "cnpg.io/instanceName": instance, "cnpg.io/pvcRole": role},
            "ownerReferences": [{"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": name, "uid": uid, "controller": true}],
        },
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
    }))
}

/// What is kept of the own authority.
pub async fn kept(sim: &Sim) -> anyhow::Result<Value> {
    let api: Api<Secret> = Api::namespaced(sim.client(), NAMESPACE);
    let data = api.get(SECRET).await?.data.unwrap_or_default();
    let text = data.get("certificates.json").map(|ByteString(text)| serde_json::from_slice(text));
    Ok(text.transpose()?.unwrap_or(Value::Null))
}

/// What `kubectl` says of an object, and whether it would be taken: it asks the API server, and changes nothing.
pub async fn kubectl(sim: &Sim, object: &Value) -> anyhow::Result<(bool, String)> {
    let program = sim.plane().binaries().path("kubectl");
    kubectl::apply(&program, sim.plane().kubeconfig(), object, Apply::DryRun).await
}
