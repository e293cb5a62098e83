//! Plays the CSI resizer and the kubelet's part of volume expansion: walks a PVC whose request was raised through the
//! states that the real ones write (external-resizer v2, `expand_and_recover.go`; kubelet, `node_expander.go`).
//!
//! 1. `Resizing`, `allocatedResources`, `ControllerResizeInProgress`
//! 2. the PV's capacity is raised
//! 3. `NodeResizePending` with the condition `FileSystemResizePending`
//! 4. once a pod has the volume mounted and its kubelet looks at it: `NodeResizeInProgress`
//! 5. the simulated filesystem grows; its next figures show it
//! 6. `status.capacity`; the resize conditions and statuses are gone, `allocatedResources` stays
//!
//! Each step's duration can be set, and each PVC can be made to hang or fail at a step, as real drivers do.

mod claim;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
/// gRPC status codes, as CSI drivers answer with them.
pub use tonic::Code;

use self::claim::Claim;
use crate::nodesim::{NodeSim, Volume, VolumeKey};

/// How long each step takes.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// From the patch until the resizer takes it up.
    pub notice: Duration,
    /// `ControllerExpandVolume`.
    pub controller: Duration,
    /// The kubelet's sync of a pod, which finds pending node expansions. An update of the pod object cuts it short.
    pub node_sync: Duration,
    /// `NodeExpandVolume`.
    pub node: Duration,
    /// The first pause after a failure; it doubles up to [`Self::longest_retry`].
    pub retry: Duration,
    /// The longest pause after failures, and the pause after one that the driver called infeasible.
    pub longest_retry: Duration,
    /// A call that hangs counts as failed after this long, with an event.
    pub call_timeout: Duration,
}

impl Default for Speed {
    /// Fast enough for tests, slow enough that every state can be seen.
    fn default() -> Self {
        Self {
            notice: Duration::from_millis(20),
            controller: Duration::from_millis(100),
            node_sync: Duration::from_millis(300),
            node: Duration::from_millis(100),
            retry: Duration::from_millis(200),
            longest_retry: Duration::from_secs(2),
            call_timeout: Duration::from_secs(1),
        }
    }
}

/// What goes wrong with the expansion of one PVC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ResizeFault {
    /// Nothing.
    #[default]
    None,
    /// Nobody takes the request up: no resizer is installed.
    Ignored,
    /// `ControllerExpandVolume` never comes back.
    HangController,
    /// `NodeExpandVolume` never comes back.
    HangNode,
    /// Requests above this many bytes are answered with `OutOfRange`: infeasible until the request is lowered.
    InfeasibleAbove(u64),
    /// `ControllerExpandVolume` fails.
    FailController {
        /// With this code, which decides what Kubernetes makes of it.
        code: Code,
        /// With this text.
        message: String,
        /// This many times; then it works.
        times: u32,
    },
    /// `NodeExpandVolume` fails.
    FailNode {
        /// With this code, which decides what Kubernetes makes of it.
        code: Code,
        /// With this text.
        message: String,
        /// This many times; then it works.
        times: u32,
    },
    /// Everything reports success, but the filesystem stays as it was.
    PretendGrown,
}

/// The resizer of one control plane. Clones are the same.
#[derive(Clone)]
pub struct Resizer {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    nodes: NodeSim,
    runtime: Handle,
    ending: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    speed: Speed,
    faults: HashMap<VolumeKey, ResizeFault>,
    /// Claims that are being worked on, with what their workers wait for.
    workers: HashMap<VolumeKey, watch::Sender<Wanted>>,
    /// Volumes that were made here, for claims that nobody described.
    made: HashSet<VolumeKey>,
}

/// What makes a worker look again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    /// The request as the API server has it; `None` once the claim is gone.
    request: Option<u64>,
    /// Counts changes of the claim's fault.
    fault_changes: u64,
    /// Counts everything that was seen of the claim.
    seen: u64,
}

impl Resizer {
    /// Starts watching PVCs on the current runtime. Also puts a volume behind every bound PVC that has none.
    pub async fn start(client: Client, nodes: NodeSim, speed: Speed) -> Result<Self> {
        let inner = Arc::new(Inner {
            client: client.clone(),
            nodes,
            runtime: Handle::try_current().context("the resizer needs a tokio runtime")?,
            ending: CancellationToken::new(),
            state: Mutex::new(State { speed, ..State::default() }),
        });
        let (ready, wait) = oneshot::channel();
        let watching = watch_claims(inner.clone(), ready);
        inner.runtime.spawn(inner.ending.clone().run_until_cancelled_owned(watching));
        wait.await.context("the watch of PVCs ended before its first list")?;
        Ok(Self { inner })
    }

