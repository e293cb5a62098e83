//! The manager on the lab: a binary of this checkout as a Pod, from the manifests that ship.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::Api;
use serde_json::Value;

use super::Lab;
use crate::manifest;
use crate::wait::within;

/// The name of the Deployment, of its namespace, of its container's program, and its label's value.
pub const NAME: &str = "cnpg-storage-manager";
/// An image is imported, a pod started, a lease taken over from a run that was cut off (15 s).
pub const START: Duration = Duration::from_mins(2);

/// Makes an image of `binary` and applies the manifests of the folder `deploy`. What differs from what ships: the image,
/// the interval, since the lab's kubelet measures every 5 s, and what `adapt` does to the Deployment.
pub async fn deploy(lab: &Lab, client: &Client, binary: &Path, deploy: &Path, adapt: impl Fn(&mut Value)) -> Result<()> {
    let image = image_name(binary)?;
    lab.load_own_image(binary, &image).await.context("load the manager's image")?;
    let mut files = crds(&deploy.join("crds"))?;
    files.extend(["rbac.yaml", "user-roles.yaml", "admission.yaml", "webhook.yaml", "manager.yaml"].map(|name| deploy.join(name)));
    let mut objects = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        objects.extend(manifest::documents(&text).with_context(|| format!("parse {}", file.display()))?);
    }
    for object in &mut objects {
        if object["kind"] == "Deployment" {
            let container = &mut object["spec"]["template"]["spec"]["containers"][0];
            container["image"] = image.as_str().into();
            container["imagePullPolicy"] = "IfNotPresent".into();
            adapt(object);
        }
        if object["kind"] == "ConfigMap" {
            sample_faster(object)?;
        }
    }
    manifest::apply(client, objects, NAME).await
}

/// Waits until the Deployment's new pod is ready, and the old one gone.
pub async fn rolled_out(client: &Client) -> Result<()> {
    let api = deployments(client);
    within(START, "the manager's Deployment is rolled out", async || {
        let deployment = api.get(NAME).await?;
        let (generation, status) = (deployment.metadata.generation, deployment.status.unwrap_or_default());
        let all = [status.replicas, status.updated_replicas, status.ready_replicas];
        Ok((status.observed_generation == generation && all == [Some(1); 3]).then_some(()))
    })
    .await
}

/// The Deployments of the manager's namespace.
pub fn deployments(client: &Client) -> Api<Deployment> {
    Api::namespaced(client.clone(), NAME)
}

/// A name that changes with the binary.
fn image_name(binary: &Path) -> Result<String> {
    let meta = std::fs::metadata(binary).with_context(|| format!("{}: build it first", binary.display()))?;
    let made = meta.modified()?.duration_since(UNIX_EPOCH)?.as_millis();
    Ok(format!("localhost/{NAME}:{made:x}-{:x}", meta.len()))
}

fn crds(folder: &Path) -> Result<Vec<PathBuf>> {
    let at = || format!("list {}", folder.display());
    let entries = std::fs::read_dir(folder).with_context(at)?;
    let files: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut files = files.with_context(at)?;
    files.sort();
    Ok(files)
}

fn sample_faster(config_map: &mut Value) -> Result<()> {
    let settings = &mut config_map["data"]["settings.yaml"];
    let shipped = settings.as_str().context("manager.yaml has no settings.yaml")?;
    let faster = shipped.replace("metricsInterval: 30s", "metricsInterval: 5s");
    ensure!(faster != shipped, "manager.yaml no longer says `metricsInterval: 30s`");
    *settings = faster.into();
    Ok(())
}
