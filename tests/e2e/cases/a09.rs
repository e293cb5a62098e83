//! A09: more WAL files wait to be archived than may.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::Reason;
use csm_testkit::s3::Fault;
use csm_units::Bytes;
use jiff::Timestamp;
use serde_json::json;

use crate::archive::{Archive, DRAINED};
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, is};
use crate::stage::Stage;
use crate::volume::Volume;
use crate::wal::policy;

/// What may wait.
const MOST: u64 = 4;

/// That archiving fails is no reason here; that files wait is.
pub async fn too_many_wait(stage: Arc<Stage>) -> Result<()> {
    let rules = json!({"requireArchiveHealthy": false, "maxPendingWALFiles": MOST});
    stage.policy("default", policy("1Gi", "4Gi", rules)).await?;
    let archive = Archive::new(&stage).await?;
    let orders = Arc::new(stage.cluster("orders").archives(&archive).create().await?);
    orders.insert(1000).await?;
    orders.keep_wal("2GB").await?;
    orders.switch_wal().await?;
    let before = archive.has_all(&orders).await?;

    archive.set(Fault::AccessDenied)?;
    for _ in 0..=MOST {
        orders.switch_wal().await?;
    }
    let waits = |health: &serde_json::Value| health["pendingWALFiles"].as_u64().is_some_and(|files| files > MOST);
    stage.wal_health_is(&orders, "more wait than may", waits).await?;
    let breach = orders.fill_of(Volume::Wal, 70).await?;
    stage.held(&orders, Reason::TooManyPendingWalFiles.as_str(), &breach).await?;
    let words = ["wait to be archived", &format!("more than {MOST}"), "maxPendingWALFiles"];
    stage
        .says_wal_is_held(&orders, Reason::TooManyPendingWalFiles.as_str(), &words)
        .await?;
    let marks = orders.archive_marks().await?;
    let waiting = marks.values().filter(|archived| !**archived).count();
    ensure!(waiting as u64 > MOST, "{waiting} files wait");
    stage
        .wal_metric_is(&orders, "cnpg_wal_pending_archive_files", &[], |told| is(told, waiting as u64))
        .await?;
    println!("    {waiting} files wait");
    let there = archive.segments(&orders)?;
    ensure!(
        there.len() == before,
        "the bucket refuses, and has {} segments instead of {before}",
        there.len()
    );

    let watch = GrowthWatch::of(&orders, Volume::Wal, Bytes::gib(2)).await?.patient(DRAINED);
    let repaired = Timestamp::now();
    archive.repair()?;
    let (event, timeline) = watch.finish_after(&breach, Some(Reason::TooManyPendingWalFiles.as_str())).await?;
    ensure!(event.spec.reason == Reason::UsageThreshold, "{:?}", event.spec);
    let decided = timeline.decided.context("no decision")?;
    ensure!(
        decided > repaired,
        "it grew at {decided}, and the bucket let nothing in before {repaired}"
    );
    let all = archive.has_all(&orders).await?;
    println!("    {all} segments are in the bucket");
    // The status tells it with the next news: how many wait is none by itself.
    stage
        .wal_metric_is(&orders, "cnpg_wal_pending_archive_files", &[], |told| is(told, 0))
        .await?;
    let expects = [
        Expect {
            ceiling: Bytes::gib(4),
            ..Expect::grown(Bytes::gib(2), 1)
        }
        .of(Volume::Wal),
        Expect::at_rest(Bytes::gib(1)),
    ];
    invariants::hold_all(&orders, &expects).await
}
