//! Growths that fail stop further ones, and alerts go on; what many Clusters do at once is limited.

use csm_api::{BreakerScope, BreakerState, CircuitBreakerStatus, ConditionStatus, Growth, Phase, Reason, StorageEvent};
use csm_testkit::resizer::ResizeFault;
use csm_testkit::scenario::SimCluster;
use csm_tests::manager::{Manager, NAMESPACE};
use csm_tests::{Stage, breakers, phase, until};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const RESET: &str = "storage.cnpg.supporttools.io/reset-circuit-breaker";

/// Three growths of a Cluster's data volume that the API server refused, the last so long ago.
async fn failed_three_times(stage: &Stage, cluster: &SimCluster, last: SignedDuration) -> anyhow::Result<()> {
    let uid = cluster.object().await?.metadata.uid.unwrap_or_default();
    let pvc = format!("{}-1", cluster.name());
    let pvc_uid = cluster.data(&pvc).pvc().await?.metadata.uid.unwrap_or_default();
    let api = stage.api::<StorageEvent>();
    for before in [2, 1, 0] {
        let at = Timestamp::now() - last - SignedDuration::from_mins(before);
        let name = format!("{}-expansion-{}", cluster.name(), at.strftime("%Y%m%d-%H%M%S"));
        let event: StorageEvent = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"cnpg.supporttools.io/cluster": cluster.name()}},
            "spec": {
                "clusterRef": {"name": cluster.name(), "uid": uid}, "eventType": "expansion", "trigger": "threshold-breach",
                "volume": {"role": "data"}, "reason": "UsageThreshold", "message": "87 % used",
                "expansion": {"originalSize": "10Gi", "requestedSize": "15Gi", "parallelism": 1,
                    "affectedPVCs": [{"name": pvc, "uid": pvc_uid, "instance": pvc, "originalSize": "10Gi"}]},
            },
        }))?;
        api.create(&PostParams::default(), &event).await?;
        let condition = json!({"type": "Complete", "status": "False", "reason": "Refused", "lastTransitionTime": at,
            "message": "0/1 PVCs expanded successfully; the quota is used up"});
        let status =
            json!({"status": {"phase": "Failed", "startTime": at, "completionTime": at, "retryCount": 1, "conditions": [condition]}});
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    Ok(())
}

/// The breaker in a Cluster's status, once it is so.
async fn breaker(stage: &Stage, cluster: &str, state: BreakerState) -> anyhow::Result<CircuitBreakerStatus> {
    until(&format!("the breaker of {cluster} is {state}"), || async {
        let status = stage.storage(cluster).await?.and_then(|s| s.status);
        Ok(status.and_then(|s| s.circuit_breaker).filter(|breaker| breaker.state == state))
    })
    .await
}

/// All that is recorded of breakers in a namespace.
async fn records(stage: &Stage, namespace: &str) -> anyhow::Result<Vec<(BreakerScope, BreakerState, bool)>> {
    breakers::changes(&stage.sim.client(), namespace, Timestamp::UNIX_EPOCH).await
}

async fn held_by_breaker(stage: &Stage, cluster: &str) -> anyhow::Result<String> {
    let data = stage
        .data_status(cluster, "held by a breaker", |d| d.last_decision.reason == Reason::CircuitOpen)
        .await?;
    Ok(data.last_decision.message)
}

