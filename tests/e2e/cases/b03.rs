//! B03 and B04: towards a buffer of free space, again and again, and never beyond the limit.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_api::{Reason, State};
use csm_units::Bytes;
use serde_json::json;

use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::{GROWTH, Stage};
use crate::volume::Volume;
use csm_testkit::wait::within;

/// No growth of this model is smaller than 5 %: three reach the limit.
const GROWTHS: usize = 3;

/// Instances that are always to have 20 % free.
pub async fn buffer_and_limit(stage: Arc<Stage>, instances: usize) -> Result<()> {
    let limit = Bytes::mib(1180);
    let target = json!({"request": "1Gi", "limit": "1180Mi", "targetBuffer": 20});
    stage.policy("default", json!({"storage": target})).await?;
    let orders = Arc::new(stage.cluster("orders").instances(instances).create().await?);

    let mut size = Bytes::gib(1);
    for number in 1..=GROWTHS {
        let watch = GrowthWatch::any(&orders, Volume::Data).await?;
        let aimed = within(GROWTH, "the status tells of a target size", async || {
            let status = stage.storage("orders").await?.and_then(|storage| storage.status);
            let data = status.and_then(|status| status.storage_sizing).and_then(|sizing| sizing.data);
            Ok(data.filter(|data| data.target_size.is_some()))
        });
        let (breach, aimed) = tokio::try_join!(orders.fill(80), aimed)?;
        let (event, _) = watch.finish(&breach).await?;
        ensure!(event.spec.reason == Reason::TargetBuffer, "{:?}", event.spec);
        let to = event.spec.expansion.requested_size;
        ensure!(aimed.target_size == Some(to), "grown to {to}, and the status told {aimed:?}");
        ensure!(to > size && to <= limit, "growth {number} went from {size} to {to}");
        let what = format!("effectiveSize is {to}, and nothing more is aimed at");
        stage
            .sizing(&orders, Volume::Data, &what, |data| {
                data.effective_size == to && data.target_size.is_none()
            })
            .await?;
        if to < limit {
            for name in orders.names() {
                let df = orders.df(&name).await?;
                let free = df.available * 100 / (df.used() + df.available);
                ensure!(free >= 20, "{free} % of {name} are free: {df:?}");
            }
        }
        size = to;
    }
    ensure!(size == limit, "{GROWTHS} growths ended at {size} instead of {limit}");
    let breach = orders.fill(80).await?;
    stage.held(&orders, "AtLimit", &breach).await?;
    invariants::hold(
        &orders,
        &Expect {
            state: State::AtLimit,
            conditions: &[("Blocked", true), ("Healthy", false)],
            ..Expect::grown(limit, GROWTHS)
        },
    )
    .await
}
