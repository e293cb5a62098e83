//! Clusters, instances and the manager itself come and go.

use std::time::Duration;

use anyhow::Context as _;
use csm_api::{Phase, Reason, State, StorageEvent, StoragePolicy, Trigger};
use csm_testkit::controlplane::AuditEntry;
use csm_testkit::resizer::ResizeFault;
use csm_testkit::scenario::{Sim, SimOptions};
use csm_testkit::wait::within;
use csm_tests::manager::{Manager, kubeconfig};
use csm_tests::proxy::{At, Fault, Link, Proxy, Rule};
use csm_tests::wait::PATIENCE;
use csm_tests::{Stage, phase, root, until, up_to};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_replica_that_is_born_too_small_is_caught_up() -> anyhow::Result<()> {
    let (stage, orders) = Stage::with_orders("catchup", |c| c.instances(2).data("10Gi").data_used(0.87), up_to("100Gi")).await?;
    let _manager = stage.manager().await?;
    stage.event("orders", "grown", |e| phase(e) == Some(Phase::Completed)).await?;
    let third = orders.add_instance().await?;
    let caught = |e: &csm_api::Growth| e.spec.trigger == Trigger::CatchUp && phase(e) == Some(Phase::Completed);
    let event = stage.event("orders", "caught up", caught).await?;
    let names: Vec<_> = event.spec.expansion.affected_pvcs.iter().map(|p| p.instance.as_str()).collect();
    assert_eq!(names, [third.as_str()]);
    assert_eq!(orders.data(&third).request().await?, Bytes::gib(15));
    Ok(())
}

#[tokio::test]
async fn series_and_clusters_go_together() -> anyhow::Result<()> {
    let (stage, orders) = Stage::with_orders("gone", |c| c.data("10Gi"), up_to("100Gi")).await?;
    stage.sim.cluster(&stage.namespace, "users").data("10Gi").create().await?;
    let manager = stage.manager().await?;
    let namespace = format!("namespace=\"{}\"", stage.namespace);
    until("both are seen", || async {
        let text = manager.metrics().await?;
        let seen = |name: &str| text.contains(&format!("pvc_usage_bytes{{cluster=\"{name}\",{namespace}"));
        Ok((seen("orders") && seen("users")).then_some(()))
    })
    .await?;
    let counted = |name: &'static str, count: f64| {
        let manager = &manager;
        until(name, move || async move {
            Ok((manager.metric(name, &[]).await? == Some(count)).then_some(()))
        })
    };
    counted("cnpg_storage_manager_clusters_managed_total", 2.0).await?;
    orders.delete().await?;
    until("its series are gone", || async {
        Ok((!manager.metrics().await?.contains("cluster=\"orders\"")).then_some(()))
    })
    .await?;
    counted("cnpg_storage_manager_clusters_discovered_total", 1.0).await
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted_is_no_error() -> anyhow::Result<()> {
    let (stage, _orders) = Stage::with_orders("ending", |c| c.data("10Gi"), up_to("100Gi")).await?;
    let manager = stage.manager().await?;
    until("its storage is made", || stage.storage("orders")).await?;
    let mark = stage.sim.plane().audit_mark().await?;
    // Without a namespace controller the rest stays, and goes as that controller would have it: our object first.
    let namespaces: Api<Namespace> = Api::all(stage.sim.plane().client().await?);
    namespaces.delete(&stage.namespace, &DeleteParams::default()).await?;
    stage
        .api::<csm_api::PostgresStorage>()
        .delete("orders", &DeleteParams::default())
        .await?;
    until("the manager is told that it cannot be made again", || async {
        let entries = stage.sim.plane().audit_since(mark).await?;
        let refused =
            |e: &AuditEntry| e.verb == "create" && e.resource == "postgresstorages" && e.namespace == stage.namespace && e.code == 403;
        Ok(entries.iter().any(refused).then_some(()))
    })
    .await?;
    let noise = manager.log().lines().filter(|line| line.contains("could not finish")).count();
    assert_eq!(noise, 0, "{}", manager.log());
    Ok(())
}

