//! What the validating webhook refuses and warns about, and what it says: api.md's table, for every test that applies it.

use serde_json::{Value, json};

/// What is done with an object.
#[derive(Clone, Copy, Debug)]
pub enum Said {
    /// Not taken, with these words.
    Refused(&'static [&'static str]),
    /// Taken, and warned about with these words.
    Warned(&'static [&'static str]),
    /// Taken, and nothing is said of a volume.
    Taken,
}

impl Said {
    /// Whether kubectl's words are so, of an object that was taken or not; a refusal is this webhook's.
    #[must_use]
    pub fn is(self, taken: bool, text: &str, webhook: &str) -> bool {
        let has = |words: &[&str]| words.iter().all(|word| text.contains(word));
        let refused = format!("admission webhook \"{webhook}\" denied the request: ");
        match self {
            Self::Refused(words) => !taken && text.contains(&refused) && has(words),
            Self::Warned(words) => taken && text.contains("Warning: ") && has(words),
            Self::Taken => {
                taken
                    && !["Warning: storage", "Warning: walStorage", "no effect"]
                        .iter()
                        .any(|word| text.contains(word))
            }
        }
    }
}

/// A volume with a maintenance window.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "written as literals")]
pub fn window(window: Value) -> Value {
    json!({"storage": {"request": "1Gi", "limit": "20Gi", "maintenanceWindow": window}})
}

/// The same for one Cluster alone.
#[must_use]
pub fn only(cluster: &str, mut spec: Value) -> Value {
    spec["selector"] = json!({"matchLabels": {"cnpg.io/cluster": cluster}});
    spec
}

/// A volume of the resize model.
#[expect(clippy::needless_pass_by_value, reason = "written as literals")]
fn resize(more: Value) -> Value {
    let mut resize = json!({"enabled": true, "expansion": {"limit": "100Gi"}});
    for (key, value) in more.as_object().into_iter().flatten() {
        resize[key] = value.clone();
    }
    json!({"resize": resize})
}

/// What needs a class of storage beside those of [`cases`]: `heap` has a volume of a class that is known to put many volumes on
/// one filesystem.
#[must_use]
pub fn shared_cases() -> Vec<(&'static str, &'static str, Value, Said)> {
    use Said::Warned;
    let words: &[&str] = &[
        "the storage class of data of",
        "/heap puts many volumes on one filesystem: the volume is monitored only",
    ];
    let spec = json!({"expansion": {"maxSize": "50Gi"}});
    vec![
        ("PostgresStorage", "heap", spec.clone(), Warned(words)),
        ("StoragePolicy", "new", only("heap", spec), Warned(words)),
    ]
}

