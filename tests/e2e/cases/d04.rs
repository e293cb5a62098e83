//! D04: full, and at `maxSize` already: it is said what a person must do, and nothing is patched; then a person does it.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{ConditionStatus, PostgresStorageStatus, Reason, State, Verdict};
use csm_testkit::csi::faults::Rpc;
use csm_testkit::wait::within;
use csm_units::Bytes;
use jiff::Timestamp;
use serde_json::json;

use super::d01::TO;
use crate::filling::Breach;
use crate::flight::Hold;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, is};
use crate::outage::{BACK, Outage};
use crate::stage::{SOON, Stage};
use crate::volume::Volume;

/// One instance with data and WAL on one volume that may not grow.
pub async fn at_the_limit(stage: Arc<Stage>) -> Result<()> {
    let policy = |max: Bytes| json!({"expansion": {"percentage": 100, "minIncrementGi": 1, "maxSize": max, "cooldownMinutes": 0}});
    stage.policy("default", policy(Bytes::gib(1))).await?;
    let orders = Arc::new(stage.cluster("orders").single_volume().create().await?);
    orders.insert(500).await?;
    stage.observed(&orders, Volume::Data, Timestamp::now()).await?;
    let figures = Hold::set(&stage, Rpc::NodeGetVolumeStats).await?;
    let watch = GrowthWatch::start(&orders, TO).await?.patient(BACK);
    let breach = Breach::now(Volume::Data);
    let mut outage = Outage::new(&orders, Volume::Data).await?;
    outage.fill("orders-1").await?;
    let ended = outage.stop_primary().await?;
    figures.release().await?;

    let said = |status: &PostgresStorageStatus| {
        let data = status.storage_sizing.as_ref().and_then(|sizing| sizing.data.as_ref());
        data.is_some_and(|data| {
            let decision = &data.last_decision;
            decision.verdict == Verdict::Hold && decision.reason == Reason::AtLimit && decision.message.contains("exit code 4")
        })
    };
    let status = stage.status(&orders, "held at its limit, though it is full", said).await?;
    let told = crate::timeline::seconds(ended.at, Timestamp::now());
    let data = status.storage_sizing.and_then(|sizing| sizing.data).context("no data volume")?;
    println!("    {told:.1} s after its end: {}, {}", data.state, data.last_decision.message);
    for words in ["cannot start", "raise expansion.maxSize", "StoragePolicy"] {
        ensure!(
            data.last_decision.message.contains(words),
            "{words}: {}",
            data.last_decision.message
        );
    }
    ensure!(data.state == State::Emergency, "its state is {}", data.state);
    let blocked = status
        .conditions
        .iter()
        .find(|c| c.type_ == "Blocked")
        .context("no condition Blocked")?;
    println!("    Blocked: {:?}, {}: {}", blocked.status, blocked.reason, blocked.message);
    ensure!(
        blocked.status == ConditionStatus::True && blocked.reason == "AtLimit",
        "{blocked:?}"
    );
    alerts(&stage, true).await?;
    let notes = stage.notes("orders").await?;
    let note = notes.iter().find(|(reason, _)| reason == "AutoResizeAtLimit");
    let (_, note) = note.with_context(|| format!("no Event AutoResizeAtLimit: {notes:?}"))?;
    println!("    AutoResizeAtLimit: {note}");
    ensure!(note.contains("raise expansion.maxSize"), "{note}");

    // It ends again for the same reason, and still nothing is patched.
    within(BACK, "it has ended again, and is started a third time", async || {
        let (_, restarts) = orders.pod_of("orders-1").await?;
        let again = outage.end_of("orders-1").await?.is_some_and(|again| again.at > ended.at);
        Ok((restarts >= 2 && again).then_some(()))
    })
    .await?;
    stage.status(&orders, "still held at its limit", said).await?;
    let patches = stage.patches()?;
    ensure!(patches.is_empty(), "at its limit, and patched: {patches:?}");
    stage.keep(breach.held("orders", "AtLimit"));

    let raised = Timestamp::now();
    stage.policy("default", policy(TO)).await?;
    let ((event, took), back) = tokio::try_join!(watch.finish_after(&breach, Some("AtLimit")), outage.back())?;
    ensure!(event.spec.reason == Reason::DiskFull && event.spec.rescue, "{:?}", event.spec);
    let patched = stage.patches()?.first().context("nothing was patched")?.at;
    println!(
        "    patched {:.1} s after maxSize was raised, and back after {:.1} s",
        crate::timeline::seconds(raised, patched),
        back.values().map(|at| crate::timeline::seconds(raised, *at)).fold(0.0, f64::max)
    );
    outage.over(&event, &took, &back).await?;
    alerts(&stage, false).await?;
    invariants::hold(&orders, &Expect::grown(TO, 1)).await
}

/// The critical alert that it is down is due, and that it is at its limit; or the first no longer is.
async fn alerts(stage: &Stage, down: bool) -> Result<()> {
    for kind in ["rescue", "at-limit"] {
        let labels = [
            ("namespace", stage.namespace.as_str()),
            ("cluster", "orders"),
            ("volume", "data"),
            ("type", kind),
            ("severity", "critical"),
        ];
        // It is at its new limit afterwards.
        let due = down || kind == "at-limit";
        within(SOON, &format!("the alert {kind} is due: {due}"), async || {
            let value = stage.manager.metrics().await?.value("cnpg_storage_manager_alert_active", &labels);
            ensure!(is(value.or(Some(0.0)), u64::from(due)), "it is {value:?}");
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}
