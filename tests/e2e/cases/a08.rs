//! A08: a replication slot that nobody reads holds back more WAL than it may.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::Reason;
use csm_units::Bytes;
use serde_json::json;

use crate::cluster::Cluster;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, double, is};
use crate::stage::Stage;
use crate::volume::Volume;
use crate::wal::policy;

const HELD: Reason = Reason::SlotRetention;
/// What all inactive slots may hold back.
const MOST: u64 = 16 << 20;
/// What is written while a slot is there and before the threshold is passed, in MiB.
const SOME: u64 = 24;
/// A volume grows by so much. It is filled 2 % beyond the threshold, and afterwards it is below by more than that which is
/// written then, up to 7 GiB.
const STEP: Bytes = Bytes::mib(256);
/// How often, unless `REPEATS` says so.
const REPEATS: u64 = 3;

/// One cluster, and one slot after the other.
pub async fn abandoned_slots(stage: Arc<Stage>) -> Result<()> {
    let repeats = match std::env::var("REPEATS") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("REPEATS is {text:?}: it should be a number"))?,
        Err(_) => REPEATS,
    };
    let rules = json!({"maxSlotRetentionBytes": MOST.to_string()});
    stage.policy("default", policy(&STEP.to_string(), "8Gi", rules)).await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);
    orders.insert(1000).await?;
    // What a slot no longer holds back is kept all the same: the volume stays as full as it is.
    orders.keep_wal("8GB").await?;
    let mut size = Bytes::gib(1);
    for number in 1..=repeats {
        size = size.saturating_add(STEP);
        let slot = format!("abandoned_{number}");
        one(&stage, &orders, &slot, size)
            .await
            .with_context(|| format!("{slot}, {number} of {repeats}"))?;
        println!("    {number} of {repeats}: held by {slot}, and grown to {size} without it");
    }
    let growths = usize::try_from(repeats)?;
    let grown = Expect {
        ceiling: Bytes::gib(8),
        ..Expect::grown(size, growths)
    };
    invariants::hold_all(&orders, &[grown.of(Volume::Wal), Expect::at_rest(Bytes::gib(1))]).await
}

async fn one(stage: &Stage, orders: &Arc<Cluster>, slot: &str, to: Bytes) -> Result<()> {
    let (retention, of_slot) = ("cnpg_wal_slot_retention_bytes", [("slot_name", slot)]);
    let too_much = |bytes: Option<f64>| bytes.is_some_and(|bytes| bytes > double(MOST));
    orders
        .sql(&format!("SELECT pg_create_physical_replication_slot('{slot}', true)"))
        .await?;
    // Known before the threshold is passed: else the volume would rightly grow.
    orders.write_wal(&orders.primary().await?, SOME).await?;
    stage.wal_metric_is(orders, retention, &of_slot, too_much).await?;
    let breach = orders.fill_of(Volume::Wal, 70).await?;
    stage.held(orders, HELD.as_str(), &breach).await?;
    stage
        .says_wal_is_held(orders, HELD.as_str(), &[slot, "maxSlotRetentionBytes"])
        .await?;
    stage
        .wal_metric_is(orders, "cnpg_wal_inactive_slots", &[], |count| is(count, 1))
        .await?;
    let alert = [("type", "wal-slots")];
    stage
        .wal_metric_is(orders, "cnpg_storage_manager_alert_active", &alert, |due| is(due, 1))
        .await?;
    stage
        .wal_health_is(orders, "the slot is named", |health| {
            let named = &health["inactiveSlots"][0];
            health["inactiveSlotCount"] == 1 && named["slotName"] == slot && named["retentionBytes"].as_u64() > Some(MOST)
        })
        .await?;

    let watch = GrowthWatch::of(orders, Volume::Wal, to).await?;
    orders.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await?;
    let (event, _) = watch.finish_after(&breach, Some(HELD.as_str())).await?;
    ensure!(event.spec.reason == Reason::UsageThreshold, "{:?}", event.spec);
    stage.wal_metric_is(orders, retention, &of_slot, |told| told.is_none()).await
}
