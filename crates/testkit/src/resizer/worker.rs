//! Works on one PVC until there is nothing left to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use super::claim::{Claim, bytes, resource_status};
use super::{Code, Inner, ResizeFault, Wanted};
use crate::nodesim::{PodKey, VolumeKey};

/// Longest pause after an answer of the API server that is neither success nor a conflict.
const API_RETRY: Duration = Duration::from_millis(100);
/// An interval cannot be shorter.
const SHORTEST_SYNC: Duration = Duration::from_millis(1);
/// The text of `FileSystemResizePending`.
const PENDING_MESSAGE: &str = "Waiting for user to (re-)start a pod to finish file system resize of volume on node.";

const RESIZER: &str = "csi-resizer";
const KUBELET: &str = "kubelet";

/// What is to be done next.
enum Step {
    /// Nothing.
    Done,
    /// `ControllerExpandVolume` to this size.
    Controller(Quantity),
    /// `NodeExpandVolume` to the PV's size.
    Node(Quantity),
}

/// One PVC's worker.
struct Worker {
    inner: Arc<Inner>,
    key: VolumeKey,
    wanted: watch::Receiver<Wanted>,
    failures: u32,
    /// The last failure of the controller was one after which the driver is known to be idle.
    final_error: bool,
    /// The size that the driver called infeasible, and when it may be tried again.
    infeasible: Option<(Quantity, Instant)>,
    /// Updates of pods since the node's turn was written: from then on each of them hastens it.
    pod_updates: Option<broadcast::Receiver<PodKey>>,
}

/// Runs until the PVC needs nothing more.
pub async fn run(inner: Arc<Inner>, key: VolumeKey, wanted: watch::Receiver<Wanted>) {
    let notice = inner.speed().notice;
    let mut worker = Worker {
        inner,
        key,
        wanted,
        failures: 0,
        final_error: false,
        infeasible: None,
        pod_updates: None,
    };
    worker.lasts(notice).await;
    loop {
        let looked_at = worker.wanted.borrow_and_update().clone();
        match worker.step().await {
            Ok(true) => {}
            Ok(false) => {
                if worker.inner.end_worker(&worker.key, &looked_at) {
                    return;
                }
            }
            // Somebody wrote the PVC meanwhile: look at it again.
            Err(error) if error.downcast_ref::<kube::Error>().is_some_and(crate::retry::conflict) => {}
            Err(_) => drop(tokio::time::timeout(API_RETRY, worker.wanted.changed()).await),
        }
    }
}

