//! A Cluster is deleted while it grows: nothing more is patched, its records end or go with it, and nobody waits for them.

use csm_api::{Growth, Phase, PvcPhase, Reason, State, StorageEvent};
use csm_testkit::controlplane::AuditMark;
use csm_testkit::resizer::ResizeFault;
use csm_testkit::scenario::SimCluster;
use csm_tests::manager::Manager;
use csm_tests::{Stage, phase, until, up_to, writers};
use csm_units::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

/// The PVCs of this namespace that the manager has grown since, one a patch.
async fn patched(stage: &Stage, since: AuditMark) -> anyhow::Result<Vec<String>> {
    let audit = writers::audit(stage, since).await?;
    let all = audit
        .iter()
        .filter_map(|e| writers::grown(e).or_else(|| writers::may_have_grown(e)));
    Ok(all.map(|(name, _)| name).collect())
}

/// Waits until the first PVC of the Cluster's operation is being grown, and others are yet to be.
async fn in_flight(stage: &Stage) -> anyhow::Result<Growth> {
    let hangs = |e: &Growth| {
        let statuses = e.status.iter().flat_map(|s| &s.pvc_statuses);
        let phases: Vec<PvcPhase> = statuses.map(|s| s.phase).collect();
        phases == [PvcPhase::ControllerResizing, PvcPhase::Pending]
    };
    stage.event("orders", "one of two PVCs is being grown", hangs).await
}

/// Every record of the namespace has this Cluster as its one owner: the garbage collector takes them with it.
async fn are_owned(stage: &Stage, orders: &str) -> anyhow::Result<()> {
    let records = stage.api::<StorageEvent>().list(&ListParams::default()).await?.items;
    assert!(!records.is_empty());
    for record in records {
        let owner = OwnerReference {
            api_version: "postgresql.cnpg.io/v1".to_owned(),
            kind: "Cluster".to_owned(),
            name: "orders".to_owned(),
            uid: orders.to_owned(),
            ..OwnerReference::default()
        };
        assert_eq!(record.metadata.owner_references, Some(vec![owner]), "{:?}", record.metadata);
    }
    Ok(())
}

async fn hanging(name: &str) -> anyhow::Result<(Stage, SimCluster, AuditMark)> {
    let (stage, orders) = Stage::with_orders(name, |c| c.instances(2).data("10Gi").data_used(0.87), up_to("100Gi")).await?;
    for instance in orders.instances() {
        orders.data(&instance).resize_fault(ResizeFault::HangController);
    }
    let mark = stage.sim.plane().audit_mark().await?;
    Ok((stage, orders, mark))
}

#[tokio::test]
async fn a_cluster_that_is_being_deleted_gets_no_further_patch_and_the_record_ends() -> anyhow::Result<()> {
    let (stage, orders, mark) = hanging("deleting").await?;
    let manager = stage.manager().await?;
    let event = in_flight(&stage).await?;
    let uid = orders.object().await?.metadata.uid.unwrap_or_default();
    // It waits for what it owns, and is there until then: nobody collects garbage here.
    let clusters: Api<csm_cnpg::Cluster> = stage.api();
    clusters.delete("orders", &DeleteParams::foreground()).await?;
    let labels = [&format!("namespace=\"{}\"", stage.namespace), "reason=\"ClusterDeleting\""];
    until("the manager knows that it is being deleted", || async {
        Ok(manager.metric("cnpg_storage_manager_decision", &labels).await?.map(drop))
    })
    .await?;
    for instance in orders.instances() {
        orders.data(&instance).resize_fault(ResizeFault::None);
    }
    let ended = |e: &Growth| matches!(phase(e), Some(Phase::Completed | Phase::Failed));
    let ended = stage.event("orders", "its record has ended", ended).await?;
    assert_eq!(ended.metadata.name, event.metadata.name);
    let status = ended.status.clone().expect("a status");
    let condition = status.conditions.first().expect("a condition");
    assert_eq!((phase(&ended), condition.reason.as_str()), (Some(Phase::Failed), "Interrupted"));
    assert!(condition.message.contains("ClusterDeleting"), "{}", condition.message);
    let phases: Vec<_> = status.pvc_statuses.iter().map(|s| (s.name.as_str(), s.phase)).collect();
    assert_eq!(phases, [("orders-2", PvcPhase::Completed), ("orders-1", PvcPhase::Pending)]);
    assert_eq!(patched(&stage, mark).await?, ["orders-2"]);
    assert_eq!(orders.data("orders-1").request().await?, Bytes::gib(10));
    are_owned(&stage, &uid).await?;
    // As the garbage collector does when all is gone.
    let free = json!({"metadata": {"finalizers": null}});
    clusters.patch("orders", &PatchParams::default(), &Patch::Merge(free)).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_cluster_that_is_gone_had_begun_is_left_alone_and_holds_up_nobody() -> anyhow::Result<()> {
    let (stage, orders, mark) = hanging("deleted").await?;
    let arguments = ["--fleet-concurrent-resizes", "1"];
    let manager = Manager::start(&stage.sim, &[&stage.namespace], &arguments).await?;
    let begun = in_flight(&stage).await?;
    let uid = orders.object().await?.metadata.uid.unwrap_or_default();
    are_owned(&stage, &uid).await?;
    let users = stage.sim.cluster(&stage.namespace, "users").data("10Gi").data_used(0.87);
    users.create().await?;
    let waits = |d: &csm_api::VolumeSizing| d.last_decision.reason == Reason::FleetLimit;
    stage.data_status("users", "waits for the other", waits).await?;

    orders.delete().await?;
    // Its place is free at once: the record of what it had begun is still there.
    stage.event("users", "grown", |e| phase(e) == Some(Phase::Completed)).await?;
    // Another one of its name, before the garbage collector has come: the record is none of its.
    let orders = stage.orders(|c| c.instances(2).data("10Gi")).await?;
    let balanced = |d: &csm_api::VolumeSizing| d.state == State::Balanced && d.last_decision.reason == Reason::BelowThresholds;
    let balanced = |d: &csm_api::VolumeSizing| balanced(d) && d.last_action.is_none() && d.target_size.is_none();
    stage.data_status("orders", "balanced, and nothing under way", balanced).await?;
    for instance in orders.instances() {
        assert_eq!(orders.data(&instance).request().await?, Bytes::gib(10));
    }
    let left = stage.events("orders").await?;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].status, begun.status, "nobody writes what goes with its Cluster");
    // As the garbage collector does.
    let record = begun.metadata.name.as_deref().expect("a name");
    stage.api::<StorageEvent>().delete(record, &DeleteParams::default()).await?;
    assert_eq!(patched(&stage, mark).await?, ["orders-2", "users-1"]);
    let noise = manager.log().lines().filter(|line| line.contains("could not finish")).count();
    assert_eq!(noise, 0, "{}", manager.log());
    Ok(())
}
