//! W05: the manager, the connection to the instance, or PostgreSQL ends in the middle of a relief.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Rung, RungResult, StorageEvent, WalCleanupOutcome};
use csm_testkit::wait::within;
use csm_units::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::archive::Archive;
use crate::cluster::Cluster;
use crate::invariants::{self, Expect};
use crate::relief::keeps_all;
use crate::stage::{SOON, Stage};
use crate::volume::Volume;

/// What is written before each, in MiB.
const SOME: u64 = 96;
/// A run ends after a quarter of an hour, whatever happens to it; a command of it sooner.
const ENDED: Duration = Duration::from_mins(6);

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Manager,
    Connection,
    PostgreSql,
}

/// One after the other, each while the instance makes the checkpoint, which stands still meanwhile.
pub async fn interrupted(stage: Arc<Stage>) -> Result<()> {
    for words in [
        "a step of a relief of WAL did not work",
        "the primary does not say how its WAL is",
        "no figures from the kubelet",
    ] {
        stage.excuse(words);
    }
    let (orders, archive) = keeps_all(&stage, |orders| orders.instances(1)).await?;
    for what in [What::Manager, What::Connection, What::PostgreSql] {
        println!("    {what:?}");
        one(&stage, &orders, &archive, what).await.with_context(|| format!("{what:?}"))?;
    }
    let at_rest = Expect {
        counted: false,
        ..Expect::at_rest(Bytes::gib(1))
    };
    invariants::hold_all(&orders, &[at_rest.clone().of(Volume::Wal), at_rest]).await
}

async fn one(stage: &Arc<Stage>, orders: &Arc<Cluster>, archive: &Archive, what: What) -> Result<()> {
    let instance = orders.primary().await?;
    orders.write_wal(&instance, SOME).await?;
    orders.switch_wal().await?;
    archive.has_all(orders).await?;
    let before = orders.wal_now(&instance).await?;
    let checkpointer = orders
        .sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
        .await?;
    let send = async |signal: &str, process: &str| orders.exec(&instance, &["sh", "-c", "kill \"$0\" \"$1\"", signal, process]).await;
    send("-STOP", &checkpointer).await?;
    let name = stage.ask_for_relief(orders, &instance, false).await?;
    within(
        SOON,
        "the instance is about to make a checkpoint, and the record says so",
        async || {
            let event = stage.api::<StorageEvent>().get(&name).await?;
            let waits = orders
                .sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event IN ('CheckpointStart', 'CheckpointDone')")
                .await?;
            let begun = result_of(&event, Rung::Checkpoint) == Some(RungResult::Begun);
            ensure!(begun && waits != "0", "{waits} wait: {:?}", event.status);
            Ok(Some(()))
        },
    )
    .await?;
    match what {
        What::Manager => {
            stage.manager.kill().await?;
            send("-CONT", &checkpointer).await?;
        }
        What::Connection => {
            let pod = stage.api::<Pod>().get(&instance).await?;
            let node = pod.spec.and_then(|spec| spec.node_name).context("a pod on no node")?;
            stage.lab.kill(&format!("kubelet@{node}")).await?;
            within(SOON, "the instance can be reached again", async || {
                Ok(send("-CONT", &checkpointer).await.ok())
            })
            .await?;
        }
        What::PostgreSql => {
            let pod = orders.pod_of(&instance).await?;
            let script = "kill -9 \"$0\" $(head -n 1 /var/lib/postgresql/data/pgdata/postmaster.pid)";
            orders.exec(&instance, &["sh", "-c", script, &checkpointer]).await?;
            within(crate::cluster::HEALTHY, "PostgreSQL was started again", async || {
                Ok((orders.pod_of(&instance).await? != pod).then_some(()))
            })
            .await?;
            orders.healthy().await?;
        }
    }
    let relief = stage.relief_ended(&name, ENDED).await?;
    let checkpoint = result_of(&relief.record, Rung::Checkpoint).context("the record does not tell of the checkpoint")?;
    let removal = result_of(&relief.record, Rung::Removal);
    println!("    the checkpoint: {checkpoint}; the removal: {removal:?}");
    ensure!(checkpoint != RungResult::Begun, "{:?}", relief.found.rungs);
    let after = orders.wal_now(&instance).await?;
    relief.removed_only_what_nobody_needs(&before, &after, Some(&archive.segments(orders)?.into_keys().collect()))?;
    orders.is_sound(archive).await?;
    let records = stage.reliefs(orders).await?;
    ensure!(
        records.iter().filter(|record| record.name_any() == name).count() == 1,
        "{records:#?}"
    );

    // Whatever came of it, the next one goes by what is there.
    let before = orders.wal_now(&instance).await?;
    let relief = stage.relief(orders, &instance, false).await?;
    let after = orders.wal_now(&instance).await?;
    let ended_well = matches!(relief.outcome, WalCleanupOutcome::Relieved | WalCleanupOutcome::NothingToFree);
    ensure!(ended_well, "{:#?}", relief.record);
    relief.removed_only_what_nobody_needs(&before, &after, Some(&archive.segments(orders)?.into_keys().collect()))?;
    orders.is_sound(archive).await
}

fn result_of(event: &StorageEvent, rung: Rung) -> Option<RungResult> {
    let found = event.status.as_ref()?.wal_cleanup.as_ref()?;
    found.rungs.iter().find(|status| status.rung == rung).map(|status| status.result)
}
