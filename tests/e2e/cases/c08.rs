//! C08: a quota of the namespace refuses a growth. It is said which one; once that is raised, the volume grows.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Phase, Reason, Verdict};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::filling::Breach;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, is};
use crate::stage::{SOON, Stage};
use crate::timeline::seconds;
use crate::volume::Volume;
use csm_testkit::wait::within;

const QUOTA: &str = "team-quota";
/// Gate 12a after a first refusal. A change of the quota ends it at once.
const RETRY: SignedDuration = SignedDuration::from_mins(1);

/// What it does at once it does within this time.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(5);

/// Applies the quota of the namespace, and waits until it counts.
pub async fn quota(stage: &Stage, size: &str) -> Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": QUOTA}, "spec": {"hard": {"requests.storage": size}},
    });
    let parameters = PatchParams::apply("e2e").force();
    stage
        .api::<ResourceQuota>()
        .patch(QUOTA, &parameters, &Patch::Apply(&object))
        .await
        .context("apply the quota")?;
    within(SOON, "the quota is counted", async || {
        let status = stage.api::<ResourceQuota>().get(QUOTA).await?.status;
        let hard = status.and_then(|status| status.hard).unwrap_or_default();
        Ok(hard.get("requests.storage").filter(|hard| hard.0 == size).map(|_| ()))
    })
    .await
}

/// Data and WAL have 2 GiB; there is room for 100 MiB, and then for 2 GiB.
pub async fn quota_refuses(stage: Arc<Stage>) -> Result<()> {
    stage
        .policy(
            "default",
            json!({"expansion": {"minIncrementGi": 1, "maxSize": "4Gi", "cooldownMinutes": 0}}),
        )
        .await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);
    quota(&stage, "2148Mi").await?;
    stage.excuse("the API server refused to grow the PVC");
    stage.excuse("expansion failed");
    let breach = orders.fill(85).await?;
    let refused = within(SOON, "the growth is refused", async || {
        let events = stage.events_of("orders", Volume::Data).await?;
        Ok(events.into_iter().find(|event| csm_tests::phase(event) == Some(Phase::Failed)))
    })
    .await?;
    let status = refused.status.context("no status")?;
    let condition = status.conditions.first().context("no condition")?;
    println!("    {}: {}", condition.reason, condition.message);
    ensure!(condition.reason == "Refused" && condition.message.contains(QUOTA), "{condition:?}");
    let error = status.pvc_statuses.iter().find_map(|pvc| pvc.error.clone()).unwrap_or_default();
    // The other volume and this one have 1 GiB each, and this one is to have one more.
    for words in [
        "exceeded quota: team-quota",
        "requested: requests.storage=1Gi",
        "used: requests.storage=2Gi",
        "limited: requests.storage=2148Mi",
    ] {
        ensure!(error.contains(words), "{words}: {error}");
        ensure!(condition.message.contains(words), "{words}: {condition:?}");
    }
    let again = status.next_retry_time.as_ref().context("no time of the next try")?.0;
    let ended = status.completion_time.as_ref().context("no end")?.0;
    ensure!(again.duration_since(ended) == RETRY, "ended at {ended}, tried again at {again}");
    let waits = |data: &csm_api::VolumeSizing| {
        let decision = &data.last_decision;
        (decision.verdict, decision.reason, decision.wanted) == (Verdict::Hold, Reason::RetryLater, Some(Bytes::gib(2)))
    };
    stage.sizing(&orders, Volume::Data, "it waits for the next try", waits).await?;
    stage.no_patch(&orders, "Hold", "RetryLater", &Breach::now(Volume::Data)).await?;
    let notes = stage.notes("orders").await?;
    ensure!(
        notes
            .iter()
            .any(|(reason, words)| reason == "AutoResizeFailed" && words.contains(QUOTA)),
        "{notes:?}"
    );
    let labels = [
        ("namespace", stage.namespace.as_str()),
        ("cluster", "orders"),
        ("type", "expansion-failed"),
    ];
    let alert = stage.manager.metrics().await?.value("cnpg_storage_manager_alert_active", &labels);
    ensure!(is(alert, 1), "the alert expansion-failed is {alert:?}");

    let watch = GrowthWatch::start(&orders, Bytes::gib(2)).await?;
    let raised = Timestamp::now();
    quota(&stage, "4Gi").await?;
    let (event, timeline) = watch.finish_after(&breach, Some("RetryLater")).await?;
    let decided = timeline.decided.context("no decision")?;
    println!(
        "    tried again {:.1} s after the quota was raised, {:.0} s before the next try was due",
        seconds(raised, decided),
        seconds(decided, again)
    );
    ensure!(
        decided.duration_since(raised) < AT_ONCE && raised.checked_add(AT_ONCE)? < again,
        "the quota was raised at {raised}, and it was tried at {decided}; the next try was due at {again}: {:?}",
        event.spec
    );
    let expect = Expect {
        ceiling: Bytes::gib(4),
        failed: 1,
        refused: 1,
        ..Expect::grown(Bytes::gib(2), 1)
    };
    invariants::hold(&orders, &expect).await
}
