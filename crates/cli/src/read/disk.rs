//! What `kubectl cnpg disk status CLUSTER` reads: the Cluster, what the manager says of it, its PVCs, and the lease.

use csm_cnpg::Cluster;
use jiff::Timestamp;
use kube::Api;

use super::cluster::there;
use super::fleet::Beside;
use super::list::answer;
use super::{CLUSTERS, Facts, Scope};
use crate::connect::Connection;
use crate::error::Error;

/// What is shown of one cluster's disks.
///
/// # Errors
/// Where there is no such Cluster, or it or its PostgresStorage cannot be read.
pub async fn disks(connection: &Connection, name: &str, lease_name: &str, now: Timestamp) -> Result<Facts, Error> {
    let scope = Scope::Namespace(connection.namespace.clone());
    let clusters: Api<Cluster> = scope.api(connection);
    let (found, beside) = futures::join!(
        answer(connection, CLUSTERS, clusters.get(name)),
        Beside::read(connection, &scope, Some(name), lease_name, now),
    );
    let found = there(found, connection, name).await?;
    beside.with(vec![found], &scope, "volumes are those that the manager last wrote of")
}
