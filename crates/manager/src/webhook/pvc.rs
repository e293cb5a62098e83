//! PVCs of instances: born with the size that the other members of their volume have.

use csm_gather::index::{Index, Raise};
use csm_gather::world::VolumeSettings;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::review::{Answer, Request};

/// What is answered on a PVC that is about to be made. A PVC is never refused here, nor ever made smaller.
pub fn answer(request: &Request, index: &mut Index, settings: &VolumeSettings, now: Timestamp) -> Answer {
    let object = request.object.as_deref().filter(|_| request.operation == "CREATE");
    // What cannot be read is for the API server to refuse.
    let pvc: Option<PersistentVolumeClaim> = object.and_then(|object| serde_json::from_str(object.get()).ok());
    let raise = pvc.as_ref().and_then(|pvc| index.raise(&request.namespace, pvc, settings, now));
    let Some(Raise { from, to }) = raise else {
        return Answer::default();
    };
    let name = &request.name;
    tracing::info!(namespace = request.namespace, pvc = name, %from, %to, "a PVC is born with the size of its volume");
    Answer {
        refused: None,
        // CloudNativePG logs it: where a quota then refuses the PVC, this is why it asks for more than its Cluster says.
        warnings: vec![format!(
            "CNPG Storage Manager: the PVC {name} asks for {to} instead of {from}, the size that its volume has"
        )],
        replace: Some(("/spec/resources/requests/storage", to.to_string().into())),
    }
}