#[tokio::test]
async fn a_refused_patch_fails_the_operation_and_waits() -> anyhow::Result<()> {
    let (stage, _orders) = Stage::with_orders("quota", |c| c.data("10Gi").data_used(0.87), up_to("100Gi")).await?;
    // No controller counts here: what is used already is given by hand.
    stage
        .sim
        .resource_quota(&stage.namespace, "small", &[("requests.storage", "12Gi")])
        .await?;
    let _manager = stage.manager().await?;
    let event = stage.event("orders", "refused", |e| phase(e) == Some(Phase::Failed)).await?;
    let status = event.status.expect("a status");
    let condition = status.conditions.first().expect("a condition");
    assert_eq!(condition.reason, "Refused");
    assert!(condition.message.contains("exceeded quota: small"), "{}", condition.message);
    assert_eq!(status.retry_count, Some(1));
    let data = stage
        .data_status("orders", "waits", |d| d.last_decision.reason == Reason::RetryLater)
        .await?;
    assert_eq!(data.next_action_at.map(|t| t.0), status.next_retry_time.map(|t| t.0));
    Ok(())
}

#[tokio::test]
async fn what_only_pretends_to_have_grown_is_not_verified() -> anyhow::Result<()> {
    let (stage, orders) = Stage::with_orders("pretend", |c| c.data("10Gi").data_used(0.87), up_to("100Gi")).await?;
    orders.data("orders-1").resize_fault(ResizeFault::PretendGrown);
    let _manager = stage.manager().await?;
    let verifying = |e: &csm_api::Growth| {
        e.status
            .as_ref()
            .is_some_and(|s| s.pvc_statuses.iter().any(|p| p.phase == csm_api::PvcPhase::Verifying))
    };
    stage.event("orders", "verifying", verifying).await?;
    let asked = stage.sim.kubelets().requests(&orders.node_of("orders-1").expect("a node"));
    until("several samples later", || async {
        Ok((stage.sim.kubelets().requests(&orders.node_of("orders-1").expect("a node")) > asked + 3).then_some(()))
    })
    .await?;
    let events = stage.events("orders").await?;
    assert!(events.iter().all(|e| phase(e) == Some(Phase::InProgress)), "{events:?}");
    assert_eq!(events.len(), 1);
    Ok(())
}

#[tokio::test]
async fn before_cloudnativepg_is_installed_it_is_not_ready_and_says_so() -> anyhow::Result<()> {
    let sim = Sim::with(SimOptions {
        cnpg_crds: false,
        our_crds: true,
        nodes: 1,
        ..SimOptions::default()
    })
    .await?;
    let mut manager = Manager::spawn_as(&sim, &kubeconfig(&sim).await?, &[], &[])?;
    let missing = "clusters.postgresql.cnpg.io: the API server does not know this kind; install its CRD";
    until("it says what it waits for", || async {
        Ok(manager
            .page("/readyz")
            .await
            .ok()
            .filter(|(status, text)| *status == 503 && text.contains(missing))
            .map(|_| ()))
    })
    .await?;
    assert_eq!(manager.page("/healthz").await?.0, 200);
    let troubles =
        ["waiting_for{what=", "watch_failing{watch="].map(|name| format!("cnpg_storage_manager_{name}\"clusters.postgresql.cnpg.io\"}} 1"));
    let told = manager.metrics().await?;
    assert!(troubles.iter().all(|series| told.contains(series)), "{told}");
    let crds = csm_testkit::tools::cnpg_crds()?;
    sim.plane()
        .apply_crds(
            crds.into_iter()
                .filter(|crd| crd.metadata.name.as_deref() == Some(csm_cnpg::CRD_NAME)),
        )
        .await?;
    manager.leads().await?;
    assert_eq!(manager.page("/readyz").await?.0, 200);
    // A kind that was defined a moment ago may fail its first watch; that it is well again shows when no error comes for a while.
    until("it is well again", || async {
        let told = manager.metrics().await?;
        Ok((!troubles.iter().any(|series| told.contains(series))).then_some(()))
    })
    .await?;
    // A graceful stop, well within the grace that Kubernetes gives.
    let status = manager.stop(Duration::from_secs(10))?;
    assert!(status.success(), "{status} {}", manager.tail());
    assert!(manager.log().contains("gave the lease back"), "{}", manager.tail());
    Ok(())
}

