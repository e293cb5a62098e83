use csm_cnpg::Cluster;
use csm_core::world::{ClusterKey, VolumeKey};
use csm_gather::views::size_field;
use csm_runtime::{Failure, FailureClass};
use csm_units::Bytes;
use kube::api::{DynamicObject, Patch};
use kube::core::ApiResource;
use serde_json::json;

use super::{Writer, patching};

/// What became of a size in a Cluster's spec.
#[derive(Debug)]
pub enum SpecRaised {
    /// It says so now.
    Raised {
        /// The field.
        path: String,
        /// What it said.
        from: String,
        /// The Cluster as it is now.
        cluster: Box<Cluster>,
    },
    /// It says as much already, or no size, or is another Cluster by now.
    Nothing,
    /// Somebody changed the Cluster meanwhile: to be looked at again at once.
    Outdated,
    /// The API server refused: CloudNativePG's webhook, another one, or a lack of permission.
    Refused {
        /// The field.
        path: String,
        /// What it says.
        from: String,
        /// The API server's own words.
        message: String,
    },
}

impl Writer {
    /// Raises the size of a volume in the spec of its Cluster: the one field that CloudNativePG reads, provided that the
    /// Cluster is this very one and is as it was read.
    ///
    /// # Errors
    /// See [`Failure`]. What the API server refuses is none.
    pub async fn raise_spec(&self, key: &ClusterKey, uid: &str, volume: &VolumeKey, to: Bytes) -> Result<SpecRaised, Failure> {
        // As it stands: a size may be a text or a number.
        let kind = ApiResource::erase::<Cluster>(&());
        let api = kube::Api::<DynamicObject>::namespaced_with(self.client.clone(), &key.namespace, &kind);
        let Some(object) = csm_runtime::error::call(api.get_opt(&key.name)).await? else {
            return Ok(SpecRaised::Nothing);
        };
        let is_it = object.metadata.uid.as_deref() == Some(uid) && object.metadata.deletion_timestamp.is_none();
        let raw = serde_json::to_value(&object).unwrap_or_default();
        let cluster: Cluster = serde_json::from_value(raw).unwrap_or_default();
        let Some(field) = size_field(&cluster, volume).filter(|_| is_it) else {
            return Ok(SpecRaised::Nothing);
        };
        // A size that cannot be read is not one that we may say is smaller.
        if field.size.parse::<Bytes>().map_or(true, |says| says >= to) {
            return Ok(SpecRaised::Nothing);
        }
        let patch = json!([
            {"op": "test", "path": "/metadata/uid", "value": uid},
            // Where a test of its value, or its absence, would make a refusal of a lost race: `add` sets what is there.
            {"op": "add", "path": field.pointer, "value": to},
            // With it the API server compares versions: what has changed since is a conflict.
            {"op": "replace", "path": "/metadata/resourceVersion", "value": object.metadata.resource_version},
        ]);
        let Ok(patch) = serde_json::from_value(patch) else {
            return Ok(SpecRaised::Nothing);
        };
        let api = self.api::<Cluster>(&key.namespace);
        let written = self.write(api.patch(&key.name, &patching(), &Patch::Json::<()>(patch))).await;
        let (path, from) = (field.path, field.size);
        match written {
            Ok(cluster) => Ok(SpecRaised::Raised {
                path,
                from,
                cluster: Box::new(cluster),
            }),
            Err(failure) if failure.class() == FailureClass::Conflict => Ok(SpecRaised::Outdated),
            Err(failure) if failure.class() == FailureClass::Refused => Ok(SpecRaised::Refused {
                path,
                from,
                message: failure.message(),
            }),
            Err(failure) => Err(failure),
        }
    }
}
