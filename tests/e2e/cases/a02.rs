//! A02: a separate WAL volume over its threshold grows, and the data volume stays.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use csm_api::{Reason, Role};
use csm_units::Bytes;
use jiff::Timestamp;
use serde_json::json;

use crate::filling::percent;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::volume::Volume;
use csm_testkit::wait::until_it;

/// A standby gives WAL back at its next restart point.
const GIVEN_BACK: Duration = Duration::from_mins(3);

/// WAL that every instance keeps fills the WAL volumes of a primary and a replica.
pub async fn wal_volume(stage: Arc<Stage>) -> Result<()> {
    let resize = json!({
        "enabled": true,
        "triggers": {"usageThreshold": 70},
        "expansion": {"step": "1Gi", "limit": "4Gi"},
    });
    stage.policy("default", json!({"walStorage": {"resize": resize}})).await?;
    let orders = Arc::new(stage.cluster("orders").instances(2).create().await?);
    orders.insert(1000).await?;
    orders.keep_wal("2GB").await?;

    let to = Bytes::gib(2);
    let watch = GrowthWatch::of(&orders, Volume::Wal, to).await?;
    let breach = orders.fill_of(Volume::Wal, 70).await?;
    let (event, _) = watch.finish(&breach).await?;
    ensure!(
        (event.spec.volume.role, event.spec.reason) == (Role::Wal, Reason::UsageThreshold),
        "{:?}",
        event.spec
    );

    // What is no longer kept goes; the size stays.
    orders.keep_wal("64MB").await?;
    let primary = orders.primary().await?;
    for instance in [primary.clone()]
        .into_iter()
        .chain(orders.names().into_iter().filter(|n| *n != primary))
    {
        until_it(GIVEN_BACK, &format!("{instance} gives its WAL back"), async || {
            // A standby has a restart point where the primary has a new checkpoint only.
            orders.sql_on(&primary, "CHECKPOINT").await?;
            orders.sql_on(&instance, "CHECKPOINT").await?;
            let df = orders.df_of(&instance, Volume::Wal).await?;
            ensure!(percent(&df) < 3000, "{df:?}");
            Ok(())
        })
        .await?;
    }
    let decision = ("Balanced", "BelowThresholds");
    stage.decision_of(&orders, Volume::Wal, decision, Timestamp::now()).await?;
    let grown = Expect {
        ceiling: Bytes::gib(4),
        ..Expect::grown(to, 1)
    };
    invariants::hold_all(&orders, &[grown.of(Volume::Wal), Expect::at_rest(Bytes::gib(1))]).await
}
