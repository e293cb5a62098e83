//! B05: a replica that is added after a growth is born at the volume's size, and caught up where the webhook was away.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Phase, Trigger};
use csm_units::Bytes;
use jiff::Timestamp;

use crate::course::Course;
use crate::stage::{GROWTH, Stage};
use crate::timeline::seconds;
use crate::volume::Volume;
use csm_testkit::wait::within;

/// One replica with the manager there, and one while it is not.
pub async fn born_at_size(stage: Arc<Stage>) -> Result<()> {
    let mut course = Course::new(&stage, 1).await?;
    let flight = course.begin().await?;
    course.land(flight).await?;
    let size = course.size;
    // What filled it is beside PGDATA, and is not copied.
    course.seen_before = false;

    course.orders.scale(2).await?;
    ensure!(
        born(&stage, "orders-2") == Some(size),
        "orders-2 was born with {:?}",
        born(&stage, "orders-2")
    );
    ensure!(
        stage.events("orders").await?.len() == 1,
        "born with its size, and something was done: {:?}",
        stage.events("orders").await?
    );

    stage.manager.scale(0).await?;
    course.same_manager = false;
    course.orders.scale(3).await?;
    let small = born(&stage, "orders-3").context("orders-3 was not seen")?;
    ensure!(small < size, "nobody was there to raise it, and orders-3 was born with {small}");
    stage.manager.scale(1).await?;
    stage.manager.leads().await?;
    let leads = Timestamp::now();
    let caught_up = within(GROWTH, "orders-3 is caught up", async || {
        let events = stage.events_of("orders", Volume::Data).await?;
        let ended = |event: &csm_api::Growth| csm_tests::phase(event) == Some(Phase::Completed);
        Ok(events.into_iter().find(|e| e.spec.trigger == Trigger::CatchUp && ended(e)))
    })
    .await?;
    let of: Vec<&str> = caught_up.spec.expansion.affected_pvcs.iter().map(|pvc| pvc.name.as_str()).collect();
    ensure!(
        (of.as_slice(), caught_up.spec.expansion.requested_size) == (&["orders-3"][..], size),
        "{:?}",
        caught_up.spec
    );
    let patched = stage.patches()?.into_iter().rfind(|patch| patch.pvc == "orders-3");
    let patched = patched.context("orders-3 was not patched")?.at;
    println!(
        "    orders-2: born with {size}; orders-3: born with {small} without the webhook, patched {:+.1} s after the manager led",
        seconds(leads, patched)
    );
    course.growths += 1;
    course.hold().await
}

/// What a PVC asked for first.
fn born(stage: &Stage, pvc: &str) -> Option<Bytes> {
    stage.journal.all().into_iter().find(|seen| seen.name == pvc)?.request
}
