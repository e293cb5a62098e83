//! What `status` reads for all clusters: three lists and the lease.

use std::fmt;

use csm_api::PostgresStorage;
use csm_cnpg::Cluster;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;

use super::cluster::named;
use super::list::{Failure, list, or_gap};
use super::{CLUSTERS, Facts, Manager, STORAGES, lease};
use crate::connect::Connection;
use crate::error::Error;

/// Which namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// One.
    Namespace(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all namespaces"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
        }
    }
}

impl Scope {
    pub(super) fn api<K>(&self, connection: &Connection) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::All => Api::all(connection.client.clone()),
            Self::Namespace(name) => Api::namespaced(connection.client.clone(), name),
        }
    }

    /// Why there is nothing to show without a kind that could not be read; `missing` where the API server does not know it.
    pub(super) fn unread(&self, what: &'static str, failure: Failure, missing: Error) -> Error {
        match failure {
            Failure::Missing => missing,
            Failure::Forbidden => self.forbidden(what),
            Failure::Error(error) => error,
        }
    }

    pub(super) fn forbidden(&self, what: &'static str) -> Error {
        Error::Forbidden {
            what,
            scope: self.to_string(),
            remedy: match self {
                Self::All => "choose one namespace with -n, or ask for a role that lets you read them",
                Self::Namespace(_) => "choose another with -n, or ask for a role that lets you read them",
            },
        }
    }
}

/// Everything of the clusters in scope.
///
/// # Errors
/// Where Clusters or PostgresStorages cannot be read.
pub async fn fleet(connection: &Connection, scope: &Scope, lease_name: &str, now: Timestamp) -> Result<Facts, Error> {
    let (clusters, beside) = futures::join!(
        list(connection, scope.api::<Cluster>(connection), ListParams::default(), CLUSTERS),
        Beside::read(connection, scope, None, lease_name, now),
    );
    let clusters = clusters.map_err(|failure| scope.unread(CLUSTERS, failure, Error::NoCloudNativePg))?;
    beside.with(clusters, scope, "sizes are those that the manager last wrote")
}

/// What is read beside the Clusters.
pub(super) struct Beside {
    storages: Result<Vec<PostgresStorage>, Failure>,
    pvcs: Result<Vec<PersistentVolumeClaim>, Failure>,
    manager: Manager,
}

impl Beside {
    /// Of one Cluster, or of all in scope.
    pub async fn read(connection: &Connection, scope: &Scope, one: Option<&str>, lease_name: &str, now: Timestamp) -> Self {
        let label = csm_cnpg::label::CLUSTER;
        let of_cnpg = one.map_or_else(|| label.to_owned(), |name| format!("{label}={name}"));
        // Listed by name: a list tells a missing kind from a missing object.
        let ours = one.map_or_else(ListParams::default, named);
        let (storages, pvcs, manager) = futures::join!(
            list(connection, scope.api::<PostgresStorage>(connection), ours, STORAGES),
            list(
                connection,
                scope.api::<PersistentVolumeClaim>(connection),
                ListParams::default().labels(&of_cnpg),
                "persistentvolumeclaims"
            ),
            lease::manager(connection, lease_name, now),
        );
        Self { storages, pvcs, manager }
    }

    /// With the Clusters; `without` says what the answer lacks without PVCs.
    ///
    /// # Errors
    /// Where PostgresStorages cannot be read.
    pub fn with(self, clusters: Vec<Cluster>, scope: &Scope, without: &'static str) -> Result<Facts, Error> {
        let missing = |failure| scope.unread(STORAGES, failure, Error::NotInstalled(STORAGES));
        let storages = self.storages.map_err(missing)?;
        let mut gaps = Vec::new();
        let pvcs = or_gap(self.pvcs, &mut gaps, "PersistentVolumeClaims", without)?;
        Ok(Facts {
            clusters,
            storages,
            pvcs: pvcs.unwrap_or_default(),
            manager: self.manager,
            gaps,
        })
    }
}
