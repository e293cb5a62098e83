//! An instance that is down because its volume is full is brought back, from what its pod says alone; and what is asked of
//! kubelets meanwhile.

use std::time::Duration;

use csm_api::{ConditionStatus, Growth, Phase, RESIZE_REQUESTED, Reason, Verdict, VerifiedBy, VolumeSizing};
use csm_testkit::controlplane::AuditMark;
use csm_testkit::resizer::Speed;
use csm_testkit::scenario::{Container, SimCluster};
use csm_tests::manager::{ACCOUNT, Manager, NAMESPACE};
use csm_tests::{Stage, phase, root, until};
use csm_units::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

const NO_ROOM_FOR_WAL: Container = Container::CrashLoop { exit_code: 4 };
const ENDED: Container = Container::CrashLoop { exit_code: 0 };

/// The container of an instance has ended for lack of room for WAL, and the operator has seen it.
async fn fills(orders: &SimCluster, instance: &str) -> anyhow::Result<()> {
    orders.set_container(instance, &NO_ROOM_FOR_WAL).await?;
    orders.set_phase(csm_cnpg::phase::NOT_ENOUGH_DISK_SPACE).await
}

fn is_rescue(event: &Growth) -> bool {
    event.spec.reason == Reason::DiskFull
}

async fn rescued(stage: &Stage) -> anyhow::Result<Growth> {
    let done = |e: &Growth| is_rescue(e) && phase(e) == Some(Phase::Completed);
    stage.event("orders", "the volume is rescued", done).await
}

/// How often the manager wrote to a resource of the test's namespace.
async fn writes(stage: &Stage, since: AuditMark, resource: &str, verb: &str) -> anyhow::Result<Vec<String>> {
    let audit = stage.sim.plane().audit_since(since).await?;
    let of_manager = audit.into_iter().filter(|e| {
        e.verb == verb && e.resource == resource && e.namespace == stage.namespace && e.user.contains("serviceaccount:cnpg-storage-manager")
    });
    Ok(of_manager.map(|e| e.name).collect())
}

async fn nudged(stage: &Stage, pod: &str) -> anyhow::Result<Option<String>> {
    Ok(stage.api::<Pod>().get(pod).await?.annotations().get(RESIZE_REQUESTED).cloned())
}

