//! A15: nothing is known of a primary's WAL, because it cannot be asked: growth goes on, and warns.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use csm_api::Reason;
use csm_testkit::wait::within;
use csm_units::Bytes;
use serde_json::json;

use crate::cable::Cable;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, is};
use crate::stage::{SOON, Stage};
use crate::volume::Volume;
use crate::wal::policy;

/// What was said counts for five minutes.
const TOO_OLD: Duration = Duration::from_mins(6);
const EVENT: &str = "AutoResizeWALHealthUnavailable";

/// A slot holds back what would hold growth, if it were known.
pub async fn unknown_health(stage: Arc<Stage>) -> Result<()> {
    stage
        .policy("default", policy("1Gi", "4Gi", json!({"maxSlotRetentionBytes": "16Mi"})))
        .await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);
    orders.insert(1000).await?;
    orders.keep_wal("2GB").await?;
    orders.sql("SELECT pg_create_physical_replication_slot('abandoned', true)").await?;
    stage
        .wal_health_is(&orders, "the slot is known", |health| health["inactiveSlotCount"] == 1)
        .await?;

    stage.excuse("the primary does not say how its WAL is");
    let cable = Cable::cut(&stage.manager, &orders, &orders.names()).await?;
    let known = async || stage.wal_metric(&orders, "cnpg_wal_inactive_slots", &[]).await;
    within(TOO_OLD, "what is known of the WAL ends", async || {
        let told = known().await?;
        ensure!(told.is_none(), "the metric still says {told:?}");
        Ok(Some(()))
    })
    .await?;
    ensure!(
        !stage.notes("orders").await?.iter().any(|(name, _)| name == EVENT),
        "warned of before it grew"
    );
    let watch = GrowthWatch::of(&orders, Volume::Wal, Bytes::gib(2)).await?;
    let breach = orders.fill_of(Volume::Wal, 70).await?;
    let (event, _) = watch.finish(&breach).await?;
    ensure!(event.spec.reason == Reason::UsageThreshold, "{:?}", event.spec);
    within(SOON, "an Event says that growth went on", async || {
        let notes = stage.notes_of_type("orders", "Warning").await?;
        let said = notes.iter().find(|(name, words)| name == EVENT && words.starts_with("wal"));
        ensure!(said.is_some(), "{notes:?}");
        Ok(said.map(|(_, words)| println!("    {words}")))
    })
    .await?;
    let health = stage.wal_health("orders", "orders-1").await?;
    ensure!(health.is_none(), "nothing is known, and the status says {health:?}");

    drop(cable);
    within(SOON, "its WAL is known again", async || Ok(is(known().await?, 1).then_some(()))).await?;
    stage
        .wal_health_is(&orders, "the slot is known again", |health| health["inactiveSlotCount"] == 1)
        .await?;
    let grown = Expect {
        ceiling: Bytes::gib(4),
        ..Expect::grown(Bytes::gib(2), 1)
    };
    invariants::hold_all(&orders, &[grown.of(Volume::Wal), Expect::at_rest(Bytes::gib(1))]).await
}
