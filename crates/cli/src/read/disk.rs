//! What `kubectl cnpg disk status CLUSTER` reads: the Cluster, what the manager says of it, its PVCs, and the lease.

use csm_api::PostgresStorage;
use csm_cnpg::Cluster;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::ListParams;

use super::cluster::{named, there};
use super::list::{answer, list, or_gap};
use super::{CLUSTERS, Facts, STORAGES, Scope, lease};
use crate::connect::Connection;
use crate::error::Error;

/// What is shown of one cluster's disks.
///
/// # Errors
/// Where there is no such Cluster, or it or its PostgresStorage cannot be read.
pub async fn disks(connection: &Connection, name: &str, lease_name: &str, now: Timestamp) -> Result<Facts, Error> {
    let scope = Scope::Namespace(connection.namespace.clone());
    let of_cnpg = ListParams::default().labels(&format!("{}={name}", csm_cnpg::label::CLUSTER));
    let clusters: Api<Cluster> = scope.api(connection);
    let (found, storages, pvcs, manager) = futures::join!(
        answer(connection, CLUSTERS, clusters.get(name)),
        // Listed by name: a list tells a missing kind from a missing object.
        list(connection, scope.api::<PostgresStorage>(connection), named(name), STORAGES),
        list(
            connection,
            scope.api::<PersistentVolumeClaim>(connection),
            of_cnpg,
            "persistentvolumeclaims"
        ),
        lease::manager(connection, lease_name, now),
    );
    let found = there(found, connection, name).await?;
    let storages = storages.map_err(|failure| scope.unread(STORAGES, failure, Error::NotInstalled(STORAGES)))?;
    let mut gaps = Vec::new();
    let pvcs = or_gap(
        pvcs,
        &mut gaps,
        "PersistentVolumeClaims",
        "volumes are those that the manager last wrote of",
    )?;
    Ok(Facts {
        clusters: vec![found],
        storages,
        pvcs: pvcs.unwrap_or_default(),
        manager,
        gaps,
    })
}
