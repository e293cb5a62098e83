//! C02: thresholds 85. It grows by percentage with minIncrementGi; cooldown holds the next; maxSize is never passed.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Reason, State, Trigger};
use csm_units::Bytes;
use jiff::SignedDuration;
use serde_json::json;

use crate::growth::{GrowthWatch, filesystem_of};
use crate::invariants::{self, Expect, is};
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

/// One growth after the other: the first by percentage, the second after the cooldown, the third not at all.
pub async fn cooldown_and_limit(stage: Arc<Stage>) -> Result<()> {
    // 150 % of 1 GiB is more than minIncrementGi; 150 % of 2.5 GiB is more than maxSize leaves.
    let cooldown = SignedDuration::from_mins(3);
    let expansion = json!({"percentage": 150, "minIncrementGi": 1, "maxSize": "3Gi", "cooldownMinutes": cooldown.as_mins()});
    stage
        .policy("default", json!({"thresholds": {"expansion": 85}, "expansion": expansion}))
        .await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);

    let watch = GrowthWatch::start(&orders, Bytes::mib(2560)).await?;
    let breach = orders.fill(85).await?;
    let (_, first) = watch.finish(&breach).await?;
    let first = first.decided.context("no decision")?;

    // The second breach comes within the cooldown, and waits for its end, which the status tells.
    let watch = GrowthWatch::start(&orders, Bytes::gib(3)).await?;
    let breach = orders.fill(85).await?;
    stage.held(&orders, "Cooldown", &breach).await?;
    let ends = first.checked_add(cooldown)?;
    let told = |data: &csm_api::VolumeSizing| {
        data.next_action_at
            .as_ref()
            .is_some_and(|at| at.0.duration_since(ends).abs() < SignedDuration::from_secs(2))
    };
    let what = format!("nextActionAt is the end of the cooldown, {ends}");
    stage
        .status(&orders, &what, |s| {
            s.storage_sizing.as_ref().and_then(|s| s.data.as_ref()).is_some_and(told)
        })
        .await?;
    let (_, second) = watch.finish_after(&breach, Some("Cooldown")).await?;
    let second = second.decided.context("no decision")?;
    // The record's own time is a moment before the API server received it.
    ensure!(
        second.duration_since(first) > cooldown - SignedDuration::from_secs(2),
        "grown again after {}",
        second.duration_since(first)
    );

    // It has landed on maxSize exactly, and stays there.
    let breach = orders.fill(85).await?;
    stage.held(&orders, "AtLimit", &breach).await?;
    let labels = [
        ("namespace", stage.namespace.as_str()),
        ("cluster", "orders"),
        ("volume_type", "data"),
    ];
    ensure!(
        is(stage.manager.metrics().await?.value("cnpg_disk_at_limit", &labels), 1),
        "cnpg_disk_at_limit is not 1"
    );
    let notes = stage.notes("orders").await?;
    for (reason, count) in [("AutoResizeSuccess", 2), ("AutoResizeBlocked", 1), ("AutoResizeAtLimit", 1)] {
        let told = notes.iter().filter(|(r, _)| r == reason).count();
        ensure!(told == count, "{told} events {reason} instead of {count}: {notes:?}");
    }
    invariants::hold(
        &orders,
        &Expect {
            state: State::AtLimit,
            conditions: &[("Blocked", true), ("Healthy", false)],
            ..Expect::grown(Bytes::gib(3), 2)
        },
    )
    .await
}
