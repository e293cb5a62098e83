//! What the API server itself refuses, with words that help.

use csm_tests::{Stage, verdicts};
use serde_json::{Value, json};

/// The kinds that have settings.
const KINDS: [&str; 3] = ["StoragePolicy", "ClusterStoragePolicy", "PostgresStorage"];

/// Every error of api.md's table that the schema can see: the settings, and what the refusal says.
fn refused() -> Vec<(Value, &'static str)> {
    let mut cases = vec![
        (
            json!({"expansion": {"maxSize": "100GB"}}),
            "\"100GB\" is not a positive quantity; write for example \"100Gi\"",
        ),
        (json!({"expansion": {"maxSize": "0"}}), "\"0\" is not a positive quantity"),
        (json!({"expansion": {"maxSize": "-5Gi"}}), "\"-5Gi\" is not a positive quantity"),
        (json!({"expansion": {"maxSize": ""}}), "\"\" is not a positive quantity"),
        (json!({"expansion": {"maxSize": -1}}), "\"-1\" is not a positive quantity"),
        (json!({"expansion": {"enabled": "yes"}}), "enabled"),
        (json!({"expansion": {"percentage": "fifty"}}), "percentage"),
    ];
    for (pair, words) in [
        (json!({"warning": 80, "critical": 80}), "warning must be below critical"),
        (json!({"warning": 86, "expansion": 85}), "warning must be below expansion"),
        (json!({"warning": 95, "emergency": 90}), "warning must be below emergency"),
        (json!({"critical": 85, "expansion": 85}), "critical must be below expansion"),
        (json!({"critical": 91, "emergency": 90}), "critical must be below emergency"),
        (json!({"expansion": 91, "emergency": 90}), "expansion must not be above emergency"),
        (json!({"warning": 0}), "thresholds.warning must be between 1 and 99 percent"),
        (json!({"critical": 100}), "thresholds.critical must be between 1 and 99 percent"),
        (json!({"expansion": 2}), "thresholds.expansion must be between 3 and 99 percent"),
        (json!({"emergency": 100}), "thresholds.emergency must be between 1 and 99 percent"),
    ] {
        cases.push((json!({"thresholds": pair}), words));
    }
    for (name, low, high, words) in [
        ("percentage", 0, 1001, "expansion.percentage must be between 1 and 1000 percent"),
        (
            "cooldownMinutes",
            -1,
            10081,
            "expansion.cooldownMinutes must be between 0 and 10080 (a week)",
        ),
        ("parallelism", 0, 21, "expansion.parallelism must be between 1 and 20"),
        (
            "minIncrementGi",
            0,
            65537,
            "expansion.minIncrementGi must be between 1 and 65536 (GiB)",
        ),
    ] {
        cases.push((json!({"expansion": {name: low}}), words));
        cases.push((json!({"expansion": {name: high}}), words));
    }
    for (name, low, high, words) in [
        ("maxFailures", 0, 101, "circuitBreaker.maxFailures must be between 1 and 100"),
        (
            "resetMinutes",
            0,
            10081,
            "circuitBreaker.resetMinutes must be between 1 and 10080 (a week)",
        ),
    ] {
        cases.push((json!({"circuitBreaker": {name: low}}), words));
        cases.push((json!({"circuitBreaker": {name: high}}), words));
    }
    for (volume, words) in refused_of_a_volume() {
        for block in ["storage", "walStorage"] {
            cases.push((json!({block: volume}), words));
        }
        cases.push((json!({"tablespaces": [{"name": "archive", "storage": volume}]}), words));
    }
    cases
}

