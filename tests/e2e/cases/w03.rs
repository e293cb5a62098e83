//! W03: a dry run lists what would go and changes nothing; where the proof is incomplete, nothing goes.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Rung, WalCleanupOutcome};
use csm_testkit::s3::Fault;
use csm_testkit::wait::within;
use csm_units::Bytes;

use crate::cluster::{Builder, Cluster};
use crate::invariants::{self, Expect};
use crate::relief::keeps_all;
use crate::stage::{SOON, Stage};
use crate::volume::Volume;

/// What is written, in MiB.
const SOME: u64 = 160;

/// A dry run, what stands against a proof, and then the removal of what the dry run listed.
pub async fn dry_runs_and_doubts(stage: Arc<Stage>) -> Result<()> {
    let (orders, archive) = keeps_all(&stage, Builder::without_slots).await?;
    let primary = orders.primary().await?;
    let names = orders.names();
    let standby = names.iter().find(|name| **name != primary).context("no standby")?;
    orders.write_wal(&primary, SOME).await?;
    orders.switch_wal().await?;
    orders.sql("CHECKPOINT").await?;
    archive.has_all(&orders).await?;
    orders.replicated().await?;

    let (before, checkpoint) = (orders.wal_now(&primary).await?, checkpoint(&orders).await?);
    let listed = stage.relief(&orders, &primary, true).await?;
    listed.is(WalCleanupOutcome::Listed)?;
    ensure!(
        orders.wal_now(&primary).await?.segments == before.segments,
        "a dry run changed pg_wal"
    );
    ensure!(self::checkpoint(&orders).await? == checkpoint, "a dry run made a checkpoint");
    let changes = |rung: &Rung| matches!(rung, Rung::Checkpoint | Rung::Removal);
    let made = listed
        .found
        .rungs
        .iter()
        .find(|status| changes(&status.rung) && status.bytes_after.is_some());
    ensure!(made.is_none(), "{made:?}");
    let list = listed.found.dry_run.clone().context("no list")?;
    println!("    {} segments would go, {:?} to {:?}", list.count, list.first, list.last);
    ensure!(u64::try_from(list.count)? >= SOME / 16 - 2, "{list:?}");

    println!("    a Backup that has not ended");
    archive.set(Fault::Hang)?;
    orders.back_up("waits").await?;
    refused(&stage, &orders, &primary, "waits").await?;
    archive.repair()?;
    orders.backup_ended("waits").await?;

    println!("    a standby that is away, and has no slot");
    orders.annotate("cnpg.io/fencedInstances", Some(&format!("[{standby:?}]"))).await?;
    within(SOON, "the standby is away", async || {
        let streaming = orders.sql("SELECT count(*) FROM pg_stat_replication").await?;
        Ok((streaming == "0").then_some(()))
    })
    .await?;
    refused(&stage, &orders, &primary, standby).await?;
    orders.annotate("cnpg.io/fencedInstances", None).await?;
    orders.healthy().await?;
    orders.replicated().await?;

    println!("    a file that is no segment");
    let folder = "/var/lib/postgresql/data/pgdata/pg_wal";
    let odd = format!("{folder}/00000001000000000000FFFF");
    orders.exec(&primary, &["touch", &odd]).await?;
    refused(&stage, &orders, &primary, "00000001000000000000FFFF").await?;
    orders.exec(&primary, &["rm", &odd]).await?;

    let before = orders.wal_now(&primary).await?;
    let relief = stage.relief(&orders, &primary, false).await?;
    relief.is(WalCleanupOutcome::Relieved)?;
    let after = orders.wal_now(&primary).await?;
    let bucket = archive.segments(&orders)?.into_keys().collect();
    let gone = relief.removed_only_what_nobody_needs(&before, &after, Some(&bucket))?;
    let removed = relief.found.dry_run.as_ref().context("removed without a list")?;
    ensure!(
        removed.first == list.first && removed.count >= list.count && gone >= usize::try_from(list.count)?,
        "listed {list:?}, then {removed:?}"
    );
    orders.is_sound(&archive).await?;
    let at_rest = Expect::at_rest(Bytes::gib(1));
    invariants::hold_all(&orders, &[at_rest.clone().of(Volume::Wal), at_rest]).await
}

/// Nothing goes, and it is said why.
async fn refused(stage: &Stage, orders: &Cluster, primary: &str, why: &str) -> Result<()> {
    let before = orders.wal_now(primary).await?;
    let relief = stage.relief(orders, primary, false).await?;
    relief.is(WalCleanupOutcome::NotProved)?.names(why)?;
    let now = orders.wal_now(primary).await?;
    ensure!(
        before.segments.is_subset(&now.segments),
        "{:?} are gone",
        before.segments.difference(&now.segments)
    );
    Ok(())
}

/// Where the last checkpoint began.
async fn checkpoint(orders: &Cluster) -> Result<String> {
    orders
        .sql("SELECT redo_lsn || ' ' || checkpoint_time FROM pg_control_checkpoint()")
        .await
}
