//! What holds a growth: it is decided on figures from after the breach, said with its reason, and nothing is touched.

use csm_api::{ConditionStatus, Phase, Reason, State, Verdict, VolumeSizing};
use csm_testkit::controlplane::AuditMark;
use csm_testkit::scenario::{EXPANDABLE, FIXED};
use csm_tests::manager::Manager;
use csm_tests::{Stage, phase, until, up_to};
use csm_units::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

/// Waits until the data volume of `orders` is held for `reason`.
async fn held(stage: &Stage, reason: Reason) -> anyhow::Result<VolumeSizing> {
    let what = format!("held by {reason}");
    stage
        .data_status("orders", &what, |d| {
            d.last_decision.verdict == Verdict::Hold && d.last_decision.reason == reason
        })
        .await
}

/// No PVC of this namespace was touched, and no operation recorded.
async fn untouched(stage: &Stage, since: AuditMark) -> anyhow::Result<()> {
    let audit = stage.sim.plane().audit_since(since).await?;
    let ours = ["persistentvolumeclaims", "storageevents"];
    let touched: Vec<_> = audit
        .iter()
        .filter(|e| e.namespace == stage.namespace && !["get", "list", "watch"].contains(&e.verb.as_str()))
        .filter(|e| ours.contains(&e.resource.as_str()) && e.user.contains("serviceaccount"))
        .collect();
    assert!(touched.is_empty(), "{touched:?}");
    assert!(stage.events("orders").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_dry_run_decides_and_changes_nothing() -> anyhow::Result<()> {
    let policy = json!({"dryRun": true, "expansion": {"maxSize": "100Gi"}});
    let (stage, orders) = Stage::with_orders("dryrun", |c| c.instances(2).data("10Gi").data_used(0.87), policy).await?;
    let mark = stage.sim.plane().audit_mark().await?;
    let _manager = stage.manager().await?;
    let data = held(&stage, Reason::DryRun).await?;
    assert_eq!((data.state, data.last_decision.wanted), (State::DryRun, Some(Bytes::gib(15))));
    untouched(&stage, mark).await?;
    let annotations = orders.object().await?.metadata.annotations.unwrap_or_default();
    assert!(
        !annotations.keys().any(|name| name.starts_with("storage.cnpg.supporttools.io/")),
        "{annotations:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_provisioner_that_allows_one_change_a_day_gets_one() -> anyhow::Result<()> {
    let emergency = json!({"criticalThreshold": 90});
    let policy = json!({"storage": {"request": "10Gi", "limit": "100Gi", "emergencyGrow": emergency}});
    let (stage, orders) = Stage::with_orders("provider", |c| c.data("10Gi"), policy).await?;
    let settings = stage.sim.plane().state_dir().join("provider-settings.yaml");
    std::fs::write(
        &settings,
        format!("storageClasses: {{{EXPANDABLE}: {{maxActions: 1, period: 24h}}}}\n"),
    )?;
    let settings = settings.to_string_lossy();
    let _manager = Manager::start(&stage.sim, &[&stage.namespace], &["--config", &settings]).await?;
    orders.fill("orders-1", 0.85)?;
    let event = stage
        .event("orders", "the volume has grown once", |e| phase(e) == Some(Phase::Completed))
        .await?;
    // Not even an emergency asks again: the provisioner would refuse it, and hold the volume for hours.
    orders.fill("orders-1", 0.93)?;
    let data = held(&stage, Reason::ProviderLimit).await?;
    let begun = event
        .status
        .and_then(|s| s.start_time)
        .map(|t| t.0 + SignedDuration::from_hours(24));
    assert_eq!(data.next_action_at.map(|t| t.0), begun);
    assert!(
        data.last_decision.message.contains("1 time in 24 h"),
        "{}",
        data.last_decision.message
    );
    assert_eq!(stage.events("orders").await?.len(), 1);
    stage.told_once("orders", &["AutoResizeRateLimited"]).await
}

#[tokio::test]
async fn a_pause_holds_and_ends_by_itself() -> anyhow::Result<()> {
    let until_when = Timestamp::now() + SignedDuration::from_secs(25);
    let (stage, orders) = Stage::with_orders(
        "pause",
        |c| {
            c.data("10Gi")
                .data_used(0.87)
                .annotation("storage.cnpg.supporttools.io/paused", "true")
                .annotation("storage.cnpg.supporttools.io/pause-until", &until_when.to_string())
        },
        up_to("100Gi"),
    )
    .await?;
    let mark = stage.sim.plane().audit_mark().await?;
    let _manager = stage.manager().await?;
    let data = held(&stage, Reason::Paused).await?;
    assert_eq!(data.state, State::Paused);
    untouched(&stage, mark).await?;
    let event = stage
        .event("orders", "grown after the pause", |e| phase(e) == Some(Phase::Completed))
        .await?;
    assert!(
        event
            .metadata
            .creation_timestamp
            .is_some_and(|t| t.0 >= until_when - SignedDuration::from_secs(1))
    );
    assert_eq!(orders.data("orders-1").request().await?, Bytes::gib(15));
    Ok(())
}

#[tokio::test]
async fn the_cooldown_holds_the_next_growth_and_the_ceiling_the_last() -> anyhow::Result<()> {
    let (stage, orders) = Stage::with_orders("cooldown", |c| c.data("10Gi").data_used(0.87), up_to("15Gi")).await?;
    let _manager = stage.manager().await?;
    stage.event("orders", "grown", |e| phase(e) == Some(Phase::Completed)).await?;

    stage.policy("default", up_to("40Gi")).await?;
    orders.fill("orders-1", 0.9)?;
    let data = held(&stage, Reason::Cooldown).await?;
    assert_eq!(data.last_decision.wanted, Some(Bytes::gib(23)));
    let began = data.last_action.map(|a| a.timestamp.0);
    assert_eq!(data.next_action_at.map(|t| t.0), began.map(|t| t + SignedDuration::from_mins(30)));

    stage
        .policy("default", json!({"expansion": {"maxSize": "15Gi", "cooldownMinutes": 0}}))
        .await?;
    let data = held(&stage, Reason::AtLimit).await?;
    assert_eq!((data.state, data.limit), (State::AtLimit, Some(Bytes::gib(15))));
    stage.told_once("orders", &["AutoResizeAtLimit"]).await?;
    assert_eq!(orders.data("orders-1").request().await?, Bytes::gib(15));
    assert_eq!(stage.events("orders").await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_class_without_expansion_is_watched_only() -> anyhow::Result<()> {
    let (stage, _orders) = Stage::with_orders("fixed", |c| c.data("10Gi").data_used(0.95).storage_class(FIXED), up_to("100Gi")).await?;
    let mark = stage.sim.plane().audit_mark().await?;
    let manager = stage.manager().await?;
    held(&stage, Reason::StorageClassNotExpandable).await?;
    stage.told_once("orders", &["StorageUnsupported"]).await?;
    untouched(&stage, mark).await?;
    let namespace = format!("namespace=\"{}\"", stage.namespace);
    assert_eq!(
        manager
            .metric("cnpg_disk_resize_blocked", &[&namespace, "reason=\"StorageClassNotExpandable\""])
            .await?,
        Some(1.0)
    );
    // Filled to 95 % or a byte less; the metric is a whole number, rounded down.
    let percent = manager
        .metric("cnpg_disk_percent_used", &[&namespace, "instance=\"orders-1\""])
        .await?;
    assert!(percent == Some(94.0) || percent == Some(95.0), "{percent:?}");
    Ok(())
}

#[tokio::test]
async fn two_policies_of_one_rank_hold_each_other() -> anyhow::Result<()> {
    let stage = Stage::new("conflict").await?;
    stage.orders(|c| c.data("10Gi").data_used(0.87)).await?;
    stage.policy("first", up_to("100Gi")).await?;
    stage
        .policy("second", json!({"selector": {}, "expansion": {"maxSize": "50Gi"}}))
        .await?;
    let mark = stage.sim.plane().audit_mark().await?;
    let _manager = stage.manager().await?;
    held(&stage, Reason::PolicyConflict).await?;
    untouched(&stage, mark).await?;
    for (name, other) in [("first", "second"), ("second", "first")] {
        let condition = until("the policies name each other", || async {
            let policy = stage.api::<csm_api::StoragePolicy>().get(name).await?;
            let conditions = policy.status.unwrap_or_default().conditions;
            Ok(conditions
                .into_iter()
                .find(|c| c.type_ == "Conflicting" && c.status == ConditionStatus::True))
        });
        let condition = condition.await?;
        assert!(condition.message.contains(other), "{}", condition.message);
    }
    // Excluded from one of them, the other applies.
    stage
        .policy(
            "second",
            json!({"selector": {}, "excludeClusters": [{"name": "orders"}], "expansion": {"maxSize": "50Gi"}}),
        )
        .await?;
    stage.event("orders", "grown", |e| phase(e) == Some(Phase::Completed)).await?;
    Ok(())
}

#[tokio::test]
async fn without_a_policy_a_cluster_is_watched_only() -> anyhow::Result<()> {
    let stage = Stage::new("nopolicy").await?;
    stage.orders(|c| c.data("10Gi").data_used(0.97)).await?;
    let mark = stage.sim.plane().audit_mark().await?;
    let manager = stage.manager().await?;
    let namespace = format!("namespace=\"{}\"", stage.namespace);
    until("it is watched", || async {
        let used = manager
            .metric("cnpg_storage_manager_pvc_usage_percent", &[&namespace, "pvc=\"orders-1\""])
            .await?;
        let decided = manager
            .metric("cnpg_storage_manager_decision", &[&namespace, "reason=\"NoPolicy\""])
            .await?;
        Ok(used.zip(decided))
    })
    .await?;
    untouched(&stage, mark).await?;
    assert!(stage.storage("orders").await?.is_none());
    Ok(())
}
