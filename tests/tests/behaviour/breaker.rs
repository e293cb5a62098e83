//! Growths that fail stop further ones, and alerts go on; what many Clusters do at once is limited.

use csm_api::{BreakerScope, BreakerState, CircuitBreakerStatus, ConditionStatus, Growth, Phase, Reason, StorageEvent};
use csm_testkit::resizer::ResizeFault;
use csm_testkit::scenario::SimCluster;
use csm_tests::cli::Cli;
use csm_tests::manager::{Manager, NAMESPACE};
use csm_tests::{Stage, breakers, phase, until};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
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

/// The Events on the records of the breaker of all Clusters, by time.
async fn told_of_the_fleet(stage: &Stage) -> anyhow::Result<Vec<(String, String)>> {
    let api: Api<Event> = Api::namespaced(stage.sim.client(), NAMESPACE);
    let events = api.list(&ListParams::default()).await?.items;
    let is_ours = |event: &Event| event.regarding.as_ref().and_then(|r| r.kind.as_deref()) == Some("StorageEvent");
    let mut ours: Vec<_> = events.into_iter().filter(is_ours).collect();
    ours.sort_by_key(|event| event.event_time.clone());
    let told = ours
        .into_iter()
        .map(|event| (event.reason.unwrap_or_default(), event.note.unwrap_or_default()));
    Ok(told.collect())
}

