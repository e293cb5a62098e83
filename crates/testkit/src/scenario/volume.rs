//! One PVC of a scenario, with the volume behind it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use csm_units::Bytes;
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};

use super::{PATIENCE, Sim};
use crate::nodesim::{Figures, Usage, Volume, VolumeFault, VolumeKey};
use crate::resizer::ResizeFault;

/// One PVC of a scenario, with the volume behind it.
#[derive(Clone)]
pub struct SimVolume {
    sim: Sim,
    key: VolumeKey,
}

impl SimVolume {
    pub(super) fn new(sim: Sim, key: VolumeKey) -> Self {
        Self { sim, key }
    }

    /// Namespace and name of the PVC.
    pub fn key(&self) -> &VolumeKey {
        &self.key
    }

    /// Fills it to a share, from 0 to 1, of what PostgreSQL could use: 0.9 leaves a tenth available.
    pub fn fill(&self, share: f64) -> Result<()> {
        self.change(|volume| volume.set_used(share_of(volume.usable(), share), Instant::now()))
    }

    /// Sets the used bytes.
    pub fn set_used(&self, used: Bytes) -> Result<()> {
        self.change(|volume| volume.set_used(used.get(), Instant::now()))
    }

    /// Lets it fill by this much a second, from where it is.
    pub fn grow_use_by(&self, bytes_per_second: i64) -> Result<()> {
        self.set_usage(Usage::Rate(bytes_per_second))
    }

    /// Sets how it fills from now.
    pub fn set_usage(&self, usage: Usage) -> Result<()> {
        self.change(|volume| volume.set_usage(usage, Instant::now()))
    }

    /// Inodes in all and used; `None` for what the filesystem would have.
    pub fn set_inodes(&self, inodes: Option<(u64, u64)>) -> Result<()> {
        self.change(|volume| volume.set_inodes(inodes))
    }

    /// Makes its figures wrong, or right again.
    pub fn fault(&self, fault: VolumeFault) -> Result<()> {
        self.sim.kubelets().set_volume_fault(&self.key, fault)
    }

    /// Makes its expansion go wrong, or right again.
    pub fn resize_fault(&self, fault: ResizeFault) {
        self.sim.resizer().set_fault(&self.key, fault);
    }

    /// What the kubelet measured last; none while no running pod has it.
    pub fn measured(&self) -> Option<Figures> {
        self.sim.kubelets().measured(&self.key)
    }

    /// The size of the filesystem as it is, whatever was measured.
    pub fn filesystem_size(&self) -> Result<Bytes> {
        self.change(|volume| Bytes::new(volume.capacity()))
    }

    /// The PVC as it is.
    pub async fn pvc(&self) -> Result<PersistentVolumeClaim> {
        self.claims()
            .get(&self.key.claim)
            .await
            .with_context(|| format!("get the PVC {}", self.key))
    }

    /// What its spec asks for.
    pub async fn request(&self) -> Result<Bytes> {
        requested(&self.pvc().await?).with_context(|| format!("the PVC {} requests no storage", self.key))
    }

    /// What its status says that it has.
    pub async fn capacity(&self) -> Result<Bytes> {
        capacity(&self.pvc().await?).with_context(|| format!("the PVC {} has no capacity", self.key))
    }

    /// Patches what its spec asks for, as a person would.
    pub async fn patch_request(&self, size: Bytes) -> Result<()> {
        let patch = serde_json::json!({ "spec": { "resources": { "requests": { "storage": size.to_string() } } } });
        self.claims()
            .patch(&self.key.claim, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(patch))
            .await
            .with_context(|| format!("patch the PVC {}", self.key))?;
        Ok(())
    }

    /// Waits until its status says that it has at least `size`.
    pub async fn wait_capacity(&self, size: Bytes) -> Result<PersistentVolumeClaim> {
        let what = format!("a capacity of {size}");
        self.wait(&what, PATIENCE, |pvc| capacity(pvc).is_some_and(|capacity| capacity >= size))
            .await
    }

    /// Waits until its spec asks for at least `size`.
    pub async fn wait_request(&self, size: Bytes) -> Result<PersistentVolumeClaim> {
        let what = format!("a request of {size}");
        self.wait(&what, PATIENCE, |pvc| requested(pvc).is_some_and(|request| request >= size))
            .await
    }

    /// Waits until `done` holds of the PVC, at most `patience`.
    pub async fn wait(
        &self,
        what: &str,
        patience: Duration,
        done: impl Fn(&PersistentVolumeClaim) -> bool,
    ) -> Result<PersistentVolumeClaim> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.key.claim));
        let seen = watcher(self.claims(), config).default_backoff().applied_objects();
        pin_mut!(seen);
        let mut last = None;
        let waiting = async {
            while let Some(event) = seen.next().await {
                // The watcher tries again by itself.
                let Ok(pvc) = event else { continue };
                if done(&pvc) {
                    return Some(pvc);
                }
                last = Some(pvc);
            }
            None
        };
        if let Ok(Some(pvc)) = tokio::time::timeout(patience, waiting).await {
            return Ok(pvc);
        }
        let state = last.map(|pvc| format!("{:?} {:?}", pvc.spec.and_then(|spec| spec.resources), pvc.status));
        let state = state.unwrap_or_else(|| "was not seen".to_owned());
        bail!("the PVC {} did not get to {what} in {} s: {state}", self.key, patience.as_secs())
    }

    fn claims(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.sim.client(), &self.key.namespace)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Volume) -> T) -> Result<T> {
        self.sim.kubelets().with_volume(&self.key, change)
    }
}

fn size(quantity: &Quantity) -> Option<Bytes> {
    quantity.0.parse().ok()
}

fn requested(pvc: &PersistentVolumeClaim) -> Option<Bytes> {
    size(pvc.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?)
}

fn capacity(pvc: &PersistentVolumeClaim) -> Option<Bytes> {
    size(pvc.status.as_ref()?.capacity.as_ref()?.get("storage")?)
}

/// A share of some bytes; shares outside 0 to 1 count as those.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share is within 0 and a million"
)]
pub(super) fn share_of(bytes: u64, share: f64) -> u64 {
    let millionths = (share.clamp(0.0, 1.0) * 1e6).round() as u64;
    Bytes::new(bytes).mul_div(millionths, 1_000_000).get()
}
