//! Kubernetes manifests: files of several YAML documents, and server-side apply of what they hold.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use kube::discovery::{self, Scope};
use kube::runtime::conditions;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::Value;

use crate::retry;
use crate::wait::Patience;

/// The field manager of everything that is applied here.
pub const FIELD_MANAGER: &str = "csm-testkit";

/// How long a new kind may take until it is served.
const SERVED_PATIENCE: Duration = Duration::from_secs(30);
const SERVED_POLL: Duration = Duration::from_millis(20);

/// The documents of a YAML text, in order. Empty ones (only comments) are left out.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("not valid YAML")?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Applies CustomResourceDefinitions and waits until their kinds are served.
pub async fn apply_crds(client: &Client, crds: impl IntoIterator<Item = CustomResourceDefinition>) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut names = Vec::new();
    for crd in crds {
        let name = crd.name_any();
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(&name, &parameters, &Patch::Apply(&crd))
            .await
            .with_context(|| format!("apply the CustomResourceDefinition {name}"))?;
        names.push(name);
    }
    for name in names {
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(SERVED_PATIENCE, established)
            .await
            .map_err(|_| anyhow!("the CustomResourceDefinition {name} is not established: look at its conditions"))?
            .with_context(|| format!("watch the CustomResourceDefinition {name}"))?;
    }
    Ok(())
}

/// Applies objects in their order by server-side apply; CustomResourceDefinitions are waited for. Objects of namespaced
/// kinds that name no namespace go to `namespace`.
pub async fn apply(client: &Client, objects: Vec<Value>, namespace: &str) -> Result<()> {
    let mut kinds = HashMap::new();
    for object in objects {
        let types = TypeMeta::deserialize(&object).context("an object without apiVersion and kind")?;
        if types.kind == "CustomResourceDefinition" {
            let crd = CustomResourceDefinition::deserialize(object).context("parse a CustomResourceDefinition")?;
            apply_crds(client, [crd]).await?;
            continue;
        }
        let object = DynamicObject::deserialize(object).with_context(|| format!("parse a {}", types.kind))?;
        let gvk = GroupVersionKind::try_from(&types).with_context(|| format!("the apiVersion of a {}", types.kind))?;
        if !kinds.contains_key(&gvk) {
            kinds.insert(gvk.clone(), discover(client, &gvk).await?);
        }
        let Some((resource, scope)) = kinds.get(&gvk) else {
            bail!("{} was not discovered", gvk.kind)
        };
        let api: Api<DynamicObject> = match scope {
            Scope::Cluster => Api::all_with(client.clone(), resource),
            Scope::Namespaced => {
                let namespace = object.namespace().unwrap_or_else(|| namespace.to_owned());
                Api::namespaced_with(client.clone(), &namespace, resource)
            }
        };
        let name = object
            .metadata
            .name
            .clone()
            .with_context(|| format!("a {} without a name", gvk.kind))?;
        api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&object))
            .await
            .with_context(|| format!("apply the {} {name}", gvk.kind))?;
    }
    Ok(())
}

/// Finds out how a kind is served. A kind whose definition was applied a moment ago may take a while.
async fn discover(client: &Client, gvk: &GroupVersionKind) -> Result<(ApiResource, Scope)> {
    let maybe_later = |error: &kube::Error| retry::not_found(error) || matches!(error, kube::Error::Discovery(_));
    let what = || format!("the API server does not serve {}/{} {}", gvk.group, gvk.version, gvk.kind);
    let mut patience = Patience::new(SERVED_POLL, SERVED_PATIENCE);
    loop {
        match discovery::pinned_kind(client, gvk).await {
            Ok((resource, capabilities)) => return Ok((resource, capabilities.scope)),
            Err(error) if maybe_later(&error) => patience.pause(error).await.with_context(what)?,
            Err(error) => return Err(error).with_context(what),
        }
    }
}
