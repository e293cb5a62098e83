//! C18: a failover after which the old primary cannot come back, for lack of space for `pg_rewind`. It hangs: its container
//! runs, PostgreSQL does not, and nothing ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_testkit::csi::faults::Rpc;
use csm_testkit::wait::within;
use jiff::Timestamp;

use super::d01::{CEILING, TO, policy};
use crate::filling::Breach;
use crate::flight::Hold;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect, is};
use crate::metrics::Series;
use crate::outage::{BACK, Outage};
use crate::stage::{SOON, Stage};
use crate::timeline::seconds;
use crate::volume::Volume;

/// Room for small files, and for no WAL segment.
const ROOM: &str = "8M";
/// CloudNativePG waits for the old primary to be gone, and for its own leases.
const FAILOVER: Duration = Duration::from_mins(2);

/// Two instances with data and WAL on one volume; the primary's is full, and its pod is lost.
pub async fn rewind_without_room(stage: Arc<Stage>) -> Result<()> {
    stage.policy("default", policy()).await?;
    let orders = Arc::new(stage.cluster("orders").instances(2).single_volume().create().await?);
    orders.insert(500).await?;
    orders.replicated().await?;
    stage.observed(&orders, Volume::Data, Timestamp::now()).await?;
    let figures = Hold::set(&stage, Rpc::NodeGetVolumeStats).await?;
    let watch = GrowthWatch::start(&orders, TO).await?.patient(BACK);
    let old = orders.primary().await?;
    let mut outage = Outage::new(&orders, Volume::Data).await?;
    // The next one would stop it while no block is left, before it can be lost; it comes half a minute after the last.
    orders.sql_on(&old, "CHECKPOINT").await?;
    outage.fill(&old).await?;
    orders.leave(&old, Volume::Data, ROOM).await?;
    let breach = Breach::now(Volume::Data);

    // A crash, not a shutdown: what it wrote last is its own, and has to be taken back.
    orders.lose(&old).await?;
    let new = within(FAILOVER, "the other instance is the primary", async || {
        let primary = orders.primary().await?;
        Ok((primary != old).then_some(primary))
    })
    .await?;
    let failed_over = Timestamp::now();
    println!(
        "    {new} is the primary {:.1} s after {old} was lost; CloudNativePG: {}",
        seconds(breach.at, failed_over),
        orders.phase().await?
    );
    let hangs = within(FAILOVER, "pg_rewind has no room", async || {
        let log = stage
            .lab
            .kubectl(["logs", "-n", &stage.namespace, &old, "-c", "postgres", "--tail=400"])
            .await?;
        let line = log
            .lines()
            .rev()
            .find(|line| line.to_lowercase().contains("no space left on device"));
        ensure!(
            line.is_none_or(|line| line.contains("rewind")),
            "it lacks room for something else: {line:?}"
        );
        Ok(line.map(str::to_owned))
    })
    .await?;
    println!("    {:.1} s later: {hangs}", seconds(failed_over, Timestamp::now()));
    println!(
        "    CloudNativePG: {}; the end of its container: {:?}",
        orders.phase().await?,
        outage.end_of(&old).await?
    );
    let storage = stage.storage("orders").await?.and_then(|storage| storage.status);
    let data = storage
        .and_then(|status| status.storage_sizing)
        .and_then(|sizing| sizing.data)
        .context("no status")?;
    println!("    without figures: {:?}", data.last_decision);
    figures.release().await?;
    let released = Timestamp::now();
    let back = within(BACK, "the old primary is back as a replica", async || {
        Ok((orders.sql_on(&old, "SELECT pg_is_in_recovery()").await? == "t").then(Timestamp::now))
    });
    let ((event, _), back, ()) = tokio::try_join!(watch.finish(&breach), back, emergency(&stage))?;
    ensure!(event.spec.message.contains(&old), "{old} is not named: {}", event.spec.message);
    println!("    {:?}, {:?}: {}", event.spec.reason, event.spec.urgency(), event.spec.message);
    println!(
        "    it is back {:.1} s after the first figures could be had",
        seconds(released, back)
    );
    orders.free_the_last_block(&old, Volume::Data).await?;
    orders.insert(200).await?;
    orders.healthy().await?;
    orders.replicated().await?;
    ensure!(orders.primary().await? == new, "the primary has changed again");
    invariants::hold(
        &orders,
        &Expect {
            ceiling: CEILING,
            ..Expect::grown(TO, 1)
        },
    )
    .await
}

/// The critical alert that a volume is full is due, or that an instance is down for it.
async fn emergency(stage: &Stage) -> Result<()> {
    let labels = [
        ("namespace", stage.namespace.as_str()),
        ("cluster", "orders"),
        ("volume", "data"),
        ("severity", "critical"),
    ];
    let due = within(SOON, "a critical alert is due", async || {
        let metrics = stage.manager.metrics().await?;
        let mut alerts = metrics
            .all("cnpg_storage_manager_alert_active", &labels)
            .filter(|s| is(Some(s.value), 1));
        let kind = |s: &Series| {
            s.labels
                .get("type")
                .filter(|kind| ["storage-emergency", "rescue"].contains(&kind.as_str()))
                .cloned()
        };
        Ok(alerts.find_map(kind))
    })
    .await?;
    println!("    critical alert: {due}");
    Ok(())
}