#[tokio::test]
async fn a_second_replica_stands_by_until_the_first_is_gone() -> anyhow::Result<()> {
    let (stage, orders) = Stage::with_orders("lease", |c| c.data("10Gi"), up_to("100Gi")).await?;
    let mut first = stage.manager().await?;
    let second = Manager::spawn(&stage.sim, &[&stage.namespace], &[]).await?;
    until("the second stands by", || async {
        Ok(second.log().contains("another replica leads").then_some(()))
    })
    .await?;
    assert_eq!(second.metric("cnpg_storage_manager_leader", &[]).await?, Some(0.0));
    assert_eq!(second.page("/readyz").await?.0, 200, "a stand-by is ready");
    first.kill()?;
    orders.fill("orders-1", 0.87)?;
    second.leads().await?;
    stage
        .event("orders", "grown by the second", |e| phase(e) == Some(Phase::Completed))
        .await?;
    stage.data_status("orders", "balanced", |d| d.state == State::Balanced).await?;
    Ok(())
}

/// A StorageEvent that cannot be dropped, for somebody's webhook, keeps no other from being dropped.
#[tokio::test]
async fn what_cannot_be_dropped_keeps_nothing_else() -> anyhow::Result<()> {
    let (stage, orders) = Stage::with_orders("retention", |c| c.data("10Gi"), up_to("100Gi")).await?;
    let uid = orders.object().await?.metadata.uid.unwrap_or_default();
    stage
        .forbid("storageevents", &["DELETE"], "oldObject.metadata.name != 'old-0'")
        .await?;
    let at = Timestamp::now() - SignedDuration::from_hours(24 * 400);
    let api = stage.api::<StorageEvent>();
    for number in 0..4 {
        let name = format!("old-{number}");
        let pvc = json!({"name": "orders-1", "uid": "gone", "instance": "orders-1", "originalSize": "5Gi"});
        let event: StorageEvent = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"cnpg.supporttools.io/cluster": "orders"}},
            "spec": {
                "clusterRef": {"name": "orders", "uid": uid}, "eventType": "expansion", "trigger": "threshold-breach",
                "volume": {"role": "data"}, "reason": "UsageThreshold", "message": "87 % used",
                "expansion": {"originalSize": "5Gi", "requestedSize": "10Gi", "parallelism": 1, "affectedPVCs": [pvc]},
            },
        }))?;
        api.create(&PostParams::default(), &event).await?;
        let status = json!({"status": {"phase": "Completed", "startTime": at, "completionTime": at}});
        api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    until("the policy is in force", || {
        let dry = DeleteParams {
            dry_run: true,
            ..DeleteParams::default()
        };
        let api = &api;
        async move { Ok(api.delete("old-0", &dry).await.is_err().then_some(())) }
    })
    .await?;
    let _manager = stage.manager().await?;
    until("all others are dropped", || async {
        let names: Vec<_> = api
            .list(&ListParams::default())
            .await?
            .items
            .into_iter()
            .map(|e| e.name_any())
            .collect();
        Ok((names == ["old-0"]).then_some(()))
    })
    .await
}

/// A request that the manager had given up is delivered after the one that it made in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_comes_late_does_not_stay() -> anyhow::Result<()> {
    let (stage, _orders) = Stage::with_orders("latestatus", |c| c.data("10Gi"), up_to("100Gi")).await?;
    let mut proxy = Proxy::start(stage.sim.plane().kubeconfig()).await?;
    let late = ["PATCH postgresstorages/status", "PATCH storagepolicies/status"];
    proxy.arm(late.map(|kind| Rule {
        at: At::Kind(kind.to_owned()),
        nth: 1,
        fault: Fault::Stray,
    }));
    let through = proxy.kubeconfig(&kubeconfig(&stage.sim).await?)?;
    let _manager = Manager::spawn_as(&stage.sim, through.path(), &[&stage.namespace], &[])?;
    let first = tokio::time::timeout(PATIENCE, proxy.meanwhile()).await?;
    let second = tokio::time::timeout(PATIENCE, proxy.meanwhile()).await?;
    stage.policy("default", up_to("90Gi")).await?;
    let up_to_date = async || {
        let limit = stage.storage("orders").await?.and_then(|s| s.status?.limit);
        let policy = stage.api::<StoragePolicy>().get("default").await?;
        let seen = policy.status.and_then(|status| status.observed_generation);
        Ok((limit == Some(Bytes::gib(90)) && seen == policy.metadata.generation).then_some(()))
    };
    until("both statuses are about the new policy", up_to_date).await?;
    drop((first, second));
    until("the API server has done as the late ones ask", || async {
        let seen = proxy.seen();
        let done = seen.iter().filter(|s| s.fault == Some(Fault::Stray) && s.code == Some(200));
        Ok((done.count() == late.len()).then_some(()))
    })
    .await?;
    until("both statuses are about the new policy again", up_to_date).await
}

