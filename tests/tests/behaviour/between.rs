//! What exporters say between two samples of a kubelet grows a volume in time; who says nothing of use costs nobody else.

use anyhow::Context as _;
use csm_api::{Growth, Phase, Reason};
use csm_testkit::instances::{self, Answer, Exporter, InstanceManager, exported};
use csm_testkit::nodesim::VolumeFault;
use csm_testkit::scenario::{ClusterBuilder, SimCluster};
use csm_tests::{Manager, Stage, phase, until};
use serde_json::{Value, json};

/// A WAL volume of 960 MiB, half of it used.
fn cluster(cluster: ClusterBuilder) -> ClusterBuilder {
    cluster.instances(1).data("10Gi").wal("1Gi").wal_used(0.5)
}

fn policy() -> Value {
    json!({"walStorage": {"resize": {"enabled": true, "expansion": {"step": "50%", "limit": "20Gi"}}}})
}

/// The manager, knowing where instances and their exporters listen.
async fn manager(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Manager> {
    let (port, exporter) = (instances::port().await?.to_string(), instances::exporter_port().await?.to_string());
    let mut all = vec![
        "--instances-port",
        &port,
        "--instances-exporter",
        "true",
        "--instances-exporter-port",
        &exporter,
    ];
    all.extend(arguments);
    Manager::start(&stage.sim, &[&stage.namespace], &all).await
}

/// An instance whose primary says that all is well, and its exporter.
async fn instance(cluster: &SimCluster, answer: Answer) -> anyhow::Result<(InstanceManager, Exporter)> {
    let well = Answer::Status(json!({"isPrimary": true, "currentLsn": "5/40000000", "timeLineID": 1}));
    let instance = format!("{}-1", cluster.name());
    let manager = cluster.instance_manager(&instance, well).await?;
    let exporter = manager.exporter(false, answer).await?;
    Ok((manager, exporter))
}

/// Waits until an exporter was asked so many times more.
async fn asked(exporter: &Exporter, times: u64) -> anyhow::Result<()> {
    let before = exporter.asked();
    until(&format!("the exporter is asked {times} times"), || async {
        Ok((exporter.asked() >= before + times).then_some(()))
    })
    .await
}

/// The kubelet's figures of the WAL volume stand still from now on, and the manager knows what the instance held then.
async fn stand_still(orders: &SimCluster, exporter: &Exporter) -> anyhow::Result<()> {
    asked(exporter, 2).await?;
    let wal = orders.wal("orders-1");
    let before = wal.measured().context("figures")?.time;
    until("they are measured after it was asked", || async {
        Ok(wal.measured().filter(|figures| figures.time > before).map(|_| ()))
    })
    .await?;
    wal.fault(VolumeFault::Stale)?;
    // The figures are taken every 5 s, and the exporter is asked every 4: once they are known, it has been asked after them.
    asked(exporter, 4).await
}

async fn growth(stage: &Stage, what: &str, done: impl Fn(&Growth) -> bool) -> anyhow::Result<Growth> {
    let growth = stage.event("orders", what, done).await?;
    assert_eq!(growth.spec.volume.role, csm_api::Role::Wal);
    Ok(growth)
}

#[tokio::test]
async fn a_volume_whose_figures_stand_still_grows_in_time() -> anyhow::Result<()> {
    let (stage, orders) = Stage::with_orders("between", cluster, policy()).await?;
    let (_instance, exporter) = instance(&orders, exported(30, 0)).await?;
    let manager = manager(&stage, &[]).await?;
    stand_still(&orders, &exporter).await.with_context(|| manager.tail())?;
    assert!(stage.events("orders").await?.is_empty(), "{}", manager.tail());

    // 480 MiB and 18 segments are 80 percent, and one more is over it.
    exporter.answer(exported(30 + 19, 0));
    let begun = growth(&stage, "the WAL volume grows", |_| true)
        .await
        .with_context(|| manager.tail())?;
    assert_eq!(begun.spec.reason, Reason::UsageThreshold, "{}", begun.spec.message);
    until("the status says what the figures are taken from", || async {
        let sizing = stage.storage("orders").await?.and_then(|s| s.status).and_then(|s| s.storage_sizing);
        let inputs = sizing.and_then(|s| s.wal).map(|wal| wal.last_decision.inputs).unwrap_or_default();
        let by = inputs.get("estimatedBy").filter(|by| by.contains("WAL segments"));
        Ok(by
            .and(inputs.get("estimateErrorBytes"))
            .filter(|error| *error == "16777216")
            .map(|_| ()))
    })
    .await?;
    let wal = orders.wal("orders-1");
    wal.wait_capacity(begun.spec.expansion.requested_size).await?;

    // What the instance says goes on, and shows no filesystem that has grown.
    asked(&exporter, 3).await?;
    let now = growth(&stage, "it is followed", |_| true).await?;
    assert_ne!(phase(&now), Some(Phase::Completed), "{}", manager.tail());
    let labels = ["cluster=\"orders\"", "instance=\"orders-1\""];
    for (name, value) in [("files_count", 49.0), ("directory_bytes", 822_083_584.0)] {
        let name = format!("cnpg_storage_manager_wal_{name}");
        assert_eq!(manager.metric(&name, &labels).await?, Some(value), "{name}");
    }
    wal.fault(VolumeFault::None)?;
    growth(&stage, "it is verified by figures", |e| phase(e) == Some(Phase::Completed)).await?;
    assert_eq!(stage.events("orders").await?.len(), 1, "{}", manager.tail());
    Ok(())
}

#[tokio::test]
async fn an_exporter_that_says_nothing_of_use_costs_one_time_out_and_changes_nothing() -> anyhow::Result<()> {
    let stage = Stage::new("exporters").await?;
    stage.policy("default", policy()).await?;
    let answers = [
        (Answer::Hangs, "timeout"),
        (Answer::Stalls, "timeout"),
        (Answer::Endless, "garbage"),
        (Answer::Text("<html>502 Bad Gateway</html>".to_owned()), "garbage"),
        (Answer::Text("cnpg_collector_pg_wal{value=\"count\"".to_owned()), "garbage"),
        (Answer::Code(500), "status"),
        (Answer::Redirects("http://127.0.0.1:1/".to_owned()), "status"),
    ];
    let mut silent = Vec::new();
    for (i, (answer, kind)) in answers.into_iter().enumerate() {
        let name = format!("silent-{i}");
        let cluster = cluster(stage.sim.cluster(&stage.namespace, &name)).create().await?;
        let (manager, exporter) = instance(&cluster, answer).await?;
        silent.push((name, cluster, manager, exporter, kind));
    }
    let orders = stage.orders(cluster).await?;
    let (_instance, good) = instance(&orders, exported(30, 0)).await?;
    // Fewer places than there are exporters that hang.
    let manager = manager(&stage, &["--instances-concurrency", "1", "--instances-timeout", "2s"]).await?;

    for (name, _, _, exporter, kind) in &silent {
        let told = || {
            let (log, name, kind) = (manager.log(), format!("cluster={name} "), format!("kind=\"{kind}\""));
            let lines = log.lines().filter(|l| l.contains("does not say what its volumes hold"));
            lines.filter(|l| l.contains(&name) && l.contains(&kind)).count()
        };
        until(&format!("{name} is told as {kind}"), || async { Ok((told() > 0).then_some(())) }).await?;
        assert_eq!((told(), exporter.most_at_a_time()), (1, 1), "{name}: {}", manager.tail());
    }
    // Their neighbour is followed meanwhile, and grows.
    stand_still(&orders, &good).await.with_context(|| manager.tail())?;
    good.answer(exported(30 + 19, 0));
    growth(&stage, "the neighbour grows", |_| true)
        .await
        .with_context(|| manager.tail())?;
    for (name, cluster, _, exporter, _) in &silent {
        assert!(stage.events(name).await?.is_empty(), "{name}");
        // Who fails is asked once a minute, however little room there is; a good one was asked every few seconds.
        assert!(exporter.asked() < good.asked(), "{name}: {} and {}", exporter.asked(), good.asked());
        // Without estimates, figures of the kubelet decide, as ever.
        cluster.wal(&format!("{name}-1")).fill(0.9)?;
    }
    for (name, ..) in &silent {
        stage
            .event(name, &format!("{name} grows"), |e| phase(e) == Some(Phase::Completed))
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_exporter_with_tls_is_asked_and_one_that_nobody_needs_is_not() -> anyhow::Result<()> {
    let stage = Stage::new("asked-for").await?;
    let secure = cluster(stage.sim.cluster(&stage.namespace, "orders")).spec(json!({"monitoring": {"tls": {"enabled": true}}}));
    let orders = secure.create().await?;
    let first = orders.instance_manager("orders-1", Answer::Hangs).await?;
    let tls = first.exporter(true, exported(30, 0)).await?;
    // 100 GiB in each volume: at any rate that we know of a kubelet sees them fill.
    let large = stage.sim.cluster(&stage.namespace, "large").instances(1).data("100Gi").wal("100Gi");
    let large = large.create().await?;
    let (_large, at_rest) = instance(&large, exported(30, 0)).await?;
    // Nobody manages this one.
    let free = cluster(stage.sim.cluster(&stage.namespace, "free")).create().await?;
    let (_free, unmanaged) = instance(&free, exported(30, 0)).await?;
    let mut spec = policy();
    spec["selector"] = json!({"matchExpressions": [{"key": "cnpg.io/cluster", "operator": "In", "values": ["orders", "large"]}]});
    stage.policy("default", spec).await?;
    let manager = manager(&stage, &[]).await?;
    asked(&tls, 4).await.with_context(|| manager.tail())?;
    assert_eq!((at_rest.asked(), unmanaged.asked()), (0, 0), "{}", manager.tail());
    assert!(!manager.log().contains("does not say what its volumes hold"), "{}", manager.tail());
    Ok(())
}
