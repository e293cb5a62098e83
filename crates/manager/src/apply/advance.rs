use csm_api::{Growth, StorageEventStatus};
use csm_core::operation::{self, Patch as PvcPatch, Progress, Withdrawal};
use csm_core::world::ClusterKey;
use csm_runtime::{Failure, FailureClass};
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::Patch;
use serde_json::json;

use super::{Writer, patching};
use crate::shared::Shared;
use csm_gather::views::ResourceVersion;

/// What a step of an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// Nothing to do but wait.
    Waiting,
    /// Something was written, or the world has moved on: look again at once.
    Again,
}

/// What came of withdrawing what a PVC may have been asked for.
enum Withdrawn {
    /// It has a new version.
    Done,
    /// Somebody else has written it, or it is gone: it is to be looked at again.
    Changed,
    /// The API server lets nobody write it: what was asked for will be refused as well.
    Refused(Failure),
}

impl Writer {
    /// Carries one step of an operation out: its status first, then the PVCs that are due. Each answer goes into the index
    /// at once, so that nothing is decided on a cache that lags behind our own writes.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn advance(&self, shared: &Shared, key: &ClusterKey, event: &Growth, progress: Progress) -> Result<Advanced, Failure> {
        let mut event = event.clone();
        let mut advanced = Advanced::Waiting;
        if event.status.as_ref() != Some(&progress.status) {
            event = self.journal(shared, &event, progress.status).await?;
            advanced = Advanced::Again;
        }
        for patch in progress.patch {
            advanced = Advanced::Again;
            match self.patch_pvc(shared, key, &patch).await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!(namespace = %key.namespace, cluster = %key.name, pvc = patch.pvc, to = %patch.to, operation = event.name_any(), "PVC patched");
                }
                Err(failure) => match failure.class() {
                    FailureClass::Conflict | FailureClass::NotFound => self.read_pvc(shared, key, &patch.pvc).await?,
                    FailureClass::Refused => {
                        // The same patch may have been asked for before, without an answer.
                        let withdrawal = Withdrawal {
                            pvc: patch.pvc.clone(),
                            uid: patch.uid.clone(),
                            operation: event.name_any(),
                        };
                        if matches!(self.withdraw(shared, key, &withdrawal).await?, Withdrawn::Changed) {
                            continue;
                        }
                        self.refused(shared, &event, &patch.uid, &failure).await?;
                        tracing::warn!(namespace = %key.namespace, cluster = %key.name, pvc = patch.pvc, to = %patch.to, error = failure.message(), "the API server refused to grow the PVC");
                        break;
                    }
                    _ => return Err(failure),
                },
            }
        }
        for withdrawal in &progress.withdraw {
            advanced = Advanced::Again;
            if let Withdrawn::Refused(failure) = self.withdraw(shared, key, withdrawal).await? {
                self.refused(shared, &event, &withdrawal.uid, &failure).await?;
                break;
            }
        }
        for nudge in &progress.nudge {
            self.nudge(shared, key, nudge).await;
        }
        Ok(advanced)
    }

    /// Writes what came out after an operation had ended.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn complete(&self, shared: &Shared, event: &Growth, status: StorageEventStatus) -> Result<Growth, Failure> {
        self.journal(shared, event, status).await
    }

    /// Writes that the API server refused to change a PVC.
    async fn refused(&self, shared: &Shared, event: &Growth, uid: &str, failure: &Failure) -> Result<(), Failure> {
        let mut status = event.status.clone().unwrap_or_default();
        operation::refuse(&mut status, uid, &failure.message());
        self.journal(shared, event, status).await.map(|_| ())
    }

    /// Writes an operation's status, provided that nobody else has since.
    async fn journal(&self, shared: &Shared, event: &Growth, status: StorageEventStatus) -> Result<Growth, Failure> {
        let api = self.api::<Growth>(&event.namespace().unwrap_or_default());
        let written = match self.write_status(&api, event, &status).await {
            Ok(written) => written,
            Err(failure) => {
                // A person may have deleted it, while it was not cached that they had.
                if failure.class() == FailureClass::NotFound {
                    let wake = shared
                        .index()
                        .remove_event(&event.namespace().unwrap_or_default(), &event.name_any());
                    shared.wake(wake);
                }
                // It may have been written all the same, or somebody else wrote it: go on from what is there.
                if matches!(failure.class(), FailureClass::Conflict | FailureClass::Transient)
                    && let Ok(current) = csm_runtime::error::call(api.get(&event.name_any())).await
                {
                    shared.index().put_event(current);
                }
                return Err(failure);
            }
        };
        // Where it has ended, others that waited for it are next.
        let wake = shared.index().put_event(written.clone());
        shared.wake(wake);
        Ok(written)
    }

    /// Raises a PVC's request, or lowers one that is infeasible: one field, of this very PVC, unless somebody has changed it since we looked. Returns whether
    /// anything was written: somebody else may have asked for as much, or for more, while we wrote the journal.
    async fn patch_pvc(&self, shared: &Shared, key: &ClusterKey, patch: &PvcPatch) -> Result<bool, Failure> {
        // Both at one moment: what is larger in a version that is not the newest is refused as a conflict.
        let known = shared.index().pvc_request(&key.namespace, &patch.pvc);
        let due = |request: Bytes| match patch.instead_of {
            None => request < patch.to,
            Some(infeasible) => request == infeasible && patch.to < infeasible,
        };
        let Some((_, version)) = known.filter(|(request, _)| due(*request)) else {
            return Ok(false);
        };
        let version = Some(version).filter(|v| *v != ResourceVersion(u64::MAX));
        let body = json!({
            "metadata": {"uid": patch.uid, "resourceVersion": version.map(|v| v.0.to_string())},
            "spec": {"resources": {"requests": {"storage": patch.to}}},
        });
        let api = self.api::<PersistentVolumeClaim>(&key.namespace);
        let patched = self.write(api.patch(&patch.pvc, &patching(), &Patch::Merge(&body))).await?;
        shared.index().put_pvc(&patched, Timestamp::now());
        Ok(true)
    }

    /// Gives a PVC a new version, from the one that we know: what was asked for with that one is refused if it comes late. That is
    /// so as well where somebody else has written it meanwhile.
    async fn withdraw(&self, shared: &Shared, key: &ClusterKey, withdrawal: &Withdrawal) -> Result<Withdrawn, Failure> {
        let Withdrawal { pvc, uid, operation } = withdrawal;
        let known = shared.index().pvc_request(&key.namespace, pvc);
        let version = known.map(|(_, version)| version).filter(|v| *v != ResourceVersion(u64::MAX));
        let body = json!({
            "metadata": {
                "uid": uid,
                "resourceVersion": version.map(|v| v.0.to_string()),
                "annotations": {csm_api::RESIZE_WITHDRAWN: operation},
            },
        });
        let api = self.api::<PersistentVolumeClaim>(&key.namespace);
        match self.write(api.patch(pvc, &patching(), &Patch::Merge(&body))).await {
            Ok(written) => {
                shared.index().put_pvc(&written, Timestamp::now());
                Ok(Withdrawn::Done)
            }
            Err(failure) => match failure.class() {
                FailureClass::Conflict | FailureClass::NotFound => self.read_pvc(shared, key, pvc).await.map(|()| Withdrawn::Changed),
                FailureClass::Refused => Ok(Withdrawn::Refused(failure)),
                _ => Err(failure),
            },
        }
    }

    /// Reads a PVC again after a conflict.
    async fn read_pvc(&self, shared: &Shared, key: &ClusterKey, pvc: &str) -> Result<(), Failure> {
        let api = self.api::<PersistentVolumeClaim>(&key.namespace);
        match csm_runtime::error::call(api.get_opt(pvc)).await? {
            Some(pvc) => shared.index().put_pvc(&pvc, Timestamp::now()),
            None => shared.index().remove_pvc(&key.namespace, pvc),
        };
        Ok(())
    }
}
