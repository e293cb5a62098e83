//! D01 to D03: a volume filled until PostgreSQL stops. It comes back by itself; nobody deletes its pod.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::annotation::PAUSED;
use csm_api::{Reason, Urgency};
use csm_testkit::csi::faults::Rpc;
use csm_testkit::lab::SYNC_FREQUENCY;
use csm_testkit::wait::within;
use csm_units::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::flight::Hold;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::kubelet::KUBERNETES_DEFAULT;
use crate::outage::{BACK, Outage};
use crate::stage::{SOON, Stage};
use crate::volume::Volume;

/// What all volumes here grow to.
pub const TO: Bytes = Bytes::gib(2);
/// And none of them beyond.
pub const CEILING: Bytes = Bytes::gib(4);

/// Whose part of the volume is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Primary,
    Replica,
    All,
}

/// What stops, and where the manager is then.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub instances: usize,
    /// Data, for a cluster with data and WAL on one volume, or WAL, for one with a volume for each.
    pub volume: Volume,
    pub full: Full,
    /// There is no manager until all is lost; it has never seen the cluster.
    pub alone: bool,
    /// Kubelets look at their pods as seldom as they do by default, and what is promised of a rescue's time is asserted.
    pub in_time: bool,
}

/// Doubles, and goes no further than 4 GiB.
pub fn policy() -> Value {
    json!({"expansion": {"percentage": 100, "minIncrementGi": 1, "maxSize": CEILING, "cooldownMinutes": 0}})
}

impl Setup {
    async fn cluster(self, stage: &Arc<Stage>) -> Result<Arc<Cluster>> {
        let builder = stage.cluster("orders").instances(self.instances);
        let builder = if self.volume == Volume::Data {
            builder.single_volume()
        } else {
            builder
        };
        let orders = Arc::new(builder.create().await?);
        orders.insert(500).await?;
        orders.replicated().await?;
        Ok(orders)
    }

    /// The instances whose part is full: replicas, and whether the primary's is.
    async fn full(self, orders: &Cluster) -> Result<(Vec<String>, bool)> {
        let primary = orders.primary().await?;
        let replicas = orders.names().into_iter().filter(|name| *name != primary);
        Ok(match self.full {
            Full::Primary => (Vec::new(), true),
            Full::Replica => (replicas.take(1).collect(), false),
            Full::All => (replicas.collect(), true),
        })
    }
}

