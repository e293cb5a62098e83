//! A07: archiving fails, for one reason after another: growth is held, and it is said; repaired, it grows by itself.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::Reason;
use csm_testkit::s3::Fault;
use csm_units::Bytes;
use jiff::Timestamp;
use serde_json::json;

use crate::archive::{Archive, DRAINED};
use crate::filling::Breach;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::volume::Volume;
use crate::wal::policy;

const HELD: Reason = Reason::ArchiveUnhealthy;
/// Of a volume of 1 GiB that is 70 % full of WAL, most of which is not archived.
const SOME: u64 = 20;

/// One instance; WAL of a whole GiB is kept, so that what is archived later makes no room.
pub async fn archive_failing(stage: Arc<Stage>) -> Result<()> {
    let rules = json!({"requireArchiveHealthy": true, "maxPendingWALFiles": 0});
    stage.policy("default", policy("1Gi", "4Gi", rules)).await?;
    let archive = Archive::new(&stage).await?;
    let orders = Arc::new(stage.cluster("orders").archives(&archive).create().await?);
    orders.insert(1000).await?;
    orders.keep_wal("2GB").await?;
    orders.switch_wal().await?;
    let before = archive.has_all(&orders).await?;
    ensure!(before > 0, "nothing is in the bucket, and nothing waits");
    stage.archive_is(&orders, true).await?;
    orders.says_it_archives(true).await?;

    archive.unserved().await?;
    orders.switch_wal().await?;
    orders.fails_to_archive().await?;
    stage.archive_is(&orders, false).await?;
    orders.says_it_archives(false).await?;
    let breach = orders.fill_of(Volume::Wal, 70).await?;
    stage.held(&orders, HELD.as_str(), &breach).await?;
    let words = ["archiv", "requireArchiveHealthy"];
    stage.says_wal_is_held(&orders, HELD.as_str(), &words).await?;
    let health = stage
        .wal_health_is(&orders, "it tells of the failure and of what waits", |health| {
            health["pendingWALFiles"].as_u64().is_some_and(|files| files > SOME) && health["lastFailedTime"].is_string()
        })
        .await?;
    println!("    nobody serves the endpoint: {health}");

    for (number, fault) in [Fault::AccessDenied, Fault::NoSuchBucket, Fault::InternalError]
        .into_iter()
        .enumerate()
    {
        archive.set(fault)?;
        if number == 0 {
            archive.served().await?;
        }
        let again = Breach::now(Volume::Wal);
        orders.fails_to_archive().await.with_context(|| format!("{fault:?}"))?;
        stage.archive_is(&orders, false).await?;
        stage.no_patch(&orders, "Hold", HELD.as_str(), &again).await?;
        let there = archive.segments(&orders)?;
        ensure!(
            there.len() == before,
            "{fault:?}, and {} segments instead of {before} are there",
            there.len()
        );
        println!("    {fault:?}: held");
    }

    let watch = GrowthWatch::of(&orders, Volume::Wal, Bytes::gib(2)).await?.patient(DRAINED);
    let repaired = Timestamp::now();
    archive.repair()?;
    let (event, timeline) = watch.finish_after(&breach, Some(HELD.as_str())).await?;
    ensure!(event.spec.reason == Reason::UsageThreshold, "{:?}", event.spec);
    let decided = timeline.decided.context("no decision")?;
    ensure!(decided > repaired, "it grew at {decided}, and archiving failed until {repaired}");
    stage.archive_is(&orders, true).await?;
    orders.says_it_archives(true).await?;
    let all = archive.has_all(&orders).await?;
    println!(
        "    {all} segments are in the bucket, {} of them since it is well again",
        all - before
    );
    let grown = Expect {
        ceiling: Bytes::gib(4),
        ..Expect::grown(Bytes::gib(2), 1)
    };
    invariants::hold_all(&orders, &[grown.of(Volume::Wal), Expect::at_rest(Bytes::gib(1))]).await
}
