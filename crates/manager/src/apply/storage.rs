use csm_api::{PostgresStorage, PostgresStorageSpec, PostgresStorageStatus};
use csm_core::world::ClusterKey;
use csm_runtime::{Failure, FailureClass};
use kube::api::{ObjectMeta, Patch};
use serde_json::json;

use super::{Writer, apply_as, creating, owner};

impl Writer {
    /// Creates the PostgresStorage of a Cluster, without spec, owned by the Cluster. One that is there already stays as it is.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn create_storage(&self, key: &ClusterKey, uid: &str) -> Result<PostgresStorage, Failure> {
        let api = self.api::<PostgresStorage>(&key.namespace);
        let storage = PostgresStorage {
            metadata: ObjectMeta {
                name: Some(key.name.to_string()),
                namespace: Some(key.namespace.to_string()),
                owner_references: Some(vec![owner(key, uid)]),
                ..ObjectMeta::default()
            },
            spec: PostgresStorageSpec::default(),
            status: None,
        };
        match self.write(api.create(&creating(), &storage)).await {
            Err(failure) if failure.class() == FailureClass::AlreadyExists => csm_runtime::error::call(api.get(&key.name)).await,
            created => created,
        }
    }

    /// Writes the status of a Cluster's storage, of this very object.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn storage_status(
        &self,
        key: &ClusterKey,
        uid: Option<&str>,
        status: &PostgresStorageStatus,
    ) -> Result<PostgresStorage, Failure> {
        let patch = json!({
            "apiVersion": format!("{}/{}", csm_api::GROUP, csm_api::VERSION),
            "kind": "PostgresStorage",
            "metadata": {"name": &*key.name, "uid": uid},
            "status": status,
        });
        let api = self.api::<PostgresStorage>(&key.namespace);
        self.write(api.patch_status(&key.name, &apply_as(csm_api::FIELD_MANAGER_STATUS), &Patch::Apply(&patch)))
            .await
    }
}