    /// Ends it; expansions stay where they are.
    pub fn stop(&self) {
        self.inner.ending.cancel();
    }

    /// Changes the durations of the steps that begin from now.
    pub fn set_speed(&self, speed: Speed) {
        self.inner.state().speed = speed;
    }

    /// Makes the expansion of one PVC go wrong, or right again. A call that hangs comes back when its fault goes.
    pub fn set_fault(&self, key: &VolumeKey, fault: ResizeFault) {
        let mut state = self.inner.state();
        state.faults.insert(key.clone(), fault);
        if let Some(worker) = state.workers.get(key) {
            worker.send_modify(|wanted| wanted.fault_changes += 1);
        }
        drop(state);
        // A request that was ignored so far may be due now.
        let (inner, key) = (self.inner.clone(), key.clone());
        self.inner.runtime.spawn(async move {
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(inner.client.clone(), &key.namespace);
            if let Ok(Some(claim)) = claims.get_opt(&key.claim).await {
                inner.see(&claim);
            }
        });
    }

    /// True while an expansion of the PVC is under way.
    pub fn is_busy(&self, key: &VolumeKey) -> bool {
        self.inner.state().workers.contains_key(key)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn speed(&self) -> Speed {
        self.state().speed
    }

    fn fault(&self, key: &VolumeKey) -> ResizeFault {
        self.state().faults.get(key).cloned().unwrap_or_default()
    }

    /// Takes one of the failures of a fault that fails a number of times.
    fn take_failure(&self, key: &VolumeKey) {
        let mut state = self.state();
        if let Some(ResizeFault::FailController { times, .. } | ResizeFault::FailNode { times, .. }) = state.faults.get_mut(key) {
            *times = times.saturating_sub(1);
        }
    }

    /// Takes in a PVC as the API server has it; sets a worker on it when it wants to grow.
    fn see(self: &Arc<Self>, pvc: &PersistentVolumeClaim) {
        let Some(claim) = Claim::read(pvc) else { return };
        let mut state = self.state();
        if let Some(capacity) = claim.capacity_bytes() {
            let made = &mut state.made;
            self.nodes.put_volume_if_missing(claim.key.clone(), || {
                made.insert(claim.key.clone());
                Volume::new(capacity, crate::nodesim::Filesystem::default())
            });
        }
        if let Some(worker) = state.workers.get(&claim.key) {
            worker.send_modify(|wanted| {
                wanted.request = Some(claim.request_bytes());
                wanted.seen += 1;
            });
        } else if claim.wants_work() && state.faults.get(&claim.key) != Some(&ResizeFault::Ignored) {
            let wanted = Wanted {
                request: Some(claim.request_bytes()),
                ..Wanted::default()
            };
            let (sender, receiver) = watch::channel(wanted);
            state.workers.insert(claim.key.clone(), sender);
            let work = worker::run(self.clone(), claim.key, receiver);
            self.runtime.spawn(self.ending.clone().run_until_cancelled_owned(work));
        }
    }

    /// Takes in that a PVC is gone.
    fn forget(&self, pvc: &PersistentVolumeClaim) {
        let (Some(namespace), Some(name)) = (pvc.namespace(), pvc.metadata.name.clone()) else {
            return;
        };
        let key = VolumeKey::new(namespace, name);
        let mut state = self.state();
        if let Some(worker) = state.workers.get(&key) {
            worker.send_modify(|wanted| wanted.request = None);
        }
        state.faults.remove(&key);
        if state.made.remove(&key) {
            self.nodes.remove_volume(&key);
        }
    }

    /// Ends a worker, unless something came in after it looked last.
    fn end_worker(&self, key: &VolumeKey, looked_at: &Wanted) -> bool {
        let mut state = self.state();
        let idle = state.workers.get(key).is_none_or(|sender| *sender.borrow() == *looked_at);
        if idle {
            state.workers.remove(key);
        }
        idle
    }
}

async fn watch_claims(inner: Arc<Inner>, ready: oneshot::Sender<()>) {
    let claims: Api<PersistentVolumeClaim> = Api::all(inner.client.clone());
    let stream = watcher(claims, watcher::Config::default()).default_backoff();
    pin_mut!(stream);
    let mut ready = Some(ready);
    while let Some(event) = stream.next().await {
        match event {
            // The watcher tries again by itself.
            Err(_) | Ok(watcher::Event::Init) => {}
            Ok(watcher::Event::InitApply(pvc) | watcher::Event::Apply(pvc)) => inner.see(&pvc),
            Ok(watcher::Event::Delete(pvc)) => inner.forget(&pvc),
            Ok(watcher::Event::InitDone) => {
                if let Some(ready) = ready.take() {
                    let _ = ready.send(());
                }
            }
        }
    }
}
