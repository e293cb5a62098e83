//! B15: a base backup runs while a growth is in flight.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_testkit::csi::faults::Rpc;
use csm_testkit::wait::within;
use jiff::Timestamp;

use crate::course::Course;
use crate::flight::Hold;
use crate::stage::{SOON, Stage};
use crate::timeline::seconds;
use crate::volume::Volume;

const BIN: &str = "/usr/lib/postgresql/17/bin";
const CERTIFICATES: &str = "/controller/certificates";

/// A backup of the primary that begins before the growth of its own volume and ends while that is in flight, is whole; one
/// that begins in flight and ends after the growth is whole as well. Neither holds the other up.
pub async fn backup_while_in_flight(stage: Arc<Stage>) -> Result<()> {
    let mut course = Course::new(&stage, 1).await?;
    let orders = course.orders.clone();
    let node = Hold::set(&stage, Rpc::NodeExpandVolume).await?;
    // About 35 MB at 1 MB/s: longer than the controller's part of a growth.
    let (taken, flight) = tokio::join!(back_up(&course, "first", "1M"), course.begin());
    let (first, mut flight) = (taken.context("the backup that began before the growth")?, flight?);
    course.still_in_flight(&flight).await?;
    let patched = stage.patches()?.first().context("nothing was patched")?.at;
    println!(
        "    a backup of {:.0} s ended while the growth was in flight, {:.1} s after its patch",
        seconds(first.began, first.ended),
        seconds(patched, first.ended)
    );
    ensure!(
        first.began < patched && patched < first.ended,
        "patched at {patched}, and the backup ran from {} to {}",
        first.began,
        first.ended
    );

    let began = Timestamp::now();
    let second = back_up(&course, "second", "1M");
    let rest = async {
        within(SOON, "the second backup streams files", async || {
            let streams = "SELECT count(*) FROM pg_stat_progress_basebackup WHERE phase = 'streaming database files'";
            Ok((orders.sql(streams).await? == "1").then_some(()))
        })
        .await?;
        flight.let_the_controller_go().await?;
        stage.reached("NodeResizeInProgress", began).await?;
        node.release().await?;
        anyhow::Ok(flight)
    };
    let (taken, flight) = tokio::join!(second, rest);
    let second = taken.context("the backup that began while the growth was in flight")?;
    let claim = flight.as_ref().map(|flight| flight.first.clone()).unwrap_or_default();
    course.land(flight?).await?;
    let grown = stage
        .filesystem_told(&claim, course.size)?
        .context("no kubelet told of the filesystem")?;
    println!(
        "    a backup of {:.0} s saw the growth end, {:.1} s after its begin",
        seconds(second.began, second.ended),
        seconds(second.began, grown)
    );
    ensure!(
        second.began < grown && grown < second.ended,
        "grown at {grown}, and the backup ran from {} to {}",
        second.began,
        second.ended
    );
    orders.exec("orders-1", &["rm", "-rf", &place("first"), &place("second")]).await?;
    course.hold().await
}

fn place(name: &str) -> String {
    format!("{}/e2e-backup-{name}", Volume::Wal.path())
}

/// When a backup ran.
struct Backup {
    began: Timestamp,
    ended: Timestamp,
}

/// Takes a backup over the replication protocol, as CloudNativePG's new replicas do, and verifies it.
async fn back_up(course: &Course, name: &str, rate: &str) -> Result<Backup> {
    let (orders, began) = (&course.orders, Timestamp::now());
    let file = |name: &str| format!("{CERTIFICATES}/{name}");
    let source = format!(
        "host=orders-rw user=streaming_replica dbname=postgres sslmode=verify-ca sslcert={} sslkey={} sslrootcert={}",
        file("streaming_replica.crt"),
        file("streaming_replica.key"),
        file("server-ca.crt")
    );
    let (program, place, rate) = (format!("{BIN}/pg_basebackup"), place(name), format!("--max-rate={rate}"));
    let command = [
        &program,
        "--checkpoint=fast",
        "--wal-method=stream",
        &rate,
        "-d",
        &source,
        "-D",
        &place,
    ];
    orders.exec("orders-1", &command).await?;
    let ended = Timestamp::now();
    let verify = [&format!("{BIN}/pg_verifybackup"), &place[..]];
    let verified = orders.exec("orders-1", &verify).await?;
    ensure!(verified.contains("backup successfully verified"), "{verified}");
    Ok(Backup { began, ended })
}
