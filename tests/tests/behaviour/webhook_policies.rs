//! A04, A17, C05: what the validating webhook refuses, and warns about, as kubectl prints it.

use csm_api::{ConditionStatus, StoragePolicy};
use csm_testkit::scenario::FIXED;
use csm_tests::verdicts::object;
use csm_tests::webhook::{kubectl, serving};
use csm_tests::{Stage, until};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// What is done with an object.
enum Said {
    Refused(&'static [&'static str]),
    Warned(&'static [&'static str]),
    Taken,
}

fn window(window: Value) -> Value {
    json!({"storage": {"request": "1Gi", "limit": "20Gi", "maintenanceWindow": window}})
}

fn only(cluster: &str, mut spec: Value) -> Value {
    spec["selector"] = json!({"matchLabels": {"cnpg.io/cluster": cluster}});
    spec
}

fn resize(more: Value) -> Value {
    let mut resize = json!({"enabled": true, "expansion": {"limit": "100Gi"}});
    for (key, value) in more.as_object().into_iter().flatten() {
        resize[key] = value.clone();
    }
    json!({"resize": resize})
}

/// In the table of api.md, what needs more than the schema: kind, name, spec, and what is said. `single` has one volume of 20Gi, `split` a
/// WAL volume of 4Gi beside it, `fixed` volumes that cannot grow.
fn cases() -> Vec<(&'static str, &'static str, Value, Said)> {
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

#[tokio::test]
async fn each_error_and_warning_is_said_as_kubectl_prints_it() -> anyhow::Result<()> {
    let stage = Stage::alone("admission").await?;
    stage.sim.add_nodes(1).await?;
    let cluster = |name: &str| stage.sim.cluster(&stage.namespace, name).instances(1).data("20Gi");
    cluster("single").create().await?;
    cluster("split").wal("4Gi").create().await?;
    cluster("fixed").storage_class(FIXED).create().await?;
    let (manager, _) = serving(&stage.sim).await?;
    for (kind, name, spec, said) in cases() {
        let object = object(kind, &stage.namespace, name, &spec);
        let (taken, text) = kubectl(&stage.sim, &object).await?;
        let has = |words: &[&str]| words.iter().all(|word| text.contains(word));
        let as_said = match said {
            Said::Refused(words) => {
                !taken && has(&["admission webhook \"r0.policies.storage.cnpg.supporttools.io\" denied the request: "]) && has(words)
            }
            Said::Warned(words) => taken && has(&["Warning: "]) && has(words),
            Said::Taken => taken && !has(&["Warning: storage", "Warning: walStorage", "no effect"]),
        };
        assert!(as_said, "{kind} {name} {spec}: {text}");
    }
    let answered = |result| {
        let result = format!("result=\"{result}\"");
        let manager = &manager;
        async move {
            manager
                .metric("cnpg_storage_manager_webhook_requests_total", &["webhook=\"policies\"", &result])
                .await
        }
    };
    assert!(answered("refused").await?.is_some_and(|n| n >= 10.0));
    assert!(answered("allowed").await?.is_some_and(|n| n >= 10.0));
    assert_eq!(answered("error").await?, None);
    Ok(())
}

/// C05: the later of two policies that overlap is refused, and names the other; what was there before stays changeable.
#[tokio::test]
async fn an_overlap_is_refused_and_a_change_that_makes_nothing_worse_is_not() -> anyhow::Result<()> {
    let stage = Stage::alone("overlap").await?;
    stage.sim.add_nodes(1).await?;
    for (name, tier) in [("orders", "gold"), ("stock", "tin")] {
        let cluster = stage.sim.cluster(&stage.namespace, name).instances(1).data("10Gi");
        cluster.label("tier", tier).create().await?;
    }
    // Raced past admission: they were there before the webhook.
    let first = only("orders", json!({"expansion": {"maxSize": "50Gi"}}));
    stage.policy("first", first.clone()).await?;
    stage.policy("raced", first.clone()).await?;
    stage.policy("broken", window(json!({"timezone": "Europe/Atlantis"}))).await?;
    let (_manager, _) = serving(&stage.sim).await?;
    let ns = &stage.namespace;

    let refusal = |error: anyhow::Error| format!("{error:#}");
    let gold = json!({"selector": {"matchLabels": {"tier": "gold"}}, "expansion": {"maxSize": "60Gi"}});
    let said = stage.policy("second", gold).await.map_err(refusal).expect_err("it overlaps");
    for words in [
        "denied the request: ".to_owned(),
        format!("StoragePolicy {ns}/first"),
        format!("StoragePolicy {ns}/second"),
        format!("both match {ns}/orders, which is held for it"),
        "StoragePolicy with a selector".to_owned(),
    ] {
        assert!(said.contains(&words), "{said} should say {words}");
    }
    // Of another rank, or of other Clusters.
    stage
        .policy(
            "tin",
            json!({"selector": {"matchLabels": {"tier": "tin"}}, "expansion": {"maxSize": "60Gi"}}),
        )
        .await?;

    // Labels and finalizers of what is wrong already, and a change that leaves it no worse.
    let api: Api<StoragePolicy> = stage.api();
    for name in ["raced", "broken"] {
        let patch = json!({"metadata": {"labels": {"touched": "true"}, "finalizers": ["example.com/kept"]}});
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    let larger = json!({"spec": {"expansion": {"maxSize": "80Gi"}}});
    for name in ["raced", "broken"] {
        api.patch(name, &PatchParams::default(), &Patch::Merge(&larger)).await?;
    }
    // One that makes it worse: one more Cluster that both match.
    let wider = json!({"spec": {"selector": {"matchLabels": null, "matchExpressions": [{"key": "tier", "operator": "Exists"}]}}});
    let said = api.patch("raced", &PatchParams::default(), &Patch::Merge(&wider)).await;
    let said = said.map_err(|error| format!("{error:#}")).expect_err("it overlaps with tin too");
    assert!(
        said.contains(&format!("{ns}/stock")) && said.contains(&format!("StoragePolicy {ns}/tin")),
        "{said}"
    );
    // A finalizer is taken off while it is being deleted.
    api.delete("broken", &kube::api::DeleteParams::default()).await?;
    let free = json!({"metadata": {"finalizers": null}});
    api.patch("broken", &PatchParams::default(), &Patch::Merge(&free)).await?;
    // Those that raced are told of each other, and hold the Cluster.
    until("both policies say that they conflict", || async {
        let mut conflicting = 0;
        for name in ["first", "raced"] {
            let status = api.get(name).await?.status.unwrap_or_default();
            let says = |c: &csm_api::Condition| c.type_ == "Conflicting" && c.status == ConditionStatus::True;
            conflicting += usize::from(status.conditions.iter().any(says));
        }
        Ok((conflicting == 2).then_some(()))
    })
    .await
}
