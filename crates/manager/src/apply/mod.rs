//! Writes: carries a checked plan out, and makes no choices of its own. Each action has a precondition, a timeout and the
//! leader's permission.

mod advance;
mod annotate;
mod begin;
mod breaker;
mod cluster_spec;
mod event;
mod nudge;
mod policy;
mod relief;
mod retention;
mod storage;

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use csm_api::StorageEventStatus;
use csm_core::world::ClusterKey;
use csm_runtime::{Failure, LeaderGuard};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

pub use advance::Advanced;
pub use annotate::Annotations;
pub use begin::Begun;
pub use breaker::{BreakerChange, Recorded, Whose};
pub use cluster_spec::SpecRaised;
pub use event::{Note, Severity};
pub use relief::{BegunRelief, ReliefStatus};

/// Everything that the manager writes to the API server, it writes through this.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    guard: LeaderGuard,
    reporter: String,
    /// Nudges are off until then: they are not permitted.
    nudges_off: Arc<Mutex<Option<Instant>>>,
}

impl Writer {
    /// Writes as long as the guard permits; `reporter` names this process in Events.
    #[must_use]
    pub fn new(client: Client, guard: LeaderGuard, reporter: String) -> Self {
        Self {
            client,
            guard,
            reporter,
            nudges_off: Arc::default(),
        }
    }

    /// For what is read.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Applies the status of a StorageEvent, provided that nobody else has written it since.
    async fn write_status<K>(&self, api: &Api<K>, event: &K, status: &StorageEventStatus) -> Result<K, Failure>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let name = event.name_any();
        let patch = json!({
            "apiVersion": format!("{}/{}", csm_api::GROUP, csm_api::VERSION),
            "kind": "StorageEvent",
            "metadata": {"name": name, "resourceVersion": event.resource_version()},
            "status": status,
        });
        self.write(api.patch_status(&name, &apply_as(csm_api::FIELD_MANAGER_STATUS), &Patch::Apply(&patch)))
            .await
    }

    async fn write<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        self.guard.write(request).await
    }
}

/// Server-side apply under one of our field managers; what we own, we own.
fn apply_as(manager: &str) -> PatchParams {
    PatchParams::apply(manager).force()
}

/// A patch of what others may own, under our name.
fn patching() -> PatchParams {
    PatchParams {
        field_manager: Some(csm_api::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Something new, under our name.
fn creating() -> PostParams {
    PostParams {
        field_manager: Some(csm_api::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

/// The Cluster as owner: our objects go with it.
fn owner(key: &ClusterKey, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "postgresql.cnpg.io/v1".to_owned(),
        kind: "Cluster".to_owned(),
        name: key.name.to_string(),
        uid: uid.to_owned(),
        ..OwnerReference::default()
    }
}
