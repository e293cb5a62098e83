//! WAL relief, where no command can be run: what is due is recorded, ends and is told, and nothing else waits for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use csm_api::{EventType, Phase, StorageEvent};
use csm_testkit::instances::{self, Answer};
use csm_tests::{Manager, Stage, phase, until};
use csm_units::Bytes;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

/// The reliefs of a cluster.
async fn reliefs(stage: &Stage) -> anyhow::Result<Vec<StorageEvent>> {
    let events = stage.api::<StorageEvent>().list(&ListParams::default()).await?.items;
    Ok(events.into_iter().filter(|e| e.spec.event_type == EventType::WalCleanup).collect())
}

fn has_ended(event: &StorageEvent) -> bool {
    event.status.as_ref().and_then(|s| s.phase).is_some_and(Phase::is_end)
}

async fn ended(stage: &Stage, name: &str) -> anyhow::Result<StorageEvent> {
    until(&format!("{name} has ended"), || async {
        let event = stage.api::<StorageEvent>().get_opt(name).await?;
        Ok(event.filter(has_ended))
    })
    .await
}

#[tokio::test]
async fn a_relief_that_is_due_is_recorded_and_told_once_and_growth_goes_on() -> anyhow::Result<()> {
    let policy = json!({"expansion": {"maxSize": "40Gi"}, "thresholds": {"emergency": 90}});
    let built = |c: csm_testkit::scenario::ClusterBuilder| c.instances(1).data("10Gi").wal("4Gi");
    let (stage, orders) = Stage::with_orders("relief", built, policy).await?;
    let healthy = Answer::Status(json!({"isPrimary": true, "currentLsn": "5/40000000", "timeLineID": 1}));
    let _instance = orders.instance_manager("orders-1", healthy).await?;
    let port = instances::port().await?.to_string();
    let _manager = Manager::start(
        &stage.sim,
        &[&stage.namespace],
        &["--instances-port", &port, "--wal-relief", "true"],
    )
    .await?;
    orders.fill("orders-1-wal", 0.95)?;
    let relief = until("a relief has ended", || async {
        Ok(reliefs(&stage).await?.into_iter().find(has_ended))
    })
    .await?;
    let asked = relief.spec.wal_cleanup.as_ref().context("what is asked")?;
    assert_eq!((asked.instance.as_str(), asked.retain_count, asked.dry_run), ("orders-1", 10, None));
    let owners = relief.metadata.owner_references.as_ref().context("an owner")?;
    assert_eq!(owners[0].name, "orders");
    let status = relief.status.as_ref().context("a status")?;
    assert_eq!(status.phase, Some(Phase::Failed));
    stage
        .event("orders", "the WAL volume grows", |e| phase(e) == Some(Phase::Completed))
        .await?;
    assert!(orders.wal("orders-1").request().await? > Bytes::gib(4));
    stage.told_once("orders", &["WALCleanupRefused"]).await?;
    // The next one waits for its cooldown.
    assert_eq!(reliefs(&stage).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn what_a_person_asks_for_is_refused_while_the_cluster_is_paused_and_taken_up_after() -> anyhow::Result<()> {
    let (stage, _orders) = Stage::with_orders("relief-asked", |c| c.instances(1).data("10Gi"), json!({})).await?;
    let clusters: kube::Api<csm_cnpg::Cluster> = stage.api();
    let pause = |paused: Option<&str>| json!({"metadata": {"annotations": {"storage.cnpg.supporttools.io/paused": paused}}});
    let cluster = clusters
        .patch("orders", &PatchParams::default(), &Patch::Merge(pause(Some("true"))))
        .await?;
    let _manager = Manager::start(&stage.sim, &[&stage.namespace], &["--wal-relief", "true"]).await?;
    let record = |name: &str, instance: &str| -> anyhow::Result<StorageEvent> {
        Ok(serde_json::from_value(json!({
            "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StorageEvent",
            "metadata": {"name": name, "labels": {"cnpg.supporttools.io/cluster": "orders"}},
            "spec": {
                "clusterRef": {"name": "orders", "uid": cluster.metadata.uid}, "eventType": "wal-cleanup", "trigger": "manual",
                "volume": {"role": "data"}, "reason": "UsageThreshold", "message": "",
                "walCleanup": {"instance": instance, "dryRun": true, "retainCount": 1},
            },
        }))?)
    };
    let events = stage.api::<StorageEvent>();
    let condition = |event: StorageEvent| {
        let condition = event.status.and_then(|s| s.conditions.into_iter().next());
        condition.map(|c| (c.reason, c.message)).unwrap_or_default()
    };
    events.create(&PostParams::default(), &record("paused", "orders-1")?).await?;
    let (reason, message) = condition(ended(&stage, "paused").await?);
    assert!(
        reason == "Refused" && message.contains("the Cluster is paused"),
        "{reason}: {message}"
    );
    clusters
        .patch("orders", &PatchParams::default(), &Patch::Merge(pause(None)))
        .await?;
    events.create(&PostParams::default(), &record("unknown", "orders-9")?).await?;
    let (reason, message) = condition(ended(&stage, "unknown").await?);
    assert!(reason == "Refused" && message.contains("orders-9"), "{reason}: {message}");
    // As soon as the manager has seen that the pause is over.
    let tries = AtomicUsize::new(0);
    until("a relief is taken up", || async {
        let name = format!("asked-{}", tries.fetch_add(1, Ordering::Relaxed));
        events.create(&PostParams::default(), &record(&name, "orders-1")?).await?;
        let event = ended(&stage, &name).await?;
        Ok(event.status.is_some_and(|s| s.wal_cleanup.is_some()).then_some(()))
    })
    .await?;
    Ok(())
}
