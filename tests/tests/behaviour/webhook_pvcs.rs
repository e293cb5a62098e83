//! B02, B05: PVCs of instances are born with the size of their volume, and PVCs are made at full speed without the manager.

use std::time::{Duration, Instant};

use csm_api::annotation;
use csm_testkit::process::ProcessId;
use csm_testkit::scenario::Sim;
use csm_tests::webhook::{apply, called, calling, newborn, port, request, serving, try_pvc};
use csm_tests::{Manager, Stage, manager, until};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long the API server waits for an answer about a PVC, as the webhook ships.
const PATIENCE: Duration = Duration::from_secs(2);
/// What everything else of a request may take on a busy machine.
const SLACK: Duration = Duration::from_millis(500);

/// What a new instance's PVC would ask for.
async fn born(sim: &Sim, cluster: &DynamicObject, role: &str, size: &str) -> anyhow::Result<Option<String>> {
    let namespace = cluster.metadata.namespace.clone().unwrap_or_default();
    let pvc = newborn(cluster, 9, role, size)?;
    Ok(request(&try_pvc(sim, &namespace, &pvc).await?))
}

/// Waits until it would ask for this.
async fn will_be(sim: &Sim, cluster: &DynamicObject, role: &str, size: &str, expected: &str) -> anyhow::Result<()> {
    let what = format!("a {role} PVC that asks for {size} is born with {expected}");
    until(&what, || async {
        let born = born(sim, cluster, role, size).await?;
        Ok((born.as_deref() == Some(expected)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_pvc_is_born_with_the_size_of_its_volume() -> anyhow::Result<()> {
    let stage = Stage::alone("born").await?;
    let sim = &stage.sim;
    sim.add_nodes(3).await?;
    let orders = sim.cluster(&stage.namespace, "orders").instances(2).data("10Gi").wal("4Gi");
    // Grown before, by whatever means: one member lags behind, as a failed growth leaves it.
    let orders = orders
        .pvc_size("orders-1", "25Gi")
        .pvc_size("orders-2", "20Gi")
        .pvc_size("orders-1-wal", "5632Mi")
        .create()
        .await?;
    let (manager, _) = serving(sim).await?;
    let object = orders.object().await?;

    // Monitored only: nobody asked for anything.
    assert_eq!(born(sim, &object, "PG_DATA", "10Gi").await?.as_deref(), Some("10Gi"));
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    will_be(sim, &object, "PG_DATA", "10Gi", "25Gi").await?;
    assert_eq!(born(sim, &object, "PG_WAL", "4Gi").await?.as_deref(), Some("5632Mi"));
    assert_eq!(
        born(sim, &object, "PG_DATA", "30Gi").await?.as_deref(),
        Some("30Gi"),
        "never a lower size"
    );
    assert_eq!(
        born(sim, &object, "PG_TABLESPACE", "1Gi").await?.as_deref(),
        Some("1Gi"),
        "of no tablespace"
    );
    // Of another Cluster of this name, which is gone.
    let mut stranger = object.clone();
    stranger.metadata.uid = Some("00000000-0000-0000-0000-000000000000".to_owned());
    assert_eq!(born(sim, &stranger, "PG_DATA", "10Gi").await?.as_deref(), Some("10Gi"));
    // Its own limits hold.
    let mut limited = newborn(&object, 9, "PG_DATA", "10Gi")?;
    limited["spec"]["resources"]["limits"] = json!({"storage": "12Gi"});
    assert_eq!(request(&try_pvc(sim, &stage.namespace, &limited).await?).as_deref(), Some("12Gi"));
    // From a snapshot, which may be smaller than the volume.
    let mut restored = newborn(&object, 9, "PG_DATA", "10Gi")?;
    restored["spec"]["dataSource"] = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "nightly"});
    assert_eq!(request(&try_pvc(sim, &stage.namespace, &restored).await?).as_deref(), Some("25Gi"));

    // A paused Cluster's replica must hold what the others hold, too.
    orders.annotate(annotation::PAUSED, Some("true")).await?;
    assert_eq!(born(sim, &object, "PG_DATA", "10Gi").await?.as_deref(), Some("25Gi"));
    // A dry run changes nothing.
    stage
        .policy("default", json!({"dryRun": true, "expansion": {"maxSize": "100Gi"}}))
        .await?;
    will_be(sim, &object, "PG_DATA", "10Gi", "10Gi").await?;
    stage.policy("default", json!({"expansion": {"maxSize": "100Gi"}})).await?;
    will_be(sim, &object, "PG_DATA", "10Gi", "25Gi").await?;
    // B05: not only in a dry run.
    let instance = orders.add_instance().await?;
    let pvc = stage.api::<PersistentVolumeClaim>().get(&instance).await?;
    assert_eq!(request(&pvc).as_deref(), Some("25Gi"));
    assert_eq!(
        manager
            .metric("cnpg_storage_manager_webhook_requests_total", &["result=\"error\""])
            .await?,
        None
    );
    Ok(())
}

/// B02.
#[tokio::test]
async fn the_first_pvc_is_born_with_request_and_below_the_ceiling() -> anyhow::Result<()> {
    let stage = Stage::alone("first").await?;
    let (_manager, _) = serving(&stage.sim).await?;
    stage
        .policy(
            "default",
            json!({"storage": {"request": "10Gi", "limit": "100Gi"}, "walStorage": {"request": "2Gi", "limit": "8Gi"}}),
        )
        .await?;
    let cluster = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "orders"},
        "spec": {"instances": 1, "storage": {"size": "4Gi"}, "walStorage": {"size": "1Gi"}},
    });
    let kind = kube::core::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("postgresql.cnpg.io", "v1", "Cluster"));
    let api: Api<DynamicObject> = Api::namespaced_with(stage.sim.client(), &stage.namespace, &kind);
    let cluster = api.create(&PostParams::default(), &serde_json::from_value(cluster)?).await?;
    will_be(&stage.sim, &cluster, "PG_DATA", "4Gi", "10Gi").await?;
    assert_eq!(born(&stage.sim, &cluster, "PG_WAL", "1Gi").await?.as_deref(), Some("2Gi"));
    let bound = json!({"apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "ClusterStoragePolicy", "metadata": {"name": "bound"}, "spec": {"bounds": {"maxSize": "7Gi"}}});
    apply(&stage.sim, vec![bound]).await?;
    will_be(&stage.sim, &cluster, "PG_DATA", "4Gi", "7Gi").await
}

/// How long it takes to make so many PVCs, one after the other.
async fn time(sim: &Sim, namespace: &str, pvc: &Value, count: usize) -> anyhow::Result<Duration> {
    let start = Instant::now();
    for _ in 0..count {
        try_pvc(sim, namespace, pvc).await?;
    }
    Ok(start.elapsed())
}

/// A manager whose webhook the API server calls for PVCs of one namespace, as it ships, and not for those of another.
struct Called {
    stage: Stage,
    manager: Manager,
    /// What is made in the one.
    asked: Value,
    /// The other, and what is made there.
    exempt: String,
    unasked: Value,
}

async fn called_as_it_ships(name: &str) -> anyhow::Result<Called> {
    let stage = Stage::alone(name).await?;
    let sim = &stage.sim;
    let exempt = sim.namespace("exempt").await?;
    let port = port()?;
    let kubeconfig = manager::kubeconfig(sim).await?;
    let not_exempt = |webhook: &mut Value| {
        let not = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [&exempt]});
        webhook["namespaceSelector"] = json!({"matchExpressions": [not]});
        assert_eq!(webhook["failurePolicy"], "Ignore", "as it ships");
        assert_eq!(webhook["timeoutSeconds"], PATIENCE.as_secs(), "as it ships");
    };
    apply(sim, calling(&[port], not_exempt)?).await?;
    let manager = csm_tests::webhook::spawn(sim, &kubeconfig, port, &[])?;
    csm_tests::webhook::ready(&manager).await?;
    called(sim).await?;
    let pvc = |namespace: &str| {
        json!({
            "metadata": {"name": "orders-1", "namespace": namespace, "labels": {"cnpg.io/cluster": "orders", "cnpg.io/instanceName": "orders-1", "cnpg.io/pvcRole": "PG_DATA"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        })
    };
    let called = Called {
        asked: pvc(&stage.namespace),
        unasked: pvc(&exempt),
        stage,
        manager,
        exempt,
    };
    called.is_called().await?;
    Ok(called)
}

impl Called {
    /// Waits until the API server calls the webhook for the one namespace.
    async fn is_called(&self) -> anyhow::Result<()> {
        let count = || {
            self.manager
                .metric("cnpg_storage_manager_webhook_requests_total", &["webhook=\"pvcs\""])
        };
        until("the API server calls the webhook for this namespace", || async {
            let before = count().await?;
            try_pvc(&self.stage.sim, &self.stage.namespace, &self.asked).await?;
            Ok((count().await? > before).then_some(()))
        })
        .await
    }
}

/// With the manager down, the API server makes PVCs as fast where it would call the webhook as where it would not, but for a
/// connection that is refused: that costs a quarter of what a PVC takes, and a half where the machine is busy.
#[tokio::test]
async fn pvcs_are_made_at_full_speed_without_the_manager() -> anyhow::Result<()> {
    const ROUNDS: usize = 30;
    const EACH: usize = 10;
    let Called {
        stage,
        mut manager,
        asked,
        exempt,
        unasked,
    } = called_as_it_ships("down").await?;
    let sim = &stage.sim;
    manager.kill()?;
    // By turns, since the machine is shared; of each, the round that was disturbed least.
    let (mut with, mut without) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        with = with.min(time(sim, &stage.namespace, &asked, EACH).await?);
        without = without.min(time(sim, &exempt, &unasked, EACH).await?);
    }
    println!("{EACH} PVCs: {with:?} where the webhook would be called, {without:?} where not");
    assert!(
        with.as_secs_f64() < without.as_secs_f64() * 1.6,
        "{EACH} PVCs took {with:?} with the webhook down, {without:?} without any"
    );
    Ok(())
}

/// With the manager standing still, each PVC is made all the same, when the API server has waited for it as long as it may.
#[tokio::test]
async fn pvcs_are_made_while_the_manager_stands_still() -> anyhow::Result<()> {
    const EACH: usize = 4;
    let called = called_as_it_ships("still").await?;
    let Called { stage, exempt, .. } = &called;
    let process = ProcessId::of(called.manager.pid())?;
    process.signal(Signal::STOP);
    until("it stands still", || async { Ok(process.stands_still().then_some(())) }).await?;
    for _ in 0..EACH {
        let unasked = time(&stage.sim, exempt, &called.unasked, 1).await?;
        let start = Instant::now();
        let made = try_pvc(&stage.sim, &stage.namespace, &called.asked).await?;
        let took = start.elapsed();
        println!("{took:?} where the webhook is called, {unasked:?} where not");
        assert_eq!(request(&made).as_deref(), Some("1Gi"), "as it was asked for");
        assert!(
            took >= PATIENCE && took < PATIENCE + SLACK,
            "it waits for {PATIENCE:?}, and no longer: {took:?}"
        );
        assert!(unasked < SLACK, "where it is not called nobody waits for it: {unasked:?}");
    }
    process.signal(Signal::CONT);
    called.is_called().await
}
