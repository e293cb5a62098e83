//! W01: WAL that is archived and kept back is freed: by a checkpoint, and by removal where a setting keeps it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Rung, RungResult, WalCleanupOutcome, WalLever};
use csm_testkit::wait::within;
use csm_units::Bytes;
use serde_json::json;

use crate::archive::{Archive, SEGMENT};
use crate::cluster::Cluster;
use crate::filling::percent;
use crate::invariants::{self, Expect, is};
use crate::relief::Relief;
use crate::stage::{SOON, Stage};
use crate::volume::Volume;

/// Relief is due from 90 % on.
const FULL: u64 = 91;
/// All that may be had: nothing but relief helps.
const SIZE: Bytes = Bytes::gib(1);
/// One that freed nothing rests for 5 minutes, and one that freed something as long.
const RESTED: Duration = Duration::from_mins(7);
/// Most of what fills the volume.
const MOST: i64 = 500 << 20;

/// An abandoned slot fills the volume: it is named, and nothing is done to it. Dropped, the next checkpoint would free all, and
/// none comes for an hour.
pub async fn kept_back(stage: Arc<Stage>) -> Result<()> {
    stage.relieves_wal().await?;
    let policy = json!({"expansion": {"maxSize": SIZE}, "walCleanup": {"cooldownMinutes": 0, "retainCount": 3}});
    stage.policy("default", policy).await?;
    let archive = Archive::new(&stage).await?;
    let orders = Arc::new(stage.cluster("orders").instances(2).archives(&archive).create().await?);
    orders.insert(1000).await?;
    orders.sets(&[("checkpoint_timeout", "1h")]).await?;
    let primary = orders.primary().await?;
    let pods = orders.pods().await?;

    orders.sql("SELECT pg_create_physical_replication_slot('abandoned', true)").await?;
    fill(&stage, &orders, &archive).await?;
    let before = orders.wal_now(&primary).await?;
    let relief = stage.relief_by_itself(&orders, &primary, 0, SOON).await?;
    relief.is(WalCleanupOutcome::NothingToFree)?.names("abandoned")?;
    relief.removed_only_what_nobody_needs(&before, &orders.wal_now(&primary).await?, None)?;
    let advice = relief.found.advice.first().context("no advice")?;
    let command = advice.command.as_deref().unwrap_or_default();
    ensure!(advice.lever == WalLever::DropSlot && command.contains("abandoned"), "{advice:?}");
    println!("    {}: {command}", advice.message);
    told(&stage, "WALCleanupRefused", "abandoned").await?;

    orders.sql("SELECT pg_drop_replication_slot('abandoned')").await?;
    let before = orders.wal_now(&primary).await?;
    let relief = stage.relief_by_itself(&orders, &primary, 1, RESTED).await?;
    relief.is(WalCleanupOutcome::Relieved)?;
    let after = orders.wal_now(&primary).await?;
    let gone = relief.removed_only_what_nobody_needs(&before, &after, Some(&in_bucket(&archive, &orders)?))?;
    let checkpoint = freed(&relief, Rung::Checkpoint)?;
    ensure!(checkpoint > MOST, "the checkpoint freed {checkpoint} bytes: {:#?}", relief.found);
    freed_in_truth(&stage, &orders, &relief, gone).await?;
    orders.is_sound(&archive).await?;

    // What wal_keep_size keeps for standbys that have it already.
    orders.gives_wal_back().await?;
    orders.keep_wal("8GB").await?;
    fill(&stage, &orders, &archive).await?;
    let before = orders.wal_now(&primary).await?;
    let bucket = in_bucket(&archive, &orders)?;
    let relief = stage.relief_by_itself(&orders, &primary, 2, RESTED).await?;
    relief.is(WalCleanupOutcome::Relieved)?;
    let after = orders.wal_now(&primary).await?;
    let gone = relief.removed_only_what_nobody_needs(&before, &after, Some(&bucket))?;
    let removal = freed(&relief, Rung::Removal)?;
    ensure!(removal > MOST, "the removal freed {removal} bytes: {:#?}", relief.found);
    let removed = relief.found.files_removed.unwrap_or(0);
    ensure!(
        i64::from(removed) * i64::try_from(SEGMENT)? == removal,
        "{removed} files, and {removal} bytes"
    );
    let lever = relief.found.advice.iter().any(|advice| advice.lever == WalLever::LowerWalKeepSize);
    ensure!(lever, "nothing says that wal_keep_size is too large: {:#?}", relief.found.advice);
    freed_in_truth(&stage, &orders, &relief, gone).await?;
    told(&stage, "WALCleanup", &primary).await?;
    orders.is_sound(&archive).await?;

    let now = orders.pods().await?;
    ensure!(now == pods && orders.primary().await? == primary, "{pods:?} before, and {now:?}");
    // The standby's volume, which fills with the primary's, may have been relieved too.
    let counted = [("result", "success")];
    stage
        .wal_metric_is(&orders, "cnpg_storage_manager_wal_cleanup_total", &counted, |count| {
            count.is_some_and(|count| count >= 3.0)
        })
        .await?;
    invariants::hold_all(&orders, &[Expect::at_rest(SIZE).of(Volume::Wal), Expect::at_rest(Bytes::gib(1))]).await
}

/// Fills the WAL volume of the primary, and waits until the bucket has all that is complete.
async fn fill(stage: &Stage, orders: &Cluster, archive: &Archive) -> Result<()> {
    let breach = orders.fill_of(Volume::Wal, FULL).await?;
    archive.has_all(orders).await?;
    stage.observed(orders, Volume::Wal, breach.at).await.map(drop)
}

fn in_bucket(archive: &Archive, orders: &Cluster) -> Result<BTreeSet<String>> {
    Ok(archive.segments(orders)?.into_keys().collect())
}

/// What a rung says that it freed.
fn freed(relief: &Relief, rung: Rung) -> Result<i64> {
    let found = relief.found.rungs.iter().find(|status| status.rung == rung);
    let status = found.with_context(|| format!("{rung} was not made: {:#?}", relief.found.rungs))?;
    ensure!(status.result == RungResult::Done, "{status:?}");
    let both = status.bytes_before.zip(status.bytes_after);
    let (before, after) = both.with_context(|| format!("nothing measured: {status:?}"))?;
    println!("    {rung}: {} MiB before, {} MiB after", before >> 20, after >> 20);
    Ok(before - after)
}

/// The filesystem has what the record says, and the alert for a full volume ends.
async fn freed_in_truth(stage: &Stage, orders: &Cluster, relief: &Relief, gone: usize) -> Result<()> {
    let primary = orders.primary().await?;
    let df = orders.df_of(&primary, Volume::Wal).await?;
    ensure!(
        percent(&df) < 5000,
        "{gone} segments are gone, and the volume is still full: {df:?}"
    );
    let said = relief.found.space_freed_bytes.unwrap_or(0);
    ensure!(said > MOST, "the record says {said}");
    let alert = [("type", "storage-emergency")];
    stage
        .wal_metric_is(orders, "cnpg_storage_manager_alert_active", &alert, |due| is(due.or(Some(0.0)), 0))
        .await
}

async fn told(stage: &Stage, reason: &str, who: &str) -> Result<()> {
    within(SOON, &format!("an Event {reason} names {who}"), async || {
        let notes = stage.notes("orders").await?;
        let said = notes.iter().find(|(name, text)| name == reason && text.contains(who));
        ensure!(said.is_some(), "{notes:?}");
        Ok(said.map(|(_, text)| println!("    {text}")))
    })
    .await
}
