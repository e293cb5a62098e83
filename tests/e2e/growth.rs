//! Watching a data volume grow, from the outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Phase, StorageEvent};
use csm_units::Bytes;
use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::stage::GROWTH;
use crate::timeline::{Member, Timeline};
use crate::wait::within;

/// How often `df` is asked of a pod whose PVC was patched.
const LOOK: Duration = Duration::from_millis(250);
/// A filesystem on a volume of this size has at least this share of it: the rest is XFS's own.
const FILESYSTEM_SHARE: u64 = 90;

/// Asks `df` in the pods of all members whose PVC asks for more, until it shows more.
pub struct GrowthWatch {
    cluster: Arc<Cluster>,
    to: Bytes,
    known: usize,
    grown: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    task: JoinHandle<()>,
}

impl Drop for GrowthWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What `df` must show of a volume of this size.
pub fn filesystem_of(size: Bytes) -> u64 {
    size.mul_div(FILESYSTEM_SHARE, 100).get()
}

impl GrowthWatch {
    /// Begins before the volume is filled: growth to `to` is expected.
    pub async fn start(cluster: &Arc<Cluster>, to: Bytes) -> Result<Self> {
        let grown = Arc::new(Mutex::new(BTreeMap::new()));
        let known = cluster.stage.events(&cluster.name).await?.len();
        cluster.stage.expect_growth();
        let task = tokio::spawn(watch(cluster.clone(), to, grown.clone()));
        Ok(Self {
            cluster: cluster.clone(),
            to,
            known,
            grown,
            task,
        })
    }

    /// Waits until the operation has ended and every pod's `df` shows the growth. Keeps and returns its timeline.
    pub async fn finish(self, breach: &Breach) -> Result<(StorageEvent, Timeline)> {
        self.finish_after(breach, None).await
    }

    /// The same for a breach that something held at first.
    pub async fn finish_after(self, breach: &Breach, held_by: Option<&str>) -> Result<(StorageEvent, Timeline)> {
        let (stage, cluster) = (&self.cluster.stage, &self.cluster);
        let event = within(GROWTH, &format!("{} has grown to {}", cluster.name, self.to), async || {
            let events = stage.events(&cluster.name).await?;
            let ended = |e: &StorageEvent| matches!(csm_tests::phase(e), Some(Phase::Completed | Phase::Failed));
            Ok(events.into_iter().skip(self.known).find(ended))
        })
        .await?;
        ensure!(
            csm_tests::phase(&event) == Some(Phase::Completed),
            "the growth failed: {:?}",
            event.status
        );
        ensure!(
            event.spec.expansion.requested_size == self.to,
            "grown to {} instead of {}",
            event.spec.expansion.requested_size,
            self.to
        );
        within(GROWTH, "df shows the growth in all pods", async || {
            let grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner).len();
            Ok((grown == cluster.instances()).then_some(()))
        })
        .await?;
        let timeline = Timeline {
            held_by: held_by.map(str::to_owned),
            ..self.timeline(&event, breach)?
        };
        stage.keep(timeline.clone());
        Ok((event, timeline))
    }

    fn timeline(&self, event: &StorageEvent, breach: &Breach) -> Result<Timeline> {
        let stage = &self.cluster.stage;
        let name = event.name_any();
        let made = stage.requests()?.into_iter().find(|e| {
            let of_this = |body: &serde_json::Value| body["metadata"]["name"] == name.as_str();
            e.verb == "create" && e.resource == "storageevents" && e.request.as_ref().is_some_and(of_this)
        });
        let made = made.with_context(|| format!("the audit log does not tell of the creation of {name}"))?;
        let grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let statuses = event.status.as_ref().map(|s| s.pvc_statuses.clone()).unwrap_or_default();
        let patches = stage.patches()?.into_iter().filter(|p| {
            let of_this = event.spec.expansion.affected_pvcs.iter().any(|affected| affected.name == p.pvc);
            of_this && p.code == 200 && p.to == Some(self.to)
        });
        let members = patches.map(|patch| {
            let status = statuses.iter().find(|s| s.name == patch.pvc);
            Member {
                patched: patch.at,
                controller_done: stage.journal.controller_done(&patch.pvc, self.to),
                filesystem_grown: grown.get(&patch.pvc).copied(),
                verified: status.and_then(|s| s.filesystem_resized.as_ref()).map(|at| at.0),
                pvc: patch.pvc,
            }
        });
        Ok(Timeline {
            what: format!("{} data {} → {}", self.cluster.name, event.spec.expansion.original_size, self.to),
            // Whoever saw it first.
            breach: breach.at.min(made.received),
            uncertainty_seconds: breach.uncertainty(),
            decided: Some(made.received),
            members: members.collect(),
            held_by: None,
        })
    }
}

async fn watch(cluster: Arc<Cluster>, to: Bytes, grown: Arc<Mutex<BTreeMap<String, Timestamp>>>) {
    loop {
        let asked: Vec<String> = cluster.claims_of_data();
        let journal = cluster.stage.journal.all();
        for name in asked {
            let known = grown.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&name);
            let patched = journal
                .iter()
                .any(|seen| seen.name == name && seen.request.is_some_and(|r| r >= to));
            if known || !patched {
                continue;
            }
            // A pod that is just being made cannot be asked; it is asked again.
            if cluster.df(&name).await.is_ok_and(|df| df.total >= filesystem_of(to)) {
                grown.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Timestamp::now());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}
