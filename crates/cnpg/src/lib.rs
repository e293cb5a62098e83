//! Read views of what we need of CloudNativePG (1.30): its Cluster, its labels, annotations and roles.
//!
//! CloudNativePG owns `postgresql.cnpg.io/v1 Cluster`; we never add fields to it, and never write a whole one.
#![warn(missing_docs)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod backup;
mod cluster;
mod names;
mod volume;

pub use backup::{BackedUp, Backup, BackupSpec, BackupStatus};
pub use cluster::{
    BackupConfiguration, Cluster, ClusterSpec, ClusterStatus, HighAvailabilitySlots, MonitoringConfiguration, MonitoringTls, ObjectStore,
    PluginConfiguration, PostgresConfiguration, PvcTemplate, PvcTemplateResources, QuantityText, ReplicaCluster, ReplicationSlots,
    SizeField, StorageConfiguration, TablespaceConfiguration,
};
pub use names::{
    CRD_NAME, EXPORTER_PATH, EXPORTER_PORT, POSTGRES_CONTAINER, STATUS_PATH, STATUS_PORT, annotation, label, mount, phase, role,
};
pub use volume::{VolumeLabels, read_volume_labels};
