use csm_api::StorageEvent;
use csm_runtime::{Failure, FailureClass};
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};

use super::Writer;

impl Writer {
    /// Deletes a StorageEvent that has been kept long enough: this very one, unchanged.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn drop_event(&self, event: &StorageEvent) -> Result<(), Failure> {
        let api = self.api::<StorageEvent>(&event.namespace().unwrap_or_default());
        let preconditions = Preconditions {
            uid: event.uid(),
            resource_version: event.resource_version(),
        };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match self.write(api.delete(&event.name_any(), &parameters)).await {
            Err(failure) if matches!(failure.class(), FailureClass::NotFound | FailureClass::Conflict) => Ok(()),
            ended => ended.map(|_| ()),
        }
    }
}
