//! A04 and A05: data and WAL on one volume. Growing it may hide a WAL problem: a policy that would do so is refused, and nothing is
//! done until somebody has acknowledged that.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_tests::admissions::only;
use csm_tests::kubectl::Apply;
use csm_tests::verdicts::object;
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
    let to = Bytes::gib(2);
    let watch = GrowthWatch::start(&single, to).await?;
    // It is decided on while it fills. Well beyond: WAL comes and goes here.
    let breach = Breach::now(Volume::Data);
    single.fill(68).await?;
    stage.held(&single, "WalRiskNotAcknowledged", &breach).await?;

    // A policy of its own, as a person applies it: refused with the risk explained, and taken with that acknowledged.
    let own = |acknowledged| object("StoragePolicy", &stage.namespace, "own", &only("single", resize(acknowledged)));
    let (taken, said) = stage.kubectl(&own(false), Apply::Kept).await?;
    println!("    {}", said.trim());
    ensure!(!taken, "it was taken: {said}");
    for words in [
        "admission webhook \"policies.storage.cnpg.supporttools.io\" denied the request: ",
        "storage.resize.enabled grows PGDATA",
        &format!(
            "{}/single holds the WAL as well, so growth can hide WAL that piles up",
            stage.namespace
        ),
        "set resize.strategy.walSafetyPolicy.acknowledgeWALRisk: true",
    ] {
        ensure!(said.contains(words), "kubectl says {said:?}, and should say {words:?}");
    }
    stage.no_patch(&single, "Hold", "WalRiskNotAcknowledged", &breach).await?;
    let (taken, said) = stage.kubectl(&own(true), Apply::Kept).await?;
    println!("    {}", said.trim());
    ensure!(taken && said.contains("storagepolicy.cnpg.supporttools.io/own created"), "{said}");
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
