//! B10: the manager is killed while a growth is in flight. It goes on where it was, and nothing is done twice.

use anyhow::{Result, ensure};
use csm_testkit::csi::faults::Rpc;

use crate::course::Course;
use crate::flight::Hold;

/// Killed twice: while the driver's controller works on the first PVC, and while the node does.
pub async fn killed_while_in_flight(course: &mut Course) -> Result<()> {
    let stage = course.stage.clone();
    let node = Hold::set(&stage, Rpc::NodeExpandVolume).await?;
    let mut flight = course.begin().await?;
    // The counters of a process begin at nothing.
    course.same_manager = false;
    stage.manager.kill().await?;
    stage.manager.leads().await?;
    course.still_in_flight(&flight).await?;
    let released = jiff::Timestamp::now();
    flight.let_the_controller_go().await?;
    let second = stage.reached("NodeResizeInProgress", released).await?;
    ensure!(
        flight.first == second,
        "{second} is being resized while {} is not done",
        flight.first
    );
    stage.manager.kill().await?;
    stage.manager.leads().await?;
    course.still_in_flight(&flight).await?;
    node.release().await?;
    course.land(flight).await
}
