//! B15: a base backup runs while a growth is in flight.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_testkit::csi::faults::Rpc;
use jiff::Timestamp;

use crate::course::Course;
use crate::flight::Hold;
use crate::stage::Stage;
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
    let (ended, mut flight) = (taken.context("the backup that began before the growth")?, flight?);
    course.still_in_flight(&flight).await?;
    println!("    a backup of {ended:.0} s ended while the growth was in flight");

    let began = Timestamp::now();
    let second = back_up(&course, "second", "1M");
    let rest = async {
        flight.let_the_controller_go().await?;
        stage.reached("NodeResizeInProgress", began).await?;
        node.release().await?;
        anyhow::Ok(flight)
    };
    let (taken, flight) = tokio::join!(second, rest);
    let ended = taken.context("the backup that began while the growth was in flight")?;
    println!("    a backup of {ended:.0} s saw the growth end");
    course.land(flight?).await?;
    orders.exec("orders-1", &["rm", "-rf", &place("first"), &place("second")]).await?;
    course.hold().await
}

fn place(name: &str) -> String {
    format!("{}/e2e-backup-{name}", Volume::Wal.path())
}

/// Takes a backup over the replication protocol, as CloudNativePG's new replicas do, and verifies it. Returns how many
/// seconds it took.
async fn back_up(course: &Course, name: &str, rate: &str) -> Result<f64> {
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
    let took = crate::timeline::seconds(began, Timestamp::now());
    let verify = [&format!("{BIN}/pg_verifybackup"), &place[..]];
    let verified = orders.exec("orders-1", &verify).await?;
    ensure!(verified.contains("backup successfully verified"), "{verified}");
    Ok(took)
}
