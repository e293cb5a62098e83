//! What primaries say of their WAL holds growth, is told, and lets growth go again; who says nothing of use costs nobody else.

use anyhow::Context as _;
use csm_api::{ConditionStatus, InstanceWal, Phase, Reason, VolumeSizing, condition};
use csm_testkit::instances::{self, Answer, InstanceManager};
use csm_testkit::scenario::{ClusterBuilder, SimCluster};
use csm_tests::{Manager, Stage, phase, until};
use csm_units::Bytes;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::{Value, json};

/// A Cluster of one instance with a WAL volume, whose WAL is archived.
fn archiving(cluster: ClusterBuilder) -> ClusterBuilder {
    let store = json!({"destinationPath": "s3://wal/"});
    cluster
        .data("10Gi")
        .wal("4Gi")
        .spec(json!({"backup": {"barmanObjectStore": store}}))
}

fn policy(wal_safety: &Value) -> Value {
    let resize = json!({"enabled": true, "expansion": {"step": "50%", "limit": "20Gi"}, "strategy": {"walSafetyPolicy": wal_safety}});
    json!({"walStorage": {"resize": resize}})
}

/// What a healthy primary says, and `more`.
fn status(more: &Value) -> Answer {
    let mut status = json!({
        "isPrimary": true, "currentLsn": "5/40000000", "timeLineID": 1, "isArchivingWAL": true,
        "lastArchivedWAL": "000000010000000500000003", "lastArchivedWALTime": "2026-03-01T11:59:00.25Z", "lastFailedWALTime": "-infinity",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        status[key] = value.clone();
    }
    Answer::Status(status)
}

fn failing() -> Answer {
    status(
        &json!({"isArchivingWAL": false, "readyWalFiles": 3, "lastFailedWAL": "000000010000000500000004", "lastFailedWALTime": "2026-03-01T12:00:00.5Z"}),
    )
}

/// The manager, knowing where the instances' managers listen.
async fn manager(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Manager> {
    let port = instances::port().await?.to_string();
    // Many grow at once here.
    let mut all = vec!["--instances-port", &port, "--fleet-runaway-minimum", "100"];
    all.extend(arguments);
    Manager::start(&stage.sim, &[&stage.namespace], &all).await
}

/// Waits until the status of a cluster's WAL volume satisfies `done`.
async fn wal_status(stage: &Stage, cluster: &str, what: &str, done: impl Fn(&VolumeSizing) -> bool) -> anyhow::Result<VolumeSizing> {
    until(what, || async {
        let sizing = stage.storage(cluster).await?.and_then(|s| s.status).and_then(|s| s.storage_sizing);
        Ok(sizing.and_then(|s| s.wal).filter(|wal| done(wal)))
    })
    .await
}

async fn held_by(stage: &Stage, reason: Reason) -> anyhow::Result<String> {
    let what = format!("growth is held by {reason}");
    let held = wal_status(stage, "orders", &what, |wal| wal.last_decision.reason == reason).await?;
    Ok(held.last_decision.message)
}

async fn health(stage: &Stage, cluster: &str) -> anyhow::Result<Option<InstanceWal>> {
    let disks = stage.storage(cluster).await?.and_then(|s| s.status).and_then(|s| s.disk_status);
    let disks = disks.and_then(|mut disks| disks.instances.remove(&format!("{cluster}-1")));
    Ok(disks.and_then(|disks| disks.wal_health))
}

async fn archive_is(stage: &Stage, cluster: &str, status: ConditionStatus) -> anyhow::Result<()> {
    until(&format!("ArchiveHealthy of {cluster} is {status}"), || async {
        let conditions = stage.storage(cluster).await?.and_then(|s| s.status).map(|s| s.conditions);
        let found = conditions.into_iter().flatten().find(|c| c.type_ == condition::ARCHIVE_HEALTHY);
        Ok(found.filter(|c| c.status == status).map(|_| ()))
    })
    .await
}

async fn grown(stage: &Stage, cluster: &str) -> anyhow::Result<()> {
    let event = stage
        .event(cluster, &format!("{cluster} grows"), |e| phase(e) == Some(Phase::Completed))
        .await?;
    assert_eq!(event.spec.volume.role, csm_api::Role::Wal);
    Ok(())
}

async fn with_orders(prefix: &str, wal_safety: Value, answer: Answer) -> anyhow::Result<(Stage, SimCluster, InstanceManager)> {
    let (stage, orders) = Stage::with_orders(prefix, archiving, policy(&wal_safety)).await?;
    let instance = orders.instance_manager("orders-1", answer).await?;
    Ok((stage, orders, instance))
}

#[tokio::test]
async fn a_failing_archive_holds_growth_until_it_is_repaired() -> anyhow::Result<()> {
    let (stage, orders, instance) = with_orders("archive", json!({}), failing()).await?;
    let manager = manager(&stage, &[]).await?;
    archive_is(&stage, "orders", ConditionStatus::False).await?;
    orders.fill("orders-1-wal", 0.85)?;
    let message = held_by(&stage, Reason::ArchiveUnhealthy).await?;
    assert!(
        message.contains("2026-03-01T12:00:00.5Z") && message.contains("2026-03-01T11:59:00.25Z"),
        "{message}"
    );
    let said = health(&stage, "orders").await?.context("its health")?;
    assert_eq!(
        (said.archive_healthy, said.pending_wal_files, said.inactive_slot_count),
        (Some(false), Some(3), 0)
    );
    assert_eq!(
        said.last_failed_time.map(|t| t.0.to_string()).as_deref(),
        Some("2026-03-01T12:00:00Z")
    );
    let labels = [
        "cluster=\"orders\"",
        "instance=\"orders-1\"",
        &format!("namespace=\"{}\"", stage.namespace),
    ];
    for (name, value) in [
        ("cnpg_wal_archive_healthy", 0.0),
        ("cnpg_wal_pending_archive_files", 3.0),
        ("cnpg_wal_inactive_slots", 0.0),
    ] {
        assert_eq!(manager.metric(name, &labels).await?, Some(value), "{name}");
    }
    let lag = manager.metric("cnpg_storage_manager_wal_archiving_lag_seconds", &labels).await?;
    assert!(lag.is_some_and(|lag| lag > 0.0), "{lag:?}");
    for (name, value) in [("generated_bytes_total", 22_548_578_304.0), ("archived_files_total", 1284.0)] {
        let name = format!("cnpg_storage_manager_wal_{name}");
        assert_eq!(manager.metric(&name, &labels).await?, Some(value), "{name}");
    }
    let alert = ["type=\"wal-archive-failing\"", "cluster=\"orders\""];
    assert_eq!(manager.metric("cnpg_storage_manager_alert_active", &alert).await?, Some(1.0));
    stage.told_once("orders", &["AutoResizeBlocked"]).await?;
    assert_eq!(orders.wal("orders-1").request().await?, Bytes::gib(4));

    // Another manager begins with nothing known, and waits for the first word rather than let go what is held.
    instance.answer(Answer::Waits);
    drop(manager);
    let asked = instance.asked();
    let manager = self::manager(&stage, &[]).await?;
    let used = ["pvc=\"orders-1-wal\"", "cluster=\"orders\""];
    until("it has asked, and looked at the cluster with its figures", || async {
        let figures = manager.metric("cnpg_storage_manager_pvc_usage_percent", &used).await?;
        Ok((instance.asked() > asked && figures.is_some()).then_some(()))
    })
    .await?;
    assert!(stage.events("orders").await?.is_empty(), "{}", manager.tail());
    instance.answer(failing());
    until("it is asked and has answered", || async {
        Ok((instance.asked() >= asked + 2).then_some(()))
    })
    .await?;
    assert!(stage.events("orders").await?.is_empty(), "{}", manager.tail());

    instance.answer(status(&json!({})));
    grown(&stage, "orders").await?;
    archive_is(&stage, "orders", ConditionStatus::True).await?;
    assert_eq!(manager.metric("cnpg_wal_archive_healthy", &labels).await?, Some(1.0));
    // That a volume with WAL grew is a warning (alertOnResize), and nothing was unknown.
    stage.told_once("orders", &["AutoResizeSuccess"]).await?;
    let events = stage.api::<Event>().list(&ListParams::default()).await?.items;
    let told: Vec<_> = events.iter().map(|e| (e.reason.as_deref(), e.type_.as_deref())).collect();
    assert!(told.contains(&(Some("AutoResizeSuccess"), Some("Warning"))), "{told:?}");
    assert!(
        !told.iter().any(|(reason, _)| *reason == Some("AutoResizeWALHealthUnavailable")),
        "{told:?}"
    );

    // A series ends with its Cluster.
    orders.delete().await?;
    until("its series are gone", || async {
        Ok(manager.metric("cnpg_wal_archive_healthy", &labels).await?.is_none().then_some(()))
    })
    .await
}

#[tokio::test]
async fn files_that_wait_and_slots_that_nobody_reads_hold_growth() -> anyhow::Result<()> {
    let waiting = status(&json!({"readyWalFiles": 31}));
    let (stage, orders, instance) =
        with_orders("slots", json!({"maxPendingWALFiles": 30, "maxSlotRetentionBytes": "1Gi"}), waiting).await?;
    let manager = manager(&stage, &[]).await?;
    archive_is(&stage, "orders", ConditionStatus::True).await?;
    orders.fill("orders-1-wal", 0.85)?;
    let message = held_by(&stage, Reason::TooManyPendingWalFiles).await?;
    assert!(message.contains("31"), "{message}");

    let slot = |name: &str, active: bool, lsn: &str| json!({"slotName": name, "slotType": "logical", "active": active, "restartLsn": lsn, "walStatus": "extended"});
    let slots = json!([
        slot("reader", true, "1/0"),
        slot("abandoned", false, "4/C0000000"),
        slot("idle", false, "5/3FF00000")
    ]);
    instance.answer(status(&json!({"readyWalFiles": 30, "replicationSlotsInfo": slots})));
    let message = held_by(&stage, Reason::SlotRetention).await?;
    assert!(message.contains("abandoned") && !message.contains("reader"), "{message}");
    let said = health(&stage, "orders").await?.context("its health")?;
    let named: Vec<_> = said
        .inactive_slots
        .iter()
        .map(|s| (s.slot_name.as_str(), s.retention_bytes))
        .collect();
    assert_eq!(
        (said.inactive_slot_count, named),
        (2, vec![("abandoned", 2 << 30), ("idle", 1 << 20)])
    );
    let labels = ["cluster=\"orders\"", "slot_name=\"abandoned\""];
    assert_eq!(
        manager.metric("cnpg_wal_slot_retention_bytes", &labels).await?,
        Some(2_147_483_648.0)
    );

    instance.answer(status(&json!({"readyWalFiles": 30})));
    grown(&stage, "orders").await?;
    assert_eq!(manager.metric("cnpg_wal_slot_retention_bytes", &labels).await?, None);
    Ok(())
}

#[tokio::test]
async fn who_says_nothing_of_use_costs_one_time_out_and_nobody_else() -> anyhow::Result<()> {
    let stage = Stage::new("silent").await?;
    stage.policy("default", policy(&json!({}))).await?;
    let huge_slot = json!({"slotName": "s".repeat(64)});
    let answers = [
        (Answer::Hangs, "timeout"),
        (Answer::Stalls, "timeout"),
        (Answer::Endless, "garbage"),
        (Answer::Text("<html>502 Bad Gateway</html>".to_owned()), "garbage"),
        (Answer::Text("[true]".to_owned()), "garbage"),
        (Answer::Text("7".to_owned()), "garbage"),
        (status(&json!({"readyWalFiles": -1})), "garbage"),
        (status(&json!({"lastFailedWALTime": "yesterday"})), "garbage"),
        (status(&json!({"replicationSlotsInfo": [huge_slot]})), "garbage"),
        (status(&json!({"isPrimary": false})), "not-primary"),
        (Answer::Code(500), "status"),
        (Answer::Redirects("https://127.0.0.1:1/".to_owned()), "status"),
    ];
    // A Cluster for each, whose WAL volume would grow at once.
    let mut silent = Vec::new();
    for (i, (answer, kind)) in answers.into_iter().enumerate() {
        let name = format!("silent-{i}");
        let cluster = archiving(stage.sim.cluster(&stage.namespace, &name))
            .wal_used(0.85)
            .create()
            .await?;
        let instance = cluster.instance_manager(&format!("{name}-1"), answer).await?;
        silent.push((name, instance, kind));
    }
    let orders = stage.orders(archiving).await?;
    let good = orders.instance_manager("orders-1", failing()).await?;
    // Fewer places than there are instances that hang.
    let manager = manager(&stage, &["--instances-concurrency", "1", "--instances-timeout", "2s"]).await?;

    // All of them grow, and say that nothing is known.
    for (name, instance, kind) in &silent {
        grown(&stage, name).await.with_context(|| manager.tail())?;
        stage
            .told_once(name, &["AutoResizeWALHealthUnavailable", "AutoResizeSuccess"])
            .await?;
        let notes = stage.notes(name).await?;
        let told = notes.iter().find(|(reason, _)| reason == "AutoResizeWALHealthUnavailable");
        let (_, note) = told.context("the Event")?;
        assert!(note.contains("nothing is known of WAL archiving and replication slots"), "{note}");
        archive_is(&stage, name, ConditionStatus::Unknown).await?;
        assert_eq!(health(&stage, name).await?, None, "{name}");
        let told = || {
            let (log, name, kind) = (manager.log(), format!("cluster={name} "), format!("kind=\"{kind}\""));
            let lines = log
                .lines()
                .filter(|l| l.contains("does not say how its WAL is") && l.contains(&name));
            lines.filter(|l| l.contains(&kind)).count()
        };
        until(&format!("{name} is told as {kind}"), || async { Ok((told() > 0).then_some(())) }).await?;
        let asked = instance.asked();
        until("it is asked again", || async { Ok((instance.asked() > asked).then_some(())) }).await?;
        assert_eq!((told(), instance.most_at_a_time()), (1, 1), "{name}: {}", manager.tail());
    }
    // Their neighbour is judged by its own word meanwhile, and at once when that changes.
    orders.fill("orders-1-wal", 0.85)?;
    held_by(&stage, Reason::ArchiveUnhealthy).await?;
    good.answer(status(&json!({})));
    grown(&stage, "orders").await?;

    // Who says something of use again is believed.
    for (_, instance, _) in &silent {
        instance.answer(failing());
    }
    for (name, ..) in &silent {
        archive_is(&stage, name, ConditionStatus::False).await?;
    }
    assert!(manager.log().contains("the primary says how its WAL is again"));
    Ok(())
}

#[tokio::test]
async fn nobody_is_asked_who_is_not_managed() -> anyhow::Result<()> {
    let (stage, _orders, instance) = with_orders("asked", json!({}), status(&json!({}))).await?;
    let free = archiving(stage.sim.cluster(&stage.namespace, "free")).instances(1).create().await?;
    let free = free.instance_manager("free-1", failing()).await?;
    stage
        .policy("default", json!({"selector": {"matchLabels": {"cnpg.io/cluster": "orders"}}}))
        .await?;
    let _manager = manager(&stage, &[]).await?;
    until("the managed one was asked twice", || async {
        Ok((instance.asked() >= 2).then_some(()))
    })
    .await?;
    assert_eq!(free.asked(), 0);
    Ok(())
}
