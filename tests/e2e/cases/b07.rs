//! B07, B08 and B09: planned growth waits for its window, an emergency does not, and planned growth leaves it its share of the
//! budget.

use std::sync::Arc;

use anyhow::{Result, ensure};
use csm_api::{Growth, Reason, State, Trigger, VolumeSizing};
use csm_units::Bytes;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::course::{CEILING, Course};
use crate::filling::Breach;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::timeline::Timeline;
use crate::volume::Volume;
use crate::window::Window;

const CLOSED: &str = "MaintenanceWindowClosed";

/// 30 % are to be free; at 85 % it is an emergency. Without the runway each gate holds alone.
fn policy(window: &Window, actions: u32) -> Value {
    policy_to(window, actions, Bytes::gib(4))
}

fn policy_to(window: &Window, actions: u32, limit: Bytes) -> Value {
    json!({
        "emergencyRunway": false,
        "storage": {
            "request": "1Gi", "limit": limit, "targetBuffer": 30,
            "maintenanceWindow": window.spec(),
            "emergencyGrow": {
                "criticalThreshold": 85, "criticalMinimumFree": "16Mi",
                "maxActionsPerDay": actions, "reservedActionsForEmergency": 1,
            },
        },
    })
}

/// Sets a policy with this window, and waits until the status tells when it opens.
async fn set(stage: &Stage, cluster: &Cluster, window: &Window, policy: Value) -> Result<()> {
    stage.policy("default", policy).await?;
    let what = format!("nextMaintenanceWindow is {}", window.opens);
    stage
        .sizing(cluster, Volume::Data, &what, |data| {
            data.next_maintenance_window.as_ref().is_some_and(|at| at.0 == window.opens)
        })
        .await
        .map(drop)
}

/// It grew at the critical threshold, and that was decided before the window opens.
fn an_emergency_while_closed(event: &Growth, timeline: &Timeline, closed: &Window) -> Result<()> {
    ensure!(
        (event.spec.trigger, event.spec.reason) == (Trigger::Emergency, Reason::CriticalThreshold),
        "{:?}",
        event.spec
    );
    ensure!(
        timeline.decided.is_some_and(|at| at < closed.opens),
        "the window was to be closed: {timeline:?}"
    );
    Ok(())
}

/// Waits until the status tells of so many actions, and of what they leave.
async fn budget(stage: &Stage, cluster: &Cluster, actions: i32, planned: i32, emergency: i32) -> Result<VolumeSizing> {
    let what = format!("{actions} actions leave {planned} planned ones and {emergency} emergencies");
    stage
        .sizing(cluster, Volume::Data, &what, |data| {
            data.budget.as_ref().is_some_and(|budget| {
                (
                    budget.actions_last_24h,
                    budget.available_for_planned,
                    budget.available_for_emergency,
                ) == (actions, Some(planned), Some(emergency))
            })
        })
        .await
}

/// Through a closed window, an open one, and a closed one again.
pub async fn window_emergency_budget(stage: Arc<Stage>) -> Result<()> {
    let closed = Window::far()?;
    stage.policy("default", policy(&closed, 4)).await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);
    budget(&stage, &orders, 0, 3, 1).await?;

    // Outside: pending, and the status tells until when.
    let watch = GrowthWatch::any(&orders, Volume::Data).await?;
    let breach = orders.fill(70).await?;
    stage.held(&orders, CLOSED, &breach).await?;
    let pending = |data: &VolumeSizing| {
        let opens = |at: &Option<_>| {
            at.as_ref()
                .is_some_and(|at: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| at.0 == closed.opens)
        };
        data.state == State::PendingGrowth && opens(&data.next_maintenance_window) && opens(&data.next_action_at)
    };
    let what = format!("pending until {}", closed.opens);
    stage.sizing(&orders, Volume::Data, &what, pending).await?;

    // About to open: still pending, then grown, inside.
    let soon = Window::opens_in(SignedDuration::from_secs(75))?;
    set(&stage, &orders, &soon, policy(&soon, 4)).await?;
    let (event, timeline) = watch.finish_after(&breach, Some(CLOSED)).await?;
    ensure!(
        (event.spec.trigger, event.spec.reason) == (Trigger::Scheduled, Reason::TargetBuffer),
        "{:?}",
        event.spec
    );
    ensure!(
        timeline.decided.is_some_and(|at| at >= soon.opens),
        "the window opens at {}, decided at {:?}",
        soon.opens,
        timeline.decided
    );
    let told = budget(&stage, &orders, 1, 2, 1).await?;
    ensure!(
        told.last_action.is_some_and(|action| action.kind == "ScheduledGrow"),
        "not a ScheduledGrow"
    );

    // Closed again: an emergency does not wait.
    let closed = Window::far()?;
    set(&stage, &orders, &closed, policy(&closed, 4)).await?;
    let to = event.spec.expansion.requested_size.saturating_add(Bytes::gib(1));
    let watch = GrowthWatch::start(&orders, to).await?;
    let breach = orders.fill(85).await?;
    let (event, timeline) = watch.finish(&breach).await?;
    an_emergency_while_closed(&event, &timeline, &closed)?;
    let told = budget(&stage, &orders, 2, 1, 1).await?;
    ensure!(
        told.last_action.is_some_and(|action| action.kind == "EmergencyGrow"),
        "not an EmergencyGrow"
    );

    // The last one of three is not for planned growth.
    set(&stage, &orders, &closed, policy(&closed, 3)).await?;
    budget(&stage, &orders, 2, 0, 1).await?;
    let breach = orders.fill(70).await?;
    stage.held(&orders, "BudgetReservedForEmergency", &breach).await?;
    invariants::hold(
        &orders,
        &Expect {
            ceiling: Bytes::gib(4),
            state: State::Blocked,
            conditions: &[("Blocked", true)],
            ..Expect::grown(to, 2)
        },
    )
    .await
}

/// B08 with a course's cluster: at the critical threshold all instances grow at once, hours before the window opens.
pub async fn critical_outside_the_window(course: &mut Course) -> Result<()> {
    let (stage, orders) = (course.stage.clone(), course.orders.clone());
    let closed = Window::far()?;
    set(&stage, &orders, &closed, policy_to(&closed, 4, CEILING)).await?;
    // At most 4 GiB: a GiB is more than a quarter of it.
    let to = course.size.saturating_add(Bytes::gib(1));
    let watch = GrowthWatch::start(&orders, to).await?;
    let breach = Breach::now(Volume::Data);
    orders.ballast(&orders.primary().await?, Some(86)).await?;
    let (event, timeline) = watch.finish(&breach).await?;
    an_emergency_while_closed(&event, &timeline, &closed)?;
    course.size = to;
    course.growths += 1;
    Ok(())
}
