//! What people and failures do while growth is under way; and the same with one, two and three instances.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::{b10, b11, b12, b14, b15, b16};
use crate::course::Course;
use crate::runner::{Body, Case, Suite};
use crate::stage::Stage;

/// A test of these suites: few are smoke tests, and most need one node.
const fn case(id: &'static str, title: &'static str, limit: Duration, body: Body) -> Case {
    Case {
        id,
        suite: Suite::Operations,
        title,
        left_out: "",
        smoke: false,
        nodes: 1,
        limit,
        body,
    }
}

/// All of them, in the order in which they run.
pub fn all() -> Vec<Case> {
    let minutes = Duration::from_mins;
    vec![
        Case {
            smoke: true,
            ..case(
                "B10",
                "killed (SIGKILL) while the controller and then while the node works on a growth: one operation, complete",
                minutes(10),
                |stage| Box::pin(killed(stage, 2)),
            )
        },
        case(
            "B11",
            "a person deletes the primary's pod while a growth is in flight: one operation, complete, on the new primary too",
            minutes(8),
            |stage| Box::pin(primary_deleted(stage, 2)),
        ),
        case(
            "B12",
            "switchover, then failover, each while a growth is in flight",
            minutes(12),
            |stage| Box::pin(other_primary(stage, 2)),
        ),
        Case {
            nodes: 2,
            ..case(
                "B14",
                "the primary's node cordoned and drained while a growth is in flight; back again: converges",
                minutes(12),
                |stage| Box::pin(b14::node_drained(stage)),
            )
        },
        case(
            "B15",
            "base backups that begin before and during a growth are whole, and hold nothing up",
            minutes(10),
            |stage| Box::pin(b15::backup_while_in_flight(stage)),
        ),
        case(
            "B16",
            "an instance more during a growth, and one after it: both end at the volume's size",
            minutes(12),
            |stage| Box::pin(scaled_up(stage, 2)),
        ),
    ]
}

async fn killed(stage: Arc<Stage>, instances: usize) -> Result<()> {
    let mut course = Course::new(&stage, instances).await?;
    b10::killed_while_in_flight(&mut course).await?;
    course.hold().await
}

async fn primary_deleted(stage: Arc<Stage>, instances: usize) -> Result<()> {
    let mut course = Course::new(&stage, instances).await?;
    b11::primary_deleted(&mut course).await?;
    course.hold().await
}

async fn other_primary(stage: Arc<Stage>, instances: usize) -> Result<()> {
    let mut course = Course::new(&stage, instances).await?;
    b12::switched_over(&mut course).await?;
    b12::failed_over(&mut course).await?;
    course.hold().await
}

async fn scaled_up(stage: Arc<Stage>, instances: usize) -> Result<()> {
    let mut course = Course::new(&stage, instances).await?;
    b16::scaled_up(&mut course).await?;
    course.hold().await
}
