//! What the API server itself refuses, with words that help.

use csm_tests::refusals::{KINDS, refused, refused_cluster_wide};
use csm_tests::{Stage, verdicts};
use serde_json::{Value, json};

/// Our own messages give the values in parentheses, for which the schema has no room.
fn without_values(message: &str) -> String {
    let mut text = message.to_owned();
    while let Some(start) = text.find(" (")
        && let Some(length) = text[start..].find(')')
        && text[start + 2..start + length].chars().all(|c| c.is_ascii_digit())
    {
        text.replace_range(start..=start + length, "");
    }
    text
}

/// `lint` and the manager say these words of an object, and all else the same.
fn said_alike(kind: &str, namespace: &str, spec: &Value, words: &str) -> anyhow::Result<()> {
    let object = verdicts::object(kind, namespace, "tried", spec);
    let (lint, manager) = (verdicts::lint(&object)?, verdicts::manager(&object)?);
    assert!(
        lint.iter().any(|m| without_values(m).contains(words)),
        "{kind} {spec}: lint says {lint:?}, not {words:?}"
    );
    assert_eq!(lint, manager, "{kind} {spec}: lint, and the manager");
    Ok(())
}

/// What the schema cannot see: `lint` and the manager say the same of it.
#[test]
fn errors_that_the_schema_cannot_see_are_said_alike() -> anyhow::Result<()> {
    let window = |window: Value| json!({"storage": {"request": "1Gi", "limit": "2Gi", "maintenanceWindow": window}});
    for (spec, words) in [
        (window(json!({"schedule": "0 3 30 2 *"})), "never fires"),
        (window(json!({"schedule": "often"})), "storage.maintenanceWindow.schedule"),
        (window(json!({"timezone": "Europe/Atlantis"})), "Europe/Atlantis"),
        (window(json!({"duration": "soon"})), "storage.maintenanceWindow.duration"),
        (
            json!({"storage": {"resize": {"triggers": {"timeToFull": "soon"}}}}),
            "storage.resize.triggers.timeToFull",
        ),
        // Types that only a server without a schema lets pass.
        (json!({"thresholds": [70, 80, 85, 90]}), "spec.thresholds: a list is not a map"),
        (
            json!({"storage": {"model": "Magic"}}),
            "spec.storage.model: \"Magic\" is not one of",
        ),
        (json!({"tablespaces": [{"name": 5}]}), "spec.tablespaces[0].name: 5 is not a text"),
    ] {
        for kind in KINDS {
            said_alike(kind, "shop", &spec, words)?;
        }
    }
    let selector = json!({"selector": {"matchExpressions": [{"key": "tier", "operator": "Near"}]}});
    for kind in ["StoragePolicy", "ClusterStoragePolicy"] {
        said_alike(kind, "shop", &selector, "has the unknown operator")?;
        said_alike(kind, "shop", &json!({"selector": "all"}), "spec.selector: \"all\" is not a map")?;
    }
    Ok(())
}

#[tokio::test]
async fn each_error_that_the_schema_can_see_is_refused_with_its_message() -> anyhow::Result<()> {
    let stage = Stage::new("refused").await?;
    for (spec, words) in refused() {
        for kind in KINDS {
            let message = stage.refusal(kind, &spec).await?;
            assert!(
                message.as_deref().is_some_and(|m| m.contains(words)),
                "{kind} {spec}: {message:?} should say {words:?}"
            );
            said_alike(kind, &stage.namespace, &spec, words)?;
        }
    }
    for (spec, words) in refused_cluster_wide() {
        let message = stage.refusal("ClusterStoragePolicy", &spec).await?;
        assert!(
            message.as_deref().is_some_and(|m| m.contains(words)),
            "{spec}: {message:?} should say {words:?}"
        );
        said_alike("ClusterStoragePolicy", "", &spec, words)?;
    }
    let nameless = json!({"excludeClusters": [{"name": "legacy"}]});
    assert_eq!(stage.refusal("StoragePolicy", &nameless).await?, None);
    Ok(())
}

#[tokio::test]
async fn what_is_valid_is_taken() -> anyhow::Result<()> {
    let stage = Stage::new("taken").await?;
    let full = json!({
        "dryRun": false,
        "thresholds": {"warning": 1, "critical": 2, "expansion": 3, "emergency": 3},
        "expansion": {"enabled": true, "percentage": 1000, "minIncrementGi": 1, "maxSize": "1.5Ti", "cooldownMinutes": 0, "parallelism": 20},
    });
    let resize = json!({
        "enabled": true,
        "triggers": {"usageThreshold": 99, "minAvailable": "1Mi", "inodeThreshold": 1, "timeToFull": "1h30m"},
        "expansion": {"step": "1000%", "minStep": 1_048_576, "maxStep": "1Mi", "limit": 1},
        "strategy": {
            "mode": "Predictive",
            "maxActionsPerDay": 0,
            "walSafetyPolicy": {
                "acknowledgeWALRisk": true,
                "requireArchiveHealthy": false,
                "maxPendingWALFiles": 0,
                "maxSlotRetentionBytes": 0,
                "alertOnResize": false,
            },
        },
    });
    let emergency = json!({
        "enabled": false,
        "criticalThreshold": 80,
        "criticalMinimumFree": 1,
        "exceedLimitOnEmergency": true,
        "maxActionsPerDay": 0,
        "reservedActionsForEmergency": 50,
    });
    let window = json!({"schedule": "0 0 3 * * sun", "duration": "90m", "timezone": "Europe/Berlin"});
    let volumes = json!({
        "emergencyRunway": false,
        "storage": {"model": "Resize", "resize": resize, "emergencyGrow": emergency, "maintenanceWindow": window},
        "walStorage": {"request": "10Gi", "limit": "10Gi", "targetBuffer": 50, "maintenanceWindow": {}, "emergencyGrow": {}},
        "tablespaces": [{"name": "*", "storage": {"model": "Thresholds"}}, {"name": "archive"}],
    });
    for spec in [
        json!({}),
        full,
        volumes,
        json!({"storage": {"resize": {"expansion": {"step": "10Gi"}, "strategy": {"walSafetyPolicy": {"maxSlotRetentionBytes": null}}}}}),
        json!({"storage": {"resize": {"expansion": {"step": null, "minStep": null}, "triggers": {"minAvailable": null}}, "request": null}}),
        json!({"storage": null, "tablespaces": null}),
        json!({"expansion": {"maxSize": 107_374_182_400_i64}}),
        json!({"expansion": {"maxSize": null, "percentage": null}}),
        json!({"thresholds": {"warning": 98, "critical": null}}),
    ] {
        for kind in KINDS {
            assert_eq!(stage.refusal(kind, &spec).await?, None, "{kind} {spec}");
            let object = verdicts::object(kind, &stage.namespace, "tried", &spec);
            assert_eq!(verdicts::lint(&object)?, [] as [&str; 0], "{kind} {spec}");
            assert_eq!(verdicts::manager(&object)?, [] as [&str; 0], "{kind} {spec}");
        }
    }
    Ok(())
}
