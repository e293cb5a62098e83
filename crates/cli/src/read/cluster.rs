//! What is read of one cluster: all that the manager's planner rests on, the kubelets' figures aside.

use csm_api::{ClusterStoragePolicy, PostgresStorage, StorageEvent, StoragePolicy};
use csm_cnpg::Cluster;
use csm_gather::views::{NamespaceObject, PodObject};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::list::{Failure, answer, list, or_gap};
use super::{CLUSTERS, Details, Facts, STORAGES, Scope, lease};
use crate::connect::Connection;
use crate::error::{Error, hint};

/// Everything of one cluster.
///
/// # Errors
/// Where there is no such Cluster, or it or its PostgresStorage cannot be read.
pub async fn cluster(connection: &Connection, name: &str, lease_name: &str, now: Timestamp) -> Result<(Facts, Details), Error> {
    let namespace = &connection.namespace;
    let scope = Scope::Namespace(namespace.clone());
    let client = || connection.client.clone();
    let of_cnpg = || ListParams::default().labels(&format!("{}={name}", csm_cnpg::label::CLUSTER));
    let of_ours = ListParams::default().labels(&format!("{}={name}", csm_api::label::CLUSTER));
    let all = ListParams::default;
    let clusters: Api<Cluster> = scope.api(connection);
    let namespaces: Api<NamespaceObject> = Api::all(client());
    let (found, storages, pvcs, pods, events, policies, cluster_policies, its_namespace, classes, manager) = futures::join!(
        answer(connection, CLUSTERS, clusters.get(name)),
        // Listed by name: a list tells a missing kind from a missing object.
        list(connection, scope.api::<PostgresStorage>(connection), named(name), STORAGES),
        list(
            connection,
            scope.api::<PersistentVolumeClaim>(connection),
            of_cnpg(),
            "persistentvolumeclaims"
        ),
        list(connection, scope.api::<PodObject>(connection), of_cnpg(), "pods"),
        list(connection, scope.api::<StorageEvent>(connection), of_ours, "storageevents"),
        list(connection, scope.api::<StoragePolicy>(connection), all(), "storagepolicies"),
        list(
            connection,
            Api::<ClusterStoragePolicy>::all(client()),
            all(),
            "clusterstoragepolicies"
        ),
        answer(connection, "namespaces", namespaces.get(namespace)),
        list(connection, Api::<StorageClass>::all(client()), all(), "storageclasses"),
        lease::manager(connection, lease_name, now),
    );
    let found = there(found, connection, name).await?;
    let storages = storages.map_err(|failure| scope.unread(STORAGES, failure, Error::NotInstalled(STORAGES)))?;

    let mut gaps = Vec::new();
    let g = &mut gaps;
    let details = Details {
        pods: or_gap(pods, g, "Pods", "the nodes of the instances are not known, nor which of them run")?.unwrap_or_default(),
        events: or_gap(
            events,
            g,
            "StorageEvents",
            "operations under way and the cooldown are not known; a gate that holds for them may be shown as open",
        )?
        .unwrap_or_default(),
        policies: or_gap(
            policies,
            g,
            "StoragePolicies",
            "settings that come from them are missing; the cluster may look unmanaged",
        )?
        .unwrap_or_default(),
        cluster_policies: or_gap(
            cluster_policies,
            g,
            "ClusterStoragePolicies",
            "settings that come from them are missing; the cluster may look unmanaged",
        )?
        .unwrap_or_default(),
        namespace: or_gap(
            its_namespace.map(Some),
            g,
            "Namespaces",
            "a ClusterStoragePolicy that selects namespaces by their labels is taken not to match",
        )?
        .flatten(),
        classes: or_gap(
            classes,
            g,
            "StorageClasses",
            "they are taken to allow expansion, and to give each volume its own filesystem",
        )?,
    };
    let pvcs = or_gap(pvcs, g, "PersistentVolumeClaims", "the planner has no volumes to decide on")?;
    let facts = Facts {
        clusters: vec![found],
        storages,
        pvcs: pvcs.unwrap_or_default(),
        manager,
        gaps,
    };
    Ok((facts, details))
}

/// The Cluster that was asked for, or why it is not shown.
pub(super) async fn there(found: Result<Cluster, Failure>, connection: &Connection, name: &str) -> Result<Cluster, Error> {
    match found {
        Ok(found) => Ok(found),
        Err(Failure::Missing) => Err(missing(connection, name).await),
        Err(Failure::Forbidden) => Err(Scope::Namespace(connection.namespace.clone()).forbidden(CLUSTERS)),
        Err(Failure::Error(error)) => Err(error),
    }
}

pub(super) fn named(name: &str) -> ListParams {
    ListParams::default().fields(&format!("metadata.name={name}"))
}

/// Why there is no such Cluster: its kind is missing, or its name is another, or it lives elsewhere.
pub async fn missing(connection: &Connection, name: &str) -> Error {
    let namespace = &connection.namespace;
    let here: Api<Cluster> = Api::namespaced(connection.client.clone(), namespace);
    let everywhere: Api<Cluster> = Api::all(connection.client.clone());
    let (here, everywhere) = futures::join!(
        list(connection, here, ListParams::default(), CLUSTERS),
        list(connection, everywhere, named(name), CLUSTERS),
    );
    let here = match here {
        Err(Failure::Missing) => return Error::NoCloudNativePg,
        Err(_) => None,
        Ok(clusters) => Some(clusters.iter().map(ResourceExt::name_any).collect::<Vec<_>>()),
    };
    let mut elsewhere: Vec<String> = everywhere.unwrap_or_default().iter().filter_map(ResourceExt::namespace).collect();
    elsewhere.sort();
    Error::NoSuchCluster {
        namespace: namespace.clone(),
        name: name.to_owned(),
        hint: hint(
            &near(name, here.as_deref().unwrap_or_default()),
            &elsewhere,
            here.map(|names| !names.is_empty()),
        ),
    }
}

/// The names most like `name`, at most three, the most like first.
#[must_use]
pub fn near(name: &str, names: &[String]) -> Vec<String> {
    /// Below this, names have little in common ("orders" and "payments": 0.51).
    const ALIKE: f64 = 0.75;
    let mut alike: Vec<(f64, &String)> = names
        .iter()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(score, other)| *score >= ALIKE || other.contains(name) || name.contains(other.as_str()))
        .collect();
    alike.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    alike.into_iter().take(3).map(|(_, other)| other.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered_and_others_are_not() {
        let names = ["orders", "orders-archive", "payments", "order-book"].map(str::to_owned);
        assert_eq!(near("oders", &names), ["orders"]);
        assert_eq!(near("orders-prod", &names).first().map(String::as_str), Some("orders"));
        assert_eq!(near("zebra", &names), Vec::<String>::new());
    }
}
