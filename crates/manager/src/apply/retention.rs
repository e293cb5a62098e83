use csm_api::StorageEvent;
use csm_runtime::{Failure, FailureClass};
use kube::api::{DeleteParams, ObjectMeta, Preconditions};

use super::Writer;

impl Writer {
    /// Deletes a StorageEvent that has been kept long enough: this very one, unchanged.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn drop_event(&self, event: &ObjectMeta) -> Result<(), Failure> {
        let api = self.api::<StorageEvent>(event.namespace.as_deref().unwrap_or_default());
        let preconditions = Preconditions {
            uid: event.uid.clone(),
            resource_version: event.resource_version.clone(),
        };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match self.write(api.delete(event.name.as_deref().unwrap_or_default(), &parameters)).await {
            Err(failure) if matches!(failure.class(), FailureClass::NotFound | FailureClass::Conflict) => Ok(()),
            ended => ended.map(|_| ()),
        }
    }
}
