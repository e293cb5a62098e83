//! What the API server itself refuses, with words that help.

use csm_testkit::scenario::Sim;
use csm_tests::Stage;
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

fn resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("cnpg.supporttools.io", "v1alpha1", kind))
}

async fn refusal(sim: &Sim, namespace: &str, kind: &str, spec: &Value) -> anyhow::Result<Option<String>> {
    let api: Api<DynamicObject> = match kind {
        "ClusterStoragePolicy" => Api::all_with(sim.client(), &resource(kind)),
        _ => Api::namespaced_with(sim.client(), namespace, &resource(kind)),
    };
    let object = json!({"apiVersion": "cnpg.supporttools.io/v1alpha1", "kind": kind, "metadata": {"name": "tried"}, "spec": spec});
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::apply("test").force()
    };
    match api.patch("tried", &parameters, &Patch::Apply(&object)).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) => Ok(Some(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

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
    cases
}

#[tokio::test]
async fn each_error_that_the_schema_can_see_is_refused_with_its_message() -> anyhow::Result<()> {
    let stage = Stage::new("refused").await?;
    for (spec, words) in refused() {
        for kind in ["StoragePolicy", "ClusterStoragePolicy", "PostgresStorage"] {
            let message = refusal(&stage.sim, &stage.namespace, kind, &spec).await?;
            assert!(
                message.as_deref().is_some_and(|m| m.contains(words)),
                "{kind} {spec}: {message:?} should say {words:?}"
            );
        }
    }
    let nameless = json!({"excludeClusters": [{"name": "legacy"}]});
    let message = refusal(&stage.sim, &stage.namespace, "ClusterStoragePolicy", &nameless).await?;
    assert!(
        message
            .as_deref()
            .is_some_and(|m| m.contains("each entry of a ClusterStoragePolicy needs a namespace")),
        "{message:?}"
    );
    assert_eq!(refusal(&stage.sim, &stage.namespace, "StoragePolicy", &nameless).await?, None);
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
    for spec in [
        json!({}),
        full,
        json!({"expansion": {"maxSize": 107_374_182_400_i64}}),
        json!({"expansion": {"maxSize": null, "percentage": null}}),
        json!({"thresholds": {"warning": 98, "critical": null}}),
    ] {
        for kind in ["StoragePolicy", "ClusterStoragePolicy", "PostgresStorage"] {
            assert_eq!(refusal(&stage.sim, &stage.namespace, kind, &spec).await?, None, "{kind} {spec}");
        }
    }
    Ok(())
}
