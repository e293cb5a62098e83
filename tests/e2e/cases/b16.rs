//! B16: scale-up while a growth is in flight, and after it. New replicas end at the volume's size.

use anyhow::{Result, ensure};
use csm_api::{Phase, Trigger};
use csm_units::Bytes;

use crate::course::Course;
use crate::growth::filesystem_of;
use crate::stage::GROWTH;
use crate::volume::Volume;
use csm_testkit::wait::within;

/// One more instance during the growth, and one more after it.
pub async fn scaled_up(course: &mut Course) -> Result<()> {
    let flight = course.begin().await?;
    let during = add_an_instance(course).await?;
    course.still_in_flight(&flight).await?;
    course.land(flight).await?;
    caught_up(course, &during).await?;
    let after = add_an_instance(course).await?;
    caught_up(course, &after).await
}

/// Returns its name.
async fn add_an_instance(course: &mut Course) -> Result<String> {
    let orders = &course.orders;
    let before = orders.names();
    orders.scale(before.len() + 1).await?;
    // A PVC that was just made may grow before anybody has mounted it.
    course.seen_before = false;
    let mut names = orders.names();
    names.retain(|name| !before.contains(name));
    Ok(names.concat())
}

/// A PVC that was born too small is caught up, once; one that was born right is left alone.
async fn caught_up(course: &mut Course, instance: &str) -> Result<()> {
    let (stage, orders, size) = (&course.stage, &course.orders, course.size);
    let seen = stage.journal.all();
    let born = seen.iter().find(|seen| seen.name == instance).and_then(|seen| seen.request);
    let catch_ups = async || {
        let mut events = stage.events_of(&orders.name, Volume::Data).await?;
        events.retain(|event| event.spec.expansion.affected_pvcs.iter().any(|pvc| pvc.name == instance));
        events.retain(|event| event.spec.trigger == Trigger::CatchUp);
        anyhow::Ok(events)
    };
    if born < Some(size) {
        let event = within(GROWTH, &format!("{instance} is caught up"), async || {
            let events = catch_ups().await?;
            Ok(events.into_iter().find(|event| csm_tests::phase(event) == Some(Phase::Completed)))
        })
        .await?;
        let only: Vec<&str> = event.spec.expansion.affected_pvcs.iter().map(|pvc| pvc.name.as_str()).collect();
        ensure!(
            (event.spec.expansion.requested_size, only.as_slice()) == (size, &[instance][..]),
            "{:?}",
            event.spec
        );
        course.growths += 1;
    }
    println!("    {instance}: born with {}, {size} in the end", born.unwrap_or(Bytes::new(0)));
    within(GROWTH, &format!("df of {instance} shows {size}"), async || {
        let df = orders.df(instance).await?;
        ensure!(df.total >= filesystem_of(size), "{df:?}");
        Ok(Some(()))
    })
    .await
}
