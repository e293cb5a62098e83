//! A04, A17, C05: what the validating webhook refuses, and warns about, as kubectl prints it.

use csm_api::{ConditionStatus, StoragePolicy};
use csm_testkit::scenario::FIXED;
use csm_tests::admissions::{cases, only, shared_cases, window};
use csm_tests::verdicts::object;
use csm_tests::webhook::{kubectl, serving, serving_with};
use csm_tests::{Stage, until};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

#[tokio::test]
async fn each_error_and_warning_is_said_as_kubectl_prints_it() -> anyhow::Result<()> {
    let stage = Stage::alone("admission").await?;
    stage.sim.add_nodes(1).await?;
    let cluster = |name: &str| stage.sim.cluster(&stage.namespace, name).instances(1).data("20Gi");
    cluster("single").create().await?;
    cluster("split").wal("4Gi").create().await?;
    cluster("fixed").storage_class(FIXED).create().await?;
    stage.sim.storage_class("heap", true, false).await?;
    cluster("heap").storage_class("heap").create().await?;
    let settings = tempfile::NamedTempFile::new()?;
    std::fs::write(settings.path(), "storageClasses: {heap: {sharedFilesystem: true}}\n")?;
    let (manager, _) = serving_with(&stage.sim, &["--config", &settings.path().to_string_lossy()]).await?;
    for (kind, name, spec, said) in cases().into_iter().chain(shared_cases()) {
        let object = object(kind, &stage.namespace, name, &spec);
        let (taken, text) = kubectl(&stage.sim, &object).await?;
        let as_said = said.is(taken, &text, "r0.policies.storage.cnpg.supporttools.io");
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
