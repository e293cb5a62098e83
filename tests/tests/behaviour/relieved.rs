//! WAL relief, at an instance that answers: a whole ladder, and what breaks it off. Whatever happens to the manager or to a connection,
//! nothing is removed twice, and the record says how far it got.

use anyhow::Context as _;
use csm_api::{EventType, Phase, Reason, Rung, RungResult, RungStatus, StorageEvent, WalCleanupOutcome, WalCleanupStatus};
use csm_testkit::instances::{self, Answer, InstanceManager};
use csm_testkit::scenario::SimCluster;
use csm_tests::instance::{Comes, Instance, REMOVED_BEFORE, Told, segment};
use csm_tests::{Manager, Stage, manager, root, until, up_to};
use jiff::{SignedDuration, Timestamp};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// A service account of these tests' own: it may run commands in pods, as that of the others may not.
const ACCOUNT: &str = "relieving-manager";
/// All that a relief of the instance can remove: of nineteen segments that are complete, ten stay.
const ALL: usize = 9;

/// A Cluster of one instance that archives its WAL, on a volume at its ceiling: it is not grown out of its trouble.
struct Scene {
    stage: Stage,
    orders: SimCluster,
    instance: Arc<Instance>,
    kubeconfig: PathBuf,
}

impl Scene {
    async fn new(prefix: &str) -> anyhow::Result<Self> {
        let archiving = json!({"backup": {"barmanObjectStore": {"destinationPath": "s3://wal/"}}});
        let (stage, orders) = Stage::with_orders(prefix, |c| c.data("4Gi").wal("4Gi").spec(archiving), up_to("4Gi")).await?;
        let instance = Instance::start(&stage.sim, &stage.namespace, "orders-1");
        let backups = stage.api::<csm_cnpg::Backup>();
        until("backups are served", || async {
            // A definition is established a moment before it is served.
            Ok(backups.list(&ListParams::default()).await.is_ok().then_some(()))
        })
        .await?;
        let mut permissions = String::new();
        for file in ["deploy/rbac.yaml", "deploy/wal-cleanup.yaml"] {
            permissions += "---\n";
            permissions += &std::fs::read_to_string(root().join(file))?;
        }
        let permissions = permissions.replace(manager::ACCOUNT, ACCOUNT);
        stage.sim.ensure_namespace(ACCOUNT).await?;
        let kubeconfig = stage.sim.kubeconfig_with_rbac(ACCOUNT, ACCOUNT, &permissions).await?;
        Ok(Self {
            stage,
            orders,
            instance,
            kubeconfig,
        })
    }

    /// Has the primary say that its WAL is well.
    async fn is_well(&self) -> anyhow::Result<InstanceManager> {
        let status = json!({
            "isPrimary": true, "currentLsn": "0/14000200", "timeLineID": 1, "isArchivingWAL": true, "lastArchivedWAL": segment(0x13),
            "lastArchivedWALTime": "2026-03-01T11:59:00.25Z", "lastFailedWALTime": "-infinity",
        });
        self.orders.instance_manager("orders-1", Answer::Status(status)).await
    }

    async fn spawn(&self) -> anyhow::Result<Manager> {
        let port = instances::port().await?.to_string();
        let arguments = ["--instances-port", &port, "--wal-relief", "true", "--lease-namespace", ACCOUNT];
        Manager::spawn_as(&self.stage.sim, &self.kubeconfig, &[&self.stage.namespace], &arguments)
    }

    async fn manager(&self) -> anyhow::Result<Manager> {
        let manager = self.spawn().await?;
        manager.leads().await?;
        Ok(manager)
    }

    /// A relief is due.
    fn fill(&self) -> anyhow::Result<()> {
        self.orders.fill("orders-1-wal", 0.95)
    }

    async fn reliefs(&self) -> anyhow::Result<Vec<StorageEvent>> {
        let events = self.stage.api::<StorageEvent>().list(&ListParams::default()).await?.items;
        Ok(events.into_iter().filter(|e| e.spec.event_type == EventType::WalCleanup).collect())
    }

