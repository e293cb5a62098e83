//! The manager on the lab: the binary of this checkout as a Pod, from the manifests that ship.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use csm_testkit::lab::Lab;
use csm_testkit::manifest;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::{MARK, Patience, within};
use crate::generated::root;

/// The name of the Deployment, and of its namespace.
const NAME: &str = "cnpg-storage-manager";
/// An image is imported, a pod started, a lease taken over from a run that was cut off (15 s).
const START: Duration = Duration::from_mins(2);

/// Makes an image of `binary` and applies the manifests that ship; returns when the new pod is ready.
pub async fn deploy(lab: &Lab, client: &Client, binary: &Path) -> Result<()> {
    let image = image_name(binary)?;
    lab.load_own_image(binary, &image).await.context("load the manager's image")?;
    let deploy = root().join("deploy");
    let mut files = crds(&deploy.join("crds"))?;
    files.extend([deploy.join("rbac.yaml"), deploy.join("manager.yaml")]);
    let mut objects = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        objects.extend(manifest::documents(&text).with_context(|| format!("parse {}", file.display()))?);
    }
    for object in &mut objects {
        adapt(object, &image)?;
    }
    manifest::apply(client, objects, NAME).await?;
    let api = deployments(client);
    within(Patience("the manager is rolled out", START), async || {
        let deployment = api.get(NAME).await?;
        let (generation, status) = (deployment.metadata.generation, deployment.status.unwrap_or_default());
        let all = [status.replicas, status.updated_replicas, status.ready_replicas];
        Ok((status.observed_generation == generation && all == [Some(1); 3]).then_some(()))
    })
    .await
}

/// Refuses a lab on which somebody else's manager runs: there is one Deployment, and the tests have theirs there.
pub async fn refuse_others(client: &Client) -> Result<()> {
    let found = deployments(client).get_opt(NAME).await.context("look for a manager")?;
    if found.is_some_and(|deployment| !is_ours(&deployment)) {
        bail!(
            "a manager runs on the lab already, perhaps of `make e2e`: wait for its end, or remove it with \
             `cargo xtask lab kubectl delete --namespace {NAME} deployment {NAME}`"
        );
    }
    Ok(())
}

/// Takes our Deployment away; kinds and permissions stay, and so does a Deployment that others have taken over.
pub async fn remove(client: &Client) -> Result<()> {
    let api = deployments(client);
    match api.get_opt(NAME).await.context("look for the manager")? {
        Some(deployment) if is_ours(&deployment) => {
            let deleted = api.delete(NAME, &DeleteParams::background()).await;
            deleted.map(|_| ()).context("delete the manager's Deployment")
        }
        Some(_) | None => Ok(()),
    }
}

fn deployments(client: &Client) -> Api<Deployment> {
    Api::namespaced(client.clone(), NAME)
}

fn is_ours(deployment: &Deployment) -> bool {
    deployment.labels().contains_key(MARK)
}

/// The end of its log.
pub async fn log(lab: &Lab) -> String {
    let arguments = ["logs", "--namespace", NAME, "deployment/cnpg-storage-manager", "--tail=30"];
    lab.kubectl(arguments).await.unwrap_or_else(|error| format!("{error:#}"))
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

/// All that differs from what ships: our mark, the image, and the interval, since the lab's kubelet measures every 5 s.
fn adapt(object: &mut Value, image: &str) -> Result<()> {
    if object["kind"] == "Deployment" {
        object["metadata"]["labels"][MARK] = "true".into();
        let container = &mut object["spec"]["template"]["spec"]["containers"][0];
        container["image"] = image.into();
        container["imagePullPolicy"] = "IfNotPresent".into();
    }
    if object["kind"] == "ConfigMap" {
        let settings = object["data"]["settings.yaml"]
            .as_str()
            .context("manager.yaml has no settings.yaml")?;
        let faster = settings.replace("metricsInterval: 30s", "metricsInterval: 5s");
        ensure!(faster != settings, "manager.yaml no longer says `metricsInterval: 30s`");
        object["data"]["settings.yaml"] = faster.into();
    }
    Ok(())
}
