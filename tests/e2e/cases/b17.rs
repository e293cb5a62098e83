//! B17: what comes and goes around the threshold. Nothing is done for what went again, and one growth is all that it takes.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_units::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::filling::Breach;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::volume::Volume;
use crate::window::Window;

/// How often it comes and goes.
const TIMES: usize = 3;
const BELOW: (&str, &str) = ("Balanced", "BelowThresholds");
const WAITS: (&str, &str) = ("Hold", "MaintenanceWindowClosed");

/// A file on the primary takes the volume over its threshold and is removed, again and again.
async fn come_and_go(stage: &Stage, orders: &Cluster, percent: u64, decision: (&str, &str)) -> Result<()> {
    for _ in 0..TIMES {
        orders.ballast("orders-1", Some(percent)).await?;
        stage.decision_of(orders, Volume::Data, decision, Timestamp::now()).await?;
        orders.ballast("orders-1", None).await?;
        stage.decision_of(orders, Volume::Data, BELOW, Timestamp::now()).await?;
    }
    Ok(())
}

/// First while a window is closed, then after the one growth.
pub async fn no_flapping(stage: Arc<Stage>) -> Result<()> {
    let policy = |window: Option<Value>| {
        let mut target = json!({"request": "1Gi", "limit": "4Gi", "targetBuffer": 20});
        if let Some(window) = window {
            target["maintenanceWindow"] = window;
        }
        json!({"emergencyRunway": false, "storage": target})
    };
    stage.policy("default", policy(Some(Window::far()?.spec()))).await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);
    orders.fill(65).await?;
    come_and_go(&stage, &orders, 84, WAITS).await?;
    ensure!(
        stage.events("orders").await?.is_empty() && stage.patches()?.is_empty(),
        "it was below its threshold again, and something was done: {:?}",
        stage.events("orders").await?
    );

    let watch = GrowthWatch::any(&orders, Volume::Data).await?;
    let breach = Breach::now(Volume::Data);
    orders.ballast("orders-1", Some(84)).await?;
    stage.held(&orders, WAITS.1, &breach).await?;
    stage.policy("default", policy(None)).await?;
    let (event, _) = watch.finish_after(&breach, Some(WAITS.1)).await?;
    let to = event.spec.expansion.requested_size;
    orders.ballast("orders-1", None).await?;
    // As much as took it over its threshold before.
    come_and_go(&stage, &orders, 79, BELOW).await?;
    invariants::hold(
        &orders,
        &Expect {
            ceiling: Bytes::mib(1280),
            ..Expect::grown(to, 1)
        },
    )
    .await
}
