//! C06: the archive is gone, and WAL fills its volume up to `maxSize`; then the archive is back.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_api::{Reason, State, WalCleanupOutcome, WalHolder, WalLever};
use csm_testkit::wait::within;
use csm_units::Bytes;
use jiff::Timestamp;
use serde_json::json;

use crate::archive::Archive;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, is};
use crate::stage::{SOON, Stage};
use crate::timeline::seconds;
use crate::volume::Volume;

/// All that may be had.
const MOST: Bytes = Bytes::gib(2);
/// Where the volume grows.
const FULL: u64 = 86;
/// Where relief is tried.
const ALMOST: u64 = 91;

/// Primary and standby; thresholds alone, as by default: the volume has to grow, whatever holds WAL back.
pub async fn archive_gone(stage: Arc<Stage>) -> Result<()> {
    stage.relieves_wal().await?;
    let expansion = json!({"percentage": 100, "minIncrementGi": 1, "maxSize": MOST, "cooldownMinutes": 0});
    stage.policy("default", json!({"expansion": expansion})).await?;
    let archive = Archive::new(&stage).await?;
    let orders = Arc::new(stage.cluster("orders").instances(2).archives(&archive).create().await?);
    orders.insert(1000).await?;
    orders.switch_wal().await?;
    archive.has_all(&orders).await?;
    stage.archive_is(&orders, true).await?;
    let (primary, pods) = (orders.primary().await?, orders.pods().await?);

    let gone = Timestamp::now();
    archive.unserved().await?;
    orders.switch_wal().await?;
    orders.fails_to_archive().await?;
    stage.archive_is(&orders, false).await?;
    println!("    {:.0} s after the archive went it is said", seconds(gone, Timestamp::now()));
    let watch = GrowthWatch::of(&orders, Volume::Wal, MOST).await?;
    let breach = orders.fill_of(Volume::Wal, FULL).await?;
    let (event, _) = watch.finish(&breach).await?;
    ensure!(event.spec.reason == Reason::UsageThreshold, "{:?}", event.spec);
    orders.insert(200).await?;

    let breach = orders.fill_of(Volume::Wal, ALMOST).await?;
    stage.held(&orders, Reason::AtLimit.as_str(), &breach).await?;
    stage
        .sizing(&orders, Volume::Wal, "it says that it is at its limit", |sizing| {
            sizing.state == State::AtLimit && sizing.last_decision.message.contains("maxSize")
        })
        .await?;
    alerts(
        &stage,
        &[("at-limit", true), ("storage-emergency", true), ("wal-archive-failing", true)],
    )
    .await?;
    let notes = stage.notes("orders").await?;
    ensure!(notes.iter().any(|(reason, _)| reason == "AutoResizeAtLimit"), "{notes:?}");
    // Relief is tried, names who holds all of it, and removes nothing: none of it is archived.
    let relief = stage.relief_by_itself(&orders, &primary, 0, SOON).await?;
    relief.is(WalCleanupOutcome::NothingToFree)?;
    let (holder, advice) = (relief.found.holders.first(), relief.found.advice.first());
    ensure!(holder.is_some_and(|bound| bound.holder == WalHolder::Archive), "{holder:?}");
    ensure!(advice.is_some_and(|advice| advice.lever == WalLever::RepairArchiving), "{advice:?}");
    // It writes still.
    orders.insert(200).await?;
    orders.replicated().await?;

    let back = Timestamp::now();
    archive.served().await?;
    let all = archive.has_all(&orders).await?;
    println!(
        "    {all} segments are in the bucket {:.0} s after the archive was back",
        seconds(back, Timestamp::now())
    );
    stage.archive_is(&orders, true).await?;
    orders.gives_wal_back().await?;
    alerts(
        &stage,
        &[
            ("storage-emergency", false),
            ("storage-critical", false),
            ("storage-warning", false),
            ("wal-archive-failing", false),
        ],
    )
    .await?;
    let now = orders.pods().await?;
    ensure!(now == pods && orders.primary().await? == primary, "{pods:?} before, and {now:?}");
    let expect = Expect {
        ceiling: MOST,
        ..Expect::grown(MOST, 1)
    };
    invariants::hold_all(&orders, &[expect.of(Volume::Wal), Expect::at_rest(Bytes::gib(1))]).await
}

/// Waits until these alerts about the cluster are due, or are not.
async fn alerts(stage: &Stage, wanted: &[(&str, bool)]) -> Result<()> {
    for (kind, due) in wanted {
        let labels = [("namespace", stage.namespace.as_str()), ("cluster", "orders"), ("type", kind)];
        within(SOON, &format!("the alert {kind} is due: {due}"), async || {
            let value = stage.manager.metrics().await?.value("cnpg_storage_manager_alert_active", &labels);
            ensure!(is(value.or(Some(0.0)), u64::from(*due)), "it is {value:?}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}
