//! B21: the third growth of a day is held where two are allowed; an emergency may pass the limit by a quarter, and no
//! further. The metrics `cnpg_dynamic_storage_*` say all along what the status says.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Reason, State};
use csm_testkit::csi::faults::Rpc;
use csm_units::Bytes;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::flight::Hold;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, double};
use crate::stage::{SOON, Stage};
use crate::volume::Volume;
use csm_testkit::wait::within;

/// The second growth of at least 5 % lands on it. A quarter of it is whole MiB, as the driver rounds.
const LIMIT: Bytes = Bytes::mib(1128);
const BEYOND: Bytes = Bytes::mib(1410);

fn policy(limit: Bytes, actions: u32, exceed: bool) -> Value {
    json!({
        "emergencyRunway": false,
        "storage": {
            "request": "1Gi", "limit": limit, "targetBuffer": 20,
            "emergencyGrow": {
                "criticalThreshold": 95, "criticalMinimumFree": "16Mi", "exceedLimitOnEmergency": exceed,
                "maxActionsPerDay": actions, "reservedActionsForEmergency": 0,
            },
        },
    })
}

/// Status and metrics agree, and the volume is in this state.
async fn told(stage: &Stage, orders: &Cluster, state: State) -> Result<()> {
    let what = format!("cnpg_dynamic_storage_* and the status say {state}");
    within(SOON, &what, async || {
        let data = stage
            .sizing(orders, Volume::Data, &what, |data| data.state == state)
            .await
            .context("the status")?;
        let metrics = stage.manager.metrics().await?;
        let labels = [
            ("namespace", stage.namespace.as_str()),
            ("cluster", orders.name.as_str()),
            ("volume_type", "data"),
        ];
        let value = |name: &str| metrics.value(&format!("cnpg_dynamic_storage_{name}"), &labels);
        let bytes = |size: Option<Bytes>| size.map(|size| double(size.get()));
        let effective = value("effective_size_bytes");
        ensure!(effective == bytes(Some(data.effective_size)), "{effective:?} and {data:?}");
        let target = value("target_size_bytes");
        ensure!(target == bytes(data.target_size), "{target:?} and {data:?}");
        let budget = data.budget.as_ref().context("no budget")?;
        for (kind, left) in [
            ("planned", budget.available_for_planned),
            ("emergency", budget.available_for_emergency),
        ] {
            let labels = [labels[0], labels[1], labels[2], ("kind", kind)];
            let remaining = metrics.value("cnpg_dynamic_storage_budget_remaining", &labels);
            ensure!(remaining == left.map(f64::from), "{kind}: {remaining:?} and {left:?}");
        }
        let states: Vec<&str> = metrics
            .all("cnpg_dynamic_storage_state", &labels)
            .map(|series| series.labels["state"].as_str())
            .collect();
        ensure!(states == [state.as_str()], "{states:?} and {state}");
        Ok(Some(()))
    })
    .await
}

/// Fills the volume to so many percent, and waits until it has grown to this size.
async fn grows(stage: &Stage, orders: &Arc<Cluster>, percent: u64, reason: Reason) -> Result<Bytes> {
    let controller = Hold::set(stage, Rpc::ControllerExpandVolume).await?;
    let watch = GrowthWatch::any(orders, Volume::Data).await?;
    let breach = Breach::now(Volume::Data);
    orders.ballast("orders-1", Some(percent)).await?;
    stage.reached("ControllerResizeInProgress", breach.at).await?;
    told(stage, orders, State::Resizing).await?;
    controller.release().await?;
    let (event, _) = watch.finish(&breach).await?;
    ensure!(event.spec.reason == reason, "{:?}", event.spec);
    told(stage, orders, State::Balanced).await?;
    Ok(event.spec.expansion.requested_size)
}

/// Two planned growths, the third held; then an emergency at the limit, twice.
pub async fn budget_and_quarter(stage: Arc<Stage>) -> Result<()> {
    stage.policy("default", policy(LIMIT, 2, false)).await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);
    orders.insert(500).await?;
    told(&stage, &orders, State::Balanced).await?;
    let first = grows(&stage, &orders, 83, Reason::TargetBuffer).await?;
    let second = grows(&stage, &orders, 83, Reason::TargetBuffer).await?;
    ensure!(first < LIMIT && second == LIMIT, "grown to {first}, then to {second}");

    // Room, and no action left.
    stage.policy("default", policy(Bytes::gib(4), 2, false)).await?;
    let breach = Breach::now(Volume::Data);
    orders.ballast("orders-1", Some(84)).await?;
    stage.held(&orders, "BudgetExhausted", &breach).await?;
    told(&stage, &orders, State::Blocked).await?;

    // Actions, and no room: planned growth stays, an emergency goes a quarter beyond.
    stage.policy("default", policy(LIMIT, 4, true)).await?;
    let breach = Breach::now(Volume::Data);
    stage.held(&orders, "AtLimit", &breach).await?;
    told(&stage, &orders, State::AtLimit).await?;
    let third = grows(&stage, &orders, 96, Reason::CriticalThreshold).await?;
    ensure!(
        third == BEYOND,
        "an emergency took it to {third}, and a quarter beyond {LIMIT} is {BEYOND}"
    );
    let breach = Breach::now(Volume::Data);
    orders.ballast("orders-1", Some(96)).await?;
    stage.held(&orders, "AtLimit", &breach).await?;
    told(&stage, &orders, State::Emergency).await?;
    let expect = Expect {
        ceiling: BEYOND,
        state: State::Emergency,
        conditions: &[("Blocked", true), ("Healthy", false)],
        ..Expect::grown(BEYOND, 3)
    };
    invariants::hold(&orders, &expect).await
}
