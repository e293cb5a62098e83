//! Why a volume fills is said in the status, with what shows it, and changes when it does.

use anyhow::Context as _;
use csm_api::{CauseKind, RootCause, condition};
use csm_testkit::instances::{self, Answer, Exporter, InstanceManager};
use csm_testkit::scenario::{ClusterBuilder, SimCluster};
use csm_tests::{Manager, Stage, cli::Cli, until};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Two instances with WAL volumes of 2 GiB, whose WAL is archived.
fn cluster(cluster: ClusterBuilder) -> ClusterBuilder {
    let store = json!({"destinationPath": "s3://wal/"});
    cluster
        .instances(2)
        .data("2Gi")
        .wal("2Gi")
        .spec(json!({"backup": {"barmanObjectStore": store}, "postgresql": {"parameters": {"max_wal_size": "512MB"}}}))
}

/// Nothing grows: what is said is what the test is about.
fn policy() -> Value {
    json!({"expansion": {"maxSize": "2Gi"}})
}

/// What a healthy primary says, and `more`.
fn status(more: &Value) -> Answer {
    let mut status = json!({
        "isPrimary": true, "currentLsn": "5/40000000", "timeLineID": 1, "isArchivingWAL": true,
        "lastArchivedWAL": "00000001000000050000003F", "lastArchivedWALTime": "2026-03-01T11:59:00.25Z", "lastFailedWALTime": "-infinity",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        status[key] = value.clone();
    }
    Answer::Status(status)
}

fn slots(of: &Value) -> Value {
    json!({"replicationSlotsInfo": [of]})
}

async fn told(stage: &Stage, volume: &str) -> anyhow::Result<Option<RootCause>> {
    let sizing = stage.storage("orders").await?.and_then(|s| s.status).and_then(|s| s.storage_sizing);
    let sizing = sizing.and_then(|s| if volume == "wal" { s.wal } else { s.data });
    Ok(sizing.and_then(|sizing| sizing.root_cause))
}

/// Waits until the status names this cause.
async fn becomes(stage: &Stage, volume: &str, kind: CauseKind) -> anyhow::Result<RootCause> {
    until(&format!("the cause is {kind}"), || async {
        Ok(told(stage, volume).await?.filter(|cause| cause.cause == kind))
    })
    .await
}

async fn manager(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Manager> {
    let (port, exporter) = (instances::port().await?.to_string(), instances::exporter_port().await?.to_string());
    let mut all = vec!["--instances-port", &port, "--instances-exporter-port", &exporter];
    all.extend(arguments);
    Manager::start(&stage.sim, &[&stage.namespace], &all).await
}

async fn with_orders(prefix: &str, answer: Answer) -> anyhow::Result<(Stage, SimCluster, InstanceManager)> {
    let (stage, orders) = Stage::with_orders(prefix, cluster, policy()).await?;
    let instance = orders.instance_manager("orders-1", answer).await?;
    Ok((stage, orders, instance))
}

#[tokio::test]
async fn a_failing_archive_then_an_abandoned_slot_then_a_standby() -> anyhow::Result<()> {
    let failed = json!({"isArchivingWAL": false, "readyWalFiles": 3, "lastFailedWAL": "000000010000000500000040",
        "lastFailedWALTime": "2026-03-01T12:00:00.5Z"});
    let (stage, orders, instance) = with_orders("causes", status(&failed)).await?;
    let manager = manager(&stage, &[]).await?;

    // Long before it is full: it holds all that comes.
    let failing = becomes(&stage, "wal", CauseKind::ArchiverFailing)
        .await
        .with_context(|| manager.tail())?;
    assert_eq!(
        (failing.instance.as_str(), failing.subject.as_deref(), failing.bytes),
        ("orders-1", None, 48 << 20)
    );
    for shown in [
        "nothing was archived since 2026-03-01T11:59:00.25Z",
        "it last failed at 2026-03-01T12:00:00.5Z",
        "3 segments wait (48 MiB)",
    ] {
        assert!(failing.message.contains(shown), "{}", failing.message);
    }
    assert_eq!(told(&stage, "data").await?, None, "the other volume has nothing to do with it");

    // At its limit, which the Event says with the cause.
    orders.fill("orders-1-wal", 0.9)?;
    until("it is told that it cannot grow, and why it fills", || async {
        let notes = stage.notes("orders").await?;
        let mut at_limit = notes.iter().filter(|(reason, _)| reason == "AutoResizeAtLimit");
        Ok(at_limit
            .any(|(_, note)| note.contains("Why it fills: WAL archiving of orders-1 fails"))
            .then_some(()))
    })
    .await
    .with_context(|| manager.tail())?;
    let still = told(&stage, "wal").await?.context("a cause")?;
    assert_eq!((still.cause, still.since), (CauseKind::ArchiverFailing, failing.since));

    // Repaired; nobody reads from a slot.
    let slot = |active: bool, lsn: &str| slots(&json!({"slotName": "cdc", "slotType": "logical", "active": active, "restartLsn": lsn}));
    instance.answer(status(&slot(false, "5/0")));
    let inactive = becomes(&stage, "wal", CauseKind::InactiveSlot)
        .await
        .with_context(|| manager.tail())?;
    assert_eq!((inactive.subject.as_deref(), inactive.bytes), (Some("cdc"), 1 << 30));
    assert!(
        inactive.message.contains("SELECT pg_drop_replication_slot('cdc')"),
        "{}",
        inactive.message
    );

    // Its reader is back, and behind.
    instance.answer(status(&slot(true, "5/10000000")));
    let lagging = becomes(&stage, "wal", CauseKind::LaggingStandby)
        .await
        .with_context(|| manager.tail())?;
    assert_eq!((lagging.subject.as_deref(), lagging.bytes), (Some("cdc"), 768 << 20));
    assert!(lagging.message.contains("cdc is 768 MiB behind orders-1"), "{}", lagging.message);

    // The command says the same.
    let kubeconfig = csm_tests::manager::kubeconfig(&stage.sim).await?;
    let (text, _) = Cli::new(&kubeconfig, &stage.namespace).ends(0, &["status", "orders"])?;
    assert!(text.contains("Root Cause:") && text.contains("LaggingStandby since"), "{text}");

    // Nothing holds it any more, and it is not full.
    orders.fill("orders-1-wal", 0.2)?;
    instance.answer(status(&json!({})));
    until("no cause is told", || async {
        Ok(told(&stage, "wal").await?.is_none().then_some(()))
    })
    .await
    .with_context(|| manager.tail())?;
    let conditions = stage.storage("orders").await?.and_then(|s| s.status).map(|s| s.conditions);
    assert!(conditions.into_iter().flatten().any(|c| c.type_ == condition::ARCHIVE_HEALTHY));
    Ok(())
}

/// What a primary says that has written a segment of 16 MiB in each second since `began`, of which each `nth` is archived; none waited
/// then.
fn writing(began: Timestamp, nth: i64) -> Answer {
    let now = Timestamp::now();
    let seconds = now.duration_since(began).as_secs().clamp(0, 190);
    let (written, archived) = (64 + seconds, 64 + seconds / nth);
    status(&json!({
        "currentLsn": format!("5/{:X}", written << 24), "lastArchivedWAL": format!("0000000100000005{archived:08X}"),
        "lastArchivedWALTime": now.to_string(), "readyWalFiles": written - archived,
    }))
}

#[tokio::test]
async fn an_archiver_that_is_slow_then_a_load() -> anyhow::Result<()> {
    let began = Timestamp::now();
    let (stage, orders, instance) = with_orders("load", writing(began, 8)).await?;
    let manager = manager(&stage, &[]).await?;
    orders.fill("orders-1-wal", 0.8)?;
    let becomes = async |nth: i64, kind: CauseKind| {
        until(&format!("the cause is {kind}"), || async {
            instance.answer(writing(began, nth));
            Ok(told(&stage, "wal").await?.filter(|cause| cause.cause == kind))
        })
        .await
        .with_context(|| manager.tail())
    };
    let slow = becomes(8, CauseKind::ArchiverSlow).await?;
    assert!(
        slow.bytes > 100 << 20 && slow.message.contains("/s) than WAL is written ("),
        "{slow:?}"
    );
    let load = becomes(1, CauseKind::DataGrowth).await?;
    assert!(
        load.message.contains("of WAL in") && load.message.contains("nothing holds it back"),
        "{load:?}"
    );
    Ok(())
}

/// What an exporter says: the databases, and temporary files.
fn exported(databases: u64, temporary: u64) -> Answer {
    Answer::Text(format!(
        "cnpg_collector_up{{cluster=\"orders\"}} 1\n\
         cnpg_pg_database_size_bytes{{datname=\"app\"}} {databases}\n\
         cnpg_pg_stat_database_temp_bytes{{datname=\"app\"}} {temporary}\n"
    ))
}

#[tokio::test]
async fn databases_that_grow_then_temporary_files() -> anyhow::Result<()> {
    let full = |orders: ClusterBuilder| cluster(orders).data_used(0.8);
    let (stage, orders) = Stage::with_orders("growing", full, policy()).await?;
    let instance = orders.instance_manager("orders-1", status(&json!({}))).await?;
    let exporter: Exporter = instance.exporter(false, exported(300 << 20, 0)).await?;
    let manager = manager(&stage, &["--instances-exporter", "true"]).await?;
    let asked = async || {
        let before = exporter.asked();
        until("the exporter is asked again", || async {
            Ok((exporter.asked() >= before + 2).then_some(()))
        })
        .await
    };
    asked().await?;
    exporter.answer(exported(1000 << 20, 0));
    let growing = becomes(&stage, "data", CauseKind::DataGrowth)
        .await
        .with_context(|| manager.tail())?;
    assert_eq!(growing.bytes, 700 << 20);
    assert!(
        growing.message.starts_with("the databases of orders-1 grew by 700 MiB in "),
        "{}",
        growing.message
    );
    exporter.answer(exported(1000 << 20, 5 << 30));
    asked().await?;
    // Another point of percent: it is looked at again.
    orders.fill("orders-1", 0.83)?;
    let temporary = becomes(&stage, "data", CauseKind::TempFiles)
        .await
        .with_context(|| manager.tail())?;
    assert!(temporary.message.contains("temp_file_limit"), "{}", temporary.message);
    Ok(())
}
