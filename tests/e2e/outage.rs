//! Instances that stop for lack of room, and come back: when each ended, and how long it took until it was back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Growth, VerifiedBy};
use csm_core::rescue::INSTANCES_READY;
use futures::future::try_join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

use crate::cluster::Cluster;
use crate::kubelet::{Containers, postgres};
use crate::stage::SOON;
use crate::steps::Steps;
use crate::timeline::Timeline;
use crate::volume::Volume;
use csm_testkit::wait::within;

/// CloudNativePG's instance manager ends with it where there is no room for two WAL segments.
pub const NO_ROOM_FOR_WAL: i32 = 4;
/// A container that ended may wait for as long as the kubelet's longest back-off before it is started again.
pub const BACK: Duration = Duration::from_mins(8);
/// What is asked of PostgreSQL at a time, so that it needs room: more than `min_wal_size` has set aside after a few times.
const PUSH_MIB: u64 = 64;
const PUSH_ROWS: u64 = 500;

/// How an instance ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub code: i32,
    pub at: Timestamp,
}

/// A cluster of which instances stop for lack of room on one volume.
pub struct Outage {
    cluster: Arc<Cluster>,
    volume: Volume,
    primary: String,
    began: Timestamp,
    /// The pods' uids, before.
    pods: BTreeMap<String, String>,
    containers: Containers,
    full: Vec<String>,
    ended: BTreeMap<String, Ended>,
}

impl Outage {
    /// Nothing has stopped yet.
    pub async fn new(cluster: &Arc<Cluster>, volume: Volume) -> Result<Self> {
        let mut pods = BTreeMap::new();
        for instance in cluster.names() {
            let uid = cluster.pod_uid(&instance).await?;
            pods.insert(instance, uid);
        }
        Ok(Self {
            primary: cluster.primary().await?,
            cluster: cluster.clone(),
            volume,
            began: Timestamp::now(),
            pods,
            containers: Containers::watch(&cluster.stage),
            full: Vec::new(),
            ended: BTreeMap::new(),
        })
    }

    /// Takes all room that an instance has on the volume.
    pub async fn fill(&mut self, instance: &str) -> Result<()> {
        self.cluster.fill_to_the_last_block(instance, self.volume).await?;
        self.full.push(instance.to_owned());
        Ok(())
    }

    /// Writes WAL until the primary has stopped.
    pub async fn stop_primary(&mut self) -> Result<Ended> {
        let primary = self.primary.clone();
        let cluster = self.cluster.clone();
        self.stops(&primary, NO_ROOM_FOR_WAL, async || cluster.write_wal(&primary, PUSH_MIB).await)
            .await
    }

    /// Commits rows on the primary until a replica, which replays them, has stopped.
    pub async fn stop_replica(&mut self, instance: &str) -> Result<Ended> {
        let cluster = self.cluster.clone();
        self.stops(instance, NO_ROOM_FOR_WAL, async || cluster.insert(PUSH_ROWS).await)
            .await
    }

    /// Pushes until PostgreSQL's container of an instance has ended, with this code.
    pub async fn stops(&mut self, instance: &str, code: i32, push: impl AsyncFn() -> Result<()>) -> Result<Ended> {
        let what = format!("{instance} has stopped for lack of room");
        let ended = within(SOON, &what, async || {
            let pushed = push().await;
            let ended = self.end_of(instance).await?;
            ensure!(ended.is_some(), "it has not, and what it was asked for ended with {pushed:?}");
            Ok(ended)
        })
        .await?;
        ensure!(
            ended.code == code,
            "{instance} ended with exit code {} instead of {code}",
            ended.code
        );
        self.ended.insert(instance.to_owned(), ended);
        Ok(ended)
    }

    /// How PostgreSQL's container of an instance ended last since the begin, if it did.
    pub async fn end_of(&self, instance: &str) -> Result<Option<Ended>> {
        let pod = self.cluster.stage.api::<Pod>().get(instance).await?;
        let Some(ContainerStatus { state, last_state, .. }) = postgres(&pod) else {
            return Ok(None);
        };
        let states = [state.as_ref(), last_state.as_ref()];
        let ended = states.into_iter().flatten().find_map(|state| state.terminated.as_ref());
        let ended = ended.and_then(|ended| {
            Some(Ended {
                code: ended.exit_code,
                at: ended.finished_at.as_ref()?.0,
            })
        });
        // Whole seconds.
        Ok(ended.filter(|ended| ended.at.as_second() >= self.began.as_second()))
    }