impl Worker {
    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.inner.client.clone(), &self.key.namespace)
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(self.inner.client.clone())
    }

    /// One step; false when there is none.
    async fn step(&mut self) -> Result<bool> {
        let Some(pvc) = self.claims().get_opt(&self.key.claim).await? else {
            return Ok(false);
        };
        let Some(claim) = Claim::read(&pvc) else { return Ok(false) };
        let Some(volume) = self.volumes().get_opt(&claim.volume_name).await? else {
            return Ok(false);
        };
        let size = volume
            .spec
            .as_ref()
            .and_then(|spec| spec.capacity.as_ref())
            .and_then(|map| map.get("storage"));
        let size = size
            .cloned()
            .with_context(|| format!("the PV {} has no capacity", claim.volume_name))?;
        match self.decide(&claim, &size) {
            Step::Done => return Ok(false),
            Step::Controller(size) => self.controller(&claim, size).await?,
            Step::Node(size) => self.node(claim, &size).await?,
        }
        Ok(true)
    }

    /// The choice of `expandAndRecover`.
    fn decide(&self, claim: &Claim, volume_size: &Quantity) -> Step {
        let at = |quantity: &Quantity| bytes(quantity).unwrap_or(0);
        let (request, capacity) = (claim.request_bytes(), at(&claim.capacity));
        let allocated = || claim.allocated.clone().unwrap_or_else(|| claim.request.clone());
        let controller = |size| {
            if self.inner.fault(&self.key) == ResizeFault::Ignored {
                Step::Done
            } else {
                Step::Controller(size)
            }
        };
        match claim.status.as_deref() {
            Some(resource_status::NODE_PENDING | resource_status::NODE_IN_PROGRESS) if at(volume_size) >= at(&allocated()) => {
                Step::Node(volume_size.clone())
            }
            _ if request <= capacity => Step::Done,
            // An expansion under way, or one that may be, is finished before another begins.
            Some(resource_status::CONTROLLER_IN_PROGRESS) if !self.final_error => controller(allocated()),
            Some(resource_status::NODE_PENDING | resource_status::NODE_IN_PROGRESS | resource_status::NODE_INFEASIBLE) => {
                controller(allocated())
            }
            // The PV has grown already, only the record is missing.
            Some(_) if at(volume_size) >= request => controller(allocated()),
            _ => controller(claim.request.clone()),
        }
    }

    async fn controller(&mut self, claim: &Claim, size: Quantity) -> Result<()> {
        if let Some((infeasible, again)) = self.infeasible.clone()
            && infeasible == size
        {
            self.pause_until(again, claim.request_bytes()).await;
            self.infeasible = None;
            return Ok(());
        }
        let claim = self.mark_controller_in_progress(claim, &size).await?;
        let message = format!("External resizer is resizing volume {}", claim.volume_name);
        self.event(&claim, RESIZER, "Normal", "Resizing", &message).await;
        let speed = self.inner.speed();
        self.lasts(speed.controller).await;
        let failure = match self.inner.fault(&self.key) {
            ResizeFault::HangController => {
                self.lasts(speed.call_timeout).await;
                if self.inner.fault(&self.key) == ResizeFault::HangController {
                    Some((Code::DeadlineExceeded, "context deadline exceeded".to_owned()))
                } else {
                    None
                }
            }
            ResizeFault::InfeasibleAbove(limit) if bytes(&size).unwrap_or(0) > limit => {
                Some((Code::OutOfRange, format!("the volume cannot be larger than {limit} bytes")))
            }
            ResizeFault::FailController { code, message, times } if times > 0 => {
                self.inner.take_failure(&self.key);
                Some((code, message))
            }
            _ => None,
        };
        match failure {
            None => self.controller_done(&claim, &size).await,
            Some((code, text)) => self.controller_failed(&claim, size, code, &text).await,
        }
    }

    async fn mark_controller_in_progress(&self, claim: &Claim, size: &Quantity) -> Result<Claim> {
        // A retry of the same size leaves status and conditions of the first try alone.
        let first = claim.allocated.as_ref() != Some(size);
        let conditions = claim.merged_conditions(&[("Resizing", None)], !first, Timestamp::now());
        let mut status = json!({ "conditions": conditions, "allocatedResources": { "storage": size } });
        if first {
            status["allocatedResourceStatuses"] = json!({ "storage": resource_status::CONTROLLER_IN_PROGRESS });
        }
        self.patch(claim, &status, RESIZER).await
    }

    async fn controller_done(&mut self, claim: &Claim, size: &Quantity) -> Result<()> {
        (self.failures, self.final_error, self.infeasible) = (0, false, None);
        let patch = Patch::Merge(json!({ "spec": { "capacity": { "storage": size } } }));
        self.volumes().patch(&claim.volume_name, &manager(RESIZER), &patch).await?;
        self.pod_updates = Some(self.inner.nodes.pod_updates());
        let pending = [("FileSystemResizePending", Some(PENDING_MESSAGE))];
        let status = json!({
            "conditions": claim.merged_conditions(&pending, true, Timestamp::now()),
            "allocatedResourceStatuses": { "storage": resource_status::NODE_PENDING },
        });
        self.patch(claim, &status, RESIZER).await?;
        let message = "Require file system resize of volume on node";
        self.event(claim, RESIZER, "Normal", "FileSystemResizeRequired", message).await;
        Ok(())
    }

    async fn controller_failed(&mut self, claim: &Claim, size: Quantity, code: Code, text: &str) -> Result<()> {
        let error = rpc_error(code, text);
        self.final_error = is_final(code);
        if is_final(code) {
            let message = format!("failed to expand pvc with {error}");
            let conditions = [("ControllerResizeError", Some(message.as_str()))];
            let mut status = json!({ "conditions": claim.merged_conditions(&conditions, true, Timestamp::now()) });
            if is_infeasible(code) {
                status["allocatedResourceStatuses"] = json!({ "storage": resource_status::CONTROLLER_INFEASIBLE });
            }
            self.patch(claim, &status, RESIZER).await?;
        }
        let message = format!("resize volume {:?} by resizer {:?} failed: {error}", claim.volume_name, RESIZER);
        self.event(claim, RESIZER, "Warning", "VolumeResizeFailed", &message).await;
        if is_infeasible(code) {
            self.infeasible = Some((size, Instant::now() + self.inner.speed().longest_retry));
        } else {
            self.back_off(claim.request_bytes()).await;
        }
        Ok(())
    }

    async fn node(&mut self, claim: Claim, size: &Quantity) -> Result<()> {
        self.wait_for_kubelet().await;
        if self.wanted.borrow().request.is_none() {
            return Ok(());
        }
        let status = json!({ "allocatedResourceStatuses": { "storage": resource_status::NODE_IN_PROGRESS } });
        let claim = match claim.status.as_deref() {
            Some(resource_status::NODE_IN_PROGRESS) => claim,
            _ => self.patch(&claim, &status, KUBELET).await?,
        };
        self.lasts(self.inner.speed().node).await;
        match self.inner.fault(&self.key) {
            ResizeFault::HangNode => {
                while self.inner.fault(&self.key) == ResizeFault::HangNode && self.wanted.borrow().request.is_some() {
                    self.lasts(Duration::MAX).await;
                }
                return Ok(());
            }
            ResizeFault::FailNode { code, message, times } if times > 0 => {
                self.inner.take_failure(&self.key);
                return self.node_failed(&claim, code, &message).await;
            }
            ResizeFault::PretendGrown => {}
            _ => {
                let device = bytes(size).unwrap_or(0);
                // A volume that a test took away cannot grow; the PVC follows all the same.
                let _ = self.inner.nodes.with_volume(&self.key, |volume| volume.grow(device));
            }
        }
        self.failures = 0;
        self.event(
            &claim,
            KUBELET,
            "Normal",
            "FileSystemResizeSuccessful",
            "MountVolume.NodeExpandVolume succeeded",
        )
        .await;
        let status = json!({
            "capacity": { "storage": size },
            "conditions": claim.merged_conditions(&[], false, Timestamp::now()),
            "allocatedResourceStatuses": null,
        });
        self.patch(&claim, &status, KUBELET).await?;
        Ok(())
    }

    async fn node_failed(&mut self, claim: &Claim, code: Code, text: &str) -> Result<()> {
        let error = rpc_error(code, text);
        let message = format!("failed to expand pvc with {error}");
        let conditions = [("NodeResizeError", Some(message.as_str()))];
        let mut status = json!({ "conditions": claim.merged_conditions(&conditions, true, Timestamp::now()) });
        if is_infeasible(code) {
            status["allocatedResourceStatuses"] = json!({ "storage": resource_status::NODE_INFEASIBLE });
        }
        if is_final(code) {
            self.patch(claim, &status, KUBELET).await?;
        }
        let message = format!("MountVolume.NodeExpandVolume failed for volume {:?}: {error}", claim.volume_name);
        self.event(claim, KUBELET, "Warning", "VolumeResizeFailed", &message).await;
        self.back_off(claim.request_bytes()).await;
        Ok(())
    }

    /// Waits until a pod has the volume and its kubelet looks at it: at its next sync, or when the pod object changes.
    async fn wait_for_kubelet(&mut self) {
        let mut updates = self.pod_updates.take().unwrap_or_else(|| self.inner.nodes.pod_updates());
        let period = self.inner.speed().node_sync.max(SHORTEST_SYNC);
        let mut syncs = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        let mut synced = false;
        loop {
            let user = self.inner.nodes.user_of(&self.key);
            if user.is_some() && synced {
                return;
            }
            tokio::select! {
                _ = syncs.tick() => synced = true,
                updated = updates.recv() => {
                    // Having missed some counts as an update of ours.
                    synced |= updated.map_or(true, |pod| user.is_some_and(|(key, _)| key == pod));
                }
                gone = self.wanted.wait_for(|wanted| wanted.request.is_none()) => {
                    drop(gone);
                    return;
                }
            }
        }
    }

    /// Something that takes its time: work, a pause, a call that does not come back. It ends early when the fault changes or
    /// the PVC goes.
    async fn lasts(&mut self, time: Duration) {
        let changes = self.wanted.borrow().fault_changes;
        let change = self
            .wanted
            .wait_for(|wanted| wanted.fault_changes != changes || wanted.request.is_none());
        let _ = tokio::time::timeout(time, change).await;
    }

    async fn back_off(&mut self, request: u64) {
        let speed = self.inner.speed();
        let pause = speed
            .retry
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(speed.longest_retry);
        self.failures = self.failures.saturating_add(1);
        self.pause_until(Instant::now() + pause, request).await;
    }

    /// A pause that ends early when the request or the fault changes.
    async fn pause_until(&mut self, deadline: Instant, request: u64) {
        let changes = self.wanted.borrow().fault_changes;
        let change = self
            .wanted
            .wait_for(|wanted| wanted.request != Some(request) || wanted.fault_changes != changes);
        let _ = tokio::time::timeout_at(deadline.into(), change).await;
    }

    async fn patch(&self, claim: &Claim, status: &Value, who: &str) -> Result<Claim> {
        let patch = Patch::Merge(claim.patch(status));
        let pvc = self.claims().patch_status(&claim.key.claim, &manager(who), &patch).await?;
        Claim::read(&pvc).with_context(|| format!("the PVC {} is not bound any more", claim.key))
    }

    /// Events are told as the real ones are; one that is refused is no reason to stop.
    async fn event(&self, claim: &Claim, who: &str, kind: &str, reason: &str, message: &str) {
        let now = Time(Timestamp::now());
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            namespace: Some(claim.key.namespace.clone()),
            name: Some(claim.key.claim.clone()),
            uid: Some(claim.uid.clone()),
            ..Default::default()
        };
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}.", claim.key.claim)),
                ..Default::default()
            },
            involved_object: object,
            type_: Some(kind.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            source: Some(EventSource {
                component: Some(who.to_owned()),
                host: None,
            }),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            ..Default::default()
        };
        let events: Api<Event> = Api::namespaced(self.inner.client.clone(), &claim.key.namespace);
        let _ = events.create(&PostParams::default(), &event).await;
    }
}

fn manager(name: &str) -> PatchParams {
    PatchParams {
        field_manager: Some(name.to_owned()),
        ..PatchParams::default()
    }
}

/// An error of Go's gRPC, as texts carry it.
fn rpc_error(code: Code, text: &str) -> String {
    format!("rpc error: code = {code:?} desc = {text}")
}

/// After these the driver is known to be idle (`IsFinalError`).
fn is_final(code: Code) -> bool {
    let going_on = [
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Unavailable,
        Code::ResourceExhausted,
        Code::Aborted,
    ];
    !going_on.contains(&code)
}

/// Trying the same again is useless (`IsInfeasibleError`).
fn is_infeasible(code: Code) -> bool {
    [Code::InvalidArgument, Code::OutOfRange, Code::NotFound].contains(&code)
}