    /// The one relief, once it has ended.
    async fn relieved(&self, manager: &Manager) -> anyhow::Result<StorageEvent> {
        let ended = until("a relief has ended", || async {
            Ok(self
                .reliefs()
                .await?
                .into_iter()
                .find(|event| phase(event).is_some_and(Phase::is_end)))
        });
        let event = ended.await.with_context(|| manager.tail())?;
        let names: Vec<_> = self.reliefs().await?.into_iter().map(|event| event.metadata.name).collect();
        assert_eq!(names, std::slice::from_ref(&event.metadata.name), "one relief alone");
        Ok(event)
    }

    /// How often it was told to do something.
    fn times(&self, told: Told) -> usize {
        self.instance.ran().iter().filter(|ran| **ran == told).count()
    }
}

fn phase(event: &StorageEvent) -> Option<Phase> {
    event.status.as_ref()?.phase
}

fn found(event: &StorageEvent) -> anyhow::Result<&WalCleanupStatus> {
    let status = event.status.as_ref().context("a status")?;
    status.wal_cleanup.as_ref().context("what was found")
}

fn rung(event: &StorageEvent, rung: Rung) -> anyhow::Result<&RungStatus> {
    let of = found(event)?.rungs.iter().find(|status| status.rung == rung);
    of.with_context(|| format!("{rung} in {event:?}"))
}

/// Whether the one record said that a rung was begun.
fn was_begun(recorded: &Value, rung: Rung) -> bool {
    let rungs = recorded.pointer("/0/walCleanup/rungs").and_then(Value::as_array);
    let is_begun = |status: &Value| status["rung"] == rung.as_str() && status["result"] == "Begun";
    rungs.is_some_and(|rungs| rungs.iter().any(is_begun)) && recorded.as_array().is_some_and(|all| all.len() == 1)
}

const WHOLE: [Told; 6] = [Told::Read, Told::Checkpoint, Told::List, Told::Read, Told::Remove, Told::Read];

#[tokio::test]
async fn a_whole_ladder_is_climbed_and_each_change_is_recorded_before_it_is_made() -> anyhow::Result<()> {
    let scene = Scene::new("ladder").await?;
    let _well = scene.is_well().await?;
    let manager = scene.manager().await?;
    scene.fill()?;
    let event = scene.relieved(&manager).await?;
    let found = found(&event)?;
    assert_eq!(
        (phase(&event), found.outcome),
        (Some(Phase::Completed), Some(WalCleanupOutcome::Relieved))
    );
    assert_eq!((found.files_removed, found.space_freed_bytes), (Some(9), Some(9 * (16 << 20))));
    assert_eq!(found.oldest_retained, Some(segment(10)));
    assert_eq!((scene.instance.ran(), scene.instance.left()), (WHOLE.to_vec(), 20 - ALL));
    for (told, rung) in [(Told::Checkpoint, Rung::Checkpoint), (Told::Remove, Rung::Removal)] {
        let recorded = scene.instance.recorded(told);
        assert!(recorded.iter().all(|recorded| was_begun(recorded, rung)), "{told:?}: {recorded:?}");
    }
    let rungs: Vec<_> = found.rungs.iter().map(|status| (status.rung, status.result)).collect();
    let done = [Rung::Holders, Rung::Checkpoint, Rung::DryRun, Rung::Removal, Rung::Report].map(|rung| (rung, RungResult::Done));
    assert_eq!(rungs, done);
    scene.stage.told_once("orders", &["WALCleanup"]).await
}

/// The manager is killed in the middle of a removal. What it had begun goes on in the container, or does not; the one that stands by
/// takes the record up.
async fn killed_in_a_removal(prefix: &str, goes_on: bool) -> anyhow::Result<(Scene, Manager, StorageEvent)> {
    let scene = Scene::new(prefix).await?;
    let _well = scene.is_well().await?;
    let mut first = scene.manager().await?;
    let second = scene.spawn().await?;
    scene.instance.next(Told::Remove, Comes::Waits);
    scene.fill()?;
    scene.instance.waits().await.with_context(|| first.tail())?;
    first.kill()?;
    if goes_on {
        scene.instance.goes_on().await?;
    }
    let event = scene.relieved(&second).await?;
    assert_eq!(scene.instance.ran(), WHOLE, "it reads once more, and removes nothing again");
    Ok((scene, second, event))
}