#[tokio::test]
async fn a_breaker_opens_survives_the_manager_and_is_closed_by_a_person() -> anyhow::Result<()> {
    let stage = Stage::new("breaker").await?;
    let orders = stage
        .sim
        .cluster(&stage.namespace, "orders")
        .data("10Gi")
        .data_used(0.87)
        .create()
        .await?;
    failed_three_times(&stage, &orders, SignedDuration::from_mins(5)).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    let namespace = format!("namespace=\"{}\"", stage.namespace);

    let mut manager = stage.manager().await?;
    let message = held_by_breaker(&stage, "orders").await?;
    assert!(
        message.contains("3 growths failed in a row") && message.contains(RESET),
        "{message}"
    );
    let status = breaker(&stage, "orders", BreakerState::Open).await?;
    let open_for = status
        .resets_at
        .zip(status.opened_at)
        .map(|(until, since)| until.0.duration_since(since.0));
    assert_eq!((status.failures, open_for), (3, Some(SignedDuration::from_mins(60))));
    let conditions = stage.storage("orders").await?.and_then(|s| s.status).unwrap_or_default().conditions;
    let condition = conditions.iter().find(|c| c.type_ == "CircuitOpen").map(|c| c.status);
    assert_eq!(condition, Some(ConditionStatus::True));
    assert_eq!(
        manager.metric("cnpg_storage_manager_circuit_breaker_open", &[&namespace]).await?,
        Some(1.0)
    );
    let alert = &["type=\"circuit-open\"", "severity=\"critical\"", &namespace];
    assert_eq!(manager.metric("cnpg_storage_manager_alert_active", alert).await?, Some(1.0));
    // What is wrong with the volume itself is told all the same.
    let full = &["type=\"storage-critical\"", &namespace];
    assert_eq!(manager.metric("cnpg_storage_manager_alert_active", full).await?, Some(1.0));
    stage.told_once("orders", &["CircuitBreakerOpened"]).await?;
    let opened = (BreakerScope::PerCluster, BreakerState::Open, false);
    assert_eq!(records(&stage, &stage.namespace).await?, [opened]);

    manager.kill()?;
    let manager = stage.manager().await?;
    until("the new manager has looked", || async {
        manager
            .metric("cnpg_storage_manager_decision", &[&namespace, "reason=\"CircuitOpen\""])
            .await
    })
    .await?;
    assert_eq!(stage.events("orders").await?.len(), 3, "nothing was tried");
    assert_eq!(records(&stage, &stage.namespace).await?, [opened]);

    orders.annotate(RESET, Some("true")).await?;
    stage.event("orders", "grown", |e| phase(e) == Some(Phase::Completed)).await?;
    breaker(&stage, "orders", BreakerState::Closed).await?;
    let annotations = orders.object().await?.metadata.annotations.unwrap_or_default();
    assert!(!annotations.contains_key(RESET), "{annotations:?}");
    let closed = (BreakerScope::PerCluster, BreakerState::Closed, true);
    assert_eq!(records(&stage, &stage.namespace).await?, [opened, closed]);
    stage.told_once("orders", &["CircuitBreakerOpened", "CircuitBreakerClosed"]).await
}

#[tokio::test]
async fn half_open_one_volume_tries_and_the_others_wait_for_it() -> anyhow::Result<()> {
    let stage = Stage::new("trial").await?;
    let orders = stage
        .sim
        .cluster(&stage.namespace, "orders")
        .data("10Gi")
        .wal("10Gi")
        .data_used(0.88)
        .wal_used(0.86)
        .create()
        .await?;
    orders.data("orders-1").resize_fault(ResizeFault::HangController);
    failed_three_times(&stage, &orders, SignedDuration::from_mins(2)).await?;
    // Refused growths wait before they are tried again; the breaker here is shorter than that.
    let breaker_settings = json!({"maxFailures": 2, "resetMinutes": 1});
    stage
        .policy(
            "default",
            json!({"expansion": {"maxSize": "100Gi"}, "circuitBreaker": breaker_settings}),
        )
        .await?;
    let _manager = stage.manager().await?;
    stage.event("orders", "one tries", |e| phase(e) == Some(Phase::InProgress)).await?;
    let wal_held = |s: &csm_api::PostgresStorageStatus| {
        let wal = s.storage_sizing.as_ref().and_then(|s| s.wal.as_ref());
        wal.is_some_and(|wal| wal.last_decision.reason == Reason::CircuitOpen)
    };
    let status = until("the other waits", || async {
        Ok(stage.storage("orders").await?.and_then(|s| s.status).filter(wal_held))
    })
    .await?;
    assert_eq!(status.circuit_breaker.map(|b| b.state), Some(BreakerState::HalfOpen));
    assert_eq!(stage.events("orders").await?.len(), 4, "one more than those that failed");

    orders.data("orders-1").resize_fault(ResizeFault::None);
    let of_wal = |e: &Growth| e.spec.volume.role == csm_api::Role::Wal && phase(e) == Some(Phase::Completed);
    stage.event("orders", "the other has grown", of_wal).await?;
    breaker(&stage, "orders", BreakerState::Closed).await?;
    stage.told_once("orders", &["CircuitBreakerOpened", "CircuitBreakerClosed"]).await
}

