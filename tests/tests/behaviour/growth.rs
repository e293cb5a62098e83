//! A volume that passes its threshold grows, once, on all instances, and the record says so.

use csm_api::{Phase, PvcPhase, Reason, State, Verdict, VerifiedBy};
use csm_tests::{Stage, phase, up_to};
use csm_units::Bytes;

#[tokio::test]
async fn all_instances_grow_once_and_the_growth_is_verified() -> anyhow::Result<()> {
    let (stage, orders) = Stage::with_orders("growth", |c| c.instances(2).data("10Gi").wal("4Gi"), up_to("100Gi")).await?;
    let mark = stage.sim.plane().audit_mark().await?;
    let manager = stage.manager().await?;
    stage
        .data_status("orders", "the volume is balanced", |d| d.state == State::Balanced)
        .await?;

    orders.fill("orders-1", 0.87)?;
    let event = stage
        .event("orders", "the growth has ended", |e| phase(e) == Some(Phase::Completed))
        .await?;

    assert_eq!(event.spec.reason, Reason::UsageThreshold);
    assert_eq!(
        (event.spec.expansion.original_size, event.spec.expansion.requested_size),
        (Bytes::gib(10), Bytes::gib(15))
    );
    let status = event.status.clone().expect("a status");
    // Replicas first, the primary last.
    let order: Vec<_> = status.pvc_statuses.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(order, ["orders-2", "orders-1"]);
    for pvc in &status.pvc_statuses {
        assert_eq!(
            (pvc.phase, pvc.verified_by),
            (PvcPhase::Completed, Some(VerifiedBy::Filesystem)),
            "{pvc:?}"
        );
        assert!(
            pvc.patched_at.is_some() && pvc.controller_done_at.is_some() && pvc.filesystem_resized.is_some(),
            "{pvc:?}"
        );
    }
    for instance in ["orders-1", "orders-2"] {
        let volume = orders.data(instance);
        assert_eq!(volume.request().await?, Bytes::gib(15));
        assert!(volume.filesystem_size()? > Bytes::gib(14));
        assert_eq!(orders.wal(instance).request().await?, Bytes::gib(4), "the WAL volume is left alone");
    }

    // Patched once each, and nothing else of theirs.
    let patches: Vec<_> = stage
        .sim
        .plane()
        .audit_since(mark)
        .await?
        .into_iter()
        .filter(|e| {
            e.verb == "patch"
                && e.resource == "persistentvolumeclaims"
                && e.namespace == stage.namespace
                && e.user.contains("serviceaccount:cnpg-storage-manager")
        })
        .collect();
    let mut patched: Vec<_> = patches.iter().map(|e| e.name.as_str()).collect();
    patched.sort_unstable();
    assert_eq!(patched, ["orders-1", "orders-2"]);

    let data = stage
        .data_status("orders", "the status follows", |d| {
            d.state == State::Balanced && d.effective_size == Bytes::gib(15)
        })
        .await?;
    assert_eq!(data.last_decision.verdict, Verdict::Balanced);
    assert_eq!(
        data.last_action.map(|a| (a.result, a.kind)),
        Some(("Success".to_owned(), "ScheduledGrow".to_owned()))
    );
    stage.told_once("orders", &["AutoResizeSuccess"]).await?;
    let labels = [format!("namespace=\"{}\"", stage.namespace), "result=\"success\"".to_owned()];
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    assert_eq!(manager.metric("cnpg_storage_manager_expansion_total", &labels).await?, Some(1.0));
    let log = manager.log();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
    Ok(())
}
