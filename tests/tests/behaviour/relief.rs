//! WAL relief, where no command can be run: what is due is recorded, ends and is told, and nothing else waits for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use csm_api::{EventType, Phase, StorageEvent};
use csm_testkit::instances::{self, Answer};
use csm_tests::cli::Cli;
use csm_tests::{Manager, Stage, phase, until};
use csm_units::Bytes;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::levers::editor;

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

/// `relieve-wal` as a real process, of a person who may ask for growths: what stands against it is said, and what to do.
#[tokio::test]
async fn a_person_asks_by_the_plugin_and_is_told_what_came_of_it() -> anyhow::Result<()> {
    let stage = Stage::new("relieve").await?;
    let (editor, _) = editor(&stage).await?;
    stage.orders(|c| c.instances(2).data("10Gi").wal("4Gi")).await?;
    stage.policy("default", json!({"expansion": {"maxSize": "40Gi"}})).await?;
    let relieve = |more: &[&'static str]| -> Vec<&'static str> { [&["relieve-wal", "orders"], more].concat() };

    // Nobody carries it out: what the lease says, or that it stands.
    let kubeconfig = stage.sim.plane().user_kubeconfig("admin", &["system:masters"])?;
    let admin = Cli::new(&kubeconfig, &stage.namespace);
    let (_, said) = admin.ends(1, &relieve(&["--lease-name", "nobody"]))?;
    assert!(
        said.contains("is not begun: no manager runs, since there is no lease nobody") && said.contains("--wait=false"),
        "{said}"
    );
    for dry_run in ["--dry-run=client", "--dry-run=server"] {
        let (out, _) = editor.ends(0, &relieve(&["--yes", dry_run]))?;
        assert!(
            out.contains("WAL of orders-1, the primary: CHECKPOINT, ") && out.contains("nothing was written"),
            "{out}"
        );
    }
    assert!(reliefs(&stage).await?.is_empty());
    let (_, said) = editor.ends(1, &relieve(&["--timeout", "1s"]))?;
    assert!(
        said.contains("The record stands") && said.contains("kubectl delete storageevent orders-wal-cleanup-"),
        "{said}"
    );
    let events = stage.api::<StorageEvent>();
    let stands = reliefs(&stage).await?;
    let record = stands.first().context("the record stands")?;
    let owners = record.metadata.owner_references.as_ref().context("an owner")?;
    assert_eq!((owners[0].name.as_str(), stands.len()), ("orders", 1));
    let asked = record.spec.wal_cleanup.as_ref().context("what is asked")?;
    assert_eq!((asked.instance.as_str(), asked.dry_run), ("orders-1", Some(true)));
    let name = record.metadata.name.as_deref().context("a name")?;
    events.delete(name, &kube::api::DeleteParams::default()).await?;

    // As shipped it is switched off.
    let mut manager = stage.manager().await?;
    let (out, _) = editor.ends(1, &relieve(&[]))?;
    assert!(
        out.contains("Refused: not begun, nothing was changed: WAL relief is switched off; set walRelief"),
        "{out}"
    );
    manager.kill()?;

    // Switched on, and not permitted: the standby this time.
    manager = Manager::start(&stage.sim, &[&stage.namespace], &["--wal-relief", "true"]).await?;
    let arguments = relieve(&["--instance", "orders-2", "--yes", "-o", "json"]);
    let (out, _) = editor.ends(1, &arguments).with_context(|| manager.tail())?;
    let found: Value = serde_json::from_str(&out)?;
    assert_eq!(
        (&found["phase"], &found["outcome"], &found["primary"], &found["acts"]),
        (&json!("Failed"), &json!("CommandFailed"), &json!(false), &json!(true)),
        "{found}"
    );
    let message = found["message"].as_str().context("a message")?;
    assert!(
        message.contains("needs get and create on pods/exec; kubectl apply -f deploy/wal-cleanup.yaml"),
        "{message}"
    );

    let (_, said) = editor.ends(2, &relieve(&["--yes", "--dry-run"]))?;
    assert!(said.contains("--yes acts, and --dry-run lists"), "{said}");
    let (_, said) = editor.ends(1, &relieve(&["--instance", "orders-9"]))?;
    assert!(
        said.contains("no instance orders-9; those that it has: orders-1, orders-2"),
        "{said}"
    );
    editor.ends(0, &["pause", "orders"])?;
    let (_, said) = editor.ends(1, &relieve(&[]))?;
    assert!(said.contains("is not begun: the Cluster is paused"), "{said}");
    let (out, _) = editor.ends(0, &["resume", "orders"])?;
    assert!(out.contains("not paused"), "{out}");
    let (out, _) = editor.ends(0, &relieve(&["--wait=false"]))?;
    assert!(out.contains("To follow it: kubectl get storageevent orders-wal-cleanup-"), "{out}");
    Ok(())
}
