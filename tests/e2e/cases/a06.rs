//! A06 and A12: minAvailable fires alone; the budget of a day is used up, and stays so when the manager is killed.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use csm_api::{Reason, State};
use csm_units::Bytes;
use jiff::SignedDuration;
use serde_json::json;

use crate::filling::Breach;
use crate::growth::GrowthWatch;
use crate::invariants::{self, Expect};
use crate::stage::Stage;
use crate::volume::Volume;

/// One growth a day: the second breach is held, before and after a restart.
pub async fn one_a_day(stage: Arc<Stage>) -> Result<()> {
    // Of 1 GiB, 960 MiB are the filesystem: less than 192 MiB are available from 80 % on, and of 1.5 GiB from 87 % on.
    let resize = json!({
        "enabled": true,
        "triggers": {"usageThreshold": 99, "minAvailable": "192Mi"},
        "expansion": {"step": "512Mi", "limit": "4Gi"},
        "strategy": {"maxActionsPerDay": 1},
    });
    stage.policy("default", json!({"storage": {"resize": resize}})).await?;
    let orders = Arc::new(stage.cluster("orders").create().await?);

    let to = Bytes::mib(1536);
    let watch = GrowthWatch::start(&orders, to).await?;
    let breach = orders.fill(81).await?;
    let (event, timeline) = watch.finish(&breach).await?;
    ensure!(event.spec.reason == Reason::MinAvailable, "{:?}", event.spec);
    let began = timeline.decided.context("no decision")?;
    let ends = began.checked_add(SignedDuration::from_hours(24))?;
    let used_up = |sizing: &csm_api::VolumeSizing| {
        let Some(budget) = &sizing.budget else { return false };
        let resets = budget.budget_resets_at.as_ref().map(|at| at.0.duration_since(ends).abs());
        (
            budget.actions_last_24h,
            budget.available_for_planned,
            budget.available_for_emergency,
        ) == (1, Some(0), Some(0))
            && resets.is_some_and(|off| off < SignedDuration::from_secs(5))
    };
    let what = format!("the budget is used up until {ends}");
    stage.sizing(&orders, Volume::Data, &what, used_up).await?;

    let breach = orders.fill(89).await?;
    stage.held(&orders, "BudgetExhausted", &breach).await?;
    stage.manager.kill().await?;
    stage.manager.leads().await?;
    let again = Breach::now(Volume::Data);
    stage.no_patch(&orders, "Hold", "BudgetExhausted", &again).await?;
    stage.sizing(&orders, Volume::Data, &what, used_up).await?;
    invariants::hold(
        &orders,
        &Expect {
            ceiling: Bytes::gib(4),
            state: State::Blocked,
            conditions: &[("Blocked", true), ("Healthy", false)],
            // The counters of a process begin at nothing.
            counted: false,
            ..Expect::grown(to, 1)
        },
    )
    .await
}
