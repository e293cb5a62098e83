use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};

/// What we read of a `postgresql.cnpg.io/v1 Backup`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backup {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: BackupSpec,
    /// What came of it.
    pub status: Option<BackupStatus>,
}

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupSpec {
    /// The Cluster.
    pub cluster: BackedUp,
}

/// The Cluster that is backed up.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackedUp {
    /// Its name.
    pub name: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// How far it has come.
    pub phase: Option<String>,
}

impl Backup {
    /// Whether it may run: all but those that say that they have ended (`BackupPhaseCompleted`, `BackupPhaseFailed`,
    /// `api/v1/backup_types.go`).
    #[must_use]
    pub fn may_run(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("completed" | "failed"))
    }
}

impl Resource for Backup {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Backup".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "postgresql.cnpg.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "backups".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