/// What is full stops, grows, and comes back.
pub async fn comes_back(stage: Arc<Stage>, setup: Setup) -> Result<()> {
    stage.policy("default", policy()).await?;
    if setup.alone {
        stage.manager.scale(0).await?;
    }
    let orders = setup.cluster(&stage).await?;
    if setup.in_time {
        stage.excuse("no figures from the kubelet");
        stage.kubelets_sync(KUBERNETES_DEFAULT).await?;
    }
    let figures = if setup.alone {
        None
    } else {
        stage.observed(&orders, setup.volume, Timestamp::now()).await?;
        // Filled between two looks of the kubelet, which are one to two minutes apart elsewhere.
        Some(Hold::set(&stage, Rpc::NodeGetVolumeStats).await?)
    };
    let (replicas, primary) = setup.full(&orders).await?;
    // Replicas with a WAL volume of their own do not stop when that is full; they wait (see below).
    let stopping = if setup.volume == Volume::Data { replicas.len() } else { 0 };
    let one_by_one = stopping + usize::from(primary) > 1 && !setup.alone;
    if one_by_one {
        // So that none is helped before all have stopped.
        orders.annotate(PAUSED, Some("true")).await?;
    }
    let watch = GrowthWatch::of(&orders, setup.volume, TO).await?.patient(BACK);
    let breach = Breach::now(setup.volume);
    let mut outage = Outage::new(&orders, setup.volume).await?;
    for replica in &replicas {
        outage.fill(replica).await?;
    }
    for replica in &replicas[..stopping] {
        outage.stop_replica(replica).await?;
    }
    if primary {
        outage.fill(&orders.primary().await?).await?;
        outage.stop_primary().await?;
    } else {
        // Who has room goes on.
        orders.insert(10).await?;
    }
    println!("    CloudNativePG: {}", orders.phase().await?);
    within(SOON, "CloudNativePG says so", async || {
        let phase = orders.phase().await?;
        Ok(phase.starts_with(csm_cnpg::phase::NOT_ENOUGH_DISK_SPACE).then_some(()))
    })
    .await?;
    if let Some(figures) = figures {
        figures.release().await?;
    }
    let helped = Timestamp::now();
    if one_by_one {
        orders.annotate(PAUSED, None).await?;
    }
    if setup.alone {
        stage.manager.scale(1).await?;
    }
    let ((event, took), back) = tokio::try_join!(watch.finish(&breach), outage.back())?;
    ensure!(
        (event.spec.reason, event.spec.urgency(), event.spec.rescue) == (Reason::DiskFull, Urgency::Rescue, true),
        "{:?}",
        event.spec
    );
    println!("    {}", event.spec.message);
    if setup.alone {
        stage.manager.leads().await?;
    }
    if one_by_one || setup.alone {
        let first = stage.patches()?.first().context("nothing was patched")?.at;
        println!(
            "    the first patch {:.1} s after the manager was let to",
            crate::timeline::seconds(helped, first)
        );
    }
    outage.over(&event, &took, &back).await?;
    let nudges = stage.nudges()?;
    let pods: BTreeSet<&str> = nudges.iter().map(|nudge| nudge.pod.as_str()).collect();
    ensure!(
        pods.len() == nudges.len(),
        "a pod was nudged more than once for one operation: {nudges:?}"
    );
    if setup.in_time {
        for steps in outage.steps(&took, &back)? {
            steps.in_time()?;
        }
        ensure!(nudges.len() == 1, "one instance has stopped, and these were nudged: {nudges:?}");
        stage.kubelets_sync(SYNC_FREQUENCY).await?;
    }
    let asked_for_logs = stage.requests()?.iter().any(|entry| entry.subresource == "log");
    ensure!(!asked_for_logs, "the manager asked for logs, and is not set to");
    let expect = Expect {
        ceiling: CEILING,
        seen_before: !setup.alone,
        ..Expect::grown(TO, 1).of(setup.volume)
    };
    invariants::hold(&orders, &expect).await
}

/// A replica whose WAL volume is full goes on without new WAL: nothing stops, and its figures tell.
pub async fn replica_waits(stage: Arc<Stage>) -> Result<()> {
    stage.policy("default", policy()).await?;
    let orders = Arc::new(stage.cluster("orders").instances(3).create().await?);
    orders.insert(500).await?;
    orders.replicated().await?;
    stage.observed(&orders, Volume::Wal, Timestamp::now()).await?;
    let figures = Hold::set(&stage, Rpc::NodeGetVolumeStats).await?;
    let primary = orders.primary().await?;
    let replica = orders.names().into_iter().find(|name| *name != primary).context("a replica")?;
    let watch = GrowthWatch::of(&orders, Volume::Wal, TO).await?;
    let mut outage = Outage::new(&orders, Volume::Wal).await?;
    let breach = Breach::now(Volume::Wal);
    outage.fill(&replica).await?;
    // It falls behind: what the primary writes does not reach it any more.
    let stuck = within(SOON, &format!("{replica} gets no WAL any more"), async || {
        orders.write_wal(&primary, 32).await?;
        let sql = "SELECT status FROM pg_stat_wal_receiver";
        let receives = orders.sql_on(&replica, sql).await?;
        Ok((receives != "streaming").then(Timestamp::now))
    })
    .await?;
    println!("    {replica} has stopped receiving; CloudNativePG: {}", orders.phase().await?);
    orders.insert(200).await?;
    ensure!(outage.end_of(&replica).await?.is_none(), "{replica} has stopped");
    figures.release().await?;
    let (event, _) = watch.finish(&breach).await?;
    ensure!(event.spec.reason == Reason::UsageThreshold, "{:?}", event.spec);
    println!("    {}", event.spec.message);
    orders.replicated().await?;
    println!(
        "    {replica} has all rows {:.1} s after it stopped receiving",
        crate::timeline::seconds(stuck, Timestamp::now())
    );
    ensure!(outage.end_of(&replica).await?.is_none(), "{replica} has stopped");
    orders.free_the_last_block(&replica, Volume::Wal).await?;
    let expect = Expect {
        ceiling: CEILING,
        ..Expect::grown(TO, 1).of(Volume::Wal)
    };
    invariants::hold(&orders, &expect).await
}
