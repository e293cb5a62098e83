//! W04: after a relief all of it works: standbys follow, new ones are cloned, the archive brings back any later moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::WalCleanupOutcome;
use csm_units::Bytes;

use crate::archive::Archive;
use crate::cluster::Cluster;
use crate::invariants::{self, Expect};
use crate::relief::{REPLICATION, keeps_all};
use crate::stage::Stage;
use crate::volume::Volume;

/// What is written before each relief, in MiB.
const SOME: u64 = 160;
/// Where a base backup of the test's own is put, on the data volume.
const FOLDER: &str = "/var/lib/postgresql/data/e2e-backup";

/// A primary and its standby are relieved; then everything is tried that reads WAL.
pub async fn all_works_after(stage: Arc<Stage>) -> Result<()> {
    let (orders, archive) = keeps_all(&stage, |orders| orders).await?;
    let primary = orders.primary().await?;
    let standby = orders.names().into_iter().find(|name| *name != primary).context("no standby")?;
    orders.back_up("before").await?;
    let phase = orders.backup_ended("before").await?;
    ensure!(phase == "completed", "the base backup is {phase}");

    write(&orders, &archive).await?;
    let before = orders.wal_now(&primary).await?;
    let relief = stage.relief(&orders, &primary, false).await?;
    relief.is(WalCleanupOutcome::Relieved)?;
    let bucket: BTreeSet<String> = archive.segments(&orders)?.into_keys().collect();
    let gone = relief.removed_only_what_nobody_needs(&before, &orders.wal_now(&primary).await?, Some(&bucket))?;
    let freed = relief.found.space_freed_bytes.unwrap_or(0) >> 20;
    println!("    {primary}: {gone} segments and {freed} MiB are gone");
    let used = orders.wal_used(&standby).await?;
    let relief = stage.relief(&orders, &standby, false).await?;
    let now = orders.wal_used(&standby).await?;
    println!(
        "    {standby}: {} MiB before, {} MiB after: {}",
        used >> 20,
        now >> 20,
        relief.message
    );
    ensure!(relief.outcome == WalCleanupOutcome::Relieved && now < used, "{:#?}", relief.record);
    orders.is_sound(&archive).await?;

    // A moment after the relief, with rows before it, and others after it.
    orders.insert(100).await?;
    let wanted = orders.rows(Volume::Data);
    let moment = orders
        .sql("SELECT pg_sleep(1); SELECT clock_timestamp(); SELECT pg_sleep(1)")
        .await?;
    let moment = moment.trim().to_owned();
    orders.insert(100).await?;
    orders.switch_wal().await?;
    archive.has_all(&orders).await?;
    let restored = stage.cluster("restored").recovered(&orders, &archive, &moment).create().await?;
    let has = restored.rows_of(&restored.primary().await?, Volume::Data).await?;
    ensure!(has == wanted, "restored to {moment}: {has:?} instead of {wanted:?}");
    println!("    restored to {moment}: all {} rows of then", has.count);

    orders.scale(3).await?;
    orders.replicated().await?;
    println!("    a new standby has been cloned, and follows");
    orders
        .server_program(
            &primary,
            "pg_basebackup",
            &["-d", REPLICATION, "-D", FOLDER, "-X", "stream", "-c", "fast"],
        )
        .await?;
    orders.server_program(&primary, "pg_verifybackup", &["-q", FOLDER]).await?;
    orders.exec(&primary, &["rm", "-rf", FOLDER]).await?;
    println!("    a base backup is verified, with the WAL that it needs");
    orders.is_sound(&archive).await?;

    let at_rest = Expect::at_rest(Bytes::gib(1));
    invariants::hold_all(&orders, &[at_rest.clone().of(Volume::Wal), at_rest]).await
}

/// Much WAL, all of it archived and on the standby, and a checkpoint in between, so that the standby has one to restart from.
async fn write(orders: &Cluster, archive: &Archive) -> Result<()> {
    let primary = orders.primary().await?;
    for _ in 0..2 {
        orders.write_wal(&primary, SOME / 2).await?;
        orders.switch_wal().await?;
        orders.sql("CHECKPOINT").await?;
    }
    archive.has_all(orders).await?;
    orders.replicated().await
}
