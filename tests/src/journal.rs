//! What the PVCs of a namespace went through, as the API server told it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use csm_units::Bytes;
use futures::{StreamExt as _, pin_mut};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use tokio_util::task::AbortOnDropHandle;

/// One PVC at one moment.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When we heard of it.
    pub at: Timestamp,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// What it asks for.
    pub request: Option<Bytes>,
    /// What it has.
    pub capacity: Option<Bytes>,
    /// `status.allocatedResourceStatuses.storage`.
    pub expansion: Option<String>,
    /// Types of the conditions that are true.
    pub conditions: Vec<String>,
}

impl Seen {
    /// What a PVC says at a moment.
    pub fn of(pvc: &PersistentVolumeClaim, at: Timestamp) -> Self {
        let quantity = |map: Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>>| {
            map.and_then(|map| map.get("storage")).and_then(|quantity| quantity.0.parse().ok())
        };
        let status = pvc.status.as_ref();
        let requests = pvc
            .spec
            .as_ref()
            .and_then(|spec| spec.resources.as_ref())
            .and_then(|r| r.requests.as_ref());
        let statuses = status.and_then(|status| status.allocated_resource_statuses.as_ref());
        let conditions = status.and_then(|status| status.conditions.as_ref());
        Self {
            at,
            name: pvc.name_any(),
            uid: pvc.uid().unwrap_or_default(),
            request: quantity(requests),
            capacity: quantity(status.and_then(|status| status.capacity.as_ref())),
            expansion: statuses.and_then(|map| map.get("storage").cloned()),
            conditions: conditions
                .into_iter()
                .flatten()
                .filter(|condition| condition.status == "True")
                .map(|condition| condition.type_.clone())
                .collect(),
        }
    }

    /// Whether the driver's controller has done its part of a growth to `to`.
    pub fn controller_done(&self, to: Bytes) -> bool {
        let node = self.expansion.as_deref().is_some_and(|status| status.starts_with("NodeResize"));
        self.request == Some(to) && (node || self.conditions.iter().any(|c| c == "FileSystemResizePending"))
            || self.capacity.is_some_and(|capacity| capacity >= to)
    }
}

/// The journal of a namespace, kept until it is dropped.
pub struct Journal {
    seen: Arc<Mutex<Vec<Seen>>>,
    _watcher: AbortOnDropHandle<()>,
}

impl Journal {
    /// Starts to keep one.
    pub fn start(client: &Client, namespace: &str) -> Self {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let entries = seen.clone();
        let watcher = AbortOnDropHandle::new(tokio::spawn(async move {
            let stream = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
            pin_mut!(stream);
            while let Some(event) = stream.next().await {
                // The watcher tries again by itself.
                let Ok(pvc) = event else { continue };
                let entry = Seen::of(&pvc, Timestamp::now());
                entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
            }
        }));
        Self { seen, _watcher: watcher }
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the controller was first seen to have grown a PVC to a size.
    pub fn controller_done(&self, pvc: &str, to: Bytes) -> Option<Timestamp> {
        let all = self.all();
        all.iter()
            .find(|seen| seen.name == pvc && seen.controller_done(to))
            .map(|seen| seen.at)
    }
}