/// The same for the settings of one volume.
fn refused_of_a_volume() -> Vec<(Value, &'static str)> {
    let resize = |part: &str, field: &str, value: Value| json!({"resize": {part: {field: value}}});
    let mut cases = vec![
        (json!({"resize": {}, "request": "1Gi"}), "resize and request/limit are two models"),
        (
            json!({"resize": {"enabled": true}, "limit": "1Gi"}),
            "resize and request/limit are two models",
        ),
        (json!({"request": "20Gi", "limit": "10Gi"}), "request must not be above limit"),
        (json!({"request": "10Gi", "limit": 1024}), "request must not be above limit"),
        (
            json!({"request": "ten"}),
            "\"ten\" is not a positive quantity; write for example \"100Gi\"",
        ),
        (json!({"limit": "0Gi"}), "\"0Gi\" is not a positive quantity"),
        (json!({"targetBuffer": 4}), "targetBuffer must be between 5 and 50 percent"),
        (json!({"targetBuffer": 51}), "targetBuffer must be between 5 and 50 percent"),
        (
            resize("triggers", "minAvailable", json!("512Ki")),
            "\"512Ki\" is not a quantity of 1Mi or more; write for example \"5Gi\"",
        ),
        (
            resize("triggers", "minAvailable", json!("5 Gi")),
            "\"5 Gi\" is not a quantity of 1Mi or more",
        ),
        (
            resize("triggers", "minAvailable", json!(1_048_575)),
            "\"1048575\" is not a quantity of 1Mi or more",
        ),
        (
            resize("triggers", "inodeThreshold", json!(0)),
            "inodeThreshold must be between 1 and 99 percent",
        ),
        (
            resize("triggers", "inodeThreshold", json!(100)),
            "inodeThreshold must be between 1 and 99 percent",
        ),
        (
            resize("expansion", "step", json!(20)),
            "\"20\" is a bare number; write \"20%\" or \"20Gi\"",
        ),
        (resize("expansion", "step", json!(0)), "\"0\" is a bare number"),
        (
            resize("expansion", "step", json!("0%")),
            "\"0%\" is neither a percentage from 1% to 1000% nor a quantity of 1Mi or more; write for example \"20%\" or \"20Gi\"",
        ),
        (resize("expansion", "step", json!("1001%")), "\"1001%\" is neither a percentage"),
        (resize("expansion", "step", json!("2.5%")), "\"2.5%\" is neither a percentage"),
        (resize("expansion", "step", json!("-5%")), "\"-5%\" is neither a percentage"),
        (resize("expansion", "step", json!("%")), "\"%\" is neither a percentage"),
        (resize("expansion", "step", json!("20")), "\"20\" is neither a percentage"),
        (resize("expansion", "step", json!("100Ki")), "\"100Ki\" is neither a percentage"),
        (
            resize("expansion", "step", json!("20 percent")),
            "\"20 percent\" is neither a percentage",
        ),
        (
            resize("expansion", "minStep", json!("1Ki")),
            "\"1Ki\" is not a quantity of 1Mi or more",
        ),
        (resize("expansion", "maxStep", json!("")), "\"\" is not a quantity of 1Mi or more"),
        (resize("expansion", "limit", json!("-1")), "\"-1\" is not a positive quantity"),
        (
            json!({"resize": {"expansion": {"minStep": "3Gi", "maxStep": "2Gi"}}}),
            "minStep must not be above maxStep",
        ),
        (
            resize("strategy", "maxActionsPerDay", json!(51)),
            "maxActionsPerDay must be between 0",
        ),
        (
            resize("strategy", "maxActionsPerDay", json!(-1)),
            "maxActionsPerDay must be between 0",
        ),
        (
            resize("strategy", "walSafetyPolicy", json!({"maxPendingWALFiles": -1})),
            "maxPendingWALFiles must be 0",
        ),
        (
            resize("strategy", "walSafetyPolicy", json!({"maxSlotRetentionBytes": "-1Gi"})),
            "\"-1Gi\" is not a quantity of 0 or more",
        ),
        (
            json!({"emergencyGrow": {"criticalThreshold": 79}}),
            "criticalThreshold must be between 80 and 99 percent",
        ),
        (
            json!({"emergencyGrow": {"criticalThreshold": 100}}),
            "criticalThreshold must be between 80 and 99 percent",
        ),
        (
            json!({"emergencyGrow": {"criticalMinimumFree": "x"}}),
            "\"x\" is not a positive quantity",
        ),
        (
            json!({"emergencyGrow": {"maxActionsPerDay": 51}}),
            "maxActionsPerDay must be between 0",
        ),
        (
            json!({"emergencyGrow": {"reservedActionsForEmergency": 51}}),
            "reservedActionsForEmergency must be between 0 and 50",
        ),
        (
            json!({"emergencyGrow": {"maxActionsPerDay": 2, "reservedActionsForEmergency": 3}}),
            "reservedActionsForEmergency must not be above maxActionsPerDay",
        ),
    ];
    for threshold in [0, 100] {
        let words = "usageThreshold must be between 1 and 99 percent; leave it out for the default, set enabled: false to stop";
        cases.push((resize("triggers", "usageThreshold", json!(threshold)), words));
    }
    cases
}

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
    for (bounds, words) in [
        (json!({"maxSize": "0"}), "\"0\" is not a positive quantity"),
        (json!({"maxActionsPerDay": 0}), "bounds.maxActionsPerDay must be between 1 and 50"),
        (json!({"maxActionsPerDay": 51}), "bounds.maxActionsPerDay must be between 1 and 50"),
    ] {
        let spec = json!({"bounds": bounds});
        let message = stage.refusal("ClusterStoragePolicy", &spec).await?;
        assert!(
            message.as_deref().is_some_and(|m| m.contains(words)),
            "{spec}: {message:?} should say {words:?}"
        );
        said_alike("ClusterStoragePolicy", "", &spec, words)?;
    }
    let nameless = json!({"excludeClusters": [{"name": "legacy"}]});
    let message = stage.refusal("ClusterStoragePolicy", &nameless).await?;
    let words = "each entry of a ClusterStoragePolicy needs a namespace";
    assert!(message.as_deref().is_some_and(|m| m.contains(words)), "{message:?}");
    said_alike("ClusterStoragePolicy", "", &nameless, words)?;
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
