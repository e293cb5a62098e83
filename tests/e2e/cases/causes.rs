//! Why a volume fills: in each of seven situations the right cause is said, and what shows it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use csm_api::{CauseKind, RootCause};
use csm_testkit::s3::{Credentials, Fault};
use csm_testkit::wait::within;
use csm_units::Bytes;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

use crate::archive::Archive;
use crate::cluster::{Cluster, rows_sql};
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::volume::Volume;

/// What is written each time, in MiB: a volume of 1 GiB shows it, and stays well below what it grows at.
const SOME: u64 = 320;
/// A status is written at most once a minute, and a rate has to be seen for a while.
const SAID: Duration = Duration::from_mins(5);

/// One after the other, on one cluster.
pub async fn why_it_fills(stage: Arc<Stage>) -> Result<()> {
    stage.manager.set("instances: {exporter: true}").await?;
    stage.policy("default", json!({"expansion": {"maxSize": "8Gi"}})).await?;
    let archive = Archive::new(&stage).await?;
    let orders = Arc::new(stage.cluster("orders").instances(2).size("2Gi").archives(&archive).create().await?);
    orders.insert(200).await?;
    orders.sets(&[("wal_sender_timeout", "0")]).await?;
    let primary = orders.primary().await?;
    let standby = orders.names().into_iter().find(|name| *name != primary).context("no standby")?;
    orders.switch_wal().await?;
    archive.has_all(&orders).await?;

    println!("    the bucket is gone");
    archive.set(Fault::NoSuchBucket)?;
    written(&orders).await?;
    because(&orders, Volume::Wal, CauseKind::ArchiverFailing, "").await?;
    archive.repair()?;
    released(&orders, &archive).await?;

    println!("    the credentials are wrong");
    archive.credentials("not the key").await?;
    written(&orders).await?;
    because(&orders, Volume::Wal, CauseKind::ArchiverFailing, "").await?;
    archive.credentials(&Credentials::of_the_lab().secret_key).await?;
    released(&orders, &archive).await?;

    println!("    a slot is abandoned");
    orders.sql("SELECT pg_create_physical_replication_slot('abandoned', true)").await?;
    written(&orders).await?;
    because(&orders, Volume::Wal, CauseKind::InactiveSlot, "abandoned").await?;
    orders.sql("SELECT pg_drop_replication_slot('abandoned')").await?;
    released(&orders, &archive).await?;

    println!("    a standby stands still");
    let receiver = orders.sql_on(&standby, "SELECT pid FROM pg_stat_wal_receiver").await?;
    orders.exec(&standby, &["sh", "-c", "kill -STOP \"$0\"", &receiver]).await?;
    written(&orders).await?;
    because(&orders, Volume::Wal, CauseKind::LaggingStandby, "orders").await?;
    orders.exec(&standby, &["sh", "-c", "kill -CONT \"$0\"", &receiver]).await?;
    released(&orders, &archive).await?;

    println!("    wal_keep_size is too large");
    orders.sets(&[("wal_keep_size", "8GB")]).await?;
    written(&orders).await?;
    because(&orders, Volume::Wal, CauseKind::WalSettingsTooBig, "wal_keep_size").await?;
    orders.sets(&[("wal_keep_size", "64MB")]).await?;
    released(&orders, &archive).await?;

    println!("    a load, which is archived");
    load(&orders).await?;
    because(&orders, Volume::Data, CauseKind::DataGrowth, "").await?;
    released(&orders, &archive).await?;

    println!("    a large sort");
    let sort = sort(&orders, &primary);
    because(&orders, Volume::Data, CauseKind::TempFiles, "").await?;
    drop(sort);
    orders
        .sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%e2e sort%' AND pid <> pg_backend_pid()")
        .await?;

    let at_rest = |size| Expect::at_rest(Bytes::gib(size));
    invariants::hold_all(&orders, &[at_rest(1).of(Volume::Wal), at_rest(2)]).await
}

/// Waits until the status says why a volume fills.
async fn because(orders: &Cluster, volume: Volume, cause: CauseKind, subject: &str) -> Result<()> {
    within(SAID, &format!("{volume} fills because of {cause} {subject}"), async || {
        let status = orders.stage.storage(&orders.name).await?.and_then(|storage| storage.status);
        let sizing = status.and_then(|status| status.storage_sizing);
        let said = sizing.as_ref().and_then(|sizing| volume.sizing(sizing)?.root_cause.as_ref());
        let names = |said: &RootCause| said.subject.as_deref().unwrap_or_default().contains(subject);
        ensure!(said.is_some_and(|said| said.cause == cause && names(said)), "{said:?}");
        Ok(said.map(|said| println!("    {}", said.message)))
    })
    .await
}

/// WAL, in pieces, so that there is time to archive and to measure.
async fn written(orders: &Cluster) -> Result<()> {
    let primary = orders.primary().await?;
    for _ in 0..SOME / 32 {
        orders.write_wal(&primary, 32).await?;
        orders.switch_wal().await?;
    }
    Ok(())
}

/// Nothing holds WAL any more, and none is there that nobody needs.
async fn released(orders: &Cluster, archive: &Archive) -> Result<()> {
    archive.has_all(orders).await?;
    orders.replicated().await?;
    orders.gives_wal_back().await
}

/// Rows, much more than before, in statements that WAL has room for.
async fn load(orders: &Cluster) -> Result<()> {
    let mut written = orders.rows(Volume::Data).count;
    for _ in 0..8 {
        let to = written + 6000;
        orders.sql(&rows_sql(Volume::Data, written, to)).await?;
        orders.sql("CHECKPOINT").await?;
        written = to;
    }
    orders.remember(Volume::Data).await.map(drop)
}

/// A sort of some 500 MiB, which stands until it is ended.
fn sort(orders: &Arc<Cluster>, primary: &str) -> AbortOnDropHandle<()> {
    let (orders, primary) = (orders.clone(), primary.to_owned());
    AbortOnDropHandle::new(tokio::spawn(async move {
        let sql = "/* e2e sort */ BEGIN; SET work_mem = '64kB'; \
             DECLARE sorted CURSOR FOR SELECT repeat(md5(i::text), 8) AS text FROM generate_series(1, 2000000) i ORDER BY 1; \
             FETCH 1 FROM sorted; SELECT pg_sleep(600);";
        if let Err(error) = orders.sql_on(&primary, sql).await {
            println!("    the sort ended: {error:#}");
        }
    }))
}
