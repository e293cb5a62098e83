//! C03 and C14: volumes that cannot grow are watched, and it is said why nothing is done.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{ConditionStatus, PostgresStorageStatus, State};
use csm_units::Bytes;
use serde_json::json;

use crate::cluster::Cluster;
use crate::filling::{Breach, percent};
use crate::invariants::{self, Expect, is};
use crate::stage::{SOON, Stage};
use crate::volume::Volume;
use csm_testkit::wait::within;

/// C03: the storage class does not allow expansion.
pub async fn class_without_expansion(stage: Arc<Stage>) -> Result<()> {
    stage
        .policy(
            "default",
            json!({"expansion": {"minIncrementGi": 1, "maxSize": "4Gi", "cooldownMinutes": 0}}),
        )
        .await?;
    let fixed = stage.cluster("fixed").class("loop-fixed").create().await?;
    let breach = fixed.fill(85).await?;
    stage.held(&fixed, "StorageClassNotExpandable", &breach).await?;
    said(&fixed, "StorageClassNotExpandable").await?;
    invariants::hold(
        &fixed,
        &Expect {
            state: State::Blocked,
            conditions: &[("Blocked", true), ("Healthy", false)],
            ..Expect::at_rest(Bytes::gib(1))
        },
    )
    .await
}

/// C14: directories of the node's disk, as local-path and hostpath provisioners give them. A threshold that the node's disk
/// is over shows that it would be acted on, were it not for that.
pub async fn directory_of_the_node(stage: Arc<Stage>) -> Result<()> {
    let local = stage.cluster("local").class("hostdir").create().await?;
    let df = local.df("local-1").await?;
    ensure!(df.total > 2 * Bytes::gib(1).get(), "the pod should see the node's disk: {df:?}");
    ensure!(
        percent(&df) >= 300,
        "the node's disk is not even 3 % full, so that nothing would be wanted: {df:?}"
    );
    let now = Breach::now(Volume::Data);
    let expansion = json!({"minIncrementGi": 1, "maxSize": "4Gi", "cooldownMinutes": 0});
    let thresholds = json!({"warning": 1, "critical": 2, "expansion": 3});
    stage
        .policy("default", json!({"thresholds": thresholds, "expansion": expansion}))
        .await?;
    stage.held(&local, "SharedFilesystem", &now).await?;
    said(&local, "SharedFilesystem").await?;
    invariants::hold(
        &local,
        &Expect {
            state: State::Blocked,
            conditions: &[("Blocked", true), ("Healthy", false)],
            own_filesystem: false,
            ..Expect::at_rest(Bytes::gib(1))
        },
    )
    .await
}

/// Said in the condition, in the status, in an event and in the metric.
async fn said(cluster: &Cluster, reason: &str) -> Result<()> {
    let stage = &cluster.stage;
    let blocked = |status: &PostgresStorageStatus| {
        let condition = status.conditions.iter().find(|c| c.type_ == "Blocked");
        condition.is_some_and(|c| c.status == ConditionStatus::True && c.reason == reason)
    };
    let status = stage
        .status(cluster, &format!("the condition Blocked says {reason}"), blocked)
        .await?;
    let data = status.storage_sizing.and_then(|s| s.data).context("no data volume in the status")?;
    ensure!(data.last_decision.reason.as_str() == reason, "{:?}", data.last_decision);
    ensure!(data.last_decision.wanted.is_some(), "nothing was wanted: {:?}", data.last_decision);
    let labels = [
        ("namespace", stage.namespace.as_str()),
        ("cluster", cluster.name.as_str()),
        ("volume_type", "data"),
        ("reason", reason),
    ];
    within(SOON, &format!("event and metric say {reason}"), async || {
        let metrics = stage.manager.metrics().await?;
        ensure!(
            is(metrics.value("cnpg_disk_resize_blocked", &labels), 1),
            "cnpg_disk_resize_blocked does not say it"
        );
        let notes = stage.notes(&cluster.name).await?;
        let told = notes
            .iter()
            .filter(|(name, words)| name == "StorageUnsupported" && words.starts_with("data"));
        ensure!(
            told.count() == 1,
            "one event StorageUnsupported about the data volume was expected: {notes:?}"
        );
        Ok(Some(()))
    })
    .await
}