/// One that lost its lease must be started again, whatever its peers do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_request_keeps_nobody_alive_who_lost_the_lease() -> anyhow::Result<()> {
    let (stage, _orders) = Stage::with_orders("halfword", |c| c.data("10Gi"), up_to("100Gi")).await?;
    let proxy = Proxy::start(stage.sim.plane().kubeconfig()).await?;
    let through = proxy.kubeconfig(&kubeconfig(&stage.sim).await?)?;
    let mut manager = Manager::spawn_as(&stage.sim, through.path(), &[&stage.namespace], &[])?;
    manager.leads().await?;
    let peers = [(); 3].map(|()| async {
        let mut half = TcpStream::connect(manager.admin()).await?;
        half.write_all(b"GET /metrics HTTP/1.1\r\nhos").await?;
        Ok::<_, std::io::Error>(half)
    });
    let peers = futures::future::try_join_all(peers).await?;
    proxy.link(Link::Hang);
    until("it lost its lease", || async {
        Ok(manager.log().contains("lost the lease").then_some(()))
    })
    .await?;
    let ended = within(Duration::from_secs(20), "it has ended", async || {
        Ok((!manager.is_alive()).then_some(()))
    })
    .await;
    ended.with_context(|| manager.tail())?;
    drop(peers);
    Ok(())
}

#[test]
fn bad_settings_stop_the_start_with_the_line() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    for (text, words) in [
        ("metricsInterval: 30s\nmetricIntervall: 5s\n", vec!["metricIntervall", "line 2"]),
        ("metricsInterval: soon\n", vec!["\"soon\" is no length of time", "30s"]),
        ("metricsInterval: 1s\n", vec!["metricsInterval", "at least 5s"]),
        ("logFormat: xml\n", vec!["logFormat", "json or text"]),
        ("retention: {storageEvents: 2h}\n", vec!["retention.storageEvents", "at least 24h"]),
        (
            "providerLimits: {ebs.csi.aws.com: {maxActions: 0, period: 24h}}\n",
            vec!["providerLimits.ebs.csi.aws.com", "at least 1", "{maxActions: 4, period: 24h}"],
        ),
        ("storageClasses: {fast: {maxActions: 4}}\n", vec!["storageClasses.fast", "both"]),
        (
            "providerLimits: {slow.example.com: {maxActions: 1, period: 40d}}\n",
            vec!["providerLimits.slow.example.com.period", "retention.storageEvents"],
        ),
        (
            "defaults: {thresholds: {warning: 99, critical: 20}}\n",
            vec!["defaults.", "warning", "critical"],
        ),
        (
            "leaderElection: {leaseDuration: 5s, renewDeadline: 9s}\n",
            vec!["leaseDuration", "renewDeadline"],
        ),
    ] {
        let file = folder.path().join("settings.yaml");
        std::fs::write(&file, text)?;
        let output = std::process::Command::new(csm_tests::manager::binary()?)
            .args(["run", "--config"])
            .arg(&file)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{text}: {said} should say {words:?}");
        assert!(
            said.contains("settings.yaml") || text.starts_with("metricsInterval: 1s") || !text.contains("Intervall"),
            "{said}"
        );
    }
    // What ships with the manager is valid.
    let shipped = std::fs::read_to_string(root().join("deploy/manager.yaml"))?;
    assert!(shipped.contains("metricsInterval: 30s"));
    Ok(())
}