#[tokio::test]
async fn killed_in_a_removal_that_stops_the_next_manager_tells_how_far_it_got() -> anyhow::Result<()> {
    let (scene, _second, event) = killed_in_a_removal("killed-removal", false).await?;
    assert_eq!(
        (phase(&event), found(&event)?.outcome),
        (Some(Phase::Failed), Some(WalCleanupOutcome::Abandoned))
    );
    assert_eq!(found(&event)?.files_removed, Some(i32::try_from(REMOVED_BEFORE)?));
    let removal = rung(&event, Rung::Removal)?;
    let message = removal.message.as_deref().unwrap_or_default();
    assert!(
        removal.result == RungResult::Unknown && message.contains("4 of the segments that were listed are gone"),
        "{removal:?}"
    );
    assert_eq!(scene.instance.left(), 20 - REMOVED_BEFORE);
    scene.stage.told_once("orders", &["WALCleanupRefused"]).await
}

#[tokio::test]
async fn killed_in_a_removal_that_goes_on_the_next_manager_finds_it_done() -> anyhow::Result<()> {
    let (scene, _second, event) = killed_in_a_removal("killed-done", true).await?;
    assert_eq!(found(&event)?.outcome, Some(WalCleanupOutcome::Relieved));
    assert_eq!((found(&event)?.files_removed, scene.instance.left()), (Some(9), 20 - ALL));
    assert_eq!(rung(&event, Rung::Removal)?.result, RungResult::Done);
    scene.stage.told_once("orders", &["WALCleanup"]).await
}

#[tokio::test]
async fn killed_in_a_checkpoint_the_next_manager_climbs_on() -> anyhow::Result<()> {
    let scene = Scene::new("killed-checkpoint").await?;
    let _well = scene.is_well().await?;
    let mut first = scene.manager().await?;
    scene.instance.next(Told::Checkpoint, Comes::Waits);
    scene.fill()?;
    scene.instance.waits().await.with_context(|| first.tail())?;
    first.kill()?;
    let second = scene.manager().await?;
    let event = scene.relieved(&second).await?;
    assert_eq!(
        (found(&event)?.outcome, found(&event)?.files_removed),
        (Some(WalCleanupOutcome::Relieved), Some(9))
    );
    assert_eq!((scene.times(Told::Checkpoint), scene.times(Told::Remove)), (2, 1));
    assert_eq!(rung(&event, Rung::Checkpoint)?.result, RungResult::Done);
    scene.stage.told_once("orders", &["WALCleanup"]).await
}

#[tokio::test]
async fn a_removal_whose_connection_is_cut_is_looked_for_and_not_repeated() -> anyhow::Result<()> {
    let scene = Scene::new("cut-removal").await?;
    let _well = scene.is_well().await?;
    let manager = scene.manager().await?;
    scene.instance.next(Told::Remove, Comes::Cut);
    scene.fill()?;
    let event = scene.relieved(&manager).await?;
    assert_eq!(
        (found(&event)?.outcome, found(&event)?.files_removed),
        (Some(WalCleanupOutcome::Relieved), Some(9))
    );
    let message = rung(&event, Rung::Removal)?.message.as_deref().unwrap_or_default();
    assert!(
        message.contains("the connection ended before the command did") && message.contains("all that was listed is gone"),
        "{message}"
    );
    assert_eq!(scene.instance.ran(), WHOLE);
    scene.stage.told_once("orders", &["WALCleanup"]).await
}

#[tokio::test]
async fn a_checkpoint_whose_connection_is_cut_ends_it_and_removes_nothing() -> anyhow::Result<()> {
    let scene = Scene::new("cut-checkpoint").await?;
    let _well = scene.is_well().await?;
    let manager = scene.manager().await?;
    scene.instance.next(Told::Checkpoint, Comes::Cut);
    scene.fill()?;
    let event = scene.relieved(&manager).await?;
    let checkpoint = rung(&event, Rung::Checkpoint)?;
    assert_eq!(
        (phase(&event), found(&event)?.outcome, checkpoint.result),
        (Some(Phase::Failed), Some(WalCleanupOutcome::Abandoned), RungResult::Unknown),
        "{checkpoint:?}"
    );
    assert_eq!(
        (scene.instance.ran(), scene.instance.left()),
        (vec![Told::Read, Told::Checkpoint], 20)
    );
    scene.stage.told_once("orders", &["WALCleanupRefused"]).await
}

