use csm_api::{ClusterStoragePolicy, PolicyStatus, StoragePolicy};
use csm_runtime::Failure;
use kube::Api;
use kube::api::Patch;
use serde_json::json;

use super::{Writer, apply_as};
use csm_gather::index::PolicyId;

impl Writer {
    /// Writes the status of a policy.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn policy_status(&self, id: &PolicyId, status: &PolicyStatus) -> Result<(), Failure> {
        let parameters = apply_as(csm_api::FIELD_MANAGER_STATUS);
        let patch = |kind: &str| {
            json!({
                "apiVersion": format!("{}/{}", csm_api::GROUP, csm_api::VERSION),
                "kind": kind,
                "metadata": {"name": &*id.name},
                "status": status,
            })
        };
        if id.namespace.is_empty() {
            let api: Api<ClusterStoragePolicy> = Api::all(self.client.clone());
            let patch = Patch::Apply(patch("ClusterStoragePolicy"));
            self.write(api.patch_status(&id.name, &parameters, &patch)).await.map(|_| ())
        } else {
            let api = self.api::<StoragePolicy>(&id.namespace);
            let patch = Patch::Apply(patch("StoragePolicy"));
            self.write(api.patch_status(&id.name, &parameters, &patch)).await.map(|_| ())
        }
    }
}
