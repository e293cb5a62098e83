//! What the schema of our kinds refuses, and what it says: api.md's table, for every test that applies it.

use serde_json::{Value, json};

/// The kinds that have settings.
pub const KINDS: [&str; 3] = ["StoragePolicy", "ClusterStoragePolicy", "PostgresStorage"];

/// Every error of api.md's table that the schema can see: the settings, and what the refusal says.
#[must_use]
pub fn refused() -> Vec<(Value, &'static str)> {
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
        ("retainCount", 0, 10001, "walCleanup.retainCount must be between 1 and 10000"),
        (
            "cooldownMinutes",
            -1,
            10081,
            "walCleanup.cooldownMinutes must be between 0 and 10080 (a week)",
        ),
    ] {
        cases.push((json!({"walCleanup": {name: low}}), words));
        cases.push((json!({"walCleanup": {name: high}}), words));
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

/// What a ClusterStoragePolicy alone can have wrong.
#[must_use]
pub fn refused_cluster_wide() -> Vec<(Value, &'static str)> {
    let actions = "bounds.maxActionsPerDay must be between 1 and 50";
    vec![
        (json!({"bounds": {"maxSize": "0"}}), "\"0\" is not a positive quantity"),
        (json!({"bounds": {"maxActionsPerDay": 0}}), actions),
        (json!({"bounds": {"maxActionsPerDay": 51}}), actions),
        (
            json!({"excludeClusters": [{"name": "legacy"}]}),
            "each entry of a ClusterStoragePolicy needs a namespace",
        ),
    ]
}
