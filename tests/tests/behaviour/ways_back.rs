//! Growths that the storage or the API server does not allow: what is left behind, and how it goes on.

use anyhow::Context as _;
use csm_api::{Phase, PvcFailure, PvcPhase, Reason, Verdict};
use csm_testkit::resizer::ResizeFault;
use csm_tests::{Stage, phase, until, up_to};
use csm_units::Bytes;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceQuota};
use kube::api::{Patch, PatchParams};
use serde_json::json;

#[tokio::test]
async fn an_infeasible_size_is_stepped_back_from_and_learned() -> anyhow::Result<()> {
    let (stage, orders) = Stage::with_orders("infeasible", |c| c.instances(2).data("10Gi"), up_to("100Gi")).await?;
    for instance in ["orders-1", "orders-2"] {
        orders
            .data(instance)
            .resize_fault(ResizeFault::InfeasibleAbove(Bytes::gib(13).get()));
    }
    let manager = stage.manager().await?;
    orders.fill("orders-1", 0.87)?;
    let failed = stage.event("orders", "failed", |e| phase(e) == Some(Phase::Failed)).await;
    let failed = failed.with_context(|| manager.tail())?;
    let status = failed.status.context("a status")?;
    let condition = status.conditions.first().context("a condition")?;
    assert_eq!(condition.reason, "Infeasible");
    let replica = status.pvc_statuses.first().context("the replica is first")?;
    assert_eq!((replica.name.as_str(), replica.learned_ceiling), ("orders-2", Some(Bytes::gib(12))));
    assert!(
        condition.message.contains("the volume cannot be larger than") && condition.message.contains("stepped back to 12Gi, which it has"),
        "{}",
        condition.message
    );
    stage.told_once("orders", &["AutoResizeInfeasible"]).await?;

    // The others follow to what is possible; then the volume has reached what its storage allows.
    for instance in ["orders-1", "orders-2"] {
        let what = format!("{instance} has 12Gi");
        until(&what, || async {
            Ok((orders.data(instance).capacity().await? == Bytes::gib(12)).then_some(()))
        })
        .await
        .with_context(|| manager.tail())?;
    }
    orders.fill("orders-1", 0.95)?;
    let held = stage.data_status("orders", "held", |d| {
        d.last_decision.verdict == Verdict::Hold && d.last_decision.reason == Reason::AtLimit
    });
    let held = held.await.with_context(|| manager.tail())?;
    assert!(
        held.last_decision.message.contains("the largest size that the storage has allowed"),
        "{}",
        held.last_decision.message
    );
    Ok(())
}

#[tokio::test]
async fn a_quota_that_is_raised_lets_the_growth_pass_at_once() -> anyhow::Result<()> {
    let (stage, _orders) = Stage::with_orders("raised", |c| c.data("10Gi").data_used(0.87), up_to("100Gi")).await?;
    stage
        .sim
        .resource_quota(&stage.namespace, "small", &[("requests.storage", "12Gi")])
        .await?;
    let manager = stage.manager().await?;
    let refused = stage.event("orders", "refused", |e| phase(e) == Some(Phase::Failed)).await?;
    let again = refused
        .status
        .and_then(|s| s.next_retry_time)
        .context("it says when it is tried again")?
        .0;

    let quotas = stage.api::<ResourceQuota>();
    let hard = json!({"hard": {"requests.storage": "40Gi"}});
    let (patch, parameters) = (json!({"spec": hard, "status": hard}), PatchParams::default());
    quotas.patch("small", &parameters, &Patch::Merge(&patch)).await?;
    quotas.patch_status("small", &parameters, &Patch::Merge(&patch)).await?;
    let grown = stage.event("orders", "grown", |e| phase(e) == Some(Phase::Completed)).await;
    let begun = grown
        .with_context(|| manager.tail())?
        .status
        .and_then(|s| s.start_time)
        .context("it began")?
        .0;
    assert!(begun < again, "it did not wait for {again}, but began at {begun}");
    Ok(())
}

/// No PVC can be given a new version then: each is asked for one once, and the operation ends without.
#[tokio::test]
async fn who_forbids_our_writes_of_a_pvc_forbids_the_withdrawal_too() -> anyhow::Result<()> {
    let (stage, orders) = Stage::with_orders("forbidden", |c| c.instances(2).data("10Gi").data_used(0.87), up_to("100Gi")).await?;
    stage.forbid("persistentvolumeclaims", &["UPDATE"], "false").await?;
    let dry = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let claims = stage.api::<PersistentVolumeClaim>();
    let tried = Patch::Merge(json!({"metadata": {"annotations": {"tried": "1"}}}));
    until("the policy is in force", || async {
        Ok(claims.patch("orders-1", &dry, &tried).await.is_err().then_some(()))
    })
    .await?;
    let mark = stage.sim.plane().audit_mark().await?;
    let manager = stage.manager().await?;
    let failed = stage.event("orders", "failed", |e| phase(e) == Some(Phase::Failed)).await;
    let status = failed.with_context(|| manager.tail())?.status.context("a status")?;
    assert_eq!(status.conditions.first().context("a condition")?.reason, "Refused");
    for pvc in &status.pvc_statuses {
        let error = pvc.error.as_deref().unwrap_or_default();
        assert_eq!(
            (pvc.phase, pvc.failure),
            (PvcPhase::Failed, Some(PvcFailure::Refused)),
            "{}",
            pvc.name
        );
        assert!(error.contains("not here"), "{}: {error}", pvc.name);
        assert_eq!(orders.data(&pvc.name).capacity().await?, Bytes::gib(10), "{}", pvc.name);
    }
    assert_eq!(status.pvc_statuses.len(), 2);

    // To grow the replica, to withdraw that, and to withdraw from the primary: each once.
    let tries = stage.sim.plane().audit_since(mark).await?;
    let ours = tries.iter().filter(|e| {
        (e.verb.as_str(), e.resource.as_str(), e.subresource.as_str()) == ("patch", "persistentvolumeclaims", "")
            && e.namespace == stage.namespace
    });
    let tries: Vec<_> = ours.map(|e| (e.name.as_str(), e.code)).collect();
    assert_eq!(tries, [("orders-2", 403), ("orders-2", 403), ("orders-1", 403)]);
    Ok(())
}
