//! B14: a node is cordoned and drained while a growth is in flight, and comes back.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;

use crate::course::Course;
use crate::stage::Stage;

/// The primary's node is drained: CloudNativePG switches over, and the instance moves with its volume.
pub async fn node_drained(stage: Arc<Stage>) -> Result<()> {
    let mut course = Course::new(&stage, 2).await?;
    let orders = course.orders.clone();
    let node_of = async |instance: &str| -> Result<String> {
        let pod = stage.api::<Pod>().get(instance).await?;
        pod.spec.and_then(|spec| spec.node_name).context("a pod without a node")
    };
    let flight = course.begin().await?;
    let primary = orders.primary().await?;
    let node = node_of(&primary).await?;
    let before = orders.pod_uid(&primary).await?;
    // The pods of the cluster alone: the manager and the operator are not what this is about.
    let ours = format!("--pod-selector=cnpg.io/cluster={}", orders.name);
    let drain = ["drain", &node, "--delete-emptydir-data", "--timeout=240s", &ours];
    let said = stage.lab.kubectl(drain).await.context("drain the primary's node")?;
    println!("    {}", said.trim().replace('\n', "\n    "));
    orders.pod_renewed(&primary, &before).await?;
    orders.healthy().await?;
    for instance in orders.names() {
        let now = node_of(&instance).await?;
        ensure!(now != node, "{instance} is on {now}, which is drained");
    }
    course.still_in_flight(&flight).await?;
    course.land(flight).await?;

    // Back again: the next growth goes the usual way.
    stage.lab.kubectl(["uncordon", &node]).await?;
    let flight = course.begin().await?;
    course.land(flight).await?;
    course.hold().await
}
