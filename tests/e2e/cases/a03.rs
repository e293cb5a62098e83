//! A03 and A10: what bounds a step: the limit, minStep and maxStep.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_api::{PostgresStorage, State};
use csm_units::Bytes;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, is};
use crate::stage::Stage;

fn resize(threshold: u64, expansion: &Value) -> Value {
    json!({"storage": {"resize": {"enabled": true, "triggers": {"usageThreshold": threshold}, "expansion": expansion}}})
}

async fn settings(stage: &Stage, cluster: &str, spec: Value) -> Result<()> {
    stage
        .apply(stage.api::<PostgresStorage>(), "PostgresStorage", cluster, spec)
        .await
        .map(drop)
}

/// Two clusters of 2 GiB, each with settings of its own.
pub async fn limit_and_steps(stage: Arc<Stage>) -> Result<()> {
    settings(&stage, "limited", resize(50, &json!({"step": "1Gi", "limit": "2560Mi"}))).await?;
    settings(
        &stage,
        "steps",
        resize(20, &json!({"step": "5%", "minStep": "1Gi", "limit": "8Gi"})),
    )
    .await?;
    let (limited, steps) = tokio::try_join!(
        stage.cluster("limited").size("2Gi").create(),
        stage.cluster("steps").size("2Gi").create()
    )?;
    tokio::try_join!(lands_on_limit(&stage, Arc::new(limited)), clamped(&stage, Arc::new(steps)))?;
    Ok(())
}

/// 2 GiB and 1 GiB would pass the limit of 2.5 GiB: it lands there, and stays.
async fn lands_on_limit(stage: &Stage, limited: Arc<Cluster>) -> Result<()> {
    let limit = Bytes::mib(2560);
    let watch = GrowthWatch::start(&limited, limit).await?;
    let breach = limited.fill(50).await?;
    watch.finish(&breach).await?;
    let breach = limited.fill(50).await?;
    stage.held(&limited, "AtLimit", &breach).await?;
    let labels = [
        ("namespace", stage.namespace.as_str()),
        ("cluster", "limited"),
        ("volume_type", "data"),
    ];
    ensure!(
        is(stage.manager.metrics().await?.value("cnpg_disk_at_limit", &labels), 1),
        "cnpg_disk_at_limit is not 1"
    );
    invariants::hold(
        &limited,
        &Expect {
            state: State::AtLimit,
            conditions: &[("Blocked", true)],
            ..Expect::grown(limit, 1)
        },
    )
    .await
}

/// 5 % of 2 GiB are raised to minStep; 50 % of 3 GiB are cut to maxStep.
async fn clamped(stage: &Stage, steps: Arc<Cluster>) -> Result<()> {
    let watch = GrowthWatch::start(&steps, Bytes::gib(3)).await?;
    let breach = steps.fill(20).await?;
    watch.finish(&breach).await?;

    settings(
        stage,
        "steps",
        resize(20, &json!({"step": "50%", "maxStep": "512Mi", "limit": "8Gi"})),
    )
    .await?;
    let to = Bytes::mib(3584);
    let watch = GrowthWatch::start(&steps, to).await?;
    let breach = steps.fill(20).await?;
    watch.finish(&breach).await?;
    invariants::hold(&steps, &Expect::grown(to, 2)).await
}
