//! What is read from the API server, or from files: the only I/O of the commands.

mod cluster;
mod disk;
mod files;
mod fleet;
mod lease;
mod list;
mod one;
mod surroundings;

use csm_api::{ClusterStoragePolicy, PostgresStorage, StorageEvent, StoragePolicy};
use csm_cnpg::Cluster;
use csm_gather::views::{NamespaceObject, PodObject};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use serde::Serialize;

pub use cluster::{cluster, missing, near};
pub use disk::disks;
pub use files::files;
pub use fleet::{Scope, fleet};
pub use lease::manager;
pub use one::{cluster_policies, event};
pub use surroundings::{Allowed, NEEDED, Permission, Surroundings, Trusted, Webhook, WebhookKind, surroundings};

/// The names of our kinds, as errors call them.
const STORAGES: &str = "postgresstorages.cnpg.supporttools.io";
const CLUSTERS: &str = "clusters.postgresql.cnpg.io";

/// What was read of one cluster or many.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The CNPG Clusters.
    pub clusters: Vec<Cluster>,
    /// Their PostgresStorages, and perhaps others.
    pub storages: Vec<PostgresStorage>,
    /// Their PVCs, and perhaps others.
    pub pvcs: Vec<PersistentVolumeClaim>,
    /// Whether the manager runs.
    pub manager: Manager,
    /// What could not be read.
    pub gaps: Vec<Gap>,
}

/// What is read beside, where one cluster is shown in detail.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// Its pods.
    pub pods: Vec<PodObject>,
    /// Its StorageEvents.
    pub events: Vec<StorageEvent>,
    /// The StoragePolicies of its namespace.
    pub policies: Vec<StoragePolicy>,
    /// All ClusterStoragePolicies.
    pub cluster_policies: Vec<ClusterStoragePolicy>,
    /// Its namespace.
    pub namespace: Option<NamespaceObject>,
    /// All storage classes; none where they could not be read.
    pub classes: Option<Vec<StorageClass>>,
}

/// Something that could not be read, and what that means for the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// What.
    pub what: &'static str,
    /// Why.
    pub why: String,
    /// What is missing, or assumed, for it.
    pub means: &'static str,
}

/// Whether the manager runs, as its lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Manager {
    /// Its lease may not be read, or it has none.
    #[default]
    Unknown,
    /// Nothing is asked of a cluster: all is from files.
    NotAsked,
    /// It renews its lease.
    Running {
        /// Who holds it.
        holder: String,
        /// When it was last renewed.
        renewed: Timestamp,
    },
    /// It has stopped renewing its lease.
    Stopped {
        /// When it was last renewed, where that is known.
        renewed: Option<Timestamp>,
    },
    /// There is no such lease.
    NoLease {
        /// Its name.
        name: String,
    },
}

impl Manager {
    /// Whether it is known not to run.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::NoLease { .. })
    }
}
