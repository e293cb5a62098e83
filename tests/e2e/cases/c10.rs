//! C10: a node's kubelet is stopped. Its volumes go stale and say so, nothing is done on old figures; all others go on.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{ConditionStatus, PostgresStorageStatus, State};
use csm_units::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde_json::json;
use std::time::Duration;

use crate::cluster::{Cluster, rows_sql};
use crate::filling::{Breach, percent, rows_to};
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::volume::Volume;
use csm_testkit::wait::within;

/// Figures count for five minutes; with room for the look that finds them too old.
const STALE: Duration = Duration::from_secs(380);

/// One cluster on the node that goes silent, one on the other.
pub async fn a_silent_kubelet(stage: Arc<Stage>) -> Result<()> {
    let [here, there] = stage.lab.status().nodes.as_slice() else {
        anyhow::bail!("this test needs a lab of two nodes: NODES=2")
    };
    let expansion = json!({"minIncrementGi": 1, "maxSize": "2Gi", "cooldownMinutes": 0});
    stage.policy("default", json!({"expansion": expansion})).await?;
    let (seen, blind) = tokio::try_join!(
        stage.cluster("seen").on(&here.name).create(),
        stage.cluster("blind").on(&there.name).create()
    )?;
    let (seen, blind) = (Arc::new(seen), Arc::new(blind));
    blind.fill(60).await?;
    stage
        .decision_after(&blind, "Balanced", "BelowThresholds", Timestamp::now())
        .await?;
    let before = blind.df("blind-1").await?;

    stage.excuse("no figures from the kubelet");
    stage.lab.stop(&format!("kubelet@{}", there.name)).await?;
    let silent = Timestamp::now();

    // Everybody else goes on.
    let watch = GrowthWatch::start(&seen, Bytes::gib(2)).await?;
    let breach = seen.fill(85).await?;
    watch.finish(&breach).await?;

    // PostgreSQL goes on as well on the silent node, and fills its volume unseen.
    let breach = write_unseen(&seen, &blind, rows_to(&before, 88)).await?;
    let lost = |status: &PostgresStorageStatus| {
        let fresh = status.conditions.iter().find(|c| c.type_ == "MetricsFresh");
        let data = status.storage_sizing.as_ref().and_then(|s| s.data.as_ref());
        fresh.is_some_and(|c| c.status == ConditionStatus::False && c.reason == "MetricsLost" && c.message.contains("data"))
            && data.is_some_and(|d| d.state == State::WaitingForDiskStatus && d.last_decision.reason.as_str() == "StaleObservation")
    };
    within(STALE, "the status says that the figures are lost", async || {
        let status = stage.storage("blind").await?.and_then(|storage| storage.status);
        Ok(status.filter(|status| lost(status)))
    })
    .await?;
    let labels = [("namespace", stage.namespace.as_str()), ("cluster", "blind"), ("pvc", "blind-1")];
    let age = stage
        .manager
        .metrics()
        .await?
        .value("cnpg_storage_manager_observation_age_seconds", &labels);
    ensure!(age.is_some_and(|age| age > 300.0), "observation_age_seconds is {age:?}");
    println!(
        "    figures lost {:.0} s after the kubelet fell silent",
        crate::timeline::seconds(silent, Timestamp::now())
    );
    stage.keep(breach.held("blind data", "StaleObservation"));
    let patches = stage.patches()?;
    ensure!(
        patches.iter().all(|p| p.pvc.starts_with("seen-")),
        "patched on old figures: {patches:?}"
    );
    // Its neighbour is as fresh as ever.
    stage.decision_after(&seen, "Balanced", "BelowThresholds", silent).await?;

    let watch = GrowthWatch::start(&blind, Bytes::gib(2)).await?;
    stage.lab.start(&format!("kubelet@{}", there.name)).await?;
    let back = Breach::now(Volume::Data);
    watch.finish_after(&back, Some("StaleObservation")).await?;
    blind.healthy().await?;
    let committed = blind.rows(Volume::Data).count;
    let rows = blind.remember(Volume::Data).await?;
    ensure!(
        rows.count == committed,
        "{committed} rows were committed, and {} are there",
        rows.count
    );
    let df = blind.df("blind-1").await?;
    ensure!(
        df.used() > before.used() + (200 << 20),
        "the rows written unseen should be on the volume: {before:?}, then {df:?}, {}",
        percent(&df)
    );
    for cluster in [&seen, &blind] {
        invariants::hold(cluster, &Expect::grown(Bytes::gib(2), 1)).await?;
    }
    Ok(())
}

/// Commits rows in `blind` over the network, from the pod of `seen`: without its kubelet nobody gets into its own pod.
async fn write_unseen(seen: &Cluster, blind: &Cluster, rows: u64) -> Result<Breach> {
    let stage = &seen.stage;
    let secret = stage.api::<Secret>().get("blind-superuser").await?;
    let password = secret
        .data
        .as_ref()
        .and_then(|data| data.get("password"))
        .context("the secret has no password")?;
    let password = String::from_utf8(password.0.clone())?;
    let pod = stage.api::<Pod>().get("blind-1").await?;
    let address = pod.status.and_then(|status| status.pod_ip).context("blind-1 has no address")?;
    let target = format!("postgresql://postgres:{password}@{address}:5432/app");
    let mut next = blind.rows(Volume::Data).count;
    let last = next + rows;
    let mut breach = None;
    while next < last {
        // 48 MiB of WAL at a time.
        let to = (next + 6144).min(last);
        let command = [
            "psql",
            &target,
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            &rows_sql(Volume::Data, next, to),
        ];
        let before = Timestamp::now();
        let output = stage.lab.exec(&stage.namespace, "seen-1", "postgres", &command).await?;
        ensure!(output.code == 0, "writing into blind-1: {}", output.stderr);
        next = to;
        breach = Some(Breach {
            volume: Volume::Data,
            at: Timestamp::now(),
            before,
        });
    }
    blind.committed(Volume::Data, next);
    breach.context("nothing was to be written")
}
