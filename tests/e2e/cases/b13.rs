//! B13: targetBuffer, limit, CloudNativePG's own size and the number of instances are changed while a growth is in flight.
//! The newest intent wins, no data is lost, and nothing is stuck.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Growth, Phase, Reason};
use csm_testkit::csi::faults::Rpc;
use csm_units::Bytes;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::flight::Hold;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::{GROWTH, Stage};
use crate::volume::Volume;
use csm_testkit::wait::within;

const CEILING: Bytes = Bytes::gib(8);

/// Without a runway, and with as many actions a day as it takes.
fn policy(buffer: u64, limit: Bytes) -> Value {
    let unlimited = json!({"maxActionsPerDay": 0});
    let target = json!({"request": "1Gi", "limit": limit, "targetBuffer": buffer, "emergencyGrow": unlimited});
    json!({"emergencyRunway": false, "storage": target})
}

/// A growth in flight, held while the driver works on its first PVC.
struct Flight {
    watch: GrowthWatch,
    breach: Breach,
    controller: Hold,
    /// Where it goes to.
    to: Bytes,
}

/// What the test knows of its cluster.
struct Change {
    stage: Arc<Stage>,
    orders: Arc<Cluster>,
}

impl Change {
    /// Fills the primary's volume to so many percent, which is too much.
    async fn begin(&self, percent: u64) -> Result<Flight> {
        let (stage, orders) = (&self.stage, &self.orders);
        let controller = Hold::set(stage, Rpc::ControllerExpandVolume).await?;
        let watch = GrowthWatch::any(orders, Volume::Data).await?;
        let breach = Breach::now(Volume::Data);
        orders.ballast(&orders.primary().await?, Some(percent)).await?;
        stage.reached("ControllerResizeInProgress", breach.at).await?;
        orders.insert(200).await?;
        let event = self.newest().await?;
        ensure!(
            csm_tests::phase(&event) == Some(Phase::InProgress) && event.spec.reason == Reason::TargetBuffer,
            "{:?}, {:?}",
            event.spec,
            event.status
        );
        Ok(Flight {
            watch,
            breach,
            controller,
            to: event.spec.expansion.requested_size,
        })
    }

    async fn newest(&self) -> Result<Growth> {
        let events = self.stage.events_of(&self.orders.name, Volume::Data).await?;
        events.into_iter().last().context("there is no operation")
    }

