//! A05: data and WAL on one volume. Growing it may hide a WAL problem: nothing is done until somebody has acknowledged that.

use std::sync::Arc;

use anyhow::Result;
use csm_units::Bytes;
use serde_json::json;

use crate::filling::Breach;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::volume::Volume;

/// Held at first, and grown once the risk is acknowledged.
pub async fn acknowledged(stage: Arc<Stage>) -> Result<()> {
    let resize = |acknowledged: bool| {
        json!({"storage": {"resize": {
            "enabled": true,
            "triggers": {"usageThreshold": 60},
            "expansion": {"step": "1Gi", "limit": "4Gi"},
            "strategy": {"walSafetyPolicy": {"acknowledgeWALRisk": acknowledged}},
        }}})
    };
    // Before there is a Cluster that admission could refuse it for.
    stage.policy("default", resize(false)).await?;
    let single = Arc::new(stage.cluster("single").single_volume().create().await?);
    // Well beyond: WAL comes and goes here.
    single.fill(68).await?;
    let to = Bytes::gib(2);
    let watch = GrowthWatch::start(&single, to).await?;
    let breach = Breach::now(Volume::Data);
    stage.held(&single, "WalRiskNotAcknowledged", &breach).await?;
    stage.policy("default", resize(true)).await?;
    watch.finish_after(&breach, Some("WalRiskNotAcknowledged")).await?;
    invariants::hold(
        &single,
        &Expect {
            ceiling: Bytes::gib(4),
            ..Expect::grown(to, 1)
        },
    )
    .await
}
