//! A11 and B06: tablespaces grow by policies of their own, each in another model, and nothing else does.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_api::Reason;
use csm_units::Bytes;
use serde_json::json;

use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::volume::Volume;

const ARCHIVE: Volume = Volume::Tablespace("archive");
const LOGS: Volume = Volume::Tablespace("logs");

/// Two instances with two tablespaces: one in steps, one towards a buffer.
pub async fn tablespaces(stage: Arc<Stage>) -> Result<()> {
    let resize = json!({"enabled": true, "triggers": {"usageThreshold": 70}, "expansion": {"step": "512Mi", "limit": "4Gi"}});
    let target = json!({"request": "1Gi", "limit": "1280Mi", "targetBuffer": 40});
    let blocks = json!([{"name": "archive", "storage": {"resize": resize}}, {"name": "logs", "storage": target}]);
    stage.policy("default", json!({"tablespaces": blocks})).await?;
    let orders = stage.cluster("orders").instances(2).tablespace("archive").tablespace("logs");
    let orders = Arc::new(orders.create().await?);
    orders.insert(1000).await?;

    let to = Bytes::mib(1536);
    let watch = GrowthWatch::of(&orders, ARCHIVE, to).await?;
    let breach = orders.fill_of(ARCHIVE, 70).await?;
    let (event, _) = watch.finish(&breach).await?;
    ensure!(event.spec.reason == Reason::UsageThreshold, "{:?}", event.spec);

    let watch = GrowthWatch::any(&orders, LOGS).await?;
    let breach = orders.fill_of(LOGS, 60).await?;
    let (event, _) = watch.finish(&breach).await?;
    ensure!(event.spec.reason == Reason::TargetBuffer, "{:?}", event.spec);

    let archive = Expect {
        ceiling: Bytes::gib(4),
        ..Expect::grown(to, 1)
    };
    let logs = Expect {
        ceiling: Bytes::mib(1280),
        ..Expect::grown(event.spec.expansion.requested_size, 1)
    };
    invariants::hold_all(&orders, &[archive.of(ARCHIVE), logs.of(LOGS)]).await
}
