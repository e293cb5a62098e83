//! B12: switchover and failover while a growth is in flight.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;

use crate::course::Course;

/// As `kubectl cnpg promote` does it: the primary goes down in order, another one takes over.
pub async fn switched_over(course: &mut Course) -> Result<()> {
    let flight = course.begin().await?;
    let orders = course.orders.clone();
    let old = orders.primary().await?;
    let target = orders.names().into_iter().find(|name| *name != old);
    let target = target.context("a switchover needs two instances")?;
    orders.promote(&target).await?;
    orders.healthy().await?;
    let now = orders.primary().await?;
    ensure!(now == target, "{now} is the primary, not {target}");
    course.still_in_flight(&flight).await?;
    course.land(flight).await
}

/// The primary's pod is gone from one moment to the next.
pub async fn failed_over(course: &mut Course) -> Result<()> {
    let flight = course.begin().await?;
    let orders = course.orders.clone();
    // What a standby has not got would be lost: that is CloudNativePG's asynchronous replication, and not ours.
    orders.replicated().await?;
    let old = orders.primary().await?;
    let before = orders.pod_uid(&old).await?;
    let at_once = DeleteParams::default().grace_period(0);
    course.stage.api::<Pod>().delete(&old, &at_once).await?;
    orders.pod_renewed(&old, &before).await?;
    orders.healthy().await?;
    let now = orders.primary().await?;
    ensure!(now != old, "{old} is the primary still: nothing failed over");
    course.still_in_flight(&flight).await?;
    course.land(flight).await
}
