use std::collections::BTreeMap;

use csm_core::world::ClusterKey;
use csm_runtime::Failure;
use kube::api::Patch;
use serde_json::json;

use super::{Writer, apply_as};

/// Our annotations on a Cluster, by name.
pub type Annotations = BTreeMap<&'static str, String>;

impl Writer {
    /// Writes our annotations to a Cluster, and removes those of ours that are not among them. Only of this very Cluster.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn annotate(&self, key: &ClusterKey, uid: &str, annotations: &Annotations) -> Result<csm_cnpg::Cluster, Failure> {
        let api = self.api::<csm_cnpg::Cluster>(&key.namespace);
        let patch = json!({
            "apiVersion": "postgresql.cnpg.io/v1",
            "kind": "Cluster",
            "metadata": {"name": &*key.name, "uid": uid, "annotations": annotations},
        });
        self.write(api.patch(&key.name, &apply_as(csm_api::FIELD_MANAGER), &Patch::Apply(&patch)))
            .await
    }
}