    /// Waits until all that stopped take part again: the primary writes, replicas answer. Returns when each did.
    pub async fn back(&self) -> Result<BTreeMap<String, Timestamp>> {
        let each = self.ended.keys().map(async |instance| {
            let sql = if *instance == self.primary {
                "SELECT pg_switch_wal()"
            } else {
                "SELECT 1"
            };
            let what = format!("{instance} is back");
            let at = within(BACK, &what, async || {
                Ok(self.cluster.sql_on(instance, sql).await.is_ok().then(Timestamp::now))
            });
            Ok::<_, anyhow::Error>((instance.clone(), at.await?))
        });
        Ok(try_join_all(each).await?.into_iter().collect())
    }

    /// All is well: the same pods, none of them deleted by the manager, the same primary, and what was measured is said.
    pub async fn over(&self, event: &Growth, took: &Timeline, back: &BTreeMap<String, Timestamp>) -> Result<()> {
        let (stage, cluster) = (&self.cluster.stage, &self.cluster);
        for instance in &self.full {
            cluster.free_the_last_block(instance, self.volume).await?;
        }
        cluster.insert(10).await?;
        cluster.healthy().await?;
        self.tell(took, back).await?;
        for (instance, before) in &self.pods {
            let now = cluster.pod_uid(instance).await?;
            ensure!(now == *before, "the pod of {instance} is another one");
        }
        let primary = cluster.primary().await?;
        ensure!(primary == self.primary, "{} was the primary, and {primary} is", self.primary);
        let deleted = stage
            .requests()?
            .into_iter()
            .filter(|entry| entry.verb.starts_with("delete"))
            .count();
        ensure!(deleted == 0, "the manager deleted {deleted} objects");
        self.settled(event).await
    }

    /// The record says that all instances are ready, and that every filesystem has grown; there is an Event about it.
    async fn settled(&self, event: &Growth) -> Result<()> {
        let (stage, cluster) = (&self.cluster.stage, &self.cluster);
        within(SOON, "the record tells of the end of the rescue", async || {
            let events = stage.events_of(&cluster.name, self.volume).await?;
            let status = events.into_iter().find(|e| e.name_any() == event.name_any()).and_then(|e| e.status);
            let status = status.context("the record is gone")?;
            let ready = status.conditions.iter().any(|c| c.type_ == INSTANCES_READY);
            let checked = status.pvc_statuses.iter().all(|p| p.verified_by == Some(VerifiedBy::Filesystem));
            ensure!(ready && checked, "{status:?}");
            Ok(Some(()))
        })
        .await?;
        let said = within(SOON, "an Event StorageRescue tells how long it took", async || {
            let mut notes = stage.notes(&cluster.name).await?.into_iter();
            Ok(notes.find(|(reason, said)| reason == "StorageRescue" && said.contains("is rescued")))
        });
        println!("    {}", said.await?.1);
        Ok(())
    }

    /// The steps of each instance that stopped and whose volume has grown.
    pub fn steps(&self, took: &Timeline, back: &BTreeMap<String, Timestamp>) -> Result<Vec<Steps>> {
        let of = |instance: &String| {
            let claim = self.volume.claim(instance);
            let member = took.members.iter().find(|member| member.pvc == claim);
            let back = back.get(instance).copied();
            member.map(|member| Steps::of(&self.cluster.stage, &self.containers, instance, self.began, member, back))
        };
        self.ended.keys().filter_map(of).collect()
    }

    /// How long each step took, from the end of each container.
    async fn tell(&self, took: &Timeline, back: &BTreeMap<String, Timestamp>) -> Result<()> {
        let (stage, cluster) = (&self.cluster.stage, &self.cluster);
        for steps in self.steps(took, back)? {
            println!("  {} {}", stage.namespace, steps.text()?.replace('\n', "\n  "));
        }
        for instance in self.ended.keys() {
            let (_, restarts) = cluster.pod_of(instance).await?;
            println!("  {} {instance}: {restarts} restarts", stage.namespace);
        }
        Ok(())
    }
}

impl Cluster {
    /// What CloudNativePG says of it.
    pub async fn phase(&self) -> Result<String> {
        let cluster = self.api().get(&self.name).await?;
        let status = &cluster.data["status"];
        let ready = status["readyInstances"].as_u64().unwrap_or_default();
        Ok(format!("{} ({ready} ready)", status["phase"].as_str().unwrap_or("no phase")))
    }
}
