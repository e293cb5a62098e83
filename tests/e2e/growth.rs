//! Watching a volume grow, from the outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Growth, Phase, PvcStatus, Trigger};
use csm_units::Bytes;
use jiff::Timestamp;
use kube::ResourceExt as _;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::stage::GROWTH;
use crate::timeline::{Member, Timeline};
use crate::volume::Volume;
use csm_testkit::wait::{looks, within};
use csm_tests::journal::Seen;

/// How often `df` is asked of a pod whose PVC was patched.
const LOOK: Duration = Duration::from_millis(250);
/// XFS keeps its log for itself, and a little more.
const XFS_LOG: Bytes = Bytes::mib(64);
/// A filesystem on a volume has at least this share of the rest.
const FILESYSTEM_SHARE: u64 = 98;

/// Asks `df` in the pods of all members whose PVC asks for more, until it shows more.
pub struct GrowthWatch {
    cluster: Arc<Cluster>,
    volume: Volume,
    /// The size that is expected; none: any that is larger.
    to: Option<Bytes>,
    known: usize,
    patience: Duration,
    grown: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    _task: AbortOnDropHandle<()>,
}

/// All sizes that the manager asked for, for a PVC of an operation: what was wanted, and each that it stepped back to, every
/// time half the way from what it had.
pub fn asked(pvc: &PvcStatus, wanted: Bytes) -> Vec<Bytes> {
    let halvings = pvc.recovery.as_ref().map_or(0, |recovery| recovery.halvings);
    let mut sizes = vec![wanted];
    let mut size = wanted;
    for _ in 0..halvings {
        let half = size.saturating_sub(pvc.original_size).mul_div(1, 2);
        size = pvc.original_size.saturating_add(half).round_down();
        sizes.push(size);
    }
    sizes
}

/// What `df` must show of a volume of this size.
pub fn filesystem_of(size: Bytes) -> u64 {
    size.saturating_sub(XFS_LOG).mul_div(FILESYSTEM_SHARE, 100).get()
}

impl GrowthWatch {
    /// Begins before the data volume is filled: growth to `to` is expected.
    pub async fn start(cluster: &Arc<Cluster>, to: Bytes) -> Result<Self> {
        Self::begin(cluster, Volume::Data, Some(to)).await
    }

    /// The same for any volume.
    pub async fn of(cluster: &Arc<Cluster>, volume: Volume, to: Bytes) -> Result<Self> {
        Self::begin(cluster, volume, Some(to)).await
    }

    /// Growth to a size that depends on how far the volume is filled when the manager looks.
    pub async fn any(cluster: &Arc<Cluster>, volume: Volume) -> Result<Self> {
        Self::begin(cluster, volume, None).await
    }

    async fn begin(cluster: &Arc<Cluster>, volume: Volume, to: Option<Bytes>) -> Result<Self> {
        let stage = &cluster.stage;
        let grown = Arc::new(Mutex::new(BTreeMap::new()));
        let known = stage.events_of(&cluster.name, volume).await?.len();
        let claims = stage.claims(&cluster.name).await?;
        let claims = claims.into_iter().filter(|(name, _)| cluster.claims_of(volume).contains(name));
        let from = claims.filter_map(|(_, claim)| Seen::of(&claim, Timestamp::now()).request).max();
        let from = from.with_context(|| format!("{} has no PVC of {volume}", cluster.name))?;
        stage.expect_growth();
        let task = AbortOnDropHandle::new(tokio::spawn(watch(cluster.clone(), volume, from, grown.clone())));
        Ok(Self {
            cluster: cluster.clone(),
            volume,
            to,
            known,
            patience: GROWTH,
            grown,
            _task: task,
        })
    }

    /// Waits for so long, for the operation and then for `df`.
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Waits until the operation has ended and every pod's `df` shows the growth. Keeps and returns its timeline.
    pub async fn finish(self, breach: &Breach) -> Result<(Growth, Timeline)> {
        self.finish_after(breach, None).await
    }

