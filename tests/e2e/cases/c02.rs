//! C02: thresholds 85. It grows by percentage with minIncrementGi; cooldown holds the next; maxSize is never passed.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_api::{Reason, Trigger};
use csm_units::Bytes;
use serde_json::json;

use crate::growth::{GrowthWatch, filesystem_of};
use crate::invariants::{self, Expect};
use crate::stage::Stage;

/// The claim at the heart of it all.
pub async fn grows(stage: Arc<Stage>) -> Result<()> {
    // 50 % of 1 GiB is less than minIncrementGi, which wins.
    let expansion = json!({"percentage": 50, "minIncrementGi": 1, "maxSize": "4Gi", "cooldownMinutes": 30});
    stage
        .policy("default", json!({"thresholds": {"expansion": 85}, "expansion": expansion}))
        .await?;
    let orders = Arc::new(stage.cluster("orders").instances(2).create().await?);
    stage.decision_after(&orders, "Balanced", "BelowThresholds", stage.began).await?;

    let watch = GrowthWatch::start(&orders, Bytes::gib(2)).await?;
    let breach = orders.fill(85).await?;
    let (event, timeline) = watch.finish(&breach).await?;

    ensure!(
        (event.spec.trigger, event.spec.reason) == (Trigger::ThresholdBreach, Reason::UsageThreshold),
        "{:?}",
        event.spec
    );
    // Replicas first, the primary last.
    let primary = orders.primary().await?;
    let order: Vec<&str> = timeline.members.iter().map(|m| m.pvc.as_str()).collect();
    let replica = orders.names().into_iter().find(|name| *name != primary).unwrap_or_default();
    ensure!(
        order == [replica.as_str(), primary.as_str()],
        "patched in the order {order:?}, the primary is {primary}"
    );
    // What PostgreSQL sees, and that it can go on writing.
    for name in orders.names() {
        let df = orders.df(&name).await?;
        ensure!(df.total >= filesystem_of(Bytes::gib(2)), "{name}: {df:?}");
    }
    let notes = stage.notes("orders").await?;
    let told = notes.iter().filter(|(reason, _)| reason == "AutoResizeSuccess").count();
    ensure!(told == 1, "{told} events AutoResizeSuccess: {notes:?}");
    invariants::hold(
        &orders,
        &Expect {
            ceiling: Bytes::gib(4),
            ..Expect::grown(Bytes::gib(2), 1)
        },
    )
    .await
}
