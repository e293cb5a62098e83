//! What the kubelets told the API server, and when: pods' statuses and PVCs' capacities, by its audit log, to the microsecond.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use csm_testkit::lab::audit::Entry;
use csm_units::Bytes;
use futures::{StreamExt as _, pin_mut};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kube::ResourceExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio_util::task::AbortOnDropHandle;

use crate::stage::Stage;
use crate::timeline::seconds;

/// How often kubelets look at each pod where nobody says otherwise.
pub const KUBERNETES_DEFAULT: &str = "1m0s";
/// How kubelets call themselves at the API server: this, and their node's name.
const KUBELETS: &str = "system:node:";
/// What a watch tells of is no older than this many seconds.
const HEARD_WITHIN: f64 = 2.0;

/// What PostgreSQL's container of a pod does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It runs, since then (whole seconds).
    Runs(Timestamp),
    /// It ended, with this code, then (whole seconds).
    Ended(i32, Timestamp),
    /// It waits, for this reason.
    Waits(String),
}

/// A change of it.
#[derive(Clone, Debug)]
pub struct Change {
    pub pod: String,
    pub doing: Doing,
    /// When a watch told of it.
    heard: Timestamp,
}

/// What PostgreSQL's containers of a namespace do, kept until it is dropped.
pub struct Containers {
    changes: Arc<Mutex<Vec<Change>>>,
    _watcher: AbortOnDropHandle<()>,
}

/// PostgreSQL's container of a pod.
pub fn postgres(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == "postgres")
}

/// What a container does; and before that, how it ended.
fn doing(status: &ContainerStatus) -> Vec<Doing> {
    let read = |state: &ContainerState| {
        let ended = state.terminated.as_ref();
        let ended = ended.and_then(|ended| Some(Doing::Ended(ended.exit_code, ended.finished_at.as_ref()?.0)));
        let runs = state.running.as_ref();
        let runs = || runs.and_then(|runs| Some(Doing::Runs(runs.started_at.as_ref()?.0)));
        let waits = state.waiting.as_ref();
        let waits = || waits.map(|waits| Doing::Waits(waits.reason.clone().unwrap_or_default()));
        ended.or_else(runs).or_else(waits)
    };
    let states = [status.last_state.as_ref(), status.state.as_ref()];
    states.into_iter().flatten().filter_map(read).collect()
}

impl Containers {
    /// Begins to keep what changes from now on; what they do already is kept first.
    pub fn watch(stage: &Stage) -> Self {
        let api = stage.api::<Pod>();
        let changes = Arc::new(Mutex::new(Vec::<Change>::new()));
        let kept = changes.clone();
        let watcher = AbortOnDropHandle::new(tokio::spawn(async move {
            let stream = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
            pin_mut!(stream);
            while let Some(event) = stream.next().await {
                // The watcher tries again by itself.
                let Ok(pod) = event else { continue };
                let (name, heard) = (pod.name_any(), Timestamp::now());
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                for doing in postgres(&pod).map(doing).unwrap_or_default() {
                    let mut known = kept.iter().rev().filter(|change| change.pod == name);
                    let is_known = match doing {
                        // It may wait again, for the same reason.
                        Doing::Waits(_) => known.next().is_some_and(|last| last.doing == doing),
                        // An end stays in the status while the container runs again.
                        Doing::Runs(_) | Doing::Ended(..) => known.any(|change| change.doing == doing),
                    };
                    if !is_known {
                        let pod = name.clone();
                        kept.push(Change { pod, doing, heard });
                    }
                }
            }
        }));
        Self {
            changes,
            _watcher: watcher,
        }
    }

    /// All changes of a pod so far.
    pub fn of(&self, pod: &str) -> Vec<Change> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.iter().filter(|change| change.pod == pod).cloned().collect()
    }
}

impl Stage {
    fn of_kubelets(&self, resource: &str, name: &str) -> Result<Vec<Entry>> {
        let is_it = |e: &Entry| e.user.starts_with(KUBELETS) && e.verb == "patch" && e.code == 200 && e.subresource == "status";
        let mut entries = self.requests_of_all()?;
        entries.retain(|e| is_it(e) && e.resource == resource && e.name == name);
        entries.sort_by_key(|e| e.received);
        Ok(entries)
    }

    /// When the API server received the kubelet's word of a change: its last word on the pod before the watch told of it.
    pub fn told(&self, change: &Change) -> Result<Timestamp> {
        let words = self.of_kubelets("pods", &change.pod)?.into_iter();
        let last = words.map(|e| e.received).rfind(|at| *at <= change.heard);
        let told = last.with_context(|| format!("no kubelet told of {change:?}"))?;
        ensure!(
            seconds(told, change.heard) < HEARD_WITHIN,
            "{change:?}, but the kubelet's last word is of {told}"
        );
        Ok(told)
    }

    /// When the API server received a kubelet's word that a filesystem has been grown: that its PVC has this capacity.
    pub fn filesystem_told(&self, claim: &str, to: Bytes) -> Result<Option<Timestamp>> {
        let says_so = |e: &Entry| {
            let capacity = e.request.as_ref().and_then(|body| body["status"]["capacity"]["storage"].as_str());
            capacity.and_then(|size| size.parse::<Bytes>().ok()).is_some_and(|size| size >= to)
        };
        let words = self.of_kubelets("persistentvolumeclaims", claim)?;
        Ok(words.iter().find(|e| says_so(e)).map(|e| e.received))
    }

    /// Has all kubelets look at each pod again so often, such as `1m0s`.
    pub async fn kubelets_sync(&self, every: &str) -> Result<()> {
        for node in &self.lab.status().nodes {
            self.lab.kubelet_syncs(node.number, every).await?;
        }
        Ok(())
    }

    /// Has all kubelets measure volumes so often.
    pub async fn kubelets_measure(&self, every: &str) -> Result<()> {
        for node in &self.lab.status().nodes {
            self.lab.kubelet_measures(node.number, every).await?;
        }
        Ok(())
    }
}
