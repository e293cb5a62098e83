use std::sync::PoisonError;
use std::time::Duration;

use csm_core::nudge::Nudge;
use csm_core::world::ClusterKey;
use csm_gather::views::{PodObject, PodView};
use csm_runtime::{Failure, FailureClass};
use kube::api::Patch;
use serde_json::json;
use tokio::time::Instant;

use super::{Writer, patching};
use crate::shared::Shared;

/// Where nudges are not permitted, they are not tried again for so long: a role is seldom changed.
const OFF_FOR: Duration = Duration::from_mins(10);

impl Writer {
    /// Writes the annotation that makes the kubelet look at a pod at once: one field, of this very pod. Nothing rests on it:
    /// the kubelet comes by anyway, so that no failure holds an operation up, and a missing permission is told once.
    pub(super) async fn nudge(&self, shared: &Shared, key: &ClusterKey, nudge: &Nudge) {
        let off = *self.nudges_off.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(uid) = shared.index().pod_uid(&key.namespace, &nudge.pod) else {
            return;
        };
        if off.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let body = json!({"metadata": {"uid": &*uid, "annotations": {csm_api::RESIZE_REQUESTED: nudge.value}}});
        let api = self.api::<PodObject>(&key.namespace);
        match self.write(api.patch(&nudge.pod, &patching(), &Patch::Merge(&body))).await {
            Ok(pod) => {
                if let Some(view) = PodView::of(&pod) {
                    shared.index().put_pod(&key.namespace, &nudge.pod, view);
                }
                tracing::info!(namespace = %key.namespace, cluster = %key.name, pod = nudge.pod, operations = nudge.value, "pod annotated, so that the kubelet grows the filesystem at once");
            }
            Err(Failure::Api(status)) if status.code == 403 => {
                let first = {
                    let mut off = self.nudges_off.lock().unwrap_or_else(PoisonError::into_inner);
                    off.replace(Instant::now() + OFF_FOR).is_none()
                };
                if first {
                    tracing::info!(
                        error = status.message,
                        "not permitted to annotate pods (patch on pods); filesystems grow when their kubelets come by, up to a minute and more later"
                    );
                }
            }
            Err(failure) if matches!(failure.class(), FailureClass::Conflict | FailureClass::NotFound) => {}
            Err(failure) => {
                tracing::debug!(namespace = %key.namespace, cluster = %key.name, pod = nudge.pod, error = failure.message(), "could not annotate the pod");
            }
        }
    }
}