/// Nothing happens but that time passes.
#[tokio::test]
async fn the_end_of_the_cooldown_lets_the_next_relief_go() -> anyhow::Result<()> {
    let scene = Scene::new("cooldown").await?;
    let policy = json!({"expansion": {"maxSize": "4Gi"}, "walCleanup": {"cooldownMinutes": 15}});
    scene.stage.policy("default", policy).await?;
    let _well = scene.is_well().await?;
    let until_over = SignedDuration::from_secs(12);
    let last = Timestamp::now() - SignedDuration::from_mins(15) + until_over;
    let cluster: csm_cnpg::Cluster = scene.stage.api().get("orders").await?;
    let record: StorageEvent = serde_json::from_value(json!({
        "apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": "StorageEvent",
        "metadata": {"name": "last", "labels": {"cnpg.supporttools.io/cluster": "orders"}},
        "spec": {
            "clusterRef": {"name": "orders", "uid": cluster.metadata.uid}, "eventType": "wal-cleanup", "trigger": "emergency",
            "volume": {"role": "wal"}, "reason": "UsageThreshold", "message": "", "walCleanup": {"instance": "orders-1", "retainCount": 10},
        },
    }))?;
    let events = scene.stage.api::<StorageEvent>();
    events.create(&PostParams::default(), &record).await?;
    let removal = json!({"rung": "Removal", "result": "Done", "startedAt": last, "endedAt": last});
    let status = json!({"status": {"phase": "Completed", "startTime": last, "completionTime": last,
        "walCleanup": {"rungs": [removal], "filesRemoved": 1, "outcome": "Relieved"}}});
    events.patch_status("last", &PatchParams::default(), &Patch::Merge(status)).await?;
    scene.fill()?;
    let manager = scene.manager().await?;
    let next = until("the next relief has ended", || async {
        let mut next = scene
            .reliefs()
            .await?
            .into_iter()
            .filter(|event| event.metadata.name.as_deref() != Some("last"));
        Ok(next.find(|event| phase(event).is_some_and(Phase::is_end)))
    });
    let next = next.await.with_context(|| manager.tail())?;
    assert_eq!(found(&next)?.outcome, Some(WalCleanupOutcome::Relieved));
    let created = next.metadata.creation_timestamp.context("a time")?.0;
    // Times of objects have whole seconds.
    let over = last + SignedDuration::from_mins(15) - SignedDuration::from_secs(1);
    assert!(created >= over, "begun at {created}, and the cooldown was over at {over}");
    Ok(())
}

/// What holds WAL is not guessed at.
#[tokio::test]
async fn where_nothing_is_known_of_wal_no_relief_is_begun_until_it_is() -> anyhow::Result<()> {
    let scene = Scene::new("unknown").await?;
    let manager = scene.manager().await?;
    scene.fill()?;
    let held = until("the volume is decided on", || async {
        let storage = scene.stage.storage("orders").await?.and_then(|s| s.status);
        let wal = storage.and_then(|s| s.storage_sizing).and_then(|s| s.wal);
        Ok(wal.filter(|wal| wal.last_decision.reason == Reason::AtLimit))
    });
    held.await.with_context(|| manager.tail())?;
    let begun = (scene.reliefs().await?.len(), scene.instance.ran());
    assert_eq!(begun, (0, Vec::new()));
    let known = Timestamp::now();
    let _well = scene.is_well().await?;
    let event = scene.relieved(&manager).await?;
    assert_eq!(found(&event)?.outcome, Some(WalCleanupOutcome::Relieved));
    let created = event.metadata.creation_timestamp.context("a time")?.0;
    assert!(
        created >= known - SignedDuration::from_secs(1),
        "begun at {created}, and nothing was known before {known}"
    );
    Ok(())
}