#[tokio::test]
async fn a_full_volume_is_rescued_once_and_the_way_back_is_measured() -> anyhow::Result<()> {
    let stage = Stage::new("rescue").await?;
    let mark = stage.sim.plane().audit_mark().await?;
    let orders = stage.orders(|c| c.instances(2).data("10Gi")).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    let manager = stage.manager().await?;
    stage
        .data_status("orders", "the volume is balanced", |d| d.last_decision.verdict == Verdict::Balanced)
        .await?;
    fills(&orders, "orders-1").await?;

    let event = rescued(&stage).await?;
    assert!(
        event.spec.message.contains("exit code 4") && event.spec.message.contains("the kubelet starts it again by"),
        "{}",
        event.spec.message
    );
    let status = event.status.clone().expect("a status");
    let order: Vec<_> = status.pvc_statuses.iter().map(|p| (p.name.as_str(), p.verified_by)).collect();
    // The full one first, though it is the primary; by the node's own word, since it gives no figures.
    assert_eq!(
        order,
        [
            ("orders-1", Some(VerifiedBy::PvcStatus)),
            ("orders-2", Some(VerifiedBy::Filesystem))
        ]
    );
    stage.told_once("orders", &["StorageRescue"]).await?;
    // Its pod shows the same end as before, and that is no reason for another rescue.
    stage
        .data_status("orders", "nothing more is wanted", |d| {
            d.last_decision.verdict == Verdict::Balanced && d.effective_size == Bytes::gib(15)
        })
        .await?;
    assert_eq!(stage.events("orders").await?.len(), 1);

    orders.set_container("orders-1", &Container::Running).await?;
    let ready = stage
        .event("orders", "all instances are ready", |e| {
            let status = e.status.as_ref();
            let checked = |s: &csm_api::StorageEventStatus| s.pvc_statuses.iter().all(|p| p.verified_by == Some(VerifiedBy::Filesystem));
            status.is_some_and(|s| s.conditions.iter().any(|c| c.type_ == csm_core::rescue::INSTANCES_READY) && checked(s))
        })
        .await?;
    assert_eq!(phase(&ready), Some(Phase::Completed));
    let labels = [format!("namespace=\"{}\"", stage.namespace)];
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    assert_eq!(manager.metric("cnpg_storage_manager_rescues_total", &labels).await?, Some(1.0));
    until("the steps are counted", || async {
        let counted = manager
            .metric("cnpg_storage_manager_rescue_duration_seconds_count", &["step=\"ready\"", labels[0]])
            .await?;
        let verified = manager
            .metric("cnpg_storage_manager_remediation_duration_seconds_count", &labels)
            .await?;
        Ok((counted == Some(1.0) && verified == Some(1.0)).then_some(()))
    })
    .await?;
    let mut patched = writes(&stage, mark, "persistentvolumeclaims", "patch").await?;
    patched.sort_unstable();
    assert_eq!(patched, ["orders-1", "orders-2"]);
    let log = manager.log();
    assert!(
        log.contains("rescued: all instances are ready again") && !log.contains("ERROR"),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn a_manager_that_starts_afterwards_rescues_a_replica_without_any_history() -> anyhow::Result<()> {
    let stage = Stage::new("rescue-late").await?;
    let orders = stage.orders(|c| c.instances(3).data("10Gi").wal("4Gi")).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    fills(&orders, "orders-3").await?;
    let _manager = stage.manager().await?;
    let event = rescued(&stage).await?;
    assert_eq!(event.spec.volume.role, csm_api::Role::Wal);
    let order: Vec<_> = event.spec.expansion.affected_pvcs.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(order, ["orders-3-wal", "orders-2-wal", "orders-1-wal"]);
    assert_eq!(
        orders.data("orders-3").request().await?,
        Bytes::gib(10),
        "the data volume is left alone"
    );
    Ok(())
}

/// The condition Healthy of `orders`, and why.
async fn health(stage: &Stage) -> anyhow::Result<(ConditionStatus, String)> {
    let status = stage.storage("orders").await?.and_then(|storage| storage.status).expect("a status");
    let condition = status.conditions.into_iter().find(|c| c.type_ == "Healthy").expect("Healthy");
    Ok((condition.status, condition.reason))
}

/// Waits until the data volume of `orders` is held for `reason`.
async fn held(stage: &Stage, reason: Reason) -> anyhow::Result<VolumeSizing> {
    let what = format!("held by {reason}");
    stage.data_status("orders", &what, |d| d.last_decision.reason == reason).await
}

#[tokio::test]
async fn at_its_limit_it_says_what_a_person_must_do() -> anyhow::Result<()> {
    let stage = Stage::new("rescue-limit").await?;
    let mark = stage.sim.plane().audit_mark().await?;
    let orders = stage.orders(|c| c.data("10Gi")).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "10Gi"}})).await?;
    let manager = stage.manager().await?;
    fills(&orders, "orders-1").await?;
    let data = held(&stage, Reason::AtLimit).await?;
    let message = &data.last_decision.message;
    assert!(
        message.contains("exit code 4") && message.contains("raise expansion.maxSize") && message.contains("cannot start"),
        "{message}"
    );
    for kind in ["type=\"rescue\"", "type=\"at-limit\""] {
        let labels = [kind, "severity=\"critical\"", "cluster=\"orders\""];
        until(kind, || async {
            Ok(manager
                .metric("cnpg_storage_manager_alert_active", &labels)
                .await?
                .filter(|v| *v > 0.5))
        })
        .await?;
    }
    let (status, reason) = health(&stage).await?;
    assert_eq!((status, reason.as_str()), (ConditionStatus::False, "DiskFull"));
    stage.told_once("orders", &["AutoResizeAtLimit"]).await?;
    assert!(writes(&stage, mark, "persistentvolumeclaims", "patch").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn after_three_rescues_in_a_day_a_person_is_asked() -> anyhow::Result<()> {
    let stage = Stage::new("rescue-three").await?;
    let orders = stage.orders(|c| c.data("10Gi")).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "1000Gi"}})).await?;
    let _manager = stage.manager().await?;
    for rescues in 1..=3 {
        let what = format!("rescue {rescues}");
        until(&what, || async {
            // Started again and again, and each time there is no room: the first start after a growth is a new reason.
            fills(&orders, "orders-1").await?;
            let events = stage.events("orders").await?;
            let done = events.iter().filter(|e| is_rescue(e) && phase(e) == Some(Phase::Completed)).count();
            Ok((done >= rescues).then_some(()))
        })
        .await?;
    }
    let data = until("the fourth is held", || async {
        fills(&orders, "orders-1").await?;
        let status = stage.storage("orders").await?.and_then(|s| s.status).and_then(|s| s.storage_sizing);
        Ok(status
            .and_then(|s| s.data)
            .filter(|d| d.last_decision.reason == Reason::BudgetExhausted))
    })
    .await?;
    assert!(
        data.last_decision.message.contains("rescues in 24 h have not helped"),
        "{}",
        data.last_decision.message
    );
    assert_eq!(stage.events("orders").await?.len(), 3);
    Ok(())
}

