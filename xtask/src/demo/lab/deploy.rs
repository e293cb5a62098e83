//! The manager on the lab: the binary of this checkout as a Pod, from the manifests that ship.

use std::path::Path;

use anyhow::{Context, Result, bail};
use csm_testkit::lab::Lab;
use csm_testkit::lab::shipped::{self, NAME, deployments};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DeleteParams;
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::MARK;
use crate::generated::root;

/// Makes an image of `binary` and applies the manifests that ship, with our mark; returns when the new pod is ready.
pub async fn deploy(lab: &Lab, client: &Client, binary: &Path) -> Result<()> {
    let mark = |deployment: &mut Value| deployment["metadata"]["labels"][MARK] = "true".into();
    shipped::deploy(lab, client, binary, &root().join("deploy"), mark).await?;
    shipped::rolled_out(client).await
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

fn is_ours(deployment: &Deployment) -> bool {
    deployment.labels().contains_key(MARK)
}

/// The end of its log.
pub async fn log(lab: &Lab) -> String {
    let arguments = ["logs", "--namespace", NAME, "deployment/cnpg-storage-manager", "--tail=30"];
    lab.kubectl(arguments).await.unwrap_or_else(|error| format!("{error:#}"))
}