    /// The same for a breach that something held at first.
    pub async fn finish_after(self, breach: &Breach, held_by: Option<&str>) -> Result<(Growth, Timeline)> {
        let (stage, cluster) = (&self.cluster.stage, &self.cluster);
        let larger = self.to.map_or_else(|| "a larger size".to_owned(), |to| to.to_string());
        let what = format!("{} of {} has grown to {larger}", self.volume, cluster.name);
        let event = within(self.patience, &what, async || {
            let events = stage.events_of(&cluster.name, self.volume).await?;
            // A new replica that is caught up meanwhile is an operation of its own.
            let mut growths = events.into_iter().skip(self.known).filter(|e| e.spec.trigger != Trigger::CatchUp);
            let ended = |e: &Growth| matches!(csm_tests::phase(e), Some(Phase::Completed | Phase::Failed));
            Ok(growths.find(ended))
        })
        .await?;
        ensure!(
            csm_tests::phase(&event) == Some(Phase::Completed),
            "the growth failed: {:?}",
            event.status
        );
        ensure!(
            self.to.is_none_or(|to| event.spec.expansion.requested_size == to),
            "grown to {} instead of {larger}",
            event.spec.expansion.requested_size
        );
        within(self.patience, "df shows the growth in all pods", async || {
            let grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner).len();
            ensure!(grown == cluster.instances(), "{grown} of {} show it", cluster.instances());
            Ok(Some(()))
        })
        .await?;
        let timeline = Timeline {
            held_by: held_by.map(str::to_owned),
            ..self.timeline(&event, breach)?
        };
        stage.keep(timeline.clone());
        Ok((event, timeline))
    }

    fn timeline(&self, event: &Growth, breach: &Breach) -> Result<Timeline> {
        let stage = &self.cluster.stage;
        let name = event.name_any();
        let to = event.spec.expansion.requested_size;
        let made = stage.requests_of_all()?.into_iter().find(|e| {
            // The manager names it; of a person's only the begin of the name is asked for.
            let of_this = |body: &serde_json::Value| {
                let begin = body["metadata"]["generateName"].as_str();
                body["metadata"]["name"] == name.as_str() || begin.is_some_and(|begin| name.starts_with(begin))
            };
            e.verb == "create" && e.resource == "storageevents" && e.request.as_ref().is_some_and(of_this)
        });
        let made = made.with_context(|| format!("the audit log does not tell of the creation of {name}"))?;
        let grown = self.grown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let statuses = event.status.as_ref().map(|s| s.pvc_statuses.clone()).unwrap_or_default();
        let patches = stage.patches()?.into_iter().filter(|p| {
            let of_this = event.spec.expansion.affected_pvcs.iter().any(|affected| affected.name == p.pvc);
            of_this && p.code == 200 && p.to == Some(to)
        });
        let members = patches.map(|patch| {
            let status = statuses.iter().find(|s| s.name == patch.pvc);
            Ok(Member {
                patched: patch.at,
                accepted: patch.answered,
                controller_done: stage.journal.controller_done(&patch.pvc, to),
                filesystem_told: stage.filesystem_told(&patch.pvc, to)?,
                filesystem_grown: grown.get(&patch.pvc).copied(),
                verified: status.and_then(|s| s.filesystem_resized.as_ref()).map(|at| at.0),
                pvc: patch.pvc,
            })
        });
        Ok(Timeline {
            what: format!(
                "{} {} {} → {to}",
                self.cluster.name, self.volume, event.spec.expansion.original_size
            ),
            // Whoever saw it first.
            breach: breach.at.min(made.received),
            uncertainty_seconds: breach.uncertainty(),
            decided: Some(made.received),
            members: members.collect::<Result<_>>()?,
            held_by: None,
        })
    }
}

async fn watch(cluster: Arc<Cluster>, volume: Volume, from: Bytes, grown: Arc<Mutex<BTreeMap<String, Timestamp>>>) {
    let mut looks = looks(LOOK);
    loop {
        looks.tick().await;
        let journal = cluster.stage.journal.all();
        for instance in cluster.names() {
            let claim = volume.claim(&instance);
            let known = grown.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&claim);
            let asked = journal.iter().rev().find(|seen| seen.name == claim).and_then(|seen| seen.request);
            let Some(to) = asked.filter(|to| *to > from && !known) else {
                continue;
            };
            // A pod that is just being made cannot be asked; it is asked again.
            if cluster.df_of(&instance, volume).await.is_ok_and(|df| df.total >= filesystem_of(to)) {
                grown.lock().unwrap_or_else(PoisonError::into_inner).insert(claim, Timestamp::now());
            }
        }
    }
}
