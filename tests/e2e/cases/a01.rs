//! A01 and A13: data over usageThreshold grows on all instances, and autoResizeEvents tells how it went.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Reason, Role, Trigger};
use csm_units::Bytes;
use serde_json::json;

use crate::growth::{GrowthWatch, filesystem_of};
use crate::invariants::{self, Expect};
use crate::stage::Stage;

/// A primary and a replica, filled past 80 %.
pub async fn all_instances(stage: Arc<Stage>) -> Result<()> {
    let resize = json!({
        "enabled": true,
        "triggers": {"usageThreshold": 80},
        "expansion": {"step": "1Gi", "limit": "4Gi"},
    });
    stage.policy("default", json!({"storage": {"resize": resize}})).await?;
    let orders = Arc::new(stage.cluster("orders").instances(2).create().await?);

    let to = Bytes::gib(2);
    let watch = GrowthWatch::start(&orders, to).await?;
    let breach = orders.fill(80).await?;
    let (event, timeline) = watch.finish(&breach).await?;
    ensure!(
        (event.spec.trigger, event.spec.reason) == (Trigger::ThresholdBreach, Reason::UsageThreshold),
        "{:?}",
        event.spec
    );
    let mut patched: Vec<&str> = timeline.members.iter().map(|member| member.pvc.as_str()).collect();
    patched.sort_unstable();
    ensure!(patched == orders.names(), "patched {patched:?}");
    for name in orders.names() {
        let df = orders.df(&name).await?;
        ensure!(df.total >= filesystem_of(to), "{name}: {df:?}");
    }
    invariants::hold(
        &orders,
        &Expect {
            ceiling: Bytes::gib(4),
            ..Expect::grown(to, 1)
        },
    )
    .await?;

    let status = stage.storage("orders").await?.and_then(|storage| storage.status);
    let outcomes = status.context("there is no status")?.auto_resize_events;
    for name in orders.names() {
        let told: Vec<_> = outcomes.iter().filter(|outcome| outcome.instance == name).collect();
        let [outcome] = told.as_slice() else {
            anyhow::bail!("{} outcomes of {name}: {outcomes:?}", told.len())
        };
        let right = (outcome.volume_type, &outcome.tablespace, outcome.from, outcome.to) == (Role::Data, &None, Bytes::gib(1), to);
        ensure!(right && outcome.result == "success", "{outcome:?}");
        ensure!(
            outcome.timestamp.0 > breach.before,
            "{outcome:?} is older than the breach {breach:?}"
        );
    }
    Ok(())
}