/// In the table of api.md, what needs more than the schema: kind, name, spec, and what is said. `single` has one volume of 20Gi, `split` a
/// WAL volume of 4Gi or less beside it, `fixed` volumes that cannot grow.
#[must_use]
#[expect(clippy::too_many_lines, reason = "a list")]
pub fn cases() -> Vec<(&'static str, &'static str, Value, Said)> {
    use Said::{Refused, Taken, Warned};
    let risk: &[&str] = &[
        "storage.resize.enabled grows PGDATA",
        "/single holds the WAL as well, so growth can hide WAL that piles up",
        "set resize.strategy.walSafetyPolicy.acknowledgeWALRisk: true",
    ];
    let acknowledged = json!({"strategy": {"walSafetyPolicy": {"acknowledgeWALRisk": true}}});
    let policy = "StoragePolicy";
    vec![
        // A04.
        ("PostgresStorage", "single", json!({"storage": resize(json!({}))}), Refused(risk)),
        ("PostgresStorage", "single", json!({"storage": resize(acknowledged.clone())}), Taken),
        (policy, "new", only("single", json!({"storage": resize(json!({}))})), Refused(risk)),
        (
            policy,
            "new",
            json!({"selector": {"matchExpressions": [{"key": "cnpg.io/cluster", "operator": "In", "values": ["single", "split"]}]}, "storage": resize(json!({}))}),
            Warned(risk),
        ),
        (policy, "new", only("split", json!({"storage": resize(json!({}))})), Taken),
        // A PostgresStorage of a Cluster that nobody knows is not refused for what it may be.
        ("PostgresStorage", "later", json!({"storage": resize(json!({}))}), Taken),
        // A17: refused.
        (
            policy,
            "new",
            window(json!({"schedule": "every night at three"})),
            Refused(&["storage.maintenanceWindow.schedule", "\"every night at three\"", "0 3 * * *"]),
        ),
        (policy, "new", window(json!({"schedule": "0 3 30 2 *"})), Refused(&["never fires"])),
        (
            policy,
            "new",
            window(json!({"timezone": "Europe/Atlantis"})),
            Refused(&["Europe/Atlantis"]),
        ),
        (
            policy,
            "new",
            window(json!({"duration": "soon"})),
            Refused(&["storage.maintenanceWindow.duration", "soon"]),
        ),
        (
            "ClusterStoragePolicy",
            "new",
            json!({"selector": {"matchExpressions": [{"key": "tier", "operator": "Near"}]}}),
            Refused(&["unknown operator"]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"storage": {"request": "30Gi"}}),
            Refused(&["storage: model Target needs both request and limit"]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"storage": {"model": "Target"}}),
            Refused(&["storage: model Target needs both request and limit"]),
        ),
        ("PostgresStorage", "split", json!({"thresholds": {"expansion": 75}}), Taken),
        (
            "PostgresStorage",
            "split",
            json!({"thresholds": {"critical": 90}}),
            Refused(&["thresholds must rise: critical (90) must be below expansion (85)"]),
        ),
        // A17: warned about.
        (
            "PostgresStorage",
            "split",
            json!({"expansion": {"maxSize": "15Gi"}}),
            Warned(&["expansion.maxSize is at or below the current size of data of", "will never grow"]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"expansion": {"maxSize": "30.5Gi"}}),
            Warned(&["expansion.maxSize is not on a whole GiB: storage drivers round up"]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"expansion": {"minIncrementGi": 50, "maxSize": "50Gi"}}),
            Warned(&[
                "expansion.maxSize is not above expansion.minIncrementGi (50Gi)",
                "no volume can grow by a whole step below it",
            ]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"walStorage": resize(json!({"expansion": {"minStep": "30Gi", "limit": "20Gi"}}))}),
            Warned(&[
                "walStorage.resize.expansion.limit is not above resize.expansion.minStep (30Gi)",
                "no volume can grow by a whole step below it",
            ]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"storage": {"emergencyGrow": {"maxActionsPerDay": 2, "reservedActionsForEmergency": 2}}}),
            Warned(&["no planned growth ever"]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"storage": {"request": "20Gi", "limit": "100Gi", "emergencyGrow": {"criticalMinimumFree": "6Gi"}}}),
            Warned(&["criticalMinimumFree is over a quarter"]),
        ),
        (
            "ClusterStoragePolicy",
            "new",
            only("nobody", json!({"thresholds": {"expansion": 90}})),
            Warned(&["expansion.maxSize is not set"]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"walStorage": resize(json!({"strategy": {"maxActionsPerDay": 0}}))}),
            Warned(&["nothing limits how often a volume grows in a day"]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"walStorage": resize(json!({"expansion": {"step": "150%", "limit": "100Gi"}}))}),
            Warned(&["step is over 100 %"]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"walStorage": resize(json!({"expansion": {"step": "2Gi", "maxStep": "5Gi", "limit": "100Gi"}}))}),
            Warned(&["maxStep has no effect"]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"walStorage": resize(json!({"triggers": {"minAvailable": "4Gi"}}))}),
            Warned(&["minAvailable is at or above the size of wal of", "it fires at once"]),
        ),
        (
            "PostgresStorage",
            "split",
            json!({"storage": resize(acknowledged)}),
            Warned(&["acknowledgeWALRisk has no effect on", "/split"]),
        ),
        (
            "PostgresStorage",
            "fixed",
            json!({"expansion": {"maxSize": "50Gi"}}),
            Warned(&["does not have allowVolumeExpansion: true", "monitored only"]),
        ),
        (
            "ClusterStoragePolicy",
            "new",
            json!({"excludeClusters": [{"name": "legacy", "namespace": "shop"}], "expansion": {"maxSize": "50Gi"}}),
            Warned(&["excludeClusters names shop/legacy, and there is no such Cluster"]),
        ),
        ("ClusterStoragePolicy", "new", json!({"bounds": {"maxSize": "2Ti"}}), Taken),
    ]
}