/// A world whose kubelets do not come by in the time of a test.
async fn slow_kubelets(prefix: &str) -> anyhow::Result<(Stage, SimCluster)> {
    let stage = Stage::alone(prefix).await?;
    stage.sim.add_node("node-1").await?;
    stage.sim.resizer().set_speed(Speed {
        node_sync: Duration::from_hours(1),
        ..Speed::default()
    });
    let orders = stage.orders(|c| c.data("10Gi")).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    fills(&orders, "orders-1").await?;
    Ok((stage, orders))
}

#[tokio::test]
async fn a_nudge_makes_the_kubelet_look_once_for_an_operation() -> anyhow::Result<()> {
    let (stage, _orders) = slow_kubelets("nudge").await?;
    let mark = stage.sim.plane().audit_mark().await?;
    let _manager = stage.manager().await?;
    let event = rescued(&stage).await?;
    assert_eq!(nudged(&stage, "orders-1").await?, Some(event.name_any()));
    assert_eq!(writes(&stage, mark, "pods", "patch").await?, ["orders-1"]);
    assert!(writes(&stage, mark, "pods", "delete").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn without_nudges_a_growth_waits_for_the_kubelet() -> anyhow::Result<()> {
    let (stage, orders) = slow_kubelets("no-nudge").await?;
    let mark = stage.sim.plane().audit_mark().await?;
    let _manager = Manager::start(&stage.sim, &[&stage.namespace], &["--nudge", "false"]).await?;
    let waits = |e: &Growth| {
        let mut statuses = e.status.iter().flat_map(|s| &s.pvc_statuses);
        statuses.any(|p| p.phase == csm_api::PvcPhase::WaitingForNode)
    };
    stage.event("orders", "waiting for the node", waits).await?;
    assert!(writes(&stage, mark, "pods", "patch").await?.is_empty());
    let touched = Patch::Merge(json!({"metadata": {"annotations": {"touched": "by hand"}}}));
    stage.api::<Pod>().patch("orders-1", &PatchParams::default(), &touched).await?;
    rescued(&stage).await?;
    assert_eq!(orders.data("orders-1").capacity().await?, Bytes::gib(15));
    Ok(())
}

#[tokio::test]
async fn a_nudge_that_is_not_permitted_is_told_once_and_holds_nothing_up() -> anyhow::Result<()> {
    let (stage, _orders) = slow_kubelets("nudge-denied").await?;
    stage.sim.resizer().set_speed(Speed::default());
    let rbac = std::fs::read_to_string(root().join("deploy/rbac.yaml"))?;
    let rule = "    resources: [pods]\n    verbs: [patch]\n";
    assert!(rbac.contains(rule));
    let rbac = rbac.replace(rule, "    resources: [pods]\n    verbs: [get]\n");
    stage.sim.ensure_namespace(NAMESPACE).await?;
    let kubeconfig = stage.sim.kubeconfig_with_rbac(NAMESPACE, ACCOUNT, &rbac).await?;
    let manager = Manager::spawn_as(&stage.sim, &kubeconfig, &[&stage.namespace], &[])?;
    manager.leads().await?;
    rescued(&stage).await?;
    assert_eq!(nudged(&stage, "orders-1").await?, None);
    let log = manager.log();
    assert_eq!(log.matches("not permitted to annotate pods").count(), 1, "{log}");
    assert!(!log.contains("ERROR"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_data_volume_beside_wal_is_suspected_and_what_is_not_known_is_said() -> anyhow::Result<()> {
    let stage = Stage::new("suspect").await?;
    let orders = stage.orders(|c| c.data("10Gi").wal("4Gi")).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    let manager = Manager::start(&stage.sim, &[&stage.namespace], &["--pod-logs", "true"]).await?;
    orders.set_container("orders-1", &ENDED).await?;
    let data = stage
        .data_status("orders", "what is not known is said", |d| {
            d.last_decision.message.contains("pods/log is denied")
        })
        .await?;
    assert!(
        data.last_decision
            .message
            .contains("orders-1 is down, perhaps for its data being full"),
        "{}",
        data.last_decision.message
    );
    let (status, reason) = health(&stage).await?;
    assert_eq!((status, reason.as_str()), (ConditionStatus::Unknown, "InstanceDown"));
    assert!(stage.events("orders").await?.is_empty());
    let labels = ["type=\"metrics-lost\"", "volume=\"data\"", "cluster=\"orders\""];
    until("an alert is due", || async {
        Ok(manager
            .metric("cnpg_storage_manager_alert_active", &labels)
            .await?
            .filter(|v| *v > 0.5))
    })
    .await?;
    // The log of one end of the container is asked for once.
    assert_eq!(manager.log().matches("looked for a reason in its log").count(), 1);
    Ok(())
}
