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

/// Annotations that CloudNativePG reads from its Clusters.
pub mod annotation {
    /// "on" hibernates the Cluster.
    pub const HIBERNATION: &str = "cnpg.io/hibernation";
    /// A JSON list of fenced instances, or `["*"]`.
    pub const FENCED_INSTANCES: &str = "cnpg.io/fencedInstances";
}
