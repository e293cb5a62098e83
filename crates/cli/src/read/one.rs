//! What the manual levers read, beside the Cluster.

use csm_api::{ClusterStoragePolicy, StorageEvent};
use kube::api::{Api, ListParams};

use super::Scope;
use super::list::{Failure, answer, list};
use crate::connect::Connection;
use crate::error::Error;

const CLUSTER_POLICIES: &str = "clusterstoragepolicies.cnpg.supporttools.io";
const EVENTS: &str = "storageevents.cnpg.supporttools.io";

/// All ClusterStoragePolicies.
///
/// # Errors
/// Where they cannot be read.
pub async fn cluster_policies(connection: &Connection) -> Result<Vec<ClusterStoragePolicy>, Error> {
    let api: Api<ClusterStoragePolicy> = Api::all(connection.client.clone());
    list(connection, api, ListParams::default(), CLUSTER_POLICIES)
        .await
        .map_err(|failure| match failure {
            Failure::Missing => Error::NotInstalled(CLUSTER_POLICIES),
            Failure::Forbidden => Scope::All.forbidden(CLUSTER_POLICIES),
            Failure::Error(error) => error,
        })
}

/// A StorageEvent; none where it is gone.
///
/// # Errors
/// Where it cannot be read.
pub async fn event(connection: &Connection, name: &str) -> Result<Option<StorageEvent>, Error> {
    let scope = Scope::Namespace(connection.namespace.clone());
    let api: Api<StorageEvent> = scope.api(connection);
    match answer(connection, EVENTS, api.get(name)).await {
        Ok(event) => Ok(Some(event)),
        Err(Failure::Missing) => Ok(None),
        Err(Failure::Forbidden) => Err(scope.forbidden(EVENTS)),
        Err(Failure::Error(error)) => Err(error),
    }
}