#[tokio::test]
async fn one_at_a_time_and_the_most_endangered_first() -> anyhow::Result<()> {
    let stage = Stage::new("fleetlimit").await?;
    let of = |name: &str, used: f64| stage.sim.cluster(&stage.namespace, name).data("10Gi").data_used(used);
    let first = of("first", 0.87).create().await?;
    first.data("first-1").resize_fault(ResizeFault::HangController);
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    let arguments = ["--fleet-concurrent-resizes", "1"];
    let _manager = Manager::start(&stage.sim, &[&stage.namespace], &arguments).await?;
    stage.event("first", "under way", |e| phase(e) == Some(Phase::InProgress)).await?;
    for (name, used) in [("some", 0.86), ("most", 0.89), ("more", 0.87)] {
        of(name, used).create().await?;
    }
    for name in ["some", "most", "more"] {
        let data = stage
            .data_status(name, "waits", |d| d.last_decision.reason == Reason::FleetLimit)
            .await?;
        assert!(
            data.last_decision.message.contains("1 resize is under way in the fleet"),
            "{}",
            data.last_decision.message
        );
    }
    first.data("first-1").resize_fault(ResizeFault::None);
    let mut times = Vec::new();
    for name in ["first", "most", "more", "some"] {
        let event = stage.event(name, "grown", |e| phase(e) == Some(Phase::Completed)).await?;
        let status = event.status.unwrap_or_default();
        let begun = event.metadata.creation_timestamp.map(|t| t.0);
        times.push((name, begun, status.completion_time.map(|t| t.0)));
    }
    for pair in times.windows(2) {
        assert!(pair[0].2 <= pair[1].1, "one after the other, in this order: {times:?}");
    }
    Ok(())
}

#[tokio::test]
async fn when_too_much_of_the_fleet_grows_all_stop_until_a_person_looks() -> anyhow::Result<()> {
    let stage = Stage::alone("runaway").await?;
    stage.sim.add_nodes(1).await?;
    let of = |name: &str, used: f64| stage.sim.cluster(&stage.namespace, name).data("10Gi").data_used(used);
    let third = of("third", 0.5).create().await?;
    for (name, used) in [("calm", 0.5), ("first", 0.87), ("second", 0.87)] {
        of(name, used).create().await?;
    }
    let policies: Api<csm_api::ClusterStoragePolicy> = Api::all(stage.sim.client());
    let policy = json!({"apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "ClusterStoragePolicy", "metadata": {"name": "fleet"},
        "spec": {"expansion": {"maxSize": "100Gi"}}});
    let as_a_person = PatchParams::apply("person").force();
    policies.patch("fleet", &as_a_person, &Patch::Apply(&policy)).await?;
    let arguments = ["--fleet-runaway-share", "50", "--fleet-runaway-minimum", "2"];
    let manager = Manager::start(&stage.sim, &[&stage.namespace], &arguments).await?;
    for name in ["first", "second"] {
        stage.event(name, "grown", |e| phase(e) == Some(Phase::Completed)).await?;
    }
    let opened = (BreakerScope::Global, BreakerState::Open, false);
    until("it is recorded", || async {
        Ok((records(&stage, NAMESPACE).await? == [opened]).then_some(()))
    })
    .await?;
    third.fill("third-1", 0.87)?;
    let message = held_by_breaker(&stage, "third").await?;
    assert!(message.contains("2 of 4 managed Clusters grew within an hour"), "{message}");
    let all = manager.metric("cnpg_storage_manager_circuit_breaker_open", &["cluster=\"\""]);
    assert_eq!(all.await?, Some(1.0));

    let asked: Value = json!({"metadata": {"annotations": {RESET: "true"}}});
    policies.patch("fleet", &PatchParams::default(), &Patch::Merge(&asked)).await?;
    stage.event("third", "grown", |e| phase(e) == Some(Phase::Completed)).await?;
    let closed = (BreakerScope::Global, BreakerState::Closed, true);
    assert_eq!(records(&stage, NAMESPACE).await?[..2], [opened, closed]);
    until("the request is taken away", || async {
        Ok((!policies.get("fleet").await?.annotations().contains_key(RESET)).then_some(()))
    })
    .await
}
