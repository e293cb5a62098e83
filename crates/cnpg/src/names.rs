/// Name of CloudNativePG's CustomResourceDefinition of Clusters.
pub const CRD_NAME: &str = "clusters.postgresql.cnpg.io";

/// Labels that CloudNativePG sets on PVCs and pods (`pkg/utils/labels_annotations.go`).
pub mod label {
    /// Name of the Cluster, on PVCs and pods.
    pub const CLUSTER: &str = "cnpg.io/cluster";
    /// Role of a PVC.
    pub const PVC_ROLE: &str = "cnpg.io/pvcRole";
    /// Name of the instance, on PVCs and pods.
    pub const INSTANCE_NAME: &str = "cnpg.io/instanceName";
    /// `primary` or `replica`, on instance pods and PVCs.
    pub const INSTANCE_ROLE: &str = "cnpg.io/instanceRole";
    /// `instance` on the pods that run PostgreSQL.
    pub const POD_ROLE: &str = "cnpg.io/podRole";
    /// Name of the tablespace, on PVCs of that role.
    pub const TABLESPACE_NAME: &str = "cnpg.io/tablespaceName";
}

/// Values of [`label::PVC_ROLE`].
pub mod role {
    /// PGDATA.
    pub const DATA: &str = "PG_DATA";
    /// The separate WAL volume.
    pub const WAL: &str = "PG_WAL";
    /// A tablespace.
    pub const TABLESPACE: &str = "PG_TABLESPACE";
}

/// Name of the container that runs PostgreSQL in an instance's pod (`PostgresContainerName`, `pkg/specs/pods.go`).
pub const POSTGRES_CONTAINER: &str = "postgres";

/// Where the instance manager of each pod says how PostgreSQL is: HTTPS, and no client certificate is asked for
/// (`StatusPort`, `PathPgStatus`, `pkg/management/url/url.go`).
pub const STATUS_PORT: u16 = 8000;
/// See [`STATUS_PORT`].
pub const STATUS_PATH: &str = "/pg/status";

/// Where each pod exports its metrics: HTTP, or HTTPS where `spec.monitoring.tls.enabled` says so (`PostgresMetricsPort`,
/// `PathMetrics`, `pkg/management/url/url.go`).
pub const EXPORTER_PORT: u16 = 9187;
/// See [`EXPORTER_PORT`].
pub const EXPORTER_PATH: &str = "/metrics";

/// Phases of a Cluster (`status.phase`).
pub mod phase {
    /// An instance has no room for WAL. CloudNativePG does not export it as a constant
    /// (`internal/controller/cluster_controller.go`; facts.md d.2).
    pub const NOT_ENOUGH_DISK_SPACE: &str = "Not enough disk space";
}

/// Where CloudNativePG mounts the volumes of an instance (`pkg/specs/volumes.go`).
pub mod mount {
    /// PGDATA's volume.
    pub const DATA: &str = "/var/lib/postgresql/data";
    /// The WAL volume.
    pub const WAL: &str = "/var/lib/postgresql/wal";
    /// Tablespaces, each in a folder of its name.
    pub const TABLESPACES: &str = "/var/lib/postgresql/tablespaces/";
}

/// Annotations that CloudNativePG reads from its Clusters.
pub mod annotation {
    /// "on" hibernates the Cluster.
    pub const HIBERNATION: &str = "cnpg.io/hibernation";
    /// A JSON list of fenced instances, or `["*"]`.
    pub const FENCED_INSTANCES: &str = "cnpg.io/fencedInstances";
    /// "enabled" has WAL thrown away instead of archived.
    pub const SKIP_WAL_ARCHIVING: &str = "cnpg.io/skipWalArchiving";
}
