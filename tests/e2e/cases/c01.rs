//! C01: clusters appear, change and go. They are discovered and followed; series and objects go with them.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{PostgresStorage, PostgresStorageStatus, State};
use csm_units::Bytes;
use kube::api::DeleteParams;
use serde_json::json;

use crate::cluster::Cluster;
use crate::invariants::{self, Expect};
use crate::stage::{SOON, Stage};
use csm_testkit::wait::within;

/// One cluster comes, gets a replica, is no longer selected, is selected again, and goes; another one stays as it is.
pub async fn come_and_go(stage: Arc<Stage>) -> Result<()> {
    let spec = json!({
        "selector": {"matchLabels": {"tier": "gold"}},
        "expansion": {"minIncrementGi": 1, "maxSize": "4Gi"},
    });
    stage.policy("gold", spec).await?;
    let gold = json!({"tier": "gold"});
    let (alpha, beta) = tokio::try_join!(
        stage.cluster("alpha").labels(gold.clone()).create(),
        stage.cluster("beta").labels(gold.clone()).create()
    )?;
    for cluster in [&alpha, &beta] {
        cluster.insert(1000).await?;
        stage.decision_after(cluster, "Balanced", "BelowThresholds", stage.began).await?;
        invariants::hold(cluster, &Expect::at_rest(Bytes::gib(1))).await?;
    }
    let storage = stage.storage("alpha").await?.context("there is no PostgresStorage")?;
    let owner = storage.metadata.owner_references.as_ref().and_then(|owners| owners.first());
    let uid = alpha.api().get("alpha").await?.metadata.uid;
    ensure!(
        owner.is_some_and(|o| o.kind == "Cluster" && Some(&o.uid) == uid.as_ref()),
        "its owner should be the Cluster: {owner:?}"
    );
    annotated(&alpha, true).await?;

    alpha.scale(2).await?;
    let both = |status: &PostgresStorageStatus| {
        let sizes = status
            .storage_sizing
            .as_ref()
            .and_then(|s| s.data.as_ref())
            .map(|d| d.actual_sizes.len());
        sizes == Some(2)
    };
    stage.status(&alpha, "the new instance is in the status", both).await?;
    invariants::hold(&alpha, &Expect::at_rest(Bytes::gib(1))).await?;

    // No policy selects it any more: it is watched all the same, and nothing of ours stays on it.
    alpha.merge(json!({"metadata": {"labels": {"tier": "bronze"}}})).await?;
    stage.decision_after(&alpha, "Hold", "NoPolicy", stage.began).await?;
    let unmanaged = |status: &PostgresStorageStatus| status.state == Some(State::Unmanaged);
    stage.status(&alpha, "it is unmanaged", unmanaged).await?;
    annotated(&alpha, false).await?;
    alpha.merge(json!({"metadata": {"labels": {"tier": "gold"}}})).await?;
    stage.decision_after(&alpha, "Balanced", "BelowThresholds", stage.began).await?;
    annotated(&alpha, true).await?;
    invariants::hold(&alpha, &Expect::at_rest(Bytes::gib(1))).await?;

    alpha.api().delete("alpha", &DeleteParams::default()).await?;
    within(SOON, "series and objects of alpha are gone", async || {
        let metrics = stage.manager.metrics().await?;
        let of_alpha = [("namespace", stage.namespace.as_str()), ("cluster", "alpha")];
        let series: Vec<_> = metrics
            .series
            .iter()
            .filter(|s| has(s, &of_alpha))
            .map(|s| s.name.clone())
            .collect();
        let storage = stage.api::<PostgresStorage>().get_opt("alpha").await?.is_some();
        let claims = stage.claims("alpha").await?.len();
        ensure!(
            series.is_empty() && !storage && claims == 0,
            "left: {series:?}, PostgresStorage {storage}, {claims} PVCs"
        );
        Ok(Some(()))
    })
    .await?;
    invariants::hold(&beta, &Expect::at_rest(Bytes::gib(1))).await
}

fn has(series: &crate::metrics::Series, labels: &[(&str, &str)]) -> bool {
    labels
        .iter()
        .all(|(key, value)| series.labels.get(*key).is_some_and(|v| v == value))
}

/// Waits until the Cluster says that it is managed, or says nothing of us.
async fn annotated(cluster: &Cluster, managed: bool) -> Result<()> {
    within(SOON, &format!("{} is annotated as managed: {managed}", cluster.name), async || {
        let annotations = cluster.annotations().await?;
        let says = annotations.iter().any(|(key, value)| key.ends_with("/managed") && value == "true");
        ensure!(says == managed && (managed || annotations.is_empty()), "{annotations:?}");
        Ok(Some(()))
    })
    .await
}
