//! C05: two policies of one rank that match one Cluster: past admission both conflict; the later one is refused where it is seen.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_api::{ConditionStatus, State, StoragePolicy};
use csm_tests::kubectl::Apply;
use csm_tests::verdicts::object;
use csm_units::Bytes;
use kube::api::DeleteParams;
use serde_json::json;

use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, is};
use crate::stage::{SOON, Stage};
use csm_testkit::wait::within;

/// Both are there before the Cluster is, so that no admission could have seen the overlap.
pub async fn both_conflict(stage: Arc<Stage>) -> Result<()> {
    let selecting = |key: &str, value: &str| {
        json!({
            "selector": {"matchLabels": {key: value}},
            "expansion": {"minIncrementGi": 1, "maxSize": "4Gi", "cooldownMinutes": 0},
        })
    };
    stage.policy("gold", selecting("tier", "gold")).await?;
    stage.policy("shop", selecting("team", "shop")).await?;
    let labels = json!({"tier": "gold", "team": "shop"});
    let orders = Arc::new(stage.cluster("orders").labels(labels).create().await?);
    let breach = orders.fill(85).await?;
    stage.no_patch(&orders, "Hold", "PolicyConflict", &breach).await?;

    for (policy, other) in [("gold", "shop"), ("shop", "gold")] {
        within(SOON, &format!("{policy} is said to conflict with {other}"), async || {
            let status = stage.api::<StoragePolicy>().get(policy).await?.status.unwrap_or_default();
            let told = status.conditions.iter().find(|c| c.type_ == "Conflicting");
            ensure!(
                told.is_some_and(|c| c.status == ConditionStatus::True && c.message.contains(other) && c.message.contains("orders")),
                "{told:?}"
            );
            Ok(Some(()))
        })
        .await?;
    }
    let conflicting = |status: &csm_api::PostgresStorageStatus| {
        let condition = status.conditions.iter().find(|c| c.type_ == "Conflicting");
        let named = |c: &csm_api::Condition| c.message.contains("gold") && c.message.contains("shop");
        condition.is_some_and(|c| c.status == ConditionStatus::True && named(c)) && status.state == Some(State::Blocked)
    };
    stage.status(&orders, "Conflicting names both policies", conflicting).await?;
    let notes = stage.notes("orders").await?;
    ensure!(
        notes
            .iter()
            .any(|(reason, words)| reason == "StoragePolicyConflict" && words.contains("data")),
        "{notes:?}"
    );
    let labels = [
        ("namespace", stage.namespace.as_str()),
        ("cluster", "orders"),
        ("type", "policy-conflict"),
    ];
    let alert = stage.manager.metrics().await?.value("cnpg_storage_manager_alert_active", &labels);
    ensure!(is(alert, 1), "the alert policy-conflict is {alert:?}");
    // Held, and watched all the same.
    stage.decision_after(&orders, "Hold", "PolicyConflict", breach.at).await?;

    let watch = GrowthWatch::start(&orders, Bytes::gib(2)).await?;
    stage.api::<StoragePolicy>().delete("shop", &DeleteParams::default()).await?;
    watch.finish_after(&breach, Some("PolicyConflict")).await?;

    // Now that the Cluster is there, it is seen: the later one is refused.
    let later = object("StoragePolicy", &stage.namespace, "shop", &selecting("team", "shop"));
    let (taken, said) = stage.kubectl(&later, Apply::Kept).await?;
    println!("    {}", said.trim());
    ensure!(!taken, "it was taken: {said}");
    let namespace = &stage.namespace;
    for words in [
        "admission webhook \"policies.storage.cnpg.supporttools.io\" denied the request: ".to_owned(),
        format!("StoragePolicy {namespace}/gold"),
        format!("StoragePolicy {namespace}/shop"),
        format!("both match {namespace}/orders, which is held for it"),
    ] {
        ensure!(said.contains(&words), "kubectl says {said:?}, and should say {words:?}");
    }
    let expect = Expect {
        ceiling: Bytes::gib(4),
        ..Expect::grown(Bytes::gib(2), 1)
    };
    invariants::hold(&orders, &expect).await
}