    /// A larger buffer is wanted: the growth in flight ends, and the one for what is still missing comes after it.
    async fn buffer(&self) -> Result<()> {
        let flight = self.begin(84).await?;
        self.stage.policy("default", policy(40, CEILING)).await?;
        let second = GrowthWatch::any(&self.orders, Volume::Data).await?;
        flight.controller.release().await?;
        let (first, _) = flight.watch.finish(&flight.breach).await?;
        let (event, _) = second.finish_after(&flight.breach, Some("ResizeInProgress")).await?;
        let ended = first.status.and_then(|status| status.completion_time).map(|at| at.0);
        let begun = event.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|at| at.0);
        ensure!(begun >= ended, "begun at {begun:?}, and the one before ended at {ended:?}");
        ensure!(event.spec.expansion.requested_size > flight.to, "{:?}", event.spec);
        for name in self.orders.names() {
            let df = self.orders.df(&name).await?;
            let free = df.available * 100 / (df.used() + df.available);
            ensure!(free >= 40, "{free} % of {name} are free: {df:?}");
        }
        Ok(())
    }

    /// The limit is lowered below the growth in flight: no further PVC goes there. It is raised again: all have one size.
    /// Returns how many operations this came to: how many went well, and how many failed.
    async fn limit(&self) -> Result<(usize, usize)> {
        let (stage, orders) = (&self.stage, &self.orders);
        let before = self.size().await?;
        let flight = self.begin(66).await?;
        stage.policy("default", policy(40, before)).await?;
        // The decision is made with the new limit before the driver goes on.
        stage
            .sizing(orders, Volume::Data, "the status has the new limit", |data| {
                data.limit == Some(before)
            })
            .await?;
        flight.controller.release().await?;
        let name = self.newest().await?.metadata.name;
        let event = within(GROWTH, "the growth in flight has ended", async || {
            let event = self.newest().await?;
            let ended = matches!(csm_tests::phase(&event), Some(Phase::Completed | Phase::Failed));
            Ok(Some(event).filter(|event| ended && event.metadata.name == name))
        })
        .await?;
        let patched = stage.patches()?.into_iter().filter(|p| p.to == Some(flight.to)).count();
        ensure!(
            patched == 1,
            "{patched} PVCs were taken to {} although the limit is {before}",
            flight.to
        );
        let alone = orders.instances() == 1;
        let phase = if alone { Phase::Completed } else { Phase::Failed };
        let status = event.status.clone().unwrap_or_default();
        ensure!(status.phase == Some(phase), "{status:?}");
        stage.policy("default", policy(40, CEILING)).await?;
        if alone {
            flight.watch.finish(&flight.breach).await?;
            return Ok((1, 0));
        }
        let said = status
            .conditions
            .first()
            .map(|condition| (condition.reason.clone(), condition.message.clone()));
        println!("    with the limit lowered to {before}: {said:?}");
        ensure!(
            said.is_some_and(|(reason, message)| reason == "Interrupted" && message.contains("AtLimit")),
            "{status:?}"
        );
        self.settled(flight.to).await?;
        Ok((1, 1))
    }

    /// CloudNativePG's own size is raised beyond the growth in flight: its size is where all end.
    async fn own_size(&self) -> Result<Bytes> {
        let flight = self.begin(66).await?;
        let own = Bytes::gib(3);
        ensure!(flight.to < own, "the growth goes to {}", flight.to);
        self.orders.merge(json!({"spec": {"storage": {"size": own}}})).await?;
        within(GROWTH, &format!("CloudNativePG asks for {own}"), async || {
            let claims = self.stage.claims(&self.orders.name).await?;
            let asked = |name: &String| {
                let seen = csm_tests::journal::Seen::of(&claims[name], jiff::Timestamp::now());
                seen.request == Some(own)
            };
            Ok(self.orders.claims_of(Volume::Data).iter().all(asked).then_some(()))
        })
        .await?;
        flight.controller.release().await?;
        self.settled(own).await?;
        Ok(own)
    }

    /// The number of instances changes in flight. Returns how many growths this came to, and the size in the end.
    async fn instances(&self) -> Result<(usize, Bytes)> {
        let (stage, orders) = (&self.stage, &self.orders);
        let flight = self.begin(66).await?;
        let before = orders.instances();
        orders.scale(if before == 1 { 2 } else { before - 1 }).await?;
        orders.insert(200).await?;
        flight.controller.release().await?;
        flight.watch.finish(&flight.breach).await?;
        self.settled(flight.to).await?;
        let events = stage.events_of(&orders.name, Volume::Data).await?;
        let of_this = events.iter().filter(|event| event.spec.expansion.requested_size == flight.to);
        Ok((of_this.count(), flight.to))
    }

    /// The size of the volume, as the status tells it.
    async fn size(&self) -> Result<Bytes> {
        let balanced = |data: &csm_api::VolumeSizing| data.state == csm_api::State::Balanced;
        let data = self.stage.sizing(&self.orders, Volume::Data, "it is balanced", balanced).await?;
        Ok(data.effective_size)
    }

    /// Waits until every instance's filesystem has a size, and nothing is under way.
    async fn settled(&self, size: Bytes) -> Result<()> {
        for name in self.orders.names() {
            within(GROWTH, &format!("df of {name} shows {size}"), async || {
                let df = self.orders.df(&name).await?;
                ensure!(df.total >= crate::growth::filesystem_of(size), "{df:?}");
                Ok(Some(()))
            })
            .await?;
        }
        within(GROWTH, &format!("the volume is balanced at {size}"), async || {
            Ok((self.size().await? == size).then_some(()))
        })
        .await
    }
}

/// One change after the other, each in the middle of a growth.
pub async fn changed_in_flight(stage: Arc<Stage>, instances: usize) -> Result<()> {
    stage.policy("default", policy(20, CEILING)).await?;
    let orders = Arc::new(stage.cluster("orders").instances(instances).create().await?);
    orders.insert(500).await?;
    // The new limit stops what was begun: that is what is asked for.
    stage.excuse("expansion failed");
    let change = Change {
        stage: stage.clone(),
        orders: orders.clone(),
    };
    change.buffer().await.context("targetBuffer changed")?;
    let (grown, failed) = change.limit().await.context("limit changed")?;
    change.own_size().await.context("CloudNativePG's own size changed")?;
    let (last, size) = change.instances().await.context("instances changed")?;
    let expect = Expect {
        ceiling: CEILING,
        failed,
        others_patch: true,
        seen_before: false,
        ..Expect::grown(size, 2 + grown + 1 + last)
    };
    invariants::hold(&orders, &expect).await
}
