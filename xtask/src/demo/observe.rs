//! Looks at the world: what the API server has, what the disks are, and what the manager asked for.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use csm_api::{Growth, Phase, PostgresStorage};
use csm_cnpg::label;
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::scene::{Cluster, Instance, Measured, Member, Operation, Scene, Told};
use super::story::Play;
use super::timeline::{Deed, Write};

/// The API server's condition of a PVC whose volume has grown, and whose filesystem has not (core/v1).
const WAITS_FOR_NODE: &str = "FileSystemResizePending";

/// The disk of one PVC, as whoever owns it sees it.
pub struct Disk {
    /// What the kubelet measured last.
    pub measured: Option<Measured>,
    /// The size of the filesystem now.
    pub filesystem: Bytes,
}

/// Looks at the clusters of one namespace.
pub struct Observer {
    claims: Api<PersistentVolumeClaim>,
    storages: Api<PostgresStorage>,
    events: Api<Growth>,
}

impl Observer {
    /// With a client that may read everything.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            claims: Api::namespaced(client.clone(), namespace),
            storages: Api::namespaced(client.clone(), namespace),
            events: Api::namespaced(client, namespace),
        }
    }

    /// The clusters of a play as they are now; `disk` tells of the disk of a PVC.
    pub async fn look(&self, play: &Play, disk: impl Fn(&str) -> Result<Disk>) -> Result<Scene> {
        let all = ListParams::default();
        let listed = tokio::try_join!(self.claims.list(&all), self.storages.list(&all), self.events.list(&all));
        let (claims, storages, events) = listed.context("look at the clusters")?;
        let mut instances: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
        for pvc in &claims {
            if pvc.labels().get(label::PVC_ROLE).map(String::as_str) == Some("PG_DATA")
                && let Some(cluster) = pvc.labels().get(label::CLUSTER)
            {
                let seen = instance(pvc, disk(&pvc.name_any())?);
                instances.entry(cluster.clone()).or_default().push(seen);
            }
        }
        let clusters = play.cast.iter().map(|part| {
            let name = part.name;
            let told = storages.iter().find(|storage| storage.name_any() == name).and_then(told);
            let mut operations: Vec<_> = events.iter().filter(|event| event.spec.cluster_ref.name == name).collect();
            operations.sort_by_key(|event| event.metadata.creation_timestamp.clone());
            let mut instances = instances.remove(name).unwrap_or_default();
            instances.sort_by(|a, b| a.name.cmp(&b.name));
            Cluster {
                name: name.to_owned(),
                instances,
                threshold: play.threshold,
                told,
                operations: operations.into_iter().map(operation).collect(),
            }
        });
        Ok(Scene {
            at: Timestamp::now(),
            clusters: clusters.collect(),
        })
    }
}

fn size(quantities: Option<&BTreeMap<String, Quantity>>) -> Bytes {
    let storage = quantities.and_then(|quantities| quantities.get("storage"));
    storage.and_then(|quantity| quantity.0.parse().ok()).unwrap_or_default()
}

fn instance(pvc: &PersistentVolumeClaim, disk: Disk) -> Instance {
    let requests = pvc.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let status = pvc.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let Disk { measured, filesystem } = disk;
    Instance {
        name: pvc.name_any(),
        primary: pvc.labels().get(label::INSTANCE_ROLE).map(String::as_str) == Some("primary"),
        measured,
        filesystem,
        request: size(requests),
        capacity: size(status.and_then(|status| status.capacity.as_ref())),
        waits_for_node: conditions.iter().any(|c| c.type_ == WAITS_FOR_NODE && c.status == "True"),
    }
}

fn told(storage: &PostgresStorage) -> Option<Told> {
    let data = storage.status.as_ref()?.storage_sizing.as_ref()?.data.as_ref()?;
    Some(Told {
        state: data.state,
        verdict: data.last_decision.verdict,
        reason: data.last_decision.reason,
        message: data.last_decision.message.clone(),
    })
}

fn operation(event: &Growth) -> Operation {
    let status = event.status.clone().unwrap_or_default();
    let member = |pvc: &csm_api::AffectedPvc| {
        let status = status.pvc_statuses.iter().find(|status| status.uid == pvc.uid);
        Member {
            instance: pvc.instance.clone(),
            phase: status.map_or(csm_api::PvcPhase::Pending, |status| status.phase),
            verified_by: status.and_then(|status| status.verified_by),
        }
    };
    Operation {
        name: event.name_any(),
        from: event.spec.expansion.original_size,
        to: event.spec.expansion.requested_size,
        message: event.spec.message.clone(),
        phase: status.phase.unwrap_or(Phase::Pending),
        members: event.spec.expansion.affected_pvcs.iter().map(member).collect(),
    }
}

/// A finished request, out of an audit log.
pub struct Request<'a> {
    /// When it came in.
    pub at: Timestamp,
    /// Who asked.
    pub user: &'a str,
    /// `get`, `create`, `patch`, …
    pub verb: &'a str,
    /// In the plural.
    pub resource: &'a str,
    /// Such as `status`, or empty.
    pub subresource: &'a str,
    /// Empty for objects without one.
    pub namespace: &'a str,
    /// Name of the object.
    pub name: &'a str,
    /// HTTP status of the answer.
    pub code: u16,
}

/// What `user` did to storage in `namespace`. What the API server refused did nothing.
pub fn writes<'a>(audit: impl Iterator<Item = Request<'a>>, user: &str, namespace: &str) -> Vec<Write> {
    let done = audit.filter(|request| {
        // Volumes belong to no namespace.
        let here = request.namespace == namespace || request.namespace.is_empty();
        request.user == user && here && request.subresource.is_empty() && (200..300).contains(&request.code)
    });
    done.filter_map(|request| {
        let deed = match (request.verb, request.resource) {
            ("create", "storageevents") => Deed::Recorded,
            ("patch" | "update", "persistentvolumeclaims") => Deed::Patched,
            ("get" | "list" | "watch", _) => return None,
            (_, "persistentvolumeclaims" | "pods" | "persistentvolumes") => Deed::Meddled,
            _ => return None,
        };
        Some(Write {
            at: request.at,
            deed,
            name: request.name.to_owned(),
        })
    })
    .collect()
}