/// What the plugin says that it would do with a Cluster's data volume.
fn explained(stage: &Stage, cluster: &str) -> anyhow::Result<Value> {
    let kubeconfig = stage.sim.plane().user_kubeconfig("admin", &["system:masters"])?;
    let mut explained = Cli::new(&kubeconfig, &stage.namespace).json(&["explain", cluster, "-o", "json"])?;
    Ok(explained["volumes"][0].take())
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
        let volume = explained(&stage, name)?;
        assert_eq!(
            (&volume["reason"], &volume["differs"]),
            (&json!("FleetLimit"), &json!(false)),
            "{volume}"
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

/// A person asks once, and something refuses every write to the Cluster: the breaker stays open, and is closed once when the
/// request can be taken away.
#[tokio::test]
async fn a_request_that_cannot_be_taken_away_closes_nothing() -> anyhow::Result<()> {
    let stage = Stage::new("resetonce").await?;
    let orders = stage.orders(|c| c.data("10Gi").data_used(0.87)).await?;
    let there = |object: &str| format!("has({object}.metadata.annotations) && '{RESET}' in {object}.metadata.annotations");
    let unless = format!("!({}) || ({})", there("oldObject"), there("object"));
    stage.forbid("clusters", &["UPDATE"], &unless).await?;
    until("the policy is in force", || async {
        orders.annotate(RESET, Some("no")).await?;
        Ok(orders.annotate(RESET, None).await.is_err().then_some(()))
    })
    .await?;
    failed_three_times(&stage, &orders, SignedDuration::from_mins(5)).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    let _manager = stage.manager().await?;
    breaker(&stage, "orders", BreakerState::Open).await?;
    let mark = stage.sim.plane().audit_mark().await?;
    orders.annotate(RESET, Some("true")).await?;
    until("the manager has tried twice", || async {
        let tries = stage.sim.plane().audit_since(mark).await?;
        let refused = tries
            .iter()
            .filter(|e| e.namespace == stage.namespace && e.resource == "clusters" && e.verb == "patch" && e.code == 403);
        Ok((refused.count() >= 2).then_some(()))
    })
    .await?;
    let opened = (BreakerScope::PerCluster, BreakerState::Open, false);
    assert_eq!(records(&stage, &stage.namespace).await?, [opened]);
    held_by_breaker(&stage, "orders").await?;

    stage.allow().await?;
    stage.event("orders", "grown", |e| phase(e) == Some(Phase::Completed)).await?;
    let closed = (BreakerScope::PerCluster, BreakerState::Closed, true);
    assert_eq!(records(&stage, &stage.namespace).await?, [opened, closed]);
    stage.told_once("orders", &["CircuitBreakerOpened", "CircuitBreakerClosed"]).await
}

/// Half of a fleet has grown: the runaway stop is recorded.
struct Runaway {
    stage: Stage,
    third: SimCluster,
    policies: Api<csm_api::ClusterStoragePolicy>,
    manager: Manager,
}

impl Runaway {
    const OPENED: (BreakerScope, BreakerState, bool) = (BreakerScope::Global, BreakerState::Open, false);

    async fn begin(prefix: &str) -> anyhow::Result<Self> {
        let stage = Stage::alone(prefix).await?;
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
        let manager = Self::manager(&stage).await?;
        for name in ["first", "second"] {
            stage.event(name, "grown", |e| phase(e) == Some(Phase::Completed)).await?;
        }
        until("it is recorded", || async {
            Ok((records(&stage, NAMESPACE).await? == [Self::OPENED]).then_some(()))
        })
        .await?;
        Ok(Self {
            stage,
            third,
            policies,
            manager,
        })
    }

    async fn manager(stage: &Stage) -> anyhow::Result<Manager> {
        let arguments = ["--fleet-runaway-share", "50", "--fleet-runaway-minimum", "2"];
        Manager::start(&stage.sim, &[&stage.namespace], &arguments).await
    }
}

#[tokio::test]
async fn when_too_much_of_the_fleet_grows_all_stop_until_a_person_looks() -> anyhow::Result<()> {
    let Runaway {
        stage,
        third,
        policies,
        manager,
    } = Runaway::begin("runaway").await?;
    third.fill("third-1", 0.87)?;
    let message = held_by_breaker(&stage, "third").await?;
    assert!(message.contains("2 of 4 managed Clusters grew within an hour"), "{message}");
    let all = manager.metric("cnpg_storage_manager_circuit_breaker_open", &["cluster=\"\""]);
    assert_eq!(all.await?, Some(1.0));
    // Who may only read sees it as well.
    let volume = explained(&stage, "third")?;
    assert_eq!(
        (&volume["reason"], &volume["differs"]),
        (&json!("CircuitOpen"), &json!(false)),
        "{volume}"
    );
    let said = volume["message"].as_str().unwrap_or_default();
    assert!(
        said.contains("too large a share of all managed Clusters grew within an hour"),
        "{said}"
    );
    let told = until("an Event tells of it", || async {
        Ok(Some(told_of_the_fleet(&stage).await?).filter(|told| !told.is_empty()))
    })
    .await?;
    let [(reason, note)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(reason, "CircuitBreakerOpened");
    assert!(
        note.starts_with("The circuit breaker of all Clusters is open: 2 of 4 managed"),
        "{note}"
    );

    let asked: Value = json!({"metadata": {"annotations": {RESET: "true"}}});
    policies.patch("fleet", &PatchParams::default(), &Patch::Merge(&asked)).await?;
    stage.event("third", "grown", |e| phase(e) == Some(Phase::Completed)).await?;
    let closed = (BreakerScope::Global, BreakerState::Closed, true);
    assert_eq!(records(&stage, NAMESPACE).await?[..2], [Runaway::OPENED, closed]);
    until("an Event tells that it is closed", || async {
        let told = told_of_the_fleet(&stage).await?;
        Ok(told.iter().any(|(reason, _)| reason == "CircuitBreakerClosed").then_some(()))
    })
    .await?;
    until("the request is taken away", || async {
        Ok((!policies.get("fleet").await?.annotations().contains_key(RESET)).then_some(()))
    })
    .await
}

/// What has the name of a record and is none is not looked for again and again without a pause.
#[tokio::test]
async fn a_record_that_cannot_be_made_is_waited_for() -> anyhow::Result<()> {
    let Runaway {
        stage, third, mut manager, ..
    } = Runaway::begin("norecord").await?;
    manager.kill()?;
    let api: Api<StorageEvent> = Api::namespaced(stage.sim.client(), NAMESPACE);
    let mut record = api.list(&ListParams::default()).await?.items.pop().expect("the record");
    let name = record.name_any();
    api.delete(&name, &DeleteParams::default()).await?;
    record.metadata = serde_json::from_value(json!({"name": name}))?;
    record.spec.circuit_breaker.as_mut().expect("a breaker").scope = BreakerScope::PerCluster;
    api.create(&PostParams::default(), &record).await?;

    let mark = stage.sim.plane().audit_mark().await?;
    let _manager = Runaway::manager(&stage).await?;
    let tries = async || {
        let entries = stage.sim.plane().audit_since(mark).await?;
        let tried = entries
            .iter()
            .filter(|e| e.namespace == NAMESPACE && e.resource == "storageevents" && e.verb == "create" && e.code == 409);
        Ok::<_, anyhow::Error>(tried.count())
    };
    until("it has tried", || async { Ok((tries().await? > 0).then_some(())) }).await?;
    let node = third.node_of("third-1").expect("a node");
    let asked = stage.sim.kubelets().requests(&node);
    until("several samples later", || async {
        Ok((stage.sim.kubelets().requests(&node) > asked + 2).then_some(()))
    })
    .await?;
    let tries = tries().await?;
    assert!(tries < 10, "tried {tries} times within seconds");
    Ok(())
}
