//! Objects that got past the API server: the manager starts all the same, holds what they are about, says why in the words of
//! `lint`, and goes on with all others.

use csm_api::Phase;
use csm_tests::manager::Manager;
use csm_tests::{Stage, phase, until, verdicts};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

/// Creates an object as soon as the API server takes it as it is, and returns what `lint` has against it.
async fn smuggle(stage: &Stage, kind: &str, name: &str, spec: &Value) -> anyhow::Result<Vec<String>> {
    let object = verdicts::object(kind, &stage.namespace, name, spec);
    let parameters = PatchParams::apply("test").force();
    until("the schema is switched off", || async {
        match stage.dynamic(kind).patch(name, &parameters, &Patch::Apply(&object)).await {
            // An API server that still prunes is one that still knows the schema.
            Ok(there) => Ok((there.data["spec"] == *spec).then_some(())),
            Err(kube::Error::Api(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
    .await?;
    verdicts::lint(&object)
}

/// The last decision on the data volume of a cluster: its reason and its message.
async fn decision(stage: &Stage, cluster: &str) -> anyhow::Result<Option<(String, String)>> {
    let storage = stage.dynamic("PostgresStorage").get_opt(cluster).await?;
    let said = |field: &str| {
        let decision = storage.as_ref()?.data.pointer("/status/storageSizing/data/lastDecision")?;
        decision[field].as_str().map(str::to_owned)
    };
    Ok(said("reason").zip(said("message")))
}

#[tokio::test]
async fn wrong_objects_that_got_past_the_api_server_hold_their_own_clusters_only() -> anyhow::Result<()> {
    let stage = Stage::unchecked("smuggled").await?;
    stage.sim.add_nodes(1).await?;
    for name in ["type", "value", "storage", "fine"] {
        let cluster = stage.sim.cluster(&stage.namespace, name).label("case", name);
        cluster.data("10Gi").data_used(0.87).create().await?;
    }
    // A less specific one, which must not act in the place of those that are wrong.
    smuggle(&stage, "ClusterStoragePolicy", "fleet", &json!({"expansion": {"maxSize": "100Gi"}})).await?;
    let elsewhere = json!({"namespaceSelector": {"matchLabels": {"is": "elsewhere"}}, "thresholds": "low"});
    let elsewhere = smuggle(&stage, "ClusterStoragePolicy", "elsewhere", &elsewhere).await?;
    let of = |name: &str, expansion: Value| json!({"selector": {"matchLabels": {"case": name}}, "expansion": expansion});
    let wrong_type = of("type", json!({"percentage": "fifty"}));
    let wrong_value = of("value", json!({"percentage": 0}));
    let wrong = [
        ("type", smuggle(&stage, "StoragePolicy", "type", &wrong_type).await?),
        ("value", smuggle(&stage, "StoragePolicy", "value", &wrong_value).await?),
        (
            "storage",
            smuggle(&stage, "PostgresStorage", "storage", &json!({"dryRun": "yes"})).await?,
        ),
    ];

    let manager = Manager::start(&stage.sim, &[], &[]).await?;
    let (status, text) = manager.page("/readyz").await?;
    assert_eq!(status, 200, "{text}");
    stage
        .event("fine", "the others grow", |e| phase(e) == Some(Phase::Completed))
        .await?;
    for (cluster, lint) in &wrong {
        let [lint] = lint.as_slice() else { panic!("{cluster}: {lint:?}") };
        let what = format!("{cluster} is held");
        let (_, message) = until(&what, || async {
            let decision = decision(&stage, cluster).await?;
            Ok(decision.filter(|(reason, _)| reason == "PolicyInvalid"))
        })
        .await?;
        assert!(message.contains(lint.as_str()), "{cluster}: {message:?} should say {lint:?}");
        assert!(stage.events(cluster).await?.is_empty(), "{cluster}");
    }
    let policies = [
        ("StoragePolicy", "type", &wrong[0].1),
        ("StoragePolicy", "value", &wrong[1].1),
        ("ClusterStoragePolicy", "elsewhere", &elsewhere),
    ];
    for (kind, name, lint) in policies {
        let what = format!("{kind} {name} says that it is not valid");
        let message = until(&what, || async {
            let policy = stage.dynamic(kind).get(name).await?;
            let conditions = policy.data.pointer("/status/conditions").and_then(Value::as_array).cloned();
            let mut conditions = conditions.into_iter().flatten();
            let invalid = conditions.find(|c| c["type"] == "Valid" && c["status"] == "False");
            Ok(invalid.and_then(|c| c["message"].as_str().map(str::to_owned)))
        })
        .await?;
        assert_eq!(message, lint.join("; "), "{kind} {name}");
    }
    // Said once, not at each look.
    let told = |name: &str| {
        let log = manager.log();
        let lines = log.lines().filter(|line| line.contains("cannot be read") && line.contains(name));
        lines.count()
    };
    assert_eq!((told("name=\"type\""), told("name=\"elsewhere\"")), (1, 1), "{}", manager.tail());
    let of_watch = ["watch=\"clusterstoragepolicies.cnpg.supporttools.io\""];
    let unreadable = manager.metric("cnpg_storage_manager_unreadable_objects", &of_watch).await?;
    assert_eq!(unreadable, Some(1.0));
    // Once it is right, it goes on.
    smuggle(&stage, "StoragePolicy", "type", &of("type", json!({"percentage": 50}))).await?;
    stage.event("type", "it grows", |e| phase(e) == Some(Phase::Completed)).await?;
    Ok(())
}
