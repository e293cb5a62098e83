//! Each volume is sized by its own model: steps, targets, windows, budgets, runways, and what the status says of them.

use csm_api::{ConditionStatus, Phase, Reason, State, Trigger, Verdict, VolumeSizing};
use csm_testkit::scenario::ClusterBuilder;
use csm_tests::{Stage, phase, until};
use csm_units::Bytes;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::PostParams;
use serde_json::json;

/// The schedule of the minute that begins in so many minutes, every day.
fn in_minutes(minutes: i64) -> String {
    let at = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC) + jiff::SignedDuration::from_mins(minutes);
    format!("{} {} * * *", at.minute(), at.hour())
}

#[tokio::test]
async fn wal_grows_by_a_step_within_its_budget_and_data_is_left_alone() -> anyhow::Result<()> {
    let resize =
        json!({"enabled": true, "expansion": {"step": "25%", "minStep": "1Gi", "limit": "20Gi"}, "strategy": {"maxActionsPerDay": 1}});
    let policy = json!({"walStorage": {"resize": resize}});
    let (stage, orders) = Stage::with_orders("steps", |c| c.instances(2).data("10Gi").wal("4Gi"), policy).await?;
    let manager = stage.manager().await?;
    orders.fill("orders-1-wal", 0.81)?;
    let event = stage
        .event("orders", "the WAL volume has grown", |e| phase(e) == Some(Phase::Completed))
        .await?;
    assert_eq!(
        (event.spec.volume.role, event.spec.trigger),
        (csm_api::Role::Wal, Trigger::ThresholdBreach)
    );
    for instance in ["orders-1", "orders-2"] {
        assert_eq!(orders.wal(instance).request().await?, Bytes::gib(5));
        assert_eq!(orders.data(instance).request().await?, Bytes::gib(10), "data is left alone");
    }
    // The second breach of a day is over the budget, and the status says when it is not.
    orders.fill("orders-1-wal", 0.81)?;
    let wal = until("the second growth is held by the budget", || async {
        let sizing = stage.storage("orders").await?.and_then(|s| s.status).and_then(|s| s.storage_sizing);
        Ok(sizing
            .and_then(|s| s.wal)
            .filter(|wal| wal.last_decision.reason == Reason::BudgetExhausted))
    })
    .await?;
    let budget = wal.budget.expect("a budget");
    assert_eq!((budget.actions_last_24h, budget.available_for_planned), (1, Some(0)));
    let begun = event.status.and_then(|s| s.start_time).expect("a start").0;
    assert_eq!(
        budget.budget_resets_at.map(|t| t.0),
        Some(begun + jiff::SignedDuration::from_hours(24))
    );
    assert_eq!(wal.next_action_at.map(|t| t.0), Some(begun + jiff::SignedDuration::from_hours(24)));
    let labels = ["type=\"budget-exhausted\"", "volume=\"wal\"", "cluster=\"orders\""];
    let reasons = ["AutoResizeWALHealthUnavailable", "AutoResizeSuccess", "AutoResizeRateLimited"];
    stage.told_once("orders", &reasons).await?;
    until("the alert is due", || async {
        Ok((manager.metric("cnpg_storage_manager_alert_active", &labels).await? == Some(1.0)).then_some(()))
    })
    .await?;
    assert_eq!(stage.events("orders").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_target_waits_for_its_window_and_an_emergency_does_not() -> anyhow::Result<()> {
    // Half a day from now: closed for as long as this runs.
    let window = json!({"schedule": in_minutes(720), "duration": "1h"});
    let storage = json!({"request": "10Gi", "limit": "100Gi", "targetBuffer": 20, "maintenanceWindow": window});
    let policy = json!({"storage": storage});
    let (stage, orders) = Stage::with_orders("window", |c| c.data("10Gi").wal("4Gi"), policy).await?;
    let _manager = stage.manager().await?;
    orders.fill("orders-1", 0.85)?;
    let waits = |d: &VolumeSizing| d.last_decision.reason == Reason::MaintenanceWindowClosed;
    let held = stage.data_status("orders", "it waits for its window", waits).await?;
    assert_eq!((held.state, held.last_decision.verdict), (State::PendingGrowth, Verdict::Hold));
    assert!(held.target_size.is_some_and(|to| to > Bytes::gib(10)));
    assert_eq!(
        held.next_action_at, held.next_maintenance_window,
        "it goes on when the window opens: {held:?}"
    );
    assert!(held.next_action_at.is_some());
    assert_eq!(stage.events("orders").await?.len(), 0);

    orders.fill("orders-1", 0.96)?;
    let event = stage
        .event("orders", "the emergency is over", |e| phase(e) == Some(Phase::Completed))
        .await?;
    assert_eq!(
        (event.spec.trigger, event.spec.reason),
        (Trigger::Emergency, Reason::CriticalThreshold)
    );
    assert_eq!(event.spec.urgency(), csm_api::Urgency::Emergency);
    stage
        .told_once("orders", &["AutoResizeBlocked", "StorageEmergency", "AutoResizeSuccess"])
        .await?;
    let over = |d: &VolumeSizing| d.last_action.as_ref().is_some_and(|a| a.result == "Success");
    let grown = stage.data_status("orders", "the status follows", over).await?;
    assert_eq!(grown.last_action.expect("an action").kind, "EmergencyGrow");
    let budget = grown.budget.expect("a budget");
    assert_eq!(
        (
            budget.actions_last_24h,
            budget.available_for_planned,
            budget.available_for_emergency
        ),
        (1, Some(2), Some(1))
    );
    Ok(())
}

#[tokio::test]
async fn a_volume_whose_growth_is_held_is_not_left_to_fill_up() -> anyhow::Result<()> {
    let policy = json!({"expansion": {"percentage": 50, "maxSize": "100Gi", "cooldownMinutes": 600}});
    let (stage, orders) = Stage::with_orders("runway", |c| c.data("10Gi"), policy).await?;
    let _manager = stage.manager().await?;
    orders.fill("orders-1", 0.87)?;
    stage
        .event("orders", "the first growth", |e| phase(e) == Some(Phase::Completed))
        .await?;
    orders.fill("orders-1", 0.97)?;
    let small = |e: &csm_api::Growth| e.spec.reason == Reason::Runway && phase(e) == Some(Phase::Completed);
    let event = stage.event("orders", "a small step in spite of the cooldown", small).await?;
    assert_eq!(
        (event.spec.expansion.original_size, event.spec.expansion.requested_size),
        (Bytes::gib(15), Bytes::gib(16))
    );
    Ok(())
}

#[tokio::test]
async fn a_wrong_block_that_got_past_the_schema_holds_its_own_volume_only() -> anyhow::Result<()> {
    // What needs a calendar is no business of the schema.
    let window = json!({"schedule": "0 3 30 2 *"});
    let wal = json!({"resize": {"enabled": true, "expansion": {"limit": "20Gi"}}});
    let policy = json!({"storage": {"maintenanceWindow": window}, "walStorage": wal});
    let (stage, orders) = Stage::with_orders("wrong", |c| c.data("10Gi").wal("4Gi"), policy).await?;
    let _manager = stage.manager().await?;
    let held = stage
        .data_status("orders", "data is held", |d| d.last_decision.reason == Reason::PolicyInvalid)
        .await?;
    let message = &held.last_decision.message;
    assert!(
        message.contains("storage.maintenanceWindow.schedule") && message.contains("never fires"),
        "{message}"
    );
    orders.fill("orders-1-wal", 0.85)?;
    let event = stage
        .event("orders", "WAL has grown", |e| phase(e) == Some(Phase::Completed))
        .await?;
    assert_eq!(event.spec.volume.role, csm_api::Role::Wal);
    // The policy is applied for all else, and says so.
    let conditions = until("the policy has a status", || async {
        let policy = stage.api::<csm_api::StoragePolicy>().get("default").await?;
        Ok(policy.status.map(|status| status.conditions))
    })
    .await?;
    for (type_, status) in [("Active", ConditionStatus::True), ("Valid", ConditionStatus::False)] {
        let condition = conditions.iter().find(|c| c.type_ == type_).expect(type_);
        assert_eq!(condition.status, status, "{}", condition.message);
        assert!(
            condition.message.contains("storage.maintenanceWindow.schedule"),
            "{}",
            condition.message
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_emergency_goes_on_beside_a_fenced_replica_and_a_pvc_that_is_not_bound() -> anyhow::Result<()> {
    let fenced = |c: ClusterBuilder| {
        c.instances(2)
            .data("10Gi")
            .wal("4Gi")
            .annotation("cnpg.io/fencedInstances", r#"["orders-2"]"#)
    };
    let policy = json!({"storage": {"request": "10Gi", "limit": "100Gi"}});
    let (stage, orders) = Stage::with_orders("beside", fenced, policy).await?;
    // A third instance whose pod finds no node: its WAL volume asks for space, and has none.
    let unbound: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": "orders-3-wal", "labels": {
            "cnpg.io/cluster": "orders", "cnpg.io/instanceName": "orders-3", "cnpg.io/pvcRole": "PG_WAL"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "waits-for-a-pod",
            "resources": {"requests": {"storage": "4Gi"}}},
    }))?;
    stage.api().create(&PostParams::default(), &unbound).await?;
    let _manager = stage.manager().await?;
    orders.fill("orders-1", 0.97)?;
    let event = stage
        .event("orders", "the primary has grown", |e| phase(e) == Some(Phase::Completed))
        .await?;
    let grown: Vec<&str> = event.spec.expansion.affected_pvcs.iter().map(|p| p.instance.as_str()).collect();
    assert_eq!((event.spec.trigger, grown), (Trigger::Emergency, vec!["orders-1"]));
    assert_eq!(orders.data("orders-2").request().await?, Bytes::gib(10), "fenced");
    assert_eq!(stage.events("orders").await?.len(), 1, "nothing was begun in vain");
    Ok(())
}
